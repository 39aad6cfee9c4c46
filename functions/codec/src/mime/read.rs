//! Reading a message back, for the portal and the mailbox page.
//!
//! The input may be anybody's. Size, header, parts and depth are bounded before and after parsing, and a panic of the
//! parser, which earlier releases had on corrupted nested messages, ends as an error. Nothing is made safe to show
//! here: HTML goes through [`html::sanitise`](crate::html::sanitise) before it meets a browser.

use std::{fmt, panic};

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Address, Encoding, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::header;
use crate::html;

/// Largest message in octets: 40 MB after encoding is the most that SES takes.
pub const MAX_MESSAGE: usize = 50 * 1024 * 1024;
/// Largest header of a message or part in octets.
pub const MAX_HEADER: usize = 64 * 1024;
/// Most parts of a message, those of enclosed messages included.
pub const MAX_PARTS: usize = 1_000;
/// Deepest nesting of parts and enclosed messages.
pub const MAX_DEPTH: usize = 32;

/// A message, decoded.
#[derive(Clone)]
pub struct ReadMessage {
    /// Authors.
    pub from: Vec<ReadAddress>,
    /// Recipients in `To`.
    pub to: Vec<ReadAddress>,
    /// Recipients in `Cc`.
    pub cc: Vec<ReadAddress>,
    /// Where answers go.
    pub reply_to: Vec<ReadAddress>,
    /// Decoded subject.
    pub subject: Option<String>,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// Seconds since the epoch.
    pub date: Option<i64>,
    /// Plain text; made from the HTML when there is no other.
    pub text: Option<String>,
    /// HTML as received, **not** safe to show.
    pub html: Option<String>,
    /// Files and embedded pictures.
    pub attachments: Vec<ReadAttachment>,
    /// All fields in order, unfolded, not decoded.
    pub headers: Vec<(String, String)>,
}

/// A mailbox as somebody wrote it; not checked.
#[derive(Clone, PartialEq, Eq)]
pub struct ReadAddress {
    /// Decoded display name.
    pub name: Option<String>,
    /// What stands for the address.
    pub address: String,
}

/// A file of a message.
#[derive(Clone)]
pub struct ReadAttachment {
    /// Cleaned by [`file_name`](super::file_name); `attachment` when nothing is left of it.
    pub filename: String,
    /// `type/subtype` in lower case as claimed; `application/octet-stream` when missing.
    pub content_type: String,
    /// Without angle brackets.
    pub content_id: Option<String>,
    /// Decoded octets.
    pub content: Vec<u8>,
}

/// Why a message was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Over [`MAX_MESSAGE`].
    #[error("the message is too large")]
    TooLarge,
    /// A header over [`MAX_HEADER`].
    #[error("a header of the message is too large")]
    HeaderTooLarge,
    /// Over [`MAX_PARTS`].
    #[error("the message has too many parts")]
    TooManyParts,
    /// Over [`MAX_DEPTH`].
    #[error("the message is nested too deeply")]
    TooDeep,
    /// No message at all.
    #[error("the message is malformed")]
    Malformed,
}

/// Reads a message.
///
/// # Errors
/// [`ReadError`]; never panics.
pub fn read(message: &[u8]) -> Result<ReadMessage, ReadError> {
    check_before(message)?;
    let read = panic::catch_unwind(|| {
        let parsed = MessageParser::default().parse(message).ok_or(ReadError::Malformed)?;
        check_after(&parsed)?;
        Ok(collect(&parsed))
    });
    read.unwrap_or(Err(ReadError::Malformed))
}

impl fmt::Debug for ReadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[message]")
    }
}

impl fmt::Debug for ReadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

impl fmt::Debug for ReadAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[attachment]")
    }
}

/// What would cost the parser itself too much, judged from the octets: generous bounds that real mail stays under.
fn check_before(message: &[u8]) -> Result<(), ReadError> {
    const MANY: usize = 20;
    if message.len() > MAX_MESSAGE {
        return Err(ReadError::TooLarge);
    }
    let mut n_header = 0;
    let mut is_header = true;
    let mut n_boundaries: usize = 0;
    let mut n_enclosing: usize = 0;
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if is_header {
            is_header = !line.trim_ascii().is_empty();
            n_header += line.len();
            if n_header > MAX_HEADER {
                return Err(ReadError::HeaderTooLarge);
            }
        }
        if line.starts_with(b"--") {
            n_boundaries += 1;
        }
        // Only a Content-Type line or its continuation makes an enclosed message, whose parser and destructor recurse.
        if line.len() < MAX_HEADER && line.contains(&b'/') {
            let line = line.to_ascii_lowercase();
            n_enclosing += line
                .windows(8)
                .filter(|w| *w == b"message/" || w.ends_with(b"/digest"))
                .count();
        }
    }
    if n_boundaries > MANY * MAX_PARTS {
        return Err(ReadError::TooManyParts);
    }
    if n_enclosing > MANY * MAX_DEPTH {
        return Err(ReadError::TooDeep);
    }
    Ok(())
}

