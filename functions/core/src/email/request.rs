//! The body of `POST /emails`: Resend's shape and our additions, checked field by field.

mod attachment;
mod schema;

use jiff::Span;
use sealpost_codec::address::{Address, Mailbox};
use sealpost_codec::mime::{self, Attachment, Content, ReadError};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::actor::Mode;
use crate::error::{Error, Fault, Kind, Result};
use crate::policy::{DataClass, Policy, Purpose, Requested, Tracking};
use crate::simulator::{self, Outcome};

/// At most so many recipients in one call (To, Cc and Bcc together; SES SendEmail, API reference).
pub const MAX_RECIPIENTS: usize = 50;
/// An email's size after encoding, bytes (SES quotas: 40 MB).
pub const MAX_MESSAGE: usize = 40 * 1024 * 1024;
/// A body's length, bytes: enough for any letter, and a bound on the work of making HTML safe to show.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// A subject's length, characters (RFC 5322 section 2.1.1 limits a line to 998).
const MAX_SUBJECT: usize = 900;
/// How many days a portal message may be asked to stay open.
const EXPIRY_DAYS: std::ops::RangeInclusive<i64> = 1..=365;
/// How many headers a sender may add.
const MAX_HEADERS: usize = 50;
/// How many tags a sender may add.
const MAX_TAGS: usize = 50;

/// The body of `POST /emails`: Resend's fields, and ours (`security`, `data_class`, `purpose`, `patient_ref`).
// No `Debug`: its text may identify a patient.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// The sender, at a domain of the tenant: `Name <a@b>` or `a@b`.
    #[schema(example = "Clinic <care@clinic.test>")]
    from: String,
    /// One or many; at most 50 in `to`, `cc` and `bcc` together.
    #[schema(schema_with = schema::at_least_one)]
    to: OneOrMany,
    #[serde(default)]
    #[schema(schema_with = schema::one_or_many)]
    cc: Option<OneOrMany>,
    #[serde(default)]
    #[schema(schema_with = schema::one_or_many)]
    bcc: Option<OneOrMany>,
    #[serde(default)]
    #[schema(schema_with = schema::one_or_many)]
    reply_to: Option<OneOrMany>,
    /// Without line breaks.
    #[serde(default)]
    #[schema(required = true, value_type = String, min_length = 1, max_length = 900, example = "Your results")]
    subject: Option<String>,
    /// An email has HTML, text or both.
    #[serde(default)]
    #[schema(example = "<p>They are fine.</p>")]
    html: Option<String>,
    /// An email has HTML, text or both.
    #[serde(default)]
    #[schema(example = "They are fine.")]
    text: Option<String>,
    /// Header fields of the sender's own, at most 50.
    #[serde(default)]
    #[schema(schema_with = schema::header_fields)]
    headers: Option<Headers>,
    #[serde(default)]
    attachments: Option<Vec<attachment::AttachmentRequest>>,
    #[serde(default)]
    #[schema(max_items = 50)]
    tags: Option<Vec<Tag>>,
    #[serde(default)]
    security: Option<SecurityRequest>,
    #[serde(default)]
    data_class: Option<DataClass>,
    #[serde(default)]
    purpose: Option<Purpose>,
    /// The sender's own reference of the patient.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    patient_ref: Option<String>,
    /// When to send it, at most 365 days ahead: RFC 3339, or `in 5 min`, `in 2 hours`, `in 3 days`.
    #[serde(default)]
    #[schema(example = "2026-11-24T08:30:00Z")]
    scheduled_at: Option<String>,
    /// What is counted of its readers; what the policy allows by default.
    #[serde(default)]
    tracking: Option<TrackingRequest>,
}

/// A name and a value that a sender finds its emails by.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// ASCII letters, digits, `_` and `-`, at most 256.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,256}$")]
    pub name: String,
    /// As the name.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,256}$")]
    pub value: String,
}

/// What the sender wants counted. It may be less than the policy allows, not more.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrackingRequest {
    #[serde(default)]
    opens: Option<bool>,
    #[serde(default)]
    clicks: Option<bool>,
}

/// How the sender wants it sealed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecurityRequest {
    #[serde(default)]
    method: Option<crate::policy::RequestedMethod>,
    #[serde(default)]
    level: Option<crate::policy::Level>,
    #[serde(default)]
    /// How long a portal message stays open: an ISO 8601 duration of 1 to 365 days.
    #[schema(example = "P30D")]
    expires_in: Option<String>,
    #[serde(default)]
    on_no_tls: Option<crate::policy::OnNoTls>,
}

