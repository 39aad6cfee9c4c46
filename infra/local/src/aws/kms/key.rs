//! Keys: made, described, enabled, disabled, deleted in time; their policies, tags and rotation.

use rusqlite::{Row, Transaction, params};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::material::Spec;
use super::{Call, seconds, validation};
use crate::aws::arn;
use crate::aws::error::AwsError;
use crate::aws::random;
use crate::aws::store::{Prepared, maybe};

const DAY_MS: i64 = 86_400_000;
/// ScheduleKeyDeletion: 7 to 30 days, 30 if not given (KMS API Reference).
const WINDOW_DAYS: std::ops::RangeInclusive<i64> = 7..=30;
/// EnableKeyRotation: 90 to 2560 days, 365 if not given (KMS API Reference).
const ROTATION_DAYS: std::ops::RangeInclusive<i64> = 90..=2560;
/// The policy that KMS gives a key without one: the account's own policies decide.
const DEFAULT_POLICY: &str = r#"{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"kms:*","Resource":"*"}]}"#;

const COLUMNS: &str =
    "id, spec, description, policy, created_ms, is_enabled, delete_at_ms, rotation_days, rotation_since_ms, material";

/// A key's row.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) spec: Spec,
    description: String,
    policy: Option<String>,
    created_ms: i64,
    is_enabled: bool,
    delete_at_ms: Option<i64>,
    rotation_days: Option<i64>,
    rotation_since_ms: Option<i64>,
    pub(super) material: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Tag {
    tag_key: String,
    tag_value: String,
}

impl Key {
    /// The key that an id, ARN, alias name or alias ARN stands for.
    pub(super) fn find(tx: &Transaction<'_>, reference: &str) -> Result<Self, AwsError> {
        let name = reference.strip_prefix(&arn::of("kms", "")).unwrap_or(reference);
        let id = match name.strip_prefix("key/") {
            Some(id) if name.len() < reference.len() => Some(id.to_owned()),
            _ if name.starts_with("alias/") => {
                maybe(tx.row("SELECT key FROM aliases WHERE name = ?1", [name], |row| row.get(0)))?
            }
            _ => Some(name.to_owned()),
        };
        let missing = || {
            let what = if name.starts_with("alias/") { "Alias" } else { "Key" };
            AwsError::bad_request("NotFoundException", format!("{what} '{reference}' does not exist"))
        };
        let query = format!("SELECT {COLUMNS} FROM keys WHERE id = ?1");
        maybe(tx.row(&query, [id.ok_or_else(missing)?], Self::read))?.ok_or_else(missing)
    }

    /// The key that an id or ARN stands for.
    pub(super) fn by_id(tx: &Transaction<'_>, reference: &str) -> Result<Self, AwsError> {
        let name = reference.strip_prefix(&arn::of("kms", "")).unwrap_or(reference);
        if name.starts_with("alias/") {
            let message = format!("Invalid keyId '{reference}'");
            return Err(AwsError::bad_request("NotFoundException", message));
        }
        Self::find(tx, reference)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let spec: String = row.get("spec")?;
        Ok(Self {
            id: row.get("id")?,
            spec: Spec::parse(&spec).ok_or(rusqlite::Error::InvalidQuery)?,
            description: row.get("description")?,
            policy: row.get("policy")?,
            created_ms: row.get("created_ms")?,
            is_enabled: row.get("is_enabled")?,
            delete_at_ms: row.get("delete_at_ms")?,
            rotation_days: row.get("rotation_days")?,
            rotation_since_ms: row.get("rotation_since_ms")?,
            material: row.get("material")?,
        })
    }

    pub(super) fn arn(&self) -> String {
        arn::of("kms", &format!("key/{}", self.id))
    }

