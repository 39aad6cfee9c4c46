//! Queues: made, described, changed, emptied, deleted; their tags.

use std::collections::BTreeMap;

use http::StatusCode;
use rusqlite::{Row, Transaction, params};
use serde_json::{Value, json};

use super::attributes::{self, Attributes, READ_ONLY, Redrive};
use super::{Call, forget_expired, invalid};
use crate::aws::arn::{self, is_name};
use crate::aws::error::AwsError;
use crate::aws::kms::Kms;
use crate::aws::store::{Prepared, maybe};

/// The longest name of a queue (CreateQueue, SQS API Reference).
const LONGEST_NAME: usize = 80;
/// A queue can be purged once a minute (SQS API Reference).
const PURGE_MS: i64 = 60_000;

/// A queue's row.
pub(super) struct Queue {
    pub(super) name: String,
    /// What was set.
    pub(super) attributes: Attributes,
    tags: BTreeMap<String, String>,
    created_ms: i64,
    modified_ms: i64,
    purged_ms: Option<i64>,
}

impl Queue {
    pub(super) fn find(tx: &Transaction<'_>, name: &str) -> Result<Self, AwsError> {
        let found = maybe(tx.row("SELECT * FROM queues WHERE name = ?1", [name], Self::read))?;
        found.ok_or_else(missing)
    }

    /// The queue that a URL names. Only the path counts, `/account/name`, since the host is the client's business.
    pub(super) fn at(tx: &Transaction<'_>, url: &str) -> Result<Self, AwsError> {
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let Some((account, name)) = path.and_then(|(_, path)| path.split_once('/')) else {
            return Err(AwsError::new(
                StatusCode::NOT_FOUND,
                "InvalidAddress",
                "The address is not valid for this endpoint.",
            ));
        };
        if account == arn::ACCOUNT {
            Self::find(tx, name)
        } else {
            Err(missing())
        }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let map = |column: &str| -> rusqlite::Result<BTreeMap<String, String>> {
            let text: String = row.get(column)?;
            serde_json::from_str(&text).map_err(|_| rusqlite::Error::InvalidQuery)
        };
        Ok(Self {
            name: row.get("name")?,
            attributes: map("attributes")?,
            tags: map("tags")?,
            created_ms: row.get("created_ms")?,
            modified_ms: row.get("modified_ms")?,
            purged_ms: row.get("purged_ms")?,
        })
    }

    fn write(&self, tx: &Transaction<'_>) -> Result<(), AwsError> {
        tx.run(
            "INSERT INTO queues (name, attributes, tags, created_ms, modified_ms, purged_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE SET \
             attributes = ?2, tags = ?3, modified_ms = ?5, purged_ms = ?6",
            params![
                self.name,
                json!(self.attributes).to_string(),
                json!(self.tags).to_string(),
                self.created_ms,
                self.modified_ms,
                self.purged_ms
            ],
        )?;
        Ok(())
    }

    pub(super) fn arn(&self) -> String {
        arn::of("sqs", &self.name)
    }

    /// A number among the attributes, set or not.
    pub(super) fn number(&self, name: &str) -> i64 {
        let set = self.attributes.get(name).and_then(|value| value.parse().ok());
        set.or_else(|| attributes::default(name)).unwrap_or_default()
    }

    /// Refuses what needs the key of an encrypted queue when the key cannot be used ("Errors" of SendMessage and
    /// ReceiveMessage, SQS API Reference).
    pub(super) fn check_key(&self, kms: &Kms) -> Result<(), AwsError> {
        let Some(key) = self.attributes.get("KmsMasterKeyId") else {
            return Ok(());
        };
        kms.serves(key).map_err(|refusal| AwsError {
            code: match refusal.code.as_str() {
                "NotFoundException" => "KmsNotFound".to_owned(),
                "DisabledException" => "KmsDisabled".to_owned(),
                "KMSInvalidStateException" => "KmsInvalidState".to_owned(),
                "InvalidKeyUsageException" => "KmsInvalidKeyUsage".to_owned(),
                _ => return refusal,
            },
            ..refusal
        })
    }

    /// Where a message goes that was received too often, and how often that is.
    pub(super) fn redrive(&self) -> Result<Option<Redrive>, AwsError> {
        self.attributes
            .get("RedrivePolicy")
            .map(|policy| attributes::redrive(policy))
            .transpose()
    }
}

fn missing() -> AwsError {
    AwsError::bad_request("QueueDoesNotExist", "The specified queue does not exist.")
}

