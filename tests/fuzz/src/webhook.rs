//! Signatures of webhooks and the secrets that make them.

use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use sealpost_core::fuzz;
use standardwebhooks::Webhook;

use crate::NOW_S;
use crate::field::Fields;

/// Version, length of the symmetric key, that key, and an Ed25519 key in PKCS #8 (RFC 8410 section 7).
static SECRET: LazyLock<Vec<u8>> = LazyLock::new(|| {
    const PKCS8: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ];
    let pkcs8 = [&PKCS8[..], &[9; 32]].concat();
    assert!(Ed25519KeyPair::from_pkcs8(&pkcs8).is_ok());
    [&[1, 32][..], &[5; 32], &pkcs8].concat()
});

/// The reference implementation takes what is signed, and nothing else under the same signature.
pub(crate) fn signature(data: &[u8]) {
    let mut fields = Fields::new(data);
    let id = fields.text();
    let body = fields.rest();
    let Ok(headers) = fuzz::webhook_headers(&SECRET, &id, NOW_S, body) else {
        assert!(id.is_empty() || id.contains('.'));
        return;
    };
    let (_, signatures) = headers
        .iter()
        .find(|(name, _)| *name == "webhook-signature")
        .expect("it is signed");
    let signature = signatures
        .split(' ')
        .find(|one| one.starts_with("v1,"))
        .expect("by the symmetric key");
    // The reference takes text alone.
    if std::str::from_utf8(body).is_err() {
        return;
    }
    let verifier = Webhook::from_bytes(vec![5; 32]).expect("it is a key");
    let again = |id: &str, body: &[u8]| verifier.sign(id, NOW_S, body).expect("it is signed");
    assert_eq!(again(&id, body), signature);
    assert_ne!(again(&id, &[body, b" "].concat()), signature);
    assert_ne!(again(&format!("{id}x"), body), signature);
    // Whoever sends it can.
    let fields: Option<HeaderMap> = headers
        .iter()
        .map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?)))
        .collect();
    assert!(fields.is_some() || id.chars().any(|c| c.is_control() || !c.is_ascii()));
}

/// A stored secret is read as itself, or not at all.
pub(crate) fn secret(data: &[u8]) {
    if let Ok((shown, stored)) = fuzz::webhook_secret(data) {
        assert_eq!(stored, data);
        let key = STANDARD
            .decode(shown.strip_prefix("whsec_").expect("its prefix"))
            .expect("it is base64");
        assert!((24..=64).contains(&key.len()) && stored[2..].starts_with(&key));
    }
}
