//! One message as a reader shows it, read from its octets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Address, Message, MessageParser, MimeHeaders, PartType};
use serde::Serialize;

use crate::aws::ses::Handed;

/// How a message was protected on its way, as far as the message and its envelope tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Readable, over required TLS.
    Tls,
    /// A notice over required TLS, with a link to the portal; the message itself is elsewhere.
    Portal,
    /// Sealed for the recipient's OpenPGP key (RFC 3156).
    OpenPgp,
    /// Sealed for the recipient's certificate (RFC 8551).
    Smime,
    /// Readable, and TLS was not required.
    Plain,
}

impl Method {
    /// What the badge says.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Tls => "TLS required",
            Self::Portal => "Portal notice",
            Self::OpenPgp => "OpenPGP",
            Self::Smime => "S/MIME",
            Self::Plain => "TLS optional",
        }
    }

    /// Whether only the recipient's private key opens it.
    #[must_use]
    pub fn is_sealed(self) -> bool {
        matches!(self, Self::OpenPgp | Self::Smime)
    }
}

/// What a reader shows.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) cc: String,
    pub(super) reply_to: String,
    pub(super) text: Option<String>,
    /// The HTML body with its own pictures in place.
    pub(super) html: Option<String>,
    pub(super) attachments: Vec<Attachment>,
}

/// A part that is saved instead of shown.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) filename: String,
    pub(super) content_type: String,
    pub(super) content: Vec<u8>,
}

/// The method: the message's structure decides whether it is sealed; the tag `method` or the name of the configuration
/// set tells a notice from a readable message, where TLS was required.
pub(super) fn method(mail: &Handed) -> Method {
    if let Some(sealed) = MessageParser::default()
        .parse_headers(mail.head.as_slice())
        .and_then(|message| sealed(&message))
    {
        return sealed;
    }
    let tag = mail
        .tags
        .iter()
        .find(|(name, _)| name == "method")
        .map(|(_, value)| value.as_str());
    let set = mail
        .configuration_set
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_notice = tag == Some("portal") || (tag.is_none() && (set.contains("portal") || set.contains("notice")));
    match (super::is_tls_required(mail), is_notice) {
        (false, _) => Method::Plain,
        (true, true) => Method::Portal,
        (true, false) => Method::Tls,
    }
}

/// Reads a message; what cannot be read is left empty.
pub(super) fn read(raw: &[u8]) -> Reading {
    let Some(message) = MessageParser::default().parse(raw) else {
        return Reading::default();
    };
    let mut reading = Reading {
        from: people(message.from()),
        to: people(message.to()),
        cc: people(message.cc()),
        reply_to: people(message.reply_to()),
        ..Reading::default()
    };
    for part in message.text_bodies() {
        if let PartType::Text(text) = &part.body {
            reading.text.get_or_insert_default().push_str(text);
        }
    }
    for part in message.html_bodies() {
        if let PartType::Html(html) = &part.body {
            reading.html.get_or_insert_default().push_str(html);
        }
    }
    if let Some(html) = &mut reading.html {
        *html = with_pictures(html, &message);
    }
    for part in message.attachments() {
        let content_type = part.content_type().map_or_else(
            || "application/octet-stream".to_owned(),
            |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase(),
        );
        // The version part of RFC 3156 section 4 says nothing to a reader.
        if content_type == "application/pgp-encrypted" {
            continue;
        }
        let filename = part.attachment_name().map(saveable).filter(|name| !name.is_empty());
        reading.attachments.push(Attachment {
            filename: filename.unwrap_or_else(|| format!("part-{}", reading.attachments.len().saturating_add(1))),
            content_type,
            content: part.contents().to_vec(),
        });
    }
    reading
}

fn sealed(message: &Message<'_>) -> Option<Method> {
    let kind = message.content_type()?;
    let subtype = kind.subtype()?.to_ascii_lowercase();
    let attribute = |name| kind.attribute(name).unwrap_or_default().to_ascii_lowercase();
    match (kind.ctype().to_ascii_lowercase().as_str(), subtype.as_str()) {
        ("multipart", "encrypted") if attribute("protocol") == "application/pgp-encrypted" => Some(Method::OpenPgp),
        ("application", "pkcs7-mime" | "x-pkcs7-mime") => matches!(
            attribute("smime-type").as_str(),
            "enveloped-data" | "authenveloped-data"
        )
        .then_some(Method::Smime),
        _ => None,
    }
}

fn people(addresses: Option<&Address<'_>>) -> String {
    let addresses = addresses.into_iter().flat_map(|addresses| addresses.iter());
    let people = addresses.map(|one| match (one.name(), one.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => address.or(name).unwrap_or_default().to_owned(),
    });
    people.collect::<Vec<_>>().join(", ")
}

/// Puts the pictures that came with the message where its HTML names them by content id (RFC 2392).
fn with_pictures(html: &str, message: &Message<'_>) -> String {
    let mut html = html.to_owned();
    for part in &message.parts {
        let (Some(id), Some(kind)) = (part.content_id(), part.content_type()) else {
            continue;
        };
        let subtype = kind.subtype().unwrap_or_default();
        if kind.ctype().eq_ignore_ascii_case("image") && subtype.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')
        {
            let data = format!("data:image/{subtype};base64,{}", STANDARD.encode(part.contents()));
            html = html.replace(&format!("cid:{}", id.trim_matches(['<', '>'])), &data);
        }
    }
    html
}

/// A name that can be saved: no path, no control characters.
fn saveable(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    last.chars()
        .filter(|c| !c.is_control() && *c != '"')
        .take(120)
        .collect()
}