/// Whether some queue sends what was received too often to the queue of this ARN.
pub(super) fn is_dead_letter_queue(tx: &Transaction<'_>, arn: &str) -> Result<bool, AwsError> {
    let mut query = tx.prepare_cached("SELECT * FROM queues")?;
    for queue in query.query_map([], Queue::read)? {
        if queue?.redrive()?.is_some_and(|redrive| redrive.target_arn == arn) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A queue's URL.
pub(super) fn url(name: &str) -> String {
    format!("http://sqs.{}.localhost/{}/{name}", arn::REGION, arn::ACCOUNT)
}

/// The name in a queue's ARN.
pub(super) fn name_in(arn: &str) -> Result<&str, AwsError> {
    arn.strip_prefix(&arn::of("sqs", ""))
        .ok_or_else(|| invalid("The ARN is not one of a queue in this account."))
}

impl Call<'_> {
    /// The queue that `QueueUrl` names.
    pub(super) fn queue(&mut self) -> Result<Queue, AwsError> {
        let url: String = self.given.required("QueueUrl")?;
        Queue::at(self.tx, &url)
    }

    /// Makes a queue; one that is there with the same attributes is as good.
    pub(super) fn create_queue(mut self) -> Result<Value, AwsError> {
        let name: String = self.given.required("QueueName")?;
        let set: Attributes = self.given.optional("Attributes")?.unwrap_or_default();
        let tags = self.given.optional("tags")?.unwrap_or_default();
        self.given.finish()?;
        if name.ends_with(".fifo") {
            return Err(AwsError::not_implemented("SQS CreateQueue: FIFO queues"));
        }
        if !is_name(&name, LONGEST_NAME) {
            return Err(invalid(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
            ));
        }
        attributes::check(&set)?;
        self.check_redrive(&set)?;
        let there = maybe(
            self.tx
                .row("SELECT * FROM queues WHERE name = ?1", [&name], Queue::read),
        )?;
        if let Some(there) = there {
            let old = attributes::effective(&there.attributes);
            if set.iter().any(|(name, value)| !same(name, old.get(name), value)) {
                let message = "A queue already exists with the same name and a different value for an attribute";
                return Err(AwsError::bad_request("QueueNameExists", message));
            }
            return Ok(json!({ "QueueUrl": url(&name) }));
        }
        let (created_ms, modified_ms) = (self.now_ms, self.now_ms);
        let attributes = set.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let queue = Queue {
            name,
            attributes,
            tags,
            created_ms,
            modified_ms,
            purged_ms: None,
        };
        queue.write(self.tx)?;
        Ok(json!({ "QueueUrl": url(&queue.name) }))
    }

    pub(super) fn get_queue_url(mut self) -> Result<Value, AwsError> {
        let name: String = self.given.required("QueueName")?;
        let owner: Option<String> = self.given.optional("QueueOwnerAWSAccountId")?;
        self.given.finish()?;
        if owner.is_some_and(|owner| owner != arn::ACCOUNT) {
            return Err(missing());
        }
        let queue = Queue::find(self.tx, &name)?;
        Ok(json!({ "QueueUrl": url(&queue.name) }))
    }

    pub(super) fn get_queue_attributes(mut self) -> Result<Value, AwsError> {
        let queue = self.queue()?;
        let names: Vec<String> = self.given.optional("AttributeNames")?.unwrap_or_default();
        self.given.finish()?;
        if !names.iter().all(|name| attributes::is_known(name)) {
            return Err(attributes::unknown());
        }
        forget_expired(self.tx, &queue, self.now_ms)?;
        let count = |condition: &str| -> Result<String, AwsError> {
            let query = format!("SELECT COUNT(*) FROM messages WHERE queue = ?1 AND {condition}");
            let n: i64 = self
                .tx
                .row(&query, params![queue.name, self.now_ms], |row| row.get(0))?;
            Ok(n.to_string())
        };
        let facts = [
            queue.arn(),
            queue.created_ms.div_euclid(1000).to_string(),
            queue.modified_ms.div_euclid(1000).to_string(),
            count("visible_ms <= ?2")?,
            count("visible_ms > ?2 AND handle IS NOT NULL")?,
            count("visible_ms > ?2 AND handle IS NULL")?,
        ];
        let mut all = attributes::effective(&queue.attributes);
        all.extend(READ_ONLY.iter().map(|name| (*name).to_owned()).zip(facts));
        let is_asked = |asked: &String| names.iter().any(|name| name == "All" || name == asked);
        all.retain(|name, _| is_asked(name));
        Ok(if all.is_empty() {
            json!({})
        } else {
            json!({ "Attributes": all })
        })
    }

    pub(super) fn set_queue_attributes(mut self) -> Result<Value, AwsError> {
        let mut queue = self.queue()?;
        let set: Attributes = self.given.required("Attributes")?;
        self.given.finish()?;
        attributes::check(&set)?;
        self.check_redrive(&set)?;
        queue.attributes.extend(set);
        queue.attributes.retain(|_, value| !value.is_empty());
        queue.modified_ms = self.now_ms;
        queue.write(self.tx)?;
        Ok(json!({}))
    }

    pub(super) fn list_queues(mut self) -> Result<Value, AwsError> {
        let prefix: String = self.given.optional("QueueNamePrefix")?.unwrap_or_default();
        let most: Option<usize> = self.given.optional("MaxResults")?;
        let after: String = self.given.optional("NextToken")?.unwrap_or_default();
        self.given.finish()?;
        let limit = most.unwrap_or(1000);
        if limit == 0 || limit > 1000 {
            return Err(invalid("MaxResults must be between 1 and 1000."));
        }
        let mut query = self
            .tx
            .prepare_cached("SELECT name FROM queues WHERE name > ?1 ORDER BY name")?;
        let names = query
            .query_map([after], |row| row.get::<_, String>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut names: Vec<String> = names.into_iter().filter(|name| name.starts_with(&prefix)).collect();
        let is_more = names.len() > limit;
        names.truncate(limit);
        let next = names.last().cloned().filter(|_| is_more && most.is_some());
        if names.is_empty() {
            return Ok(json!({}));
        }
        let urls: Vec<String> = names.iter().map(|name| url(name)).collect();
        Ok(match next {
            Some(next) => json!({ "QueueUrls": urls, "NextToken": next }),
            None => json!({ "QueueUrls": urls }),
        })
    }

    pub(super) fn delete_queue(mut self) -> Result<Value, AwsError> {
        let queue = self.queue()?;
        self.given.finish()?;
        self.tx.run("DELETE FROM queues WHERE name = ?1", [&queue.name])?;
        Ok(json!({}))
    }

    pub(super) fn purge_queue(mut self) -> Result<Value, AwsError> {
        let mut queue = self.queue()?;
        self.given.finish()?;
        if queue.purged_ms.is_some_and(|purged| self.now_ms < purged + PURGE_MS) {
            let message = "Only one PurgeQueue operation is allowed every 60 seconds.";
            return Err(AwsError::bad_request("PurgeQueueInProgress", message));
        }
        self.tx.run("DELETE FROM messages WHERE queue = ?1", [&queue.name])?;
        queue.purged_ms = Some(self.now_ms);
        queue.write(self.tx)?;
        Ok(json!({}))
    }

    pub(super) fn tag_queue(mut self) -> Result<Value, AwsError> {
        let mut queue = self.queue()?;
        let tags: BTreeMap<String, String> = self.given.required("Tags")?;
        self.given.finish()?;
        queue.tags.extend(tags);
        queue.write(self.tx)?;
        Ok(json!({}))
    }

    pub(super) fn untag_queue(mut self) -> Result<Value, AwsError> {
        let mut queue = self.queue()?;
        let names: Vec<String> = self.given.required("TagKeys")?;
        self.given.finish()?;
        queue.tags.retain(|name, _| !names.contains(name));
        queue.write(self.tx)?;
        Ok(json!({}))
    }

    pub(super) fn list_queue_tags(mut self) -> Result<Value, AwsError> {
        let queue = self.queue()?;
        self.given.finish()?;
        Ok(json!({ "Tags": queue.tags }))
    }

    /// A dead-letter queue has to be there.
    fn check_redrive(&self, set: &Attributes) -> Result<(), AwsError> {
        let Some(policy) = set.get("RedrivePolicy").filter(|policy| !policy.is_empty()) else {
            return Ok(());
        };
        let target = attributes::redrive(policy)?.target_arn;
        let found = Queue::find(self.tx, name_in(&target)?);
        found
            .map(|_| ())
            .map_err(|_| invalid("The dead-letter queue of RedrivePolicy does not exist."))
    }
}

/// Whether an attribute has this value; policies are compared as JSON, since they are stored as they were written.
fn same(name: &str, old: Option<&String>, new: &str) -> bool {
    let Some(old) = old else { return new.is_empty() };
    match name {
        "Policy" => serde_json::from_str::<Value>(old).ok() == serde_json::from_str::<Value>(new).ok(),
        "RedrivePolicy" => attributes::redrive(old).ok() == attributes::redrive(new).ok(),
        _ => old == new,
    }
}
