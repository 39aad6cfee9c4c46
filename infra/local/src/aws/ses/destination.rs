//! Event destinations: the topics that a configuration set's events are published to.

use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use super::configuration_set;
use super::{AwsError, Ses, bad_request, not_found, only, text};
use crate::aws::arn::{self, is_name};
use crate::aws::sns::Message;
use crate::aws::store::Prepared;

/// Who publishes.
pub(super) const SERVICE: &str = "ses.amazonaws.com";
/// What SES publishes to a topic when it becomes a destination: plain text, and no event.
const VALIDATED: &str = "Successfully validated SNS topic for Amazon SES event publishing.";
/// The kinds of events that can be asked for (SESv2 API Reference, EventDestinationDefinition).
const EVENT_TYPES: &[&str] = &[
    "SEND",
    "REJECT",
    "BOUNCE",
    "COMPLAINT",
    "DELIVERY",
    "OPEN",
    "CLICK",
    "RENDERING_FAILURE",
    "DELIVERY_DELAY",
    "SUBSCRIPTION",
];

impl Ses {
    pub(super) fn create_destination(&self, set: &str, body: &Value) -> Result<Value, AwsError> {
        let operation = "CreateConfigurationSetEventDestination";
        only(operation, body, &["EventDestinationName", "EventDestination"])?;
        let name = text(body, "EventDestinationName")?;
        if !is_name(name, 64) {
            return Err(bad_request(format!(
                "Invalid event destination name <{name}>: only alphanumeric ASCII characters, '_', and '-' are allowed."
            )));
        }
        let definition = definition(operation, body)?;
        let is_there = self.store.change(|tx| {
            configuration_set::load(tx, set)?;
            Ok::<_, AwsError>(find(tx, set, name)?.is_some())
        })?;
        if is_there {
            return Err(AwsError::bad_request(
                "AlreadyExistsException",
                format!("An event destination with name <{name}> already exists for configuration set <{set}>."),
            ));
        }
        self.validate(set, &definition)?;
        self.store.change(|tx| {
            let sql = "INSERT INTO event_destination (set_name, name, document) VALUES (?1, ?2, ?3)";
            tx.run(sql, (set, name, definition.to_string()))?;
            Ok(json!({}))
        })
    }

    pub(super) fn get_destinations(&self, set: &str) -> Result<Value, AwsError> {
        let found = self.store.change(|tx| {
            configuration_set::load(tx, set)?;
            of(tx, set)
        })?;
        Ok(json!({"EventDestinations": found}))
    }

    pub(super) fn update_destination(&self, set: &str, name: &str, body: &Value) -> Result<Value, AwsError> {
        let operation = "UpdateConfigurationSetEventDestination";
        only(operation, body, &["EventDestination"])?;
        let definition = definition(operation, body)?;
        let old = self.store.change(|tx| {
            configuration_set::load(tx, set)?;
            find(tx, set, name)?.ok_or_else(|| missing(set, name))
        })?;
        if old.get("SnsDestination") != definition.get("SnsDestination") {
            self.validate(set, &definition)?;
        }
        self.store.change(|tx| {
            let sql = "UPDATE event_destination SET document = ?3 WHERE set_name = ?1 AND name = ?2";
            tx.run(sql, (set, name, definition.to_string()))?;
            Ok(json!({}))
        })
    }

    pub(super) fn delete_destination(&self, set: &str, name: &str) -> Result<Value, AwsError> {
        self.store.change(|tx| {
            configuration_set::load(tx, set)?;
            let sql = "DELETE FROM event_destination WHERE set_name = ?1 AND name = ?2";
            match tx.run(sql, (set, name))? {
                0 => Err(missing(set, name)),
                _ => Ok(json!({})),
            }
        })
    }

