//! Messages: sent, received, deleted, hidden for longer or shorter, moved to the dead-letter queue and back.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use http::StatusCode;
use md5::{Digest, Md5};
use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::attributes;
use super::queue::{Queue, is_dead_letter_queue, name_in};
use super::{Call, Sqs, forget_expired, invalid};
use crate::aws::error::AwsError;
use crate::aws::parameters::{Blob, Parameters};
use crate::aws::random;
use crate::aws::store::{Prepared, maybe};

/// The longest visibility timeout, in seconds (SQS API Reference).
const LONGEST_HIDDEN_S: i64 = 43_200;
/// The longest delay of a message, in seconds (SQS API Reference).
const LONGEST_DELAY_S: i64 = 900;
const MOST_ATTRIBUTES: usize = 10;
const MOST_RECEIVED: i64 = 10;
/// What can be asked of a message beside its own attributes (ReceiveMessage, SQS API Reference).
const SYSTEM_NAMES: [&str; 10] = [
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
];
/// Who sends: the local AWS knows no principals.
const SENDER: &str = "AIDAEXAMPLE";

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Attribute {
    data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<Blob>,
}

type MessageAttributes = BTreeMap<String, Attribute>;

/// A message that a caller wants to send.
pub(super) struct Draft {
    body: String,
    attributes: MessageAttributes,
    delay_s: Option<i64>,
}

impl Draft {
    pub(super) fn parse(given: &mut Parameters) -> Result<Self, AwsError> {
        Ok(Self {
            body: given.required("MessageBody")?,
            attributes: given.optional("MessageAttributes")?.unwrap_or_default(),
            delay_s: given.optional("DelaySeconds")?,
        })
    }

    /// The size that counts against the limits, in bytes.
    pub(super) fn size(&self) -> usize {
        let attribute = |(name, attribute): (&String, &Attribute)| {
            let text = attribute.string_value.as_ref().map_or(0, String::len);
            name.len()
                + attribute.data_type.len()
                + text
                + attribute.binary_value.as_ref().map_or(0, |blob| blob.0.len())
        };
        self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }

    /// Puts it on the queue and answers what SendMessage answers.
    pub(super) fn send(self, tx: &Transaction<'_>, queue: &Queue, now_ms: i64) -> Result<Map<String, Value>, AwsError> {
        let delay_s = self.delay_s.unwrap_or_else(|| queue.number("DelaySeconds"));
        if !(0..=LONGEST_DELAY_S).contains(&delay_s) {
            return Err(invalid("DelaySeconds must be between 0 and 900."));
        }
        // XML's characters, by which SQS still goes (SendMessage in the API Reference).
        let is_allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
        if self.body.is_empty() {
            return Err(AwsError::bad_request(
                "MissingParameter",
                "The request must contain the parameter MessageBody.",
            ));
        }
        if !self.body.chars().all(is_allowed) {
            return Err(AwsError::bad_request(
                "InvalidMessageContents",
                "The body has characters outside the allowed set.",
            ));
        }
        let most = queue.number("MaximumMessageSize");
        if i64::try_from(self.size()).map_or(true, |size| size > most) {
            return Err(invalid(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
            )));
        }
        if self.attributes.len() > MOST_ATTRIBUTES || !self.attributes.values().all(is_valid) {
            return Err(invalid("MessageAttributes are not valid."));
        }
        let id = random::id()?;
        tx.run(
            "INSERT INTO messages (queue, id, body, attributes, sent_ms, visible_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                queue.name,
                id,
                self.body,
                json!(self.attributes).to_string(),
                now_ms,
                now_ms + delay_s * 1000
            ],
        )?;
        let mut answer = Map::new();
        answer.insert("MessageId".to_owned(), json!(id));
        answer.insert("MD5OfMessageBody".to_owned(), json!(md5_hex(self.body.as_bytes())));
        if !self.attributes.is_empty() {
            answer.insert("MD5OfMessageAttributes".to_owned(), json!(md5_of(&self.attributes)));
        }
        Ok(answer)
    }
}

/// What a caller wants to receive.
pub(super) struct Receive {
    queue: String,
    most: i64,
    hidden_s: Option<i64>,
    /// How long to wait for a first message, in seconds.
    pub(super) wait_s: u64,
    system_names: Vec<String>,
    names: Vec<String>,
}

