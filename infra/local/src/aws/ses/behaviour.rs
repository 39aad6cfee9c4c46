//! What happens to an accepted email, decided from the recipient's address alone.
//!
//! The addresses are those of the SES mailbox simulator (SES Developer Guide, "Using the mailbox simulator manually")
//! and the reserved `.test` domains of the local system. A pure function: everything that will happen is known when
//! SES accepts the email, as a list of events with times, and the clock decides how many of them have happened.

use serde::{Deserialize, Serialize};

/// How long SES tries when the configuration set says nothing: 14 hours, in seconds (`MaxDeliverySeconds`, SESv2 API
/// Reference, DeliveryOptions).
pub const LONGEST_DELIVERY_S: i64 = 50_400;

/// When a slow or refused delivery is first reported as delayed, in milliseconds after acceptance.
const DELAY_MS: i64 = 60_000;
/// When `@slow.test` takes the email, in milliseconds after acceptance.
const SLOW_MS: i64 = 120_000;
/// When a recipient who complains does so, in milliseconds after acceptance.
const COMPLAINT_MS: i64 = 60_000;

/// Whether SES may hand an email to a server without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TlsPolicy {
    /// Never.
    Require,
    /// When the server offers none; the default of SES.
    Optional,
}

/// A kind of SES event, as SES publishes them through a configuration set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// SES accepted the email. Published even where suppression then stops it.
    Send,
    /// The recipient's server took it.
    Delivery,
    /// The recipient's server did not take it yet.
    DeliveryDelay,
    /// It will not be delivered.
    Bounce,
    /// The recipient called it unwanted.
    Complaint,
    /// SES found malware in it after it had accepted it, and does not deliver it.
    Reject,
    /// The recipient's server took it and answered out of office; SES publishes no event of its own for it.
    Reply,
}

/// Why an email bounced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BounceReason {
    /// The address does not exist: bounce type Permanent, subtype General.
    NoSuchMailbox,
    /// The address is on the suppression list: Permanent, OnAccountSuppressionList (or Suppressed, for Amazon's own list).
    Suppressed,
    /// The server offered no TLS until SES stopped trying: Transient, General.
    TlsRequired,
}

/// Something that happens to one recipient's copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happens.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Why, for a bounce, for the delay that leads to one, and for a complaint that suppression stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<BounceReason>,
}

/// Why an address is on the account's suppression list, which says what SES tells of an email to it: a bounce or a
/// complaint, both with the subtype OnAccountSuppressionList (SES Developer Guide, "Complaint subtypes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Bounced,
    Complained,
}

/// How SES answers the call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Accepted.
    Accepted,
    /// Accepted, and the connection breaks before the answer arrives.
    ReplyLost,
    /// Refused as over the sending rate; nothing is stored.
    Throttled,
}

/// How SES answers a call with these recipients.
pub(super) fn answer(recipients: &[String]) -> Answer {
    if recipients.iter().any(|recipient| domain(recipient) == "throttled.test") {
        Answer::Throttled
    } else if recipients
        .iter()
        .any(|recipient| domain(recipient) == "lost-reply.test")
    {
        Answer::ReplyLost
    } else {
        Answer::Accepted
    }
}

