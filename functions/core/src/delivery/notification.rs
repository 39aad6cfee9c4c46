//! SES's events as it publishes them (SES Developer Guide, "Examples of event data that Amazon SES publishes to Amazon SNS"),
//! read as far as they matter here. Addresses, subjects and diagnostics in them are never kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::observation::{Observed, What};
use crate::id::{DeliveryId, EmailId, TenantId};
use crate::planted;

/// What an event says, of which attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The tenant, as tagged.
    pub tenant: TenantId,
    /// The email, as tagged.
    pub email: EmailId,
    /// The delivery, as tagged.
    pub delivery: DeliveryId,
    /// What was seen.
    pub seen: Observed,
    /// Proof that the tags are ours.
    pub proof: String,
    /// The id that SES gave the attempt.
    pub message_id: String,
}

/// What a message from SES turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// An event of a delivery.
    Event(Box<Notification>),
    /// An event that changes nothing: of a mail that is no delivery, or of a kind that is not looked at.
    Other,
    /// No event of SES.
    Malformed,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "eventType")]
    kind: String,
    mail: Mail,
    bounce: Option<Bounce>,
    delivery: Option<At>,
    complaint: Option<Complaint>,
    #[serde(rename = "deliveryDelay")]
    delay: Option<At>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    timestamp: Timestamp,
    message_id: String,
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct At {
    timestamp: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(default)]
    complaint_sub_type: Option<String>,
    timestamp: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    bounce_sub_type: String,
    timestamp: Timestamp,
    #[serde(default)]
    bounced_recipients: Vec<BouncedRecipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BouncedRecipient {
    diagnostic_code: Option<String>,
}

impl Bounce {
    /// Whether the diagnostics speak of TLS. They are looked at for this one word and not kept.
    fn speaks_of_tls(&self) -> bool {
        let codes = self
            .bounced_recipients
            .iter()
            .filter_map(|one| one.diagnostic_code.as_ref());
        codes
            .map(|code| code.to_ascii_lowercase())
            .any(|code| code.contains("tls") || code.contains("encrypt"))
    }
}

/// What SES publishes to a topic once, when it becomes an event destination (SES Developer Guide, "Set up an Amazon SNS event
/// destination for event publishing").
const VALIDATED: &str = "Successfully validated SNS topic for Amazon SES event publishing.";

/// How SES says that the account's own suppression list stopped a mail.
const ON_ACCOUNT_LIST: &str = "OnAccountSuppressionList";

/// Reads one message.
#[must_use]
pub fn read(body: &str) -> Read {
    if body.trim() == VALIDATED {
        return Read::Other;
    }
    let Ok(event) = serde_json::from_str::<Event>(body) else {
        if planted!("leak_19") {
            tracing::error!("no event of SES: {body:?}");
        }
        return Read::Malformed;
    };
    let tag = |name: &str| event.mail.tags.get(name).and_then(|values| values.first());
    let Some(delivery) = tag("delivery") else {
        return Read::Other;
    };
    let is_tls = tag("method").is_some_and(|method| method == "tls");
    let Some((what, at)) = what(&event, is_tls) else {
        return Read::Other;
    };
    let notification = (|| {
        Some(Notification {
            tenant: TenantId::parse(tag("tenant")?)?,
            email: EmailId::parse(tag("email")?)?,
            delivery: DeliveryId::parse(delivery)?,
            seen: Observed {
                what,
                attempt: tag("attempt")?.parse().ok()?,
                at_ms: at.as_millisecond(),
            },
            proof: tag("proof")?.clone(),
            message_id: event.mail.message_id.clone(),
        })
    })();
    notification.map_or(Read::Malformed, |notification| Read::Event(Box::new(notification)))
}

fn what(event: &Event, is_tls: bool) -> Option<(What, Timestamp)> {
    match event.kind.as_str() {
        "Send" => Some((What::Accepted, event.mail.timestamp)),
        "Reject" | "Rendering Failure" => Some((What::Rejected, event.mail.timestamp)),
        "Delivery" => Some((What::Delivered, event.delivery.as_ref()?.timestamp)),
        "DeliveryDelay" => Some((What::Delayed, event.delay.as_ref()?.timestamp)),
        "Complaint" => {
            let complaint = event.complaint.as_ref()?;
            // An earlier complaint put the address on the account's list: nobody complained now, and nothing was delivered.
            let is_listed = complaint.complaint_sub_type.as_deref() == Some(ON_ACCOUNT_LIST);
            let what = if is_listed { What::Suppressed } else { What::Complained };
            Some((what, complaint.timestamp))
        }
        "Bounce" => {
            let bounce = event.bounce.as_ref()?;
            Some((bounced(bounce, is_tls), bounce.timestamp))
        }
        _ => None,
    }
}

