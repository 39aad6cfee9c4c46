//! The local S3: versions, delete markers, conditional puts and Object Lock as on AWS.
//!
//! `s3s` speaks the protocol (routes, XML, signatures, chunked bodies); the rules and the storage are here. Every
//! operation is one transaction, so what was acknowledged survives a `kill -9`, and what was refused left nothing behind.
//! Time is the system's clock throughout: locks run out, and presigned links expire, when the clock is moved. Path-style
//! addressing only; any access key with the secret key `local`.

mod access;
mod bucket;
mod checksum;
mod listing;
mod lock;
mod multipart;
mod object;
mod operations;
mod reading;
mod request;
mod setting;
#[cfg(test)]
mod tests;
mod time;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode};
use sealpost_core::clock::Clock;

use crate::aws::error::AwsError;
use crate::aws::random;
use crate::aws::store::Store;

pub use access::{Keys, Permissions};

/// The account that owns every bucket.
const ACCOUNT: &str = "000000000000";
/// The only region.
const REGION: &str = "us-east-1";
/// The secret key of every access key.
const SECRET_KEY: &str = "local";
/// The version id of what was written while a bucket was not versioned.
const NULL_VERSION: &str = "null";

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS bucket (
    name TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    versioning TEXT NOT NULL,
    has_lock INTEGER NOT NULL,
    default_retention TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS setting (
    bucket TEXT NOT NULL REFERENCES bucket ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
) STRICT;
CREATE TABLE IF NOT EXISTS version (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL REFERENCES bucket,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    is_marker INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    facts TEXT NOT NULL,
    lock_mode TEXT,
    retain_until_ms INTEGER,
    legal_hold INTEGER,
    UNIQUE (bucket, key, id)
) STRICT;
CREATE INDEX IF NOT EXISTS version_by_key ON version (bucket, key, seq);
CREATE TABLE IF NOT EXISTS content (
    seq INTEGER PRIMARY KEY REFERENCES version ON DELETE CASCADE,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES bucket ON DELETE CASCADE,
    key TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    facts TEXT NOT NULL,
    algorithm TEXT,
    is_full_object INTEGER NOT NULL,
    lock_mode TEXT,
    retain_until_ms INTEGER,
    legal_hold INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS part (
    upload TEXT NOT NULL REFERENCES upload ON DELETE CASCADE,
    number INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    sums TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) STRICT;
";

/// The local S3.
pub struct S3 {
    service: S3Service,
    clock: Clock,
}

/// What the operations work on.
struct Shelf {
    store: Store,
    clock: Clock,
}

/// A refusal inside a transaction: S3's own, or a failure of the storage.
#[derive(Debug)]
struct Refusal(S3Error);

type Outcome<T> = Result<T, Refusal>;

impl S3 {
    /// Opens the buckets kept in the file at `path`, or empty ones in memory.
    ///
    /// # Errors
    /// What SQLite answers when the file cannot be opened.
    pub fn open(path: Option<&Path>, clock: Clock) -> rusqlite::Result<Self> {
        let shelf = Shelf {
            store: Store::open(path, SCHEMA)?,
            clock: clock.clone(),
        };
        let mut builder = S3ServiceBuilder::new(shelf);
        builder.set_auth(request::AnyKey);
        builder.set_access(access::Gate);
        // `s3s` compares with the machine's clock; `request::prepare` does it before, with the system's.
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Ok(Self {
            service: builder.build(),
            clock,
        })
    }

    /// Answers one S3 request, which is signed in its headers or its query; a `host` header may be missing where the URI
    /// has one. [`Permissions`] among the request's extensions say what the caller may do; without them it may do all.
    pub async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let is_head = request.method() == Method::HEAD;
        let answer = match request::prepare(request, &self.clock) {
            Ok(request) => match self.service.call(request).await {
                Ok(answer) => answer,
                Err(_) => refuse(S3Error::with_message(S3ErrorCode::InternalError, "the request failed")),
            },
            Err(error) => refuse(error),
        };
        let (mut parts, body) = answer.into_parts();
        let body = match body.collect().await {
            Ok(body) if !is_head && parts.status != StatusCode::NOT_MODIFIED => body.to_bytes(),
            Ok(_) => Bytes::new(),
            Err(_) => {
                parts.status = StatusCode::INTERNAL_SERVER_ERROR;
                Bytes::new()
            }
        };
        if let Ok(date) = HeaderValue::from_str(&time::http_date(self.clock.now())) {
            parts.headers.insert(header::DATE, date);
        }
        if let Ok(id) = HeaderValue::from_str(&format!(
            "{:016X}",
            u64::from_be_bytes(random::bytes().unwrap_or_default())
        )) {
            parts.headers.insert(HeaderName::from_static("x-amz-request-id"), id);
        }
        if !is_head && parts.status != StatusCode::NO_CONTENT && parts.status != StatusCode::NOT_MODIFIED {
            parts
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Response::from_parts(parts, body)
    }
}

impl Shelf {
    /// Runs one operation in one transaction.
    fn change<T>(&self, change: impl FnOnce(&rusqlite::Transaction<'_>) -> Outcome<T>) -> Result<T, S3Error> {
        self.store.change(change).map_err(|Refusal(error)| error)
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self(S3Error::internal_error(error))
    }
}

impl From<S3Error> for Refusal {
    fn from(error: S3Error) -> Self {
        Self(error)
    }
}

impl From<AwsError> for Refusal {
    fn from(error: AwsError) -> Self {
        let mut refusal = S3Error::with_message(S3ErrorCode::Custom(error.code.into()), error.message);
        refusal.set_status_code(error.status);
        Self(refusal)
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self(S3Error::internal_error(error))
    }
}

fn refuse(error: S3Error) -> s3s::HttpResponse {
    let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error.to_http_response().unwrap_or_else(|_| {
        let mut answer = s3s::HttpResponse::new(s3s::Body::empty());
        *answer.status_mut() = status;
        answer
    })
}
