//! SESv2: identities, configuration sets, suppression, and sending to nobody but the mailbox.
//!
//! `SendEmail` takes raw messages and refuses what SES refuses. What happens to an accepted email follows from the
//! recipient's address (`ses/behaviour.rs`) and the clock; it is stored as the list of events that SES would publish.
//! Each is published once its time has come (`ses/publish.rs`). An identity at a reserved `.test` or `.example` name is verified at once, since
//! this system is its DNS; any other stays pending until [`Ses::verify`].

mod account;
mod behaviour;
mod configuration_set;
mod destination;
mod identity;
mod mail;
mod publish;
mod raw;
mod record;
mod route;
mod send;
mod suppression;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sealpost_core::clock::Clock;
use serde_json::Value;
use tokio::sync::Notify;

use super::error::AwsError;
use super::sns::Sns;
use super::store::Store;

pub use behaviour::{BounceReason, Event, EventType, LONGEST_DELIVERY_S, TlsPolicy};
pub use mail::{Filter, Handed, Recipient};
pub use publish::{Disturb, Disturbed};

/// Emails a second that the account may send until a test says otherwise.
const DEFAULT_RATE: f64 = 1_000.0;
/// How many entries a list answers when the request does not say (SESv2 API Reference: up to 1,000).
const PAGE: usize = 1_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, verified INTEGER NOT NULL, set_name TEXT, tags TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS configuration_set (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS suppression (address TEXT PRIMARY KEY, reason TEXT NOT NULL, since_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mail (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL,
    sender TEXT NOT NULL, recipients TEXT NOT NULL, subject TEXT NOT NULL, set_name TEXT, tls_policy TEXT NOT NULL,
    tags TEXT NOT NULL, raw BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS mail_at ON mail (at_ms);
CREATE TABLE IF NOT EXISTS event_destination (
    n INTEGER PRIMARY KEY AUTOINCREMENT, set_name TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
    UNIQUE (set_name, name));
CREATE TABLE IF NOT EXISTS outbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT, set_name TEXT NOT NULL, recipient TEXT NOT NULL, mail TEXT NOT NULL,
    event TEXT NOT NULL, at_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_ms, n);
CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
";

/// The local SES.
pub struct Ses {
    store: Store,
    clock: Clock,
    sns: Arc<Sns>,
    rate: Mutex<Bucket>,
    disturbance: publish::Disturbance,
    publishing: Mutex<()>,
    /// There may be something new to publish.
    news: Notify,
}

/// The sending rate, as a token bucket that holds one second's worth.
struct Bucket {
    per_second: f64,
    tokens: f64,
    at_ms: i64,
}

impl Ses {
    /// Opens the service's file, or memory for `None`; events go to the topics of `sns`.
    ///
    /// # Errors
    /// What SQLite answers when the file cannot be opened.
    pub fn open(path: Option<&Path>, clock: Clock, sns: Arc<Sns>) -> rusqlite::Result<Self> {
        let bucket = Bucket {
            per_second: DEFAULT_RATE,
            tokens: DEFAULT_RATE,
            at_ms: clock.now_ms(),
        };
        Ok(Self {
            store: Store::open(path, SCHEMA)?,
            clock,
            sns,
            rate: Mutex::new(bucket),
            disturbance: publish::Disturbance::default(),
            publishing: Mutex::new(()),
            news: Notify::new(),
        })
    }

    /// Answers one request of the account's owner; `path` with its query, as sent.
    ///
    /// # Errors
    /// As [`Ses::call_as`].
    pub async fn call(&self, method: &http::Method, path: &str, body: Value) -> Result<Value, AwsError> {
        self.call_as("root", method, path, body).await
    }

    /// Answers one request of a caller with this name.
    ///
    /// # Errors
    /// What SESv2 answers; NotImplemented with the operation's name for what is not done here; `Sealpost.ReplyLost` where
    /// the email was accepted and the connection has to break instead of an answer.
    pub async fn call_as(
        &self,
        caller: &str,
        method: &http::Method,
        path: &str,
        body: Value,
    ) -> Result<Value, AwsError> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let Some((operation, variables)) = route::find(method.as_str(), path) else {
            return Err(AwsError::not_implemented(&format!("SESv2 {method} {path}")));
        };
        let query = route::query(query);
        let variable = variables.first().map_or("", String::as_str);
        let second = variables.get(1).map_or("", String::as_str);
        match operation {
            "SendEmail" => self.send_email(caller, &body),
            "GetAccount" => self.get_account(),
            "PutAccountSendingAttributes" => self.put_sending(&body),
            "CreateConfigurationSet" => self.create_configuration_set(body),
            "GetConfigurationSet" => self.get_configuration_set(variable),
            "PutConfigurationSetDeliveryOptions" => self.put_delivery_options(variable, &body),
            "PutConfigurationSetSuppressionOptions" => self.put_suppression_options(variable, &body),
            "ListConfigurationSets" => self.list_configuration_sets(&body),
            "DeleteConfigurationSet" => self.delete_configuration_set(variable),
            "CreateConfigurationSetEventDestination" => self.create_destination(variable, &body),
            "GetConfigurationSetEventDestinations" => self.get_destinations(variable),
            "UpdateConfigurationSetEventDestination" => self.update_destination(variable, second, &body),
            "DeleteConfigurationSetEventDestination" => self.delete_destination(variable, second),
            "CreateEmailIdentity" => self.create_identity(&body),
            "GetEmailIdentity" => self.get_identity(variable),
            "ListEmailIdentities" => self.list_identities(&body),
            "DeleteEmailIdentity" => self.delete_identity(variable),
            "PutSuppressedDestination" => self.put_suppressed(&body),
            "GetSuppressedDestination" => self.get_suppressed(variable),
            "ListSuppressedDestinations" => self.list_suppressed(&query),
            "DeleteSuppressedDestination" => self.delete_suppressed(variable),
            other => Err(AwsError::not_implemented(&format!("SESv2 {other}"))),
        }
    }

    /// Sets the account's sending rate, in recipients a second; the bucket starts full.
    pub fn set_max_send_rate(&self, per_second: f64) {
        let mut bucket = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        *bucket = Bucket {
            per_second,
            tokens: per_second.max(1.0),
            at_ms: self.clock.now_ms(),
        };
    }

    /// Takes `n` from the bucket, or takes nothing and answers false.
    fn take_tokens(&self, n: usize, now_ms: i64) -> bool {
        let n = u32::try_from(n).map_or(f64::MAX, f64::from);
        let mut bucket = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        // A minute fills any bucket, so longer pauses need not be told apart.
        let passed_ms = i32::try_from(now_ms.saturating_sub(bucket.at_ms).clamp(0, 60_000)).unwrap_or(0);
        let full = bucket.per_second.max(1.0);
        bucket.tokens = (bucket.tokens + f64::from(passed_ms) / 1000.0 * bucket.per_second).min(full);
        bucket.at_ms = now_ms;
        // One email to more recipients than a full bucket holds could otherwise never go.
        let is_enough = bucket.tokens >= n.min(full);
        if is_enough {
            bucket.tokens -= n;
        }
        is_enough
    }
}

/// The BadRequestException with this message.
fn bad_request(message: impl Into<String>) -> AwsError {
    AwsError::bad_request("BadRequestException", message)
}

/// The NotFoundException with this message.
fn not_found(message: impl Into<String>) -> AwsError {
    AwsError::new(http::StatusCode::NOT_FOUND, "NotFoundException", message)
}

/// The required text member `name`.
fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, AwsError> {
    let value = body.get(name).and_then(Value::as_str);
    value.ok_or_else(|| bad_request(format!("Member must not be null: {name}")))
}

/// Refuses members that AWS knows and this system does not; a member of null is as good as absent.
fn only(operation: &str, body: &Value, known: &[&str]) -> Result<(), AwsError> {
    let members = body.as_object().into_iter().flatten();
    match members
        .filter(|(_, value)| !value.is_null())
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        Some((name, _)) => Err(AwsError::not_implemented(&format!("SESv2 {operation}: {name}"))),
        None => Ok(()),
    }
}

/// One page of `items` in order of name, the token being the last name of the page before.
fn page<T>(
    items: Vec<(String, T)>,
    token: Option<&str>,
    size: Option<i64>,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let size = match size {
        None => PAGE,
        Some(size) => usize::try_from(size)
            .ok()
            .filter(|size| (1..=PAGE).contains(size))
            .ok_or_else(|| bad_request(format!("PageSize must be between 1 and {PAGE}.")))?,
    };
    let mut left = items
        .into_iter()
        .filter(|(name, _)| token.is_none_or(|token| name.as_str() > token))
        .peekable();
    let (mut found, mut last) = (Vec::new(), None);
    while found.len() < size {
        let Some((name, item)) = left.next() else { break };
        last = Some(name);
        found.push(item);
    }
    Ok((found, last.filter(|_| left.peek().is_some())))
}

/// A list answer with its token, where more is left.
fn listed(member: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = serde_json::Map::from_iter([(member.to_owned(), Value::Array(items))]);
    if let Some(next) = next {
        answer.insert("NextToken".to_owned(), Value::String(next));
    }
    Value::Object(answer)
}

#[cfg(test)]
mod tests;
