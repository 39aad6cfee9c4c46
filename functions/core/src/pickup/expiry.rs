//! The end of portal messages.

use std::collections::{BTreeMap, HashMap};

use super::PickupRow;
use crate::actor::Actor;
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Transaction, number};
use crate::error::Result;
use crate::id::{PickupId, TenantId};
use crate::key::Key;

/// Destroys the server half of a message whose link nobody has. Its copy is swept.
pub(crate) async fn discard(app: &App, tenant: &TenantId, id: &PickupId) -> Result<()> {
    Transaction::new(app)
        .delete("pickup", &Key::Pickup(tenant, id))
        .commit()
        .await?;
    Ok(())
}

/// Which of these messages nobody can read any more, so that their copies may go: those without a server half, and those
/// whose time is over, whose server halves are destroyed here.
///
/// # Errors
/// Unavailable.
pub(crate) async fn over(app: &App, actor: &Actor, tenant: &TenantId, ids: &[PickupId]) -> Result<Vec<PickupId>> {
    let keys: Vec<Key<'_>> = ids.iter().map(|id| Key::Pickup(tenant, id)).collect();
    let rows: Vec<PickupRow> = app.get_all(&keys).await?;
    let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
    let now_ms = app.clock.now_ms();
    let mut over = Vec::new();
    for id in ids {
        match rows.get(id) {
            None => over.push(id.clone()),
            Some(row) if row.expires_at_ms <= now_ms && expire(app, actor, tenant, row).await? => over.push(id.clone()),
            Some(_) => {}
        }
    }
    Ok(over)
}

/// Destroys the server half of a message whose time is over; whether nobody changed the row in between.
async fn expire(app: &App, actor: &Actor, tenant: &TenantId, row: &PickupRow) -> Result<bool> {
    let entry = Entry {
        tenant,
        actor,
        action: Action::PickupExpired,
        subject: row.id.as_str(),
        facts: BTreeMap::from([("email", row.email.to_string()), ("delivery", row.delivery.to_string())]),
    };
    let ver = i64::try_from(row.ver).unwrap_or(i64::MAX);
    let is_same = Expression::new("ver = :ver").with(":ver", number(ver));
    let outcome = Transaction::new(app)
        .delete_if("pickup", &Key::Pickup(tenant, &row.id), is_same)
        .audit(app, entry)?
        .commit()
        .await?;
    Ok(outcome == Outcome::Committed)
}
