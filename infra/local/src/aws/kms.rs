//! KMS: keys that never leave, by AWS's rules of state, usage and encryption context.
//!
//! A ciphertext names its key and is bound to its encryption context; whatever is changed in it is noticed. A key whose
//! deletion is due is gone with its material at the first call after that time. Rotation is recorded only: no
//! caller can tell the versions of a key's material apart. Grants, dry runs, imported material, multi-Region keys and custom key
//! stores are not implemented. Key policies are recorded and not applied: roles are held to their own policies alone.

mod alias;
mod key;
mod material;
mod operation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Transaction, params};
use sealpost_core::clock::Clock;
use serde_json::Value;

use super::error::AwsError;
use super::parameters::Parameters;
use super::store::{Prepared, Store};
use key::Key;

const SCHEMA: &str = "
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS service (secret BLOB NOT NULL);
INSERT INTO service SELECT randomblob(32) WHERE NOT EXISTS (SELECT 1 FROM service);
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, spec TEXT NOT NULL, description TEXT NOT NULL, policy TEXT,
    created_ms INTEGER NOT NULL, is_enabled INTEGER NOT NULL, delete_at_ms INTEGER,
    rotation_days INTEGER, rotation_since_ms INTEGER, material BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS aliases (
    name TEXT PRIMARY KEY, key TEXT NOT NULL REFERENCES keys ON DELETE CASCADE,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tags (
    key TEXT NOT NULL REFERENCES keys ON DELETE CASCADE, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (key, name));
";

/// Keys.
pub struct Kms {
    store: Store,
    clock: Clock,
}

/// A key as policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) arn: String,
    pub(crate) tags: BTreeMap<String, String>,
}

/// One call at work: its transaction, its time and what was asked.
struct Call<'a> {
    tx: &'a Transaction<'a>,
    now_ms: i64,
    given: Parameters,
}

impl Kms {
    /// Opens the service's file, or memory for `None`.
    ///
    /// # Errors
    /// What SQLite answers when the file cannot be opened.
    pub fn open(path: Option<&Path>, clock: Clock) -> rusqlite::Result<Self> {
        Ok(Self {
            store: Store::open(path, SCHEMA)?,
            clock,
        })
    }

    /// Answers one operation, named as in the API reference without the `TrentService.` prefix.
    ///
    /// # Errors
    /// What KMS answers; NotImplemented with the name of an operation or parameter that is not done here.
    pub async fn call(&self, operation: &str, body: Value) -> Result<Value, AwsError> {
        let given = Parameters::new("KMS", operation, body)?;
        let now_ms = self.clock.now_ms();
        // In a transaction of its own, since one that ends in a refusal leaves nothing behind.
        self.store.change(|tx| forget_deleted(tx, now_ms))?;
        self.store.change(|tx| {
            let call = Call { tx, now_ms, given };
            match operation {
                "CreateKey" => call.create_key(),
                "DescribeKey" => call.describe_key(),
                "ListKeys" => call.list_keys(),
                "EnableKey" => call.set_enabled(true),
                "DisableKey" => call.set_enabled(false),
                "ScheduleKeyDeletion" => call.schedule_deletion(),
                "CancelKeyDeletion" => call.cancel_deletion(),
                "UpdateKeyDescription" => call.update_description(),
                "PutKeyPolicy" => call.put_policy(),
                "GetKeyPolicy" => call.get_policy(),
                "EnableKeyRotation" => call.enable_rotation(),
                "DisableKeyRotation" => call.disable_rotation(),
                "GetKeyRotationStatus" => call.rotation_status(),
                "TagResource" => call.tag(),
                "UntagResource" => call.untag(),
                "ListResourceTags" => call.list_tags(),
                "CreateAlias" => call.create_alias(),
                "UpdateAlias" => call.update_alias(),
                "DeleteAlias" => call.delete_alias(),
                "ListAliases" => call.list_aliases(),
                "GenerateRandom" => call.generate_random(),
                "GenerateDataKey" => call.generate_data_key(true),
                "GenerateDataKeyWithoutPlaintext" => call.generate_data_key(false),
                "Encrypt" => call.encrypt(),
                "Decrypt" => call.decrypt(),
                "ReEncrypt" => call.re_encrypt(),
                "Sign" => call.sign(),
                "Verify" => call.verify(),
                "GetPublicKey" => call.get_public_key(),
                "GenerateMac" => call.generate_mac(),
                "VerifyMac" => call.verify_mac(),
                other => Err(AwsError::not_implemented(&format!("KMS {other}"))),
            }
        })
    }

    /// The key that an id, ARN, alias name or alias ARN stands for.
    pub(crate) fn locate(&self, reference: &str) -> Option<Located> {
        let found: Result<Located, AwsError> = self.store.change(|tx| {
            let key = Key::find(tx, reference)?;
            Ok(Located {
                arn: key.arn(),
                tags: key::tags(tx, &key.id)?.into_iter().collect(),
            })
        });
        found.ok()
    }

    /// Whether a service may encrypt and decrypt with a key now; the refusal is KMS's own.
    ///
    /// # Errors
    /// NotFoundException, DisabledException, KMSInvalidStateException or InvalidKeyUsageException.
    pub(crate) fn serves(&self, reference: &str) -> Result<(), AwsError> {
        // A key that AWS manages is made when it is first used, and nobody can disable or delete it.
        let name = reference.strip_prefix(&super::arn::of("kms", "")).unwrap_or(reference);
        if name.starts_with("alias/aws/") {
            return Ok(());
        }
        self.store.change(|tx| forget_deleted(tx, self.clock.now_ms()))?;
        self.store.change(|tx| {
            Key::find(tx, reference)?.usable("ENCRYPT_DECRYPT", "GenerateDataKey")?;
            Ok(())
        })
    }

    /// The id of the key that a ciphertext names.
    pub(crate) fn key_of(&self, ciphertext: &[u8]) -> Option<String> {
        let read: Result<String, AwsError> = self
            .store
            .change(|tx| Ok(material::Header::read(&secret(tx)?, ciphertext)?.key_id()));
        read.ok()
    }
}

impl Call<'_> {
    /// Takes a key from a parameter, by any of its names.
    fn key(&mut self, name: &str) -> Result<Key, AwsError> {
        let reference: String = self.given.required(name)?;
        Key::find(self.tx, &reference)
    }

    /// Takes a key from `KeyId` for an operation on the key itself, which takes its id or ARN and no alias (`KeyId` of each in
    /// the KMS API Reference).
    fn itself(&mut self) -> Result<Key, AwsError> {
        let reference: String = self.given.required("KeyId")?;
        Key::by_id(self.tx, &reference)
    }
}

/// Removes the keys whose deletion is due, with their aliases and tags.
fn forget_deleted(tx: &Transaction<'_>, now_ms: i64) -> Result<(), AwsError> {
    tx.run("DELETE FROM keys WHERE delete_at_ms <= ?1", params![now_ms])?;
    Ok(())
}

/// The secret under which ciphertexts say truly which key they are under.
fn secret(tx: &Transaction<'_>) -> Result<Vec<u8>, AwsError> {
    Ok(tx.row("SELECT secret FROM service", [], |row| row.get(0))?)
}

fn validation(message: impl Into<String>) -> AwsError {
    AwsError::bad_request("ValidationException", message)
}

/// Milliseconds as the JSON protocol writes a time: seconds with a fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of our age are far below 2^53")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
