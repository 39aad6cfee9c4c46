//! The archive envelope: AWS Encryption SDK message format version 2, suite 0x0478.
//!
//! The format is public, so a customer opens an archived object with Amazon's own tools and a record key, without us.
//! The suite is AES-256-GCM with HKDF-SHA-512 and key commitment, without a signature. A fresh data key is made for
//! every message and wrapped under a [`WrappingKey`] as Amazon's raw AES keyring does it. [`open`] releases nothing
//! unless the commitment, the context and every frame verify. Where the record key comes from and when it is
//! destroyed is the caller's business. Sources: the AWS Encryption SDK developer guide, "Message format reference"
//! and "Algorithms reference", and the specification's `raw-aes-keyring`.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hkdf, rand};
use zeroize::Zeroizing;

mod wire;

use wire::{Frame, Header, Reader};

/// Plaintext octets in a frame. The default of Amazon's own libraries, so the size that every reader is used to; a
/// reader that streams holds one frame, and the 32 octets around each cost less than one per cent.
pub const FRAME_LENGTH: usize = 4096;
/// Octets of a key, a message id, a derived key and a commitment.
const KEY: usize = 32;
/// Octets of a GCM tag.
const TAG: usize = 16;
/// Octets of a GCM nonce.
const NONCE: usize = 12;

/// A 256-bit key that wraps data keys, and the two names under which a reader finds it.
#[derive(Clone)]
pub struct WrappingKey {
    /// Key namespace ("key provider"). May not begin with `aws-kms`, which the format reserves.
    pub namespace: String,
    /// Key name inside the namespace.
    pub name: String,
    /// The AES key.
    pub key: Zeroizing<[u8; KEY]>,
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappingKey")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why an envelope was not made or not opened. No message repeats a context value or content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A name or the context is longer than its length field can say, or the namespace is reserved.
    #[error("the key name or the context does not fit the envelope")]
    Unrepresentable,
    /// Not a message of this format and suite, cut short, or with octets after its end.
    #[error("the envelope is malformed")]
    Malformed,
    /// No data key in it was wrapped under this key's names.
    #[error("the envelope was not made for this key")]
    OtherKey,
    /// A tag, the commitment or the order of frames is wrong: altered, or another key under the same name.
    #[error("the envelope does not verify")]
    Unverified,
    /// Genuine, but sealed for something else than the caller expects.
    #[error("the envelope belongs to another context")]
    OtherContext,
    /// The cryptographic library failed, as without random numbers.
    #[error("the cryptographic library failed")]
    Library,
}

/// Seals `plaintext` for `context` under `key`. The context is stored in clear inside the envelope: ids only, never
/// protected data. Two calls give different octets.
///
/// # Errors
/// [`EnvelopeError::Unrepresentable`] for names or a context over 65,535 octets, an empty name or a namespace that
/// begins with `aws-kms`; [`EnvelopeError::Library`].
pub fn seal(key: &WrappingKey, context: &BTreeMap<String, String>, plaintext: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    if key.namespace.is_empty() || key.name.is_empty() || key.namespace.starts_with("aws-kms") {
        return Err(EnvelopeError::Unrepresentable);
    }
    let context = wire::context(context)?;
    let mut data_key = Zeroizing::new([0; KEY]);
    rand::fill(data_key.as_mut()).map_err(|_| EnvelopeError::Library)?;
    let mut message_id = [0; KEY];
    rand::fill(&mut message_id).map_err(|_| EnvelopeError::Library)?;
    let (body_key, commitment) = derive(&data_key, &message_id)?;

    let header = Header {
        message_id,
        context: &context,
        data_keys: vec![wrap(key, &context, &data_key)?],
        frame_length: u32::try_from(FRAME_LENGTH).map_err(|_| EnvelopeError::Unrepresentable)?,
        commitment,
    };
    let mut message = header.to_bytes()?;
    let n_frames = plaintext.len().div_ceil(FRAME_LENGTH).max(1);
    message.reserve_exact(TAG + plaintext.len() + (n_frames + 1) * (TAG + NONCE + 12));
    // The header is authenticated as associated data of an empty text under the body key, with nonce zero; frames
    // count from one, so that nonce never comes again.
    let tag = cipher(&body_key)?
        .seal_in_place_separate_tag(nonce(0), Aad::from(message.as_slice()), &mut [])
        .map_err(|_| EnvelopeError::Library)?;
    message.extend_from_slice(tag.as_ref());

    let cipher = cipher(&body_key)?;
    let mut rest = plaintext;
    let mut sequence: u32 = 1;
    loop {
        let is_final = rest.len() <= FRAME_LENGTH;
        let (content, next) = rest.split_at_checked(FRAME_LENGTH).unwrap_or((rest, &[]));
        let start = wire::begin_frame(&mut message, sequence, is_final, content)?;
        let aad = wire::frame_aad(&header.message_id, sequence, is_final, content.len());
        let sealed = message.get_mut(start..).ok_or(EnvelopeError::Library)?;
        let tag = cipher
            .seal_in_place_separate_tag(nonce(sequence), Aad::from(aad), sealed)
            .map_err(|_| EnvelopeError::Library)?;
        message.extend_from_slice(tag.as_ref());
        if is_final {
            return Ok(message);
        }
        rest = next;
        sequence = sequence.checked_add(1).ok_or(EnvelopeError::Unrepresentable)?;
    }
}

