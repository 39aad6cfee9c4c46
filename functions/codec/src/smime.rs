//! S/MIME (RFC 8551) over CMS (RFC 5652): which certificates of recipients may be used, sealing a MIME entity to one of
//! them, and signing with a key that never leaves KMS.
//!
//! `cms` and `x509-cert` give the ASN.1, `aws-lc-rs` every primitive; no other module names the first two. Signing takes
//! two steps, because the private key is elsewhere: prepare the bytes, have them signed, finish. Nothing here parses CMS
//! that somebody else made, and nothing here checks a chain: an upload is pinned by the person who made it.

pub mod signing;

mod asn1;
mod capabilities;
mod certificate;
mod encrypt;
mod input;
mod key;
#[cfg(test)]
mod openssl;
mod refusal;
mod signer;

pub use certificate::Certificate;
pub use encrypt::{ContentCipher, EncryptError, encrypt};
pub use refusal::Refusal;
pub use signer::{SignerCertificate, SignerDetails, UnsignedSignerCertificate};
