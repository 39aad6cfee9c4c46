//! Header protection (RFC 9788): the real header travels inside the encrypted part.

use mail_builder::headers::raw::Raw;
use mail_builder::headers::{Header, HeaderType};

use super::{Content, MimeError, finish, header, part};

/// The entity to encrypt: the body's root part with `hp="cipher"`, every field of the message, and an `HP-Outer` for
/// each field as it stands outside, so that the reader can tell what was visible on the way (RFC 9788 section 2.2).
pub(super) fn entity(content: &Content) -> Result<Vec<u8>, MimeError> {
    let fields = header::fields(content)?;
    let outer = content.outer();
    let outer_fields = header::outer_fields(&outer)?;

    let mut root = part::body(content, Some(&content.subject))?;
    for (name, value) in &mut root.headers {
        if let (true, HeaderType::ContentType(kind)) = (name == "Content-Type", value) {
            kind.attributes.push(("hp".into(), "cipher".into()));
        }
    }
    let mut plan: Vec<String> = fields.iter().map(|(name, _)| name.to_string()).collect();
    for (name, value) in fields {
        root = root.header(name.into_owned(), owned(value)?);
    }
    for (name, value) in &outer_fields {
        plan.push("HP-Outer".to_owned());
        root = root.header("HP-Outer", Raw::new(format!("{name}: {}", written(value)?)));
    }
    let mut out = Vec::new();
    root.write_part(&mut out);
    finish(out, &plan)
}

/// A value as it will be written, on one line.
fn written(value: &HeaderType<'_>) -> Result<String, MimeError> {
    let mut out = Vec::new();
    value.write_header(&mut out, 0);
    let text = String::from_utf8(out).map_err(|_| MimeError::Plan)?;
    Ok(text.replace("\r\n", "").trim().to_owned())
}

/// The same field without a borrow, so that it can move into the part.
fn owned(value: HeaderType<'_>) -> Result<HeaderType<'static>, MimeError> {
    Ok(Raw::new(written(&value)?).into())
}
