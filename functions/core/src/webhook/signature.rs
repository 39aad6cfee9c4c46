//! Signatures of webhooks: Standard Webhooks 1.0.0, symmetric (`v1`) and asymmetric (`v1a`) at once.
//!
//! A receiver checks whichever it has the key for. While a secret is being replaced, every secret that is still good
//! signs, so that a receiver may change over when it likes. The time is part of what is signed; a receiver refuses what is
//! older than five minutes, so a repeated post is signed anew.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::random::Random;

/// Length of the symmetric keys that we make, in bytes; the specification asks for 24 to 64.
const HMAC_LENGTH: usize = 32;

/// The lengths that the specification allows for a symmetric key, in bytes.
const HMAC_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// First byte of a stored secret: how the rest is to be read.
const STORED_V1: u8 = 1;

/// What one endpoint's messages are signed with. It has no `Debug`: both halves are secret.
pub(crate) struct Secret {
    /// The symmetric key, shared with the receiver.
    pub(crate) hmac: Zeroizing<Vec<u8>>,
    /// The Ed25519 private key in PKCS #8; the receiver has the public key alone.
    pub(crate) ed25519_pkcs8: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// A new secret.
    ///
    /// # Errors
    /// Internal, when the generator fails.
    pub(crate) fn make(random: &Random) -> Result<Self> {
        let hmac = Zeroizing::new(random.bytes::<HMAC_LENGTH>()?);
        let pair = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8());
        let pair = pair.map_err(|error| Error::internal("No signing key could be made.").because(error))?;
        Ok(Self {
            hmac: Zeroizing::new(hmac.to_vec()),
            ed25519_pkcs8: Zeroizing::new(pair.as_ref().to_vec()),
        })
    }

    /// The symmetric key as receivers' libraries take it.
    pub(crate) fn whsec(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD.encode(self.hmac.as_slice()));
        Zeroizing::new(format!("whsec_{}", encoded.as_str()))
    }

    /// The public key as receivers' libraries take it.
    ///
    /// # Errors
    /// Internal, when the private key is none.
    pub(crate) fn whpk(&self) -> Result<String> {
        Ok(format!("whpk_{}", STANDARD.encode(self.pair()?.public_key().as_ref())))
    }

    /// The form that is sealed and kept: version, length of the symmetric key, symmetric key, private key.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // A key of ours has 32 bytes; one that is too long for its length byte is refused when it is read.
        let length = u8::try_from(self.hmac.len()).unwrap_or(u8::MAX);
        Zeroizing::new(
            [
                &[STORED_V1, length],
                self.hmac.as_slice(),
                self.ed25519_pkcs8.as_slice(),
            ]
            .concat(),
        )
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// Internal, when it is something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let broken = || Error::internal("The stored signing secret is broken.");
        let [STORED_V1, length, rest @ ..] = bytes else {
            return Err(broken());
        };
        let length = usize::from(*length);
        let (hmac, pkcs8) = rest.split_at_checked(length).ok_or_else(broken)?;
        let secret = Self {
            hmac: Zeroizing::new(hmac.to_vec()),
            ed25519_pkcs8: Zeroizing::new(pkcs8.to_vec()),
        };
        secret.pair()?;
        HMAC_LENGTHS.contains(&length).then_some(secret).ok_or_else(broken)
    }

    fn pair(&self) -> Result<Ed25519KeyPair> {
        Ed25519KeyPair::from_pkcs8(&self.ed25519_pkcs8)
            .map_err(|error| Error::internal("The stored signing key is broken.").because(error))
    }

    /// Both signatures of `content`.
    fn sign(&self, content: &[u8]) -> Result<[String; 2]> {
        let symmetric = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.hmac), content);
        let asymmetric = self.pair()?.try_sign(content);
        let asymmetric = asymmetric.map_err(|error| Error::internal("The message was not signed.").because(error))?;
        Ok([
            format!("v1,{}", STANDARD.encode(symmetric.as_ref())),
            format!("v1a,{}", STANDARD.encode(asymmetric.as_ref())),
        ])
    }
}

