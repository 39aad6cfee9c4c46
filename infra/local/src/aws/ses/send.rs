//! SendEmail: the checks in SES's order, then one transaction that stores the email.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::MessageParser;
use serde_json::{Value, json};

use super::behaviour::{self, Answer, BounceReason, EventType, TlsPolicy, has_host_bytes};
use super::configuration_set::{self, Options};
use super::identity::Sender;
use super::mail::Recipient;
use super::raw::Raw;
use super::record::Origin;
use super::{AwsError, Ses, account, bad_request, identity, only, publish, suppression};
use crate::aws::arn::is_name;
use crate::aws::random;
use crate::aws::store::Prepared;

/// Recipients of one email, To, Cc and Bcc together (SESv2 API Reference, SendEmail).
const MOST_RECIPIENTS: usize = 50;
/// Octets in a tag's name or value (SESv2 API Reference, MessageTag).
const LONGEST_TAG: usize = 256;
/// The host of Message-ID fields, in the form SES uses for its region.
const ID_HOST: &str = "us-east-1.amazonses.com";
/// What SES calls its region in the refusal of unverified identities.
const REGION: &str = "US-EAST-1";

/// Who an email is from and to.
struct Envelope {
    /// Where bounces go, and the address whose default configuration set applies.
    from: String,
    recipients: Vec<String>,
    /// Every address that has to be verified: From, Sender, Return-Path and the call's own.
    senders: Vec<String>,
    subject: String,
}

impl Ses {
    pub(super) fn send_email(&self, caller: &str, body: &Value) -> Result<Value, AwsError> {
        let known = [
            "FromEmailAddress",
            "Destination",
            "Content",
            "EmailTags",
            "ConfigurationSetName",
        ];
        only("SendEmail", body, &known)?;
        let content = body
            .get("Content")
            .ok_or_else(|| bad_request("Member must not be null: Content"))?;
        only("SendEmail: Content", content, &["Raw"])?;
        let data = content.pointer("/Raw/Data").and_then(Value::as_str);
        let data = data.ok_or_else(|| bad_request("Member must not be null: Content.Raw.Data"))?;
        let data = STANDARD
            .decode(data)
            .map_err(|_| AwsError::bad_request("SerializationException", "Content.Raw.Data is not base64."))?;
        let raw = Raw::check(&data)?;
        let tags = tags(body.get("EmailTags"))?;
        let envelope = envelope(body, &data)?;

        let now = self.clock.now();
        let now_ms = now.as_millisecond();
        let id = message_id(now_ms, random::bytes()?);
        let (answer, set) = self.store.change(|tx| {
            if !account::is_sending_enabled(tx)? {
                return Err(AwsError::bad_request(
                    "SendingPausedException",
                    "Sending is disabled for the account.",
                ));
            }
            let mut unverified = Vec::new();
            let (mut default_set, mut used) = (None, String::new());
            for address in &envelope.senders {
                let Sender { identity, set } = identity::sender(tx, address)?;
                if identity.is_none() {
                    unverified.push(address.as_str());
                }
                if *address == envelope.from {
                    default_set = set;
                    used = identity.unwrap_or_default();
                }
            }
            if !unverified.is_empty() {
                return Err(AwsError::bad_request(
                    "MessageRejected",
                    format!(
                        "Email address is not verified. The following identities failed the check in region {REGION}: {}",
                        unverified.join(", ")
                    ),
                ));
            }
            let set = body.get("ConfigurationSetName").and_then(Value::as_str).map(str::to_owned).or(default_set);
            let options = match &set {
                None => Options::default(),
                Some(set) => Options::read(&configuration_set::load(tx, set)?),
            };
            if !options.is_sending_enabled {
                return Err(AwsError::bad_request(
                    "SendingPausedException",
                    "Sending is disabled for the configuration set.",
                ));
            }
            let answer = behaviour::answer(&envelope.recipients);
            if answer == Answer::Throttled || !self.take_tokens(envelope.recipients.len(), now_ms) {
                return Err(AwsError::new(
                    http::StatusCode::TOO_MANY_REQUESTS,
                    "TooManyRequestsException",
                    "Maximum sending rate exceeded.",
                ));
            }
            let recipients = settle(tx, &envelope.recipients, &options, now_ms)?;
            let sent = raw.with_id_and_date(&format!("{id}@{ID_HOST}"), now);
            let policy = match options.tls_policy {
                TlsPolicy::Require => "REQUIRE",
                TlsPolicy::Optional => "OPTIONAL",
            };
            tx.run(
                "INSERT INTO mail (message_id, at_ms, sender, recipients, subject, set_name, tls_policy, tags, raw) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                (
                    &id,
                    now_ms,
                    &envelope.from,
                    json!(recipients).to_string(),
                    &envelope.subject,
                    &set,
                    policy,
                    json!(tags).to_string(),
                    sent,
                ),
            )?;
            if let Some(set) = &set {
                let origin = Origin {
                    raw: &raw,
                    data: &data,
                    id: &id,
                    at_ms: now_ms,
                    from: &envelope.from,
                    identity: &used,
                    recipients: &envelope.recipients,
                    set,
                    tags: &tags,
                    caller,
                };
                let expires_ms = now_ms.saturating_add(options.max_delivery_s.saturating_mul(1000));
                publish::enqueue(tx, &origin, &recipients, expires_ms)?;
            }
            Ok((answer, set))
        })?;
        self.news.notify_one();
        // The address is no part of the line: what goes to a log may not hold one.
        tracing::debug!(message_id = %id, configuration_set = set.as_deref().unwrap_or("none"), "SES accepted an email");
        match answer {
            Answer::ReplyLost => Err(AwsError::new(
                http::StatusCode::INTERNAL_SERVER_ERROR,
                "Sealpost.ReplyLost",
                "The email was accepted and the answer is lost.",
            )),
            _ => Ok(json!({"MessageId": id})),
        }
    }
}