/// Everything that will happen to the copy for `recipient`, oldest first.
pub(super) fn events(
    recipient: &str,
    suppressed: Option<Listed>,
    policy: TlsPolicy,
    max_delivery_s: i64,
    now_ms: i64,
) -> Vec<Event> {
    let event = |kind, after_ms: i64| Event {
        kind,
        at_ms: now_ms.saturating_add(after_ms),
        reason: None,
    };
    let bounce = |reason, after_ms| Event {
        reason: Some(reason),
        ..event(EventType::Bounce, after_ms)
    };
    let mut events = vec![event(EventType::Send, 0)];
    match suppressed {
        None => {}
        Some(Listed::Bounced) => {
            events.push(bounce(BounceReason::Suppressed, 0));
            return events;
        }
        Some(Listed::Complained) => {
            events.push(Event {
                reason: Some(BounceReason::Suppressed),
                ..event(EventType::Complaint, 0)
            });
            return events;
        }
    }
    // The simulator takes labels: bounce+anything@ behaves as bounce@.
    let local = recipient
        .split(['+', '@'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match (domain(recipient).as_str(), local.as_str()) {
        ("simulator.amazonses.com", "bounce") | ("bounce.test", _) => {
            events.push(bounce(BounceReason::NoSuchMailbox, 0));
        }
        ("simulator.amazonses.com", "suppressionlist") => events.push(bounce(BounceReason::Suppressed, 0)),
        ("rejected.test", _) => events.push(event(EventType::Reject, 0)),
        ("simulator.amazonses.com", "complaint") | ("complaint.test", _) => {
            events.push(event(EventType::Delivery, 0));
            events.push(event(EventType::Complaint, COMPLAINT_MS));
        }
        ("simulator.amazonses.com", "ooto") => {
            events.push(event(EventType::Delivery, 0));
            events.push(event(EventType::Reply, 0));
        }
        ("tls-fails.test" | "no-tls.test", _) if policy == TlsPolicy::Require => {
            events.push(Event {
                reason: Some(BounceReason::TlsRequired),
                ..event(EventType::DeliveryDelay, DELAY_MS)
            });
            events.push(bounce(BounceReason::TlsRequired, max_delivery_s.saturating_mul(1000)));
        }
        ("slow.test", _) => {
            events.push(event(EventType::DeliveryDelay, DELAY_MS));
            events.push(event(EventType::Delivery, SLOW_MS));
        }
        _ => events.push(event(EventType::Delivery, 0)),
    }
    events
}

/// The name of the state that `events` have led to by `now_ms`: `accepted`, `delayed`, `delivered`, `bounced`,
/// `suppressed`, `tls_failed`, `rejected` or `complained`.
pub(super) fn state(events: &[Event], now_ms: i64) -> &'static str {
    let past = events.iter().filter(|event| event.at_ms <= now_ms);
    past.fold("accepted", |state, event| match (event.kind, event.reason) {
        (EventType::Bounce, Some(BounceReason::TlsRequired)) => "tls_failed",
        (EventType::Bounce | EventType::Complaint, Some(BounceReason::Suppressed)) => "suppressed",
        (EventType::Bounce, _) => "bounced",
        (EventType::Delivery, _) => "delivered",
        (EventType::DeliveryDelay, _) => "delayed",
        (EventType::Complaint, _) => "complained",
        (EventType::Reject, _) => "rejected",
        (EventType::Send | EventType::Reply, _) => state,
    })
}

/// The part after the last at sign, in lower case.
pub(super) fn domain(address: &str) -> String {
    address.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
}

/// Whether a text has only what names of hosts are made of.
pub(super) fn has_host_bytes(domain: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    domain.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_behaves_as_written() {
        let cases = [
            ("pat@anywhere.test", TlsPolicy::Require, 0, "delivered"),
            ("success@simulator.amazonses.com", TlsPolicy::Require, 0, "delivered"),
            ("Bounce+7@Simulator.AmazonSES.com", TlsPolicy::Require, 0, "bounced"),
            (
                "suppressionlist@simulator.amazonses.com",
                TlsPolicy::Require,
                0,
                "suppressed",
            ),
            ("ooto@simulator.amazonses.com", TlsPolicy::Require, 0, "delivered"),
            ("complaint@simulator.amazonses.com", TlsPolicy::Require, 59, "delivered"),
            ("pat@complaint.test", TlsPolicy::Require, 60, "complained"),
            ("pat@bounce.test", TlsPolicy::Optional, 0, "bounced"),
            ("pat@rejected.test", TlsPolicy::Require, 0, "rejected"),
            ("pat@tls-fails.test", TlsPolicy::Require, 59, "accepted"),
            ("pat@tls-fails.test", TlsPolicy::Require, 299, "delayed"),
            ("pat@tls-fails.test", TlsPolicy::Require, 300, "tls_failed"),
            ("pat@no-tls.test", TlsPolicy::Require, 300, "tls_failed"),
            ("pat@no-tls.test", TlsPolicy::Optional, 0, "delivered"),
            ("pat@tls-fails.test", TlsPolicy::Optional, 0, "delivered"),
            ("pat@slow.test", TlsPolicy::Require, 119, "delayed"),
            ("pat@slow.test", TlsPolicy::Require, 120, "delivered"),
            ("pat@lost-reply.test", TlsPolicy::Require, 0, "delivered"),
        ];
        for (recipient, policy, after_s, expected) in cases {
            let events = events(recipient, None, policy, 300, 1_000);
            assert_eq!(
                state(&events, 1_000 + after_s * 1000),
                expected,
                "{recipient} {policy:?} {after_s}"
            );
            assert_eq!(events[0].kind, EventType::Send);
        }
        for (listed, kind) in [
            (Listed::Bounced, EventType::Bounce),
            (Listed::Complained, EventType::Complaint),
        ] {
            let suppressed = events("pat@anywhere.test", Some(listed), TlsPolicy::Require, 300, 0);
            assert_eq!((state(&suppressed, 0), suppressed[1].kind), ("suppressed", kind));
        }
    }

    #[test]
    fn only_the_two_named_domains_change_the_answer() {
        assert_eq!(answer(&["a@b.test".into()]), Answer::Accepted);
        assert_eq!(
            answer(&["a@b.test".into(), "c@Lost-Reply.test".into()]),
            Answer::ReplyLost
        );
        assert_eq!(answer(&["c@throttled.test".into()]), Answer::Throttled);
    }
}
