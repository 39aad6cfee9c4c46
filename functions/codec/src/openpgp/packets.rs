//! Cuts a certificate into its packets and keeps the bytes of each one.
//!
//! Everything that bounds the work is decided here, on lengths and tags alone, before any key or signature is parsed: the
//! size, the number of packets, user IDs and subkeys, and the absence of anything that is no part of a public key
//! (RFC 9580 section 10.1). No packet of a certificate may have a partial or open length (section 4.2.1), so nothing can
//! claim more bytes than were given, and compressed data is refused unopened.

use std::borrow::Cow;
use std::io::Read;

use pgp::armor::{BlockType, Dearmor, DearmorOptions};
use pgp::packet::{Packet, PacketHeader, PublicKey, PublicSubkey, Signature, UserId};
use pgp::types::{PacketLength, Tag};

use super::Refusal;

/// Largest certificate in bytes, as given and after the armor is removed.
pub const MAX_BYTES: usize = 256 * 1024;

/// Most packets; certificates with many third-party signatures have hundreds.
const MAX_PACKETS: usize = 1_024;

/// Most user IDs, and most subkeys.
const MAX_COMPONENTS: usize = 32;

/// A parsed packet beside the bytes it came from, header included.
pub struct Part<'a, T> {
    pub raw: &'a [u8],
    pub value: T,
}

/// A user ID or a subkey, with the signatures that follow it.
pub struct Component<'a, T> {
    pub part: Part<'a, T>,
    pub signatures: Vec<Part<'a, Signature>>,
}

/// One transferable public key, nothing verified yet.
pub struct Parts<'a> {
    pub primary: Part<'a, PublicKey>,
    /// Direct-key signatures and key revocations.
    pub signatures: Vec<Part<'a, Signature>>,
    pub users: Vec<Component<'a, UserId>>,
    pub subkeys: Vec<Component<'a, PublicSubkey>>,
}

/// Removes the ASCII armor (RFC 9580 section 6) if there is one: the first bit of a binary packet is always set.
///
/// # Errors
/// `TooLarge`, `SecretKey`, `SeveralCertificates` (by the armor's own headings), `Malformed`.
pub fn dearmor(data: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    if data.len() > MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    if data.first().is_some_and(|first| first & 0x80 != 0) {
        return Ok(Cow::Borrowed(data));
    }
    if contains(data, b"-----BEGIN PGP PRIVATE KEY") {
        return Err(Refusal::SecretKey);
    }
    let heading = b"-----BEGIN PGP ";
    if data.windows(heading.len()).filter(|window| window == heading).count() > 1 {
        return Err(Refusal::SeveralCertificates);
    }
    let mut reader = Dearmor::with_options(data, DearmorOptions::default().set_limit(MAX_BYTES));
    reader.read_header().map_err(|_| Refusal::Malformed)?;
    if reader.typ != Some(BlockType::PublicKey) {
        return Err(Refusal::Malformed);
    }
    // Base64 shrinks, so the limit on the armored bytes already bounds what is read here.
    let mut binary = Vec::with_capacity(data.len());
    reader
        .take(MAX_BYTES as u64)
        .read_to_end(&mut binary)
        .map_err(|_| Refusal::Malformed)?;
    Ok(Cow::Owned(binary))
}

