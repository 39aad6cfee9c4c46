//! Objects: the versions of a key, how a put makes one, and how a deletion takes one away or covers it.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use s3s::dto::{ETag, ETagCondition, ObjectLockLegalHoldStatus, ObjectLockMode, Timestamp};
use s3s::{S3Error, S3ErrorCode};
use serde::{Deserialize, Serialize};

use super::bucket::{self, Bucket, Versioning};
use super::checksum::Sums;
use super::lock::{self, Lock, Mode, Retention};
use super::{NULL_VERSION, Outcome, setting, time};
use crate::aws::random;
use crate::aws::store::Prepared;

/// What a put says about its bytes, and a get gives back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Facts {
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_type: Option<String>,
    pub expires_ms: Option<i64>,
    pub metadata: BTreeMap<String, String>,
    pub encryption: Option<String>,
    pub encryption_key: Option<String>,
    pub bucket_key: Option<bool>,
    pub sums: Sums,
}

/// Takes the fields out of an operation's input that become [`Facts`].
macro_rules! facts_of {
    ($input:expr) => {
        $crate::aws::s3::object::Facts {
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            content_type: $input.content_type.take(),
            expires_ms: $input.expires.take().as_ref().map($crate::aws::s3::time::millis),
            metadata: $input.metadata.take().into_iter().flatten().collect(),
            encryption: $input
                .server_side_encryption
                .take()
                .map(|encryption| encryption.as_str().to_owned()),
            encryption_key: $input.ssekms_key_id.take(),
            bucket_key: $input.bucket_key_enabled.take(),
            sums: Default::default(),
        }
        .normal()
    };
}

pub(super) use facts_of;

/// One version of a key, or a delete marker.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub seq: i64,
    pub key: String,
    pub id: String,
    pub is_marker: bool,
    pub created_ms: i64,
    pub size: i64,
    pub etag: String,
    pub facts: Facts,
    pub lock: Lock,
}

/// What a put stores.
pub(super) struct New<'a> {
    pub key: &'a str,
    pub bytes: &'a [u8],
    pub etag: &'a str,
    pub facts: Facts,
    pub lock: Lock,
}

/// What a deletion did: it took away the version `version_id`, or it put a delete marker with that id.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    pub is_marker: bool,
    pub version_id: Option<String>,
}

/// The columns that [`read`] needs.
pub(super) const COLUMNS: &str = "v.seq, v.key, v.id, v.is_marker, v.created_ms, v.size, v.etag, v.facts, v.lock_mode, v.retain_until_ms, v.legal_hold";

impl Facts {
    /// `aws-chunked` says how the body travelled; it is not a property of the object.
    pub(super) fn normal(mut self) -> Self {
        self.content_encoding = self.content_encoding.and_then(|encoding| {
            let kept: Vec<&str> = encoding
                .split(',')
                .map(str::trim)
                .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
                .collect();
            (!kept.is_empty()).then(|| kept.join(","))
        });
        self
    }
}

impl Version {
    /// The version id that answers carry: none while the bucket was never versioned.
    pub(super) fn shown_id(&self, versioning: Versioning) -> Option<String> {
        (versioning != Versioning::Off).then(|| self.id.clone())
    }

    /// The ETag as the protocol writes it.
    pub(super) fn e_tag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }
}

/// The lock that the headers of a put ask for.
pub(super) fn asked_lock(
    mode: Option<&ObjectLockMode>,
    until: Option<&Timestamp>,
    legal_hold: Option<&ObjectLockLegalHoldStatus>,
) -> Result<Lock, S3Error> {
    let retention = match (mode, until) {
        (Some(mode), Some(until)) => Some(Retention {
            mode: Mode::parse(mode.as_str())?,
            until_ms: time::millis(until),
        }),
        (None, None) => None,
        _ => {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidArgument,
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            ));
        }
    };
    let legal_hold = legal_hold.map(hold_status).transpose()?;
    Ok(Lock { retention, legal_hold })
}

/// `ON` or `OFF`.
pub(super) fn hold_status(status: &ObjectLockLegalHoldStatus) -> Result<bool, S3Error> {
    match status.as_str() {
        ObjectLockLegalHoldStatus::ON => Ok(true),
        ObjectLockLegalHoldStatus::OFF => Ok(false),
        _ => Err(S3Error::new(S3ErrorCode::MalformedXML)),
    }
}

/// The lock of a new version: what was asked for, if the bucket allows it, and else the bucket's default.
pub(super) fn granted_lock(bucket: &Bucket, asked: Lock, now: jiff::Timestamp) -> Outcome<Lock> {
    if asked != Lock::default() {
        bucket::check_lock(bucket)?;
    }
    if let Some(retention) = asked.retention {
        lock::check_future(retention, now.as_millisecond())?;
        return Ok(asked);
    }
    let retention = match &bucket.default_retention {
        Some(default) => Some(default.retention(now)?),
        None => None,
    };
    Ok(Lock { retention, ..asked })
}

