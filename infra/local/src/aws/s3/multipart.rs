//! Uploads in parts: nothing is visible before the last step, which makes one version.

use rusqlite::{OptionalExtension, Transaction, params};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{CompletedPart, ETagCondition};
use s3s::{S3Error, S3ErrorCode};

use super::bucket::Versioning;
use super::checksum::{self, Checked, Sums};
use super::lock::Lock;
use super::object::{self, Facts, New, Version};
use super::{Outcome, bucket};
use crate::aws::random;
use crate::aws::store::Prepared;

/// The least size of every part but the last (User Guide, "Amazon S3 multipart upload limits").
const MIN_PART: i64 = 5 * 1024 * 1024;
/// The highest part number (same page).
const MAX_NUMBER: i32 = 10_000;

/// An upload that is neither completed nor aborted.
pub(super) struct Upload {
    id: String,
    bucket: String,
    key: String,
    facts: Facts,
    algorithm: Option<String>,
    is_full_object: bool,
    lock: Lock,
}

/// What begins an upload.
pub(super) struct Start<'a> {
    pub facts: &'a Facts,
    /// The checksum that the parts carry.
    pub algorithm: Option<&'a str>,
    /// The object's checksum is over its bytes, not over the checksums of its parts.
    pub is_full_object: bool,
    pub asked: Lock,
}

/// What completes an upload.
pub(super) struct Completion<'a> {
    pub parts: &'a [CompletedPart],
    pub if_match: Option<&'a ETagCondition>,
    pub if_none_match: Option<&'a ETagCondition>,
    /// The object's checksum as the caller has it.
    pub claimed: &'a Sums,
    /// The object's size in bytes as the caller has it.
    pub size: Option<i64>,
}

/// A part, without its bytes.
pub(super) struct Part {
    pub number: i32,
    pub created_ms: i64,
    pub size: i64,
    pub etag: String,
    pub sums: Sums,
}

/// Begins an upload and answers its id.
pub(super) fn create(
    tx: &Transaction<'_>,
    bucket: &str,
    key: &str,
    start: &Start<'_>,
    now: jiff::Timestamp,
) -> Outcome<String> {
    Sums::of_algorithm(start.algorithm)?;
    let bucket = bucket::find(tx, bucket)?;
    let lock = object::granted_lock(&bucket, start.asked, now)?;
    let id = format!("{:032x}", u128::from_be_bytes(random::bytes()?));
    tx.run(
        "INSERT INTO upload (id, bucket, key, started_ms, facts, algorithm, is_full_object, lock_mode, retain_until_ms, legal_hold)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            id,
            bucket.name,
            key,
            now.as_millisecond(),
            serde_json::to_string(start.facts)?,
            start.algorithm,
            start.is_full_object || matches!(start.algorithm, None | Some("CRC64NVME")),
            lock.retention.map(|retention| retention.mode.as_str()),
            lock.retention.map(|retention| retention.until_ms),
            lock.legal_hold,
        ],
    )?;
    Ok(id)
}

/// The upload, or NoSuchUpload.
pub(super) fn find(tx: &Transaction<'_>, bucket: &str, key: &str, id: &str) -> Outcome<Upload> {
    bucket::find(tx, bucket)?;
    let sql = "SELECT id, bucket, key, facts, algorithm, is_full_object, lock_mode, retain_until_ms, legal_hold
               FROM upload WHERE id = ? AND bucket = ? AND key = ?";
    let upload = tx
        .row(sql, [id, bucket, key], |row| {
            Ok(Upload {
                id: row.get(0)?,
                bucket: row.get(1)?,
                key: row.get(2)?,
                facts: object::json(row, 3)?,
                algorithm: row.get(4)?,
                is_full_object: row.get(5)?,
                lock: object::read_lock(row, 6)?,
            })
        })
        .optional()?;
    Ok(upload.ok_or_else(|| {
        S3Error::with_message(
            S3ErrorCode::NoSuchUpload,
            "The specified upload does not exist. It may have been aborted or completed.",
        )
    })?)
}

/// Stores a part, in place of one with the same number; answers its checksum by the upload's algorithm.
pub(super) fn put_part(
    tx: &Transaction<'_>,
    upload: &Upload,
    number: i32,
    body: &Checked,
    now_ms: i64,
) -> Outcome<Sums> {
    if !(1..=MAX_NUMBER).contains(&number) {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive",
        )
        .into());
    }
    let sums = Sums::of_algorithm(upload.algorithm.as_deref())?.over(&body.bytes);
    tx.run(
        "INSERT INTO part (upload, number, created_ms, size, etag, sums, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (upload, number) DO UPDATE SET created_ms = excluded.created_ms, size = excluded.size,
         etag = excluded.etag, sums = excluded.sums, bytes = excluded.bytes",
        params![
            upload.id,
            number,
            now_ms,
            i64::try_from(body.bytes.len()).unwrap_or(i64::MAX),
            body.md5,
            serde_json::to_string(&sums)?,
            body.bytes.as_ref(),
        ],
    )?;
    Ok(sums)
}