    /// Publishes the message by which SES finds out whether a topic takes its events.
    fn validate(&self, set: &str, definition: &Value) -> Result<(), AwsError> {
        let topic = topic(definition).unwrap_or_default();
        let message = Message {
            text: VALIDATED.to_owned(),
            ..Message::default()
        };
        let published = self.sns.publish_for(SERVICE, &source(set), topic, &message);
        published
            .map(|_| ())
            .map_err(|error| match error.status.is_server_error() {
                true => error,
                false => bad_request(format!(
                    "Could not publish to the SNS topic <{topic}>: {}",
                    error.message
                )),
            })
    }
}

/// The ARN of a configuration set, on whose behalf SES publishes.
pub(super) fn source(set: &str) -> String {
    arn::of("ses", &format!("configuration-set/{set}"))
}

/// The topics that a set's events of this type go to now.
pub(super) fn topics(tx: &Transaction<'_>, set: &str, event_type: &str) -> Result<Vec<String>, AwsError> {
    let is_asked = |destination: &Value| {
        let types = destination.get("MatchingEventTypes").and_then(Value::as_array);
        let is_enabled = destination.get("Enabled").and_then(Value::as_bool) == Some(true);
        is_enabled && types.is_some_and(|types| types.iter().any(|wanted| wanted == event_type))
    };
    let all = of(tx, set)?;
    Ok(all
        .iter()
        .filter(|one| is_asked(one))
        .filter_map(topic)
        .map(str::to_owned)
        .collect())
}

/// Forgets a set's destinations.
pub(super) fn forget(tx: &Transaction<'_>, set: &str) -> Result<(), AwsError> {
    tx.run("DELETE FROM event_destination WHERE set_name = ?1", [set])?;
    Ok(())
}

fn of(tx: &Transaction<'_>, set: &str) -> Result<Vec<Value>, AwsError> {
    let mut query = tx.prepare_cached("SELECT name, document FROM event_destination WHERE set_name = ?1 ORDER BY n")?;
    let rows = query.query_map([set], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let shown = |row: rusqlite::Result<(String, String)>| {
        let (name, document) = row?;
        let mut document: Value = serde_json::from_str(&document).unwrap_or_default();
        if let Some(document) = document.as_object_mut() {
            document.insert("Name".to_owned(), Value::String(name));
        }
        Ok(document)
    };
    rows.map(shown).collect()
}

fn find(tx: &Transaction<'_>, set: &str, name: &str) -> Result<Option<Value>, AwsError> {
    let sql = "SELECT document FROM event_destination WHERE set_name = ?1 AND name = ?2";
    let document: Option<String> = tx.row(sql, [set, name], |row| row.get(0)).optional()?;
    Ok(document.map(|document| serde_json::from_str(&document).unwrap_or_default()))
}

fn topic(definition: &Value) -> Option<&str> {
    definition.pointer("/SnsDestination/TopicArn")?.as_str()
}

/// Reads a destination as it is stored.
fn definition(operation: &str, body: &Value) -> Result<Value, AwsError> {
    let given = body.get("EventDestination").filter(|given| given.is_object());
    let given = given.ok_or_else(|| bad_request("Member must not be null: EventDestination"))?;
    let known = ["Enabled", "MatchingEventTypes", "SnsDestination"];
    only(&format!("{operation}: EventDestination"), given, &known)?;
    let types = given
        .get("MatchingEventTypes")
        .and_then(Value::as_array)
        .filter(|types| !types.is_empty());
    let types = types.ok_or_else(|| bad_request("At least one event type must be specified."))?;
    if !types
        .iter()
        .all(|wanted| wanted.as_str().is_some_and(|wanted| EVENT_TYPES.contains(&wanted)))
    {
        return Err(bad_request("The event destination contains an invalid event type."));
    }
    let topic = topic(given).ok_or_else(|| bad_request("Event destination is not provided."))?;
    Ok(json!({
        "Enabled": given.get("Enabled").and_then(Value::as_bool).unwrap_or_default(),
        "MatchingEventTypes": types,
        "SnsDestination": {"TopicArn": topic},
    }))
}

fn missing(set: &str, name: &str) -> AwsError {
    not_found(format!(
        "An event destination with name <{name}> does not exist for configuration set <{set}>."
    ))
}
