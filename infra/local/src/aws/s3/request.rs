//! What is checked before `s3s` sees a request: its time, and parameters that are not implemented.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Request};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{Body, HttpRequest, S3Error, S3ErrorCode, S3Result};
use sealpost_core::clock::Clock;

use super::{ACCOUNT, SECRET_KEY};

/// How far the time of a signature may be from the server's (IAM User Guide, "Troubleshooting request signing").
const MAX_SKEW_MS: i64 = 15 * 60 * 1000;

/// Request headers whose effect is not implemented.
const NOT_IMPLEMENTED: &[&str] = &[
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-mfa",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];

/// Request headers of which only these values are implemented, all of which ask for what happens anyway.
const LIMITED: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-storage-class", &["STANDARD"]),
];

/// Knows every access key; its secret key is [`SECRET_KEY`].
pub(super) struct AnyKey;

#[async_trait::async_trait]
impl S3Auth for AnyKey {
    async fn get_secret_key(&self, _access_key: &str) -> S3Result<SecretKey> {
        Ok(SecretKey::from(SECRET_KEY))
    }
}

/// Makes the request one that `s3s` can check, or refuses it.
pub(super) fn prepare(request: Request<Bytes>, clock: &Clock) -> Result<HttpRequest, S3Error> {
    let (mut parts, body) = request.into_parts();
    // The SDK leaves both headers to its HTTP client, and signs the first.
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    if !parts.headers.contains_key(CONTENT_LENGTH) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    check_parameters(&parts.headers)?;
    let query: Vec<(String, String)> = parts
        .uri
        .query()
        .map(|query| url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
        .unwrap_or_default();
    if query.iter().any(|(name, _)| name == "partNumber") && parts.method != http::Method::PUT {
        return Err(not_implemented("partNumber"));
    }
    check_time(&parts.headers, &query, clock)?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn check_parameters(headers: &HeaderMap) -> Result<(), S3Error> {
    if let Some(name) = NOT_IMPLEMENTED.iter().find(|name| headers.contains_key(**name)) {
        return Err(not_implemented(name));
    }
    for (name, values) in LIMITED {
        if let Some(value) = headers.get(*name)
            && !values.iter().any(|allowed| value == allowed)
        {
            return Err(not_implemented(&format!("this value of {name}")));
        }
    }
    for name in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
        if headers.get(name).is_some_and(|owner| owner != ACCOUNT) {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied"));
        }
    }
    Ok(())
}

/// Signed headers must be of now; a presigned link must have begun and not have ended. A caller outside cannot know that
/// the system's clock was moved, so signed headers may also be of the machine's time.
fn check_time(headers: &HeaderMap, query: &[(String, String)], clock: &Clock) -> Result<(), S3Error> {
    let now_ms = clock.now_ms();
    let parameter = |wanted: &str| {
        let found = query.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    if let (Some(date), Some(lifetime)) = (parameter("X-Amz-Date"), parameter("X-Amz-Expires")) {
        let begin_ms = signature_time(date)?;
        let lifetime_s: i64 = lifetime.parse().map_err(|_| malformed("X-Amz-Expires"))?;
        if begin_ms > now_ms.saturating_add(MAX_SKEW_MS) {
            return Err(skewed());
        }
        if now_ms > begin_ms.saturating_add(lifetime_s.saturating_mul(1000)) {
            return Err(expired());
        }
        return Ok(());
    }
    if let (Some(end), Some(_)) = (parameter("Expires"), parameter("Signature")) {
        let end_s: i64 = end.parse().map_err(|_| malformed("Expires"))?;
        if now_ms > end_s.saturating_mul(1000) {
            return Err(expired());
        }
        return Ok(());
    }
    if let Some(date) = headers.get("x-amz-date") {
        let signed_ms = signature_time(date.to_str().map_err(|_| malformed("x-amz-date"))?)?;
        let machine_ms = now_ms.saturating_sub(clock.shift_ms());
        let is_near = |server_ms: i64| server_ms.abs_diff(signed_ms) <= MAX_SKEW_MS.unsigned_abs();
        if !is_near(now_ms) && !is_near(machine_ms) {
            return Err(skewed());
        }
    }
    Ok(())
}

fn signature_time(date: &str) -> Result<i64, S3Error> {
    DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .and_then(|date| TimeZone::UTC.to_timestamp(date))
        .map(|time| time.as_millisecond())
        .map_err(|_| malformed("X-Amz-Date"))
}

fn malformed(what: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, format!("{what} is malformed"))
}

fn skewed() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::RequestTimeTooSkewed,
        "The difference between the request time and the current time is too large.",
    )
}

fn expired() -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, "Request has expired")
}

fn not_implemented(what: &str) -> S3Error {
    S3Error::with_message(
        S3ErrorCode::NotImplemented,
        format!("{what} is not implemented by the local AWS"),
    )
}
