//! The records that SES publishes: what happened to an email, in the words of "Contents of event data that Amazon SES
//! publishes to Amazon SNS" and its page of examples (SES Developer Guide).

use aws_lc_rs::digest;
use jiff::Timestamp;
use mail_parser::{Address, Message, MessageParser};
use serde_json::{Map, Value, json};

use super::behaviour::{BounceReason, Event, EventType, domain};
use super::raw::Raw;
use super::send::message_id;
use crate::aws::arn;

/// Headers are cut off here, in octets ("headersTruncated").
const LONGEST_HEADERS: usize = 10 * 1024;
/// The host that hands mails over.
const MTA: &str = "a8-30.smtp-out.amazonses.com";
/// Where mails come from and go to: this machine.
const IP: &str = "127.0.0.1";

/// An email at the moment SES accepts it.
pub(super) struct Origin<'a> {
    pub(super) raw: &'a Raw<'a>,
    pub(super) data: &'a [u8],
    pub(super) id: &'a str,
    pub(super) at_ms: i64,
    pub(super) from: &'a str,
    /// The verified identity that allows the sender.
    pub(super) identity: &'a str,
    pub(super) recipients: &'a [String],
    pub(super) set: &'a str,
    pub(super) tags: &'a [(String, String)],
    /// Who called: the name of a role, or `root`.
    pub(super) caller: &'a str,
}

/// What a record says beside the email itself.
pub(super) struct Happening<'a> {
    pub(super) event: &'a Event,
    pub(super) recipient: &'a str,
    /// When SES accepted the email.
    pub(super) at_ms: i64,
    /// When SES gives up.
    pub(super) expires_ms: i64,
    /// What makes ids of feedback from: the same for every publication of the same event.
    pub(super) seed: &'a str,
}

/// The `mail` object, which is the same in all records of an email.
pub(super) fn mail(origin: &Origin<'_>) -> Value {
    let parsed = MessageParser::default().parse_headers(origin.data);
    let (headers, is_truncated) = headers(origin.raw);
    let mut tags = Map::new();
    let own = [
        ("ses:configuration-set", origin.set.to_owned()),
        ("ses:source-ip", IP.to_owned()),
        ("ses:from-domain", domain(origin.from)),
        ("ses:caller-identity", origin.caller.to_owned()),
    ];
    let given = origin.tags.iter().map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in own.into_iter().chain(given) {
        tags.insert(name.to_owned(), json!([value]));
    }
    json!({
        "timestamp": time(origin.at_ms),
        "source": origin.from,
        "sourceArn": arn::of("ses", &format!("identity/{}", origin.identity)),
        "sendingAccountId": arn::ACCOUNT,
        "messageId": origin.id,
        "destination": origin.recipients,
        "headersTruncated": is_truncated,
        "headers": headers,
        "commonHeaders": common(&headers, parsed.as_ref(), origin.id),
        "tags": tags,
    })
}

/// The whole record; `None` for what SES publishes no event of.
pub(super) fn record(mail: &Value, happening: &Happening<'_>) -> Option<Value> {
    let (name, member, content) = match happening.event.kind {
        EventType::Send => ("Send", "send", json!({})),
        EventType::Delivery => ("Delivery", "delivery", delivery(happening)),
        EventType::DeliveryDelay => ("DeliveryDelay", "deliveryDelay", delay(happening)),
        EventType::Bounce => ("Bounce", "bounce", bounce(happening)),
        EventType::Complaint => ("Complaint", "complaint", complaint(happening)),
        EventType::Reject => ("Reject", "reject", json!({"reason": "Bad content"})),
        EventType::Reply => return None,
    };
    let mut mail = mail.clone();
    // Only who handed the mail over knows from which address.
    if happening.event.kind == EventType::Delivery
        && let Some(tags) = mail.get_mut("tags").and_then(Value::as_object_mut)
    {
        tags.insert("ses:outgoing-ip".to_owned(), json!([IP]));
    }
    let mut record = Map::new();
    record.insert("eventType".to_owned(), json!(name));
    record.insert("mail".to_owned(), mail);
    record.insert(member.to_owned(), content);
    Some(Value::Object(record))
}

/// The name by which a destination asks for events of this kind.
pub(super) const fn matching(kind: EventType) -> Option<&'static str> {
    Some(match kind {
        EventType::Send => "SEND",
        EventType::Delivery => "DELIVERY",
        EventType::DeliveryDelay => "DELIVERY_DELAY",
        EventType::Bounce => "BOUNCE",
        EventType::Complaint => "COMPLAINT",
        EventType::Reject => "REJECT",
        EventType::Reply => return None,
    })
}

fn delivery(happening: &Happening<'_>) -> Value {
    json!({
        "timestamp": time(happening.event.at_ms),
        "processingTimeMillis": happening.event.at_ms.saturating_sub(happening.at_ms),
        "recipients": [happening.recipient],
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": MTA,
    })
}