/// One address, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn len(&self) -> usize {
        match self {
            OneOrMany::One(_) => 1,
            OneOrMany::Many(texts) => texts.len(),
        }
    }

    fn entries(&self, field: &str) -> Vec<(String, &str)> {
        match self {
            OneOrMany::One(text) => vec![(format!("/{field}"), text)],
            OneOrMany::Many(texts) => texts
                .iter()
                .enumerate()
                .map(|(n, text)| (format!("/{field}/{n}"), text.as_str()))
                .collect(),
        }
    }
}

/// Header fields in their order.
struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Headers;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of header fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, String>()? {
                    fields.push(field);
                }
                Ok(Headers(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A request that keeps every rule.
pub(crate) struct Checked {
    pub(crate) from: Mailbox,
    pub(crate) to: Vec<Mailbox>,
    pub(crate) cc: Vec<Mailbox>,
    pub(crate) bcc: Vec<Mailbox>,
    pub(crate) reply_to: Vec<Mailbox>,
    pub(crate) subject: String,
    pub(crate) html: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) requested: Requested,
    pub(crate) expires_in_days: Option<u32>,
    pub(crate) data_class: DataClass,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) patient_ref: Option<String>,
    /// Milliseconds since the epoch; absent for at once.
    pub(crate) scheduled_at_ms: Option<i64>,
    tracking: TrackingRequest,
}

impl SendRequest {
    /// Checks every field; all faults are reported together. In test mode every recipient has to be a simulated one, and
    /// else none.
    ///
    /// # Errors
    /// Invalid with pointers; TooLarge.
    pub(crate) fn check(self, now_ms: i64, mode: Mode) -> Result<Checked> {
        let mut faults = Vec::new();
        let from = mailbox("/from", &self.from, &mut faults);
        // Counted before any of them is looked at: a body has room for a million.
        if let Some(fault) = self.too_many_mailboxes() {
            return Err(Error::faults(vec![fault]));
        }
        let to = recipients("to", Some(&self.to), mode, &mut faults);
        let cc = recipients("cc", self.cc.as_ref(), mode, &mut faults);
        let bcc = recipients("bcc", self.bcc.as_ref(), mode, &mut faults);
        let reply_to = mailboxes("reply_to", self.reply_to.as_ref(), &mut faults);
        if to.is_empty() && faults.is_empty() {
            faults.push(Fault::new("/to", "At least one recipient is required."));
        }
        let subject = self.subject.unwrap_or_default();
        if subject.trim().is_empty() {
            faults.push(Fault::new("/subject", "This field is required."));
        } else if subject
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        {
            faults.push(Fault::new(
                "/subject",
                "A subject has no line breaks and no control characters.",
            ));
        } else if subject.chars().count() > MAX_SUBJECT {
            faults.push(Fault::new("/subject", "A subject has at most 900 characters."));
        }
        let is_blank = |body: &Option<String>| body.as_ref().is_none_or(|body| body.trim().is_empty());
        if is_blank(&self.html) && is_blank(&self.text) {
            faults.push(Fault::new("/text", "An email needs text or html."));
        }
        for (pointer, body) in [("/html", &self.html), ("/text", &self.text)] {
            if body.as_ref().is_some_and(|body| body.contains('\0')) {
                faults.push(Fault::new(pointer, "A body has no NUL characters."));
            }
            if body.as_ref().is_some_and(|body| body.len() > MAX_BODY) {
                faults.push(Fault::new(pointer, "A body has at most 2 MB."));
            }
        }
        let headers = self.headers.map(|headers| headers.0).unwrap_or_default();
        check_headers(&headers, &mut faults);
        let attachments = attachment::checked(self.attachments.unwrap_or_default(), &mut faults);
        let tags = tags(self.tags.unwrap_or_default(), &mut faults);
        let (requested, expires_in_days) = security(self.security, &mut faults);
        if let Some(text) = &self.patient_ref
            && (text.is_empty() || text.len() > 128 || text.chars().any(char::is_control))
        {
            faults.push(Fault::new(
                "/patient_ref",
                "A patient reference has 1 to 128 bytes and no control characters.",
            ));
        }
        let scheduled_at_ms = super::schedule::later(self.scheduled_at.as_deref(), now_ms, &mut faults);
        match from {
            Some(from) if faults.is_empty() => Ok(Checked {
                from,
                to,
                cc,
                bcc,
                reply_to,
                subject,
                html: self.html.filter(|body| !body.trim().is_empty()),
                text: self.text.filter(|body| !body.trim().is_empty()),
                headers,
                attachments,
                tags,
                requested,
                expires_in_days,
                data_class: self.data_class.unwrap_or_default(),
                purpose: self.purpose,
                patient_ref: self.patient_ref,
                scheduled_at_ms,
                tracking: self.tracking.unwrap_or_default(),
            }),
            _ => Err(Error::faults(faults)),
        }
    }
}

