//! The pull feed: a tenant's events, oldest first, day by day.
//!
//! An event's id is made before its transaction is written, so that a later id may be readable earlier. What is younger than
//! five seconds is therefore not shown yet: whoever goes on from the last id that was seen misses nothing.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{EventRow, EventType, KEPT_MS};
use crate::actor::{Actor, Mode, Scope};
use crate::app::App;
use crate::aws::table::Range;
use crate::error::Result;
use crate::id::{EventId, TenantId};
use crate::key::{Table, events_partition};

/// How old an event is when it is shown first.
const SETTLED_MS: i64 = 5_000;
/// How many events one call looks at, at most, when it looks for some types only.
const MOST_LOOKED_AT: usize = 2_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only later ones than this.
    pub after: Option<EventId>,
    /// How many at most.
    pub limit: usize,
    /// Only this type.
    pub kind: Option<EventType>,
}

/// A page of the feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub events: Vec<EventRow>,
    /// Whether more may follow at once.
    pub has_more: bool,
    /// The last event that was looked at: where to go on.
    pub last: Option<EventId>,
}

/// A page of the tenant's events.
///
/// # Errors
/// Forbidden; Unavailable.
pub async fn read(app: &App, actor: &Actor, wanted: &Wanted) -> Result<Page> {
    let tenant = actor.tenant_with(Scope::EventsRead)?;
    // A key in test mode learns of tests alone; any other key learns of everything, marked.
    let is_shown = |event: &EventRow| event.is_test || actor.mode() == Mode::Live;
    let is_wanted = |event: &EventRow| is_shown(event) && wanted.kind.is_none_or(|only| only == event.kind);
    page(app, tenant, wanted, is_wanted).await
}

/// A page of the events of which `is_wanted` holds.
pub(crate) async fn page(
    app: &App,
    tenant: &TenantId,
    wanted: &Wanted,
    is_wanted: impl Fn(&EventRow) -> bool,
) -> Result<Page> {
    let now_ms = app.clock.now_ms();
    let settled_ms = now_ms.saturating_sub(SETTLED_MS);
    let oldest_ms = now_ms
        .saturating_sub(KEPT_MS)
        .max(app.tenant(tenant).await?.created_at_ms);
    let after_ms = wanted.after.as_ref().map_or(0, |id| id.made_at().as_millisecond());
    let mut page = Page {
        last: wanted.after.clone(),
        ..Page::default()
    };
    let mut n_looked_at = 0_usize;
    for day in days(after_ms.max(oldest_ms), settled_ms) {
        loop {
            let left = wanted.limit.saturating_sub(page.events.len()).saturating_add(1);
            let range = Range {
                after: page.last.as_ref().map(EventId::as_str),
                limit: Some(left),
                ..Range::default()
            };
            let rows: Vec<EventRow> = app.query(Table::Mail, &events_partition(tenant, &day), &range).await?;
            let is_end = rows.len() < left;
            for row in rows {
                if row.id.made_at().as_millisecond() > settled_ms {
                    return Ok(page);
                }
                let is_live = row.expires_at.saturating_mul(1000) > now_ms;
                let is_wanted = is_live && is_wanted(&row);
                n_looked_at = n_looked_at.saturating_add(1);
                if page.events.len() >= wanted.limit || n_looked_at > MOST_LOOKED_AT {
                    page.has_more = true;
                    return Ok(page);
                }
                page.last = Some(row.id.clone());
                if is_wanted {
                    page.events.push(row);
                }
            }
            if is_end {
                break;
            }
        }
    }
    Ok(page)
}

/// The days in UTC from one time to another, both included.
fn days(from_ms: i64, to_ms: i64) -> Vec<String> {
    let date = |ms| {
        let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        at.to_zoned_datetime(TimeZone::UTC).date()
    };
    let to: Date = date(to_ms);
    let days = date(from_ms).series(1.day()).take_while(|day| *day <= to);
    days.map(|day| day.strftime("%Y-%m-%d").to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_include_both_ends() {
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let table: [(&str, &str, &[&str]); 3] = [
            (
                "2026-11-30T23:59:59.999Z",
                "2026-12-01T00:00:00Z",
                &["2026-11-30", "2026-12-01"],
            ),
            ("2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z", &["2026-11-24"]),
            ("2026-11-24T00:00:00Z", "2026-11-23T23:59:59Z", &[]),
        ];
        for (from, to, expected) in table {
            assert_eq!(days(ms(from), ms(to)), expected, "{from} {to}");
        }
    }
}
