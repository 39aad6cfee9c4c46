//! `POST /emails` and its relatives: accept, plan, read back, in Resend's shapes.

mod view;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use sealpost_core::app::App;
use sealpost_core::email::notice::{self, NoticeRequest};
use sealpost_core::email::request::SendRequest;
use sealpost_core::email::schedule::{self, ChangeRequest};
use sealpost_core::email::{accept, batch, plan, read};
use sealpost_core::error::Error;
use sealpost_core::id::EmailId;
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use sealpost_handler::finish;
use sealpost_handler::request::{Body, Segment, idempotency_key};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use view::{Changed, EmailList, EmailView, Ids, Plans, Reference};

/// Every route of this function, as `template.yaml` has them.
pub const ROUTES: [(&str, &str); 8] = [
    ("POST", "/emails"),
    ("POST", "/emails/batch"),
    ("GET", "/emails"),
    ("GET", "/emails/{id}"),
    ("PATCH", "/emails/{id}"),
    ("POST", "/emails/{id}/cancel"),
    ("POST", "/emails/{id}/notices"),
    ("POST", "/encryption/plan"),
];

/// The routes of this function.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/emails", post(send_email).get(list_emails))
        .route("/emails/batch", post(send_batch))
        .route("/emails/{id}", get(get_email).patch(change_email))
        .route("/emails/{id}/cancel", post(cancel_email))
        .route("/emails/{id}/notices", post(renew_notice))
        .route("/encryption/plan", post(plan_email))
        .with_state(app);
    finish(routes)
}

/// The OpenAPI description of these routes.
#[derive(OpenApi)]
#[openapi(
    paths(send_email, send_batch, list_emails, get_email, change_email, cancel_email, renew_notice, plan_email),
    tags((name = "emails", description = "Send, plan and read back"))
)]
pub struct Api;

