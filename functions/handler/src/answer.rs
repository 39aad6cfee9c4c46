//! Errors as answers: one JSON object that is both RFC 9457 and what Resend's SDKs read.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sealpost_core::error::{Error, Kind};
use serde::Serialize;
use utoipa::ToSchema;

/// What a route answers.
pub type Answer<T = Response> = Result<T, Refusal>;

/// An error on its way to the caller.
pub struct Refusal(pub Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// An error as callers see it. `detail` and `message` never repeat input.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A URI that names the sort of error (RFC 9457 section 3.1.1).
    #[serde(rename = "type")]
    #[schema(example = "urn:sealpost:error:validation_error")]
    kind: String,
    /// The sort of error, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong.
    detail: String,
    /// The fields that break rules.
    errors: Vec<FieldProblem>,
    /// The HTTP status, as Resend's SDKs read it.
    #[serde(rename = "statusCode")]
    status_code: u16,
    /// The sort of error, as Resend's SDKs read it.
    #[schema(example = "validation_error")]
    name: &'static str,
    /// What went wrong, as Resend's SDKs read it.
    message: String,
}

/// One field that breaks a rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    /// JSON pointer of the field (RFC 6901), or the name of a header or parameter.
    #[schema(example = "/to/3")]
    pointer: String,
    /// Which rule it breaks.
    detail: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = self.0.kind();
        answer(&self.0, kind.status(), title(kind))
    }
}

fn answer(error: &Error, status: u16, title: &'static str) -> Response {
    if status >= 500 {
        tracing::error!(name = error.name(), "a request failed: {}", error.message());
    }
    let problem = Problem {
        kind: format!("urn:sealpost:error:{}", error.name()),
        title,
        status,
        detail: error.message().to_owned(),
        errors: error
            .fields()
            .iter()
            .map(|fault| FieldProblem {
                pointer: fault.pointer.clone(),
                detail: fault.detail.clone(),
            })
            .collect(),
        status_code: status,
        name: error.name(),
        message: error.message().to_owned(),
    };
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (code, Json(problem)).into_response();
    let headers = response.headers_mut();
    match error.kind() {
        Kind::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Kind::Throttled | Kind::Unavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Malformed => "The request cannot be read",
        Kind::Invalid => "A field breaks a rule",
        Kind::Unauthenticated => "No API key",
        Kind::Forbidden => "Not allowed",
        Kind::NotFound => "Not found",
        Kind::Conflict => "Conflict",
        Kind::TooLarge => "Too large",
        Kind::Blocked => "Blocked by policy",
        Kind::Throttled => "Too many requests",
        Kind::Unavailable => "Temporarily unavailable",
        Kind::Internal => "Internal error",
    }
}

/// The answer for a path that no route has.
pub async fn unknown_route() -> Refusal {
    Refusal(Error::not_found())
}

/// The answer for a method that a route does not have.
pub async fn unknown_method() -> Response {
    let error = Error::new(Kind::NotFound, "This route does not have this method.").named("method_not_allowed");
    answer(&error, StatusCode::METHOD_NOT_ALLOWED.as_u16(), "Method not allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_method_says_405_in_the_status_and_in_the_body() {
        let response = unknown_method().await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["status"], &problem["statusCode"]), (&405.into(), &405.into()));
        assert_eq!(problem["name"], "method_not_allowed");
    }
}
