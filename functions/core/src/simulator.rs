//! Recipients that do not exist, for keys in test mode: each behaves in one way, and nothing for them ever reaches SES.
//!
//! A test goes the whole way: it is accepted, planned, sealed and fenced as any other. Only the call to SES is replaced: what
//! SES would say of the mail is put on the queue of its events, with its delays, and comes back the way that all events come.
//! `.test` is reserved (RFC 6761 section 6.2), so no address here can ever be somebody's. A label may follow a plus sign, so
//! that tests can tell their recipients apart.
//!
//! | address | behaves as |
//! |---|---|
//! | `delivered@` | a mailbox that takes mail by TLS |
//! | `slow@` | one whose server takes it only after 20 s |
//! | `no-tls@` | one whose server offers no TLS; the portal follows after 10 s |
//! | `bad-certificate@` | one whose server's certificate is not valid; the portal follows after 10 s |
//! | `bounced@` | one that does not exist |
//! | `complained@` | one whose owner calls the mail unwanted after 5 s |
//! | `lost-reply@` | one for which SES accepts the mail and its answer is lost; its events settle it after 10 s |
//! | `openpgp@` | one with an OpenPGP certificate on file |
//! | `smime@` | one with an S/MIME certificate on file |
//! | `portal@` | one whose owner prefers the portal |

use jiff::Timestamp;
use sealpost_codec::address::Address;
use sealpost_codec::{openpgp, smime};
use serde_json::{Value, json};

use crate::app::App;
use crate::aws::ses::Submission;
use crate::error::{Error, Result};
use crate::policy::{DaneFact, DomainFact, KeyFact, Method, MtaStsFact};
use crate::recipient::Known;

/// The domain of all simulated recipients.
pub const DOMAIN: &str = "simulator.test";

/// Certificates of two of them. Nobody has the private keys.
const OPENPGP: &[u8] = include_bytes!("simulator/openpgp.pgp");
const SMIME: &[u8] = include_bytes!("simulator/smime.der");

/// How one simulated recipient behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Slow,
    NoTls,
    BadCertificate,
    Bounced,
    Complained,
    LostReply,
    OpenPgp,
    Smime,
    Portal,
}

impl Outcome {
    pub(crate) const ALL: [Outcome; 10] = [
        Outcome::Delivered,
        Outcome::Slow,
        Outcome::NoTls,
        Outcome::BadCertificate,
        Outcome::Bounced,
        Outcome::Complained,
        Outcome::LostReply,
        Outcome::OpenPgp,
        Outcome::Smime,
        Outcome::Portal,
    ];

