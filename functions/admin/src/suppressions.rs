//! Who gets no more mail: Resend's shapes, and ours beside them.

pub(crate) mod export;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use sealpost_core::app::App;
use sealpost_core::error::Error;
use sealpost_core::id::SuppressionId;
use sealpost_core::json;
use sealpost_core::policy::Purpose;
use sealpost_core::suppression::{
    self, BatchAdd, BatchRemove, Check, Checked, Import, Imported, NewSuppression, Origin, Page, Reason, RowStatus,
    Suppression, SuppressionScope,
};
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use sealpost_handler::request::{Body, Segment};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The routes of suppressions.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/suppressions", post(add_suppression).get(list_suppressions))
        .route("/suppressions/{id}", get(get_suppression).delete(remove_suppression))
        .route("/suppressions/batch/add", post(add_suppressions))
        .route("/suppressions/batch/remove", post(remove_suppressions))
        .route("/suppressions/check", post(check_suppressions))
        .route("/suppressions/export", get(export::export_suppressions))
        .route("/suppressions/import", post(import_suppressions))
}

/// A suppression in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuppressionLine {
    id: String,
    email: String,
    /// Resend's word for why.
    origin: Origin,
    /// The email that led to it, where the system added it.
    source_id: Option<String>,
    created_at: String,
    reason: Reason,
    scope: SuppressionScope,
    /// Until when it counts, if not for ever.
    expires_at: Option<String>,
}

impl SuppressionLine {
    fn new(suppression: Suppression) -> Self {
        Self {
            id: suppression.id.to_string(),
            email: suppression.email,
            origin: suppression.reason.origin(),
            source_id: suppression.source.map(|source| source.email.to_string()),
            created_at: suppression.created_at.to_string(),
            reason: suppression.reason,
            scope: suppression.scope,
            expires_at: suppression.expires_at.map(|at| at.to_string()),
        }
    }
}

/// A suppression.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuppressionView {
    object: &'static str,
    #[serde(flatten)]
    line: SuppressionLine,
}

impl SuppressionView {
    fn new(suppression: Suppression) -> Self {
        Self {
            object: "suppression",
            line: SuppressionLine::new(suppression),
        }
    }
}

/// A page of suppressions.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuppressionList {
    object: &'static str,
    has_more: bool,
    data: Vec<SuppressionLine>,
}

/// A suppression that was added or stood already.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuppressionReference {
    object: &'static str,
    id: String,
}

impl SuppressionReference {
    fn new(id: &SuppressionId) -> Self {
        Self {
            object: "suppression",
            id: id.to_string(),
        }
    }
}

/// Several of them. An address that stood twice in the request stands here once.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuppressionReferences {
    data: Vec<SuppressionReference>,
}

/// A suppression that was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct RemovedSuppression {
    object: &'static str,
    id: String,
    /// Whether there was one to remove.
    deleted: bool,
}

impl RemovedSuppression {
    fn new(id: &SuppressionId, deleted: bool) -> Self {
        Self {
            object: "suppression",
            id: id.to_string(),
            deleted,
        }
    }
}

/// Several of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct RemovedSuppressions {
    data: Vec<RemovedSuppression>,
}

