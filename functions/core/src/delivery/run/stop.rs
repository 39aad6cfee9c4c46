//! What keeps a planned mail from going: a suppression of its address, or the guard of its stream.

use std::collections::BTreeMap;

use super::{Next, Work, next};
use crate::audit::Action;
use crate::aws::table::Transaction;
use crate::delivery::{DeliveryRow, State};
use crate::error::Result;
use crate::event::EventType;
use crate::guard::Gate;
use crate::suppression::SuppressionRow;

/// How long a mail of a paused stream waits before it looks again.
const PAUSED_MS: i64 = 15 * 60_000;
/// How long a mail of a slowed stream waits at least: complaints come minutes after the mail.
const SLOWED_MS: i64 = 10 * 60_000;
/// Over how many more seconds the mails of a slowed stream are spread.
const SPREAD_S: u32 = 50 * 60;

impl Work<'_> {
    /// Ends a delivery whose address is suppressed: never silently, whatever it was sent for.
    pub(super) async fn suppress(&self, row: DeliveryRow, suppression: &SuppressionRow) -> Result<Next> {
        let ver = row.ver;
        let because = suppression.reason.code();
        let mut row = row.moved(State::Suppressed, "suppressed", self.app.clock.now_ms());
        row.ended_because = Some(because.to_owned());
        let facts = BTreeMap::from([
            ("because", because.to_owned()),
            ("suppression_id", suppression.id.to_string()),
            ("purpose", self.email.purpose.as_str().to_owned()),
        ]);
        let told = EventType::EmailSuppressed;
        Ok(next(self.finish(row, ver, Action::DeliveryEnded, facts, told).await?))
    }

    /// How long a delivery has to wait for its stream, and what it is told; `None` when it goes on.
    pub(super) fn wait_for_stream(&self, row: &DeliveryRow, gate: Gate) -> Result<Option<(i64, &'static str)>> {
        Ok(match gate {
            Gate::Open => None,
            Gate::Shut => Some((PAUSED_MS, "paused")),
            Gate::Slow if is_told(row, "slowed") => None,
            Gate::Slow => {
                let spread_ms = i64::from(self.app.random.below(SPREAD_S)?).saturating_mul(1000);
                Some((SLOWED_MS.saturating_add(spread_ms), "slowed"))
            }
        })
    }

    /// Puts a delivery off. The first time it is told and audited; after that it only looks again.
    pub(super) async fn postpone(&self, row: DeliveryRow, wait_ms: i64, event: &'static str) -> Result<Next> {
        let now_ms = self.app.clock.now_ms();
        let ver = row.ver;
        let mut transaction = Transaction::new(self.app);
        let mut row = if is_told(&row, event) {
            DeliveryRow {
                state: State::Ready,
                ver: ver.saturating_add(1),
                ..row
            }
        } else {
            let row = row.moved(State::Ready, event, now_ms);
            let facts = BTreeMap::from([("code", format!("stream_{event}"))]);
            transaction = transaction.audit(self.app, self.entry(&row, Action::DeliveryPostponed, facts))?;
            row
        };
        row.not_before_ms = now_ms.saturating_add(wait_ms);
        // Waiting is no failure of ours.
        row.n_claims = 0;
        let transaction = transaction.follow(self.app, self.tenant, &self.email, State::Claimed, &row);
        let is_saved = self.save(transaction, ver, &row).await?;
        if is_saved {
            self.app.enqueue(&[row.ticket(self.tenant)], wait_ms).await?;
        }
        Ok(next(is_saved))
    }
}

fn is_told(row: &DeliveryRow, event: &str) -> bool {
    row.events.iter().any(|known| known.kind == event)
}
