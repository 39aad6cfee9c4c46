//! OpenPGP: certificates of strangers, and what is sealed to one.

use std::sync::LazyLock;

use pgp::composed::{Deserializable, Message, SignedSecretKey};
use pgp::types::Password;
use sealpost_codec::address::Address;
use sealpost_codec::openpgp::{self, Certificate};

use crate::NOW_S;

static ADDRESS: LazyLock<Address> = LazyLock::new(|| Address::parse("rosa@keys.test").expect("it is one"));
static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::import(include_bytes!("../keys/openpgp.pgp"), &ADDRESS, NOW_S).expect("it is good"));
static SECRET: LazyLock<SignedSecretKey> = LazyLock::new(|| {
    SignedSecretKey::from_bytes(&include_bytes!("../keys/openpgp.secret.pgp")[..]).expect("it is good")
});

/// What is imported is good from the table too, means the same, and can be encrypted to.
pub(crate) fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::import(data, &ADDRESS, NOW_S) else {
        return;
    };
    assert_eq!(certificate.check(NOW_S), Ok(()));
    assert!(certificate.expires_at().is_none_or(|end| end > NOW_S));
    assert!(matches!(certificate.fingerprint().len(), 40 | 64));
    let stored = certificate.to_bytes();
    assert!(stored.len() <= data.len(), "the reduced form is larger");
    let again = Certificate::from_stored(&stored, &ADDRESS).expect("what is stored is read");
    assert_same(&certificate, &again);
    assert!(openpgp::encrypt(b"x", &certificate, NOW_S).is_ok());
    let other = Address::parse("other@keys.test").expect("it is one");
    assert!(
        Certificate::from_stored(&stored, &other).is_err(),
        "it is another's too"
    );
}

/// A stored certificate that is read is read as itself.
pub(crate) fn stored(data: &[u8]) {
    if let Ok(certificate) = Certificate::from_stored(data, &ADDRESS) {
        let again = Certificate::from_stored(&certificate.to_bytes(), &ADDRESS).expect("it is read again");
        assert_same(&certificate, &again);
    }
}

/// What is sealed opens with the secret key and nothing else, to what it was.
pub(crate) fn seal(data: &[u8]) {
    let armored = openpgp::encrypt(data, &CERTIFICATE, NOW_S).expect("it is sealed");
    assert!(armored.starts_with("-----BEGIN PGP MESSAGE-----"));
    let (message, _) = Message::from_armor(armored.as_bytes()).expect("it is a message");
    let mut opened = message.decrypt(&Password::empty(), &SECRET).expect("it opens");
    assert_eq!(opened.as_data_vec().expect("it is whole"), data);
}

fn assert_same(one: &Certificate, other: &Certificate) {
    assert_eq!(one.fingerprint(), other.fingerprint());
    assert_eq!(one.subkey_fingerprint(), other.subkey_fingerprint());
    assert_eq!(one.algorithm(), other.algorithm());
    assert_eq!(one.expires_at(), other.expires_at());
    assert_eq!(one.supports_seipd_v2(), other.supports_seipd_v2());
}
