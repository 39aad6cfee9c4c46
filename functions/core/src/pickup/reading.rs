//! What a link holds, and the key that it makes together with the server half.

use std::collections::BTreeMap;

use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealpost_codec::envelope::WrappingKey;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::id::{PickupId, TenantId};

/// Tenant, message and secret of a token.
pub(super) fn split(token: &str) -> Option<(TenantId, PickupId, Zeroizing<[u8; 32]>)> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(token).ok()?);
    let (tenant, rest) = bytes.split_first_chunk::<16>()?;
    let (id, secret) = rest.split_first_chunk::<16>()?;
    let secret = <[u8; 32]>::try_from(secret).ok()?;
    Some((
        TenantId::from_bytes(*tenant),
        PickupId::from_bytes(*id),
        Zeroizing::new(secret),
    ))
}

/// The key of a message's copy, from both halves (RFC 5869).
pub(super) fn reading_key(tenant: &TenantId, id: &PickupId, half: &[u8], secret: &[u8]) -> Result<WrappingKey> {
    let failed = |error: aws_lc_rs::error::Unspecified| Error::internal("A key could not be derived.").because(error);
    let info = format!("sealpost portal {tenant} {id}");
    let mut key = Zeroizing::new([0_u8; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, half)
        .extract(secret)
        .expand(&[info.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(failed)?;
    Ok(WrappingKey {
        namespace: "sealpost".to_owned(),
        name: id.to_string(),
        key,
    })
}

/// What every part of a message is bound to.
pub(super) fn context(tenant: &TenantId, id: &PickupId, part: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("tenant".to_owned(), tenant.to_string()),
        ("pickup".to_owned(), id.to_string()),
        ("part".to_owned(), part.to_owned()),
    ])
}
