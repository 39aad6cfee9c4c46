//! Messages as they go on the wire.
//!
//! Every message is built from checked parts and checked once more after it is written: the fields of its header must
//! be the planned ones, in order, and no line may exceed 998 octets, so a value that slips past the API's checks still
//! adds no field and no recipient. Bodies are quoted-printable or base64, never 8-bit, so a signature survives any relay
//! (RFC 8551 section 3.1.3). The same content gives the same octets, so an attempt that is repeated sends the same
//! message. There is no `Bcc` field anywhere. Encrypting and signing themselves are other modules' work.

use std::borrow::Cow;
use std::fmt;

use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::MimePart;

use crate::address::Mailbox;

mod header;
mod part;
mod protect;
mod read;

pub use header::{HeaderError, check_header, content_id, content_type, file_name};
pub use read::{ReadAddress, ReadAttachment, ReadError, ReadMessage, read};

/// Longest line in octets without its CRLF (RFC 5322 section 2.1.1); SES refuses longer ones too.
const MAX_LINE: usize = 998;
/// Last second of the year 9999; RFC 5322 writes years with four digits.
const MAX_DATE: i64 = 253_402_300_799;

/// What a message says, to whom. `to` and `cc` are what every recipient of the message may see.
#[derive(Clone)]
pub struct Content {
    /// Author.
    pub from: Mailbox,
    /// Where answers go; may be empty.
    pub reply_to: Vec<Mailbox>,
    /// Visible recipients; may be empty for a blind copy.
    pub to: Vec<Mailbox>,
    /// Visible further recipients; may be empty.
    pub cc: Vec<Mailbox>,
    /// Subject, decoded, without control characters.
    pub subject: String,
    /// Plain text. When it is missing and there is HTML, the text is made from that.
    pub text: Option<String>,
    /// HTML, sent as it is.
    pub html: Option<String>,
    /// Files, and pictures that the HTML shows by `cid:`.
    pub attachments: Vec<Attachment>,
    /// The sender's own fields; see [`check_header`].
    pub headers: Vec<(String, String)>,
    /// `left@right`, with or without angle brackets; must be unguessable, since the boundaries derive from it.
    pub message_id: String,
    /// Seconds since the epoch; 0 to the end of the year 9999.
    pub date: i64,
}

/// A file in a message.
#[derive(Clone)]
pub struct Attachment {
    /// Name shown to the reader; cleaned by [`file_name`].
    pub filename: String,
    /// `type/subtype`, with a charset at most; neither `multipart` nor `message`.
    pub content_type: String,
    /// When set, and the message has HTML, the file is a picture inside of it, shown by `cid:`.
    pub content_id: Option<String>,
    /// The octets.
    pub content: Vec<u8>,
}

/// The outside of an encrypted message: what relays see. The subject is always `[...]`.
#[derive(Clone)]
pub struct Envelope {
    /// Author.
    pub from: Mailbox,
    /// Where answers go.
    pub reply_to: Vec<Mailbox>,
    /// Visible recipients, without names.
    pub to: Vec<Mailbox>,
    /// Visible further recipients, without names.
    pub cc: Vec<Mailbox>,
    /// As in [`Content`].
    pub message_id: String,
    /// As in [`Content`].
    pub date: i64,
    /// Only the fields that relays or mailbox providers act on.
    pub headers: Vec<(String, String)>,
}

/// The CMS type inside an S/MIME message (RFC 8551 section 3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmimeType {
    /// AES-256-CBC.
    EnvelopedData,
    /// AES-256-GCM.
    AuthEnvelopedData,
}

/// Why a message was not built. Names the part, never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MimeError {
    /// A display name that [`check_name`](crate::address::check_name) refuses.
    #[error("a display name is not valid")]
    Name,
    /// A control character, or more than 998 characters.
    #[error("the subject contains a control character or is too long")]
    Subject,
    /// Not `left@right`.
    #[error("the message id is not valid")]
    MessageId,
    /// Before 1970 or after 9999.
    #[error("the date is out of range")]
    Date,
    /// A field that [`check_header`] refuses.
    #[error("a custom header is refused: {0}")]
    Header(#[from] HeaderError),
    /// Empty, too long, or with control or reordering characters.
    #[error("the name of an attachment is not valid")]
    FileName,
    /// Not `type/subtype`, or `multipart` or `message`.
    #[error("the content type of an attachment is not valid")]
    ContentType,
    /// Not letters, digits and `.-_+@`, or longer than 128.
    #[error("the content id of an attachment is not valid")]
    ContentId,
    /// What should be an encrypted OpenPGP message is not ASCII armour of one.
    #[error("the OpenPGP message is not armoured")]
    Armour,
    /// What should be signed or was encrypted is empty, not 7-bit, or not in CRLF lines of 998 octets at most.
    #[error("the entity cannot be carried unchanged")]
    Entity,
    /// The written header is not the planned one. A defect; nothing is sent.
    #[error("the message was not written as planned")]
    Plan,
}