    /// The local part of the address.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Slow => "slow",
            Outcome::NoTls => "no-tls",
            Outcome::BadCertificate => "bad-certificate",
            Outcome::Bounced => "bounced",
            Outcome::Complained => "complained",
            Outcome::LostReply => "lost-reply",
            Outcome::OpenPgp => "openpgp",
            Outcome::Smime => "smime",
            Outcome::Portal => "portal",
        }
    }

    /// How the recipient behaves, where the address is a simulated one's.
    pub(crate) fn of(address: &Address) -> Option<Self> {
        if !is_simulated(address) {
            return None;
        }
        let local = address.as_str().split(['+', '@']).next()?.to_ascii_lowercase();
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == local)
    }

    /// What SES would tell of a mail: each event with the seconds until it comes.
    fn events(self, method: Method) -> Vec<(i64, Value)> {
        let send = (0, json!({ "eventType": "Send", "send": {} }));
        let delay = |after_s, kind| {
            (
                after_s,
                json!({ "eventType": "DeliveryDelay", "deliveryDelay": { "delayType": kind } }),
            )
        };
        let delivery = |after_s| (after_s, json!({ "eventType": "Delivery", "delivery": {} }));
        let bounce = |after_s, kind: &str, status: &str, code: &str| {
            let recipient = json!({ "action": "failed", "status": status, "diagnosticCode": code });
            let bounce = json!({ "bounceType": kind, "bounceSubType": "General", "bouncedRecipients": [recipient] });
            (after_s, json!({ "eventType": "Bounce", "bounce": bounce }))
        };
        let by_tls = method == Method::Tls;
        match self {
            Outcome::Delivered | Outcome::OpenPgp | Outcome::Smime | Outcome::Portal => vec![send, delivery(1)],
            Outcome::Slow => vec![send, delay(5, "RecipientServerError"), delivery(20)],
            Outcome::NoTls | Outcome::BadCertificate if by_tls => {
                let answer = match self {
                    Outcome::NoTls => "451 4.7.0 TLS was required but not offered by the recipient's mail server",
                    _ => "451 4.7.5 TLS was required but the certificate of the recipient's mail server is not valid",
                };
                let code = format!("smtp; 550 4.4.7 Message expired: unable to deliver in time.<{answer}>");
                vec![
                    send,
                    delay(5, "TransientCommunicationFailure"),
                    bounce(10, "Transient", "4.4.7", &code),
                ]
            }
            Outcome::NoTls | Outcome::BadCertificate => vec![send, delivery(1)],
            Outcome::Bounced => vec![send, bounce(1, "Permanent", "5.1.1", "smtp; 550 5.1.1 user unknown")],
            Outcome::Complained => {
                let complaint = json!({ "complaintSubType": null, "complaintFeedbackType": "abuse" });
                vec![
                    send,
                    delivery(1),
                    (5, json!({ "eventType": "Complaint", "complaint": complaint })),
                ]
            }
            Outcome::LostReply => vec![(10, send.1), delivery(11)],
        }
    }
}

/// Whether an address is one that mail is never sent to.
pub(crate) fn is_simulated(address: &Address) -> bool {
    address.domain() == DOMAIN
}

/// Every simulated address, for people.
pub(crate) fn addresses() -> String {
    let names = Outcome::ALL.map(|outcome| format!("`{}@{DOMAIN}`", outcome.as_str()));
    names.join(", ")
}

/// What is known of the domain: nothing, so that required TLS is tried.
pub(crate) fn domain() -> DomainFact {
    DomainFact {
        recorded: None,
        learned: None,
        mta_sts: MtaStsFact::Other,
        dane: DaneFact::Unknown,
    }
}

/// Adds what is known of the simulated recipient.
pub(crate) fn describe(outcome: Outcome, known: &mut Known) -> Result<()> {
    let unusable = || Error::internal("A simulated recipient's certificate cannot be used.");
    let address = Address::parse(&format!("{}@{DOMAIN}", outcome.as_str()))
        .map_err(|error| Error::internal("A simulated recipient has no address.").because(error))?;
    match outcome {
        Outcome::OpenPgp => {
            let certificate = openpgp::Certificate::from_stored(OPENPGP, &address).map_err(|_| unusable())?;
            known.facts.openpgp = KeyFact::Usable {
                fingerprint: certificate.fingerprint().to_owned(),
                reads_gcm: false,
            };
            known.openpgp = Some(certificate);
        }
        Outcome::Smime => {
            let certificate = smime::Certificate::from_stored(SMIME, &address).map_err(|_| unusable())?;
            known.facts.smime = KeyFact::Usable {
                fingerprint: certificate.fingerprint(),
                reads_gcm: certificate.reads_gcm(),
            };
            known.smime = Some(certificate);
        }
        Outcome::Portal => known.facts.prefers_portal = true,
        _ => {}
    }
    Ok(())
}

