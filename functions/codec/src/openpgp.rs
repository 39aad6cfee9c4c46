//! OpenPGP (RFC 9580) for recipients: whether a certificate may be used, and encryption to it.
//!
//! An import keeps the primary key, the user IDs that matter, the newest usable encryption subkey and the self-signature
//! of each, nothing else: what is stored has been verified and stays small. Whether it is still valid is asked again at
//! every use, and `encrypt` asks by itself. Every call may be repeated; there is no state. Certificates come from strangers
//! and are parsed by rPGP: input is bounded before it gets there and a panic inside it ends as a refusal. The caller
//! pins fingerprints and decides what a changed one means. rPGP writes parsed input to the `log` facade, so no program may
//! connect that facade to its own log.

mod judge;
mod packets;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pgp::composed::{ArmorOptions, MessageBuilder};
use pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::PublicSubkey;
use rand_core::OsRng;

use crate::address::Address;

/// How far in the future a creation time may lie, in seconds: the owner's clock may be ahead of ours.
const CLOCK_LEEWAY_S: i64 = 600;

/// A recipient's certificate that passed the import, bound to one subkey.
#[derive(Clone)]
pub struct Certificate {
    fingerprint: String,
    subkey_fingerprint: String,
    algorithm: String,
    valid_from: i64,
    expires_at: Option<i64>,
    aead: Option<AeadAlgorithm>,
    bytes: Vec<u8>,
    subkey: PublicSubkey,
}

impl Certificate {
    /// Takes a certificate from outside, armored or binary, at most 256 KiB, for use with `address` from `now` (seconds
    /// since the epoch) on.
    ///
    /// # Errors
    /// Every [`Refusal`]; see there.
    pub fn import(data: &[u8], address: &Address, now: i64) -> Result<Self, Refusal> {
        contained(|| {
            let binary = packets::dearmor(data)?;
            let certificate = judge::certificate(&packets::parse(&binary)?, address, Some(now))?;
            certificate.check(now)?;
            // A key can be well formed and still unusable (key-wrapping parameters that nobody implements); better to
            // learn it now than when a message waits.
            certificate.seal(b"").map_err(|_| Refusal::NoEncryptionKey)?;
            Ok(certificate)
        })
    }

    /// Reads what [`Self::to_bytes`] wrote. Its few signatures are verified again, so that a changed record does not
    /// change the key; whether it is valid today is for [`Self::check`].
    ///
    /// # Errors
    /// Every [`Refusal`] that does not depend on the time.
    pub fn from_stored(bytes: &[u8], address: &Address) -> Result<Self, Refusal> {
        contained(|| judge::certificate(&packets::parse(bytes)?, address, None))
    }

    /// Whether the keys and signatures are valid at `now` (seconds since the epoch).
    ///
    /// # Errors
    /// [`Refusal::Expired`], [`Refusal::NotYetValid`].
    pub fn check(&self, now: i64) -> Result<(), Refusal> {
        check_period(self.valid_from, self.expires_at, now)
    }

    /// Fingerprint of the primary key: 40 (version 4) or 64 (version 6) upper-case hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Fingerprint of the subkey that messages are encrypted to, written like [`Self::fingerprint`].
    #[must_use]
    pub fn subkey_fingerprint(&self) -> &str {
        &self.subkey_fingerprint
    }

    /// Algorithm of that subkey: `RSA-<bits>`, `X25519`, `P-256`, `P-384` or `P-521`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// When the first of the keys and self-signatures in use expires, in seconds since the epoch; `None` is never.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.expires_at
    }

    /// Whether the owner says that version 2 of the encrypted data packet can be read (RFC 9580 section 5.2.3.32).
    #[must_use]
    pub fn supports_seipd_v2(&self) -> bool {
        self.aead.is_some()
    }

    /// The certificate reduced to what is in use, binary.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// No compression: the size of compressed text tells about its content, and it costs time. rPGP leaves the file name
    /// empty and the date zero (RFC 9580 section 5.9).
    fn seal(&self, plaintext: &[u8]) -> pgp::errors::Result<String> {
        let message = MessageBuilder::from_bytes("", plaintext.to_vec());
        let cipher = SymmetricKeyAlgorithm::AES256;
        match self.aead {
            None => {
                let mut message = message.seipd_v1(OsRng, cipher);
                message.encrypt_to_key(OsRng, &self.subkey)?;
                message.to_armored_string(
                    OsRng,
                    ArmorOptions {
                        headers: None,
                        include_checksum: true,
                    },
                )
            }
            Some(aead) => {
                let mut message = message.seipd_v2(OsRng, cipher, aead, ChunkSize::C64KiB);
                message.encrypt_to_key(OsRng, &self.subkey)?;
                // RFC 9580 section 6.1: no checksum on messages of this version.
                message.to_armored_string(
                    OsRng,
                    ArmorOptions {
                        headers: None,
                        include_checksum: false,
                    },
                )
            }
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[OpenPGP certificate]")
    }
}