/// Builds the whole message.
///
/// Shape: `multipart/mixed` around the files, `multipart/related` around embedded pictures, `multipart/alternative` of
/// text and HTML; each only when needed.
///
/// # Errors
/// [`MimeError`] for a part that cannot be carried safely.
pub fn message(content: &Content) -> Result<Vec<u8>, MimeError> {
    let fields = header::fields(content)?;
    write(fields, part::body(content, None)?)
}

/// Builds the entity that is to be encrypted, with the real header inside (RFC 9788, `hp="cipher"`).
///
/// It carries every field of the message, one `HP-Outer` for each field that [`Content::outer`] leaves outside, and the
/// subject once more at the top of the text, marked as such, for readers that do not know protected headers.
///
/// # Errors
/// As for [`message`].
pub fn protected(content: &Content) -> Result<Vec<u8>, MimeError> {
    protect::entity(content)
}

/// Puts an armoured OpenPGP message into an RFC 3156 `multipart/encrypted` message.
///
/// # Errors
/// [`MimeError::Armour`]; and as for [`message`].
pub fn encrypted_openpgp(envelope: &Envelope, armored: &str) -> Result<Vec<u8>, MimeError> {
    const BEGIN: &str = "-----BEGIN PGP MESSAGE-----";
    let armored = armored.trim();
    let is_armour = armored.starts_with(BEGIN)
        && armored.ends_with("-----END PGP MESSAGE-----")
        && armored.lines().all(|line| line.len() <= MAX_LINE)
        && armored.chars().all(|c| matches!(c, ' '..='~' | '\r' | '\n'));
    if !is_armour {
        return Err(MimeError::Armour);
    }
    let armored = armored.lines().map(str::trim_end).collect::<Vec<_>>().join("\r\n") + "\r\n";
    let version = MimePart::new(
        ContentType::new("application/pgp-encrypted"),
        b"Version: 1\r\n".as_slice(),
    )
    .transfer_encoding("7bit");
    let data = MimePart::new(
        ContentType::new("application/octet-stream").attribute("name", "encrypted.asc"),
        armored.into_bytes(),
    )
    .header(
        "Content-Disposition",
        ContentType::new("inline").attribute("filename", "encrypted.asc"),
    )
    .transfer_encoding("7bit");
    let boundary = part::boundary(envelope.message_id.as_bytes(), "openpgp");
    let kind = ContentType::new("multipart/encrypted")
        .attribute("protocol", "application/pgp-encrypted")
        .attribute("boundary", boundary);
    write(
        header::outer_fields(envelope)?,
        MimePart::new(kind, vec![version, data]),
    )
}

/// Puts an entity and the DER of its detached CMS signature into a `multipart/signed` entity (RFC 8551 section 3.5.3).
/// The entity's octets are carried unchanged; the signature must be over exactly these, with SHA-256.
///
/// # Errors
/// [`MimeError::Entity`] for octets that a relay could change, or an empty signature.
pub fn signed(entity: &[u8], signature_der: &[u8]) -> Result<Vec<u8>, MimeError> {
    if signature_der.is_empty() || !is_portable(entity) {
        return Err(MimeError::Entity);
    }
    let signature = MimePart::new(
        ContentType::new("application/pkcs7-signature").attribute("name", "smime.p7s"),
        part::base64(signature_der),
    )
    .transfer_encoding("base64")
    .header(
        "Content-Disposition",
        ContentType::new("attachment").attribute("filename", "smime.p7s"),
    );
    let kind = ContentType::new("multipart/signed")
        .attribute("protocol", "application/pkcs7-signature")
        .attribute("micalg", "sha-256")
        .attribute("boundary", part::boundary(entity, "signed"));
    let mut out = Vec::with_capacity(entity.len() + 2 * signature_der.len() + 1024);
    MimePart::new(kind, vec![MimePart::raw(entity.to_vec()), signature]).write_part(&mut out);
    Ok(out)
}

