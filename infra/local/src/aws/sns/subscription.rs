//! Subscriptions: which queues get a topic's messages, and in which form.

use rusqlite::{Row, Transaction};
use serde_json::json;

use super::topic::Topic;
use super::{Attributes, Call, attributes, entries, invalid, listed, not_found, parsed, read};
use crate::aws::arn;
use crate::aws::error::AwsError;
use crate::aws::random;
use crate::aws::store::{Prepared, maybe};
use crate::aws::wire::form::element;

/// What can be set; SNS has more, which are refused by name.
const SETTABLE: &[&str] = &["RawMessageDelivery", "RedrivePolicy"];

/// A subscription's row.
pub(super) struct Subscription {
    topic: String,
    id: String,
    /// The queue's ARN.
    pub(super) endpoint: String,
    /// What was set.
    attributes: Attributes,
}

impl Subscription {
    /// All subscriptions of a topic, oldest first.
    pub(super) fn of(tx: &Transaction<'_>, topic: &Topic) -> Result<Vec<Self>, AwsError> {
        let sql = "SELECT topic, id, endpoint, attributes FROM subscriptions WHERE topic = ?1 ORDER BY n";
        let mut query = tx.prepare_cached(sql)?;
        let rows = query.query_map([&topic.name], Self::read)?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
    }

    fn find(tx: &Transaction<'_>, arn: &str) -> Result<Self, AwsError> {
        let place = arn
            .strip_prefix(&arn::of("sns", ""))
            .and_then(|rest| rest.split_once(':'));
        let (topic, id) = place.ok_or_else(|| invalid("SubscriptionArn"))?;
        let sql = "SELECT topic, id, endpoint, attributes FROM subscriptions WHERE topic = ?1 AND id = ?2";
        maybe(tx.row(sql, [topic, id], Self::read))?.ok_or_else(|| not_found("Subscription"))
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            topic: row.get(0)?,
            id: row.get(1)?,
            endpoint: row.get(2)?,
            attributes: read(&row.get::<_, String>(3)?)?,
        })
    }

    pub(super) fn arn(&self) -> String {
        arn::of("sns", &format!("{}:{}", self.topic, self.id))
    }

    /// Whether the queue gets the message alone, without what SNS knows of it.
    pub(super) fn is_raw(&self) -> bool {
        self.attributes
            .get("RawMessageDelivery")
            .is_some_and(|value| value == "true")
    }

    /// The ARN of the queue for what the endpoint does not take.
    pub(super) fn dead_letters(&self) -> Option<String> {
        dead_letters(self.attributes.get("RedrivePolicy")?).ok()
    }
}

