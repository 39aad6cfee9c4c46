//! What the kinds of keys can do: pure functions over a key's material.
//!
//! A ciphertext is a header (format, key id, a tag under the service's secret), a nonce, and AES-256-GCM over the plaintext with
//! header and encryption context as additional data. The header's tag tells a changed ciphertext from one whose key is gone.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey,
};
use aws_lc_rs::{constant_time, hmac, rand};
use http::StatusCode;

use crate::aws::error::AwsError;
use crate::aws::random;

/// What a ciphertext is bound to.
pub(super) type Context = BTreeMap<String, String>;

const FORMAT: u8 = 1;
const ID_LEN: usize = 16;
const TAG_LEN: usize = 16;

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spec {
    Symmetric,
    P256,
    Ed25519,
    Hmac256,
}

impl Spec {
    pub(super) const ALL: [Self; 4] = [Self::Symmetric, Self::P256, Self::Ed25519, Self::Hmac256];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Symmetric => "SYMMETRIC_DEFAULT",
            Self::P256 => "ECC_NIST_P256",
            Self::Ed25519 => "ECC_NIST_EDWARDS25519",
            Self::Hmac256 => "HMAC_256",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|spec| spec.as_str() == text)
    }

    pub(super) const fn usage(self) -> &'static str {
        match self {
            Self::Symmetric => "ENCRYPT_DECRYPT",
            Self::P256 | Self::Ed25519 => "SIGN_VERIFY",
            Self::Hmac256 => "GENERATE_VERIFY_MAC",
        }
    }

    /// The member of KeyMetadata that lists the algorithms, and the only algorithm that is implemented.
    pub(super) const fn algorithms(self) -> (&'static str, &'static str) {
        match self {
            Self::Symmetric => ("EncryptionAlgorithms", "SYMMETRIC_DEFAULT"),
            Self::P256 => ("SigningAlgorithms", "ECDSA_SHA_256"),
            Self::Ed25519 => ("SigningAlgorithms", "ED25519_SHA_512"),
            Self::Hmac256 => ("MacAlgorithms", "HMAC_SHA_256"),
        }
    }

    /// New material: a raw key, or PKCS #8.
    pub(super) fn generate(self) -> Result<Vec<u8>, AwsError> {
        let random = SystemRandom::new();
        match self {
            Self::Symmetric | Self::Hmac256 => random_bytes(32),
            Self::P256 => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
                Ok(made.map_err(|_| internal())?.as_ref().to_vec())
            }
            Self::Ed25519 => Ok(Ed25519KeyPair::generate_pkcs8(&random)
                .map_err(|_| internal())?
                .as_ref()
                .to_vec()),
        }
    }
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Message<'a> {
    Raw(&'a [u8]),
    /// SHA-256 of the message.
    Digest(&'a [u8]),
}

/// The start of a ciphertext: which key it is under.
pub(super) struct Header {
    id: [u8; ID_LEN],
    bytes: Vec<u8>,
}

impl Header {
    fn new(secret: &[u8], key_id: &str) -> Result<Self, AwsError> {
        let digits: String = key_id.chars().filter(char::is_ascii_hexdigit).collect();
        let id = u128::from_str_radix(&digits, 16).map_err(|_| internal())?.to_be_bytes();
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&id);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &bytes);
        bytes.extend(tag.as_ref().iter().take(TAG_LEN));
        Ok(Self { id, bytes })
    }

    /// Reads the header of a ciphertext that this service made.
    pub(super) fn read(secret: &[u8], ciphertext: &[u8]) -> Result<Self, AwsError> {
        let id = ciphertext
            .get(1..1 + ID_LEN)
            .and_then(|id| <[u8; ID_LEN]>::try_from(id).ok());
        let expected = Self::new(
            secret,
            &format!("{:032x}", u128::from_be_bytes(id.ok_or_else(invalid)?)),
        )?;
        let found = ciphertext.get(..expected.bytes.len()).ok_or_else(invalid)?;
        constant_time::verify_slices_are_equal(found, &expected.bytes).map_err(|_| invalid())?;
        Ok(expected)
    }

    /// The key's id, as a UUID is written.
    pub(super) fn key_id(&self) -> String {
        random::uuid(self.id)
    }
}

/// Encrypts under a symmetric key.
pub(super) fn seal(
    secret: &[u8],
    key_id: &str,
    material: &[u8],
    context: &Context,
    plaintext: &[u8],
) -> Result<Vec<u8>, AwsError> {
    let header = Header::new(secret, key_id)?;
    let nonce: [u8; NONCE_LEN] = random_bytes(NONCE_LEN)?.try_into().map_err(|_| internal())?;
    let mut sealed = plaintext.to_vec();
    aead(material)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(&header, context), &mut sealed)
        .map_err(|_| internal())?;
    let mut ciphertext = header.bytes;
    ciphertext.extend_from_slice(&nonce);
    ciphertext.extend(sealed);
    Ok(ciphertext)
}