/// The exact bounds, on the parsed tree, without recursion.
fn check_after(message: &Message<'_>) -> Result<(), ReadError> {
    let mut n_parts = 0;
    let mut messages = vec![(message, 1)];
    while let Some((message, depth)) = messages.pop() {
        n_parts += message.parts.len();
        if n_parts > MAX_PARTS {
            return Err(ReadError::TooManyParts);
        }
        let mut parts = vec![(0_usize, depth)];
        let mut n_seen = 0;
        while let Some((id, depth)) = parts.pop() {
            let Some(part) = message.parts.get(id) else { continue };
            n_seen += 1;
            if depth > MAX_DEPTH || n_seen > message.parts.len() {
                return Err(ReadError::TooDeep);
            }
            let n_header = part.offset_body.saturating_sub(part.offset_header);
            if usize::try_from(n_header).map_or(true, |n| n > MAX_HEADER) {
                return Err(ReadError::HeaderTooLarge);
            }
            match &part.body {
                PartType::Multipart(children) => {
                    let ids = children.iter().filter_map(|&id| usize::try_from(id).ok());
                    parts.extend(ids.map(|id| (id, depth + 1)));
                }
                PartType::Message(inner) => messages.push((inner, depth + 1)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn collect(message: &Message<'_>) -> ReadMessage {
    let texts: Vec<&str> = message
        .text_bodies()
        .filter_map(|part| match &part.body {
            PartType::Text(text) => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    let html = message.html_bodies().find_map(|part| match &part.body {
        PartType::Html(html) => Some(html.to_string()),
        _ => None,
    });
    let text = match (texts.is_empty(), &html) {
        (false, _) => Some(texts.join("\n")),
        (true, Some(html)) => Some(html::to_text(html)),
        (true, None) => None,
    };
    ReadMessage {
        from: addresses(message.from()),
        to: addresses(message.to()),
        cc: addresses(message.cc()),
        reply_to: addresses(message.reply_to()),
        subject: message.subject().map(str::to_owned),
        message_id: message.message_id().map(str::to_owned),
        date: message.date().map(|date| date.to_timestamp()),
        text,
        html,
        attachments: message.attachments().map(|part| attachment(message, part)).collect(),
        headers: message
            .headers_raw()
            .map(|(name, value)| (one_line(name), one_line(value)))
            .collect(),
    }
}

fn addresses(list: Option<&Address<'_>>) -> Vec<ReadAddress> {
    list.into_iter()
        .flat_map(|list| list.iter())
        .filter_map(|address| {
            Some(ReadAddress {
                name: address.name().map(str::to_owned),
                address: address.address()?.to_owned(),
            })
        })
        .collect()
}

/// Without line ends, which the parser leaves in broken names of fields as well.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], "").trim().to_owned()
}

fn attachment(message: &Message<'_>, part: &MessagePart<'_>) -> ReadAttachment {
    let kind = part.content_type().map(|kind| match kind.subtype() {
        Some(subtype) => format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase(),
        None => kind.ctype().to_ascii_lowercase(),
    });
    let content = match &part.body {
        PartType::Message(message) => message.raw_message().to_vec(),
        PartType::Text(_) | PartType::Html(_) => octets(message, part).unwrap_or_else(|| part.contents().to_vec()),
        _ => part.contents().to_vec(),
    };
    ReadAttachment {
        filename: part
            .attachment_name()
            .and_then(|name| header::file_name(name).ok())
            .unwrap_or_else(|| "attachment".to_owned()),
        content_type: kind.unwrap_or_else(|| "application/octet-stream".to_owned()),
        content_id: part.content_id().map(|id| id.trim_matches(['<', '>']).to_owned()),
        content,
    }
}

/// A file of text as its octets: the parser's own text of it has been through a charset, which may have lost some.
fn octets(message: &Message<'_>, part: &MessagePart<'_>) -> Option<Vec<u8>> {
    let start = usize::try_from(part.offset_body).ok()?;
    let end = usize::try_from(part.offset_end).ok()?;
    let raw = message.raw_message.get(start..end)?;
    match part.encoding {
        Encoding::None => Some(raw.to_vec()),
        Encoding::QuotedPrintable => quoted_printable_decode(raw),
        Encoding::Base64 => base64_decode(raw),
    }
}

#[cfg(test)]
mod tests;