/// The newest version or delete marker of a key.
pub(super) fn latest(tx: &Transaction<'_>, bucket: &str, key: &str) -> Outcome<Option<Version>> {
    let sql = format!("SELECT {COLUMNS} FROM version v WHERE bucket = ? AND key = ? ORDER BY seq DESC LIMIT 1");
    Ok(tx.prepare_cached(&sql)?.query_row([bucket, key], read).optional()?)
}

/// The version with this id, or the newest; a delete marker is refused in the way that AWS has for it.
pub(super) fn find(tx: &Transaction<'_>, bucket: &str, key: &str, id: Option<&str>) -> Outcome<Version> {
    let Some(id) = id else {
        let newest = latest(tx, bucket, key)?;
        let mut error = S3Error::with_message(S3ErrorCode::NoSuchKey, "The specified key does not exist.");
        match newest {
            Some(version) if !version.is_marker => return Ok(version),
            Some(marker) => error.set_headers(marker_headers(&marker)),
            None => {}
        }
        return Err(error.into());
    };
    let version = with_id(tx, bucket, key, id)?
        .ok_or_else(|| S3Error::with_message(S3ErrorCode::NoSuchVersion, "The specified version does not exist."))?;
    if version.is_marker {
        let mut error = S3Error::with_message(
            S3ErrorCode::MethodNotAllowed,
            "The specified method is not allowed against this resource.",
        );
        error.set_headers(marker_headers(&version));
        return Err(error.into());
    }
    Ok(version)
}

/// The conditions of a write, which look at the newest version (User Guide, "Conditional writes").
pub(super) fn check_write(
    current: Option<&Version>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> Outcome<()> {
    let current = current.filter(|version| !version.is_marker);
    if let Some(condition) = if_none_match {
        if !condition.is_any() {
            return Err(S3Error::with_message(
                S3ErrorCode::NotImplemented,
                "If-None-Match with a value other than * is not implemented for writes",
            )
            .into());
        }
        if current.is_some() {
            return Err(precondition_failed("If-None-Match"));
        }
    }
    if let Some(condition) = if_match {
        let Some(current) = current else {
            return Err(S3Error::with_message(S3ErrorCode::NoSuchKey, "The specified key does not exist.").into());
        };
        if !matches(condition, current) {
            return Err(precondition_failed("If-Match"));
        }
    }
    Ok(())
}

/// Whether the version has the ETag that the condition names.
pub(super) fn matches(condition: &ETagCondition, version: &Version) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == version.etag,
    }
}

/// 412, naming the condition.
pub(super) fn precondition_failed(condition: &str) -> super::Refusal {
    S3Error::with_message(
        S3ErrorCode::PreconditionFailed,
        format!("At least one of the pre-conditions you specified did not hold: {condition}"),
    )
    .into()
}

/// Stores a version: a new one where the bucket is versioned, else in place of the one without an id.
pub(super) fn put(tx: &Transaction<'_>, bucket: &Bucket, mut new: New<'_>, now_ms: i64) -> Outcome<Version> {
    if new.facts.encryption.is_none() {
        let (encryption, key, bucket_key) = setting::default_encryption(tx, &bucket.name)?;
        new.facts.encryption = Some(encryption);
        new.facts.encryption_key = key;
        new.facts.bucket_key = bucket_key;
    }
    let size = i64::try_from(new.bytes.len()).unwrap_or(i64::MAX);
    let mut version = Version {
        seq: 0,
        key: new.key.to_owned(),
        id: String::new(),
        is_marker: false,
        created_ms: now_ms,
        size,
        etag: new.etag.to_owned(),
        facts: new.facts,
        lock: new.lock,
    };
    insert(tx, bucket, &mut version)?;
    tx.prepare_cached("INSERT INTO content (seq, bytes) VALUES (?, ?)")?
        .execute(params![version.seq, new.bytes])?;
    Ok(version)
}

/// Bytes `range` of a version.
pub(super) fn content(tx: &Transaction<'_>, seq: i64, range: std::ops::Range<u64>) -> Outcome<Vec<u8>> {
    let start = i64::try_from(range.start.saturating_add(1)).unwrap_or(i64::MAX);
    let length = i64::try_from(range.end.saturating_sub(range.start)).unwrap_or(i64::MAX);
    Ok(tx
        .prepare_cached("SELECT substr(bytes, ?2, ?3) FROM content WHERE seq = ?1")?
        .query_row([seq, start, length], |row| row.get(0))?)
}