impl Receive {
    pub(super) fn parse(tx: &Transaction<'_>, mut given: Parameters) -> Result<Self, AwsError> {
        let url: String = given.required("QueueUrl")?;
        let queue = Queue::at(tx, &url)?;
        let most = given.optional("MaxNumberOfMessages")?.unwrap_or(1);
        let hidden_s = given.optional("VisibilityTimeout")?;
        let wait_s = given.optional("WaitTimeSeconds")?;
        let wait_s = wait_s.unwrap_or_else(|| queue.number("ReceiveMessageWaitTimeSeconds"));
        let mut system_names: Vec<String> = given.optional("MessageSystemAttributeNames")?.unwrap_or_default();
        system_names.extend(given.optional::<Vec<String>>("AttributeNames")?.unwrap_or_default());
        let names = given.optional("MessageAttributeNames")?.unwrap_or_default();
        given.finish()?;
        if !(1..=MOST_RECEIVED).contains(&most) {
            return Err(invalid("MaxNumberOfMessages must be between 1 and 10."));
        }
        if !(0..=20).contains(&wait_s) {
            return Err(invalid("WaitTimeSeconds must be between 0 and 20."));
        }
        hidden_s.map_or(Ok(()), check_hidden)?;
        if !system_names.iter().all(|name| SYSTEM_NAMES.contains(&name.as_str())) {
            return Err(attributes::unknown());
        }
        Ok(Self {
            queue: queue.name,
            most,
            hidden_s,
            wait_s: wait_s.unsigned_abs(),
            system_names,
            names,
        })
    }

    /// Receives what is visible now, twice and in any order where the service was told so.
    pub(super) fn run(&self, tx: &Transaction<'_>, sqs: &Sqs) -> Result<Vec<Value>, AwsError> {
        let now_ms = sqs.clock.now_ms();
        let queue = Queue::find(tx, &self.queue)?;
        queue.check_key(&sqs.kms)?;
        forget_expired(tx, &queue, now_ms)?;
        if bury(tx, &queue, now_ms)? > 0 {
            sqs.changed();
        }
        let mut query = tx.prepare_cached(
            "SELECT * FROM messages WHERE queue = ?1 AND visible_ms <= ?2 ORDER BY visible_ms, n LIMIT ?3",
        )?;
        let is_shuffled = sqs.is_shuffled.load(Ordering::SeqCst);
        // A negative limit is none: what comes first is drawn from all that is visible.
        let most = if is_shuffled { -1 } else { self.most };
        let rows = query.query_map(params![queue.name, now_ms, most], Stored::read)?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        if is_shuffled {
            random::shuffle(&mut rows)?;
            rows.truncate(usize::try_from(self.most).unwrap_or_default());
        }
        let hidden_ms = self.hidden_s.unwrap_or_else(|| queue.number("VisibilityTimeout")) * 1000;
        let mut received = Vec::new();
        for mut message in rows {
            if sqs.is_doubled() {
                tx.run(
                    "INSERT INTO messages (queue, id, body, attributes, sent_ms, visible_ms, first_ms, receives, receives_here) \
                     SELECT queue, id, body, attributes, sent_ms, visible_ms, first_ms, receives, receives_here \
                     FROM messages WHERE n = ?1",
                    [message.n],
                )?;
            }
            let handle = handle(message.n, now_ms)?;
            message.receives += 1;
            message.first_ms.get_or_insert(now_ms);
            tx.run(
                "UPDATE messages SET handle = ?2, visible_ms = ?3, first_ms = ?4, receives = receives + 1, \
                 receives_here = receives_here + 1 WHERE n = ?1",
                params![message.n, handle, now_ms + hidden_ms, message.first_ms],
            )?;
            received.push(self.shown(&message, &handle)?);
        }
        Ok(received)
    }

    /// A message as the caller sees it, with the attributes that were asked for.
    fn shown(&self, message: &Stored, handle: &str) -> Result<Value, AwsError> {
        let mut shown = json!({
            "MessageId": message.id,
            "ReceiptHandle": handle,
            "Body": message.body,
            "MD5OfBody": md5_hex(message.body.as_bytes()),
        });
        let mut system = BTreeMap::from([
            ("SenderId", SENDER.to_owned()),
            ("SentTimestamp", message.sent_ms.to_string()),
            ("ApproximateReceiveCount", message.receives.to_string()),
            (
                "ApproximateFirstReceiveTimestamp",
                message.first_ms.unwrap_or_default().to_string(),
            ),
        ]);
        if let Some(source) = &message.source {
            system.insert("DeadLetterQueueSourceArn", source.clone());
        }
        system.retain(|name, _| self.system_names.iter().any(|asked| asked == "All" || asked == name));
        let mut attributes: MessageAttributes =
            serde_json::from_str(&message.attributes).map_err(|_| AwsError::from(rusqlite::Error::InvalidQuery))?;
        attributes.retain(|name, _| {
            self.names.iter().any(|asked| match asked.strip_suffix(".*") {
                Some(prefix) => name.starts_with(prefix),
                None => asked == "All" || asked == name,
            })
        });
        if let Some(shown) = shown.as_object_mut() {
            if !system.is_empty() {
                shown.insert("Attributes".to_owned(), json!(system));
            }
            if !attributes.is_empty() {
                shown.insert("MD5OfMessageAttributes".to_owned(), json!(md5_of(&attributes)));
                shown.insert("MessageAttributes".to_owned(), json!(attributes));
            }
        }
        Ok(shown)
    }
}

