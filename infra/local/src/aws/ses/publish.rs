//! Publishing: every event goes to the topics of its configuration set once its time has come.
//!
//! Accepting an email puts all its events into the outbox, in the same transaction. An event leaves the outbox after it was
//! published: a process that dies between the two publishes it again, as SES may at any time, and none is lost. An event
//! that no topic takes is dropped, as SES drops it. The events of one moment are published in their order.
//!
//! For tests, events can be held back, published twice, or published last first; a restart ends all three.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Transaction;
use serde_json::{Value, json};

use super::behaviour::{Event, EventType};
use super::destination::{SERVICE, source, topics};
use super::mail::Recipient;
use super::record::{Happening, Origin, mail, matching, record};
use super::{AwsError, Ses};
use crate::aws::sns::Message;
use crate::aws::store::Prepared;

/// The subject that SES gives an event, which shows where a message is wrapped.
const SUBJECT: &str = "Amazon SES Email Event Notification";

/// What is done to events on demand.
#[derive(Default)]
pub(super) struct Disturbance {
    is_withheld: AtomicBool,
    is_doubled: AtomicBool,
    is_reversed: AtomicBool,
    n_published: AtomicU64,
}

/// A change of what is done to events; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disturb {
    /// Hold events back; they are published once this is false again.
    pub withhold: Option<bool>,
    /// Publish every event twice.
    pub duplicate: Option<bool>,
    /// Publish the latest of the waiting events first.
    pub reverse: Option<bool>,
}

/// What is done to events, and how many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disturbed {
    /// Events are held back.
    pub withhold: bool,
    /// Every event is published twice.
    pub duplicate: bool,
    /// The latest of the waiting events is published first.
    pub reverse: bool,
    /// Events whose time has come and that are not published.
    pub n_waiting: u64,
}

/// An event in the outbox.
struct Waiting {
    n: i64,
    set: String,
    recipient: String,
    mail: Value,
    event: Event,
    at_ms: i64,
    expires_ms: i64,
}

/// Puts all that will happen to an email into the outbox. `Send` and `Reject` are about the email as a whole, so they are
/// told once; everything else once for each recipient.
pub(super) fn enqueue(
    tx: &Transaction<'_>,
    origin: &Origin<'_>,
    recipients: &[Recipient],
    expires_ms: i64,
) -> Result<(), AwsError> {
    let mail = mail(origin).to_string();
    for (place, recipient) in recipients.iter().enumerate() {
        for event in &recipient.events {
            let is_of_all = matches!(event.kind, EventType::Send | EventType::Reject);
            if matching(event.kind).is_none() || (is_of_all && place > 0) {
                continue;
            }
            tx.run(
                "INSERT INTO outbox (set_name, recipient, mail, event, at_ms, expires_ms, due_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (
                    origin.set,
                    &recipient.address,
                    &mail,
                    json!(event).to_string(),
                    origin.at_ms,
                    expires_ms,
                    event.at_ms,
                ),
            )?;
        }
    }
    Ok(())
}

impl Ses {
    /// Publishes every event whose time has come and that is not held back; answers how many.
    ///
    /// # Errors
    /// What the local storage answers. What was not published yet stays.
    pub fn publish_due(&self) -> Result<u64, AwsError> {
        // Two at a time would publish the same event twice.
        let _alone = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut n = 0;
        while !self.disturbance.is_withheld.load(Ordering::SeqCst) {
            let Some(next) = self.next()? else { break };
            self.publish(&next)?;
            self.store
                .change(|tx| Ok::<_, AwsError>(tx.run("DELETE FROM outbox WHERE n = ?1", [next.n])?))?;
            self.disturbance.n_published.fetch_add(1, Ordering::SeqCst);
            n += 1;
        }
        Ok(n)
    }

    /// When the next event is to be published, in milliseconds since the Unix epoch; `None` when nothing is known to come
    /// or events are held back.
    ///
    /// # Errors
    /// What the local storage answers.
    pub fn next_due_ms(&self) -> Result<Option<i64>, AwsError> {
        if self.disturbance.is_withheld.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let sql = "SELECT MIN(due_ms) FROM outbox";
        self.store.change(|tx| Ok(tx.row(sql, [], |row| row.get(0))?))
    }

