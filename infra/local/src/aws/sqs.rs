//! SQS: standard queues, at least once and in no promised order.
//!
//! A message that is received and not deleted comes back after its visibility timeout, goes to the dead-letter queue when it was
//! received too often, and is dropped when its retention is over; all by the system's clock. `duplicate_next` delivers
//! a message twice and `shuffle` in any order, as SQS may at any time. FIFO queues and fair queues are not implemented. A
//! queue's policy is held against topics that send to it; the key of an encrypted queue has to be enabled, and is asked for
//! of the caller's role. It is looked at in every call, where SQS goes on with its data key until the reuse period is over.

mod attributes;
mod batch;
mod message;
mod queue;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Transaction, params};
use sealpost_core::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::AwsError;
use super::iam::{Asked, allows};
use super::kms::Kms;
use super::parameters::Parameters;
use super::store::{Prepared, Store};
use message::Receive;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS queues (
    name TEXT PRIMARY KEY, attributes TEXT NOT NULL, tags TEXT NOT NULL,
    created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL, purged_ms INTEGER);
CREATE TABLE IF NOT EXISTS messages (
    n INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL REFERENCES queues ON DELETE CASCADE,
    id TEXT NOT NULL, body TEXT NOT NULL, attributes TEXT NOT NULL,
    sent_ms INTEGER NOT NULL, visible_ms INTEGER NOT NULL, first_ms INTEGER,
    receives INTEGER NOT NULL DEFAULT 0, receives_here INTEGER NOT NULL DEFAULT 0,
    handle TEXT, source TEXT);
CREATE INDEX IF NOT EXISTS messages_by_queue ON messages (queue, visible_ms);
";

/// How often a long poll looks again, since time can also be moved.
const POLL: Duration = Duration::from_millis(100);

/// Queues.
pub struct Sqs {
    store: Store,
    clock: Clock,
    kms: Arc<Kms>,
    arrived: Notify,
    n_changes: AtomicU64,
    duplicates: AtomicU64,
    is_shuffled: AtomicBool,
}

/// One call at work: its transaction, its time and what was asked.
struct Call<'a> {
    tx: &'a Transaction<'a>,
    kms: &'a Kms,
    now_ms: i64,
    given: Parameters,
}

impl Sqs {
    /// Opens the service's file, or memory for `None`; the keys of encrypted queues are those of `kms`.
    ///
    /// # Errors
    /// What SQLite answers when the file cannot be opened.
    pub fn open(path: Option<&Path>, clock: Clock, kms: Arc<Kms>) -> rusqlite::Result<Self> {
        Ok(Self {
            store: Store::open(path, SCHEMA)?,
            clock,
            kms,
            arrived: Notify::new(),
            n_changes: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            is_shuffled: AtomicBool::new(false),
        })
    }

    /// Delivers each of the next `n` received messages twice: a second copy, with the same message id, stays on the queue and
    /// has to be deleted by itself.
    pub fn duplicate_next(&self, n: u64) {
        self.duplicates.fetch_add(n, Ordering::SeqCst);
    }

    /// Receives in random order from now on, or again in the order in which messages became visible.
    pub fn shuffle(&self, is_on: bool) {
        self.is_shuffled.store(is_on, Ordering::SeqCst);
    }

