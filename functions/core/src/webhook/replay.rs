//! What was posted to an endpoint, and posting it again.
//!
//! A replay puts an event on its way anew, under the same id, however it ended before. It is refused for an endpoint that is
//! switched off, since nothing would be posted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::endpoint::{self, EndpointRow, Status};
use super::{State, TellingRow};
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Range, Transaction, absent, number};
use crate::error::{Error, Kind, Result};
use crate::event::{EventRow, EventType, feed};
use crate::id::{EventId, TenantId, WebhookId};
use crate::key::{Key, TELLINGS, Table, webhook_partition};

/// How many events one call replays at most.
const MOST: usize = 100;
/// How many of them stand in one transaction: two or three items each, of 100.
const AT_ONCE: usize = 30;

/// The body of `POST /webhooks/{id}/replay`: one event, or those of a stretch of the feed.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// One event.
    #[serde(default)]
    pub event_id: Option<String>,
    /// Only events of this type.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Only events later than this: a time (RFC 3339) or an event's id.
    #[serde(default)]
    pub after: Option<String>,
    /// Only events earlier than this: a time (RFC 3339) or an event's id.
    #[serde(default)]
    pub before: Option<String>,
}

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The endpoint.
    pub webhook: Option<WebhookId>,
    /// How many events are on their way again.
    pub n_events: usize,
    /// Whether more follow: ask again with `after` set to `last`.
    pub has_more: bool,
    /// The last event that was looked at.
    pub last: Option<EventId>,
}

/// A page of what was posted to an endpoint, newest event first, and whether more follows.
///
/// # Errors
/// Forbidden; NotFound; Unavailable.
pub async fn tellings(
    app: &App,
    actor: &Actor,
    id: &str,
    limit: usize,
    after: Option<&EventId>,
) -> Result<(Vec<TellingRow>, bool)> {
    let tenant = actor.tenant_with(Scope::WebhooksRead)?;
    let endpoint = endpoint::find(app, tenant, id).await?;
    let before = after.map(|id| format!("{TELLINGS}{id}"));
    let range = Range {
        before: before.as_deref(),
        prefix: before.is_none().then_some(TELLINGS),
        limit: Some(limit.saturating_add(1)),
        newest_first: true,
        ..Range::default()
    };
    let partition = webhook_partition(tenant, &endpoint.id);
    let mut rows: Vec<TellingRow> = app.query(Table::Mail, &partition, &range).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    Ok((rows, has_more))
}

/// One event's way to an endpoint, and the event.
///
/// # Errors
/// Forbidden; NotFound; Unavailable.
pub async fn telling(app: &App, actor: &Actor, id: &str, event: &str) -> Result<(TellingRow, EventRow)> {
    let tenant = actor.tenant_with(Scope::WebhooksRead)?;
    let endpoint = endpoint::find(app, tenant, id).await?;
    let event = EventId::parse(event).ok_or_else(Error::not_found)?;
    let row = app
        .get::<TellingRow>(&Key::Telling(tenant, &endpoint.id, &event))
        .await?;
    let event = app.get::<EventRow>(&Key::Event(tenant, &event)).await?;
    row.zip(event).ok_or_else(Error::not_found)
}

/// Puts events on their way to an endpoint again.
///
/// # Errors
/// Forbidden; Invalid with pointers; NotFound; Conflict, when the endpoint is switched off or an event of these is being
/// posted; Unavailable.
pub async fn replay(app: &App, actor: &Actor, id: &str, asked: &Replay) -> Result<Replayed> {
    let tenant = actor.tenant_with(Scope::WebhooksWrite)?;
    let endpoint = endpoint::find(app, tenant, id).await?;
    if endpoint.status == Status::Disabled {
        return Err(Error::new(Kind::Conflict, "This webhook is disabled; enable it first."));
    }
    let (events, has_more, last) = match &asked.event_id {
        Some(id) => {
            if asked.kind.is_some() || asked.after.is_some() || asked.before.is_some() {
                return Err(Error::invalid(
                    "/event_id",
                    "Give `event_id` or a stretch of the feed, not both.",
                ));
            }
            let event = event(app, tenant, id).await?;
            if !endpoint.events.contains(&event.kind) {
                return Err(Error::invalid(
                    "/event_id",
                    "This webhook is not told of events of this type.",
                ));
            }
            (vec![event], false, None)
        }
        None => stretch(app, tenant, &endpoint, asked).await?,
    };
    for some in events.chunks(AT_ONCE) {
        put_on_way(app, actor, tenant, &endpoint, some).await?;
    }
    Ok(Replayed {
        webhook: Some(endpoint.id),
        n_events: events.len(),
        has_more,
        last,
    })
}

