//! What the queue lost is found again in the table, and what nobody answered is decided.
//!
//! Runs every minute. It reads the outbox in base-table partitions with strong reads, re-enqueues what is due, gives up
//! what is too old, settles submissions whose deadline has passed, and queues scheduled emails whose time comes. It may run twice at the same time: every decision is
//! a conditional write.

use super::{OutboxRow, State, doubt};
use crate::actor::Actor;
use crate::app::App;
use crate::aws::table::{Expression, Range, Transaction, number};
use crate::email::batch::BatchRow;
use crate::email::{EmailRow, read, schedule};
use crate::error::Result;
use crate::id::{BatchId, EmailId, TenantId};
use crate::key::{Key, SHARDS, Table, outbox_partition};
use crate::tenant;

/// How long a fresh ticket is left to the queue before the sweeper makes another.
pub(super) const GRACE_MS: i64 = 60_000;

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
    if crate::planted!("bug_10") {
        return Ok(swept);
    }
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
    let now_ms = app.clock.now_ms();
    let mut failed = None;
    for line in lines.into_iter().filter(|line| line.look_at_ms <= now_ms) {
        // One email that fails does not keep the others waiting.
        if let Err(error) = sweep_line(app, actor, tenant, &line, swept).await {
            tracing::warn!(%tenant, line = line.id, "the sweep of one line failed: {error}");
            failed = Some(error);
        }
    }
    match failed {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

async fn sweep_line(app: &App, actor: &Actor, tenant: &TenantId, line: &OutboxRow, swept: &mut Swept) -> Result<()> {
    let now_ms = app.clock.now_ms();
    let (email, batch) = (EmailId::parse(&line.id), BatchId::parse(&line.id));
    let (key, next) = match (&email, &batch) {
        (Some(email), _) => {
            let next = sweep_email(app, actor, tenant, email, false, swept).await?;
            (Key::OutboxEmail(tenant, email), next)
        }
        (None, Some(batch)) => {
            let row = app.get::<BatchRow>(&Key::Batch(tenant, batch)).await?;
            let mut next = None;
            for email in row.map(|row| row.emails).unwrap_or_default() {
                let at = sweep_email(app, actor, tenant, &email, true, swept).await?;
                next = [next, at].into_iter().flatten().min();
            }
            (Key::OutboxBatch(tenant, batch), next)
        }
        (None, None) => return Ok(()),
    };
    // Somebody who brought the line forward in the meantime has seen more than we did.
    let unchanged = Expression::new("look_at_ms = :seen").with(":seen", number(line.look_at_ms));
    match next {
        None => {
            Transaction::new(app)
                .delete_if("outbox", &key, unchanged)
                .commit()
                .await?;
            swept.n_cleared += 1;
        }
        Some(look_at_ms) if look_at_ms > now_ms.saturating_add(GRACE_MS) => {
            let change = Expression::new("SET look_at_ms = :next").with(":next", number(look_at_ms));
            Transaction::new(app)
                .update("outbox", &key, change, unchanged)
                .commit()
                .await?;
        }
        Some(_) => {}
    }
    Ok(())
}

/// Sees to one email; when to look again, `None` when all its deliveries are settled. By the line of its batch,
/// what waits for a time is not looked at: its email gets a line of its own when that time comes.
async fn sweep_email(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    email: &EmailId,
    is_by_batch: bool,
    swept: &mut Swept,
) -> Result<Option<i64>> {
    let now_ms = app.clock.now_ms();
    let mut tickets = Vec::new();
    let mut next: Option<i64> = None;
    for row in read::deliveries(app, tenant, email).await? {
        if is_by_batch && row.state == State::Scheduled {
            continue;
        }
        let Some(look_at_ms) = row.look_at_ms() else { continue };
        next = Some(next.map_or(look_at_ms, |next| next.min(look_at_ms)));
        if look_at_ms > now_ms {
            continue;
        }
        match row.state {
            State::Submitting | State::Sent => {
                if let Some(email) = app.get::<EmailRow>(&Key::Email(tenant, email)).await? {
                    let policy = app.policy(tenant).await?;
                    doubt::decide(app, actor, tenant, &email, &policy, row).await?;
                    swept.n_decided += 1;
                }
            }
            _ => tickets.push(row.ticket(tenant)),
        }
    }
    if !tickets.is_empty() {
        app.enqueue(&tickets, 0).await?;
        swept.n_enqueued += tickets.len();
    }
    Ok(next)
}
