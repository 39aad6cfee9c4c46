//! Signs webhooks as Standard Webhooks has it: HMAC-SHA-256 (`v1`) and Ed25519 (`v1a`), both over id, time and body.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::random::Random;

const LENGTH: usize = 32;

/// One generation of an endpoint's secrets.
pub(crate) struct Secret {
    /// Shared with the receiver.
    pub(crate) hmac: Zeroizing<Vec<u8>>,
    /// Ours alone.
    pub(crate) ed25519_pkcs8: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// New secrets.
    pub(crate) fn make(random: &Random) -> Result<Self> {
        let hmac = Zeroizing::new(random.bytes::<LENGTH>()?);
        let seed = Zeroizing::new(random.bytes::<LENGTH>()?);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(broken)?;
        let pkcs8 = pair.to_pkcs8().map_err(broken)?;
        Ok(Self {
            hmac: Zeroizing::new(hmac.to_vec()),
            ed25519_pkcs8: Zeroizing::new(pkcs8.as_ref().to_vec()),
        })
    }

    /// The shared secret as receivers' libraries take it.
    pub(crate) fn whsec(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("whsec_{}", STANDARD.encode(self.hmac.as_slice())))
    }

    /// The public key as receivers' libraries take it.
    pub(crate) fn whpk(&self) -> Result<String> {
        Ok(format!("whpk_{}", STANDARD.encode(self.pair()?.public_key())))
    }

    /// Both as bytes, to be sealed.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.hmac.as_slice(), self.ed25519_pkcs8.as_slice()].concat())
    }

    /// What [`Secret::to_bytes`] made.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (hmac, pkcs8) = bytes
            .split_at_checked(LENGTH)
            .ok_or_else(|| Error::internal("A webhook's secret has another length."))?;
        Ok(Self {
            hmac: Zeroizing::new(hmac.to_vec()),
            ed25519_pkcs8: Zeroizing::new(pkcs8.to_vec()),
        })
    }

    fn pair(&self) -> Result<Ed25519KeyPair> {
        Ed25519KeyPair::from_pkcs8(&self.ed25519_pkcs8).map_err(|error| broken(error))
    }
}

/// The headers of one post.
pub(crate) fn headers(id: &str, at_s: i64, body: &[u8], secrets: &[Secret]) -> Result<[(&'static str, String); 3]> {
    let signed = [format!("{id}.{at_s}.").as_bytes(), body].concat();
    let mut signatures = Vec::new();
    for secret in secrets {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret.hmac), &signed);
        signatures.push(format!("v1,{}", STANDARD.encode(mac)));
        signatures.push(format!("v1a,{}", STANDARD.encode(secret.pair()?.sign(&signed))));
    }
    Ok([
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at_s.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ])
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("A webhook's key cannot be used.").because(error)
}
