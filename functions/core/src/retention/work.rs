//! Sealed mails and portal copies whose time is over.
//!
//! Both are listed first and their rows read afterwards, and a row is written before its object: so an object without a row
//! is one that nobody will ask for.

use std::collections::{BTreeSet, HashMap};

use super::{DAY_MS, Pages, Swept, warn_of_stranger};
use crate::actor::Actor;
use crate::app::App;
use crate::delivery::DeliveryRow;
use crate::error::Result;
use crate::id::{DeliveryId, EmailId, PickupId, TenantId};
use crate::key::{Key, Objects};
use crate::pickup;

/// Removes sealed mails of deliveries that ended a day ago or are not there. One that waits, or that a person decides
/// about, keeps its own.
pub(super) async fn sweep_sealed(app: &App, tenant: &TenantId, swept: &mut Swept) -> Result<()> {
    let objects = Objects::Sealed(tenant);
    let mut pages = Pages::new(app, objects, String::new());
    while let Some(page) = pages.next().await? {
        // One delivery may have several, and no key may be asked for twice.
        let named: BTreeSet<(EmailId, DeliveryId)> = page.iter().filter_map(|path| Objects::delivery(path)).collect();
        let keys = named
            .iter()
            .map(|(email, delivery)| Key::Delivery(tenant, email, delivery));
        let rows: Vec<DeliveryRow> = app.get_all(&keys.collect::<Vec<_>>()).await?;
        let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        let since_ms = app.clock.now_ms().saturating_sub(DAY_MS);
        for path in &page {
            let Some((_, delivery)) = Objects::delivery(path) else {
                warn_of_stranger(tenant);
                continue;
            };
            if rows.get(&delivery).is_none_or(|row| row.is_over_since(since_ms)) {
                app.remove_object(objects, path).await?;
                swept.n_sealed += 1;
            }
        }
    }
    Ok(())
}

/// Removes portal copies that nobody can read any more.
pub(super) async fn sweep_copies(app: &App, actor: &Actor, tenant: &TenantId, swept: &mut Swept) -> Result<()> {
    let objects = Objects::Portal(tenant);
    let mut pages = Pages::new(app, objects, String::new());
    while let Some(page) = pages.next().await? {
        let ids: Vec<PickupId> = page.iter().filter_map(|path| Objects::pickup(path)).collect();
        let over = pickup::over(app, actor, tenant, &ids).await?;
        for path in &page {
            match Objects::pickup(path) {
                Some(id) if over.contains(&id) => {
                    app.remove_object(objects, path).await?;
                    swept.n_copies += 1;
                }
                Some(_) => {}
                None => warn_of_stranger(tenant),
            }
        }
    }
    Ok(())
}
