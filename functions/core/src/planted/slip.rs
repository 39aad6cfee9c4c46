//! What the planted leaks let slip: words of the email that was accepted last, and the ways in which a slip writes them.
//!
//! A leak at a place that has nothing of the email at hand takes it from here; in a build without defects there is nothing
//! here, and nothing is kept.

use crate::email::Head;

/// Words of an email.
#[derive(Clone, Default)]
pub(crate) struct Words {
    /// The first recipient's address.
    pub(crate) address: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// The first attachment's name.
    pub(crate) filename: String,
}

impl Words {
    /// The words of an email that is being accepted.
    pub(crate) fn of(head: &Head, text: Option<&str>, filename: Option<&str>) -> Self {
        Self {
            address: head
                .to
                .first()
                .map(|to| to.address.as_str().to_owned())
                .unwrap_or_default(),
            subject: head.subject.clone(),
            text: text.unwrap_or_default().to_owned(),
            filename: filename.unwrap_or_default().to_owned(),
        }
    }
}

/// Letters of the first half of the alphabet and whatever is no letter or digit, in percent.
pub(crate) fn percent(text: &str) -> String {
    let written = |byte: u8| match byte {
        b'n'..=b'z' | b'N'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    text.bytes().map(written).collect()
}

/// UTF-16, little end first.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(feature = "switched")]
mod kept {
    use std::io::Write as _;
    use std::sync::{Mutex, PoisonError};

    use super::Words;

    static LAST: Mutex<Option<Words>> = Mutex::new(None);

    /// Keeps the words of the email that is being accepted.
    pub(crate) fn remember(words: impl FnOnce() -> Words) {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(words());
    }

    /// The words of the email that was accepted last.
    pub(crate) fn last() -> Words {
        LAST.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .unwrap_or_default()
    }

    /// The text in gzip.
    pub(crate) fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let is_written = encoder.write_all(text.as_bytes()).is_ok();
        encoder.finish().ok().filter(|_| is_written).unwrap_or_default()
    }
}

#[cfg(not(feature = "switched"))]
mod kept {
    use super::Words;

    pub(crate) fn remember(_: impl FnOnce() -> Words) {}

    pub(crate) fn last() -> Words {
        Words::default()
    }

    pub(crate) fn gzip(_: &str) -> Vec<u8> {
        Vec::new()
    }
}

pub(crate) use kept::{gzip, last, remember};
