//! Fuzz targets: every entry point of the codec and every decoder of the handlers, as plain functions of bytes.
//!
//! A target takes any bytes and panics when a promise is broken: not only by a crash, but also when something that was
//! written is not read back, when another parser sees something else, or when what was tampered with is taken. The same
//! functions run over the files in `corpus/` and short mutations of them in every test run (`tests/short.rs`), and under
//! libFuzzer in the long one (`tests/fuzz/run`). A field of a target with several ends at a NUL.

mod address;
mod aws;
mod egress;
mod envelope;
mod event;
mod field;
mod handler;
mod html;
mod mime;
pub mod mutate;
mod openpgp;
mod policy;
mod request;
mod smime;
pub mod smime_open;
mod token;
mod webhook;

/// Takes any bytes; panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by the name of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 44] = [
    ("address", address::address),
    ("mailbox", address::mailbox),
    ("html_sanitise", html::sanitise),
    ("html_text", html::text),
    ("html_links", html::links),
    ("link_target", html::target),
    ("mime_field", mime::field),
    ("mime_message", mime::message),
    ("mime_protected", mime::protected),
    ("mime_outer", mime::outer),
    ("mime_signed", mime::signed),
    ("mime_read", mime::read),
    ("envelope_open", envelope::open),
    ("envelope_tamper", envelope::tamper),
    ("openpgp_certificate", openpgp::certificate),
    ("openpgp_stored", openpgp::stored),
    ("openpgp_seal", openpgp::seal),
    ("smime_certificate", smime::certificate),
    ("smime_stored", smime::stored),
    ("smime_seal", smime::seal),
    ("smime_signer", smime::signer),
    ("smime_sign", smime::sign),
    ("json", request::json),
    ("send_email", request::email),
    ("scheduled_at", request::scheduled_at),
    ("idempotency_key", request::idempotency_key),
    ("unsubscribe", request::unsubscribe),
    ("ses_event", event::notification),
    ("queue_message", event::message),
    ("lambda_event", event::lambda),
    ("link_token", token::link),
    ("pickup_token", token::pickup),
    ("api_key", token::api_key),
    ("id", token::id),
    ("webhook_signature", webhook::signature),
    ("webhook_secret", webhook::secret),
    ("webhook_url", egress::webhook_url),
    ("ip_address", egress::ip_address),
    ("mta_sts", egress::mta_sts),
    ("retry_after", egress::retry_after),
    ("policy_plan", policy::plan),
    ("api_request", handler::api),
    ("portal_request", handler::portal),
    ("portal_message", handler::message),
];

/// The time at which everything happens, seconds since the epoch: January 2027.
pub(crate) const NOW_S: i64 = 1_800_000_000;