    const fn state(&self) -> &'static str {
        match (self.delete_at_ms, self.is_enabled) {
            (Some(_), _) => "PendingDeletion",
            (None, true) => "Enabled",
            (None, false) => "Disabled",
        }
    }

    /// The key, unless it is disabled or about to be deleted ("Key states of AWS KMS keys", Developer Guide).
    pub(super) fn enabled(self) -> Result<Self, AwsError> {
        let this = self.not_pending()?;
        if this.is_enabled {
            Ok(this)
        } else {
            Err(AwsError::bad_request(
                "DisabledException",
                format!("{} is disabled.", this.arn()),
            ))
        }
    }

    /// The key, unless it is about to be deleted.
    pub(super) fn not_pending(self) -> Result<Self, AwsError> {
        if self.delete_at_ms.is_none() {
            return Ok(self);
        }
        let message = format!("{} is pending deletion.", self.arn());
        Err(AwsError::bad_request("KMSInvalidStateException", message))
    }

    /// The key, if it is of a kind that the operation takes.
    pub(super) fn usable(self, usage: &str, operation: &str) -> Result<Self, AwsError> {
        let this = self.enabled()?;
        if this.spec.usage() == usage {
            return Ok(this);
        }
        let message = format!(
            "{} key usage is {} which is not valid for {operation}.",
            this.arn(),
            this.spec.usage()
        );
        Err(AwsError::bad_request("InvalidKeyUsageException", message))
    }

    fn metadata(&self) -> Value {
        let (list, algorithm) = self.spec.algorithms();
        let mut metadata = json!({
            "AWSAccountId": arn::ACCOUNT,
            "KeyId": self.id,
            "Arn": self.arn(),
            "CreationDate": seconds(self.created_ms),
            "Enabled": self.state() == "Enabled",
            "Description": self.description,
            "KeyUsage": self.spec.usage(),
            "KeyState": self.state(),
            "Origin": "AWS_KMS",
            "KeyManager": "CUSTOMER",
            "KeySpec": self.spec.as_str(),
            "CustomerMasterKeySpec": self.spec.as_str(),
            "MultiRegion": false,
            list: [algorithm],
        });
        if let (Some(at), Some(metadata)) = (self.delete_at_ms, metadata.as_object_mut()) {
            metadata.insert("DeletionDate".to_owned(), json!(seconds(at)));
        }
        metadata
    }
}

