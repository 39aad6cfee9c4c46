//! Fields of a message header: which the sender may add, and how values are checked and written.

use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::date::Date;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;

use super::{Content, Envelope, Fields, MAX_DATE, MimeError};
use crate::address::{Mailbox, check_name};
use crate::character;

/// Longest name of a custom field in octets: `name: ` must fit on a line of 78 (RFC 5322 section 2.1.1).
const MAX_FIELD_NAME: usize = 76;
/// Longest value of a custom field in octets. Ours; List-Unsubscribe with two long links stays far below.
const MAX_FIELD_VALUE: usize = 4096;
/// Longest run without a space, where no fold is possible, so that the line stays under 998.
const MAX_WORD: usize = 900;
/// Most custom fields in a message.
const MAX_FIELDS: usize = 100;
/// Longest subject in characters.
const MAX_SUBJECT: usize = 998;
/// Longest file name in characters; what common file systems hold.
const MAX_FILE_NAME: usize = 255;

/// The subject of every encrypted message on the outside (RFC 9788 section 3.2.1).
const OUTER_SUBJECT: &str = "[...]";

/// Fields that a sender may not set, because we, SES or the recipient's relay sets them, or because they would add a
/// recipient, claim an authentication result or steer SES.
const RESERVED: [&str; 26] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "apparently-to",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "return-path",
    "received",
    "delivered-to",
    "envelope-to",
    "x-original-to",
    "errors-to",
    "mime-version",
    "dkim-signature",
    "domainkey-signature",
    "authentication-results",
    "received-spf",
    "autocrypt",
    "autocrypt-gossip",
    "autocrypt-setup-message",
    "autocrypt-draft-state",
    "hp-outer",
];
/// Beginnings of further reserved names.
const RESERVED_PREFIXES: [&str; 7] = ["content-", "arc-", "x-ses-", "x-sealpost-", "resent-", "list-", "x-amz"];
/// The `List-` fields that a sender may set (RFC 2369, RFC 8058).
const LIST_FIELDS: [&str; 2] = ["list-unsubscribe", "list-unsubscribe-post"];
/// Custom fields that stay readable outside of an encrypted message: mailbox providers act on them, and none of them
/// holds words. Every other field may say something about the recipient, and goes inside only.
const OUTSIDE: [&str; 8] = [
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
    "auto-submitted",
    "precedence",
    "x-auto-response-suppress",
    "in-reply-to",
    "references",
];

/// Why a custom field is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not an RFC 5322 field name of 1 to 76 octets.
    #[error("the name is not a header field name")]
    Name,
    /// A field that the system sets itself.
    #[error("the name is reserved")]
    Reserved,
    /// A control character, nothing but space, space at an end, or characters outside ASCII in a `List-` field.
    #[error("the value is empty or contains a control character")]
    Value,
    /// The value or a word of it is too long for a header line, or there are too many fields.
    #[error("the value is too long")]
    TooLong,
}

/// Checks a field that a sender wants in the message.
///
/// # Errors
/// [`HeaderError`].
pub fn check_header(name: &str, value: &str) -> Result<(), HeaderError> {
    // RFC 5322 section 3.6.8: printable ASCII without the colon.
    let is_field_name = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if name.is_empty() || name.len() > MAX_FIELD_NAME || !is_field_name {
        return Err(HeaderError::Name);
    }
    let lower = name.to_ascii_lowercase();
    let is_list = LIST_FIELDS.contains(&lower.as_str());
    let is_reserved = RESERVED.contains(&lower.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) && !is_list;
    if is_reserved {
        return Err(HeaderError::Reserved);
    }
    if value.len() > MAX_FIELD_VALUE || value.split(' ').any(|word| word.len() > MAX_WORD) {
        return Err(HeaderError::TooLong);
    }
    let is_broken = value.chars().any(character::ends_or_breaks_a_line);
    if value.is_empty() || value.trim() != value || is_broken || is_list && !value.is_ascii() {
        return Err(HeaderError::Value);
    }
    Ok(())
}

/// Cleans the name of a file: the last part of a path, without the characters that Windows forbids (each becomes
/// `_`) and without dots and spaces at its ends, which hide what a name is.
///
/// # Errors
/// [`MimeError::FileName`] for a name with control or reordering characters, of more than 255 characters, or of
/// which nothing is left.
pub fn file_name(name: &str) -> Result<String, MimeError> {
    if character::is_hostile(name) {
        return Err(MimeError::FileName);
    }
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.replace(['<', '>', ':', '"', '|', '?', '*'], "_");
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if name.is_empty() || name.chars().count() > MAX_FILE_NAME {
        return Err(MimeError::FileName);
    }
    Ok(name.to_owned())
}

/// Checks the content type of an attachment; returns `type/subtype` in lower case and the charset, if one is given.
///
/// # Errors
/// [`MimeError::ContentType`] for anything but `type/subtype` of RFC 6838 with at most a `charset`, and for the types
/// `multipart` and `message`, whose content readers would unpack.
pub fn content_type(text: &str) -> Result<(String, Option<String>), MimeError> {
    let is_name = |name: &str| {
        name.len() <= 127
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let (essence, parameter) = match text.split_once(';') {
        Some((essence, parameter)) => (essence.trim_end(), Some(parameter.trim())),
        None => (text, None),
    };
    let essence = essence.to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/').ok_or(MimeError::ContentType)?;
    if !is_name(kind) || !is_name(subtype) || matches!(kind, "multipart" | "message") {
        return Err(MimeError::ContentType);
    }
    let charset = match parameter {
        None => None,
        Some(parameter) => {
            let (name, value) = parameter.split_once('=').ok_or(MimeError::ContentType)?;
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value);
            if !name.eq_ignore_ascii_case("charset") || !is_name(value) {
                return Err(MimeError::ContentType);
            }
            Some(value.to_ascii_lowercase())
        }
    };
    Ok((essence, charset))
}