    /// Waits until there may be something new to publish: an email was accepted, or events are no longer held back.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// How many events were published since the start.
    #[must_use]
    pub fn n_published(&self) -> u64 {
        self.disturbance.n_published.load(Ordering::SeqCst)
    }

    /// Changes what is done to events, and answers what is done to them now.
    ///
    /// # Errors
    /// What the local storage answers.
    pub fn disturb(&self, change: Disturb) -> Result<Disturbed, AwsError> {
        let Disturbance {
            is_withheld,
            is_doubled,
            is_reversed,
            ..
        } = &self.disturbance;
        let set = |flag: &AtomicBool, to: Option<bool>| match to {
            Some(to) => {
                flag.store(to, Ordering::SeqCst);
                to
            }
            None => flag.load(Ordering::SeqCst),
        };
        // The order of what is released is known before anything is.
        let (duplicate, reverse) = (set(is_doubled, change.duplicate), set(is_reversed, change.reverse));
        let withhold = set(is_withheld, change.withhold);
        let now_ms = self.clock.now_ms();
        let sql = "SELECT COUNT(*) FROM outbox WHERE due_ms <= ?1";
        let n_waiting: i64 = self
            .store
            .change(|tx| Ok::<_, AwsError>(tx.row(sql, [now_ms], |row| row.get(0))?))?;
        self.news.notify_one();
        Ok(Disturbed {
            withhold,
            duplicate,
            reverse,
            n_waiting: n_waiting.unsigned_abs(),
        })
    }

    fn next(&self) -> Result<Option<Waiting>, AwsError> {
        let order = if self.disturbance.is_reversed.load(Ordering::SeqCst) {
            "DESC"
        } else {
            "ASC"
        };
        let now_ms = self.clock.now_ms();
        self.store.change(|tx| {
            let sql = format!(
                "SELECT n, set_name, recipient, mail, event, at_ms, expires_ms FROM outbox WHERE due_ms <= ?1 \
                 ORDER BY due_ms {order}, n {order} LIMIT 1"
            );
            let mut query = tx.prepare_cached(&sql)?;
            let mut rows = query.query([now_ms])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let wrong = |_| rusqlite::Error::InvalidQuery;
            Ok(Some(Waiting {
                n: row.get(0)?,
                set: row.get(1)?,
                recipient: row.get(2)?,
                mail: serde_json::from_str(&row.get::<_, String>(3)?).map_err(wrong)?,
                event: serde_json::from_str(&row.get::<_, String>(4)?).map_err(wrong)?,
                at_ms: row.get(5)?,
                expires_ms: row.get(6)?,
            }))
        })
    }

    fn publish(&self, waiting: &Waiting) -> Result<(), AwsError> {
        let id = waiting
            .mail
            .get("messageId")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let happening = Happening {
            event: &waiting.event,
            recipient: &waiting.recipient,
            at_ms: waiting.at_ms,
            expires_ms: waiting.expires_ms,
            seed: &format!("{id}.{}", waiting.n),
        };
        let (Some(record), Some(matching)) = (record(&waiting.mail, &happening), matching(waiting.event.kind)) else {
            return Ok(());
        };
        let message = Message {
            text: record.to_string(),
            subject: Some(SUBJECT.to_owned()),
            ..Message::default()
        };
        let copies = if self.disturbance.is_doubled.load(Ordering::SeqCst) {
            2
        } else {
            1
        };
        for topic in self.store.change(|tx| topics(tx, &waiting.set, matching))? {
            for _ in 0..copies {
                match self.sns.publish_for(SERVICE, &source(&waiting.set), &topic, &message) {
                    Ok(_) => {}
                    Err(error) if error.status.is_server_error() => return Err(error),
                    Err(error) => {
                        tracing::error!(message_id = id, topic, code = %error.code, "a topic does not take an event of SES, which is lost");
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