/// A key's tags, by name.
pub(super) fn tags(tx: &Transaction<'_>, id: &str) -> Result<Vec<(String, String)>, AwsError> {
    let mut query = tx.prepare_cached("SELECT name, value FROM tags WHERE key = ?1 ORDER BY name")?;
    let rows = query.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

impl Call<'_> {
    pub(super) fn create_key(mut self) -> Result<Value, AwsError> {
        let older: Option<String> = self.given.optional("CustomerMasterKeySpec")?;
        let spec = self
            .given
            .optional("KeySpec")?
            .or(older)
            .unwrap_or_else(|| Spec::Symmetric.as_str().to_owned());
        let spec = Spec::parse(&spec)
            .ok_or_else(|| AwsError::not_implemented(&format!("KMS CreateKey: KeySpec {}", named(&spec))))?;
        let usage: String = self
            .given
            .optional("KeyUsage")?
            .unwrap_or_else(|| "ENCRYPT_DECRYPT".to_owned());
        if usage != spec.usage() {
            return Err(validation(format!(
                "KeyUsage of a key of this KeySpec must be {}.",
                spec.usage()
            )));
        }
        let description: Option<String> = self.given.optional("Description")?;
        let policy: Option<String> = self.given.optional("Policy")?;
        policy.as_deref().map_or(Ok(()), check_policy)?;
        let tags: Vec<Tag> = self.given.optional("Tags")?.unwrap_or_default();
        self.given.optional::<bool>("BypassPolicyLockoutSafetyCheck")?;
        if self.given.optional::<bool>("MultiRegion")? == Some(true) {
            return Err(AwsError::not_implemented("KMS CreateKey: MultiRegion"));
        }
        if self
            .given
            .optional::<String>("Origin")?
            .is_some_and(|origin| origin != "AWS_KMS")
        {
            return Err(AwsError::not_implemented("KMS CreateKey: Origin other than AWS_KMS"));
        }
        self.given.finish()?;
        let key = Key {
            id: random::id()?,
            spec,
            description: description.unwrap_or_default(),
            policy,
            created_ms: self.now_ms,
            is_enabled: true,
            delete_at_ms: None,
            rotation_days: None,
            rotation_since_ms: None,
            material: spec.generate()?,
        };
        self.tx.run(
            "INSERT INTO keys (id, spec, description, policy, created_ms, is_enabled, material) \
             VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)",
            params![
                key.id,
                key.spec.as_str(),
                key.description,
                key.policy,
                key.created_ms,
                key.material
            ],
        )?;
        put_tags(self.tx, &key.id, &tags)?;
        Ok(json!({ "KeyMetadata": key.metadata() }))
    }

    pub(super) fn describe_key(mut self) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?;
        self.given.finish()?;
        Ok(json!({ "KeyMetadata": key.metadata() }))
    }

    pub(super) fn list_keys(mut self) -> Result<Value, AwsError> {
        let (limit, marker) = self.page(1000)?;
        self.given.finish()?;
        let mut query = self
            .tx
            .prepare_cached("SELECT id FROM keys WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let ids = query.query_map(params![marker, limit + 1], |row| row.get::<_, String>(0))?;
        let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
        let keys = ids.into_iter().map(|id| {
            let arn = arn::of("kms", &format!("key/{id}"));
            (id.clone(), json!({ "KeyId": id, "KeyArn": arn }))
        });
        Ok(paged("Keys", keys.collect(), limit))
    }

    pub(super) fn set_enabled(mut self, is_enabled: bool) -> Result<Value, AwsError> {
        let key = self.itself()?.not_pending()?;
        self.given.finish()?;
        self.tx.run(
            "UPDATE keys SET is_enabled = ?2 WHERE id = ?1",
            params![key.id, is_enabled],
        )?;
        Ok(json!({}))
    }

    pub(super) fn schedule_deletion(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?.not_pending()?;
        let days = self
            .given
            .optional("PendingWindowInDays")?
            .unwrap_or(*WINDOW_DAYS.end());
        self.given.finish()?;
        if !WINDOW_DAYS.contains(&days) {
            return Err(validation("PendingWindowInDays must be between 7 and 30."));
        }
        let at = self.now_ms.saturating_add(days * DAY_MS);
        self.tx
            .run("UPDATE keys SET delete_at_ms = ?2 WHERE id = ?1", params![key.id, at])?;
        Ok(json!({
            "KeyId": key.arn(), "DeletionDate": seconds(at), "KeyState": "PendingDeletion", "PendingWindowInDays": days
        }))
    }

    pub(super) fn cancel_deletion(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?;
        self.given.finish()?;
        if key.delete_at_ms.is_none() {
            let message = format!("{} is not pending deletion.", key.arn());
            return Err(AwsError::bad_request("KMSInvalidStateException", message));
        }
        self.tx.run(
            "UPDATE keys SET delete_at_ms = NULL, is_enabled = 0 WHERE id = ?1",
            [&key.id],
        )?;
        Ok(json!({ "KeyId": key.arn() }))
    }

    pub(super) fn update_description(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?.not_pending()?;
        let description: String = self.given.required("Description")?;
        self.given.finish()?;
        self.tx.run(
            "UPDATE keys SET description = ?2 WHERE id = ?1",
            params![key.id, description],
        )?;
        Ok(json!({}))
    }

    pub(super) fn put_policy(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?.not_pending()?;
        let policy: String = self.given.required("Policy")?;
        self.policy_name()?;
        self.given.optional::<bool>("BypassPolicyLockoutSafetyCheck")?;
        self.given.finish()?;
        check_policy(&policy)?;
        self.tx
            .run("UPDATE keys SET policy = ?2 WHERE id = ?1", params![key.id, policy])?;
        Ok(json!({}))
    }

    pub(super) fn get_policy(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?;
        self.policy_name()?;
        self.given.finish()?;
        Ok(json!({ "Policy": key.policy.as_deref().unwrap_or(DEFAULT_POLICY), "PolicyName": "default" }))
    }

    pub(super) fn enable_rotation(mut self) -> Result<Value, AwsError> {
        let key = self.rotatable()?.enabled()?;
        let days = self.given.optional("RotationPeriodInDays")?.unwrap_or(365);
        self.given.finish()?;
        if !ROTATION_DAYS.contains(&days) {
            return Err(validation("RotationPeriodInDays must be between 90 and 2560."));
        }
        self.tx.run(
            "UPDATE keys SET rotation_days = ?2, rotation_since_ms = ?3 WHERE id = ?1",
            params![key.id, days, self.now_ms],
        )?;
        Ok(json!({}))
    }

    pub(super) fn disable_rotation(mut self) -> Result<Value, AwsError> {
        let key = self.rotatable()?.enabled()?;
        self.given.finish()?;
        self.tx.run(
            "UPDATE keys SET rotation_days = NULL, rotation_since_ms = NULL WHERE id = ?1",
            [&key.id],
        )?;
        Ok(json!({}))
    }

    pub(super) fn rotation_status(mut self) -> Result<Value, AwsError> {
        let key = self.rotatable()?;
        self.given.finish()?;
        // A key that is about to be deleted does not rotate, and does so again when it is not deleted (GetKeyRotationStatus,
        // KMS API Reference).
        let is_pending = key.delete_at_ms.is_some();
        let is_on = key.rotation_days.is_some() && !is_pending;
        let mut status = json!({ "KeyId": key.arn(), "KeyRotationEnabled": is_on });
        if is_pending {
            return Ok(status);
        }
        if let (Some(days), Some(since), Some(status)) =
            (key.rotation_days, key.rotation_since_ms, status.as_object_mut())
        {
            let period = days * DAY_MS;
            let next = since + ((self.now_ms - since).max(0) / period + 1) * period;
            status.insert("RotationPeriodInDays".to_owned(), json!(days));
            status.insert("NextRotationDate".to_owned(), json!(seconds(next)));
        }
        Ok(status)
    }

    pub(super) fn tag(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?.not_pending()?;
        let tags: Vec<Tag> = self.given.required("Tags")?;
        self.given.finish()?;
        put_tags(self.tx, &key.id, &tags)?;
        Ok(json!({}))
    }

    pub(super) fn untag(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?.not_pending()?;
        let names: Vec<String> = self.given.required("TagKeys")?;
        self.given.finish()?;
        for name in names {
            self.tx
                .run("DELETE FROM tags WHERE key = ?1 AND name = ?2", params![key.id, name])?;
        }
        Ok(json!({}))
    }

    pub(super) fn list_tags(mut self) -> Result<Value, AwsError> {
        let key = self.itself()?;
        let (limit, marker) = self.page(50)?;
        self.given.finish()?;
        let tags = tags(self.tx, &key.id)?.into_iter().filter(|(name, _)| *name > marker);
        let tags = tags.map(|(name, value)| (name.clone(), json!({ "TagKey": name, "TagValue": value })));
        Ok(paged("Tags", tags.collect(), limit))
    }

    /// Only symmetric keys rotate.
    fn rotatable(&mut self) -> Result<Key, AwsError> {
        let key = self.itself()?;
        if key.spec == Spec::Symmetric {
            return Ok(key);
        }
        let message = format!("{} is not a symmetric encryption key.", key.arn());
        Err(AwsError::bad_request("UnsupportedOperationException", message))
    }

    fn policy_name(&mut self) -> Result<(), AwsError> {
        match self.given.optional::<String>("PolicyName")?.as_deref() {
            None | Some("default") => Ok(()),
            Some(_) => Err(AwsError::bad_request(
                "NotFoundException",
                "The only policy name is default.",
            )),
        }
    }

    /// How many entries a page has, and after which one it starts.
    pub(super) fn page(&mut self, most: usize) -> Result<(usize, String), AwsError> {
        let limit = self.given.optional("Limit")?.unwrap_or(most);
        if limit == 0 || limit > 1000 {
            return Err(validation("Limit must be between 1 and 1000."));
        }
        Ok((limit, self.given.optional("Marker")?.unwrap_or_default()))
    }
}