/// What will happen to each recipient's copy; SES's own list learns hard bounces and complaints, except the simulator's.
fn settle(
    tx: &rusqlite::Transaction<'_>,
    recipients: &[String],
    options: &Options,
    now_ms: i64,
) -> Result<Vec<Recipient>, AwsError> {
    let mut settled = Vec::with_capacity(recipients.len());
    for address in recipients {
        let suppressed = suppression::stops(tx, address, &options.suppressed_reasons, now_ms)?;
        let events = behaviour::events(address, suppressed, options.tls_policy, options.max_delivery_s, now_ms);
        if behaviour::domain(address) != "simulator.amazonses.com" {
            for event in &events {
                match (event.kind, event.reason) {
                    (EventType::Bounce, Some(BounceReason::NoSuchMailbox)) => {
                        suppression::learn(tx, address, "BOUNCE", event.at_ms)?;
                    }
                    (EventType::Complaint, None) => suppression::learn(tx, address, "COMPLAINT", event.at_ms)?,
                    _ => {}
                }
            }
        }
        settled.push(Recipient {
            address: address.clone(),
            events,
        });
    }
    Ok(settled)
}

fn tags(tags: Option<&Value>) -> Result<Vec<(String, String)>, AwsError> {
    let tags = tags.and_then(Value::as_array).into_iter().flatten();
    let mut read: Vec<(String, String)> = Vec::new();
    for tag in tags {
        for part in ["Name", "Value"] {
            let text = super::text(tag, part)?;
            let is_valid = is_name(text, LONGEST_TAG);
            if !is_valid {
                return Err(bad_request(format!(
                    "Invalid tag {}. Only alphanumeric ASCII characters, '_', and '-' are allowed, 1 to {LONGEST_TAG} of them.",
                    part.to_ascii_lowercase()
                )));
            }
        }
        let (name, value) = (super::text(tag, "Name")?, super::text(tag, "Value")?);
        if read.iter().any(|(read, _)| read == name) {
            return Err(bad_request("Duplicate tag name."));
        }
        read.push((name.to_owned(), value.to_owned()));
    }
    Ok(read)
}

fn envelope(body: &Value, data: &[u8]) -> Result<Envelope, AwsError> {
    let message = MessageParser::default().parse(data);
    let header = |name: &'static str| -> Vec<String> {
        let values = message
            .iter()
            .flat_map(|message| message.header_values(name))
            .filter_map(|value| value.as_address());
        let addresses = values.flat_map(|list| list.iter().filter_map(|one| one.address()).map(str::to_owned));
        addresses.collect()
    };
    let mut recipients = Vec::new();
    for part in ["ToAddresses", "CcAddresses", "BccAddresses"] {
        let list = body
            .get("Destination")
            .and_then(|destination| destination.get(part))
            .and_then(Value::as_array);
        for text in list.into_iter().flatten() {
            recipients.push(bare(text.as_str().unwrap_or_default())?);
        }
    }
    if recipients.is_empty() {
        for name in ["To", "Cc", "Bcc"] {
            recipients.extend(header(name));
        }
    }
    for recipient in &recipients {
        check_address(recipient)?;
    }
    match recipients.len() {
        0 => return Err(bad_request("Missing required recipient.")),
        n if n > MOST_RECIPIENTS => return Err(bad_request(format!("Recipient count exceeds {MOST_RECIPIENTS}."))),
        _ => {}
    }
    let mut senders = header("From");
    let first = senders.first().cloned().unwrap_or_default();
    let from = match body.get("FromEmailAddress").and_then(Value::as_str) {
        Some(from) => bare(from)?,
        None => first,
    };
    check_address(&from)?;
    senders.extend(header("Sender"));
    senders.extend(header("Return-Path"));
    senders.push(from.clone());
    senders.sort_unstable();
    senders.dedup();
    let subject = message
        .as_ref()
        .and_then(|message| message.subject())
        .unwrap_or_default()
        .to_owned();
    Ok(Envelope {
        from,
        recipients,
        senders,
        subject,
    })
}

/// The address of `Name <address>` or of a bare address.
fn bare(text: &str) -> Result<String, AwsError> {
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => rest
            .trim_end()
            .strip_suffix('>')
            .ok_or_else(|| bad_request("Missing '>'."))?,
        None => text,
    };
    Ok(address.trim().to_owned())
}

fn check_address(address: &str) -> Result<(), AwsError> {
    let Some((local, domain)) = address.rsplit_once('@').filter(|(_, domain)| !domain.is_empty()) else {
        return Err(bad_request("Missing final '@domain'"));
    };
    if !local.is_ascii() {
        return Err(bad_request("Local address contains non-ASCII characters"));
    }
    if local.is_empty() || local.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return Err(bad_request("Local address contains control or whitespace"));
    }
    if !has_host_bytes(domain) || domain.starts_with('.') || domain.ends_with('.') || domain.contains("..") {
        return Err(bad_request("Domain contains illegal character"));
    }
    Ok(())
}

/// An id in SES's form: the region's prefix, the time, random octets as a UUID, and the version.
pub(super) fn message_id(now_ms: i64, octets: [u8; 16]) -> String {
    format!("0100{now_ms:012x}-{}-000000", random::uuid(octets))
}