/// Reads exactly one transferable public key.
///
/// A signature, user ID or subkey that cannot be parsed (a newer version, an unknown algorithm) is left out with what
/// hangs on it, as RFC 9580 section 4.3 asks; the rest may still hold a usable key.
///
/// # Errors
/// `SecretKey`, `SeveralCertificates`, `TooManyParts`, `Malformed`.
pub fn parse(data: &[u8]) -> Result<Parts<'_>, Refusal> {
    let frames = split(data)?;
    let mut frames = frames.iter();
    let Some(first) = frames.next() else {
        return Err(Refusal::Malformed);
    };
    let Some(Packet::PublicKey(primary)) = first.parse() else {
        return Err(Refusal::Malformed);
    };
    let mut parts = Parts {
        primary: Part {
            raw: first.raw,
            value: primary,
        },
        signatures: Vec::new(),
        users: Vec::new(),
        subkeys: Vec::new(),
    };
    let mut place = Place::Primary;
    for frame in frames {
        match (frame.header.tag(), frame.parse()) {
            (Tag::UserId, Some(Packet::UserId(value))) => {
                let part = Part { raw: frame.raw, value };
                parts.users.push(Component {
                    part,
                    signatures: Vec::new(),
                });
                place = Place::User;
            }
            (Tag::PublicSubkey, Some(Packet::PublicSubkey(value))) => {
                let part = Part { raw: frame.raw, value };
                parts.subkeys.push(Component {
                    part,
                    signatures: Vec::new(),
                });
                place = Place::Subkey;
            }
            (Tag::Signature, Some(Packet::Signature(value))) => {
                let signatures = match place {
                    Place::Primary => Some(&mut parts.signatures),
                    Place::User => parts.users.last_mut().map(|user| &mut user.signatures),
                    Place::Subkey => parts.subkeys.last_mut().map(|subkey| &mut subkey.signatures),
                    Place::Ignored => None,
                };
                if let Some(signatures) = signatures {
                    signatures.push(Part { raw: frame.raw, value });
                }
            }
            (Tag::UserId | Tag::PublicSubkey | Tag::UserAttribute, _) => place = Place::Ignored,
            _ => {}
        }
    }
    Ok(parts)
}

/// What the next signature packet belongs to.
#[derive(Clone, Copy)]
enum Place {
    Primary,
    User,
    Subkey,
    Ignored,
}

struct Frame<'a> {
    header: PacketHeader,
    raw: &'a [u8],
    body: &'a [u8],
}

impl Frame<'_> {
    /// `None` for packets that a certificate's meaning does not rest on, and for those that rPGP does not understand.
    fn parse(&self) -> Option<Packet> {
        match self.header.tag() {
            Tag::PublicKey | Tag::PublicSubkey | Tag::UserId | Tag::Signature => {
                Packet::from_reader(self.header, self.body).ok()
            }
            _ => None,
        }
    }
}

fn split(data: &[u8]) -> Result<Vec<Frame<'_>>, Refusal> {
    if data.len() > MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    let mut frames = Vec::new();
    let (mut n_primaries, mut n_users, mut n_subkeys) = (0_usize, 0_usize, 0_usize);
    let mut rest = data;
    while !rest.is_empty() {
        let start = rest;
        let header = PacketHeader::try_from_reader(&mut rest).map_err(|_| Refusal::Malformed)?;
        let PacketLength::Fixed(length) = header.packet_length() else {
            return Err(Refusal::Malformed);
        };
        let length = usize::try_from(length).map_err(|_| Refusal::Malformed)?;
        let (body, after) = rest.split_at_checked(length).ok_or(Refusal::Malformed)?;
        let raw = start.get(..start.len() - after.len()).ok_or(Refusal::Malformed)?;
        rest = after;
        match header.tag() {
            Tag::SecretKey | Tag::SecretSubkey => return Err(Refusal::SecretKey),
            Tag::PublicKey => n_primaries += 1,
            Tag::UserId => n_users += 1,
            Tag::PublicSubkey => n_subkeys += 1,
            Tag::Signature | Tag::UserAttribute | Tag::Trust => {}
            // These carry nothing by definition (RFC 9580 sections 4.3, 5.8 and 5.14).
            Tag::Marker | Tag::Padding | Tag::UnassignedNonCritical(_) | Tag::Experimental(_) => {}
            _ => return Err(Refusal::Malformed),
        }
        if n_primaries > 1 {
            return Err(Refusal::SeveralCertificates);
        }
        if frames.len() >= MAX_PACKETS || n_users > MAX_COMPONENTS || n_subkeys > MAX_COMPONENTS {
            return Err(Refusal::TooManyParts);
        }
        frames.push(Frame { header, raw, body });
    }
    Ok(frames)
}

fn contains(data: &[u8], wanted: &[u8]) -> bool {
    data.windows(wanted.len()).any(|window| window == wanted)
}
