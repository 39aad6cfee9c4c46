//! Buckets: creation, deletion, versioning, and the bucket's side of Object Lock.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use s3s::dto::{self, BucketVersioningStatus, ObjectLockConfiguration};
use s3s::{S3Error, S3ErrorCode};
use serde::{Deserialize, Serialize};

use super::lock::{Mode, Retention};
use super::{Outcome, object};
use crate::aws::store::Prepared;

/// Whether puts overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versioning {
    /// Never switched on: one version a key, which a put overwrites.
    Off,
    /// Every put makes a version.
    Enabled,
    /// Puts overwrite the version that has no id, and leave the others.
    Suspended,
}

/// A bucket.
pub(super) struct Bucket {
    pub name: String,
    pub created_ms: i64,
    pub versioning: Versioning,
    pub has_lock: bool,
    pub default_retention: Option<DefaultRetention>,
}

/// The retention that a put without one gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DefaultRetention {
    mode: String,
    days: Option<i32>,
    years: Option<i32>,
}

impl Versioning {
    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "Off",
            Self::Enabled => BucketVersioningStatus::ENABLED,
            Self::Suspended => BucketVersioningStatus::SUSPENDED,
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            BucketVersioningStatus::ENABLED => Self::Enabled,
            BucketVersioningStatus::SUSPENDED => Self::Suspended,
            _ => Self::Off,
        }
    }

    /// What `GetBucketVersioning` answers; nothing where versioning was never switched on.
    pub(super) fn status(self) -> Option<BucketVersioningStatus> {
        (self != Self::Off).then(|| BucketVersioningStatus::from_static(self.as_str()))
    }
}

impl DefaultRetention {
    /// The retention of a version put at `now`.
    pub(super) fn retention(&self, now: jiff::Timestamp) -> Outcome<Retention> {
        let mode = Mode::parse(&self.mode)?;
        let span = jiff::Span::new()
            .try_days(self.days.unwrap_or(0))
            .and_then(|span| span.try_years(self.years.unwrap_or(0)));
        let until = span.and_then(|span| now.to_zoned_datetime(jiff::tz::TimeZone::UTC).checked_add(span));
        let until = until.map_err(S3Error::internal_error)?;
        Ok(Retention {
            mode,
            until_ms: until.timestamp().as_millisecond(),
        })
    }
}

/// Creates the bucket. Its owner may create it again, which changes nothing: us-east-1 answers so, other regions refuse
/// (CreateBucket, "BucketAlreadyOwnedByYou").
pub(super) fn create(tx: &Transaction<'_>, name: &str, has_lock: bool, now_ms: i64) -> Outcome<()> {
    let versioning = if has_lock { Versioning::Enabled } else { Versioning::Off };
    tx.run(
        "INSERT INTO bucket (name, created_ms, versioning, has_lock) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        params![name, now_ms, versioning.as_str(), has_lock],
    )?;
    Ok(())
}

/// The bucket, or NoSuchBucket.
pub(super) fn find(tx: &Transaction<'_>, name: &str) -> Outcome<Bucket> {
    let bucket = tx
        .row(
            "SELECT name, created_ms, versioning, has_lock, default_retention FROM bucket WHERE name = ?",
            [name],
            read,
        )
        .optional()?;
    Ok(
        bucket
            .ok_or_else(|| S3Error::with_message(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist"))?,
    )
}

/// Every bucket, by name.
pub(super) fn list(tx: &Transaction<'_>) -> Outcome<Vec<Bucket>> {
    let mut statement = tx
        .prepare_cached("SELECT name, created_ms, versioning, has_lock, default_retention FROM bucket ORDER BY name")?;
    let buckets = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    Ok(buckets)
}

/// Deletes a bucket that holds neither a version nor a delete marker.
pub(super) fn delete(tx: &Transaction<'_>, name: &str) -> Outcome<()> {
    find(tx, name)?;
    let is_used: bool = tx.row(
        "SELECT EXISTS (SELECT 1 FROM version WHERE bucket = ?)",
        [name],
        |row| row.get(0),
    )?;
    if is_used {
        return Err(S3Error::with_message(
            S3ErrorCode::BucketNotEmpty,
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        )
        .into());
    }
    tx.run("DELETE FROM bucket WHERE name = ?", [name])?;
    Ok(())
}

/// Switches versioning on or suspends it; under Object Lock it stays on.
pub(super) fn set_versioning(tx: &Transaction<'_>, name: &str, status: Option<&BucketVersioningStatus>) -> Outcome<()> {
    let bucket = find(tx, name)?;
    let versioning = match status.map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        _ => return Err(S3Error::new(S3ErrorCode::MalformedXML).into()),
    };
    if bucket.has_lock && versioning != Versioning::Enabled {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidBucketState,
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
        )
        .into());
    }
    tx.run(
        "UPDATE bucket SET versioning = ? WHERE name = ?",
        params![versioning.as_str(), name],
    )?;
    Ok(())
}