impl SendRequest {
    fn too_many_mailboxes(&self) -> Option<Fault> {
        let n = |list: Option<&OneOrMany>| list.map_or(0, OneOrMany::len);
        let (to, cc, bcc) = (self.to.len(), n(self.cc.as_ref()), n(self.bcc.as_ref()));
        if n(self.reply_to.as_ref()) > MAX_RECIPIENTS {
            return Some(Fault::new(
                "/reply_to",
                "An email has at most 50 addresses for answers.",
            ));
        }
        let field = match () {
            () if to.saturating_add(cc).saturating_add(bcc) <= MAX_RECIPIENTS => return None,
            () if to > MAX_RECIPIENTS => "/to",
            () if cc > bcc => "/cc",
            () => "/bcc",
        };
        let detail = "An email has at most 50 recipients in to, cc and bcc together.";
        Some(Fault::new(field, detail))
    }
}

impl Checked {
    /// The message that is archived and that every recipient gets in one form or another.
    pub(crate) fn content(&self, message_id: String, date_s: i64) -> Content {
        Content {
            from: self.from.clone(),
            reply_to: self.reply_to.clone(),
            to: self.to.clone(),
            cc: self.cc.clone(),
            subject: self.subject.clone(),
            text: self.text.clone(),
            html: self.html.clone(),
            attachments: self.attachments.clone(),
            headers: self.headers.clone(),
            message_id,
            date: date_s,
        }
    }

    /// Composes the message, whose size after encoding is limited.
    ///
    /// # Errors
    /// Invalid for what the composer refuses; TooLarge.
    pub(crate) fn compose(&self, message_id: &str, date_s: i64) -> Result<Vec<u8>> {
        let message = mime::message(&self.content(message_id.to_owned(), date_s))
            .map_err(|error| Error::new(Kind::Invalid, "The message cannot be composed.").because(error))?;
        if message.len() > MAX_MESSAGE {
            let fault = Fault::new("/attachments", "The email is larger than 40 MB after encoding.");
            return Err(Error::with_faults(
                Kind::TooLarge,
                "The email is larger than 40 MB after encoding.",
                vec![fault],
            ));
        }
        // Whatever the plan is now, the portal may have to show it.
        if let Err(error) = mime::read(&message) {
            let field = match error {
                ReadError::HeaderTooLarge => "/headers",
                ReadError::TooManyParts => "/attachments",
                _ => "/text",
            };
            return Err(Error::invalid(
                field,
                format!("The portal could not show this email: {error}."),
            ));
        }
        Ok(message)
    }

    /// What is counted of the email's readers under this policy.
    ///
    /// # Errors
    /// Invalid, where the sender wants more than the policy allows.
    pub(crate) fn tracking(&self, policy: &Policy) -> Result<Tracking> {
        let allowed = policy.tracking(self.purpose.unwrap_or(policy.default_purpose), self.data_class);
        let wanted = |asked: Option<bool>, is_allowed: bool, pointer: &str| match asked {
            Some(true) if !is_allowed => {
                let detail = "The policy does not allow this to be counted for mail of this purpose and data class.";
                Err(Error::invalid(pointer, detail))
            }
            asked => Ok(asked.unwrap_or(is_allowed)),
        };
        Ok(Tracking {
            opens: wanted(self.tracking.opens, allowed.opens, "/tracking/opens")?,
            clicks: wanted(self.tracking.clicks, allowed.clicks, "/tracking/clicks")?,
        })
    }

    /// Requires that the sender's domain is one of the tenant's.
    pub(crate) fn require_domain<'d>(&self, mut domains: impl Iterator<Item = &'d String>) -> Result<()> {
        if domains.any(|domain| domain == self.from.address.domain()) {
            Ok(())
        } else {
            Err(Error::invalid(
                "/from",
                "The sender's domain is not one that this account may send from.",
            )
            .named("invalid_from_address"))
        }
    }
}

