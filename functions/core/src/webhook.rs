//! Events on their way to customers' webhook endpoints.
//!
//! An event is written with the change that it tells of ([`crate::event`]). Here it is spread to the endpoints that want it,
//! one row each, and every row is posted until the receiver answers with 2xx or the tries are used up. The table is the
//! truth and the queue a hint: a lost message is found by the sweep, a doubled one meets a claim. A receiver may get an event
//! twice, always under the same `webhook-id`.

pub mod endpoint;
pub(crate) mod health;
mod post;
pub mod replay;
pub mod sample;
pub(crate) mod signature;
pub mod sweep;
pub mod tell;

use serde::{Deserialize, Serialize};

use crate::aws::queue::Hint;
use crate::aws::table::Transaction;
use crate::event::EventType;
use crate::id::{EventId, TenantId, WebhookId};
use crate::key::Key;

/// When an event is posted: at once, and then so many milliseconds after the try before (Svix's schedule).
const SCHEDULE_MS: [i64; 8] = [
    0, 5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000,
];
/// How long a receiver may put us off at most: a day.
const LONGEST_RETRY_AFTER_MS: i64 = 86_400_000;
/// How much later than the schedule a try may come, in thousandths of the pause.
pub(crate) const JITTER: u32 = 100;

/// How far an event is on its way to one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a try.
    Pending,
    /// The receiver answered with 2xx.
    Delivered,
    /// No try is left, or the endpoint is gone or switched off.
    Exhausted,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// The HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took, milliseconds.
    pub took_ms: i64,
    /// A short code, where there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An event's way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellingRow {
    /// The event.
    pub event: EventId,
    /// The endpoint.
    pub webhook: WebhookId,
    /// What happened.
    pub kind: EventType,
    /// Where it stands.
    pub state: State,
    /// Counts the changes of this row.
    pub ver: i64,
    /// How many tries there were since it was last put on its way.
    pub n_tries: u32,
    /// When the next try is due, milliseconds since the epoch; of no meaning once the state is final.
    pub due_ms: i64,
    /// Until when a worker has it to itself.
    pub claimed_until_ms: i64,
    /// The tries, oldest first, of all its ways.
    pub tries: Vec<Try>,
    /// When the row may go, seconds since the epoch.
    pub expires_at: i64,
}

/// A line of what still has to be posted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TellingDueRow {
    pub(crate) event: EventId,
    pub(crate) webhook: WebhookId,
    pub(crate) due_ms: i64,
    /// Whether a message for that time is on the queue, unless the queue lost it.
    pub(crate) is_queued: bool,
}

impl TellingRow {
    fn new(event: &EventId, webhook: &WebhookId, kind: EventType, now_ms: i64, expires_at: i64) -> Self {
        Self {
            event: event.clone(),
            webhook: webhook.clone(),
            kind,
            state: State::Pending,
            ver: 1,
            n_tries: 0,
            due_ms: now_ms,
            claimed_until_ms: 0,
            tries: Vec::new(),
            expires_at,
        }
    }

    fn due(&self, is_queued: bool) -> TellingDueRow {
        TellingDueRow {
            event: self.event.clone(),
            webhook: self.webhook.clone(),
            due_ms: self.due_ms,
            is_queued,
        }
    }

    fn hint(&self, tenant: &TenantId) -> Hint {
        Hint {
            tenant: tenant.clone(),
            event: self.event.clone(),
            webhook: Some(self.webhook.clone()),
        }
    }
}

impl Transaction<'_> {
    /// Keeps the line of what is to be posted in step with the row: there while it waits, gone when it ended.
    fn follow_telling(self, tenant: &TenantId, row: &TellingRow, is_queued: bool) -> Self {
        let key = Key::TellingDue(tenant, &row.webhook, &row.event);
        match row.state {
            State::Pending => self.put("telling due", &key, &row.due(is_queued), None),
            State::Delivered | State::Exhausted => self.delete("telling due", &key),
        }
    }
}

/// How long after its `n_tries`-th try an event is due again; `None` when no try is left. `jitter` is in thousandths of the
/// pause.
fn due_after(n_tries: u32, jitter: u32) -> Option<i64> {
    let pause_ms = *SCHEDULE_MS.get(usize::try_from(n_tries).ok()?)?;
    let more = pause_ms.saturating_mul(i64::from(jitter.min(JITTER))).div_euclid(1000);
    Some(pause_ms.saturating_add(more))
}

/// When a try that failed at `now_ms` is repeated: as scheduled, or later if the receiver asked for that.
fn next_due(now_ms: i64, n_tries: u32, jitter: u32, retry_after_s: Option<i64>) -> Option<i64> {
    let asked_ms = retry_after_s
        .unwrap_or_default()
        .saturating_mul(1000)
        .clamp(0, LONGEST_RETRY_AFTER_MS);
    Some(now_ms.saturating_add(due_after(n_tries, jitter)?.max(asked_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_follow_the_schedule_and_end_after_eight() {
        let hour = 3_600_000;
        let table = [
            (0, 0, Some(0)),
            (1, 0, Some(5_000)),
            (1, 100, Some(5_500)),
            (2, 0, Some(300_000)),
            (3, 50, Some(1_890_000)),
            (4, 0, Some(2 * hour)),
            (5, 0, Some(5 * hour)),
            (6, 0, Some(10 * hour)),
            (7, 0, Some(10 * hour)),
            (7, 100, Some(11 * hour)),
            (7, 5_000, Some(11 * hour)),
            (8, 0, None),
            (u32::MAX, 0, None),
        ];
        for (n_tries, jitter, expected) in table {
            assert_eq!(due_after(n_tries, jitter), expected, "{n_tries} {jitter}");
        }
    }

    #[test]
    fn a_receiver_may_put_us_off_for_a_day_and_never_hurry_us() {
        let table = [
            (1, None, Some(6_000)),
            (1, Some(0), Some(6_000)),
            (1, Some(-60), Some(6_000)),
            (1, Some(60), Some(61_000)),
            (2, Some(60), Some(301_000)),
            (1, Some(i64::MAX), Some(86_401_000)),
            (8, Some(60), None),
        ];
        for (n_tries, retry_after_s, expected) in table {
            assert_eq!(
                next_due(1_000, n_tries, 0, retry_after_s),
                expected,
                "{n_tries} {retry_after_s:?}"
            );
        }
    }
}
