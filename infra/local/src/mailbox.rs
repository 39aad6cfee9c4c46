//! The mailbox: what SES was handed, for people and for tests. Local only.
//!
//! It shows mail as it left the system, so sealed mail stays sealed here; the page names the command that opens it.
//! Everything is on loopback: a request under another host name (DNS rebinding) and a change from another site's page are
//! refused. Shown mail is foreign content: it runs in a frame without scripts, forms or network.

mod message;
mod page;

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method as HttpMethod, StatusCode};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use sealpost_core::clock::Clock;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::error::AwsError;
use crate::aws::ses::{Disturb, Filter, Handed, Ses, TlsPolicy};

pub use message::Method;

/// What the page may load: its own style, script and pictures, and the frame with a message's body.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
    frame-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What a message's own HTML may load: nothing, except the pictures that came with it. Its links open in a new window.
const BODY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; \
    base-uri 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";
/// For files that are saved and never shown.
const FILE_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// Names the command that opens a sealed message, for its method and its recipient's address.
pub type Opener = Arc<dyn Fn(Method, &str) -> Option<String> + Send + Sync>;

/// What the mailbox needs from the system around it.
#[derive(Clone)]
pub struct Mailbox {
    /// Where the mail is.
    pub ses: Arc<Ses>,
    /// The system's clock.
    pub clock: Clock,
    /// Moves the system's clock forward by so many milliseconds, and wakes whatever waits for a time.
    pub advance: Arc<dyn Fn(i64) + Send + Sync>,
    /// The shell command that reads a message on standard input and opens it, for a method and a recipient's address;
    /// `None` where the keys are not at hand. For example `gpg --homedir .sealpost/demo/gnupg --decrypt`.
    pub opener: Opener,
    /// The shell command that sends a first email, shown while the mailbox is empty.
    pub example: String,
}

/// The mailbox's routes.
pub fn router(mailbox: Mailbox) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/messages", get(list))
        .route("/messages/{id}", get(one))
        .route("/messages/{id}/raw", get(raw))
        .route("/messages/{id}/body", get(page::body))
        .route("/messages/{id}/attachments/{n}", get(page::attachment))
        .route("/clock", post(advance))
        .route("/events", post(disturb))
        .route(
            "/mailbox.css",
            get(|| file("text/css; charset=utf-8", include_str!("../templates/mailbox.css"))),
        )
        .route(
            "/mailbox.js",
            get(|| {
                file(
                    "text/javascript; charset=utf-8",
                    include_str!("../templates/mailbox.js"),
                )
            }),
        )
        .route(
            "/icon.svg",
            get(|| file("image/svg+xml", include_str!("../templates/icon.svg"))),
        )
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "There is nothing here.") })
        .layer(middleware::from_fn(guard))
        .with_state(mailbox)
}

/// A refusal in the API's shape. The message never repeats what was asked.
#[derive(Debug)]
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let name = match self.0 {
            StatusCode::BAD_REQUEST => "validation_error",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not_found",
            _ => "internal_error",
        };
        let body = json!({"statusCode": self.0.as_u16(), "name": name, "message": self.1});
        (self.0, Json(body)).into_response()
    }
}

impl From<AwsError> for Refusal {
    fn from(error: AwsError) -> Self {
        tracing::error!(code = %error.code, "the mailbox cannot read its storage");
        Self(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The mailbox cannot read its storage.",
        )
    }
}

const NO_SUCH_MESSAGE: Refusal = Refusal(StatusCode::NOT_FOUND, "There is no message with this id.");

#[derive(Deserialize)]
struct ListQuery {
    to: Option<String>,
}