    /// Every message of every queue, in flight or not, for tests: the queue, the body and the attributes as JSON.
    ///
    /// # Errors
    /// What the local storage answers.
    pub fn messages(&self) -> Result<Vec<(String, String, String)>, AwsError> {
        self.store.change(|tx| {
            let mut rows = tx.prepare_cached("SELECT queue, body, attributes FROM messages ORDER BY n")?;
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Answers one operation, named as in the API reference without the `AmazonSQS.` prefix.
    ///
    /// # Errors
    /// What SQS answers; NotImplemented with the name of an operation, parameter or attribute that is not done here.
    pub async fn call(&self, operation: &str, body: Value) -> Result<Value, AwsError> {
        let given = Parameters::new("SQS", operation, body)?;
        if operation == "ReceiveMessage" {
            return self.receive(given).await;
        }
        let answer = self.store.change(|tx| {
            let call = Call {
                tx,
                kms: &self.kms,
                now_ms: self.clock.now_ms(),
                given,
            };
            match operation {
                "CreateQueue" => call.create_queue(),
                "GetQueueUrl" => call.get_queue_url(),
                "GetQueueAttributes" => call.get_queue_attributes(),
                "SetQueueAttributes" => call.set_queue_attributes(),
                "ListQueues" => call.list_queues(),
                "DeleteQueue" => call.delete_queue(),
                "PurgeQueue" => call.purge_queue(),
                "TagQueue" => call.tag_queue(),
                "UntagQueue" => call.untag_queue(),
                "ListQueueTags" => call.list_queue_tags(),
                "SendMessage" => call.send_message(),
                "SendMessageBatch" => call.send_message_batch(),
                "DeleteMessage" => call.delete_message(),
                "DeleteMessageBatch" => call.delete_message_batch(),
                "ChangeMessageVisibility" => call.change_message_visibility(),
                "ChangeMessageVisibilityBatch" => call.change_message_visibility_batch(),
                "StartMessageMoveTask" => call.start_message_move_task(),
                other => Err(AwsError::not_implemented(&format!("SQS {other}"))),
            }
        })?;
        self.changed();
        Ok(answer)
    }

    /// Takes a message that a topic sends, when the queue's policy lets that topic. Whether SNS may use the key of an
    /// encrypted queue stands in the key's policy, which is checked where the template is read.
    ///
    /// # Errors
    /// AccessDenied where the policy does not allow it, and what SendMessage answers.
    pub(crate) fn deliver(&self, queue: &str, topic: &str, body: &str, attributes: &Value) -> Result<(), AwsError> {
        self.store.change(|tx| {
            let found = queue::Queue::find(tx, queue::name_in(queue)?)?;
            let policy = found
                .attributes
                .get("Policy")
                .map(|policy| serde_json::from_str(policy));
            let policy: Value = policy.and_then(Result::ok).unwrap_or_default();
            let asked = Asked {
                service: "sns.amazonaws.com",
                action: "sqs:SendMessage",
                resource: queue,
                source: topic,
            };
            if !allows(&policy, asked) {
                let message = "The queue's policy does not let the topic send.";
                return Err(AwsError::new(http::StatusCode::FORBIDDEN, "AccessDenied", message));
            }
            found.check_key(&self.kms)?;
            let body = json!({"MessageBody": body, "MessageAttributes": attributes});
            let mut given = Parameters::new("SQS", "SendMessage", body)?;
            message::Draft::parse(&mut given)?.send(tx, &found, self.clock.now_ms())
        })?;
        self.changed();
        Ok(())
    }

    /// When the next message of a queue can be received, milliseconds since the Unix epoch; nothing while it has none.
    pub(crate) fn next_visible_ms(&self, queue: &str) -> Result<Option<i64>, AwsError> {
        self.store.change(|tx| {
            let sql = "SELECT MIN(visible_ms) FROM messages WHERE queue = ?1";
            Ok(tx.row(sql, [queue], |row| row.get(0))?)
        })
    }

    /// How many calls have had an effect: whoever saw a queue empty need not look again before this has changed.
    pub(crate) fn n_changes(&self) -> u64 {
        self.n_changes.load(Ordering::SeqCst)
    }

    fn changed(&self) {
        self.n_changes.fetch_add(1, Ordering::SeqCst);
        self.arrived.notify_waiters();
    }

    /// The KMS key that a queue is encrypted with.
    pub(crate) fn kms_key(&self, queue: &str) -> Option<String> {
        let found: Result<Option<String>, AwsError> = self.store.change(|tx| {
            let queue = queue::Queue::find(tx, queue)?;
            Ok(queue.attributes.get("KmsMasterKeyId").cloned())
        });
        found.ok().flatten()
    }

    /// Receives, and waits for a first message as long as was asked.
    async fn receive(&self, given: Parameters) -> Result<Value, AwsError> {
        let receive = self.store.change(|tx| Receive::parse(tx, given))?;
        let until = Instant::now() + Duration::from_secs(receive.wait_s);
        loop {
            let arrived = self.arrived.notified();
            let messages = self.store.change(|tx| receive.run(tx, self))?;
            let left = until.saturating_duration_since(Instant::now());
            if !messages.is_empty() || left.is_zero() {
                return Ok(message::received(messages));
            }
            // Either a call that may have put a message there, or time, which the test may have moved.
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep(left.min(POLL)) => {}
            }
        }
    }

    /// Whether the message that is received now is one of those to deliver twice.
    fn is_doubled(&self) -> bool {
        self.duplicates
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
    }
}

/// Drops the messages of a queue whose retention is over.
fn forget_expired(tx: &Transaction<'_>, queue: &queue::Queue, now_ms: i64) -> Result<(), AwsError> {
    let oldest = now_ms.saturating_sub(queue.number("MessageRetentionPeriod").saturating_mul(1000));
    tx.run(
        "DELETE FROM messages WHERE queue = ?1 AND sent_ms <= ?2",
        params![queue.name, oldest],
    )?;
    Ok(())
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::bad_request("InvalidParameterValue", message)
}
