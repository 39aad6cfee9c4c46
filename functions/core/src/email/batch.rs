//! Accepting up to a hundred emails in one call: all of them or none.
//!
//! They do not fit into one transaction, so each is written under a batch that does not count until its commit mark is
//! there. The last transaction writes the mark, the outbox row and the idempotency answer; until then no delivery can be
//! claimed and no read shows the emails.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::accept::{Tickets, hint, stage};
use super::idempotency::{Held, IdempotencyKey, RUNNING_MS, Running, concurrent};
use super::request::{Checked, SendRequest};
use super::{EmailRow, schedule};
use crate::actor::{Actor, Mode, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Transaction, number, string};
use crate::delivery::OutboxRow;
use crate::error::{Error, Fault, Kind, Result};
use crate::id::{BatchId, EmailId, TenantId};
use crate::json;
use crate::key::Key;

/// At most so many emails in one call (as Resend's).
pub const MAX_EMAILS: usize = 100;

/// An event takes two items of a transaction's hundred.
const EVENTS_A_TRANSACTION: usize = 50;

/// The mark of a batch: that it is committed, or that it never will be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BatchRow {
    /// None where it was given up.
    pub(crate) emails: Vec<EmailId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    committed_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given_up_at_ms: Option<i64>,
}

impl BatchRow {
    /// The mark that keeps a batch from ever being committed, since both marks stand in one place.
    pub(crate) fn given_up(now_ms: i64) -> Self {
        Self {
            emails: Vec::new(),
            committed_at_ms: None,
            given_up_at_ms: Some(now_ms),
        }
    }

    /// Whether the batch's emails count.
    pub(crate) fn is_committed(&self) -> bool {
        self.committed_at_ms.is_some()
    }
}

/// Accepts the emails in `body`, a JSON array.
///
/// # Errors
/// As [`super::accept::accept`]; pointers begin with the email's place in the array.
pub async fn accept(app: &App, actor: &Actor, body: &[u8], key: Option<&IdempotencyKey>) -> Result<Vec<EmailId>> {
    let tenant = actor.tenant_with(Scope::EmailsSend)?;
    let checked = read(body, app.clock.now_ms(), actor.mode())?;
    let held = match key {
        Some(key) => Some(Held::new(app, actor, key, "emails/batch", body).await?),
        None => None,
    };
    if let Some(held) = &held
        && let Some(emails) = held.answered(app, tenant).await?
    {
        return Ok(emails);
    }
    let row = app.tenant(tenant).await?;
    for (n, checked) in checked.iter().enumerate() {
        checked
            .require_domain(row.domains.iter())
            .map_err(|error| under(n, error))?;
    }
    let batch = BatchId::new(&app.clock, &app.random)?;
    if let Some(held) = &held {
        hold(app, tenant, held, &batch).await?;
    }
    let policy = app.policy(tenant).await?;
    let mut emails = Vec::with_capacity(checked.len());
    let mut tickets = Tickets::new();
    let mut scheduled = Vec::new();
    for (n, checked) in checked.iter().enumerate() {
        let staged = stage(app, actor, &policy, checked, Some(batch.clone()))
            .await
            .map_err(|error| under(n, error))?;
        match staged
            .write(app, tenant, actor, Transaction::new(app))?
            .commit()
            .await?
        {
            Outcome::Committed => {}
            Outcome::Refused(_) => return Err(Error::internal("A new id was already taken.")),
        }
        for (delay_ms, some) in staged.tickets(app, tenant) {
            tickets.entry(delay_ms).or_default().extend(some);
        }
        emails.push(staged.email.id.clone());
        if staged.email.scheduled_at_ms.is_some() {
            scheduled.push(staged.email);
        }
    }
    commit(app, tenant, actor, &batch, &emails, held.as_ref()).await?;
    tell(app, tenant, &scheduled).await;
    hint(app, tickets).await;
    Ok(emails)
}

