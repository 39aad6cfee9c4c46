//! Topics: made, described, changed, deleted.

use rusqlite::{Row, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Attributes, Call, attributes, entries, invalid, listed, not_found, parsed, read};
use crate::aws::arn::{self, is_name};
use crate::aws::error::AwsError;
use crate::aws::store::{Prepared, maybe};
use crate::aws::wire::form::element;

/// What can be set; SNS has more, which are refused by name.
const SETTABLE: &[&str] = &["DisplayName", "KmsMasterKeyId", "Policy"];
/// The longest name (CreateTopic, SNS API Reference).
const LONGEST_NAME: usize = 256;

/// A topic's row.
pub(super) struct Topic {
    pub(super) name: String,
    /// What was set.
    attributes: Attributes,
    tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Tag {
    key: String,
    value: String,
}

impl Topic {
    /// The topic of this ARN.
    pub(super) fn find(tx: &Transaction<'_>, arn: &str) -> Result<Self, AwsError> {
        let name = arn
            .strip_prefix(&arn::of("sns", ""))
            .ok_or_else(|| invalid("TopicArn"))?;
        Self::named(tx, name)?.ok_or_else(|| not_found("Topic"))
    }

    fn named(tx: &Transaction<'_>, name: &str) -> Result<Option<Self>, AwsError> {
        maybe(tx.row(
            "SELECT name, attributes, tags FROM topics WHERE name = ?1",
            [name],
            Self::read,
        ))
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            attributes: read(&row.get::<_, String>(1)?)?,
            tags: read(&row.get::<_, String>(2)?)?,
        })
    }

    fn write(&self, tx: &Transaction<'_>) -> Result<(), AwsError> {
        let (attributes, tags) = (json!(self.attributes).to_string(), json!(self.tags).to_string());
        tx.run(
            "INSERT INTO topics (name, attributes, tags) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE SET attributes = ?2, tags = ?3",
            (&self.name, attributes, tags),
        )?;
        Ok(())
    }

    pub(super) fn arn(&self) -> String {
        arn::of("sns", &self.name)
    }

    /// The policy in force.
    pub(super) fn policy(&self) -> Value {
        match self.attributes.get("Policy") {
            // It was JSON when it was set.
            Some(policy) => serde_json::from_str(policy).unwrap_or_default(),
            None => self.default_policy(),
        }
    }

    /// What SNS gives a topic that has none: its owner may do everything, no service anything.
    fn default_policy(&self) -> Value {
        json!({
            "Version": "2008-10-17",
            "Id": "__default_policy_ID",
            "Statement": [{
                "Sid": "__default_statement_ID",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:DeleteTopic", "SNS:Subscribe",
                    "SNS:ListSubscriptionsByTopic", "SNS:Publish"],
                "Resource": self.arn(),
                "Condition": {"StringEquals": {"AWS:SourceOwner": arn::ACCOUNT}},
            }],
        })
    }
}

impl Call<'_> {
    /// The topic that `TopicArn` names.
    pub(super) fn topic(&mut self) -> Result<Topic, AwsError> {
        let arn: String = self.given.required("TopicArn")?;
        Topic::find(self.tx, &arn)
    }

    /// Makes a topic; one that is there and does not differ in what is given is as good.
    pub(super) fn create_topic(mut self) -> Result<String, AwsError> {
        let name: String = self.given.required("Name")?;
        let mut set = attributes(&mut self.given)?;
        let mut tags: Vec<Tag> = self.given.optional("Tags")?.unwrap_or_default();
        self.given.finish()?;
        if name.ends_with(".fifo") {
            return Err(AwsError::not_implemented("SNS CreateTopic: FIFO topics"));
        }
        if !is_name(&name, LONGEST_NAME) {
            return Err(invalid("Topic Name"));
        }
        for (name, value) in &set {
            check(name, value)?;
        }
        tags.sort();
        if let Some(there) = Topic::named(self.tx, &name)? {
            if set
                .iter()
                .any(|(name, value)| there.attributes.get(name).map_or("", String::as_str) != value)
            {
                return Err(invalid(
                    "Attributes Reason: Topic already exists with different attributes",
                ));
            }
            if !tags.is_empty() && tags != there.tags {
                return Err(invalid("Tags Reason: Topic already exists with different tags"));
            }
            return Ok(element("TopicArn", &there.arn()));
        }
        set.retain(|_, value| !value.is_empty());
        let topic = Topic {
            name,
            attributes: set,
            tags,
        };
        topic.write(self.tx)?;
        Ok(element("TopicArn", &topic.arn()))
    }

    /// Deletes a topic and its subscriptions; one that is not there is as good as deleted.
    pub(super) fn delete_topic(mut self) -> Result<String, AwsError> {
        let arn: String = self.given.required("TopicArn")?;
        self.given.finish()?;
        let name = arn
            .strip_prefix(&arn::of("sns", ""))
            .ok_or_else(|| invalid("TopicArn"))?;
        self.tx.run("DELETE FROM topics WHERE name = ?1", [name])?;
        Ok(String::new())
    }

    pub(super) fn get_topic_attributes(mut self) -> Result<String, AwsError> {
        let topic = self.topic()?;
        self.given.finish()?;
        let sql = "SELECT COUNT(*) FROM subscriptions WHERE topic = ?1";
        let n: i64 = self.tx.row(sql, [&topic.name], |row| row.get(0))?;
        let mut all = Attributes::from([
            ("TopicArn".to_owned(), topic.arn()),
            ("Owner".to_owned(), arn::ACCOUNT.to_owned()),
            ("DisplayName".to_owned(), String::new()),
            ("Policy".to_owned(), topic.default_policy().to_string()),
            ("SubscriptionsConfirmed".to_owned(), n.to_string()),
            ("SubscriptionsPending".to_owned(), "0".to_owned()),
        ]);
        all.extend(topic.attributes);
        Ok(entries(&all))
    }

    pub(super) fn set_topic_attributes(mut self) -> Result<String, AwsError> {
        let mut topic = self.topic()?;
        let name: String = self.given.required("AttributeName")?;
        let value: String = self.given.optional("AttributeValue")?.unwrap_or_default();
        self.given.finish()?;
        check(&name, &value)?;
        if value.is_empty() {
            topic.attributes.remove(&name);
        } else {
            topic.attributes.insert(name, value);
        }
        topic.write(self.tx)?;
        Ok(String::new())
    }

    pub(super) fn list_topics(mut self) -> Result<String, AwsError> {
        let after: String = self.given.optional("NextToken")?.unwrap_or_default();
        self.given.finish()?;
        let mut query = self
            .tx
            .prepare_cached("SELECT name FROM topics WHERE name > ?1 ORDER BY name")?;
        let names = query.query_map([after], |row| row.get::<_, String>(0))?;
        let item = |name: String| {
            let arn = element("TopicArn", &arn::of("sns", &name));
            (name, arn)
        };
        let names = names.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(listed("Topics", names.into_iter().map(item).collect()))
    }
}

/// Checks an attribute that a caller sets; an empty value takes it away.
fn check(name: &str, value: &str) -> Result<(), AwsError> {
    if !SETTABLE.contains(&name) {
        return Err(AwsError::not_implemented(&format!("SNS: topic attribute {name}")));
    }
    if name == "Policy" && !value.is_empty() && !parsed(name, value)?.is_object() {
        return Err(invalid("Policy Reason: the value is no policy"));
    }
    Ok(())
}