/// Switches Object Lock on, for good, and sets or clears the default retention.
pub(super) fn set_lock(tx: &Transaction<'_>, name: &str, configuration: ObjectLockConfiguration) -> Outcome<()> {
    let bucket = find(tx, name)?;
    if configuration
        .object_lock_enabled
        .as_ref()
        .map(|enabled| enabled.as_str())
        != Some("Enabled")
    {
        return Err(S3Error::new(S3ErrorCode::MalformedXML).into());
    }
    if bucket.versioning != Versioning::Enabled {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidBucketState,
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        )
        .into());
    }
    let default = match configuration.rule.and_then(|rule| rule.default_retention) {
        Some(default) => Some(serde_json::to_string(&check_default(default)?)?),
        None => None,
    };
    tx.run(
        "UPDATE bucket SET has_lock = 1, default_retention = ? WHERE name = ?",
        params![default, name],
    )?;
    Ok(())
}

/// What `GetObjectLockConfiguration` answers.
pub(super) fn lock_configuration(bucket: Bucket) -> Outcome<ObjectLockConfiguration> {
    if !bucket.has_lock {
        return Err(S3Error::with_message(
            S3ErrorCode::ObjectLockConfigurationNotFoundError,
            "Object Lock configuration does not exist for this bucket",
        )
        .into());
    }
    let rule = bucket.default_retention.map(|default| dto::ObjectLockRule {
        default_retention: Some(dto::DefaultRetention {
            days: default.days,
            years: default.years,
            mode: Some(dto::ObjectLockRetentionMode::from(default.mode)),
        }),
    });
    Ok(ObjectLockConfiguration {
        object_lock_enabled: Some(dto::ObjectLockEnabled::from_static("Enabled")),
        rule,
    })
}

/// Locks on versions need a bucket with Object Lock.
pub(super) fn check_lock(bucket: &Bucket) -> Outcome<()> {
    if bucket.has_lock {
        return Ok(());
    }
    Err(S3Error::with_message(
        S3ErrorCode::InvalidRequest,
        "Bucket is missing Object Lock Configuration",
    )
    .into())
}

fn check_default(default: dto::DefaultRetention) -> Outcome<DefaultRetention> {
    let mode = default.mode.ok_or_else(|| S3Error::new(S3ErrorCode::MalformedXML))?;
    let mode = Mode::parse(mode.as_str())?;
    let period = match (default.days, default.years) {
        (Some(period), None) | (None, Some(period)) => period,
        _ => return Err(S3Error::new(S3ErrorCode::MalformedXML).into()),
    };
    // 36,500 days and 100 years are AWS's maximum (PutObjectLockConfiguration, "DefaultRetention").
    let max = if default.days.is_some() { 36_500 } else { 100 };
    if period <= 0 || period > max {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidArgument,
            "Default retention period must be a positive integer value within the maximum.",
        )
        .into());
    }
    Ok(DefaultRetention {
        mode: mode.as_str().to_owned(),
        days: default.days,
        years: default.years,
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Bucket> {
    let versioning: String = row.get(2)?;
    let has_default = row.get_ref(4)? != rusqlite::types::ValueRef::Null;
    Ok(Bucket {
        name: row.get(0)?,
        created_ms: row.get(1)?,
        versioning: Versioning::parse(&versioning),
        has_lock: row.get(3)?,
        default_retention: if has_default { Some(object::json(row, 4)?) } else { None },
    })
}
