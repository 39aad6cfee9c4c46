//! Looking at suppressions: one, a page of them, and whether a mail of some purpose would go.

use sealpost_codec::address::Address;
use serde::Deserialize;
use utoipa::ToSchema;

use super::change::recipient_of;
use super::{Origin, Suppression, SuppressionRow, live, open};
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::aws::table::Range;
use crate::email::request;
use crate::error::{Error, Result};
use crate::id::{SuppressionId, TenantId};
use crate::key::{SHARDS, Table, suppressions_partition};
use crate::policy::Purpose;

/// At most so many addresses in one check.
pub(super) const MAX_ADDRESSES: usize = 100;
/// How many lines of a partition are read at least in one go; lines that have expired or do not match are passed over.
const LINES: usize = 100;

/// Which suppressions a list shows.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// How many, 1 to 1,000.
    pub limit: usize,
    /// Only older ones than this.
    pub after: Option<SuppressionId>,
    /// Only newer ones than this.
    pub before: Option<SuppressionId>,
    /// Only of this origin.
    pub origin: Option<Origin>,
}

/// A suppression by its id, or the widest one of an address.
///
/// # Errors
/// Forbidden; NotFound, also for what was removed or has expired; Unavailable.
pub async fn get(app: &App, actor: &Actor, id_or_email: &str) -> Result<Suppression> {
    let tenant = actor.tenant_with(Scope::SuppressionsRead)?;
    let id = SuppressionId::parse(id_or_email);
    let hash = recipient_of(app, tenant, id_or_email).await?;
    let mut rows = live(app, tenant, &hash).await?.into_iter();
    let row = rows.find(|row| id.as_ref().is_none_or(|id| row.id == *id));
    open(app, tenant, row.ok_or_else(Error::not_found)?).await
}

/// Suppressions that count now, newest first, and whether more follow.
///
/// # Errors
/// Forbidden; Unavailable.
pub async fn list(app: &App, actor: &Actor, page: &Page) -> Result<(Vec<Suppression>, bool)> {
    let tenant = actor.tenant_with(Scope::SuppressionsRead)?;
    let limit = page.limit.clamp(1, 1000);
    let is_upward = page.before.is_some();
    let mut rows = Vec::new();
    for shard in 0..SHARDS {
        rows.extend(lines(app, tenant, shard, page, limit.saturating_add(1)).await?);
    }
    rows.sort_by(|one, other| {
        if is_upward {
            one.id.cmp(&other.id)
        } else {
            other.id.cmp(&one.id)
        }
    });
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    if is_upward {
        rows.reverse();
    }
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        shown.push(open(app, tenant, row).await?);
    }
    Ok((shown, has_more))
}

/// Up to `wanted` lines of one partition that belong on the page, nearest to its beginning first.
async fn lines(app: &App, tenant: &TenantId, shard: u8, page: &Page, wanted: usize) -> Result<Vec<SuppressionRow>> {
    let partition = suppressions_partition(tenant, shard);
    let now_ms = app.clock.now_ms();
    let is_upward = page.before.is_some();
    let mut from = if is_upward {
        page.before.clone()
    } else {
        page.after.clone()
    };
    let mut found = Vec::new();
    let n_read = wanted.max(LINES);
    loop {
        let at = from.as_ref().map(SuppressionId::as_str);
        let range = Range {
            after: at.filter(|_| is_upward),
            before: at.filter(|_| !is_upward),
            limit: Some(n_read),
            newest_first: !is_upward,
            ..Range::default()
        };
        let rows: Vec<SuppressionRow> = app.query(Table::People, &partition, &range).await?;
        let is_last = rows.len() < n_read;
        from = rows.last().map(|row| row.id.clone());
        found.extend(
            rows.into_iter()
                .filter(|row| row.is_live(now_ms) && page.origin.is_none_or(|origin| row.reason.origin() == origin)),
        );
        if is_last || found.len() >= wanted {
            found.truncate(wanted);
            return Ok(found);
        }
    }
}

/// The body of `POST /suppressions/check`.
// No `Debug`: it holds addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The addresses, 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    emails: Vec<String>,
    /// What the mail would be sent for; the policy's default purpose where it is not given.
    #[serde(default)]
    purpose: Option<Purpose>,
}

/// Whether a mail would go to an address.
pub struct Checked {
    /// The address.
    pub email: String,
    /// What would stop it.
    pub stopped_by: Option<Suppression>,
}

/// Tells for each address whether a mail of this purpose would be stopped by a suppression, without sending anything. It is
/// a look at this moment: what counts is the look at the moment of submission.
///
/// # Errors
/// Forbidden; Invalid; Unavailable.
pub async fn check(app: &App, actor: &Actor, check: &Check) -> Result<(Purpose, Vec<Checked>)> {
    let tenant = actor.tenant_with(Scope::SuppressionsRead)?;
    let addresses = addresses(&check.emails)?;
    let policy = app.policy(tenant).await?;
    let purpose = check.purpose.unwrap_or(policy.default_purpose);
    let mut checked = Vec::with_capacity(addresses.len());
    for address in addresses {
        let hash = app.recipient_hash(tenant, &address).await?;
        let rows = live(app, tenant, &hash).await?;
        let row = rows.into_iter().find(|row| row.covers(purpose, &policy));
        let stopped_by = match row {
            Some(row) => Some(open(app, tenant, row).await?),
            None => None,
        };
        checked.push(Checked {
            email: address.as_str().to_owned(),
            stopped_by,
        });
    }
    Ok((purpose, checked))
}

/// One to a hundred addresses, each once.
pub(super) fn addresses(emails: &[String]) -> Result<Vec<Address>> {
    if !(1..=MAX_ADDRESSES).contains(&emails.len()) {
        return Err(Error::invalid("/emails", "One call takes 1 to 100 addresses."));
    }
    let mut addresses: Vec<Address> = Vec::with_capacity(emails.len());
    let mut faults = Vec::new();
    for (n, email) in emails.iter().enumerate() {
        match request::address(&format!("/emails/{n}"), email) {
            Ok(address) if addresses.contains(&address) => {}
            Ok(address) => addresses.push(address),
            Err(error) => faults.extend(error.fields().iter().cloned()),
        }
    }
    if faults.is_empty() {
        Ok(addresses)
    } else {
        Err(Error::faults(faults))
    }
}
