//! The body of a message: its tree of parts, their encodings and boundaries.

use aws_lc_rs::digest;
use base64::Engine as _;
use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::MimePart;

use super::{Attachment, Content, MimeError, header};
use crate::html;

/// Longest line of an encoded body (RFC 2045 section 6.7), less the soft break.
const QUOTED_LINE: usize = 75;
/// Octets that make a base64 line of 76 characters (RFC 2045 section 6.8).
const BASE64_OCTETS: usize = 57;

/// The tree of parts. With `legacy_subject` the subject stands at the top of the text parts, marked as RFC 9788
/// section 5.2.2 has it, so that readers that know protected headers take it away again.
pub(super) fn body(content: &Content, legacy_subject: Option<&str>) -> Result<MimePart<'static>, MimeError> {
    let seed = content.message_id.as_bytes();
    let made_text = match (&content.text, &content.html) {
        (None, Some(html)) => Some(html::to_text(html)),
        _ => None,
    };
    // Without any body the text part is there, and empty: a message of files alone shows as broken in some readers.
    let text = content.text.as_deref().or(made_text.as_deref()).unwrap_or_default();
    let mut main = match legacy_subject {
        None => leaf(ContentType::new("text/plain"), text),
        Some(subject) => leaf(
            ContentType::new("text/plain").attribute("hp-legacy-display", "1"),
            &format!("Subject: {subject}\n\n{text}"),
        ),
    };
    if let Some(html) = &content.html {
        let html = match legacy_subject {
            None => leaf(ContentType::new("text/html"), html),
            Some(subject) => leaf(
                ContentType::new("text/html").attribute("hp-legacy-display", "1"),
                &with_subject(html, subject),
            ),
        };
        main = multipart("alternative", seed, vec![main, html]);
    }
    let (inline, files): (Vec<_>, Vec<_>) = content
        .attachments
        .iter()
        .partition(|attachment| attachment.content_id.is_some() && content.html.is_some());
    if !inline.is_empty() {
        let mut parts = vec![main];
        for attachment in inline {
            parts.push(file(attachment, "inline")?);
        }
        let kind = ContentType::new("multipart/related")
            .attribute("type", "multipart/alternative")
            .attribute("boundary", boundary(seed, "related"));
        main = MimePart::new(kind, parts);
    }
    if !files.is_empty() {
        let mut parts = vec![main];
        for attachment in files {
            parts.push(file(attachment, "attachment")?);
        }
        main = multipart("mixed", seed, parts);
    }
    Ok(main)
}

/// A boundary that no body can hold: quoted-printable and base64 never contain `=_` (RFC 2045 section 6.7). The rest
/// derives from `seed`, so that the same message is written the same way twice, and from `label`, so that the
/// boundaries of one message differ.
pub(super) fn boundary(seed: &[u8], label: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(label.as_bytes());
    context.update(&[0]);
    context.update(seed);
    let hash = context.finish();
    hash.as_ref()
        .iter()
        .take(12)
        .fold("=_".to_owned(), |text, octet| text + &format!("{octet:02x}"))
}

/// Base64 in lines of 76.
pub(super) fn base64(octets: &[u8]) -> Vec<u8> {
    let mut out = String::with_capacity(octets.len() / 54 * 76 + 80);
    for line in octets.chunks(BASE64_OCTETS) {
        base64::engine::general_purpose::STANDARD.encode_string(line, &mut out);
        out.push_str("\r\n");
    }
    out.into_bytes()
}

fn multipart(subtype: &str, seed: &[u8], parts: Vec<MimePart<'static>>) -> MimePart<'static> {
    let kind = ContentType::new(format!("multipart/{subtype}")).attribute("boundary", boundary(seed, subtype));
    MimePart::new(kind, parts)
}

fn leaf(kind: ContentType<'static>, text: &str) -> MimePart<'static> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let n_escaped = text.bytes().filter(|byte| !byte.is_ascii()).count();
    // Quoted-printable adds two octets for each of these, base64 a third of everything.
    let (encoding, octets) = if n_escaped * 6 > text.len() {
        ("base64", base64(text.replace('\n', "\r\n").as_bytes()))
    } else {
        ("quoted-printable", quoted_printable(&text))
    };
    MimePart::new(kind.attribute("charset", "utf-8"), octets).transfer_encoding(encoding)
}

fn file(attachment: &Attachment, disposition: &'static str) -> Result<MimePart<'static>, MimeError> {
    let name = header::file_name(&attachment.filename)?;
    let (essence, charset) = header::content_type(&attachment.content_type)?;
    let mut kind = ContentType::new(essence);
    if let Some(charset) = charset {
        kind = kind.attribute("charset", charset);
    }
    // The name stands in Content-Type as well: old readers look only there.
    let kind = kind.attribute("name", name.clone());
    let mut part = MimePart::new(kind, base64(&attachment.content))
        .transfer_encoding("base64")
        .header(
            "Content-Disposition",
            ContentType::new(disposition).attribute("filename", name),
        );
    if let Some(id) = &attachment.content_id {
        part = part.cid(header::content_id(id)?.to_owned());
    }
    Ok(part)
}

/// The subject as the first thing in the body of the HTML (RFC 9788 section 5.2.2).
fn with_subject(html: &str, subject: &str) -> String {
    let subject = subject.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let display = format!("<div class=\"header-protection-legacy-display\"><pre>Subject: {subject}</pre></div>");
    // ASCII lower case keeps every octet's place.
    let at = html
        .to_ascii_lowercase()
        .find("<body")
        .and_then(|start| html.get(start..)?.find('>').map(|end| start + end + 1))
        .unwrap_or(0);
    let (before, after) = html.split_at_checked(at).unwrap_or(("", html));
    format!("{before}{display}{after}")
}

/// Quoted-printable of text with LF line ends (RFC 2045 section 6.7). A dot or `From ` at the beginning of a line is
/// escaped as well, because SMTP relays and mailbox files change those (RFC 8551 section 3.1.3), and two hyphens, so that no
/// line of a body looks like a boundary.
fn quoted_printable(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let mut column = 0;
        let mut rest = line.as_bytes();
        while let Some((&octet, after)) = rest.split_first() {
            if column >= QUOTED_LINE - 2 && !after.is_empty() {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            let is_changed_by_relays =
                column == 0 && (octet == b'.' || rest.starts_with(b"From ") || rest.starts_with(b"--"));
            let is_plain = match octet {
                b' ' | b'\t' => !after.is_empty(),
                b'=' => false,
                octet => octet.is_ascii_graphic(),
            };
            if is_plain && !is_changed_by_relays {
                out.push(octet);
                column += 1;
            } else {
                out.extend_from_slice(format!("={octet:02X}").as_bytes());
                column += 3;
            }
            rest = after;
        }
        if lines.peek().is_some() {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}