/// The parts above number `after`, at most `limit` and one.
pub(super) fn parts(tx: &Transaction<'_>, upload: &Upload, after: i32, limit: i32) -> Outcome<Vec<Part>> {
    let sql =
        "SELECT number, created_ms, size, etag, sums FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?";
    let mut statement = tx.prepare_cached(sql)?;
    let parts = statement.query_map(params![upload.id, after, limit.saturating_add(1)], |row| {
        Ok(Part {
            number: row.get(0)?,
            created_ms: row.get(1)?,
            size: row.get(2)?,
            etag: row.get(3)?,
            sums: object::json(row, 4)?,
        })
    })?;
    Ok(parts.collect::<Result<_, _>>()?)
}

/// Forgets an upload and its parts.
pub(super) fn abort(tx: &Transaction<'_>, bucket: &str, key: &str, id: &str) -> Outcome<()> {
    find(tx, bucket, key, id)?;
    tx.run("DELETE FROM upload WHERE id = ?", [id])?;
    Ok(())
}

/// Joins the named parts into one version and forgets the upload.
pub(super) fn complete(
    tx: &Transaction<'_>,
    upload: Upload,
    completion: &Completion<'_>,
    now_ms: i64,
) -> Outcome<(Version, Versioning)> {
    let bucket = bucket::find(tx, &upload.bucket)?;
    let current = object::latest(tx, &bucket.name, &upload.key)?;
    object::check_write(current.as_ref(), completion.if_match, completion.if_none_match)?;
    let joined = join(tx, &upload, completion.parts)?;
    let n_parts = completion.parts.len();
    let sums = Sums::of_algorithm(upload.algorithm.as_deref())?;
    let sums = if upload.is_full_object {
        sums.over(&joined.bytes)
    } else {
        sums.over(&joined.sums).composite(n_parts)
    };
    if !completion.claimed.is_empty() && !completion.claimed.is_of_parts(&sums) {
        return Err(S3Error::with_message(
            S3ErrorCode::BadDigest,
            "The checksum you specified did not match the calculated checksum.",
        )
        .into());
    }
    if completion
        .size
        .is_some_and(|size| i64::try_from(joined.bytes.len()) != Ok(size))
    {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match what was computed.",
        )
        .into());
    }
    let new = New {
        key: &upload.key,
        bytes: &joined.bytes,
        etag: &format!("{}-{n_parts}", checksum::md5(&joined.digests)),
        facts: Facts { sums, ..upload.facts },
        lock: upload.lock,
    };
    let version = object::put(tx, &bucket, new, now_ms)?;
    tx.run("DELETE FROM upload WHERE id = ?", [upload.id])?;
    Ok((version, bucket.versioning))
}

/// The parts of an upload, one after the other.
#[derive(Default)]
struct Joined {
    bytes: Vec<u8>,
    digests: Vec<u8>,
    sums: Vec<u8>,
}

fn join(tx: &Transaction<'_>, upload: &Upload, named: &[CompletedPart]) -> Outcome<Joined> {
    if named.is_empty() {
        return Err(S3Error::new(S3ErrorCode::MalformedXML).into());
    }
    if !named.is_sorted_by(|one, next| one.part_number < next.part_number) {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidPartOrder,
            "The list of parts was not in ascending order.",
        )
        .into());
    }
    let stored = parts(tx, upload, 0, MAX_NUMBER)?;
    let mut joined = Joined::default();
    for (index, named_part) in named.iter().enumerate() {
        let number = named_part.part_number.unwrap_or(0);
        let is_named = |part: &&Part| named_part.e_tag.as_ref().is_some_and(|etag| etag.value() == part.etag);
        let part = stored.iter().find(|part| part.number == number).filter(is_named);
        let Some(part) = part else {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidPart,
                "One or more of the specified parts could not be found.",
            )
            .into());
        };
        if part.size < MIN_PART && index + 1 < named.len() {
            return Err(S3Error::with_message(
                S3ErrorCode::EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size",
            )
            .into());
        }
        let content: Vec<u8> = tx.row(
            "SELECT bytes FROM part WHERE upload = ? AND number = ?",
            params![upload.id, number],
            |row| row.get(0),
        )?;
        joined.digests.extend_from_slice(&Md5::checksum(&content));
        joined.sums.extend(part.sums.raw().into_iter().flatten());
        joined.bytes.extend_from_slice(&content);
    }
    Ok(joined)
}