/// Takes a mail in the place of SES: its events come by the queue, under the tags that SES would bring back.
pub(crate) async fn submit(app: &App, outcome: Outcome, method: Method, tags: &[(&str, String)]) -> Submission {
    let now_ms = app.clock.now_ms();
    let tag = |name: &str| {
        let found = tags.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let message_id = format!("simulated-{}-{}", tag("delivery"), tag("attempt"));
    let all = tags.iter().map(|(name, value)| ((*name).to_owned(), json!([value])));
    let all: Value = all.collect::<serde_json::Map<_, _>>().into();
    let record = |(after_s, mut event): (i64, Value)| {
        let time = |ms| {
            Timestamp::from_millisecond(ms)
                .unwrap_or(Timestamp::UNIX_EPOCH)
                .to_string()
        };
        let at = time(now_ms.saturating_add(after_s.saturating_mul(1000)));
        for member in ["delivery", "deliveryDelay", "bounce", "complaint"] {
            if let Some(member) = event.get_mut(member).and_then(Value::as_object_mut) {
                member.insert("timestamp".to_owned(), json!(at));
            }
        }
        if let Some(event) = event.as_object_mut() {
            let mail = json!({ "timestamp": time(now_ms), "messageId": message_id, "tags": all });
            event.insert("mail".to_owned(), mail);
        }
        (event, after_s)
    };
    let records: Vec<_> = outcome.events(method).into_iter().map(record).collect();
    match app.enqueue_ses_events(&records).await {
        Ok(()) if outcome == Outcome::LostReply => Submission::Ambiguous,
        Ok(()) => Submission::Accepted { message_id },
        // Some of the events may be on the queue.
        Err(error) => {
            tracing::warn!(kind = ?error.kind(), "the events of a simulated recipient were not all queued: {error}");
            Submission::Ambiguous
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::notification::{self, Read};
    use crate::delivery::observation::What;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_told_by_their_name_with_or_without_a_label() {
        for outcome in Outcome::ALL {
            let name = outcome.as_str();
            for text in [
                format!("{name}@{DOMAIN}"),
                format!("{name}+7@{DOMAIN}"),
                format!("{}@SIMULATOR.test", name.to_uppercase()),
            ] {
                assert_eq!(Outcome::of(&address(&text)), Some(outcome), "{text}");
            }
            for text in [
                format!("{name}@clinic.test"),
                format!("{name}@x.{DOMAIN}"),
                format!("x{name}@{DOMAIN}"),
            ] {
                assert_eq!(Outcome::of(&address(&text)), None, "{text}");
            }
        }
        assert!(is_simulated(&address("nobody@simulator.test")));
    }

    #[test]
    fn certificates_are_usable_today_and_in_fifty_years() {
        for at_s in [1_795_521_600, 1_795_521_600 + 50 * 366 * 86_400] {
            let certificate = openpgp::Certificate::from_stored(OPENPGP, &address("openpgp@simulator.test")).unwrap();
            certificate.check(at_s).unwrap();
            let certificate = smime::Certificate::from_stored(SMIME, &address("smime@simulator.test")).unwrap();
            certificate.check(at_s).unwrap();
        }
    }

    #[test]
    fn every_event_is_one_that_tracking_reads() {
        for outcome in Outcome::ALL {
            for (_, mut event) in outcome.events(Method::Tls) {
                for member in ["delivery", "deliveryDelay", "bounce", "complaint"] {
                    if let Some(member) = event.get_mut(member) {
                        member["timestamp"] = json!("2026-11-24T10:00:00Z");
                    }
                }
                event["mail"] = json!({
                    "timestamp": "2026-11-24T10:00:00Z", "messageId": "simulated",
                    "tags": {
                        "tenant": [crate::id::TenantId::from_bytes([1; 16])],
                        "email": [crate::id::EmailId::from_bytes([2; 16])],
                        "delivery": [crate::id::DeliveryId::from_bytes([3; 16])],
                        "attempt": ["1"], "method": ["tls"], "proof": ["0"],
                    },
                });
                let Read::Event(read) = notification::read(&event.to_string()) else {
                    panic!("{outcome:?} {event}");
                };
                let is_by_tls = !matches!(outcome, Outcome::NoTls | Outcome::BadCertificate);
                assert!(is_by_tls || read.seen.what != What::Delivered, "{outcome:?}");
            }
        }
    }
}
