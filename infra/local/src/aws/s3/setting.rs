//! Settings of a bucket that are kept and given back. Only default encryption has an effect: its names appear on objects.

use rusqlite::{OptionalExtension, Transaction, params};
use s3s::dto::ServerSideEncryptionConfiguration;
use s3s::{S3Error, S3ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Outcome, bucket};
use crate::aws::store::Prepared;

/// A setting's name in the table.
#[derive(Clone, Copy)]
pub(super) enum Setting {
    Encryption,
    Policy,
    PublicAccessBlock,
    Tagging,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Self::Encryption => "encryption",
            Self::Policy => "policy",
            Self::PublicAccessBlock => "public-access-block",
            Self::Tagging => "tagging",
        }
    }

    fn absent(self) -> S3Error {
        let (code, message) = match self {
            Self::Encryption => (
                S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError,
                "The server side encryption configuration was not found",
            ),
            Self::Policy => (S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist"),
            Self::PublicAccessBlock => (
                S3ErrorCode::Custom("NoSuchPublicAccessBlockConfiguration".into()),
                "The public access block configuration was not found",
            ),
            Self::Tagging => (S3ErrorCode::NoSuchTagSet, "The TagSet does not exist"),
        };
        let mut error = S3Error::with_message(code, message);
        error.set_status_code(http::StatusCode::NOT_FOUND);
        error
    }
}

/// Replaces a setting of an existing bucket.
pub(super) fn put(tx: &Transaction<'_>, name: &str, setting: Setting, value: &impl Serialize) -> Outcome<()> {
    bucket::find(tx, name)?;
    tx.run(
        "INSERT INTO setting (bucket, name, value) VALUES (?, ?, ?)
         ON CONFLICT (bucket, name) DO UPDATE SET value = excluded.value",
        params![name, setting.name(), serde_json::to_string(value)?],
    )?;
    Ok(())
}

/// A setting, or the refusal that AWS has for its absence.
pub(super) fn get<T: DeserializeOwned>(tx: &Transaction<'_>, name: &str, setting: Setting) -> Outcome<T> {
    bucket::find(tx, name)?;
    Ok(find(tx, name, setting)?.ok_or_else(|| setting.absent())?)
}

/// Removes a setting, which need not be there.
pub(super) fn delete(tx: &Transaction<'_>, name: &str, setting: Setting) -> Outcome<()> {
    bucket::find(tx, name)?;
    tx.run(
        "DELETE FROM setting WHERE bucket = ? AND name = ?",
        params![name, setting.name()],
    )?;
    Ok(())
}

/// Algorithm and key that an object gets when its put names none: the bucket's, else AES256 as on AWS since 2023.
pub(super) fn default_encryption(tx: &Transaction<'_>, name: &str) -> Outcome<(String, Option<String>, Option<bool>)> {
    let configuration: Option<ServerSideEncryptionConfiguration> = find(tx, name, Setting::Encryption)?;
    let rule = configuration.and_then(|configuration| configuration.rules.into_iter().next());
    let bucket_key = rule.as_ref().and_then(|rule| rule.bucket_key_enabled);
    Ok(
        match rule.and_then(|rule| rule.apply_server_side_encryption_by_default) {
            Some(default) => (
                default.sse_algorithm.as_str().to_owned(),
                default.kms_master_key_id,
                bucket_key,
            ),
            None => ("AES256".to_owned(), None, None),
        },
    )
}

fn find<T: DeserializeOwned>(tx: &Transaction<'_>, name: &str, setting: Setting) -> Outcome<Option<T>> {
    let value: Option<String> = tx
        .row(
            "SELECT value FROM setting WHERE bucket = ? AND name = ?",
            params![name, setting.name()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(value.map(|value| serde_json::from_str(&value)).transpose()?)
}