impl Call<'_> {
    /// Subscribes a queue; a subscription that is there and does not differ in what is given is as good.
    pub(super) fn subscribe(mut self) -> Result<String, AwsError> {
        let topic = self.topic()?;
        let protocol: String = self.given.required("Protocol")?;
        let endpoint: String = self.given.required("Endpoint")?;
        let set = attributes(&mut self.given)?;
        // A queue of the account needs no confirmation, so the ARN is always known.
        self.given.optional::<String>("ReturnSubscriptionArn")?;
        self.given.finish()?;
        if protocol != "sqs" {
            return Err(AwsError::not_implemented(&format!(
                "SNS Subscribe: protocol {protocol}"
            )));
        }
        if !endpoint.starts_with(&arn::of("sqs", "")) {
            return Err(invalid("SQS endpoint ARN"));
        }
        for (name, value) in &set {
            check(name, value)?;
        }
        if let Some(there) = Subscription::of(self.tx, &topic)?
            .into_iter()
            .find(|there| there.endpoint == endpoint)
        {
            if set
                .iter()
                .any(|(name, value)| there.attributes.get(name) != Some(value))
            {
                return Err(invalid(
                    "Attributes Reason: Subscription already exists with different attributes",
                ));
            }
            return Ok(element("SubscriptionArn", &there.arn()));
        }
        let subscription = Subscription {
            topic: topic.name,
            id: random::id()?,
            endpoint,
            attributes: set,
        };
        self.tx.run(
            "INSERT INTO subscriptions (topic, id, endpoint, attributes) VALUES (?1, ?2, ?3, ?4)",
            (
                &subscription.topic,
                &subscription.id,
                &subscription.endpoint,
                json!(subscription.attributes).to_string(),
            ),
        )?;
        Ok(element("SubscriptionArn", &subscription.arn()))
    }

    /// Ends a subscription; one that is not there is as good as ended.
    pub(super) fn unsubscribe(mut self) -> Result<String, AwsError> {
        let arn: String = self.given.required("SubscriptionArn")?;
        self.given.finish()?;
        match Subscription::find(self.tx, &arn) {
            Ok(found) => {
                self.tx.run("DELETE FROM subscriptions WHERE id = ?1", [&found.id])?;
                Ok(String::new())
            }
            Err(error) if error.code == "NotFound" => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn list_subscriptions_by_topic(mut self) -> Result<String, AwsError> {
        let topic = self.topic()?;
        let after: String = self.given.optional("NextToken")?.unwrap_or_default();
        self.given.finish()?;
        let mut all = Subscription::of(self.tx, &topic)?;
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let member = |found: Subscription| {
            let member = [
                element("SubscriptionArn", &found.arn()),
                element("Owner", arn::ACCOUNT),
                element("Protocol", "sqs"),
                element("Endpoint", &found.endpoint),
                element("TopicArn", &topic.arn()),
            ];
            (found.id, member.concat())
        };
        let left = all.into_iter().filter(|found| found.id > after);
        Ok(listed("Subscriptions", left.map(member).collect()))
    }

    pub(super) fn get_subscription_attributes(mut self) -> Result<String, AwsError> {
        let arn: String = self.given.required("SubscriptionArn")?;
        self.given.finish()?;
        let found = Subscription::find(self.tx, &arn)?;
        let mut all = Attributes::from([
            ("SubscriptionArn".to_owned(), arn),
            ("TopicArn".to_owned(), arn::of("sns", &found.topic)),
            ("Owner".to_owned(), arn::ACCOUNT.to_owned()),
            ("Protocol".to_owned(), "sqs".to_owned()),
            ("Endpoint".to_owned(), found.endpoint),
            ("ConfirmationWasAuthenticated".to_owned(), "true".to_owned()),
            ("PendingConfirmation".to_owned(), "false".to_owned()),
            ("RawMessageDelivery".to_owned(), "false".to_owned()),
        ]);
        all.extend(found.attributes);
        Ok(entries(&all))
    }

    pub(super) fn set_subscription_attributes(mut self) -> Result<String, AwsError> {
        let arn: String = self.given.required("SubscriptionArn")?;
        let name: String = self.given.required("AttributeName")?;
        let value: String = self.given.optional("AttributeValue")?.unwrap_or_default();
        self.given.finish()?;
        let mut found = Subscription::find(self.tx, &arn)?;
        if value.is_empty() && SETTABLE.contains(&name.as_str()) {
            found.attributes.remove(&name);
        } else {
            check(&name, &value)?;
            found.attributes.insert(name, value);
        }
        let sql = "UPDATE subscriptions SET attributes = ?2 WHERE id = ?1";
        self.tx.run(sql, (&found.id, json!(found.attributes).to_string()))?;
        Ok(String::new())
    }
}

fn check(name: &str, value: &str) -> Result<(), AwsError> {
    match name {
        "RawMessageDelivery" if matches!(value, "true" | "false") => Ok(()),
        "RawMessageDelivery" => Err(invalid("RawMessageDelivery Reason: must be true or false")),
        "RedrivePolicy" => dead_letters(value).map(|_| ()),
        other => Err(AwsError::not_implemented(&format!(
            "SNS: subscription attribute {other}"
        ))),
    }
}

/// The queue that a RedrivePolicy names.
fn dead_letters(policy: &str) -> Result<String, AwsError> {
    let policy = parsed("RedrivePolicy", policy)?;
    let target = policy.get("deadLetterTargetArn").and_then(serde_json::Value::as_str);
    let is_queue = |arn: &&str| arn.starts_with(&arn::of("sqs", ""));
    let target = target
        .filter(is_queue)
        .filter(|_| policy.as_object().is_some_and(|policy| policy.len() == 1));
    target.map(str::to_owned).ok_or_else(|| invalid("RedrivePolicy"))
}