/// Accept an email. Answers as soon as it is durable; sealing and sending follow.
#[utoipa::path(
    post, path = "/emails", tag = "emails", operation_id = "sendEmail", security(("api_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 256 printable ASCII characters; the same key and body answer the first answer again, for 7 days")),
    request_body = SendRequest,
    responses(
        (status = 200, description = "Accepted", body = Reference),
        (status = 400, description = "Not readable", body = Problem),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:send`", body = Problem),
        (status = 409, description = "The idempotency key was used with another body, or is being worked on", body = Problem),
        (status = 413, description = "Too large", body = Problem),
        (status = 422, description = "A field breaks a rule", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn send_email(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer<Json<Reference>> {
    let key = idempotency_key(&headers)?;
    let id = accept::accept(&app, &actor, &body, key.as_ref()).await?;
    Ok(Json(Reference { id: id.to_string() }))
}

/// Accept up to a hundred emails: all of them or none.
#[utoipa::path(
    post, path = "/emails/batch", tag = "emails", operation_id = "sendBatch", security(("api_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "As for a single email")),
    request_body = Vec<SendRequest>,
    responses(
        (status = 200, description = "Accepted", body = Ids),
        (status = 400, description = "Not readable", body = Problem),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:send`", body = Problem),
        (status = 409, description = "The idempotency key was used with another body, or is being worked on", body = Problem),
        (status = 413, description = "Too large", body = Problem),
        (status = 422, description = "A field breaks a rule; its pointer begins with the email's place in the array", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn send_batch(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer<Json<Ids>> {
    let key = idempotency_key(&headers)?;
    let ids = batch::accept(&app, &actor, &body, key.as_ref()).await?;
    Ok(Json(Ids {
        data: ids.into_iter().map(|id| Reference { id: id.to_string() }).collect(),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// How many, 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Only older ones than this id.
    after: Option<String>,
    /// Only newer ones than this id.
    before: Option<String>,
}

/// List emails, newest first.
#[utoipa::path(
    get, path = "/emails", tag = "emails", operation_id = "listEmails", security(("api_key" = [])),
    params(PageQuery),
    responses(
        (status = 200, description = "A page of emails", body = EmailList),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:read`", body = Problem),
        (status = 422, description = "A parameter breaks a rule", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn list_emails(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Answer<Json<EmailList>> {
    let Query(query) = query.map_err(|_| Error::invalid("limit", "Parameters are `limit`, `after` and `before`."))?;
    let limit = query.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(Error::invalid("limit", "A page has 1 to 100 emails.").into());
    }
    let id = |name: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => EmailId::parse(&text)
            .map(Some)
            .ok_or_else(|| Error::invalid(name, "This is not an email's id.")),
    };
    let page = read::Page {
        limit,
        after: id("after", query.after)?,
        before: id("before", query.before)?,
    };
    if page.after.is_some() && page.before.is_some() {
        return Err(Error::invalid("before", "Give `after` or `before`, not both.").into());
    }
    let (emails, has_more) = read::list(&app, &actor, &page).await?;
    Ok(Json(EmailList::new(emails, has_more)))
}

/// Read one email back, with what became of it for each recipient.
#[utoipa::path(
    get, path = "/emails/{id}", tag = "emails", operation_id = "getEmail", security(("api_key" = [])),
    params(("id" = String, Path, description = "The email's id")),
    responses(
        (status = 200, description = "The email", body = EmailView),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:read`", body = Problem),
        (status = 404, description = "Unknown, or another tenant's", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn get_email(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer<Json<EmailView>> {
    Ok(Json(EmailView::new(read::get(&app, &actor, &id).await?)))
}

/// Give a scheduled email another time.
#[utoipa::path(
    patch, path = "/emails/{id}", tag = "emails", operation_id = "changeEmail", security(("api_key" = [])),
    params(("id" = String, Path, description = "The email's id")),
    request_body = ChangeRequest,
    responses(
        (status = 200, description = "It has the new time", body = Changed),
        (status = 400, description = "Not readable", body = Problem),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:send`", body = Problem),
        (status = 404, description = "Unknown, or another tenant's", body = Problem),
        (status = 409, description = "It was not scheduled, was canceled, or its time has come; nothing was changed", body = Problem),
        (status = 413, description = "Too large", body = Problem),
        (status = 422, description = "A field breaks a rule", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn change_email(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
    Body(body): Body,
) -> Answer<Json<Changed>> {
    Ok(Json(Changed::new(&schedule::change(&app, &actor, &id, &body).await?)))
}

/// Call a scheduled email off, for all its recipients or, when it is too late, for none.
#[utoipa::path(
    post, path = "/emails/{id}/cancel", tag = "emails", operation_id = "cancelEmail", security(("api_key" = [])),
    params(("id" = String, Path, description = "The email's id")),
    responses(
        (status = 200, description = "It will not be sent", body = Changed),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:send`", body = Problem),
        (status = 404, description = "Unknown, or another tenant's", body = Problem),
        (status = 409, description = "It was not scheduled, or its time has come; nothing was changed", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn cancel_email(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer<Json<Changed>> {
    Ok(Json(Changed::new(&schedule::cancel(&app, &actor, &id).await?)))
}

/// Answer a portal notice that was lost with a new one, under a new link, to the same address. The old link ends.
#[utoipa::path(
    post, path = "/emails/{id}/notices", tag = "emails", operation_id = "renewNotice", security(("api_key" = [])),
    params(("id" = String, Path, description = "The email's id")),
    request_body = NoticeRequest,
    responses(
        (status = 200, description = "A new notice is on its way", body = Changed),
        (status = 400, description = "Not readable", body = Problem),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:send`", body = Problem),
        (status = 404, description = "Unknown, or another tenant's", body = Problem),
        (status = 409, description = "It did not go to the portal, or is not sent; nothing was changed", body = Problem),
        (status = 413, description = "Too large", body = Problem),
        (status = 422, description = "A field breaks a rule, or the email was not for this address", body = Problem),
        (status = 429, description = "It was made anew three times within a day", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn renew_notice(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
    Body(body): Body,
) -> Answer<Json<Changed>> {
    Ok(Json(Changed::new(&notice::renew(&app, &actor, &id, &body).await?)))
}

/// Show how an email would go to each recipient, without sending it.
#[utoipa::path(
    post, path = "/encryption/plan", tag = "emails", operation_id = "planEmail", security(("api_key" = [])),
    request_body = SendRequest,
    responses(
        (status = 200, description = "One plan a recipient", body = Plans),
        (status = 400, description = "Not readable", body = Problem),
        (status = 401, description = "No API key", body = Problem),
        (status = 403, description = "The key is not valid, or lacks the scope `emails:send`", body = Problem),
        (status = 413, description = "Too large", body = Problem),
        (status = 422, description = "A field breaks a rule", body = Problem),
        (status = 503, description = "Try again later", body = Problem),
    )
)]
async fn plan_email(State(app): State<Arc<App>>, Caller(actor): Caller, Body(body): Body) -> Answer<Json<Plans>> {
    Ok(Json(Plans::new(plan::plan(&app, &actor, &body).await?)))
}
