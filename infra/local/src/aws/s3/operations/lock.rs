//! Operations on the lock of one version.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::super::lock::{self, Mode, Retention};
use super::super::object::{self, Version};
use super::super::reading::hold_name;
use super::super::{Outcome, Shelf, bucket, time};
use super::malformed;

impl Shelf {
    pub(super) async fn get_object_retention(
        &self,
        request: S3Request<GetObjectRetentionInput>,
    ) -> S3Result<S3Response<GetObjectRetentionOutput>> {
        let input = request.input;
        let version = self.change(|tx| lockable(tx, &input.bucket, &input.key, input.version_id.as_deref()))?;
        let retention = version.lock.retention.ok_or_else(no_lock)?;
        Ok(S3Response::new(GetObjectRetentionOutput {
            retention: Some(ObjectLockRetention {
                mode: Some(ObjectLockRetentionMode::from_static(retention.mode.as_str())),
                retain_until_date: Some(time::stamp(retention.until_ms)),
            }),
        }))
    }

    pub(super) async fn put_object_retention(
        &self,
        request: S3Request<PutObjectRetentionInput>,
    ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
        let input = request.input;
        let wanted = match input
            .retention
            .map(|retention| (retention.mode, retention.retain_until_date))
        {
            Some((Some(mode), Some(until))) => Some(Retention {
                mode: Mode::parse(mode.as_str()).map_err(|_| malformed())?,
                until_ms: time::millis(&until),
            }),
            // An empty element removes the retention.
            Some((None, None)) => None,
            _ => return Err(malformed()),
        };
        let bypass = input.bypass_governance_retention == Some(true);
        self.change(|tx| {
            let version = lockable(tx, &input.bucket, &input.key, input.version_id.as_deref())?;
            lock::check_change(version.lock.retention, wanted, bypass, self.clock.now_ms())?;
            let lock = lock::Lock {
                retention: wanted,
                ..version.lock
            };
            object::set_lock(tx, version.seq, lock)
        })?;
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    pub(super) async fn get_object_legal_hold(
        &self,
        request: S3Request<GetObjectLegalHoldInput>,
    ) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
        let input = request.input;
        let version = self.change(|tx| lockable(tx, &input.bucket, &input.key, input.version_id.as_deref()))?;
        let is_held = version.lock.legal_hold.ok_or_else(no_lock)?;
        Ok(S3Response::new(GetObjectLegalHoldOutput {
            legal_hold: Some(ObjectLockLegalHold {
                status: Some(hold_name(is_held)),
            }),
        }))
    }

    pub(super) async fn put_object_legal_hold(
        &self,
        request: S3Request<PutObjectLegalHoldInput>,
    ) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
        let input = request.input;
        let status = input.legal_hold.and_then(|hold| hold.status).ok_or_else(malformed)?;
        let legal_hold = Some(object::hold_status(&status)?);
        self.change(|tx| {
            let version = lockable(tx, &input.bucket, &input.key, input.version_id.as_deref())?;
            let lock = lock::Lock {
                legal_hold,
                ..version.lock
            };
            object::set_lock(tx, version.seq, lock)
        })?;
        Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
    }
}

/// The version that a lock operation means, in a bucket that has locks.
fn lockable(tx: &rusqlite::Transaction<'_>, bucket: &str, key: &str, id: Option<&str>) -> Outcome<Version> {
    bucket::check_lock(&bucket::find(tx, bucket)?)?;
    object::find(tx, bucket, key, id)
}

fn no_lock() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::NoSuchObjectLockConfiguration,
        "The specified object does not have a ObjectLock configuration",
    )
}
