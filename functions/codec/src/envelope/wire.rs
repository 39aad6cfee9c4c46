//! The octets of the envelope: header, data keys, frames, associated data. No cryptography.
//!
//! All numbers are big-endian. The reader never indexes and never allocates more than the message holds.

use std::collections::BTreeMap;

use super::{EnvelopeError, KEY, NONCE, TAG, WrappingKey};

/// Message format version 2.
const VERSION: u8 = 2;
/// `AES_256_GCM_HKDF_SHA512_COMMIT_KEY`.
pub(super) const SUITE: [u8; 2] = [0x04, 0x78];
/// Content type "framed".
const FRAMED: u8 = 2;
/// What stands before the number of the last frame.
const FINAL: u32 = u32::MAX;
/// Most data keys that a message may carry; the format allows 65,535, ours carry one.
const MAX_DATA_KEYS: u16 = 16;

/// The header body, without its tag.
pub(super) struct Header<'a> {
    pub(super) message_id: [u8; KEY],
    /// As serialised by [`context`].
    pub(super) context: &'a [u8],
    pub(super) data_keys: Vec<DataKey>,
    pub(super) frame_length: u32,
    pub(super) commitment: [u8; KEY],
}

/// A data key wrapped by somebody.
pub(super) struct DataKey {
    provider: Vec<u8>,
    information: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// A regular or final frame of the body.
pub(super) struct Frame<'a> {
    pub(super) sequence: u32,
    pub(super) is_final: bool,
    pub(super) nonce: [u8; NONCE],
    pub(super) content: &'a [u8],
    pub(super) tag: &'a [u8],
}

impl Header<'_> {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&SUITE);
        out.extend_from_slice(&self.message_id);
        put(&mut out, self.context)?;
        out.extend_from_slice(&length(self.data_keys.len())?);
        for data_key in &self.data_keys {
            put(&mut out, &data_key.provider)?;
            put(&mut out, &data_key.information)?;
            put(&mut out, &data_key.ciphertext)?;
        }
        out.push(FRAMED);
        out.extend_from_slice(&self.frame_length.to_be_bytes());
        out.extend_from_slice(&self.commitment);
        Ok(out)
    }

    pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Header<'a>, EnvelopeError> {
        if reader.array::<1>()? != [VERSION] || reader.array::<2>()? != SUITE {
            return Err(EnvelopeError::Malformed);
        }
        let message_id = reader.array()?;
        let context = reader.counted()?;
        let n_data_keys = reader.u16()?;
        if n_data_keys == 0 || n_data_keys > MAX_DATA_KEYS {
            return Err(EnvelopeError::Malformed);
        }
        let mut data_keys = Vec::with_capacity(n_data_keys.into());
        for _ in 0..n_data_keys {
            data_keys.push(DataKey {
                provider: reader.counted()?.to_vec(),
                information: reader.counted()?.to_vec(),
                ciphertext: reader.counted()?.to_vec(),
            });
        }
        if reader.array::<1>()? != [FRAMED] {
            return Err(EnvelopeError::Malformed);
        }
        let frame_length = reader.u32()?;
        if frame_length == 0 {
            return Err(EnvelopeError::Malformed);
        }
        Ok(Header {
            message_id,
            context,
            data_keys,
            frame_length,
            commitment: reader.array()?,
        })
    }
}

impl DataKey {
    pub(super) fn new(key: &WrappingKey, iv: [u8; NONCE], ciphertext: Vec<u8>) -> DataKey {
        let mut information = information(key);
        information.extend_from_slice(&iv);
        DataKey {
            provider: key.namespace.as_bytes().to_vec(),
            information,
            ciphertext,
        }
    }

    /// Whether a raw AES keyring with this key's names wrapped it.
    pub(super) fn is_under(&self, key: &WrappingKey) -> bool {
        self.provider == key.namespace.as_bytes()
            && self
                .information
                .strip_prefix(information(key).as_slice())
                .is_some_and(|iv| iv.len() == NONCE)
    }

