//! What the queue lost is found again in the table, and what nobody answered is decided.
//!
//! Runs every minute. It reads the outbox in base-table partitions with strong reads, re-enqueues what is due, gives up
//! what is too old, settles submissions whose deadline has passed, and queues scheduled emails whose time comes. It may run twice at the same time: every decision is
//! a conditional write.

use std::collections::BTreeMap;

use super::run::{GIVE_UP_MS, save};
use super::{DeliveryRow, OutboxRow, State};
use crate::actor::Actor;
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::queue::Ticket;
use crate::aws::table::{Range, Transaction};
use crate::email::batch::BatchRow;
use crate::email::{EmailRow, read, schedule};
use crate::error::Result;
use crate::id::{BatchId, EmailId, TenantId};
use crate::key::{Key, SHARDS, Table, outbox_partition};
use crate::policy::OnDoubt;
use crate::tenant;

/// How long a fresh ticket is left to the queue before the sweeper makes another.
const GRACE_MS: i64 = 60_000;

/// What one run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tickets put on the queue.
    pub n_enqueued: usize,
    /// Submissions whose doubt was decided.
    pub n_decided: usize,
    /// Outbox rows that were done with.
    pub n_cleared: usize,
}

/// One run over all tenants. A tenant that fails does not stop the others.
///
/// # Errors
/// Unavailable, when the register could not be read or some tenant's sweep failed.
pub async fn sweep(app: &App, actor: &Actor) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut failed = None;
    for tenant in tenant::all(app).await? {
        for shard in 0..SHARDS {
            if let Err(error) = sweep_shard(app, actor, &tenant, shard, &mut swept).await {
                tracing::warn!(%tenant, shard, "a sweep failed: {error}");
                failed = Some(error);
            }
            match schedule::sweep(app, &tenant, shard).await {
                Ok(n_enqueued) => swept.n_enqueued += n_enqueued,
                Err(error) => {
                    tracing::warn!(%tenant, shard, "a sweep of scheduled emails failed: {error}");
                    failed = Some(error);
                }
            }
        }
    }
    match failed {
        None => Ok(swept),
        Some(error) => Err(error),
    }
}

async fn sweep_shard(app: &App, actor: &Actor, tenant: &TenantId, shard: u8, swept: &mut Swept) -> Result<()> {
    let lines: Vec<OutboxRow> = app
        .query(Table::Mail, &outbox_partition(tenant, shard), &Range::default())
        .await?;
    for line in lines {
        let done = if let Some(email) = EmailId::parse(&line.id) {
            sweep_email(app, actor, tenant, &email, Some(line.created_at_ms), swept).await?
        } else if let Some(batch) = BatchId::parse(&line.id) {
            let emails = app
                .get::<BatchRow>(&Key::Batch(tenant, &batch))
                .await?
                .map(|row| row.emails);
            let mut done = true;
            for email in emails.unwrap_or_default() {
                done &= sweep_email(app, actor, tenant, &email, None, swept).await?;
            }
            done
        } else {
            false
        };
        if done {
            let transaction = match (EmailId::parse(&line.id), BatchId::parse(&line.id)) {
                (Some(email), _) => Transaction::new(app).delete("outbox", &Key::OutboxEmail(tenant, &email)),
                (None, Some(batch)) => Transaction::new(app).delete("outbox", &Key::OutboxBatch(tenant, &batch)),
                (None, None) => continue,
            };
            transaction.commit().await?;
            swept.n_cleared += 1;
        }
    }
    Ok(())
}

/// Sees to one email; whether all its deliveries are settled. `listed_at_ms` is when it got a line of its own, which for a
/// scheduled email means that its time came; by the line of its batch, what waits for a time is somebody else's business.
async fn sweep_email(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    email: &EmailId,
    listed_at_ms: Option<i64>,
    swept: &mut Swept,
) -> Result<bool> {
    let now_ms = app.clock.now_ms();
    let mut tickets = Vec::new();
    let mut is_settled = true;
    for row in read::deliveries(app, tenant, email).await? {
        is_settled &= row.is_settled() || (row.state == State::Scheduled && listed_at_ms.is_none());
        let is_lost = match row.state {
            State::Scheduled => listed_at_ms.is_some_and(|listed| listed.saturating_add(GRACE_MS) <= now_ms),
            State::Ready => row.not_before_ms.saturating_add(GRACE_MS) <= now_ms,
            State::Claimed => row.lease_until_ms <= now_ms,
            State::Submitting => {
                if row.deadline_ms <= now_ms {
                    decide(app, actor, tenant, row.clone()).await?;
                    swept.n_decided += 1;
                }
                false
            }
            _ => false,
        };
        if is_lost {
            tickets.push(Ticket {
                tenant: tenant.clone(),
                email: email.clone(),
                delivery: row.id.clone(),
            });
        }
    }
    if !tickets.is_empty() {
        app.enqueue(&tickets, 0).await?;
        swept.n_enqueued += tickets.len();
    }
    Ok(is_settled)
}

/// Decides a submission that nobody answered, as the tenant's policy says for its data class.
async fn decide(app: &App, actor: &Actor, tenant: &TenantId, row: DeliveryRow) -> Result<()> {
    let email = app.get::<EmailRow>(&Key::Email(tenant, &row.email)).await?;
    let policy = app.policy(tenant).await?;
    let on_doubt = email
        .as_ref()
        .map_or(OnDoubt::Hold, |email| policy.on_doubt(email.data_class));
    let starts_at_ms = email.as_ref().map_or(row.created_at_ms, EmailRow::starts_at_ms);
    let now_ms = app.clock.now_ms();
    let ver = row.ver;
    let may_resend = row.n_resends == 0 && now_ms < starts_at_ms.saturating_add(GIVE_UP_MS);
    let (row, decision) = match on_doubt {
        OnDoubt::ResendOnce if may_resend => {
            let mut row = row.moved(State::Ready, "in_doubt", now_ms);
            row.n_resends = row.n_resends.saturating_add(1);
            row.not_before_ms = now_ms;
            (row, "resend_once")
        }
        OnDoubt::Portal if may_resend => {
            let mut row = row.moved(State::Ready, "in_doubt", now_ms);
            row.n_resends = row.n_resends.saturating_add(1);
            row.not_before_ms = now_ms;
            row.portal_only = true;
            (row, "portal")
        }
        OnDoubt::Hold | OnDoubt::ResendOnce | OnDoubt::Portal => (row.moved(State::Held, "held", now_ms), "hold"),
    };
    let entry = Entry {
        tenant,
        actor,
        action: Action::DeliveryInDoubt,
        subject: row.id.as_str(),
        facts: BTreeMap::from([("attempt", row.attempt.to_string()), ("decision", decision.to_owned())]),
    };
    let transaction = Transaction::new(app).audit(app, entry)?;
    // A refusal means that an answer came in the meantime, which is better than a decision.
    let is_ready = row.state == State::Ready;
    if save(tenant, transaction, ver, &row).await? && is_ready {
        app.enqueue(
            &[Ticket {
                tenant: tenant.clone(),
                email: row.email.clone(),
                delivery: row.id.clone(),
            }],
            0,
        )
        .await?;
    }
    Ok(())
}
