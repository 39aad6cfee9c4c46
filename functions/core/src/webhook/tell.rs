//! What a message on the webhook queue asks for: an event is spread to the endpoints that want it, or posted to one.
//!
//! The spreading is one transaction whose condition is the event's line in the list of what still has to be told, so that it
//! happens once however often the message comes. A tenant without endpoints costs the removal of that line and nothing else.

use super::endpoint::{self, EndpointRow, Status};
use super::post;
use super::{State, TellingRow};
use crate::actor::Actor;
use crate::app::App;
use crate::aws::queue::Hint;
use crate::aws::table::{Expression, Outcome, Transaction};
use crate::error::{Error, Kind, Result};
use crate::event::EventRow;
use crate::id::{EventId, TenantId};
use crate::key::Key;

/// How often the spreading is tried against a replay that puts the same event on its way.
const ROUNDS: u32 = 3;

/// Does what a message asks for.
///
/// # Errors
/// Unavailable and Internal; the message is to come again.
pub async fn tell(app: &App, actor: &Actor, hint: &Hint) -> Result<()> {
    match &hint.webhook {
        None => spread(app, &hint.tenant, &hint.event).await,
        Some(webhook) => post::post(app, actor, &hint.tenant, webhook, &hint.event).await,
    }
}

async fn spread(app: &App, tenant: &TenantId, id: &EventId) -> Result<()> {
    let due = Key::EventDue(tenant, id);
    let endpoints = endpoint::all(app, tenant).await?;
    if endpoints.is_empty() {
        Transaction::new(app).delete("event due", &due).commit().await?;
        return Ok(());
    }
    let Some(event) = app.get::<EventRow>(&Key::Event(tenant, id)).await? else {
        Transaction::new(app).delete("event due", &due).commit().await?;
        return Ok(());
    };
    let now_ms = app.clock.now_ms();
    let wants = |row: &&EndpointRow| row.status == Status::Enabled && row.events.contains(&event.kind);
    for _ in 0..ROUNDS {
        let mut rows = Vec::new();
        for endpoint in endpoints.iter().filter(wants) {
            // A replay may have been faster than us; then it is on its way already.
            if app
                .get::<TellingRow>(&Key::Telling(tenant, &endpoint.id, id))
                .await?
                .is_none()
            {
                rows.push(TellingRow::new(id, &endpoint.id, event.kind, now_ms, event.expires_at));
            }
        }
        let untold = Expression::new("attribute_exists(pk)");
        let mut transaction = Transaction::new(app).delete_if("event due", &due, untold);
        for row in &rows {
            debug_assert_eq!(row.state, State::Pending);
            transaction = transaction
                .put_new("telling", &Key::Telling(tenant, &row.webhook, id), row)
                .follow_telling(tenant, row, true);
            transaction = transaction.hint(row.hint(tenant));
        }
        match transaction.commit().await? {
            Outcome::Refused(labels) if !labels.contains(&"event due") => {}
            Outcome::Committed | Outcome::Refused(_) => return Ok(()),
        }
    }
    Err(Error::new(
        Kind::Unavailable,
        "Others keep putting this event on its way.",
    ))
}