    /// The nonce, and the ciphertext with its tag.
    pub(super) fn parts(&self, key: &WrappingKey) -> Result<([u8; NONCE], &[u8]), EnvelopeError> {
        let iv = self
            .information
            .strip_prefix(information(key).as_slice())
            .and_then(|iv| iv.try_into().ok())
            .ok_or(EnvelopeError::Malformed)?;
        if self.ciphertext.len() != KEY + TAG {
            return Err(EnvelopeError::Malformed);
        }
        Ok((iv, &self.ciphertext))
    }
}

impl Frame<'_> {
    pub(super) fn read<'a>(reader: &mut Reader<'a>, frame_length: usize) -> Result<Frame<'a>, EnvelopeError> {
        let first = reader.u32()?;
        let is_final = first == FINAL;
        let sequence = if is_final { reader.u32()? } else { first };
        let nonce = reader.array()?;
        let n_content = if is_final {
            usize::try_from(reader.u32()?).map_err(|_| EnvelopeError::Malformed)?
        } else {
            frame_length
        };
        if n_content > frame_length {
            return Err(EnvelopeError::Malformed);
        }
        Ok(Frame {
            sequence,
            is_final,
            nonce,
            content: reader.take(n_content)?,
            tag: reader.take(TAG)?,
        })
    }
}

/// Appends a frame up to and with its content still in clear, and says where the content begins.
pub(super) fn begin_frame(
    out: &mut Vec<u8>,
    sequence: u32,
    is_final: bool,
    content: &[u8],
) -> Result<usize, EnvelopeError> {
    if is_final {
        out.extend_from_slice(&FINAL.to_be_bytes());
    }
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&[0; NONCE - 4]);
    out.extend_from_slice(&sequence.to_be_bytes());
    if is_final {
        let length = u32::try_from(content.len()).map_err(|_| EnvelopeError::Unrepresentable)?;
        out.extend_from_slice(&length.to_be_bytes());
    }
    let start = out.len();
    out.extend_from_slice(content);
    Ok(start)
}

/// Associated data of a frame ("Body AAD reference").
pub(super) fn frame_aad(message_id: &[u8; KEY], sequence: u32, is_final: bool, n_content: usize) -> Vec<u8> {
    let kind: &[u8] = if is_final {
        b"AWSKMSEncryptionClient Final Frame"
    } else {
        b"AWSKMSEncryptionClient Frame"
    };
    let mut aad = message_id.to_vec();
    aad.extend_from_slice(kind);
    aad.extend_from_slice(&sequence.to_be_bytes());
    aad.extend_from_slice(&(n_content as u64).to_be_bytes());
    aad
}

/// The encryption context: count, then key and value each after its length, in the order of the keys' octets. An empty
/// context is no octets at all.
pub(super) fn context(pairs: &BTreeMap<String, String>) -> Result<Vec<u8>, EnvelopeError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = length(pairs.len())?.to_vec();
    for (key, value) in pairs {
        put(&mut out, key.as_bytes())?;
        put(&mut out, value.as_bytes())?;
    }
    length(out.len())?;
    Ok(out)
}

/// What a raw AES keyring writes before the nonce: key name, tag length in bits, nonce length in octets.
fn information(key: &WrappingKey) -> Vec<u8> {
    let mut out = key.name.as_bytes().to_vec();
    out.extend_from_slice(&[0, 0, 0, 128]);
    out.extend_from_slice(&[0, 0, 0, 12]);
    out
}

fn put(out: &mut Vec<u8>, octets: &[u8]) -> Result<(), EnvelopeError> {
    out.extend_from_slice(&length(octets.len())?);
    out.extend_from_slice(octets);
    Ok(())
}

fn length(n: usize) -> Result<[u8; 2], EnvelopeError> {
    u16::try_from(n)
        .map(u16::to_be_bytes)
        .map_err(|_| EnvelopeError::Unrepresentable)
}

/// Takes octets off the front of a message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Reader<'a> {
        Reader {
            rest: message,
            total: message.len(),
        }
    }

    pub(super) fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(EnvelopeError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        self.take(N)?.try_into().map_err(|_| EnvelopeError::Malformed)
    }

    fn u16(&mut self) -> Result<u16, EnvelopeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, EnvelopeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn counted(&mut self) -> Result<&'a [u8], EnvelopeError> {
        let n = self.u16()?;
        self.take(n.into())
    }
}