/// The headers of a message: its id, which stays the same when it is posted again, the time of this post in seconds since
/// the Unix epoch, and the signatures by every secret.
///
/// # Errors
/// Internal, when there is no secret, one is broken, or the id holds what ends it in the signed content.
pub(crate) fn headers(id: &str, at_s: i64, body: &[u8], secrets: &[Secret]) -> Result<[(&'static str, String); 3]> {
    // A message without a signature would teach receivers not to look for one.
    if secrets.is_empty() {
        return Err(Error::internal("There is no secret to sign the message with."));
    }
    if id.is_empty() || id.contains('.') {
        return Err(Error::internal("The id of the message cannot be signed."));
    }
    let content = [format!("{id}.{at_s}.").as_bytes(), body].concat();
    let mut signatures = Vec::with_capacity(secrets.len().saturating_mul(2));
    for secret in secrets {
        signatures.extend(secret.sign(&content)?);
    }
    Ok([
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at_s.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ])
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use http::HeaderMap;
    use standardwebhooks::Webhook;

    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT_S: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    /// The published keys: the symmetric one of the specification's libraries, the asymmetric one of Svix's server.
    fn published() -> Secret {
        let private = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
        let private = STANDARD.decode(private).unwrap();
        let pair = Ed25519KeyPair::from_seed_and_public_key(&private[..32], &private[32..]).unwrap();
        Secret {
            hmac: Zeroizing::new(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()),
            ed25519_pkcs8: Zeroizing::new(pair.to_pkcs8().unwrap().as_ref().to_vec()),
        }
    }

    fn made() -> Secret {
        Secret::make(&Random::system()).unwrap()
    }

    fn now_s() -> i64 {
        crate::clock::Clock::system().now_ms() / 1000
    }

    fn map(headers: &[(&'static str, String)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    /// Whether the reference implementation takes the message.
    fn is_taken(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> bool {
        Webhook::new(&secret.whsec()).unwrap().verify(body, headers).is_ok()
    }

    /// Whether a receiver that has nothing but the public key takes the message.
    fn is_taken_by_public_key(whpk: &str, headers: &HeaderMap, body: &[u8]) -> bool {
        let public = STANDARD.decode(whpk.strip_prefix("whpk_").unwrap()).unwrap();
        let value = |name: &str| headers[name].to_str().unwrap();
        let content = [
            format!("{}.{}.", value("webhook-id"), value("webhook-timestamp")).as_bytes(),
            body,
        ]
        .concat();
        value("webhook-signature")
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1a,"))
            .any(|signature| {
                let signature = STANDARD.decode(signature).unwrap();
                UnparsedPublicKey::new(&ED25519, &public)
                    .verify(&content, &signature)
                    .is_ok()
            })
    }

    #[test]
    fn the_published_messages_are_signed_as_published() {
        let secret = published();
        assert_eq!(*secret.whsec(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(
            secret.whpk().unwrap(),
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
        );
        let [id, at, signature] = headers(ID, AT_S, BODY, &[secret]).unwrap();
        assert_eq!(id, ("webhook-id", ID.to_owned()));
        assert_eq!(at, ("webhook-timestamp", "1614265330".to_owned()));
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= \
            v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert_eq!(signature, ("webhook-signature", expected.to_owned()));
    }

    #[test]
    fn a_receiver_takes_what_is_signed_and_nothing_that_was_altered() {
        let (secret, other) = (made(), made());
        let public = secret.whpk().unwrap();
        let signed = headers(ID, now_s(), BODY, std::slice::from_ref(&secret)).unwrap();
        let good = map(&signed);
        assert!(is_taken(&secret, &good, BODY));
        assert!(is_taken_by_public_key(&public, &good, BODY));

        assert!(!is_taken(&other, &good, BODY), "another key");
        assert!(
            !is_taken_by_public_key(&other.whpk().unwrap(), &good, BODY),
            "another key"
        );
        for (name, value) in [
            ("webhook-id", "msg_other".to_owned()),
            ("webhook-timestamp", (now_s() + 60).to_string()),
        ] {
            let mut altered = good.clone();
            altered.insert(name, value.parse().unwrap());
            assert!(!is_taken(&secret, &altered, BODY), "{name}");
            assert!(!is_taken_by_public_key(&public, &altered, BODY), "{name}");
        }
        for body in [b"".as_slice(), br#"{"test": 2432232315}"#, br#"{"test": 2432232314} "#] {
            assert!(!is_taken(&secret, &good, body));
            assert!(!is_taken_by_public_key(&public, &good, body));
        }
        let mut stripped = good.clone();
        stripped.remove("webhook-signature");
        assert!(!is_taken(&secret, &stripped, BODY), "no signature");
        let mut swapped = good.clone();
        let value = good["webhook-signature"].to_str().unwrap().replace("v1,", "v1a,");
        swapped.insert("webhook-signature", value.parse().unwrap());
        assert!(!is_taken(&secret, &swapped, BODY), "no signature of this kind");
    }

    #[test]
    fn an_old_message_is_not_taken_again() {
        let secret = made();
        for (ago_s, expected) in [(0, true), (240, true), (360, false), (-360, false)] {
            let signed = headers(ID, now_s() - ago_s, BODY, std::slice::from_ref(&secret)).unwrap();
            assert_eq!(is_taken(&secret, &map(&signed), BODY), expected, "{ago_s}");
        }
    }

    #[test]
    fn every_secret_signs_while_one_is_replaced() {
        let secrets = [made(), made()];
        let [_, _, (_, signatures)] = headers(ID, AT_S, BODY, &secrets).unwrap();
        assert_eq!(signatures.split(' ').count(), 4);
        let signed = map(&headers(ID, now_s(), BODY, &secrets).unwrap());
        for secret in &secrets {
            assert!(is_taken(secret, &signed, BODY));
            assert!(is_taken_by_public_key(&secret.whpk().unwrap(), &signed, BODY));
        }
        assert!(!is_taken(&made(), &signed, BODY));
    }

    #[test]
    fn nothing_is_signed_without_a_secret_or_with_an_id_that_could_be_read_otherwise() {
        assert!(headers(ID, AT_S, BODY, &[]).is_err());
        assert!(headers("", AT_S, BODY, &[made()]).is_err());
        assert!(headers("msg.1", AT_S, BODY, &[made()]).is_err());
    }

    #[test]
    fn a_secret_survives_storage_and_a_broken_one_is_refused() {
        let secret = made();
        let stored = secret.to_bytes();
        let read = Secret::from_bytes(&stored).unwrap();
        assert_eq!(read.whsec(), secret.whsec());
        assert_eq!(read.whpk().unwrap(), secret.whpk().unwrap());
        let one = headers(ID, AT_S, BODY, &[secret]).unwrap();
        assert_eq!(headers(ID, AT_S, BODY, &[read]).unwrap(), one);
        let mut newer = stored.to_vec();
        newer[0] = 2;
        let short_key = [&[STORED_V1, 1, 0], &stored[2 + HMAC_LENGTH..]].concat();
        for broken in [
            &[],
            &stored[..1],
            &stored[..2],
            &stored[..20],
            &stored[..2 + HMAC_LENGTH],
            &stored[..stored.len() - 1],
            &newer,
            &short_key,
        ] {
            assert!(Secret::from_bytes(broken).is_err(), "{} bytes", broken.len());
        }
        assert_ne!(made().whsec(), made().whsec());
        assert_eq!(made().hmac.len(), HMAC_LENGTH);
    }
}