/// Opens an envelope that was sealed under `key` for exactly `expected` as its context.
///
/// # Errors
/// [`EnvelopeError`]; nothing of the content is released then.
pub fn open(
    key: &WrappingKey,
    expected: &BTreeMap<String, String>,
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let mut reader = Reader::new(message);
    let header = Header::read(&mut reader)?;
    let header_bytes = message.get(..reader.position()).ok_or(EnvelopeError::Malformed)?;
    let header_tag = reader.take(TAG)?;

    let data_key = header
        .data_keys
        .iter()
        .filter(|data_key| data_key.is_under(key))
        .map(|data_key| unwrap(key, header.context, data_key))
        .reduce(|first, other| first.or(other))
        .ok_or(EnvelopeError::OtherKey)??;
    let (body_key, commitment) = derive(&data_key, &header.message_id)?;
    constant_time::verify_slices_are_equal(&commitment, &header.commitment).map_err(|_| EnvelopeError::Unverified)?;
    let cipher = cipher(&body_key)?;
    cipher
        .open_separate_gather(nonce(0), Aad::from(header_bytes), &[], header_tag, &mut [])
        .map_err(|_| EnvelopeError::Unverified)?;
    if header.context != wire::context(expected)? {
        return Err(EnvelopeError::OtherContext);
    }

    let frame_length = usize::try_from(header.frame_length).map_err(|_| EnvelopeError::Malformed)?;
    // Reserved once: growing would leave copies of the content behind in freed memory.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(message.len()));
    let mut sequence: u32 = 1;
    loop {
        let frame = Frame::read(&mut reader, frame_length)?;
        if frame.sequence != sequence {
            return Err(EnvelopeError::Unverified);
        }
        let aad = wire::frame_aad(&header.message_id, sequence, frame.is_final, frame.content.len());
        let start = plaintext.len();
        plaintext.resize(start + frame.content.len(), 0);
        let out = plaintext.get_mut(start..).ok_or(EnvelopeError::Library)?;
        cipher
            .open_separate_gather(
                Nonce::assume_unique_for_key(frame.nonce),
                Aad::from(aad),
                frame.content,
                frame.tag,
                out,
            )
            .map_err(|_| EnvelopeError::Unverified)?;
        if frame.is_final {
            break;
        }
        sequence = sequence.checked_add(1).ok_or(EnvelopeError::Malformed)?;
    }
    if !reader.is_at_end() {
        return Err(EnvelopeError::Malformed);
    }
    Ok(plaintext)
}

/// The body key and the commitment of a data key (algorithms reference, "Key derivation"): HKDF-SHA-512, salted with
/// the message id.
fn derive(
    data_key: &Zeroizing<[u8; KEY]>,
    message_id: &[u8; KEY],
) -> Result<(Zeroizing<[u8; KEY]>, [u8; KEY]), EnvelopeError> {
    struct Length;
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            KEY
        }
    }

    let prk = hkdf::Salt::new(hkdf::HKDF_SHA512, message_id).extract(data_key.as_ref());
    let mut body_key = Zeroizing::new([0; KEY]);
    prk.expand(&[&wire::SUITE, b"DERIVEKEY"], Length)
        .and_then(|okm| okm.fill(body_key.as_mut()))
        .map_err(|_| EnvelopeError::Library)?;
    let mut commitment = [0; KEY];
    prk.expand(&[b"COMMITKEY"], Length)
        .and_then(|okm| okm.fill(&mut commitment))
        .map_err(|_| EnvelopeError::Library)?;
    Ok((body_key, commitment))
}

fn wrap(key: &WrappingKey, context: &[u8], data_key: &Zeroizing<[u8; KEY]>) -> Result<wire::DataKey, EnvelopeError> {
    let mut iv = [0; NONCE];
    rand::fill(&mut iv).map_err(|_| EnvelopeError::Library)?;
    let mut wrapped = data_key.to_vec();
    let tag = cipher(&key.key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(context), &mut wrapped)
        .map_err(|_| EnvelopeError::Library)?;
    wrapped.extend_from_slice(tag.as_ref());
    Ok(wire::DataKey::new(key, iv, wrapped))
}

fn unwrap(key: &WrappingKey, context: &[u8], data_key: &wire::DataKey) -> Result<Zeroizing<[u8; KEY]>, EnvelopeError> {
    let (iv, wrapped) = data_key.parts(key)?;
    let (wrapped, tag) = wrapped.split_at_checked(KEY).ok_or(EnvelopeError::Malformed)?;
    let mut plain = Zeroizing::new([0; KEY]);
    cipher(&key.key)?
        .open_separate_gather(
            Nonce::assume_unique_for_key(iv),
            Aad::from(context),
            wrapped,
            tag,
            plain.as_mut(),
        )
        .map_err(|_| EnvelopeError::Unverified)?;
    Ok(plain)
}

fn cipher(key: &Zeroizing<[u8; KEY]>) -> Result<LessSafeKey, EnvelopeError> {
    UnboundKey::new(&AES_256_GCM, key.as_ref())
        .map(LessSafeKey::new)
        .map_err(|_| EnvelopeError::Library)
}

/// The nonce of a frame: its number in 96 bits. Every message has its own body key, so numbers are enough.
fn nonce(sequence: u32) -> Nonce {
    let [a, b, c, d] = sequence.to_be_bytes();
    Nonce::assume_unique_for_key([0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
}

#[cfg(test)]
mod tests;
