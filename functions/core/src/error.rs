//! The one error of the core.
//!
//! HTTP status, retry and alarm follow from the kind, here and nowhere else. The message says what failed and never what
//! the input was; the cause goes into `source` and is never shown to a caller. A foreign id answers as an unknown one.

use std::error::Error as StdError;
use std::fmt;

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body cannot be read at all (400).
    Malformed,
    /// A field breaks a rule (422).
    Invalid,
    /// No key (401).
    Unauthenticated,
    /// A key that is not good, or without the right (403).
    Forbidden,
    /// Unknown, or another tenant's, which is the same (404).
    NotFound,
    /// It does not fit with what already stands (409).
    Conflict,
    /// The body or a field is larger than the limit (413).
    TooLarge,
    /// Policy refuses (422).
    Blocked,
    /// Too much at once; later will do (429).
    Throttled,
    /// A dependency did not answer; later may do (503).
    Unavailable,
    /// Our mistake (500).
    Internal,
}

impl Kind {
    /// The HTTP status of RFC 9110 that this kind answers with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Kind::Malformed => 400,
            Kind::Unauthenticated => 401,
            // Resend gives `restricted_api_key` 401. Its SDKs tell errors by their name and show either status alike, and 401
            // would mean that credentials are missing (RFC 9110 section 15.5.2), which HTTP clients act on.
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::TooLarge => 413,
            Kind::Invalid | Kind::Blocked => 422,
            Kind::Throttled => 429,
            Kind::Internal => 500,
            Kind::Unavailable => 503,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Kind::Throttled | Kind::Unavailable | Kind::Internal)
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Malformed | Kind::Invalid | Kind::TooLarge => "validation_error",
            Kind::Unauthenticated => "missing_api_key",
            Kind::Forbidden => "restricted_api_key",
            Kind::NotFound => "not_found",
            Kind::Conflict => "conflict",
            Kind::Blocked => "blocked",
            Kind::Throttled => "rate_limit_exceeded",
            Kind::Unavailable => "service_unavailable",
            Kind::Internal => "application_error",
        }
    }
}

/// One field that breaks a rule: where it stands, and which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer of the field (RFC 6901), or the header or query parameter that is meant, such as `/to/3`.
    pub pointer: String,
    /// Which rule it breaks, for people; never the value.
    pub detail: String,
}

impl Fault {
    /// The field at `pointer` breaks the rule that `detail` tells.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// At most so many faults are told of one request.
const MAX_FAULTS: usize = 100;

/// A failure, with what a caller may see apart from what only we may see.
pub struct Error {
    kind: Kind,
    name: &'static str,
    message: String,
    faults: Vec<Fault>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What every function of the core answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of this kind; `message` is shown to the caller and holds nothing of the input.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            name: kind.name(),
            message: message.into(),
            faults: Vec::new(),
            source: None,
        }
    }

    /// One field that breaks a rule.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::faults(vec![Fault::new(pointer, detail)])
    }

    /// Several fields that break rules; the first one makes the message.
    #[must_use]
    pub fn faults(faults: Vec<Fault>) -> Self {
        let message = match faults.first() {
            Some(fault) => format!("`{}`: {}", fault.pointer, fault.detail),
            None => "The request breaks a rule.".to_owned(),
        };
        Self {
            faults: first(faults),
            ..Self::new(Kind::Invalid, message)
        }
    }

    /// A failure of this kind with the fields that it is about.
    pub fn with_faults(kind: Kind, message: impl Into<String>, faults: Vec<Fault>) -> Self {
        Self {
            faults: first(faults),
            ..Self::new(kind, message)
        }
    }

    /// The answer for what does not exist and for what belongs to another tenant, byte for byte the same.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "Not found.")
    }

    /// A dependency that did not answer or answered nonsense.
    pub fn unavailable(what: &'static str, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(Kind::Unavailable, format!("{what} is not available.")).because(source)
    }

    /// A state that our own rules exclude.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Keeps the cause; it is never shown to a caller.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Replaces the machine-readable name, where Resend has a finer one than the kind.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The machine-readable name (`validation_error`, `not_found` …), as Resend's SDKs read it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What went wrong, for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The fields that break rules.
    #[must_use]
    pub fn fields(&self) -> &[Fault] {
        &self.faults
    }
}

/// As many faults as help; a request can have a million, and the answer must not grow with it.
fn first(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.truncate(MAX_FAULTS);
    faults
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Prints kind and message; the cause's own `Debug` may hold a response body, so only its type of failure is named.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