/// The answer of ReceiveMessage.
pub(super) fn received(messages: Vec<Value>) -> Value {
    if messages.is_empty() {
        json!({})
    } else {
        json!({ "Messages": messages })
    }
}

/// A message's row.
struct Stored {
    n: i64,
    id: String,
    body: String,
    attributes: String,
    sent_ms: i64,
    first_ms: Option<i64>,
    receives: i64,
    source: Option<String>,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            n: row.get("n")?,
            id: row.get("id")?,
            body: row.get("body")?,
            attributes: row.get("attributes")?,
            sent_ms: row.get("sent_ms")?,
            first_ms: row.get("first_ms")?,
            receives: row.get("receives")?,
            source: row.get("source")?,
        })
    }
}

impl Call<'_> {
    pub(super) fn send_message(mut self) -> Result<Value, AwsError> {
        let queue = self.queue()?;
        let draft = Draft::parse(&mut self.given)?;
        self.given.finish()?;
        queue.check_key(self.kms)?;
        Ok(Value::Object(draft.send(self.tx, &queue, self.now_ms)?))
    }

    pub(super) fn delete_message(mut self) -> Result<Value, AwsError> {
        let queue = self.queue()?;
        let handle: String = self.given.required("ReceiptHandle")?;
        self.given.finish()?;
        delete(self.tx, &queue, &handle)?;
        Ok(json!({}))
    }

    pub(super) fn change_message_visibility(mut self) -> Result<Value, AwsError> {
        let queue = self.queue()?;
        let handle: String = self.given.required("ReceiptHandle")?;
        let hidden_s: i64 = self.given.required("VisibilityTimeout")?;
        self.given.finish()?;
        hide(self.tx, &queue, &handle, hidden_s, self.now_ms)?;
        Ok(json!({}))
    }

    /// Moves the visible messages of a dead-letter queue at once, to the queue they came from unless another one is named. A
    /// message that is moved is a new one, with a new id ("Configure a dead-letter queue redrive", Developer Guide).
    pub(super) fn start_message_move_task(mut self) -> Result<Value, AwsError> {
        let source: String = self.given.required("SourceArn")?;
        let destination: Option<String> = self.given.optional("DestinationArn")?;
        self.given.finish()?;
        let not_found = |_| {
            AwsError::new(
                StatusCode::NOT_FOUND,
                "ResourceNotFoundException",
                "The queue does not exist.",
            )
        };
        let queue = name_in(&source)
            .and_then(|name| Queue::find(self.tx, name))
            .map_err(not_found)?;
        if let Some(destination) = &destination {
            name_in(destination)
                .and_then(|name| Queue::find(self.tx, name))
                .map_err(not_found)?;
        }
        if !is_dead_letter_queue(self.tx, &source)? {
            return Err(invalid("Source queue must be configured as a Dead Letter Queue."));
        }
        forget_expired(self.tx, &queue, self.now_ms)?;
        let mut query = self
            .tx
            .prepare_cached("SELECT n, source FROM messages WHERE queue = ?1 AND visible_ms <= ?2")?;
        let rows = query.query_map(params![queue.name, self.now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (n, source) in rows.collect::<rusqlite::Result<Vec<(i64, Option<String>)>>>()? {
            let Some(to) = destination.clone().or(source) else {
                continue;
            };
            // A message whose queue is gone meanwhile stays where it is.
            if let Ok(to) = name_in(&to).and_then(|name| Queue::find(self.tx, name)) {
                self.tx.run(
                    "UPDATE messages SET queue = ?2, id = ?4, sent_ms = ?3, receives = 0, receives_here = 0, first_ms = NULL, \
                     handle = NULL, source = NULL WHERE n = ?1",
                    params![n, to.name, self.now_ms, random::id()?],
                )?;
            }
        }
        Ok(json!({ "TaskHandle": random::id()? }))
    }
}

/// Deletes the message of this receive. A handle of an earlier receive is taken and does nothing, which SQS may do.
pub(super) fn delete(tx: &Transaction<'_>, queue: &Queue, handle: &str) -> Result<(), AwsError> {
    let n = number_in(handle)?;
    let sql = "DELETE FROM messages WHERE n = ?1 AND queue = ?2 AND handle = ?3";
    tx.run(sql, params![n, queue.name, handle])?;
    Ok(())
}

/// Hides the message of this receive until so many seconds from now.
pub(super) fn hide(
    tx: &Transaction<'_>,
    queue: &Queue,
    handle: &str,
    hidden_s: i64,
    now_ms: i64,
) -> Result<(), AwsError> {
    check_hidden(hidden_s)?;
    let n = number_in(handle)?;
    let sql = "SELECT visible_ms FROM messages WHERE n = ?1 AND queue = ?2 AND handle = ?3";
    let visible_ms: Option<i64> = maybe(tx.row(sql, params![n, queue.name, handle], |row| row.get(0)))?;
    match visible_ms {
        None => Err(invalid(
            "Message does not exist or is not available for visibility timeout change.",
        )),
        Some(visible_ms) if visible_ms <= now_ms => Err(AwsError::bad_request(
            "MessageNotInflight",
            "The message referred to is not in flight.",
        )),
        // "Amazon SQS visibility timeout", Developer Guide: the limit is not extended by a change.
        Some(_) if now_ms + hidden_s * 1000 > received_in(handle)?.saturating_add(LONGEST_HIDDEN_S * 1000) => {
            Err(invalid(format!(
                "Total VisibilityTimeout for the message is beyond the limit [{LONGEST_HIDDEN_S} seconds]"
            )))
        }
        Some(_) => {
            tx.run(
                "UPDATE messages SET visible_ms = ?2 WHERE n = ?1",
                params![n, now_ms + hidden_s * 1000],
            )?;
            Ok(())
        }
    }
}

/// Moves the visible messages that were received as often as the policy allows to the dead-letter queue. When they were
/// sent stays, so their retention goes on ("Using dead-letter queues", Developer Guide). Answers how many these were.
fn bury(tx: &Transaction<'_>, queue: &Queue, now_ms: i64) -> Result<usize, AwsError> {
    let Some(redrive) = queue.redrive()? else { return Ok(0) };
    // A dead-letter queue that was deleted takes nothing; the messages stay.
    let Ok(target) = name_in(&redrive.target_arn).and_then(|name| Queue::find(tx, name)) else {
        return Ok(0);
    };
    Ok(tx.run(
        "UPDATE messages SET queue = ?2, source = ?3, receives_here = 0, handle = NULL \
         WHERE queue = ?1 AND visible_ms <= ?4 AND receives_here >= ?5",
        params![queue.name, target.name, queue.arn(), now_ms, redrive.max_receives],
    )?)
}

fn check_hidden(hidden_s: i64) -> Result<(), AwsError> {
    if (0..=LONGEST_HIDDEN_S).contains(&hidden_s) {
        Ok(())
    } else {
        Err(invalid("VisibilityTimeout must be between 0 and 43200."))
    }
}

/// A new receipt handle: the row's number, when it was received, and bytes that nobody can guess.
fn handle(n: i64, now_ms: i64) -> Result<String, AwsError> {
    Ok(format!("{n}.{now_ms}.{:032x}", u128::from_be_bytes(random::bytes()?)))
}

fn number_in(handle: &str) -> Result<i64, AwsError> {
    part_of(handle, 0)
}

/// When the message of this handle was received, in milliseconds.
fn received_in(handle: &str) -> Result<i64, AwsError> {
    part_of(handle, 1)
}

fn part_of(handle: &str, n: usize) -> Result<i64, AwsError> {
    let part = handle.split('.').nth(n).and_then(|part| part.parse().ok());
    part.ok_or_else(|| AwsError::bad_request("ReceiptHandleIsInvalid", "The input receipt handle is invalid."))
}

/// An attribute has a type and exactly the value that the type asks for.
fn is_valid(attribute: &Attribute) -> bool {
    let Attribute {
        data_type,
        string_value,
        binary_value,
    } = attribute;
    match data_type.split('.').next() {
        Some("String" | "Number") => {
            string_value.as_ref().is_some_and(|value| !value.is_empty()) && binary_value.is_none()
        }
        Some("Binary") => binary_value.as_ref().is_some_and(|value| !value.0.is_empty()) && string_value.is_none(),
        _ => false,
    }
}

fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest over attributes ("Calculating the MD5 message digest for message attributes", Developer Guide): in the order of
/// the names, each of name, type and value with its length before it, and one byte for the kind of value.
fn md5_of(attributes: &MessageAttributes) -> String {
    let mut bytes = Vec::new();
    let mut add = |text: &[u8], kind: Option<u8>| {
        bytes.extend(kind);
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(text);
    };
    for (name, attribute) in attributes {
        add(name.as_bytes(), None);
        add(attribute.data_type.as_bytes(), None);
        match (&attribute.string_value, &attribute.binary_value) {
            (Some(text), _) => add(text.as_bytes(), Some(1)),
            (None, Some(Blob(value))) => add(value, Some(2)),
            (None, None) => {}
        }
    }
    md5_hex(&bytes)
}
