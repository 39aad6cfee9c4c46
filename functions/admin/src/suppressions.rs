//! Who gets no more mail: Resend's shapes, and ours beside them.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
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
use sealpost_handler::request::Body;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How many suppressions a page of the export has where nobody says otherwise.
const EXPORTED: usize = 1000;

/// The routes of suppressions.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/suppressions", post(add_suppression).get(list_suppressions))
        .route("/suppressions/{id}", get(get_suppression).delete(remove_suppression))
        .route("/suppressions/batch/add", post(add_suppressions))
        .route("/suppressions/batch/remove", post(remove_suppressions))
        .route("/suppressions/check", post(check_suppressions))
        .route("/suppressions/export", get(export_suppressions))
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
#[serde(deny_unknown_fields)]
pub(crate) struct SuppressionQuery {
    /// How many, 1 to 100; 20 by default.
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
    Path(id): Path<String>,
) -> Answer<Json<SuppressionView>> {
    Ok(Json(SuppressionView::new(suppression::get(&app, &actor, &id).await?)))
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
    Path(id): Path<String>,
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

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExportFormat {
    /// One JSON object a line.
    #[default]
    Ndjson,
    /// RFC 4180, with a header line.
    Csv,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// `ndjson` (the default) or `csv`.
    format: Option<ExportFormat>,
    /// How many, 1 to 1,000; 1,000 by default.
    limit: Option<usize>,
    /// Only older ones than this id.
    after: Option<String>,
}

/// Export suppressions, newest first, a page at a time: where more follow, the header `Link` names the next page (RFC 8288).
#[utoipa::path(
    get, path = "/suppressions/export", tag = "suppressions", operation_id = "exportSuppressions", security(("api_key" = [])),
    params(ExportQuery),
    responses((status = 200, description = "A line a suppression", body = String, content_type = "application/x-ndjson"),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn export_suppressions(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|_| Error::invalid("format", "Parameters are `format`, `limit` and `after`."))?;
    let limit = query.limit.unwrap_or(EXPORTED);
    if !(1..=EXPORTED).contains(&limit) {
        return Err(Error::invalid("limit", "A page has 1 to 1,000 suppressions.").into());
    }
    let page = Page {
        limit,
        after: id("after", query.after)?,
        ..Page::default()
    };
    let format = query.format.unwrap_or_default();
    let (rows, has_more) = suppression::list(&app, &actor, &page).await?;
    let next = rows.last().filter(|_| has_more).map(|row| row.id.to_string());
    let lines = rows.into_iter().map(SuppressionLine::new);
    let (content_type, name, text) = match format {
        ExportFormat::Ndjson => {
            let lines = lines.map(|line| serde_json::to_string(&line).map(|line| format!("{line}\n")));
            let text = lines.collect::<Result<String, _>>();
            let text = text.map_err(|error| Error::internal("A line could not be written.").because(error))?;
            ("application/x-ndjson", "ndjson", text)
        }
        ExportFormat::Csv => ("text/csv; charset=utf-8", "csv", csv(lines)),
    };
    let mut response: Response = ([(header::CONTENT_TYPE, content_type)], text).into_response();
    if let Some(next) = next {
        let link = format!("</suppressions/export?format={name}&limit={limit}&after={next}>; rel=\"next\"");
        let link = HeaderValue::from_str(&link);
        let link = link.map_err(|error| Error::internal("A link could not be written.").because(error))?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn csv(lines: impl Iterator<Item = SuppressionLine>) -> String {
    let mut text = "id,email,reason,scope,origin,source_id,created_at,expires_at\r\n".to_owned();
    for line in lines {
        let origin = match line.origin {
            Origin::Bounce => "bounce",
            Origin::Complaint => "complaint",
            Origin::Manual => "manual",
        };
        let fields = [
            line.id.as_str(),
            &line.email,
            line.reason.as_str(),
            line.scope.as_str(),
            origin,
            line.source_id.as_deref().unwrap_or_default(),
            &line.created_at,
            line.expires_at.as_deref().unwrap_or_default(),
        ];
        text.push_str(&fields.map(field).join(","));
        text.push_str("\r\n");
    }
    text
}

/// A field of RFC 4180. A local part may begin with `=`, `+` or `-`, which a spreadsheet would take for a formula; an
/// apostrophe before it keeps it a text (OWASP, "CSV Injection"). NDJSON has every address as it is.
fn field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_no_formula_and_ends_no_record() {
        for (text, expected) in [
            ("pat@patient.test", r#""pat@patient.test""#),
            ("=1+1@patient.test", r#""'=1+1@patient.test""#),
            ("+49@patient.test", r#""'+49@patient.test""#),
            ("a\"b,c@patient.test", r#""a""b,c@patient.test""#),
            ("", r#""""#),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
