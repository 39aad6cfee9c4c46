//! How an endpoint is, while posts to it fail.
//!
//! A row stands only between a failure and the next success. After five failures in a row the endpoint is left alone until a
//! probe is due, and one post goes then; after five days of nothing but failure it is switched off.

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::aws::table::{Expression, Outcome, Transaction, absent, number};
use crate::error::Result;
use crate::id::{TenantId, WebhookId};
use crate::key::Key;

/// After how many failures in a row an endpoint is left alone.
const PATIENCE: u32 = 5;
/// How long it is left alone: one minute, then twice as long each time, an hour at most.
const FIRST_PAUSE_MS: i64 = 60_000;
const LONGEST_PAUSE_MS: i64 = 3_600_000;
/// After how long without one success an endpoint is switched off: five days (Svix).
const LONGEST_FAILURE_MS: i64 = 5 * 86_400_000;
/// Failures further apart than this do not make one outage: nothing may have been posted in between.
const GAP_MS: i64 = 2 * 86_400_000;

/// How an endpoint is that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthRow {
    /// Failures in a row.
    pub(crate) n_failures: u32,
    /// The first of them.
    pub(crate) since_ms: i64,
    /// The last of them.
    pub(crate) last_ms: i64,
    /// When the next post may go.
    pub(crate) probe_at_ms: i64,
    pub(crate) ver: i64,
}

impl HealthRow {
    /// The row after one more failure.
    pub(crate) fn failed(known: Option<&Self>, now_ms: i64) -> Self {
        let known = known.filter(|row| now_ms.saturating_sub(row.last_ms) <= GAP_MS);
        let n_failures = known.map_or(0, |row| row.n_failures).saturating_add(1);
        Self {
            n_failures,
            since_ms: known.map_or(now_ms, |row| row.since_ms),
            last_ms: now_ms,
            probe_at_ms: now_ms.saturating_add(pause_ms(n_failures)),
            ver: 0,
        }
    }

    /// Whether posts have to wait for a probe.
    pub(crate) fn is_open(&self) -> bool {
        self.n_failures >= PATIENCE
    }

    /// Whether nothing may be posted now.
    pub(crate) fn holds_back(&self, now_ms: i64) -> bool {
        self.is_open() && now_ms < self.probe_at_ms
    }

    /// Whether it failed for so long that it is switched off.
    pub(crate) fn is_lost(&self) -> bool {
        self.last_ms.saturating_sub(self.since_ms) >= LONGEST_FAILURE_MS
    }
}

fn pause_ms(n_failures: u32) -> i64 {
    match n_failures.checked_sub(PATIENCE) {
        None => 0,
        Some(n) => FIRST_PAUSE_MS.saturating_mul(1_i64 << n.min(10)).min(LONGEST_PAUSE_MS),
    }
}

/// How an endpoint is; `None` when nothing failed since the last success.
pub(crate) async fn read(app: &App, tenant: &TenantId, webhook: &WebhookId) -> Result<Option<HealthRow>> {
    app.get(&Key::WebhookHealth(tenant, webhook)).await
}

/// Whether a post may go now. Where posts have to wait for a probe, one caller gets it and the others wait for the next.
pub(crate) async fn admit(
    app: &App,
    tenant: &TenantId,
    webhook: &WebhookId,
    known: Option<&HealthRow>,
    now_ms: i64,
) -> Result<bool> {
    let Some(row) = known.filter(|row| row.is_open()) else {
        return Ok(true);
    };
    if row.holds_back(now_ms) {
        return Ok(false);
    }
    let probe_at_ms = now_ms.saturating_add(pause_ms(row.n_failures));
    let change = Expression::new("SET probe_at_ms = :at, ver = ver + :one")
        .with(":at", number(probe_at_ms))
        .with(":one", number(1));
    let unchanged = Expression::new("ver = :seen").with(":seen", number(row.ver));
    let outcome = Transaction::new(app)
        .update("health", &Key::WebhookHealth(tenant, webhook), change, unchanged)
        .commit()
        .await?;
    Ok(outcome == Outcome::Committed)
}

/// Notes a failure and answers the row after it.
pub(crate) async fn note_failure(app: &App, tenant: &TenantId, webhook: &WebhookId, now_ms: i64) -> Result<HealthRow> {
    let key = Key::WebhookHealth(tenant, webhook);
    loop {
        let known: Option<HealthRow> = app.get(&key).await?;
        let mut row = HealthRow::failed(known.as_ref(), now_ms);
        let condition = match &known {
            None => absent(),
            Some(known) => Expression::new("ver = :seen").with(":seen", number(known.ver)),
        };
        row.ver = known.map_or(0, |known| known.ver).saturating_add(1);
        let transaction = Transaction::new(app).put("health", &key, &row, Some(condition));
        // Whoever was faster noted a failure or a success of the same moment, which is as good.
        if transaction.commit().await? == Outcome::Committed {
            return Ok(row);
        }
    }
}

/// Forgets the failures, after a success or when somebody switches the endpoint on again.
pub(crate) async fn forget(app: &App, tenant: &TenantId, webhook: &WebhookId) -> Result<()> {
    let transaction = Transaction::new(app).delete("health", &Key::WebhookHealth(tenant, webhook));
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    /// The row after failures at these times.
    fn after(times: &[i64]) -> HealthRow {
        let mut row = None;
        for at in times {
            row = Some(HealthRow::failed(row.as_ref(), *at));
        }
        row.unwrap()
    }

    #[test]
    fn five_failures_in_a_row_hold_posts_back_until_a_probe() {
        for (n, pause_ms) in [
            (1, 0),
            (4, 0),
            (5, 60_000),
            (6, 120_000),
            (7, 240_000),
            (11, 3_600_000),
            (40, 3_600_000),
        ] {
            let row = after(&vec![1_000; n]);
            assert_eq!(row.probe_at_ms, 1_000 + pause_ms, "{n}");
            assert_eq!(row.holds_back(1_000), n >= 5, "{n}");
            assert!(!row.holds_back(1_000 + pause_ms), "{n}");
        }
    }

    #[test]
    fn five_days_of_nothing_but_failure_lose_an_endpoint() {
        let daily = |n: i64| (0..n).map(|day| day * DAY_MS).collect::<Vec<_>>();
        assert!(!after(&daily(5)).is_lost());
        assert!(after(&daily(6)).is_lost());
        assert!(!after(&[0, 6 * DAY_MS]).is_lost(), "nothing was posted in between");
    }
}
