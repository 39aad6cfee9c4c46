//! The one list of what may stand where.

use super::sink::{Item, Sink, Way};

/// What may stand where, and why.
pub(crate) struct Allowance {
    sink: Sink,
    /// What the item's place contains.
    at: &'static str,
    /// Fields, or with a dot at the end all that begin so.
    fields: &'static [&'static str],
    pub(crate) reason: &'static str,
}

const MESSAGE: [&str; 12] = [
    "from.",
    "to.",
    "cc.",
    "reply_to.",
    "subject",
    "text",
    "html",
    "html.",
    "header.",
    "attachment.",
    "picture.",
    "suppressed.local",
];

/// The whole list. An entry that nothing needs fails the test.
pub(crate) const ALLOWED: [Allowance; 9] = [
    Allowance {
        sink: Sink::Mail(Way::Tls),
        at: "",
        fields: &MESSAGE,
        reason: "required TLS hands over the message itself; blind copies, tags and references are no part of it",
    },
    Allowance {
        sink: Sink::Mail(Way::OpenPgp),
        at: "",
        fields: &["from.", "to.local", "cc.local", "reply_to."],
        reason: "addresses outside of what is encrypted: what relays and a reader's program need",
    },
    Allowance {
        sink: Sink::Mail(Way::Smime),
        at: "",
        fields: &["from.", "to.local", "cc.local", "reply_to.", "key.smime.name"],
        reason: "as with OpenPGP; and CMS names the recipient's certificate by its issuer (RFC 5652 section 6.2.1)",
    },
    Allowance {
        sink: Sink::Envelope,
        at: "",
        fields: &["from.local"],
        reason: "the sender's address is the sender's address",
    },
    Allowance {
        sink: Sink::SesEvents,
        at: "",
        fields: &[
            "from.",
            "to.",
            "cc.",
            "bcc.local",
            "reply_to.",
            "subject",
            "header.",
            "ses_event.",
        ],
        reason: "SES puts addresses and header fields of a mail into its events",
    },
    Allowance {
        sink: Sink::ErrorBody,
        at: "",
        fields: &["unknown_field"],
        reason: "the pointer of a field that is not known is its name, as the caller wrote it",
    },
    Allowance {
        sink: Sink::ErrorBody,
        at: "portal",
        fields: &["portal.token"],
        reason: "a page of the portal leads back to the link that it was opened by",
    },
    Allowance {
        sink: Sink::ResponseHeader,
        at: "/attachments/",
        fields: &["attachment.filename", "attachment.content_type", "picture.filename"],
        reason: "a reader who entered the code gets a file under its name",
    },
    Allowance {
        sink: Sink::Location,
        at: "/c/",
        fields: &["html.link.path", "html.link.query"],
        reason: "a counted link leads where the sender's did",
    },
];

impl Allowance {
    /// Whether the field may stand in the item.
    pub(crate) fn covers(&self, item: &Item, field: &str) -> bool {
        let is_named = |name: &&str| match name.strip_suffix('.') {
            Some(_) => field.starts_with(*name),
            None => field == *name,
        };
        self.sink == item.sink && item.at.contains(self.at) && self.fields.iter().any(is_named)
    }
}