fn mailbox(pointer: &str, text: &str, faults: &mut Vec<Fault>) -> Option<Mailbox> {
    match Mailbox::parse(text) {
        Ok(mailbox) => Some(mailbox),
        Err(error) => {
            faults.push(Fault::new(pointer, error.to_string()));
            None
        }
    }
}

fn mailboxes(field: &str, list: Option<&OneOrMany>, faults: &mut Vec<Fault>) -> Vec<Mailbox> {
    let Some(list) = list else { return Vec::new() };
    list.entries(field)
        .into_iter()
        .filter_map(|(pointer, text)| mailbox(&pointer, text, faults))
        .collect()
}

/// Recipients that a key of this mode reaches.
fn recipients(field: &str, list: Option<&OneOrMany>, mode: Mode, faults: &mut Vec<Fault>) -> Vec<Mailbox> {
    for (pointer, text) in list.map(|list| list.entries(field)).unwrap_or_default() {
        let Ok(Mailbox { address, .. }) = Mailbox::parse(text) else {
            continue;
        };
        match mode {
            Mode::Test if Outcome::of(&address).is_none() => {
                let known = simulator::addresses();
                faults.push(Fault::new(pointer, format!("A key in test mode reaches only {known}.")));
            }
            Mode::Live if simulator::is_simulated(&address) => {
                faults.push(Fault::new(
                    pointer,
                    "This recipient is simulated; only a key in test mode reaches it.",
                ));
            }
            _ => {}
        }
    }
    mailboxes(field, list, faults)
}

fn check_headers(headers: &[(String, String)], faults: &mut Vec<Fault>) {
    if headers.len() > MAX_HEADERS {
        faults.push(Fault::new(
            "/headers",
            "An email has at most 50 header fields of its own.",
        ));
    }
    for (name, value) in headers {
        if let Err(error) = mime::check_header(name, value) {
            let is_plain = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let pointer = if is_plain {
                format!("/headers/{name}")
            } else {
                "/headers".to_owned()
            };
            faults.push(Fault::new(pointer, error.to_string()));
        }
    }
}

fn tags(tags: Vec<Tag>, faults: &mut Vec<Fault>) -> Vec<(String, String)> {
    if tags.len() > MAX_TAGS {
        faults.push(Fault::new("/tags", "An email has at most 50 tags."));
    }
    let is_plain = |text: &str| {
        (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    for (n, tag) in tags.iter().enumerate() {
        for (field, text) in [("name", &tag.name), ("value", &tag.value)] {
            if !is_plain(text) {
                let detail = "A tag has 1 to 256 ASCII letters, digits, underscores and hyphens.";
                faults.push(Fault::new(format!("/tags/{n}/{field}"), detail));
            }
        }
    }
    tags.into_iter().map(|tag| (tag.name, tag.value)).collect()
}

fn security(request: Option<SecurityRequest>, faults: &mut Vec<Fault>) -> (Requested, Option<u32>) {
    let Some(fields) = request else {
        return (Requested::default(), None);
    };
    let days = fields.expires_in.as_deref().and_then(|text| {
        let days = text.parse::<Span>().ok().and_then(|span| {
            let is_whole = span.get_hours() == 0 && span.get_minutes() == 0 && span.get_seconds() == 0;
            let days = i64::from(span.get_weeks())
                .checked_mul(7)?
                .checked_add(i64::from(span.get_days()))?;
            (is_whole && span.get_months() == 0 && span.get_years() == 0 && EXPIRY_DAYS.contains(&days)).then_some(days)
        });
        if days.is_none() {
            let detail = "An expiry is an ISO 8601 duration of 1 to 365 days, such as `P30D`.";
            faults.push(Fault::new("/security/expires_in", detail));
        }
        days.and_then(|days| u32::try_from(days).ok())
    });
    let requested = Requested {
        method: fields.method.unwrap_or_default(),
        level: fields.level,
        on_no_tls: fields.on_no_tls,
    };
    (requested, days)
}

/// Reads a path or query parameter that holds one address.
///
/// # Errors
/// Invalid, pointing at `pointer`.
pub fn address(pointer: &str, text: &str) -> Result<Address> {
    Address::parse(text).map_err(|error| Error::invalid(pointer, error.to_string()))
}

#[cfg(test)]
mod tests;