/// Decrypts; any change of the ciphertext or the context is InvalidCiphertextException.
pub(super) fn open(
    header: &Header,
    material: &[u8],
    context: &Context,
    ciphertext: &[u8],
) -> Result<Vec<u8>, AwsError> {
    let rest = ciphertext.get(header.bytes.len()..).ok_or_else(invalid)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(invalid)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| invalid())?;
    let mut sealed = sealed.to_vec();
    let plain = aead(material)?
        .open_in_place(nonce, aad(header, context), &mut sealed)
        .map_err(|_| invalid())?;
    Ok(plain.to_vec())
}

/// Signs; ECDSA signatures are DER.
pub(super) fn sign(spec: Spec, material: &[u8], message: Message<'_>) -> Result<Vec<u8>, AwsError> {
    match (spec, message) {
        (Spec::P256, message) => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, material).map_err(|_| internal())?;
            let signed = match message {
                Message::Raw(raw) => pair.sign(&SystemRandom::new(), raw),
                Message::Digest(bytes) => pair.sign_digest(&digest(bytes)?),
            };
            Ok(signed.map_err(|_| internal())?.as_ref().to_vec())
        }
        (Spec::Ed25519, Message::Raw(raw)) => {
            let pair = Ed25519KeyPair::from_pkcs8(material).map_err(|_| internal())?;
            Ok(pair.sign(raw).as_ref().to_vec())
        }
        _ => Err(internal()),
    }
}

/// Whether a signature holds.
pub(super) fn verifies(spec: Spec, material: &[u8], message: Message<'_>, signature: &[u8]) -> Result<bool, AwsError> {
    match (spec, message) {
        (Spec::P256, message) => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, material).map_err(|_| internal())?;
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
            Ok(match message {
                Message::Raw(raw) => public.verify(raw, signature).is_ok(),
                Message::Digest(bytes) => public.verify_digest(&digest(bytes)?, signature).is_ok(),
            })
        }
        (Spec::Ed25519, Message::Raw(raw)) => {
            let pair = Ed25519KeyPair::from_pkcs8(material).map_err(|_| internal())?;
            Ok(UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref())
                .verify(raw, signature)
                .is_ok())
        }
        _ => Err(internal()),
    }
}

/// The public key as DER SubjectPublicKeyInfo (RFC 5280).
pub(super) fn public_key(spec: Spec, material: &[u8]) -> Result<Vec<u8>, AwsError> {
    let der: Result<PublicKeyX509Der<'_>, _> = match spec {
        Spec::P256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, material)
            .map_err(|_| internal())?
            .public_key()
            .as_der(),
        Spec::Ed25519 => Ed25519KeyPair::from_pkcs8(material)
            .map_err(|_| internal())?
            .public_key()
            .as_der(),
        Spec::Symmetric | Spec::Hmac256 => return Err(internal()),
    };
    Ok(der.map_err(|_| internal())?.as_ref().to_vec())
}

/// HMAC-SHA-256.
pub(super) fn mac(material: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, material), message)
        .as_ref()
        .to_vec()
}

/// Whether an HMAC-SHA-256 holds.
pub(super) fn mac_verifies(material: &[u8], message: &[u8], mac: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, material), message, mac).is_ok()
}

/// Bytes from the operating system's generator.
pub(super) fn random_bytes(n: usize) -> Result<Vec<u8>, AwsError> {
    let mut bytes = vec![0; n];
    rand::fill(&mut bytes).map_err(|_| internal())?;
    Ok(bytes)
}

fn aead(material: &[u8]) -> Result<LessSafeKey, AwsError> {
    Ok(LessSafeKey::new(
        UnboundKey::new(&AES_256_GCM, material).map_err(|_| internal())?,
    ))
}

fn digest(bytes: &[u8]) -> Result<Digest, AwsError> {
    Digest::import_less_safe(bytes, &SHA256)
        .map_err(|_| super::validation("Digest is invalid length for algorithm ECDSA_SHA_256."))
}

/// Header, then every pair with its lengths, in the order of the names: no two contexts give the same bytes.
fn aad(header: &Header, context: &Context) -> Aad<Vec<u8>> {
    let mut bytes = header.bytes.clone();
    for text in context.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    Aad::from(bytes)
}

fn invalid() -> AwsError {
    AwsError::bad_request(
        "InvalidCiphertextException",
        "The ciphertext or its encryption context is not valid.",
    )
}

fn internal() -> AwsError {
    AwsError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "KMSInternalException",
        "The key cannot be used.",
    )
}