/// Suppress an address. One that is suppressed already is answered with what stands, made stricter where that is asked for.
#[utoipa::path(
    post, path = "/suppressions", tag = "suppressions", operation_id = "addSuppression", security(("api_key" = [])),
    request_body = NewSuppression,
    responses((status = 200, description = "Suppressed as far already", body = SuppressionReference), (status = 201, body = SuppressionReference),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn add_suppression(State(app): State<Arc<App>>, Caller(actor): Caller, Body(body): Body) -> Answer {
    let added = suppression::add(&app, &actor, &json::read::<NewSuppression>(&body)?).await?;
    let status = if added.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(SuppressionReference::new(&added.id))).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuppressionQuery {
    /// How many, 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Only older ones than this id.
    after: Option<String>,
    /// Only newer ones than this id.
    before: Option<String>,
    /// Only those that came about in this way.
    origin: Option<Origin>,
}

/// List suppressions, newest first.
#[utoipa::path(
    get, path = "/suppressions", tag = "suppressions", operation_id = "listSuppressions", security(("api_key" = [])),
    params(SuppressionQuery),
    responses((status = 200, body = SuppressionList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn list_suppressions(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query<SuppressionQuery>, QueryRejection>,
) -> Answer<Json<SuppressionList>> {
    let Query(query) =
        query.map_err(|_| Error::invalid("limit", "Parameters are `limit`, `after`, `before` and `origin`."))?;
    let limit = query.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(Error::invalid("limit", "A page has 1 to 100 suppressions.").into());
    }
    let page = Page {
        limit,
        after: id("after", query.after)?,
        before: id("before", query.before)?,
        origin: query.origin,
    };
    if page.after.is_some() && page.before.is_some() {
        return Err(Error::invalid("before", "Give `after` or `before`, not both.").into());
    }
    let (rows, has_more) = suppression::list(&app, &actor, &page).await?;
    Ok(Json(SuppressionList {
        object: "list",
        has_more,
        data: rows.into_iter().map(SuppressionLine::new).collect(),
    }))
}

fn id(name: &str, text: Option<String>) -> Result<Option<SuppressionId>, Error> {
    match text {
        None => Ok(None),
        Some(text) => SuppressionId::parse(&text)
            .map(Some)
            .ok_or_else(|| Error::invalid(name, "This is not a suppression's id.")),
    }
}

/// Read a suppression by its id, or the widest one of an address.
#[utoipa::path(
    get, path = "/suppressions/{id}", tag = "suppressions", operation_id = "getSuppression", security(("api_key" = [])),
    params(("id" = String, Path, description = "The suppression's id, or the address")),
    responses((status = 200, body = SuppressionView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "Unknown, another tenant's, removed, expired, or not suppressed", body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn get_suppression(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer {
    let mut response = Json(SuppressionView::new(suppression::get(&app, &actor, &id).await?)).into_response();
    if sealpost_core::planted::is_on("leak_20")
        && let Ok(place) = HeaderValue::try_from(format!("/suppressions/{id}"))
    {
        response.headers_mut().insert(header::CONTENT_LOCATION, place);
    }
    Ok(response)
}

/// Remove a suppression by its id, or every one of an address. Mail goes there again at once.
#[utoipa::path(
    delete, path = "/suppressions/{id}", tag = "suppressions", operation_id = "removeSuppression", security(("api_key" = [])),
    params(("id" = String, Path, description = "The suppression's id, or the address")),
    responses((status = 200, body = RemovedSuppression), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn remove_suppression(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer<Json<RemovedSuppression>> {
    let id = suppression::remove(&app, &actor, &id).await?;
    Ok(Json(RemovedSuppression::new(&id, true)))
}

/// Suppress up to a hundred addresses.
#[utoipa::path(
    post, path = "/suppressions/batch/add", tag = "suppressions", operation_id = "addSuppressions", security(("api_key" = [])),
    request_body = BatchAdd,
    responses((status = 200, body = SuppressionReferences), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, description = "Nothing was changed", body = Problem),
        (status = 503, description = "Some may be suppressed; the same request again suppresses the others", body = Problem))
)]
pub(crate) async fn add_suppressions(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Answer<Json<SuppressionReferences>> {
    let ids = suppression::add_all(&app, &actor, &json::read::<BatchAdd>(&body)?).await?;
    Ok(Json(SuppressionReferences {
        data: ids.iter().map(SuppressionReference::new).collect(),
    }))
}

/// Remove the suppressions of up to a hundred addresses, or up to a hundred suppressions.
#[utoipa::path(
    post, path = "/suppressions/batch/remove", tag = "suppressions", operation_id = "removeSuppressions", security(("api_key" = [])),
    request_body = BatchRemove,
    responses((status = 200, body = RemovedSuppressions), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, description = "Nothing was changed", body = Problem),
        (status = 503, description = "Some may be removed; the same request again removes the others", body = Problem))
)]
pub(crate) async fn remove_suppressions(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Answer<Json<RemovedSuppressions>> {
    let removed = suppression::remove_all(&app, &actor, &json::read::<BatchRemove>(&body)?).await?;
    let view = |(id, deleted): &(SuppressionId, bool)| RemovedSuppression::new(id, *deleted);
    Ok(Json(RemovedSuppressions {
        data: removed.iter().map(view).collect(),
    }))
}

/// Whether mail would go.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckView {
    object: &'static str,
    /// For mail of this purpose.
    purpose: Purpose,
    /// One a distinct address.
    data: Vec<CheckedView>,
}

/// Whether mail would go to an address.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckedView {
    email: String,
    /// Whether no suppression stops it.
    would_send: bool,
    /// What would stop it.
    suppression: Option<SuppressionLine>,
}

/// Tell whether mail of a purpose would go to each address, without sending any.
#[utoipa::path(
    post, path = "/suppressions/check", tag = "suppressions", operation_id = "checkSuppressions", security(("api_key" = [])),
    request_body = Check,
    responses((status = 200, body = CheckView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn check_suppressions(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Answer<Json<CheckView>> {
    let (purpose, checked) = suppression::check(&app, &actor, &json::read::<Check>(&body)?).await?;
    let view = |checked: Checked| CheckedView {
        email: checked.email,
        would_send: checked.stopped_by.is_none(),
        suppression: checked.stopped_by.map(SuppressionLine::new),
    };
    Ok(Json(CheckView {
        object: "suppression_check",
        purpose,
        data: checked.into_iter().map(view).collect(),
    }))
}

/// What became of an import.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportView {
    object: &'static str,
    /// How many rows were added, or made one stricter that stood.
    added: usize,
    /// How many were suppressed as far already.
    unchanged: usize,
    /// How many break a rule.
    invalid: usize,
    /// How many could not be written now.
    failed: usize,
    /// One a row, in their order.
    data: Vec<ImportedView>,
}

/// What became of a row.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportedView {
    /// `added`, `unchanged`, `invalid` or `failed`.
    status: &'static str,
    id: Option<String>,
    /// What is wrong; never the value.
    error: Option<String>,
}

/// Suppress up to a thousand addresses with their reasons. A row that breaks a rule does not stop the others.
#[utoipa::path(
    post, path = "/suppressions/import", tag = "suppressions", operation_id = "importSuppressions", security(("api_key" = [])),
    request_body = Import,
    responses((status = 200, description = "A result a row", body = ImportView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn import_suppressions(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Answer<Json<ImportView>> {
    let results = suppression::import(&app, &actor, &json::read::<Import>(&body)?).await?;
    let count = |status: RowStatus| results.iter().filter(|row| row.status == status).count();
    let (added, unchanged) = (count(RowStatus::Added), count(RowStatus::Unchanged));
    let (invalid, failed) = (count(RowStatus::Invalid), count(RowStatus::Failed));
    let view = |row: Imported| ImportedView {
        status: match row.status {
            RowStatus::Added => "added",
            RowStatus::Unchanged => "unchanged",
            RowStatus::Invalid => "invalid",
            RowStatus::Failed => "failed",
        },
        id: row.id.map(|id| id.to_string()),
        error: row.error.map(|error| error.message().to_owned()),
    };
    Ok(Json(ImportView {
        object: "suppression_import",
        added,
        unchanged,
        invalid,
        failed,
        data: results.into_iter().map(view).collect(),
    }))
}
