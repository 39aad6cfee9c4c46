//! Idempotency keys: the same key and body answer the first answer again, another body is a conflict.
//!
//! The row is written in the transaction of acceptance, so that no crash leaves a key without its email or the reverse. A
//! batch takes several transactions and therefore holds its key as running first.

use serde::{Deserialize, Serialize};

use crate::actor::{Actor, Mode, Scope};
use crate::app::App;
use crate::aws::keys::sha256;
use crate::error::{Error, Fault, Kind, Result};
use crate::id::{BatchId, EmailId, TenantId};
use crate::key::Key;

/// The longest key, characters (as Resend's).
pub const MAX_KEY: usize = 256;
/// How long a key is kept: seven days, so that a client's retries over a week-end still find their first answer.
const KEPT_MS: i64 = 7 * 86_400_000;
/// How long a batch may run before its key can be taken over: longer than the function that runs it.
pub(crate) const RUNNING_MS: i64 = 120_000;

/// A key of a request.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks the header's value.
    ///
    /// # Errors
    /// Malformed, pointing at the header.
    pub fn parse(text: &str) -> Result<Self> {
        let is_key = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if is_key {
            return Ok(Self(text.to_owned()));
        }
        let detail = "An idempotency key has 1 to 256 printable ASCII characters.";
        let fault = Fault::new("Idempotency-Key", detail);
        Err(Error::with_faults(Kind::Malformed, detail, vec![fault]).named("invalid_idempotency_key"))
    }
}

/// What a key stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IdempotencyRow {
    /// SHA-256 of route and body, keyed by the tenant's index key.
    pub(crate) request: String,
    /// The emails of the first answer, in its order.
    pub(crate) emails: Vec<EmailId>,
    /// Set while a batch is being accepted: its id, and until when nobody else may take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<Running>,
    /// When the row may go, seconds since the epoch (DynamoDB's TTL; readers compare it themselves).
    pub(crate) expires_at: i64,
}

/// A batch under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    // `batch` is one of the words that DynamoDB keeps for itself in expressions.
    #[serde(rename = "batch_id")]
    pub(crate) batch: BatchId,
    pub(crate) until_ms: i64,
}

/// A key with the request that it came with.
pub(crate) struct Held {
    /// The key's hash, as it stands in the table key.
    pub(crate) hash: String,
    request: String,
}

impl Held {
    pub(crate) async fn new(app: &App, actor: &Actor, key: &IdempotencyKey, route: &str, body: &[u8]) -> Result<Self> {
        let tenant = actor.tenant_with(Scope::EmailsSend)?;
        // A test must not take the place of an email, nor answer for one.
        let field = match actor.mode() {
            Mode::Live => "idempotency",
            Mode::Test => "idempotency-test",
        };
        let hash = match crate::planted!("bug_13") {
            true => sha256(key.0.as_bytes()),
            false => app.index_hash(tenant, field, key.0.as_bytes()).await?,
        };
        let request = app.index_hash(tenant, route, sha256(body).as_bytes()).await?;
        Ok(Self { hash, request })
    }

    pub(crate) fn row(&self, app: &App, emails: Vec<EmailId>, running: Option<Running>) -> IdempotencyRow {
        let expires_at = app.clock.now_ms().saturating_add(KEPT_MS).div_euclid(1000);
        IdempotencyRow {
            request: self.request.clone(),
            emails,
            running,
            expires_at,
        }
    }

    /// The first answer to this key, if there was one.
    ///
    /// # Errors
    /// Conflict `invalid_idempotent_request` for another body, `concurrent_idempotent_requests` while the first runs.
    pub(crate) async fn answered(&self, app: &App, tenant: &TenantId) -> Result<Option<Vec<EmailId>>> {
        let Some(row) = app.get::<IdempotencyRow>(&Key::Idempotency(tenant, &self.hash)).await? else {
            return Ok(None);
        };
        if row.expires_at <= app.clock.now_ms().div_euclid(1000) {
            return Ok(None);
        }
        if row.request != self.request {
            let message = "This idempotency key was used with another request body.";
            return Err(Error::new(Kind::Conflict, message).named("invalid_idempotent_request"));
        }
        match row.running {
            None => Ok(Some(row.emails)),
            Some(running) if running.until_ms <= app.clock.now_ms() => Ok(None),
            Some(_) => Err(concurrent()),
        }
    }
}

/// The answer while another request with the same key is being worked on.
pub(crate) fn concurrent() -> Error {
    Error::new(
        Kind::Conflict,
        "Another request with this idempotency key is being worked on; repeat it later.",
    )
    .named("concurrent_idempotent_requests")
}
