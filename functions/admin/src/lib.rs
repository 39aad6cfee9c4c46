//! Everything a customer manages: API keys, recipients' keys, domains, suppressions, the policy, webhooks; and the first
//! tenant.

mod attempts;
pub mod description;
mod events;
mod streams;
mod suppressions;
mod usage;
mod webhooks;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use sealpost_core::actor::{ApiKeyRow, Mode, Scope};
use sealpost_core::api_key::{self, NewApiKey};
use sealpost_core::app::App;
use sealpost_core::json;
use sealpost_core::policy::{MtaStsFact, Policy, TlsRecord, store};
use sealpost_core::recipient::domain::{self, DomainRow, NewRecord};
use sealpost_core::recipient::key::{self, Kind, NewKey, RecipientKeyRow};
use sealpost_core::tenant::{self, NewTenant};
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::{Caller, Operator};
use sealpost_handler::finish;
use sealpost_handler::request::{Body, Segment};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

/// Every route of this function, as `template.yaml` has them.
pub const ROUTES: [(&str, &str); 39] = [
    ("GET", "/openapi.json"),
    ("POST", "/api-keys"),
    ("GET", "/api-keys"),
    ("DELETE", "/api-keys/{id}"),
    ("POST", "/recipients/{address}/keys"),
    ("GET", "/recipients/{address}/keys"),
    ("DELETE", "/recipients/{address}/keys/{id}"),
    ("GET", "/policies"),
    ("PUT", "/policies"),
    ("GET", "/recipient-domains/{domain}"),
    ("PUT", "/recipient-domains/{domain}"),
    ("DELETE", "/recipient-domains/{domain}"),
    ("POST", "/suppressions"),
    ("GET", "/suppressions"),
    ("GET", "/suppressions/{id}"),
    ("DELETE", "/suppressions/{id}"),
    ("POST", "/suppressions/batch/add"),
    ("POST", "/suppressions/batch/remove"),
    ("POST", "/suppressions/check"),
    ("GET", "/suppressions/export"),
    ("POST", "/suppressions/import"),
    ("GET", "/streams"),
    ("POST", "/streams/{stream}/resume"),
    ("GET", "/usage"),
    ("GET", "/events"),
    ("POST", "/webhooks"),
    ("GET", "/webhooks"),
    ("GET", "/webhooks/{id}"),
    ("PATCH", "/webhooks/{id}"),
    ("DELETE", "/webhooks/{id}"),
    ("POST", "/webhooks/{id}/rotate-secret"),
    ("POST", "/webhooks/{id}/signing-secret/rotate"),
    ("POST", "/webhooks/{id}/replay"),
    ("GET", "/webhooks/{id}/attempts"),
    ("GET", "/webhooks/{id}/events"),
    ("GET", "/webhooks/{id}/events/{event}"),
    ("POST", "/webhooks/{id}/events/{event}/replay"),
    ("GET", "/webhooks/{id}/events/{event}/attempts"),
    ("POST", "/tenants"),
];

/// The routes of this function.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/openapi.json", get(openapi))
        .route("/api-keys", post(create_api_key).get(list_api_keys))
        .route("/api-keys/{id}", delete(revoke_api_key))
        .route("/recipients/{address}/keys", post(pin_key).get(list_keys))
        .route("/recipients/{address}/keys/{id}", delete(remove_key))
        .route("/policies", get(read_policy).put(replace_policy))
        .route(
            "/recipient-domains/{domain}",
            get(read_domain).put(record_domain).delete(forget_domain),
        )
        .merge(suppressions::routes())
        .merge(streams::routes())
        .route("/usage", get(usage::read_usage))
        .route("/events", get(events::list_events))
        .route("/webhooks", post(webhooks::create_webhook).get(webhooks::list_webhooks))
        .route(
            "/webhooks/{id}",
            get(webhooks::read_webhook)
                .patch(webhooks::change_webhook)
                .delete(webhooks::remove_webhook),
        )
        .route("/webhooks/{id}/rotate-secret", post(webhooks::rotate_secret))
        .route(
            "/webhooks/{id}/signing-secret/rotate",
            post(webhooks::rotate_signing_secret),
        )
        .route("/webhooks/{id}/replay", post(webhooks::replay_webhook))
        .route("/webhooks/{id}/attempts", get(attempts::list_attempts))
        .route("/webhooks/{id}/events", get(attempts::list_webhook_events))
        .route("/webhooks/{id}/events/{event}", get(attempts::read_webhook_event))
        .route(
            "/webhooks/{id}/events/{event}/replay",
            post(attempts::replay_webhook_event),
        )
        .route(
            "/webhooks/{id}/events/{event}/attempts",
            get(attempts::list_event_attempts),
        )
        .route("/tenants", post(create_tenant))
        .with_state(app);
    finish(routes)
}