/// Puts the DER of an encrypted CMS message into an `application/pkcs7-mime` message (RFC 8551 section 3.3).
///
/// # Errors
/// [`MimeError::Entity`] for no octets; and as for [`message`].
pub fn encrypted_smime(envelope: &Envelope, der: &[u8], smime_type: SmimeType) -> Result<Vec<u8>, MimeError> {
    if der.is_empty() {
        return Err(MimeError::Entity);
    }
    let smime_type = match smime_type {
        SmimeType::EnvelopedData => "enveloped-data",
        SmimeType::AuthEnvelopedData => "authEnveloped-data",
    };
    let part = MimePart::new(
        ContentType::new("application/pkcs7-mime")
            .attribute("smime-type", smime_type)
            .attribute("name", "smime.p7m"),
        part::base64(der),
    )
    .transfer_encoding("base64")
    .header(
        "Content-Disposition",
        ContentType::new("attachment").attribute("filename", "smime.p7m"),
    );
    write(header::outer_fields(envelope)?, part)
}

impl Content {
    /// The outside of this message once it is encrypted. Recipients lose their display names, and of the sender's own
    /// fields only those stay that a relay or mailbox provider acts on; all of it is inside.
    pub fn outer(&self) -> Envelope {
        let bare = |mailboxes: &[Mailbox]| {
            let addresses = mailboxes.iter().map(|mailbox| mailbox.address.clone());
            addresses.map(Mailbox::from).collect()
        };
        let headers = self.headers.iter().filter(|(name, _)| header::stays_outside(name));
        Envelope {
            from: self.from.clone(),
            reply_to: self.reply_to.clone(),
            to: bare(&self.to),
            cc: bare(&self.cc),
            message_id: self.message_id.clone(),
            date: self.date,
            headers: headers.cloned().collect(),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[content]")
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[attachment]")
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[envelope]")
    }
}

type Fields<'x> = Vec<(Cow<'x, str>, HeaderType<'x>)>;

/// Writes a message and holds it against its plan.
fn write(fields: Fields<'_>, body: MimePart<'_>) -> Result<Vec<u8>, MimeError> {
    let plan: Vec<String> = fields.iter().map(|(name, _)| name.to_string()).collect();
    let mut builder = MessageBuilder::new();
    for (name, value) in fields {
        builder = builder.header(name, value);
    }
    let mut out = Vec::new();
    builder.body(body).serialize(&mut out);
    finish(out, &plan)
}

/// Ends the last line and checks the header: apart from `MIME-Version` and `Content-*` exactly the planned fields.
fn finish(mut out: Vec<u8>, plan: &[String]) -> Result<Vec<u8>, MimeError> {
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    if !is_portable(&out) || field_names(&out).ok_or(MimeError::Plan)? != plan {
        return Err(MimeError::Plan);
    }
    Ok(out)
}

/// The field names of an entity's header in order, without `MIME-Version` and `Content-*`.
fn field_names(entity: &[u8]) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for line in entity.split(|&byte| byte == b'\n') {
        let line = str::from_utf8(line.strip_suffix(b"\r")?).ok()?;
        if line.is_empty() {
            return Some(names);
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let (name, _) = line.split_once(':')?;
        if name != "MIME-Version" && !name.starts_with("Content-") {
            names.push(name);
        }
    }
    None
}

/// Whether relays carry these octets unchanged: ASCII, CRLF and no other CR, LF or NUL, lines of 998 at most.
fn is_portable(octets: &[u8]) -> bool {
    let mut lines = octets.split(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let line = match (line.strip_suffix(b"\r"), lines.peek()) {
            (Some(line), Some(_)) => line,
            (None, None) => line,
            _ => return false,
        };
        if line.len() > MAX_LINE || line.iter().any(|&byte| !byte.is_ascii() || byte == b'\r' || byte == 0) {
            return false;
        }
    }
    !octets.is_empty()
}

#[cfg(test)]
mod tests;