async fn list(State(mailbox): State<Mailbox>, Query(query): Query<ListQuery>) -> Result<Json<Value>, Refusal> {
    let filter = Filter {
        to: query.to.filter(|to| !to.is_empty()),
        id: None,
    };
    let now_ms = mailbox.clock.now_ms();
    let messages = mailbox.ses.messages(&filter)?;
    let data: Vec<Value> = messages.iter().map(|mail| summary(mail, now_ms)).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

async fn one(State(mailbox): State<Mailbox>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let mail = find(&mailbox, id)?;
    Ok(Json(summary(&mail, mailbox.clock.now_ms())))
}

async fn raw(State(mailbox): State<Mailbox>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let bytes = mailbox.ses.raw(&id)?.ok_or(NO_SUCH_MESSAGE)?;
    // The id is one that the storage knows, so it holds nothing that a header could not.
    let saved_as = format!("attachment; filename=\"{id}.eml\"");
    Ok((
        [
            (header::CONTENT_TYPE, "message/rfc822".to_owned()),
            (header::CONTENT_DISPOSITION, saved_as),
        ],
        bytes,
    )
        .into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    /// An ISO 8601 duration.
    advance: String,
}

/// Takes the body whatever its content type, as `curl -d` sends it.
async fn advance(State(mailbox): State<Mailbox>, body: bytes::Bytes) -> Result<Json<Value>, Refusal> {
    let request: Advance = serde_json::from_slice(&body).map_err(|_| {
        Refusal(
            StatusCode::BAD_REQUEST,
            "The body must be a JSON object with the one field `advance`.",
        )
    })?;
    let by: Span = request.advance.parse().map_err(|_| {
        Refusal(
            StatusCode::BAD_REQUEST,
            "`advance` must be an ISO 8601 duration such as P6Y or PT5M.",
        )
    })?;
    let now = mailbox.clock.now().to_zoned_datetime(TimeZone::UTC);
    let then = now
        .checked_add(by)
        .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "`advance` leads beyond the year 9999."))?;
    let by_ms = then
        .timestamp()
        .as_millisecond()
        .saturating_sub(now.timestamp().as_millisecond());
    if by_ms < 0 {
        return Err(Refusal(StatusCode::BAD_REQUEST, "The clock moves forward only."));
    }
    (mailbox.advance)(by_ms);
    Ok(Json(json!({"now": mailbox.clock.now().to_string()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disturbance {
    withhold: Option<bool>,
    duplicate: Option<bool>,
    reverse: Option<bool>,
}

/// Lets a test do to SES's events what AWS may do: `{"withhold":true}` holds them back until `{"withhold":false}`,
/// `{"duplicate":true}` publishes each twice, `{"reverse":true}` publishes the latest of the waiting ones first. What is
/// left out stays as it is, so `{}` only asks. The answer says what holds now and how many events wait.
async fn disturb(State(mailbox): State<Mailbox>, body: bytes::Bytes) -> Result<Json<Value>, Refusal> {
    let asked: Disturbance = serde_json::from_slice(&body).map_err(|_| {
        Refusal(
            StatusCode::BAD_REQUEST,
            "The body must be a JSON object with `withhold`, `duplicate` and `reverse`, each true or false or left out.",
        )
    })?;
    let now = mailbox.ses.disturb(Disturb {
        withhold: asked.withhold,
        duplicate: asked.duplicate,
        reverse: asked.reverse,
    })?;
    Ok(Json(json!({
        "withhold": now.withhold,
        "duplicate": now.duplicate,
        "reverse": now.reverse,
        "waiting": now.n_waiting,
    })))
}

/// One message as JSON.
fn summary(mail: &Handed, now_ms: i64) -> Value {
    let to: Vec<&str> = mail
        .recipients
        .iter()
        .map(|recipient| recipient.address.as_str())
        .collect();
    let recipients: Vec<Value> = mail
        .recipients
        .iter()
        .map(|recipient| {
            let past = recipient.events.iter().filter(|event| event.at_ms <= now_ms);
            let events: Vec<Value> = past
                .map(|event| json!({"type": format!("{:?}", event.kind), "at": time(event.at_ms)}))
                .collect();
            json!({"address": recipient.address, "state": recipient.state(now_ms), "events": events})
        })
        .collect();
    let tags = mail
        .tags
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    json!({
        "object": "message",
        "id": mail.id,
        "message_id": mail.message_id,
        "from": mail.from,
        "to": to,
        "subject": mail.subject,
        "configuration_set": mail.configuration_set,
        "tls_policy": mail.tls_policy,
        "method": message::method(mail),
        "at": time(mail.at_ms),
        "state": mail.state(now_ms),
        "tags": tags.collect::<serde_json::Map<_, _>>(),
        "recipients": recipients,
    })
}

fn find(mailbox: &Mailbox, id: String) -> Result<Handed, Refusal> {
    let filter = Filter { to: None, id: Some(id) };
    mailbox.ses.messages(&filter)?.pop().ok_or(NO_SUCH_MESSAGE)
}

/// RFC 3339 in UTC.
fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX).to_string()
}

async fn file(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], content)
}

/// Refuses what no local reader sends, and puts the same guards on every answer.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.method(), request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    let guards = [
        (header::CONTENT_SECURITY_POLICY, FILE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in guards {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

fn refusal(method: &HttpMethod, headers: &HeaderMap) -> Option<Refusal> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
        return Some(Refusal(
            StatusCode::FORBIDDEN,
            "The mailbox answers under a loopback address only.",
        ));
    }
    let site = text(HeaderName::from_static("sec-fetch-site")).unwrap_or("none");
    if *method != HttpMethod::GET && !matches!(site, "none" | "same-origin") {
        return Some(Refusal(
            StatusCode::FORBIDDEN,
            "The mailbox takes no change from another site.",
        ));
    }
    None
}

/// Whether the email could have gone without TLS.
fn is_tls_required(mail: &Handed) -> bool {
    mail.tls_policy == TlsPolicy::Require
}

#[cfg(test)]
mod tests;
