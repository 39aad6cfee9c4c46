//! Many suppressions in one call: added, removed, imported. Each address is a change of its own, so that a call that was cut
//! off is simply repeated.

use std::sync::Arc;

use sealpost_codec::address::Address;
use serde::Deserialize;
use tokio::task::JoinSet;
use utoipa::ToSchema;

use super::change::{Added, NewSuppression, Wanted, put, remove};
use super::list::{MAX_ADDRESSES, addresses};
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::error::{Error, Kind, Result};
use crate::id::{SuppressionId, TenantId};

/// At most so many rows in one import.
const MAX_ROWS: usize = 1000;
/// How many changes are made at the same time: a thousand rows then take a few seconds, well within a function's time.
const LANES: usize = 16;

/// The body of `POST /suppressions/batch/add`.
// No `Debug`: it holds addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchAdd {
    /// The addresses, 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    emails: Vec<String>,
}

/// The body of `POST /suppressions/batch/remove`: one of the two.
// No `Debug`: it holds addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRemove {
    /// Addresses, 1 to 100.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 100)]
    emails: Option<Vec<String>>,
    /// Ids, 1 to 100.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 100)]
    ids: Option<Vec<String>>,
}

/// The body of `POST /suppressions/import`.
// No `Debug`: it holds addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The rows, 1 to 1,000.
    #[schema(value_type = Vec<NewSuppression>, min_items = 1, max_items = 1000)]
    rows: Vec<ImportRow>,
}

/// A row of an import, as one of `POST /suppressions`; one that breaks a rule does not stop the others.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ImportRow(NewSuppression);

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowStatus {
    /// It was added, or made one that stood stricter.
    Added,
    /// The address was suppressed as far already.
    Unchanged,
    /// It breaks a rule.
    Invalid,
    /// It could not be written now; the same row again may be.
    Failed,
}

/// What became of a row of an import.
pub struct Imported {
    /// What.
    pub status: RowStatus,
    /// The suppression, where there is one.
    pub id: Option<SuppressionId>,
    /// What is wrong; never the value.
    pub error: Option<Error>,
}

/// Suppresses up to a hundred addresses; one that stands twice counts once.
///
/// # Errors
/// Forbidden; Invalid, and nothing is changed then; Unavailable, where some may be written and the same call again writes
/// the others.
pub async fn add_all(app: &Arc<App>, actor: &Actor, batch: &BatchAdd) -> Result<Vec<SuppressionId>> {
    let tenant = actor.tenant_with(Scope::SuppressionsWrite)?;
    let wanted = addresses(&batch.emails)?.into_iter().map(Wanted::manual);
    let wanted: Vec<_> = wanted.enumerate().collect();
    let mut ids = Vec::with_capacity(wanted.len());
    for (_, added) in put_all(app, actor, tenant, wanted).await? {
        ids.push(added?.id);
    }
    Ok(ids)
}

/// Removes up to a hundred suppressions, by address or by id. Answers each that was found; an id that is not there is
/// answered with `false`, an address that is not suppressed not at all.
///
/// # Errors
/// Forbidden; Invalid, and nothing is changed then; Unavailable, where some may be removed.
pub async fn remove_all(app: &App, actor: &Actor, batch: &BatchRemove) -> Result<Vec<(SuppressionId, bool)>> {
    actor.tenant_with(Scope::SuppressionsWrite)?;
    let mut removed = Vec::new();
    match (&batch.emails, &batch.ids) {
        (Some(emails), None) => {
            for address in addresses(emails)? {
                match remove(app, actor, address.as_str()).await {
                    Ok(id) => removed.push((id, true)),
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        (None, Some(texts)) => {
            for id in ids(texts)? {
                match remove(app, actor, id.as_str()).await {
                    Ok(id) => removed.push((id, true)),
                    Err(error) if error.kind() == Kind::NotFound => removed.push((id, false)),
                    Err(error) => return Err(error),
                }
            }
        }
        _ => return Err(Error::invalid("/emails", "Give `emails` or `ids`.")),
    }
    Ok(removed)
}

fn ids(texts: &[String]) -> Result<Vec<SuppressionId>> {
    if !(1..=MAX_ADDRESSES).contains(&texts.len()) {
        return Err(Error::invalid("/ids", "One call takes 1 to 100 ids."));
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (n, text) in texts.iter().enumerate() {
        let id = SuppressionId::parse(text)
            .ok_or_else(|| Error::invalid(format!("/ids/{n}"), "This is not a suppression's id."))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Suppresses each row, and answers for each in its order. A row that breaks a rule or fails does not stop the others.
///
/// # Errors
/// Forbidden; Invalid for none or too many rows; Internal.
pub async fn import(app: &Arc<App>, actor: &Actor, import: &Import) -> Result<Vec<Imported>> {
    let tenant = actor.tenant_with(Scope::SuppressionsWrite)?;
    if !(1..=MAX_ROWS).contains(&import.rows.len()) {
        return Err(Error::invalid("/rows", "An import has 1 to 1,000 rows."));
    }
    let now_ms = app.clock.now_ms();
    let mut results = Vec::with_capacity(import.rows.len());
    let mut wanted = Vec::new();
    for (n, ImportRow(row)) in import.rows.iter().enumerate() {
        match Wanted::check(row, &format!("/rows/{n}"), now_ms) {
            Ok(row) => wanted.push((n, row)),
            Err(error) => results.push((
                n,
                Imported {
                    status: RowStatus::Invalid,
                    id: None,
                    error: Some(error),
                },
            )),
        }
    }
    let written = put_all(app, actor, tenant, wanted).await?;
    results.extend(written.into_iter().map(|(n, result)| (n, imported(result))));
    results.sort_by_key(|(n, _)| *n);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn imported(result: Result<Added>) -> Imported {
    match result {
        Ok(added) => Imported {
            status: if added.is_new {
                RowStatus::Added
            } else {
                RowStatus::Unchanged
            },
            id: Some(added.id),
            error: None,
        },
        Err(error) => Imported {
            status: RowStatus::Failed,
            id: None,
            error: Some(error),
        },
    }
}

/// Makes many changes, several at the same time; those of one address one after the other, since they share one version.
async fn put_all(
    app: &Arc<App>,
    actor: &Actor,
    tenant: &TenantId,
    wanted: Vec<(usize, Wanted)>,
) -> Result<Vec<(usize, Result<Added>)>> {
    let mut lanes: Vec<Vec<(usize, Wanted)>> = Vec::new();
    lanes.resize_with(LANES, Vec::new);
    for (n, one) in wanted {
        let lane = lane(&one.address);
        if let Some(lane) = lanes.get_mut(lane) {
            lane.push((n, one));
        }
    }
    let mut running = JoinSet::new();
    for lane in lanes.into_iter().filter(|lane| !lane.is_empty()) {
        let (app, actor, tenant) = (Arc::clone(app), actor.clone(), tenant.clone());
        running.spawn(async move {
            let mut done = Vec::with_capacity(lane.len());
            for (n, one) in lane {
                done.push((n, put(&app, &actor, &tenant, &one).await));
            }
            done
        });
    }
    let mut results = Vec::new();
    while let Some(done) = running.join_next().await {
        results.extend(done.map_err(|error| Error::internal("A part of the work ended by itself.").because(error))?);
    }
    results.sort_by_key(|(n, _)| *n);
    Ok(results)
}

fn lane(address: &Address) -> usize {
    let sum: usize = address.canonical().bytes().map(usize::from).sum();
    sum % LANES
}
