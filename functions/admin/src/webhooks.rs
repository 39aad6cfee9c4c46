//! Webhook endpoints, in Resend's shapes.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sealpost_core::app::App;
use sealpost_core::error::Error;
use sealpost_core::event::EventType;
use sealpost_core::json;
use sealpost_core::webhook::endpoint::{self, Change, EndpointRow, NewEndpoint, Shown, Status};
use sealpost_core::webhook::replay::{self, Replay};
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use sealpost_handler::request::{Body, Segment};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::events::limit;
use crate::time;

/// An endpoint, with its secret where that is shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookView {
    object: &'static str,
    id: String,
    endpoint: String,
    events: Vec<EventType>,
    status: Status,
    created_at: String,
    /// For keys with the scope `webhooks:write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_secret: Option<String>,
    /// Checks the `v1a` signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

impl WebhookView {
    fn new(row: EndpointRow, shown: Option<Shown>) -> Self {
        let (signing_secret, public_key) = shown.map(|shown| (shown.signing_secret, shown.public_key)).unzip();
        Self {
            object: "webhook",
            id: row.id.to_string(),
            endpoint: row.url,
            events: row.events.into_iter().collect(),
            status: row.status,
            created_at: time(row.created_at_ms),
            signing_secret,
            public_key,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookList {
    object: &'static str,
    has_more: bool,
    data: Vec<WebhookView>,
}

/// An endpoint's new secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretView {
    object: &'static str,
    id: String,
    signing_secret: String,
    /// Checks the `v1a` signatures.
    public_key: String,
}

impl SecretView {
    fn new(row: &EndpointRow, shown: Shown) -> Self {
        Self {
            object: "webhook",
            id: row.id.to_string(),
            signing_secret: shown.signing_secret,
            public_key: shown.public_key,
        }
    }
}

/// Which endpoint was changed or removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookReference {
    object: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookQuery {
    /// How many, 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Only older ones than this id.
    after: Option<String>,
    /// Only newer ones than this id.
    before: Option<String>,
}

/// Create a webhook; its secret signs what is posted to it.
#[utoipa::path(
    post, path = "/webhooks", tag = "webhooks", operation_id = "createWebhook", security(("api_key" = [])),
    request_body = NewEndpoint,
    responses((status = 201, body = SecretView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn create_webhook(State(app): State<Arc<App>>, Caller(actor): Caller, Body(body): Body) -> Answer {
    let (row, shown) = endpoint::create(&app, &actor, json::read::<NewEndpoint>(&body)?).await?;
    Ok((StatusCode::CREATED, Json(SecretView::new(&row, shown))).into_response())
}

/// List webhooks, newest first, without their secrets.
#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", operation_id = "listWebhooks", security(("api_key" = [])),
    params(WebhookQuery),
    responses((status = 200, body = WebhookList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn list_webhooks(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query<WebhookQuery>, QueryRejection>,
) -> Answer<Json<WebhookList>> {
    let Query(query) = query.map_err(|_| Error::invalid("limit", "Parameters are `limit`, `after` and `before`."))?;
    let limit = limit(query.limit)?;
    if query.after.is_some() && query.before.is_some() {
        return Err(Error::invalid("before", "Give `after` or `before`, not both.").into());
    }
    let mut rows = endpoint::list(&app, &actor).await?;
    rows.reverse();
    if let Some(after) = &query.after {
        rows.retain(|row| row.id.as_str() < after.as_str());
    }
    let mut has_more = rows.len() > limit;
    if let Some(before) = &query.before {
        rows.retain(|row| row.id.as_str() > before.as_str());
        has_more = rows.len() > limit;
        rows.drain(..rows.len().saturating_sub(limit));
    }
    rows.truncate(limit);
    let data = rows.into_iter().map(|row| WebhookView::new(row, None)).collect();
    Ok(Json(WebhookList {
        object: "list",
        has_more,
        data,
    }))
}

/// Read a webhook; with its secret, if the key may change webhooks.
#[utoipa::path(
    get, path = "/webhooks/{id}", tag = "webhooks", operation_id = "readWebhook", security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 200, body = WebhookView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn read_webhook(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer<Json<WebhookView>> {
    let (row, shown) = endpoint::get(&app, &actor, &id).await?;
    Ok(Json(WebhookView::new(row, shown)))
}

/// Change a webhook.
#[utoipa::path(
    patch, path = "/webhooks/{id}", tag = "webhooks", operation_id = "changeWebhook", security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    request_body = Change,
    responses((status = 200, body = WebhookReference), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn change_webhook(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
    Body(body): Body,
) -> Answer<Json<WebhookReference>> {
    let row = endpoint::change(&app, &actor, &id, json::read::<Change>(&body)?).await?;
    Ok(Json(WebhookReference {
        object: "webhook",
        id: row.id.to_string(),
        deleted: None,
    }))
}

/// Remove a webhook. What still waits for it is given up.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = "webhooks", operation_id = "removeWebhook", security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 200, body = WebhookReference), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn remove_webhook(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer<Json<WebhookReference>> {
    let id = endpoint::remove(&app, &actor, &id).await?;
    Ok(Json(WebhookReference {
        object: "webhook",
        id: id.to_string(),
        deleted: Some(true),
    }))
}

/// Give a webhook a new secret. The old one signs beside it for 24 hours.
#[utoipa::path(
    post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks", operation_id = "rotateWebhookSecret",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 200, body = SecretView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn rotate_secret(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer<Json<SecretView>> {
    let (row, shown) = endpoint::rotate(&app, &actor, &id).await?;
    Ok(Json(SecretView::new(&row, shown)))
}

/// The same by the path that Resend's SDKs know.
#[utoipa::path(
    post, path = "/webhooks/{id}/signing-secret/rotate", tag = "webhooks", operation_id = "rotateSigningSecret",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 200, body = SecretView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn rotate_signing_secret(
    state: State<Arc<App>>,
    caller: Caller,
    id: Segment<String>,
) -> Answer<Json<SecretView>> {
    rotate_secret(state, caller, id).await
}

/// What a replay put on its way again.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayView {
    object: &'static str,
    id: String,
    /// How many events.
    n_events: usize,
    /// Whether more follow: ask again with `after` set to `next`.
    has_more: bool,
    next: Option<String>,
}

/// Post events again, under their old ids: one, or up to a hundred of a stretch of the feed.
#[utoipa::path(
    post, path = "/webhooks/{id}/replay", tag = "webhooks", operation_id = "replayWebhook", security(("api_key" = [])),
    params(("id" = String, Path, description = "The webhook's id")),
    request_body = Replay,
    responses((status = 200, body = ReplayView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn replay_webhook(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
    Body(body): Body,
) -> Answer<Response> {
    let replayed = replay::replay(&app, &actor, &id, &json::read::<Replay>(&body)?).await?;
    let view = ReplayView {
        object: "webhook_replay",
        id,
        n_events: replayed.n_events,
        has_more: replayed.has_more,
        next: replayed.last.map(|id| id.to_string()),
    };
    Ok(Json(view).into_response())
}