/// The OpenAPI description of these routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sealpost",
        description = "Encrypted email for healthcare: every message is sealed for each recipient in the strongest way \
                       that the recipient can receive.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        create_api_key, list_api_keys, revoke_api_key, pin_key, list_keys, remove_key, read_policy, replace_policy,
        read_domain, record_domain, forget_domain, suppressions::add_suppression, suppressions::list_suppressions,
        suppressions::get_suppression, suppressions::remove_suppression, suppressions::add_suppressions,
        suppressions::remove_suppressions, suppressions::check_suppressions, suppressions::export::export_suppressions,
        suppressions::import_suppressions,
        streams::list_streams, streams::resume_stream, usage::read_usage,
        create_tenant,
        events::list_events, webhooks::create_webhook, webhooks::list_webhooks, webhooks::read_webhook,
        webhooks::change_webhook, webhooks::remove_webhook, webhooks::rotate_secret, webhooks::rotate_signing_secret,
        webhooks::replay_webhook, attempts::list_attempts, attempts::list_webhook_events, attempts::read_webhook_event,
        attempts::replay_webhook_event, attempts::list_event_attempts
    ),
    tags(
        (name = "api keys", description = "Keys with scopes"),
        (name = "recipients", description = "What is known of recipients and their domains"),
        (name = "suppressions", description = "Who gets no more mail"),
        (name = "streams", description = "How marketing and care do, and what guards them"),
        (name = "policies", description = "The tenant's policy"),
        (name = "webhooks", description = "Where events are posted to"),
        (name = "events", description = "The feed of events"),
        (name = "usage", description = "What is counted"),
        (name = "tenants", description = "For the operator of the deployment")
    )
)]
pub struct Api;

/// The committed description of the whole API; a test holds it against the code.
const OPENAPI: &str = include_str!("../../../openapi.json");

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// The answer where there is nothing to tell.
#[derive(Serialize, ToSchema)]
struct Nothing {}

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
struct ApiKeyView {
    id: String,
    name: String,
    scopes: Vec<Scope>,
    mode: Mode,
    created_at: String,
    /// From when on it is not valid, if it has an end.
    expires_at: Option<String>,
}

/// A new API key. `token` is shown here and never again.
#[derive(Serialize, ToSchema)]
struct NewApiKeyView {
    id: String,
    token: String,
}

#[derive(Serialize, ToSchema)]
struct ApiKeyList {
    object: &'static str,
    has_more: bool,
    data: Vec<ApiKeyView>,
}

/// Create an API key with at most the scopes of the key that asks.
#[utoipa::path(
    post, path = "/api-keys", tag = "api keys", operation_id = "createApiKey", security(("api_key" = [])),
    request_body = NewApiKey,
    responses((status = 201, body = NewApiKeyView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn create_api_key(State(app): State<Arc<App>>, Caller(actor): Caller, Body(body): Body) -> Answer {
    let (row, token) = api_key::create(&app, &actor, json::read::<NewApiKey>(&body)?).await?;
    Ok((
        StatusCode::CREATED,
        Json(NewApiKeyView {
            id: row.id.to_string(),
            token,
        }),
    )
        .into_response())
}

/// List the API keys that are not revoked.
#[utoipa::path(
    get, path = "/api-keys", tag = "api keys", operation_id = "listApiKeys", security(("api_key" = [])),
    responses((status = 200, body = ApiKeyList), (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem))
)]
async fn list_api_keys(State(app): State<Arc<App>>, Caller(actor): Caller) -> Answer<Json<ApiKeyList>> {
    let view = |row: ApiKeyRow| ApiKeyView {
        id: row.id.to_string(),
        name: row.name,
        scopes: row.scopes.into_iter().collect(),
        mode: row.mode,
        created_at: time(row.created_at_ms),
        expires_at: row.expires_at_ms.map(time),
    };
    let data = api_key::list(&app, &actor).await?.into_iter().map(view).collect();
    Ok(Json(ApiKeyList {
        object: "list",
        has_more: false,
        data,
    }))
}

