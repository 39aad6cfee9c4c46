//! Cuts the bytes of a target into the fields that it needs. A corpus file stays readable, and a mutation stays in its field.

use std::borrow::Cow;

use sealpost_codec::address::Mailbox;

/// Fields that end at a NUL; those that are missing are empty.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let (field, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        field
    }

    pub(crate) fn text(&mut self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// One mailbox a line; lines that are none are left out.
    pub(crate) fn mailboxes(&mut self) -> Vec<Mailbox> {
        self.text()
            .lines()
            .filter_map(|line| Mailbox::parse(line).ok())
            .collect()
    }

    /// What is left, NULs included.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The first byte, as a choice of the target's, and the rest.
pub(crate) fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
