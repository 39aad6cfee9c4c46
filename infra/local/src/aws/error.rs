//! How the local services refuse, in AWS's own terms.

use http::StatusCode;

/// A refusal as AWS words it: HTTP status, error code (`ValidationException`, `NoSuchKey` …) and message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    /// The HTTP status of the answer.
    pub status: StatusCode,
    /// The error code that SDKs map to their exception types.
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
}

impl AwsError {
    /// A refusal with this status, code and message.
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
        }
    }

    /// The caller's mistake (400).
    pub fn bad_request(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// An operation or parameter that AWS has and this system has not; it names it and never pretends success.
    #[must_use]
    pub fn not_implemented(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("{what} is not implemented by the local AWS"),
        )
    }
}

impl From<rusqlite::Error> for AwsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailure",
            format!("local storage: {error}"),
        )
    }
}