/// What a bounce says. SES reports an attempt that found no TLS, or that ran out of its `MaxDeliverySeconds`, as Transient
/// and General, with words that are not documented; so for an attempt that required TLS every such bounce counts as not
/// delivered in time, and the notice of the portal that follows is the safe mistake. Only where the words speak of TLS is it
/// held against the domain.
fn bounced(bounce: &Bounce, is_tls: bool) -> What {
    match (&*bounce.bounce_type, &*bounce.bounce_sub_type) {
        ("Permanent", "Suppressed" | ON_ACCOUNT_LIST) => What::Suppressed,
        ("Permanent", _) => What::Bounced,
        (_, "General" | "Undetermined") if is_tls && bounce.speaks_of_tls() => What::NotByTls,
        (_, "General" | "Undetermined") if is_tls => What::NotInTime,
        _ => What::Returned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, method: &str, more: &str) -> String {
        let tenant = TenantId::from_bytes([1; 16]);
        let email = EmailId::from_bytes([2; 16]);
        let delivery = DeliveryId::from_bytes([3; 16]);
        format!(
            r#"{{"eventType":"{kind}","mail":{{"timestamp":"2026-11-24T10:00:00.000Z","messageId":"0100","tags":{{
            "tenant":["{tenant}"],"email":["{email}"],"delivery":["{delivery}"],"attempt":["1"],"method":["{method}"],
            "proof":["ab"],"ses:from-domain":["clinic.test"]}}}}{more}}}"#
        )
    }

    fn seen(body: &str) -> What {
        match read(body) {
            Read::Event(notification) => notification.seen.what,
            other => panic!("{other:?}: {body}"),
        }
    }

    #[test]
    fn each_kind_of_event_is_what_ses_says_it_is() {
        let bounce = |kind: &str, sub: &str| {
            format!(
                r#","bounce":{{"bounceType":"{kind}","bounceSubType":"{sub}","timestamp":"2026-11-24T10:05:00.000Z","bouncedRecipients":[]}}"#
            )
        };
        let at = |name: &str| format!(r#","{name}":{{"timestamp":"2026-11-24T10:00:01.000Z"}}"#);
        let cases = [
            (event("Send", "tls", r#","send":{}"#), What::Accepted),
            (event("Delivery", "tls", &at("delivery")), What::Delivered),
            (event("DeliveryDelay", "tls", &at("deliveryDelay")), What::Delayed),
            (event("Complaint", "tls", &at("complaint")), What::Complained),
            (
                event(
                    "Complaint",
                    "tls",
                    r#","complaint":{"complaintSubType":"OnAccountSuppressionList","timestamp":"2026-11-24T10:00:01.000Z"}"#,
                ),
                What::Suppressed,
            ),
            (
                event("Reject", "tls", r#","reject":{"reason":"Bad content"}"#),
                What::Rejected,
            ),
            (event("Bounce", "tls", &bounce("Transient", "General")), What::NotInTime),
            (
                event(
                    "Bounce",
                    "tls",
                    &bounce("Transient", "General").replace(
                        "[]",
                        r#"[{"diagnosticCode":"smtp; 550 4.4.7 expired <TLS is required>"}]"#,
                    ),
                ),
                What::NotByTls,
            ),
            (
                event("Bounce", "tls", &bounce("Undetermined", "Undetermined")),
                What::NotInTime,
            ),
            (
                event("Bounce", "portal", &bounce("Transient", "General")),
                What::Returned,
            ),
            (
                event("Bounce", "tls", &bounce("Transient", "MailboxFull")),
                What::Returned,
            ),
            (event("Bounce", "tls", &bounce("Permanent", "General")), What::Bounced),
            (event("Bounce", "tls", &bounce("Permanent", "NoEmail")), What::Bounced),
            (
                event("Bounce", "openpgp", &bounce("Permanent", "OnAccountSuppressionList")),
                What::Suppressed,
            ),
        ];
        for (body, what) in cases {
            assert_eq!(seen(&body), what, "{body}");
        }
    }

    #[test]
    fn what_is_no_event_of_a_delivery_is_told_apart() {
        assert_eq!(read("{}"), Read::Malformed);
        assert_eq!(read("not json"), Read::Malformed);
        assert_eq!(read(VALIDATED), Read::Other);
        assert_eq!(read(&event("Open", "tls", "")), Read::Other);
        assert_eq!(
            read(&event("Send", "tls", "").replace("\"delivery\":", "\"pickup\":")),
            Read::Other
        );
        // Ours by its tags, but not whole.
        assert_eq!(
            read(&event("Send", "tls", "").replace("\"proof\":", "\"other\":")),
            Read::Malformed
        );
        assert_eq!(
            read(&event("Send", "tls", "").replace("\"1\"", "\"one\"")),
            Read::Malformed
        );
        assert_eq!(read(&event("Send", "tls", "").replace("ten_", "ten-")), Read::Malformed);
    }
}
