//! S/MIME: certificates of strangers, what is sealed to one, the signer's certificate and signatures.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use sealpost_codec::address::Address;
use sealpost_codec::smime::signing::Prepared;
use sealpost_codec::smime::{
    Certificate, ContentCipher, SignerCertificate, SignerDetails, UnsignedSignerCertificate, encrypt,
};

use crate::NOW_S;
use crate::field::{Fields, choice};
use crate::smime_open::{Recipient, open};

static ADDRESS: LazyLock<Address> = LazyLock::new(|| Address::parse("samir@certs.test").expect("it is one"));
const SIGNER: &[u8] = include_bytes!("../keys/signer.der");
static SIGNING_KEY: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let pkcs8 = include_bytes!("../keys/signer.pk8");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).expect("it is good")
});

/// What is imported is good from the table too, means the same, and can be sealed to.
pub(crate) fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::import(data, &ADDRESS, NOW_S) else {
        return;
    };
    assert_eq!(certificate.check(NOW_S), Ok(()));
    assert!(certificate.expires_at() >= NOW_S);
    let stored = certificate.to_bytes();
    let again = Certificate::from_stored(&stored, &ADDRESS).expect("what is stored is read");
    assert_eq!(again.to_bytes(), stored);
    assert_same(&certificate, &again);
    for cipher in [ContentCipher::Aes256Gcm, ContentCipher::Aes256Cbc] {
        assert!(encrypt(b"x", &certificate, cipher).is_ok());
    }
    let other = Address::parse("other@certs.test").expect("it is one");
    assert!(!data.is_ascii() || Certificate::from_stored(&stored, &other).is_err() || names_several(&stored));
}

/// A stored certificate that is read is read as itself.
pub(crate) fn stored(data: &[u8]) {
    if let Ok(certificate) = Certificate::from_stored(data, &ADDRESS) {
        assert_eq!(certificate.to_bytes(), data);
        assert!(encrypt(b"x", &certificate, ContentCipher::Aes256Gcm).is_ok());
    }
}

/// What is sealed opens with the private key to what it was, by either cipher and to either kind of key.
pub(crate) fn seal(data: &[u8]) {
    let (which, data) = choice(data);
    // An operation with a private RSA key takes a hundred times as long.
    let recipient = if which == 0 {
        Recipient::rsa()
    } else {
        Recipient::p256()
    };
    let certificate = recipient.certificate();
    let cipher = if which & 1 == 0 {
        ContentCipher::Aes256Gcm
    } else {
        ContentCipher::Aes256Cbc
    };
    let sealed = encrypt(data, &certificate, cipher).expect("it is sealed");
    assert_eq!(open(&sealed, &recipient).as_deref(), Some(data));
}

/// A signer's certificate that is read is written as it was; one that is made for a key waits for that key's signature.
pub(crate) fn signer(data: &[u8]) {
    if let Ok(signer) = SignerCertificate::from_der(data) {
        assert_eq!(signer.to_bytes(), data);
        if let Ok(prepared) = Prepared::new(b"x", &signer, NOW_S) {
            assert!(prepared.finish(data).is_err(), "its own octets are no signature");
        }
    }
    let details = SignerDetails {
        organisation: "Clinic",
        address: &ADDRESS,
        serial: [1; 16],
        not_before: NOW_S,
        not_after: NOW_S + 1,
    };
    if let Ok(unsigned) = UnsignedSignerCertificate::new(data, &details) {
        assert!(unsigned.finish(data).is_err(), "its own octets are no signature");
    }
}

/// A signature over an entity is taken, one over another or an altered one is not; any details make a certificate or an
/// error.
pub(crate) fn sign(data: &[u8]) {
    let mut fields = Fields::new(data);
    let (organisation, signature) = (fields.text(), fields.bytes());
    let entity = fields.rest();
    let signer = SignerCertificate::from_der(SIGNER).expect("it is good");
    let prepare = || Prepared::new(entity, &signer, NOW_S).expect("it is in its period");
    let random = SystemRandom::new();
    let good = SIGNING_KEY.sign(&random, prepare().to_be_signed()).expect("it signs");
    assert!(prepare().finish(good.as_ref()).is_ok());
    assert!(prepare().finish(signature).is_err());
    let mut altered = good.as_ref().to_vec();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    assert!(prepare().finish(&altered).is_err());
    let details = SignerDetails {
        organisation: &organisation,
        address: &ADDRESS,
        serial: std::array::from_fn(|place| signature.get(place).copied().unwrap_or_default()),
        not_before: NOW_S,
        not_after: NOW_S + 86_400,
    };
    let spki = aws_lc_rs::signature::KeyPair::public_key(&*SIGNING_KEY);
    let spki = [&SPKI_P256[..], spki.as_ref()].concat();
    if let Ok(unsigned) = UnsignedSignerCertificate::new(&spki, &details) {
        let signature = SIGNING_KEY.sign(&random, unsigned.to_be_signed()).expect("it signs");
        let made = unsigned.finish(signature.as_ref()).expect("it is signed");
        assert_eq!(made.expires_at(), details.not_after);
    }
}

/// What stands before the point in a SubjectPublicKeyInfo of P-256 (RFC 5480 section 2).
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn assert_same(one: &Certificate, other: &Certificate) {
    assert_eq!(one.fingerprint(), other.fingerprint());
    assert_eq!(one.algorithm(), other.algorithm());
    assert_eq!(one.expires_at(), other.expires_at());
    assert_eq!(one.reads_gcm(), other.reads_gcm());
}

/// Whether a certificate may be for more than one mailbox.
fn names_several(der: &[u8]) -> bool {
    der.iter().filter(|byte| **byte == b'@').count() > 1
}