/// A page from entries with their markers, of which there may be one too many.
pub(super) fn paged(name: &str, mut entries: Vec<(String, Value)>, limit: usize) -> Value {
    let is_truncated = entries.len() > limit;
    entries.truncate(limit);
    let marker = entries
        .last()
        .map(|(marker, _)| marker.clone())
        .filter(|_| is_truncated);
    let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
    let mut page = json!({ name: entries, "Truncated": is_truncated });
    if let (Some(marker), Some(page)) = (marker, page.as_object_mut()) {
        page.insert("NextMarker".to_owned(), json!(marker));
    }
    page
}

/// A policy has to be JSON; what it says is not looked at.
fn check_policy(policy: &str) -> Result<(), AwsError> {
    let parsed = serde_json::from_str::<Map<String, Value>>(policy);
    parsed
        .map(|_| ())
        .map_err(|_| AwsError::bad_request("MalformedPolicyDocumentException", "The policy is not a JSON object."))
}

fn put_tags(tx: &Transaction<'_>, id: &str, tags: &[Tag]) -> Result<(), AwsError> {
    if let Some(reserved) = tags
        .iter()
        .find(|tag| tag.tag_key.is_empty() || tag.tag_key.starts_with("aws:"))
    {
        let length = reserved.tag_key.len();
        return Err(AwsError::bad_request(
            "TagException",
            format!("A tag key of {length} characters is not allowed."),
        ));
    }
    for Tag { tag_key, tag_value } in tags {
        tx.run(
            "INSERT OR REPLACE INTO tags (key, name, value) VALUES (?1, ?2, ?3)",
            params![id, tag_key, tag_value],
        )?;
    }
    Ok(())
}

/// A value that looks like one of AWS's own names, and so may be repeated in a message.
fn named(value: &str) -> &str {
    let is_name = value.len() <= 32
        && value
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if is_name { value } else { "of this value" }
}
