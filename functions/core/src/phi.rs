//! Protected health information that cannot slip into a log.
//!
//! `Phi<T>` has no `Display` and a `Debug` that prints `[PHI]`. It is stored and sent only inside sealed bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value that identifies a patient or says something about one: address, name, subject, body, token.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phi<T>(T);

impl<T> Phi<T> {
    /// Marks a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for sealing, comparing and answering its owner.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, by move.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> From<T> for Phi<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[PHI]")
    }
}
