//! Tokens and ids: one spelling each.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealpost_core::actor::Mode;
use sealpost_core::fuzz;
use sealpost_core::id::{
    ApiKeyId, BatchId, DeliveryId, EmailId, EventId, PickupId, RecordId, SuppressionId, TenantId, WebhookId,
};

/// A link's token is the text of its octets and no other text.
pub(crate) fn link(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some((named, tag)) = fuzz::link_token(&text) {
        assert_eq!(URL_SAFE_NO_PAD.encode([&named[..], &tag[..]].concat()), text);
    }
}

/// So is that of a portal message.
pub(crate) fn pickup(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some((tenant, pickup, secret)) = fuzz::pickup_token(&text) {
        let octets = [&tenant.to_bytes()[..], &pickup.to_bytes()[..], &secret[..]].concat();
        assert_eq!(URL_SAFE_NO_PAD.encode(octets), text);
    }
}

/// An API key is its parts and nothing else.
pub(crate) fn api_key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some((mode, tenant, key, secret)) = fuzz::api_key(&text) {
        let mode = if mode == Mode::Live { "live" } else { "test" };
        assert_eq!(format!("sp_{mode}_{}{}_{secret}", tenant.bare(), key.bare()), text);
    }
}

/// An id is its octets, and no id is one of two kinds.
pub(crate) fn id(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut n_kinds = 0;
    macro_rules! kinds {
        ($($kind:ident)*) => {$(
            if let Some(id) = $kind::parse(&text) {
                n_kinds += 1;
                assert_eq!(id.as_str(), text);
                assert_eq!($kind::from_bytes(id.to_bytes()), id);
                assert!(id.made_at().as_millisecond() >= 0);
            }
        )*};
    }
    kinds!(ApiKeyId BatchId DeliveryId EmailId EventId PickupId RecordId SuppressionId TenantId WebhookId);
    assert!(n_kinds <= 1);
}
