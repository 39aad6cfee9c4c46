//! The decoders that only this crate calls, for the fuzz targets in `tests/fuzz`.
//!
//! Behind the feature `fuzz`, which no deployed function has on. Nothing here decides anything: each function hands its
//! input to the decoder that the product uses and its result back.

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use sealpost_codec::mime::{self, Content};
use url::Url;

use crate::actor::{self, Mode};
use crate::app::App;
use crate::config::DomainFacts;
use crate::egress::mta_sts::{self, Policy};
use crate::egress::{Egress, post};
use crate::email::EmailRow;
use crate::email::request::SendRequest;
use crate::email::schedule;
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, DeliveryId, EmailId, PickupId, RecordId, TenantId};
use crate::policy::{DataClass, Purpose, Requested, Tracking};
use crate::tenant::TenantRow;
use crate::webhook::signature::{self, Secret};
use crate::{json, link, pickup, unsubscribe};

/// The ids and the number that the token of a link names, and its tag.
#[must_use]
pub fn link_token(token: &str) -> Option<([u8; link::NAMED], [u8; link::TAG])> {
    link::parse(token)
}

/// What the token of a portal message names, and its secret.
#[must_use]
pub fn pickup_token(token: &str) -> Option<(TenantId, PickupId, [u8; 32])> {
    pickup::split(token).map(|(tenant, pickup, secret)| (tenant, pickup, *secret))
}

/// What an API key names, and its secret.
#[must_use]
pub fn api_key(token: &str) -> Option<(Mode, TenantId, ApiKeyId, &str)> {
    actor::split(token)
}

/// Whether text records announce an MTA-STS policy.
#[must_use]
pub fn mta_sts_records(records: &[String]) -> Option<bool> {
    mta_sts::is_announced(records)
}

/// The mail hosts that an MTA-STS policy enforces, if it does.
#[must_use]
pub fn mta_sts_policy(text: &str) -> Option<Vec<String>> {
    match mta_sts::parse(text) {
        Policy::Enforce { mx } => Some(mx),
        Policy::Other | Policy::Broken => None,
    }
}

/// Whether these patterns of a policy cover these mail hosts.
#[must_use]
pub fn mta_sts_covers(patterns: &[String], hosts: &[String]) -> bool {
    mta_sts::covers(patterns, hosts)
}

/// What the value of a `Retry-After` field asks for, seconds from now.
#[must_use]
pub fn retry_after_s(value: &[u8], now_ms: i64) -> Option<i64> {
    let value = HeaderValue::from_bytes(value).ok()?;
    post::retry_after_s(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now_ms)
}

/// The URL of a webhook, if it may be posted to.
///
/// # Errors
/// Invalid.
pub fn webhook_url(url: &str, facts: DomainFacts) -> Result<Url> {
    Egress::new(facts).check_url(url)
}

/// What the body of `POST /emails` says, and the message that it makes.
///
/// # Errors
/// Malformed, Invalid, TooLarge; those of the composer come as `Ok(Err(_))`, since no request that was checked may meet one.
pub fn email(body: &[u8], now_ms: i64, mode: Mode) -> Result<(Content, Result<Vec<u8>>)> {
    let checked = json::read::<SendRequest>(body)?.check(now_ms, mode)?;
    let message_id = "fuzz@clinic.test";
    let date_s = now_ms.div_euclid(1000);
    Ok((
        checked.content(message_id.to_owned(), date_s),
        checked.compose(message_id, date_s),
    ))
}

/// The time that `scheduled_at` asks for, milliseconds since the epoch; none for at once.
///
/// # Errors
/// Invalid.
pub fn scheduled_at_ms(text: &str, now_ms: i64) -> Result<Option<i64>> {
    let mut faults = Vec::new();
    let at_ms = schedule::later(Some(text), now_ms, &mut faults);
    if faults.is_empty() {
        Ok(at_ms)
    } else {
        Err(Error::faults(faults))
    }
}

/// The message with a link out of marketing in it.
///
/// # Errors
/// Those of the composer.
pub fn with_unsubscribe(mut content: Content, link: &str) -> std::result::Result<Vec<u8>, mime::MimeError> {
    unsubscribe::add_to(&mut content, link);
    mime::message(&content)
}

/// The symmetric key of a webhook's stored secret, as receivers take it, and the secret as it would be stored again.
///
/// # Errors
/// Internal, when it is none.
pub fn webhook_secret(stored: &[u8]) -> Result<(String, Vec<u8>)> {
    let secret = Secret::from_bytes(stored)?;
    Ok((secret.whsec().to_string(), secret.to_bytes().to_vec()))
}

/// The header fields of a webhook under a stored secret.
///
/// # Errors
/// Internal, when the secret is none, or the id cannot be signed.
pub fn webhook_headers(stored: &[u8], id: &str, at_s: i64, body: &[u8]) -> Result<[(&'static str, String); 3]> {
    signature::headers(id, at_s, body, &[Secret::from_bytes(stored)?])
}

/// Makes a portal message of these octets; its token.
///
/// # Errors
/// Unavailable, Internal.
pub async fn portal_message(app: &App, tenant: &TenantRow, message: &[u8]) -> Result<String> {
    let email = EmailRow {
        id: EmailId::new(&app.clock, &app.random)?,
        record: RecordId::new(&app.clock, &app.random)?,
        created_at_ms: app.clock.now_ms(),
        data_class: DataClass::default(),
        purpose: Purpose::default(),
        requested: Requested::default(),
        expires_in_days: 1,
        n_deliveries: 1,
        batch: None,
        is_test: false,
        tracking: Tracking::default(),
        scheduled_at_ms: None,
        fired_at_ms: None,
        canceled_at_ms: None,
        head: Vec::new(),
    };
    let delivery = DeliveryId::new(&app.clock, &app.random)?;
    let made = pickup::make(app, tenant, &email, &delivery, &tenant.care_address.address, message).await?;
    let link = made.link.expose();
    Ok(link.rsplit('/').next().unwrap_or_default().to_owned())
}