/// Checks a content id and returns it without angle brackets.
///
/// # Errors
/// [`MimeError::ContentId`] for anything but 1 to 128 of letters, digits and `.-_+@`, with one `@` at most.
pub fn content_id(text: &str) -> Result<&str, MimeError> {
    let id = unbracketed(text);
    let is_id = id.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+@".contains(&b));
    if id.is_empty() || id.len() > 128 || !is_id || id.matches('@').count() > 1 {
        return Err(MimeError::ContentId);
    }
    Ok(id)
}

/// Whether a custom field stays readable outside of an encrypted message.
pub(super) fn stays_outside(name: &str) -> bool {
    OUTSIDE.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// All fields of a message in their order.
pub(super) fn fields(content: &Content) -> Result<Fields<'_>, MimeError> {
    let is_broken = content.subject.chars().any(character::ends_or_breaks_a_line);
    if is_broken || content.subject.chars().count() > MAX_SUBJECT {
        return Err(MimeError::Subject);
    }
    assemble(
        Participants {
            from: &content.from,
            reply_to: &content.reply_to,
            to: &content.to,
            cc: &content.cc,
        },
        &content.subject,
        content.date,
        &content.message_id,
        &content.headers,
    )
}

/// The fields outside of an encrypted message.
pub(super) fn outer_fields(envelope: &Envelope) -> Result<Fields<'_>, MimeError> {
    assemble(
        Participants {
            from: &envelope.from,
            reply_to: &envelope.reply_to,
            to: &envelope.to,
            cc: &envelope.cc,
        },
        OUTER_SUBJECT,
        envelope.date,
        &envelope.message_id,
        &envelope.headers,
    )
}

struct Participants<'x> {
    from: &'x Mailbox,
    reply_to: &'x [Mailbox],
    to: &'x [Mailbox],
    cc: &'x [Mailbox],
}

fn assemble<'x>(
    people: Participants<'x>,
    subject: &'x str,
    date: i64,
    message_id: &'x str,
    headers: &'x [(String, String)],
) -> Result<Fields<'x>, MimeError> {
    if !(0..=MAX_DATE).contains(&date) {
        return Err(MimeError::Date);
    }
    let mut fields: Fields<'x> = vec![("From".into(), mailboxes(std::slice::from_ref(people.from))?)];
    for (name, list) in [("Reply-To", people.reply_to), ("To", people.to), ("Cc", people.cc)] {
        if !list.is_empty() {
            fields.push((name.into(), mailboxes(list)?));
        }
    }
    fields.push(("Subject".into(), text(subject)));
    fields.push(("Date".into(), Date::new(date).into()));
    fields.push((
        "Message-ID".into(),
        MessageId::new(checked_message_id(message_id)?).into(),
    ));
    if headers.len() > MAX_FIELDS {
        return Err(HeaderError::TooLong.into());
    }
    for (name, value) in headers {
        check_header(name, value)?;
        // ASCII goes as it is, only folded at spaces: encoding would break a List-Unsubscribe.
        let is_plain = value.is_ascii() && !value.contains("=?");
        let value = if is_plain {
            Raw::new(value.as_str()).into()
        } else {
            text(value)
        };
        fields.push((name.as_str().into(), value));
    }
    Ok(fields)
}

fn mailboxes(list: &[Mailbox]) -> Result<HeaderType<'_>, MimeError> {
    let mut addresses = Vec::with_capacity(list.len());
    for mailbox in list {
        if let Some(name) = &mailbox.name {
            check_name(name).map_err(|_| MimeError::Name)?;
        }
        addresses.push(Address::new_address(mailbox.name.as_deref(), mailbox.address.as_str()));
    }
    Ok(Address::new_list(addresses).into())
}

/// Free text. The builder leaves ASCII as it is, so text that looks like an encoded word is encoded here: a reader would
/// decode it to something else than what was asked to be sent.
fn text(value: &str) -> HeaderType<'_> {
    if !value.contains("=?") {
        return Text::new(value).into();
    }
    // 42 octets make an encoded word of 68 characters, under the 75 of RFC 2047 section 2.
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in value.chars() {
        if word.len() + c.len_utf8() > 42 {
            words.push(encoded_word(&word));
            word.clear();
        }
        word.push(c);
    }
    words.push(encoded_word(&word));
    Raw::new(words.join(" ")).into()
}

fn encoded_word(text: &str) -> String {
    use base64::Engine as _;
    format!("=?utf-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(text))
}

/// `left@right` of RFC 5322 section 3.6.4, dot-atoms on both sides, without angle brackets.
fn checked_message_id(text: &str) -> Result<&str, MimeError> {
    let id = unbracketed(text);
    let is_atom = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
    };
    match id.split_once('@') {
        Some((left, right)) if id.len() <= 250 && is_atom(left) && is_atom(right) => Ok(id),
        _ => Err(MimeError::MessageId),
    }
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'))
        .unwrap_or(text)
}
