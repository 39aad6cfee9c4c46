//! The pull feed of events.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use sealpost_core::app::App;
use sealpost_core::error::{Error, Result};
use sealpost_core::event::{EventRow, EventType, feed};
use sealpost_core::id::EventId;
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Which part of the feed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedQuery {
    /// How many, 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Only later ones than this id.
    after: Option<String>,
    /// Only events of this type, such as `email.delivered`.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// An event: what its webhook holds, and its id.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Also the `webhook-id`.
    id: String,
    #[serde(rename = "type")]
    kind: EventType,
    /// When it happened, RFC 3339.
    #[schema(value_type = String)]
    timestamp: Value,
    /// Ids, codes and counts.
    #[schema(value_type = Object)]
    data: Value,
}

impl EventView {
    fn new(row: &EventRow) -> Self {
        let json = row.to_json();
        let part = |name: &str| json.get(name).cloned().unwrap_or_default();
        Self {
            id: row.id.to_string(),
            kind: row.kind,
            timestamp: part("timestamp"),
            data: part("data"),
        }
    }
}

/// A page of the feed.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    object: &'static str,
    has_more: bool,
    data: Vec<EventView>,
    /// Where to go on: the `after` of the next request.
    next: Option<String>,
}

/// Read the feed of events, oldest first. An event appears five seconds after it happened and is kept for 90 days.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "listEvents", security(("api_key" = [])), params(FeedQuery),
    responses((status = 200, body = EventList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn list_events(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query<FeedQuery>, QueryRejection>,
) -> Answer<Json<EventList>> {
    let Query(query) = query.map_err(|_| Error::invalid("limit", "Parameters are `limit`, `after` and `type`."))?;
    let kind = query
        .kind
        .as_deref()
        .map(|name| EventType::parse(name).ok_or_else(|| Error::invalid("type", "There is no such type of event.")));
    let wanted = feed::Wanted {
        after: event_id("after", query.after)?,
        limit: limit(query.limit)?,
        kind: kind.transpose()?,
    };
    let page = feed::read(&app, &actor, &wanted).await?;
    Ok(Json(EventList {
        object: "list",
        has_more: page.has_more,
        data: page.events.iter().map(EventView::new).collect(),
        next: page.last.map(|id| id.to_string()),
    }))
}

/// How many a page has.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize> {
    let limit = asked.unwrap_or(20);
    if (1..=100).contains(&limit) {
        Ok(limit)
    } else {
        Err(Error::invalid("limit", "A page has 1 to 100 entries."))
    }
}

/// An event's id as a parameter.
pub(crate) fn event_id(name: &str, text: Option<String>) -> Result<Option<EventId>> {
    let id = text.map(|text| EventId::parse(&text).ok_or_else(|| Error::invalid(name, "This is not an event's id.")));
    id.transpose()
}
