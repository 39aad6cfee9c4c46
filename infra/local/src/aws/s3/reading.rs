//! GetObject and HeadObject: conditions, ranges, and the headers that both answer with.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use s3s::dto::{
    ChecksumType, GetObjectOutput, HeadObjectOutput, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince,
    ObjectLockLegalHoldStatus, ObjectLockMode, Range, ServerSideEncryption, StreamingBlob,
};
use s3s::{Body, S3Error, S3ErrorCode};

use super::bucket::Versioning;
use super::checksum::put_sums;
use super::object::{self, Version};
use super::{Outcome, time};

/// What a read asks for, beside the key.
pub(super) struct Wanted {
    pub if_match: Option<IfMatch>,
    pub if_none_match: Option<IfNoneMatch>,
    pub if_modified_since: Option<IfModifiedSince>,
    pub if_unmodified_since: Option<IfUnmodifiedSince>,
    pub range: Option<Range>,
    pub with_sums: bool,
}

/// Takes the fields of [`Wanted`] out of an operation's input.
macro_rules! wanted_of {
    ($input:expr) => {
        $crate::aws::s3::reading::Wanted {
            if_match: $input.if_match.take(),
            if_none_match: $input.if_none_match.take(),
            if_modified_since: $input.if_modified_since.take(),
            if_unmodified_since: $input.if_unmodified_since.take(),
            range: $input.range.take(),
            with_sums: $input
                .checksum_mode
                .as_ref()
                .is_some_and(|mode| mode.as_str() == "ENABLED"),
        }
    };
}

pub(super) use wanted_of;

/// The conditions of a read, in the order of RFC 9110 section 13.2.2.
pub(super) fn check_read(version: &Version, wanted: &Wanted) -> Outcome<()> {
    // HTTP dates have no milliseconds.
    let modified_ms = version.created_ms.div_euclid(1000).saturating_mul(1000);
    match (&wanted.if_match, &wanted.if_unmodified_since) {
        (Some(condition), _) if !object::matches(condition, version) => {
            return Err(object::precondition_failed("If-Match"));
        }
        (None, Some(since)) if modified_ms > time::millis(since) => {
            return Err(object::precondition_failed("If-Unmodified-Since"));
        }
        _ => {}
    }
    let is_unmodified = match (&wanted.if_none_match, &wanted.if_modified_since) {
        (Some(condition), _) => object::matches(condition, version),
        (None, Some(since)) => modified_ms <= time::millis(since),
        (None, None) => false,
    };
    if is_unmodified {
        let mut error = S3Error::new(S3ErrorCode::NotModified);
        let mut headers = HeaderMap::new();
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", version.etag)) {
            headers.insert(header::ETAG, etag);
        }
        error.set_headers(headers);
        return Err(error.into());
    }
    Ok(())
}

/// The bytes that a range names, and its Content-Range header.
pub(super) fn window(size: i64, range: Option<&Range>) -> Outcome<(std::ops::Range<u64>, Option<String>)> {
    let size = u64::try_from(size).unwrap_or(0);
    let Some(range) = range else {
        return Ok((0..size, None));
    };
    let window = range.check(size).map_err(S3Error::from)?;
    // A suffix of an empty object is an empty window, which no Content-Range can name.
    let Some(last) = window.end.checked_sub(1).filter(|last| *last >= window.start) else {
        return Err(S3Error::new(S3ErrorCode::InvalidRange).into());
    };
    let header = format!("bytes {}-{last}/{size}", window.start);
    Ok((window, Some(header)))
}

/// Fills the fields that a get and a head share.
macro_rules! fill {
    ($output:expr, $version:expr, $versioning:expr, $with_sums:expr) => {{
        let version: Version = $version;
        $output.version_id = version.shown_id($versioning);
        $output.e_tag = Some(version.e_tag());
        $output.last_modified = Some(time::stamp(version.created_ms));
        $output.accept_ranges = Some("bytes".to_owned());
        let facts = version.facts;
        if $with_sums {
            $output.checksum_type = Some(ChecksumType::from_static(facts.sums.kind()));
            put_sums!($output, facts.sums);
        }
        $output.cache_control = facts.cache_control;
        $output.content_disposition = facts.content_disposition;
        $output.content_encoding = facts.content_encoding;
        $output.content_language = facts.content_language;
        $output.content_type = Some(facts.content_type.unwrap_or_else(|| "binary/octet-stream".to_owned()));
        $output.expires = facts.expires_ms.map(time::stamp);
        $output.metadata = Some(facts.metadata.into_iter().collect());
        $output.server_side_encryption = facts.encryption.map(ServerSideEncryption::from);
        $output.ssekms_key_id = facts.encryption_key;
        $output.bucket_key_enabled = facts.bucket_key;
        if let Some(retention) = version.lock.retention {
            $output.object_lock_mode = Some(ObjectLockMode::from_static(retention.mode.as_str()));
            $output.object_lock_retain_until_date = Some(time::stamp(retention.until_ms));
        }
        $output.object_lock_legal_hold_status = version.lock.legal_hold.map(hold_name);
    }};
}

/// The answer to a GetObject.
pub(super) fn got(version: Version, versioning: Versioning, wanted: &Wanted, bytes: Vec<u8>) -> GetObjectOutput {
    let mut output = GetObjectOutput {
        content_length: i64::try_from(bytes.len()).ok(),
        body: Some(StreamingBlob::from(Body::from(Bytes::from(bytes)))),
        ..GetObjectOutput::default()
    };
    fill!(output, version, versioning, wanted.with_sums && wanted.range.is_none());
    output
}

/// The answer to a HeadObject.
pub(super) fn head(version: Version, versioning: Versioning, wanted: &Wanted) -> HeadObjectOutput {
    let mut output = HeadObjectOutput::default();
    fill!(output, version, versioning, wanted.with_sums && wanted.range.is_none());
    output
}

/// `ON` or `OFF`.
pub(super) fn hold_name(is_held: bool) -> ObjectLockLegalHoldStatus {
    ObjectLockLegalHoldStatus::from_static(if is_held {
        ObjectLockLegalHoldStatus::ON
    } else {
        ObjectLockLegalHoldStatus::OFF
    })
}