/// Revoke an API key, at once.
#[utoipa::path(
    delete, path = "/api-keys/{id}", tag = "api keys", operation_id = "revokeApiKey", security(("api_key" = [])),
    params(("id" = String, Path, description = "The key's id")),
    responses((status = 200, description = "Revoked", body = Nothing), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem))
)]
async fn revoke_api_key(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(id): Segment<String>,
) -> Answer<Json<Nothing>> {
    api_key::revoke(&app, &actor, &id).await?;
    Ok(Json(Nothing {}))
}

/// A recipient's pinned certificate.
#[derive(Serialize, ToSchema)]
struct RecipientKeyView {
    id: String,
    object: &'static str,
    kind: Kind,
    fingerprint: String,
    algorithm: String,
    expires_at: Option<String>,
    /// S/MIME: the recipient is known to read AES-256-GCM.
    reads_gcm: bool,
    created_at: String,
}

#[derive(Serialize, ToSchema)]
struct RecipientKeyList {
    object: &'static str,
    has_more: bool,
    data: Vec<RecipientKeyView>,
}

impl RecipientKeyView {
    fn new(row: RecipientKeyRow) -> Self {
        Self {
            id: row.id.to_string(),
            object: "recipient_key",
            kind: row.kind,
            fingerprint: row.fingerprint,
            algorithm: row.algorithm,
            expires_at: row.expires_at_s.map(|s| time(s.saturating_mul(1000))),
            reads_gcm: row.reads_gcm,
            created_at: time(row.created_at_ms),
        }
    }
}

/// Check a recipient's OpenPGP or S/MIME certificate and pin it.
#[utoipa::path(
    post, path = "/recipients/{address}/keys", tag = "recipients", operation_id = "pinRecipientKey", security(("api_key" = [])),
    params(("address" = String, Path, description = "The recipient's address")),
    request_body = NewKey,
    responses((status = 201, body = RecipientKeyView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, description = "The certificate is not used; `detail` says why", body = Problem), (status = 503, body = Problem))
)]
async fn pin_key(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(address): Segment<String>,
    Body(body): Body,
) -> Answer {
    let row = key::pin(&app, &actor, &address, json::read::<NewKey>(&body)?).await?;
    Ok((StatusCode::CREATED, Json(RecipientKeyView::new(row))).into_response())
}

/// List a recipient's pinned certificates.
#[utoipa::path(
    get, path = "/recipients/{address}/keys", tag = "recipients", operation_id = "listRecipientKeys", security(("api_key" = [])),
    params(("address" = String, Path, description = "The recipient's address")),
    responses((status = 200, body = RecipientKeyList), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn list_keys(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(address): Segment<String>,
) -> Answer<Json<RecipientKeyList>> {
    let rows = key::list(&app, &actor, &address).await?;
    let data = rows.into_iter().map(RecipientKeyView::new).collect();
    Ok(Json(RecipientKeyList {
        object: "list",
        has_more: false,
        data,
    }))
}

/// Remove a recipient's pinned certificate.
#[utoipa::path(
    delete, path = "/recipients/{address}/keys/{id}", tag = "recipients", operation_id = "removeRecipientKey", security(("api_key" = [])),
    params(("address" = String, Path, description = "The recipient's address"), ("id" = String, Path, description = "The certificate's id")),
    responses((status = 200, description = "Removed", body = Nothing), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn remove_key(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment((address, id)): Segment<(String, String)>,
) -> Answer<Json<Nothing>> {
    key::remove(&app, &actor, &address, &id).await?;
    Ok(Json(Nothing {}))
}

/// The policy in force.
#[utoipa::path(
    get, path = "/policies", tag = "policies", operation_id = "readPolicy", security(("api_key" = [])),
    responses((status = 200, body = Policy), (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem))
)]
async fn read_policy(State(app): State<Arc<App>>, Caller(actor): Caller) -> Answer<Json<Policy>> {
    Ok(Json(store::read(&app, &actor).await?))
}