async fn event(app: &App, tenant: &TenantId, id: &str) -> Result<EventRow> {
    let unknown = || Error::invalid("/event_id", "There is no such event.");
    let id = EventId::parse(id).ok_or_else(unknown)?;
    let event = app.get::<EventRow>(&Key::Event(tenant, &id)).await?;
    let now_s = app.clock.now_ms().div_euclid(1000);
    event.filter(|event| event.expires_at > now_s).ok_or_else(unknown)
}

type Stretch = (Vec<EventRow>, bool, Option<EventId>);

async fn stretch(app: &App, tenant: &TenantId, endpoint: &EndpointRow, asked: &Replay) -> Result<Stretch> {
    let kind = asked.kind.as_deref().map(|name| {
        let kind = EventType::parse(name).filter(|kind| endpoint.events.contains(kind));
        kind.ok_or_else(|| Error::invalid("/type", "This webhook is not told of such events."))
    });
    let kind = kind.transpose()?;
    let wanted = feed::Wanted {
        after: asked.after.as_deref().map(|text| bound("/after", text)).transpose()?,
        limit: MOST,
        kind,
    };
    let before = asked.before.as_deref().map(|text| bound("/before", text)).transpose()?;
    let is_wanted =
        |event: &EventRow| endpoint.events.contains(&event.kind) && kind.is_none_or(|only| only == event.kind);
    let mut page = feed::page(app, tenant, &wanted, is_wanted).await?;
    if let Some(before) = before {
        let n_found = page.events.len();
        page.events.retain(|event| event.id < before);
        page.has_more &= page.events.len() == n_found && page.last.as_ref().is_some_and(|last| *last < before);
    }
    Ok((page.events, page.has_more, page.last))
}

/// An event's id, or the lowest id of a time.
fn bound(pointer: &str, text: &str) -> Result<EventId> {
    let of_time = || {
        let ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        let time = u128::try_from(ms).ok()? & 0xffff_ffff_ffff;
        Some(EventId::from_bytes((time << 80).to_be_bytes()))
    };
    EventId::parse(text)
        .or_else(of_time)
        .ok_or_else(|| Error::invalid(pointer, "This is neither a time as in RFC 3339 nor an event's id."))
}

async fn put_on_way(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    endpoint: &EndpointRow,
    events: &[EventRow],
) -> Result<()> {
    let now_ms = app.clock.now_ms();
    let keys: Vec<Key<'_>> = events
        .iter()
        .map(|event| Key::Telling(tenant, &endpoint.id, &event.id))
        .collect();
    let known: BTreeMap<EventId, TellingRow> = app
        .get_all::<TellingRow>(&keys)
        .await?
        .into_iter()
        .map(|row| (row.event.clone(), row))
        .collect();
    let facts = BTreeMap::from([("n_events", events.len().to_string()), ("first", first(events))]);
    let entry = Entry {
        tenant,
        actor,
        action: Action::WebhookReplayed,
        subject: endpoint.id.as_str(),
        facts,
    };
    let mut transaction = Transaction::new(app).audit(app, entry)?;
    for event in events {
        let mut row = TellingRow::new(&event.id, &endpoint.id, event.kind, now_ms, event.expires_at);
        let condition = match known.get(&event.id) {
            None => absent(),
            Some(known) => {
                row.ver = known.ver.saturating_add(1);
                row.tries.clone_from(&known.tries);
                Expression::new("ver = :seen").with(":seen", number(known.ver))
            }
        };
        debug_assert_eq!(row.state, State::Pending);
        transaction = transaction
            .put(
                "telling",
                &Key::Telling(tenant, &endpoint.id, &event.id),
                &row,
                Some(condition),
            )
            .follow_telling(tenant, &row, true)
            .hint(row.hint(tenant));
    }
    match transaction.commit().await? {
        Outcome::Committed => Ok(()),
        Outcome::Refused(_) => Err(Error::new(
            Kind::Conflict,
            "Events are being posted just now; try again.",
        )),
    }
}

fn first(events: &[EventRow]) -> String {
    events.first().map(|event| event.id.to_string()).unwrap_or_default()
}