/// With an id, takes that version away for good unless it is locked; without, covers the key with a delete marker, or in
/// a bucket that was never versioned takes the object away. What is not there counts as deleted.
pub(super) fn delete(
    tx: &Transaction<'_>,
    bucket: &Bucket,
    key: &str,
    id: Option<&str>,
    bypass: bool,
    now_ms: i64,
) -> Outcome<Deleted> {
    if let Some(id) = id {
        let version = with_id(tx, &bucket.name, key, id)?;
        if let Some(version) = &version {
            version.lock.check_deletion(bypass, now_ms)?;
            tx.run("DELETE FROM version WHERE seq = ?", [version.seq])?;
        }
        return Ok(Deleted {
            is_marker: version.is_some_and(|version| version.is_marker),
            version_id: Some(id.to_owned()),
        });
    }
    if bucket.versioning == Versioning::Off {
        take_null_version(tx, bucket, key, now_ms)?;
        return Ok(Deleted::default());
    }
    let mut marker = Version {
        seq: 0,
        key: key.to_owned(),
        id: String::new(),
        is_marker: true,
        created_ms: now_ms,
        size: 0,
        etag: String::new(),
        facts: Facts::default(),
        lock: Lock::default(),
    };
    insert(tx, bucket, &mut marker)?;
    Ok(Deleted {
        is_marker: true,
        version_id: Some(marker.id),
    })
}

/// Replaces a version's lock.
pub(super) fn set_lock(tx: &Transaction<'_>, seq: i64, lock: Lock) -> Outcome<()> {
    tx.run(
        "UPDATE version SET lock_mode = ?, retain_until_ms = ?, legal_hold = ? WHERE seq = ?",
        params![
            lock.retention.map(|retention| retention.mode.as_str()),
            lock.retention.map(|retention| retention.until_ms),
            lock.legal_hold,
            seq
        ],
    )?;
    Ok(())
}

/// Reads a row of [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        seq: row.get(0)?,
        key: row.get(1)?,
        id: row.get(2)?,
        is_marker: row.get(3)?,
        created_ms: row.get(4)?,
        size: row.get(5)?,
        etag: row.get(6)?,
        facts: json(row, 7)?,
        lock: read_lock(row, 8)?,
    })
}

/// Reads mode, date and hold from three columns, of which `first` is the first.
pub(super) fn read_lock(row: &Row<'_>, first: usize) -> rusqlite::Result<Lock> {
    let mode: Option<String> = row.get(first)?;
    let until_ms: Option<i64> = row.get(first + 1)?;
    let retention = match (mode, until_ms) {
        (Some(mode), Some(until_ms)) => Some(Retention {
            mode: Mode::parse(&mode).map_err(|error| unreadable(first, error))?,
            until_ms,
        }),
        _ => None,
    };
    Ok(Lock {
        retention,
        legal_hold: row.get(first + 2)?,
    })
}

/// Reads a column that holds JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

/// The place in the order of versions that an id carries; ids of deleted versions keep theirs, so that a listing can go on
/// behind a version that was deleted meanwhile.
pub(super) fn seq_of(id: &str) -> Option<i64> {
    i64::from_str_radix(id.get(..12)?, 16).ok()
}

fn with_id(tx: &Transaction<'_>, bucket: &str, key: &str, id: &str) -> Outcome<Option<Version>> {
    let sql = format!("SELECT {COLUMNS} FROM version v WHERE bucket = ? AND key = ? AND id = ?");
    Ok(tx.prepare_cached(&sql)?.query_row([bucket, key, id], read).optional()?)
}

fn insert(tx: &Transaction<'_>, bucket: &Bucket, version: &mut Version) -> Outcome<()> {
    if bucket.versioning != Versioning::Enabled {
        take_null_version(tx, bucket, &version.key, version.created_ms)?;
    }
    tx.prepare_cached(
        "INSERT INTO version (bucket, key, id, is_marker, created_ms, size, etag, facts, lock_mode, retain_until_ms, legal_hold)
         VALUES (?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        bucket.name,
        version.key,
        version.is_marker,
        version.created_ms,
        version.size,
        version.etag,
        serde_json::to_string(&version.facts)?,
        version.lock.retention.map(|retention| retention.mode.as_str()),
        version.lock.retention.map(|retention| retention.until_ms),
        version.lock.legal_hold,
    ])?;
    version.seq = tx.last_insert_rowid();
    version.id = if bucket.versioning == Versioning::Enabled {
        let random = u128::from_be_bytes(random::bytes()?) >> 48;
        format!("{:012x}{random:020x}", version.seq)
    } else {
        NULL_VERSION.to_owned()
    };
    tx.prepare_cached("UPDATE version SET id = ? WHERE seq = ?")?
        .execute(params![version.id, version.seq])?;
    Ok(())
}

fn take_null_version(tx: &Transaction<'_>, bucket: &Bucket, key: &str, now_ms: i64) -> Outcome<()> {
    if let Some(version) = with_id(tx, &bucket.name, key, NULL_VERSION)? {
        version.lock.check_deletion(false, now_ms)?;
        tx.run("DELETE FROM version WHERE seq = ?", [version.seq])?;
    }
    Ok(())
}

fn marker_headers(marker: &Version) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static("x-amz-delete-marker"),
        HeaderValue::from_static("true"),
    );
    if let Ok(id) = HeaderValue::from_str(&marker.id) {
        headers.insert(HeaderName::from_static("x-amz-version-id"), id);
    }
    headers
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}
