//! What was posted to a webhook: by our route, and by those that Resend's SDKs know.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use sealpost_core::app::App;
use sealpost_core::error::Error;
use sealpost_core::event::EventType;
use sealpost_core::webhook::replay::{self, Replay};
use sealpost_core::webhook::{State as Way, TellingRow, Try};
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use sealpost_handler::request::Segment;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::events::{event_id, limit};
use crate::time;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttemptQuery {
    /// How many events, 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Only older ones than this event's id.
    after: Option<String>,
}

/// One try.
#[derive(Serialize, ToSchema)]
struct TryView {
    sent_at: String,
    http_status_code: Option<u16>,
    duration_ms: i64,
    /// A short code, where there was no answer.
    error: Option<String>,
}

/// An event's way to the webhook.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptView {
    object: &'static str,
    event_id: String,
    #[serde(rename = "type")]
    kind: EventType,
    status: Way,
    next_attempt_at: Option<String>,
    /// Oldest first.
    tries: Vec<TryView>,
}

impl AttemptView {
    fn new(row: TellingRow) -> Self {
        let tries = row.tries.into_iter().map(|one| TryView {
            sent_at: time(one.at_ms),
            http_status_code: one.status,
            duration_ms: one.took_ms,
            error: one.error,
        });
        Self {
            object: "webhook_attempt",
            event_id: row.event.to_string(),
            kind: row.kind,
            status: row.state,
            next_attempt_at: (row.state == Way::Pending).then(|| time(row.due_ms)),
            tries: tries.collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptList {
    object: &'static str,
    has_more: bool,
    data: Vec<AttemptView>,
}

/// List what was posted to a webhook, newest event first.
#[utoipa::path(
    get, path = "/webhooks/{id}/attempts", tag = "webhooks", operation_id = "listWebhookAttempts",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id"), AttemptQuery),
    responses((status = 200, body = AttemptList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn list_attempts(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
    query: Result<Query<AttemptQuery>, QueryRejection>,
) -> Answer<Json<AttemptList>> {
    let (limit, after) = page(query)?;
    let (rows, has_more) = replay::tellings(&app, &actor, &id, limit, after.as_ref()).await?;
    Ok(Json(AttemptList {
        object: "list",
        has_more,
        data: rows.into_iter().map(AttemptView::new).collect(),
    }))
}

type Page = (usize, Option<sealpost_core::id::EventId>);

fn page(query: Result<Query<AttemptQuery>, QueryRejection>) -> sealpost_core::error::Result<Page> {
    let Query(query) = query.map_err(|_| Error::invalid("limit", "Parameters are `limit` and `after`."))?;
    Ok((limit(query.limit)?, event_id("after", query.after)?))
}

/// An event of a webhook, as Resend shows it.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookEventView {
    object: &'static str,
    id: String,
    #[serde(rename = "type")]
    kind: EventType,
    created_at: String,
    /// `pending`, `attempting`, `success` or `failed`.
    status: &'static str,
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
}

impl WebhookEventView {
    fn new(row: &TellingRow, payload: Option<Value>) -> Self {
        Self {
            object: "webhook_event",
            id: row.event.to_string(),
            kind: row.kind,
            created_at: time(row.event.made_at().as_millisecond()),
            status: match row.state {
                Way::Pending if row.claimed_until_ms > 0 => "attempting",
                Way::Pending => "pending",
                Way::Delivered => "success",
                Way::Exhausted => "failed",
            },
            next_attempt_at: (row.state == Way::Pending).then(|| time(row.due_ms)),
            payload,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookEventList {
    object: &'static str,
    has_more: bool,
    data: Vec<WebhookEventView>,
}

/// List the events of a webhook, newest first.
#[utoipa::path(
    get, path = "/webhooks/{id}/events", tag = "webhooks", operation_id = "listWebhookEvents",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id"), AttemptQuery),
    responses((status = 200, body = WebhookEventList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn list_webhook_events(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
    query: Result<Query<AttemptQuery>, QueryRejection>,
) -> Answer<Json<WebhookEventList>> {
    let (limit, after) = page(query)?;
    let (rows, has_more) = replay::tellings(&app, &actor, &id, limit, after.as_ref()).await?;
    Ok(Json(WebhookEventList {
        object: "list",
        has_more,
        data: rows.iter().map(|row| WebhookEventView::new(row, None)).collect(),
    }))
}

/// Read an event of a webhook, with what is posted.
#[utoipa::path(
    get, path = "/webhooks/{id}/events/{event}", tag = "webhooks", operation_id = "readWebhookEvent",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id"), ("event" = String, Path, description = "The event's id")),
    responses((status = 200, body = WebhookEventView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn read_webhook_event(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment((id, event)): Segment<(String, String)>,
) -> Answer<Json<WebhookEventView>> {
    let (row, event) = replay::telling(&app, &actor, &id, &event).await?;
    Ok(Json(WebhookEventView::new(&row, Some(event.to_json()))))
}

/// Which event is on its way again.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookEventReference {
    object: &'static str,
    id: String,
}

/// Post an event again, under its old id.
#[utoipa::path(
    post, path = "/webhooks/{id}/events/{event}/replay", tag = "webhooks", operation_id = "replayWebhookEvent",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id"), ("event" = String, Path, description = "The event's id")),
    responses((status = 200, body = WebhookEventReference), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn replay_webhook_event(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment((id, event)): Segment<(String, String)>,
) -> Answer<Json<WebhookEventReference>> {
    let asked = Replay {
        event_id: Some(event.clone()),
        ..Replay::default()
    };
    replay::replay(&app, &actor, &id, &asked).await?;
    Ok(Json(WebhookEventReference {
        object: "webhook_event",
        id: event,
    }))
}

/// One try, as Resend shows it. What the receiver answered is not kept, so `response` is a short code or empty.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookEventAttemptView {
    id: String,
    http_status_code: u16,
    response: String,
    sent_at: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookEventAttemptList {
    object: &'static str,
    has_more: bool,
    data: Vec<WebhookEventAttemptView>,
}

/// List the tries of an event, newest first. `http_status_code` is 0 where there was no answer.
#[utoipa::path(
    get, path = "/webhooks/{id}/events/{event}/attempts", tag = "webhooks", operation_id = "listWebhookEventAttempts",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id"), ("event" = String, Path, description = "The event's id")),
    responses((status = 200, body = WebhookEventAttemptList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn list_event_attempts(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment((id, event)): Segment<(String, String)>,
) -> Answer<Json<WebhookEventAttemptList>> {
    let (row, _) = replay::telling(&app, &actor, &id, &event).await?;
    let view = |one: &Try| WebhookEventAttemptView {
        id: format!("{event}.{}", one.at_ms),
        http_status_code: one.status.unwrap_or_default(),
        response: one.error.clone().unwrap_or_default(),
        sent_at: time(one.at_ms),
    };
    Ok(Json(WebhookEventAttemptList {
        object: "list",
        has_more: false,
        data: row.tries.iter().rev().map(view).collect(),
    }))
}
