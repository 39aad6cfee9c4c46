//! Requests of the API: JSON, emails, times, idempotency keys.

use jiff::Timestamp;
use sealpost_codec::address::Mailbox;
use sealpost_codec::mime;
use sealpost_core::actor::Mode;
use sealpost_core::email::idempotency::IdempotencyKey;
use sealpost_core::error::{Error, Kind};
use sealpost_core::{fuzz, json as strict};
use serde_json::Value;

use crate::NOW_S;
use crate::field::choice;

const NOW_MS: i64 = NOW_S * 1000;

/// What is read is what another reader reads; what is refused and what another takes names a field twice.
pub(crate) fn json(data: &[u8]) {
    match (strict::parse(data), serde_json::from_slice::<Value>(data)) {
        // A name that serde_json keeps for itself makes its own reader see something else than what is written.
        (Ok(_), _) if data.windows(12).any(|name| name == b"$serde_json:") => {}
        (Ok(value), Ok(other)) => assert_eq!(value, other),
        (Ok(_), Err(error)) => panic!("taken, and no JSON: {}", error.line()),
        (Err(error), other) => {
            assert_eq!(error.kind(), Kind::Malformed);
            assert_shape(&error);
            assert!(
                other.is_err() || error.message().contains("twice"),
                "{}",
                error.message()
            );
        }
    }
}

/// An email that is taken is composed, and its message says to whom it goes and nothing of blind copies.
pub(crate) fn email(data: &[u8]) {
    let (flags, body) = choice(data);
    let mode = if flags & 1 == 0 { Mode::Live } else { Mode::Test };
    let (content, composed) = match fuzz::email(body, NOW_MS, mode) {
        Ok(taken) => taken,
        Err(error) => {
            assert!(
                matches!(error.kind(), Kind::Malformed | Kind::Invalid | Kind::TooLarge),
                "{:?}",
                error.kind()
            );
            return assert_shape(&error);
        }
    };
    let message = composed.expect("what was checked is composed");
    let read = mime::read(&message).expect("what was composed is read");
    let asked = |list: &[Mailbox]| {
        list.iter()
            .map(|one| one.address.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    let found = |list: &[mime::ReadAddress]| list.iter().map(|one| one.address.clone()).collect::<Vec<_>>();
    assert_eq!(found(&read.to), asked(&content.to));
    assert_eq!(found(&read.cc), asked(&content.cc));
    assert_eq!(found(&read.reply_to), asked(&content.reply_to));
    assert_eq!(read.attachments.len(), content.attachments.len());
    assert!(!read.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("bcc")));
    assert!(
        mime::protected(&content).is_ok(),
        "what is sent by TLS can be encrypted too"
    );
}

/// A time lies ahead and within a year, and RFC 3339 means what it means elsewhere.
pub(crate) fn scheduled_at(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match fuzz::scheduled_at_ms(&text, NOW_MS) {
        Ok(Some(at_ms)) => {
            assert!(at_ms > NOW_MS && at_ms <= NOW_MS + 365 * 86_400_000);
            if let Ok(other) = text.trim().parse::<Timestamp>() {
                assert_eq!(other.as_millisecond(), at_ms);
            }
        }
        Ok(None) => {}
        Err(error) => assert_shape(&error),
    }
}

/// A key is taken exactly when it has 1 to 256 printable characters of ASCII.
pub(crate) fn idempotency_key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let is_key = (1..=256).contains(&text.len()) && text.chars().all(|c| (' '..='~').contains(&c));
    assert_eq!(IdempotencyKey::parse(&text).is_ok(), is_key);
}

/// A link out of marketing stands in the message once, whatever the sender wrote.
pub(crate) fn unsubscribe(data: &[u8]) {
    const LINK: &str = "https://portal.clinic.example/u/AAAA";
    let content = crate::mime::content(data);
    let is_message = mime::message(&content).is_ok();
    let has_text = content.text.is_some() || content.html.is_some();
    let Ok(message) = fuzz::with_unsubscribe(content, LINK) else {
        assert!(!is_message, "a message that could be written cannot be with a link");
        return;
    };
    let read = mime::read(&message).expect("what was composed is read");
    let fields = |name: &str| -> Vec<&str> {
        let fields = read
            .headers
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(fields("List-Unsubscribe"), [format!("<{LINK}>")]);
    assert_eq!(fields("List-Unsubscribe-Post"), ["List-Unsubscribe=One-Click"]);
    assert!(!has_text || read.text.is_some_and(|text| text.contains(LINK)));
    assert!(read.html.is_none_or(|html| html.contains(LINK)));
}

/// An error is short, and its pointers are pointers.
fn assert_shape(error: &Error) {
    assert!(error.message().len() < 10_000 && !error.message().contains(['\r', '\n']));
    assert!(error.fields().len() <= 100);
    for fault in error.fields() {
        assert!(
            fault.detail.len() < 1_000 && fault.pointer.len() < 10_000,
            "{}",
            fault.detail
        );
        assert!(
            fault.pointer.bytes().all(|byte| byte.is_ascii_graphic()),
            "{}",
            fault.pointer
        );
    }
}