fn delay(happening: &Happening<'_>) -> Value {
    let (kind, status, code) = match happening.event.reason {
        Some(BounceReason::TlsRequired) => (
            "TransientCommunicationFailure",
            "4.7.0",
            "smtp; 451 4.7.0 TLS was required but not offered by the recipient's mail server",
        ),
        _ => (
            "RecipientServerError",
            "4.3.2",
            "smtp; 421 4.3.2 System not accepting network messages",
        ),
    };
    json!({
        "timestamp": time(happening.event.at_ms),
        "delayType": kind,
        "expirationTime": time(happening.expires_ms),
        "reportingMTA": IP,
        "delayedRecipients": [{"emailAddress": happening.recipient, "status": status, "diagnosticCode": code}],
    })
}

fn bounce(happening: &Happening<'_>) -> Value {
    let is_simulator = domain(happening.recipient) == "simulator.amazonses.com";
    let (kind, subtype, status, code, mta) = match happening.event.reason {
        Some(BounceReason::TlsRequired) => {
            // SES words a bounce so when its time is over, with the last answer in brackets.
            let minutes = happening.expires_ms.saturating_sub(happening.at_ms) / 60_000;
            let code = format!(
                "smtp; 550 4.4.7 Message expired: unable to deliver in {minutes} minutes.<451 4.7.0 TLS was required but \
                 not offered by the recipient's mail server>"
            );
            ("Transient", "General", "4.4.7", code, MTA)
        }
        Some(BounceReason::Suppressed) => {
            let (subtype, list) = if is_simulator {
                (
                    "Suppressed",
                    "Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid address.",
                )
            } else {
                (
                    "OnAccountSuppressionList",
                    "Amazon SES did not send the message to this address because it is on the suppression list for your account.",
                )
            };
            ("Permanent", subtype, "5.1.1", list.to_owned(), "amazonses.com")
        }
        Some(BounceReason::NoSuchMailbox) | None => (
            "Permanent",
            "General",
            "5.1.1",
            "smtp; 550 5.1.1 user unknown".to_owned(),
            MTA,
        ),
    };
    json!({
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": [{
            "emailAddress": happening.recipient,
            "action": "failed",
            "status": status,
            "diagnosticCode": code,
        }],
        "timestamp": time(happening.event.at_ms),
        "feedbackId": feedback_id(happening),
        "reportingMTA": format!("dns; {mta}"),
    })
}

fn complaint(happening: &Happening<'_>) -> Value {
    if happening.event.reason == Some(BounceReason::Suppressed) {
        // Nobody complained again, so there is no report.
        return json!({
            "complainedRecipients": [{"emailAddress": happening.recipient}],
            "timestamp": time(happening.event.at_ms),
            "feedbackId": feedback_id(happening),
            "complaintSubType": "OnAccountSuppressionList",
        });
    }
    json!({
        "complainedRecipients": [{"emailAddress": happening.recipient}],
        "timestamp": time(happening.event.at_ms),
        "feedbackId": feedback_id(happening),
        "complaintSubType": null,
        "userAgent": "Amazon SES Mailbox Simulator",
        "complaintFeedbackType": "abuse",
        "arrivalDate": time(happening.event.at_ms),
    })
}

/// An id in the form of message ids.
fn feedback_id(happening: &Happening<'_>) -> String {
    let digest = digest::digest(&digest::SHA256, happening.seed.as_bytes());
    let octets = digest.as_ref().first_chunk().copied().unwrap_or_default();
    message_id(happening.event.at_ms, octets)
}

/// The header fields as they came in, and whether some are left out.
fn headers(raw: &Raw<'_>) -> (Vec<Value>, bool) {
    let mut size = 0;
    let mut kept = Vec::new();
    for (name, value) in raw.headers() {
        size += name.len() + value.len();
        if size > LONGEST_HEADERS {
            return (kept, true);
        }
        kept.push(json!({"name": name, "value": value}));
    }
    (kept, false)
}

/// The header fields that most readers look for.
fn common(headers: &[Value], parsed: Option<&Message<'_>>, id: &str) -> Value {
    let field = |wanted: &str| {
        let is_wanted = |header: &&Value| {
            let name = header.get("name").and_then(Value::as_str);
            name.is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        };
        headers
            .iter()
            .find(is_wanted)
            .and_then(|header| header.get("value"))
            .cloned()
    };
    let lists = parsed.map(|message| {
        let of = |name: &'static str, list: Option<&Address<'_>>| list.map(|list| (name, addresses(list)));
        [
            of("from", message.from()),
            of("to", message.to()),
            of("cc", message.cc()),
            of("bcc", message.bcc()),
            of("replyTo", message.reply_to()),
        ]
    });
    let lists = lists.into_iter().flatten().flatten();
    let texts = [
        ("date", field("Date")),
        ("messageId", Some(field("Message-ID").unwrap_or_else(|| json!(id)))),
        ("returnPath", field("Return-Path")),
        ("sender", field("Sender")),
        ("subject", field("Subject")),
    ];
    let texts = texts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let all = lists.map(|(name, list)| (name, json!(list))).chain(texts);
    Value::Object(all.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn addresses(list: &Address<'_>) -> Vec<String> {
    let shown = |one: &mail_parser::Addr<'_>| {
        let address = one.address()?;
        Some(match one.name() {
            Some(name) => format!("{name} <{address}>"),
            None => address.to_owned(),
        })
    };
    list.iter().filter_map(shown).collect()
}

/// ISO 8601 with milliseconds, in UTC.
fn time(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests;
