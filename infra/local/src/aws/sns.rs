//! SNS: standard topics and their SQS subscriptions.
//!
//! A message is handed to every subscribed queue before `Publish` answers, so nothing is stored between the two. A queue
//! takes it only when its own policy lets this topic send; what it does not take goes to the subscription's dead-letter
//! queue. A message that is wrapped (without RawMessageDelivery) carries no signature: nobody could fetch the certificate
//! that checks it. FIFO topics, filters and other protocols than `sqs` are not implemented.

mod publish;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use rusqlite::Transaction;
use sealpost_core::clock::Clock;
use serde::Deserialize;
use serde_json::Value;

use super::error::AwsError;
use super::parameters::Parameters;
use super::sqs::Sqs;
use super::store::Store;
use super::wire::form::element;
pub(crate) use publish::Message;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, attributes TEXT NOT NULL, tags TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (
    n INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL REFERENCES topics ON DELETE CASCADE,
    id TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL, attributes TEXT NOT NULL, UNIQUE (topic, endpoint));
";

/// How many entries a list answers at once (ListTopics, SNS API Reference).
const PAGE: usize = 100;

/// Attributes as SNS carries them: all values are text.
type Attributes = BTreeMap<String, String>;

/// Topics.
pub struct Sns {
    store: Store,
    clock: Clock,
    sqs: Arc<Sqs>,
}

/// One call at work: its transaction and what was asked.
struct Call<'a> {
    tx: &'a Transaction<'a>,
    given: Parameters,
}

impl Sns {
    /// Opens the service's file, or memory for `None`; messages go to the queues of `sqs`.
    ///
    /// # Errors
    /// What SQLite answers when the file cannot be opened.
    pub fn open(path: Option<&Path>, clock: Clock, sqs: Arc<Sqs>) -> rusqlite::Result<Self> {
        Ok(Self {
            store: Store::open(path, SCHEMA)?,
            clock,
            sqs,
        })
    }

    /// Answers one operation with the XML of its result, which is empty where it has none.
    ///
    /// # Errors
    /// What SNS answers; NotImplemented with the name of an operation, parameter or attribute that is not done here.
    pub fn call(&self, operation: &str, body: Value) -> Result<String, AwsError> {
        let given = Parameters::new("SNS", operation, body)?;
        if operation == "Publish" {
            let id = self.publish_call(given)?;
            return Ok(element("MessageId", &id));
        }
        self.store.change(|tx| {
            let call = Call { tx, given };
            match operation {
                "CreateTopic" => call.create_topic(),
                "DeleteTopic" => call.delete_topic(),
                "GetTopicAttributes" => call.get_topic_attributes(),
                "SetTopicAttributes" => call.set_topic_attributes(),
                "ListTopics" => call.list_topics(),
                "Subscribe" => call.subscribe(),
                "Unsubscribe" => call.unsubscribe(),
                "ListSubscriptionsByTopic" => call.list_subscriptions_by_topic(),
                "GetSubscriptionAttributes" => call.get_subscription_attributes(),
                "SetSubscriptionAttributes" => call.set_subscription_attributes(),
                other => Err(AwsError::not_implemented(&format!("SNS {other}"))),
            }
        })
    }
}

/// One entry of a map in the query protocol.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    value: String,
}

/// Takes a map of attributes; an empty map comes as an empty text.
fn attributes(given: &mut Parameters) -> Result<Attributes, AwsError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Entries(Vec<Entry>),
        None(String),
    }
    Ok(match given.optional("Attributes")? {
        Some(Given::Entries(entries)) => entries.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        Some(Given::None(text)) if !text.is_empty() => return Err(invalid("Attributes Reason: not a map")),
        Some(Given::None(_)) | None => Attributes::new(),
    })
}

/// A map as the query protocol answers it.
fn entries(attributes: &Attributes) -> String {
    let entry =
        |(key, value): (&String, &String)| format!("<entry>{}{}</entry>", element("key", key), element("value", value));
    let entries: String = attributes.iter().map(entry).collect();
    format!("<Attributes>{entries}</Attributes>")
}

/// One page of a list of members, the token being the last key of the page before.
fn listed(name: &str, items: Vec<(String, String)>) -> String {
    let is_more = items.len() > PAGE;
    let shown: Vec<_> = items.into_iter().take(PAGE).collect();
    let next = shown
        .last()
        .filter(|_| is_more)
        .map(|(key, _)| element("NextToken", key));
    let members: String = shown
        .iter()
        .map(|(_, member)| format!("<member>{member}</member>"))
        .collect();
    format!("<{name}>{members}</{name}>{}", next.unwrap_or_default())
}

fn invalid(what: impl std::fmt::Display) -> AwsError {
    AwsError::bad_request("InvalidParameter", format!("Invalid parameter: {what}"))
}

fn not_found(what: &str) -> AwsError {
    AwsError::new(StatusCode::NOT_FOUND, "NotFound", format!("{what} does not exist"))
}

/// A policy, or another text that has to be JSON.
fn parsed(name: &str, text: &str) -> Result<Value, AwsError> {
    serde_json::from_str(text).map_err(|_| invalid(format!("{name} Reason: the value is not JSON")))
}

/// What is stored as JSON and was written here.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|_| rusqlite::Error::InvalidQuery)
}