/// Replace the policy; `version` is the one in force.
#[utoipa::path(
    put, path = "/policies", tag = "policies", operation_id = "replacePolicy", security(("api_key" = [])),
    request_body = Policy,
    responses((status = 200, body = Policy), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn replace_policy(State(app): State<Arc<App>>, Caller(actor): Caller, Body(body): Body) -> Answer<Json<Policy>> {
    Ok(Json(store::replace(&app, &actor, json::read::<Policy>(&body)?).await?))
}

/// What is known of a mail domain's TLS.
#[derive(Serialize, ToSchema)]
struct DomainView {
    object: &'static str,
    domain: String,
    /// What the tenant says.
    tls: Option<TlsRecord>,
    /// What earlier submissions taught, as long as it is believed.
    learned: Option<LearnedView>,
    /// What the domain publishes.
    mta_sts: Option<MtaStsFact>,
    /// When that was looked up.
    looked_up_at: Option<String>,
}

/// That required TLS failed for a domain.
#[derive(Serialize, ToSchema)]
struct LearnedView {
    tls: TlsRecord,
    /// When it last failed.
    failed_at: String,
    /// Until when that is believed; then the next mail tries again.
    until: String,
    /// How often it failed in a row.
    n_failures: u32,
}

impl DomainView {
    fn new((domain, row): (String, DomainRow)) -> Self {
        Self {
            object: "recipient_domain",
            domain,
            tls: row.recorded,
            learned: row.learned.map(|learned| LearnedView {
                tls: TlsRecord::Fails,
                failed_at: time(learned.failed_at_ms),
                until: time(learned.until_ms),
                n_failures: learned.n_failures,
            }),
            mta_sts: row.mta_sts,
            looked_up_at: (row.looked_up_at_ms > 0).then(|| time(row.looked_up_at_ms)),
        }
    }
}

/// What is known of a mail domain.
#[utoipa::path(
    get, path = "/recipient-domains/{domain}", tag = "recipients", operation_id = "readDomain", security(("api_key" = [])),
    params(("domain" = String, Path, description = "The mail domain")),
    responses((status = 200, body = DomainView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn read_domain(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(domain): Segment<String>,
) -> Answer<Json<DomainView>> {
    Ok(Json(DomainView::new(domain::read(&app, &actor, &domain).await?)))
}

/// Record whether required TLS works for a mail domain.
#[utoipa::path(
    put, path = "/recipient-domains/{domain}", tag = "recipients", operation_id = "recordDomain", security(("api_key" = [])),
    params(("domain" = String, Path, description = "The mail domain")),
    request_body = NewRecord,
    responses((status = 200, body = DomainView), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn record_domain(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(domain): Segment<String>,
    Body(body): Body,
) -> Answer<Json<DomainView>> {
    let new = json::read::<NewRecord>(&body)?;
    Ok(Json(DomainView::new(
        domain::record(&app, &actor, &domain, Some(new)).await?,
    )))
}

/// Forget what the tenant recorded of a mail domain.
#[utoipa::path(
    delete, path = "/recipient-domains/{domain}", tag = "recipients", operation_id = "forgetDomain", security(("api_key" = [])),
    params(("domain" = String, Path, description = "The mail domain")),
    responses((status = 200, body = DomainView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn forget_domain(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(domain): Segment<String>,
) -> Answer<Json<DomainView>> {
    Ok(Json(DomainView::new(
        domain::record(&app, &actor, &domain, None).await?,
    )))
}

/// A new tenant with its first API key, which is shown here and never again.
#[derive(Serialize, ToSchema)]
struct TenantView {
    object: &'static str,
    id: String,
    api_key: String,
}

/// Create a tenant. The request is signed with AWS credentials that may invoke the route (SigV4).
#[utoipa::path(
    post, path = "/tenants", tag = "tenants", operation_id = "createTenant",
    request_body = NewTenant,
    responses((status = 201, body = TenantView), (status = 400, body = Problem), (status = 403, description = "Signed by somebody who may not", body = Problem),
        (status = 404, description = "Not signed", body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
async fn create_tenant(State(app): State<Arc<App>>, Operator(actor): Operator, Body(body): Body) -> Answer {
    let created = tenant::create(&app, &actor, json::read::<NewTenant>(&body)?).await?;
    let view = TenantView {
        object: "tenant",
        id: created.tenant.to_string(),
        api_key: created.api_key,
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

pub(crate) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}
