//! Aliases: names for keys that can be led to another key.

use rusqlite::params;
use serde_json::{Value, json};

use super::key::{Key, paged};
use super::{Call, seconds, validation};
use crate::aws::arn;
use crate::aws::error::AwsError;
use crate::aws::store::Prepared;

impl Call<'_> {
    pub(super) fn create_alias(mut self) -> Result<Value, AwsError> {
        let name = self.alias_name()?;
        let key = self.target()?;
        self.given.finish()?;
        let there = self.tx.run(
            "INSERT OR IGNORE INTO aliases (name, key, created_ms, updated_ms) VALUES (?1, ?2, ?3, ?3)",
            params![name, key.id, self.now_ms],
        )?;
        if there == 0 {
            let message = format!("An alias with the name {} already exists", arn::of("kms", &name));
            return Err(AwsError::bad_request("AlreadyExistsException", message));
        }
        Ok(json!({}))
    }

    /// Leads an alias to another key of the same kind and use.
    pub(super) fn update_alias(mut self) -> Result<Value, AwsError> {
        let name = self.alias_name()?;
        let key = self.target()?;
        self.given.finish()?;
        let old = Key::find(self.tx, &name)?;
        if old.spec != key.spec {
            return Err(validation("The new key must have the type and usage of the old one."));
        }
        self.tx.run(
            "UPDATE aliases SET key = ?2, updated_ms = ?3 WHERE name = ?1",
            params![name, key.id, self.now_ms],
        )?;
        Ok(json!({}))
    }

    pub(super) fn delete_alias(mut self) -> Result<Value, AwsError> {
        let name = self.alias_name()?;
        self.given.finish()?;
        Key::find(self.tx, &name)?;
        self.tx.run("DELETE FROM aliases WHERE name = ?1", [name])?;
        Ok(json!({}))
    }

    pub(super) fn list_aliases(mut self) -> Result<Value, AwsError> {
        let of: Option<String> = self.given.optional("KeyId")?;
        let (limit, marker) = self.page(50)?;
        self.given.finish()?;
        let of = of
            .map(|reference| Key::by_id(self.tx, &reference))
            .transpose()?
            .map(|key| key.id);
        let mut query = self.tx.prepare_cached(
            "SELECT name, key, created_ms, updated_ms FROM aliases \
             WHERE name > ?1 AND (?2 IS NULL OR key = ?2) ORDER BY name LIMIT ?3",
        )?;
        let rows = query.query_map(params![marker, of, limit + 1], |row| {
            let name: String = row.get(0)?;
            let entry = json!({
                "AliasName": name,
                "AliasArn": arn::of("kms", &name),
                "TargetKeyId": row.get::<_, String>(1)?,
                "CreationDate": seconds(row.get(2)?),
                "LastUpdatedDate": seconds(row.get(3)?),
            });
            Ok((name, entry))
        })?;
        Ok(paged("Aliases", rows.collect::<rusqlite::Result<_>>()?, limit))
    }

    fn alias_name(&mut self) -> Result<String, AwsError> {
        let name: String = self.given.required("AliasName")?;
        let rest = name.strip_prefix("alias/").unwrap_or_default();
        let is_valid = !rest.is_empty()
            && rest.len() <= 250
            && !rest.starts_with("aws/")
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte));
        if is_valid {
            return Ok(name);
        }
        Err(AwsError::bad_request(
            "InvalidAliasNameException",
            "The alias name is not valid.",
        ))
    }

    /// The key of an alias is named by id or ARN, not by another alias, and is not about to be deleted.
    fn target(&mut self) -> Result<Key, AwsError> {
        let reference: String = self.given.required("TargetKeyId")?;
        if reference.contains("alias/") {
            return Err(validation("TargetKeyId must not be an alias."));
        }
        Key::find(self.tx, &reference)?.not_pending()
    }
}
