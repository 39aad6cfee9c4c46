//! Requests of users and what comes back.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// Which front door a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// That of callers.
    Api,
    /// That of patients.
    Portal,
}

/// What came back for a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A request that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asked(pub(super) u64);
