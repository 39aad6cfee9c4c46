//! One event, posted to one endpoint.
//!
//! A worker claims the row first, by its version and for a minute; whoever finds it claimed, early or ended leaves it alone.
//! Of an answer the status, the time and a short code are kept, never a byte of its body.

use super::endpoint::{self, EndpointRow, Status};
use super::{JITTER, State, TellingRow, Try, health, next_due, signature};
use crate::actor::Actor;
use crate::app::App;
use crate::aws::queue::LONGEST_DELAY_S;
use crate::aws::table::{Expression, Outcome, Transaction, number};
use crate::egress::Egress;
use crate::egress::post::Posted;
use crate::error::Result;
use crate::event::EventRow;
use crate::id::{EventId, TenantId, WebhookId};
use crate::key::Key;
use crate::webhook::signature::Secret;

/// How long a claim holds: longer than the function may run.
const CLAIM_MS: i64 = 60_000;
/// The status of a receiver that wants nothing any more (RFC 9110 section 15.5.11).
const GONE: u16 = 410;
/// How many tries a row keeps; replays add to them.
const KEPT_TRIES: usize = 32;
/// A message is delayed in whole seconds, and two machines' clocks differ: it may come so much early.
const EARLY_MS: i64 = 500;

/// Posts an event to an endpoint if that is due.
pub(super) async fn post(app: &App, actor: &Actor, tenant: &TenantId, webhook: &WebhookId, id: &EventId) -> Result<()> {
    let key = Key::Telling(tenant, webhook, id);
    let Some(mut row) = app.get::<TellingRow>(&key).await? else {
        return Ok(());
    };
    let now_ms = app.clock.now_ms();
    let is_due = row.due_ms <= now_ms.saturating_add(EARLY_MS) && row.claimed_until_ms <= now_ms;
    if row.state != State::Pending || !is_due {
        return Ok(());
    }
    let endpoint = app.get::<EndpointRow>(&Key::Webhook(tenant, webhook)).await?;
    let endpoint = endpoint.filter(|endpoint| endpoint.status == Status::Enabled);
    let event = app.get::<EventRow>(&Key::Event(tenant, id)).await?;
    let (Some(endpoint), Some(event)) = (endpoint, event) else {
        row.state = State::Exhausted;
        save(app, tenant, row, None).await?;
        return Ok(());
    };
    let known = health::read(app, tenant, webhook).await?;
    if !health::admit(app, tenant, webhook, known.as_ref(), now_ms).await? {
        // The sweep posts it when the endpoint answers again, or as the probe.
        return Ok(());
    }
    row.claimed_until_ms = now_ms.saturating_add(CLAIM_MS);
    let Some(mut row) = claim(app, tenant, row).await? else {
        return Ok(());
    };
    let body = event.to_json().to_string().into_bytes();
    let secrets = endpoint::secrets(app, tenant, &endpoint, now_ms).await?;
    let posted = send(&app.egress, &endpoint.url, id.as_str(), body, &secrets, now_ms).await?;
    let ended_ms = app.clock.now_ms();
    row.tries.push(Try {
        at_ms: now_ms,
        status: posted.status,
        took_ms: ended_ms.saturating_sub(now_ms),
        error: posted.error.map(str::to_owned),
    });
    let n_over = row.tries.len().saturating_sub(KEPT_TRIES);
    row.tries.drain(..n_over);
    row.n_tries = row.n_tries.saturating_add(1);
    row.claimed_until_ms = 0;
    if posted.status.is_some_and(|status| (200..300).contains(&status)) {
        row.state = State::Delivered;
        save(app, tenant, row, None).await?;
        if known.is_some() {
            health::forget(app, tenant, webhook).await?;
        }
        return Ok(());
    }
    let jitter = app.random.below(JITTER.saturating_add(1))?;
    match next_due(ended_ms, row.n_tries, jitter, posted.retry_after_s) {
        Some(due_ms) if posted.status != Some(GONE) => row.due_ms = due_ms,
        _ => row.state = State::Exhausted,
    }
    let delay_ms = row.due_ms.saturating_sub(ended_ms);
    let is_soon = row.state == State::Pending && delay_ms <= LONGEST_DELAY_S.saturating_mul(1000);
    save(app, tenant, row, is_soon.then_some(delay_ms)).await?;
    tracing::info!(%webhook, event = %id, status = posted.status, code = posted.error, "a webhook was not taken");
    let health = health::note_failure(app, tenant, webhook, ended_ms).await?;
    let why = match posted.status {
        Some(GONE) => Some("gone"),
        _ if health.is_lost() => Some("failing"),
        _ => None,
    };
    if let Some(why) = why {
        endpoint::disable(app, actor, tenant, &endpoint, why).await?;
    }
    Ok(())
}

/// Signs a message by every secret and posts it.
pub(super) async fn send(
    egress: &Egress,
    url: &str,
    id: &str,
    body: Vec<u8>,
    secrets: &[Secret],
    now_ms: i64,
) -> Result<Posted> {
    let headers = signature::headers(id, now_ms.div_euclid(1000), &body, secrets)?;
    match egress.check_url(url) {
        Ok(url) => Ok(egress.post(&url, &headers, body, now_ms).await),
        Err(_) => Ok(Posted {
            status: None,
            retry_after_s: None,
            error: Some("refused_address"),
        }),
    }
}

/// Claims a row; `None` when somebody else was faster.
async fn claim(app: &App, tenant: &TenantId, mut row: TellingRow) -> Result<Option<TellingRow>> {
    let unchanged = Expression::new("ver = :seen").with(":seen", number(row.ver));
    row.ver = row.ver.saturating_add(1);
    let key = Key::Telling(tenant, &row.webhook, &row.event);
    let outcome = Transaction::new(app)
        .put("telling", &key, &row, Some(unchanged))
        .commit()
        .await?;
    Ok((outcome == Outcome::Committed).then_some(row))
}

/// Writes what became of a row, and puts its next try on the queue after `delay_ms`. Whoever changed the row meanwhile, such
/// as a replay, has the last word.
async fn save(app: &App, tenant: &TenantId, mut row: TellingRow, delay_ms: Option<i64>) -> Result<()> {
    let unchanged = Expression::new("ver = :seen").with(":seen", number(row.ver));
    row.ver = row.ver.saturating_add(1);
    let outcome = Transaction::new(app)
        .put(
            "telling",
            &Key::Telling(tenant, &row.webhook, &row.event),
            &row,
            Some(unchanged),
        )
        .follow_telling(tenant, &row, delay_ms.is_some())
        .commit()
        .await?;
    if let (Outcome::Committed, Some(delay_ms)) = (outcome, delay_ms)
        && let Err(error) = app.enqueue_hints(&[row.hint(tenant)], delay_ms).await
    {
        tracing::warn!(webhook = %row.webhook, "a try was not put on the queue: {error}");
    }
    Ok(())
}
