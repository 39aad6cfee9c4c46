//! What the webhook queue lost is found again in the table.
//!
//! Runs every minute and may run twice at the same time: it only puts hints on the queue, and whoever takes one looks again.
//! Tries that are due within the next minute go with their exact delay. Of an endpoint that fails one line goes when its
//! probe is due, and none before.

use std::collections::HashMap;

use super::TellingDueRow;
use super::health::{self, HealthRow};
use crate::app::App;
use crate::aws::queue::Hint;
use crate::aws::table::Range;
use crate::error::Result;
use crate::event::EventDueRow;
use crate::id::{TenantId, WebhookId};
use crate::key::{SHARDS, Table, event_due_partition, telling_due_partition};
use crate::tenant;

/// How long a line is left to the queue before the sweep makes another message.
const GRACE_MS: i64 = 30_000;
/// How far ahead the sweep looks: until after the next one.
const AHEAD_MS: i64 = 75_000;

/// What one run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events whose spreading was put on the queue.
    pub n_events: usize,
    /// Posts that were put on the queue.
    pub n_posts: usize,
    /// Posts that wait for a probe of their endpoint.
    pub n_held_back: usize,
}

/// One run over all tenants. A tenant that fails does not stop the others.
///
/// # Errors
/// Unavailable, when the register could not be read or some tenant's sweep failed.
pub async fn sweep(app: &App) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut failed = None;
    for tenant in tenant::all(app).await? {
        let mut known = HashMap::new();
        for shard in 0..SHARDS {
            let done = async {
                events(app, &tenant, shard, &mut swept).await?;
                posts(app, &tenant, shard, &mut known, &mut swept).await
            };
            if let Err(error) = done.await {
                tracing::warn!(%tenant, shard, "a sweep failed: {error}");
                failed = Some(error);
            }
        }
    }
    match failed {
        None => Ok(swept),
        Some(error) => Err(error),
    }
}

async fn events(app: &App, tenant: &TenantId, shard: u8, swept: &mut Swept) -> Result<()> {
    let lines: Vec<EventDueRow> = app
        .query(Table::Mail, &event_due_partition(tenant, shard), &Range::default())
        .await?;
    let lost_ms = app.clock.now_ms().saturating_sub(GRACE_MS);
    let lost = lines.into_iter().filter(|line| line.created_at_ms <= lost_ms);
    let hints: Vec<Hint> = lost
        .map(|line| Hint {
            tenant: tenant.clone(),
            event: line.id,
            webhook: None,
        })
        .collect();
    app.enqueue_hints(&hints, 0).await?;
    swept.n_events += hints.len();
    Ok(())
}

async fn posts(
    app: &App,
    tenant: &TenantId,
    shard: u8,
    known: &mut HashMap<WebhookId, Option<(HealthRow, bool)>>,
    swept: &mut Swept,
) -> Result<()> {
    let lines: Vec<TellingDueRow> = app
        .query(Table::Mail, &telling_due_partition(tenant, shard), &Range::default())
        .await?;
    let now_ms = app.clock.now_ms();
    for line in lines {
        let is_lost = line.due_ms <= now_ms.saturating_sub(GRACE_MS);
        if !is_lost && (line.is_queued || line.due_ms > now_ms.saturating_add(AHEAD_MS)) {
            continue;
        }
        if !known.contains_key(&line.webhook) {
            let health = health::read(app, tenant, &line.webhook)
                .await?
                .filter(HealthRow::is_open);
            known.insert(line.webhook.clone(), health.map(|row| (row, false)));
        }
        if let Some(Some((health, has_probe))) = known.get_mut(&line.webhook) {
            if *has_probe || health.holds_back(now_ms.max(line.due_ms)) {
                swept.n_held_back += 1;
                continue;
            }
            *has_probe = true;
        }
        let hint = Hint {
            tenant: tenant.clone(),
            event: line.event,
            webhook: Some(line.webhook),
        };
        app.enqueue_hints(&[hint], line.due_ms.saturating_sub(now_ms)).await?;
        swept.n_posts += 1;
    }
    Ok(())
}