fn read(body: &[u8], now_ms: i64, mode: Mode) -> Result<Vec<Checked>> {
    let Value::Array(values) = json::parse(body)? else {
        return Err(Error::invalid("", "The body of a batch is an array of emails."));
    };
    if values.is_empty() || values.len() > MAX_EMAILS {
        return Err(Error::invalid("", "A batch has 1 to 100 emails."));
    }
    let one = |(n, value)| {
        json::decode::<SendRequest>(value)
            .and_then(|request| request.check(now_ms, mode))
            .map_err(|error| under(n, error))
    };
    values.into_iter().enumerate().map(one).collect()
}

/// Puts the email's place before the pointers of an error.
fn under(n: usize, error: Error) -> Error {
    if error.fields().is_empty() {
        return error;
    }
    let faults = error
        .fields()
        .iter()
        .map(|fault| Fault::new(format!("/{n}{}", fault.pointer), fault.detail.clone()));
    let faults: Vec<Fault> = faults.collect();
    let message = faults
        .first()
        .map(|fault| format!("`{}`: {}", fault.pointer, fault.detail))
        .unwrap_or_default();
    Error::with_faults(error.kind(), message, faults).named(error.name())
}

/// Marks the idempotency key as running, so that a second request with it does not accept the emails again.
async fn hold(app: &App, tenant: &TenantId, held: &Held, batch: &BatchId) -> Result<()> {
    let now_ms = app.clock.now_ms();
    let running = Running {
        batch: batch.clone(),
        until_ms: now_ms.saturating_add(RUNNING_MS),
    };
    let row = held.row(app, Vec::new(), Some(running));
    let is_free = Expression::new("attribute_not_exists(pk) OR expires_at <= :now_s OR running.until_ms <= :now_ms")
        .with(":now_s", number(now_ms.div_euclid(1000)))
        .with(":now_ms", number(now_ms));
    match Transaction::new(app)
        .put(
            "idempotency",
            &Key::Idempotency(tenant, &held.hash),
            &row,
            Some(is_free),
        )
        .commit()
        .await?
    {
        Outcome::Committed => Ok(()),
        Outcome::Refused(_) => Err(concurrent()),
    }
}

/// Tells of the emails of a batch that wait for their time. This follows the commit mark, since before it nothing is
/// accepted and beside it there is no room; the emails stand whether or not it succeeds.
async fn tell(app: &App, tenant: &TenantId, scheduled: &[EmailRow]) {
    for some in scheduled.chunks(EVENTS_A_TRANSACTION) {
        let transaction = some.iter().try_fold(Transaction::new(app), |transaction, email| {
            transaction.event(app, schedule::event(tenant, email))
        });
        let told = match transaction {
            Ok(transaction) => transaction.commit().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(kind = ?error.kind(), "nobody is told that emails of a batch are scheduled");
        }
    }
}

async fn commit(
    app: &App,
    tenant: &TenantId,
    actor: &Actor,
    batch: &BatchId,
    emails: &[EmailId],
    held: Option<&Held>,
) -> Result<()> {
    let row = BatchRow {
        emails: emails.to_vec(),
        committed_at_ms: Some(app.clock.now_ms()),
        given_up_at_ms: None,
    };
    let entry = Entry {
        tenant,
        actor,
        action: Action::BatchAccepted,
        subject: batch.as_str(),
        facts: BTreeMap::from([("n_emails", emails.len().to_string())]),
    };
    let mut transaction = Transaction::new(app)
        .put_new("batch", &Key::Batch(tenant, batch), &row)
        .put_new(
            "outbox",
            &Key::OutboxBatch(tenant, batch),
            &OutboxRow::new(app, batch.as_str()),
        )
        .audit(app, entry)?;
    if let Some(held) = held {
        // Only the run that holds the key may answer for it.
        let is_ours = Expression::new("running.batch_id = :batch").with(":batch", string(batch.as_str()));
        let answer = held.row(app, emails.to_vec(), None);
        transaction = transaction.put(
            "idempotency",
            &Key::Idempotency(tenant, &held.hash),
            &answer,
            Some(is_ours),
        );
    }
    match transaction.commit().await? {
        Outcome::Committed => Ok(()),
        Outcome::Refused(labels) if labels.contains(&"idempotency") => Err(concurrent()),
        Outcome::Refused(_) => Err(Error::new(Kind::Internal, "A new id was already taken.")),
    }
}