/// Why a certificate is not used. The text never repeats the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// More than 256 KiB.
    #[error("the certificate is larger than 256 KiB")]
    TooLarge,
    /// More packets, user IDs, subkeys or self-signatures than are looked at.
    #[error("the certificate has too many parts")]
    TooManyParts,
    /// Not a transferable public key.
    #[error("this is not an OpenPGP public key")]
    Malformed,
    /// A secret key, whole or in part. Its owner should be told that it has been exposed.
    #[error("this is a secret key; only the public key may be given away")]
    SecretKey,
    /// More than one certificate.
    #[error("there is more than one certificate")]
    SeveralCertificates,
    /// No user ID of the certificate holds the recipient's address.
    #[error("the certificate does not name this address")]
    WrongAddress,
    /// The key, its user ID or its encryption subkey is revoked.
    #[error("the certificate is revoked")]
    Revoked,
    /// The key, its encryption subkey or a self-signature in use has expired.
    #[error("the certificate has expired")]
    Expired,
    /// A key or self-signature is dated in the future.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// RSA below 2048 bits, DSA, an unusual curve, or a key version before 4.
    #[error("the key is too weak")]
    WeakKey,
    /// The newest self-signature rests on SHA-1, MD5 or RIPEMD-160.
    #[error("a signature of the key on itself uses a broken hash")]
    WeakSignature,
    /// The user ID or the encryption subkey is not bound by a signature that verifies.
    #[error("a signature of the key on itself is missing or wrong")]
    BadSignature,
    /// No subkey marked for encryption, or none of a kind that can be encrypted to.
    #[error("the certificate has no key to encrypt to")]
    NoEncryptionKey,
}

impl Refusal {
    /// Stable code for answers, records and counters.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::TooManyParts => "too_many_parts",
            Self::Malformed => "malformed",
            Self::SecretKey => "secret_key",
            Self::SeveralCertificates => "several_certificates",
            Self::WrongAddress => "wrong_address",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WeakKey => "weak_key",
            Self::WeakSignature => "weak_signature",
            Self::BadSignature => "bad_signature",
            Self::NoEncryptionKey => "no_encryption_key",
        }
    }
}

/// Why a message was not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The certificate may not be used now.
    #[error("the certificate may not be used: {0}")]
    Refused(#[from] Refusal),
    /// The encryption itself failed; the same message may work later only with another certificate.
    #[error("the message could not be encrypted")]
    Failed,
}

/// Encrypts to the certificate's subkey and returns the armored message (RFC 9580 section 10.3).
///
/// AES-256 in version 1 of the encrypted data packet, which all software reads, or in version 2 with OCB or GCM if the
/// certificate says that its owner reads that.
///
/// # Errors
/// [`EncryptError::Refused`] if the certificate is not valid at `now` (seconds since the epoch).
pub fn encrypt(plaintext: &[u8], certificate: &Certificate, now: i64) -> Result<String, EncryptError> {
    certificate.check(now)?;
    match catch_unwind(AssertUnwindSafe(|| certificate.seal(plaintext))) {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(_)) | Err(_) => Err(EncryptError::Failed),
    }
}

fn check_period(valid_from: i64, expires_at: Option<i64>, now: i64) -> Result<(), Refusal> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Refusal::Expired);
    }
    if valid_from > now.saturating_add(CLOCK_LEEWAY_S) {
        return Err(Refusal::NotYetValid);
    }
    Ok(())
}

/// Nothing is shared with `work` but the borrowed input, so a panic leaves nothing half done.
fn contained(work: impl FnOnce() -> Result<Certificate, Refusal>) -> Result<Certificate, Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Refusal::Malformed))
}

#[cfg(test)]
mod tests;
