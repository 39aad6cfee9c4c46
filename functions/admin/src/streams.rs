//! How the tenant's streams of mail do, and how a paused one goes on.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use sealpost_core::app::App;
use sealpost_core::guard::{self, Cause, Stream, Verdict, Watched};
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use sealpost_handler::request::Segment;
use serde::Serialize;
use utoipa::ToSchema;

use super::time;

/// The routes of streams.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/streams", get(list_streams))
        .route("/streams/{stream}/resume", post(resume_stream))
}

/// A stream of mail, over the last 24 hours or since it was resumed.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamView {
    object: &'static str,
    stream: Stream,
    verdict: Verdict,
    /// When the verdict changed last.
    since: Option<String>,
    sent: u64,
    bounced: u64,
    complained: u64,
    /// Bounces of all mails sent; nothing while none was sent.
    bounce_rate: Option<f64>,
    /// Complaints of all mails sent; nothing while none was sent.
    complaint_rate: Option<f64>,
    /// The emails that bounced or were complained of most, worst first; at most ten.
    causes: Vec<CauseView>,
}

/// An email that did harm.
#[derive(Serialize, ToSchema)]
pub(crate) struct CauseView {
    email_id: String,
    bounced: u64,
    complained: u64,
}

impl StreamView {
    fn new(watched: Watched) -> Self {
        let counts = watched.counts;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate is shown to a few digits; the verdict is reached in whole numbers"
        )]
        let rate = |n: u64| (counts.sent > 0).then(|| n as f64 / counts.sent as f64);
        let cause = |cause: Cause| CauseView {
            email_id: cause.email.to_string(),
            bounced: cause.bounced,
            complained: cause.complained,
        };
        Self {
            object: "stream",
            stream: watched.stream,
            verdict: watched.verdict,
            since: watched.since_ms.map(time),
            sent: counts.sent,
            bounced: counts.bounced,
            complained: counts.complained,
            bounce_rate: rate(counts.bounced),
            complaint_rate: rate(counts.complained),
            causes: watched.causes.into_iter().map(cause).collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct StreamList {
    object: &'static str,
    has_more: bool,
    data: Vec<StreamView>,
}

/// Tell how each stream does: its verdict, its rates, and the emails that caused them.
#[utoipa::path(
    get, path = "/streams", tag = "streams", operation_id = "listStreams", security(("api_key" = [])),
    responses((status = 200, body = StreamList), (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn list_streams(State(app): State<Arc<App>>, Caller(actor): Caller) -> Answer<Json<StreamList>> {
    let streams = guard::streams(&app, &actor).await?;
    Ok(Json(StreamList {
        object: "list",
        has_more: false,
        data: streams.into_iter().map(StreamView::new).collect(),
    }))
}

/// Let a paused stream go on. What was counted before does not count any more.
#[utoipa::path(
    post, path = "/streams/{stream}/resume", tag = "streams", operation_id = "resumeStream", security(("api_key" = [])),
    params(("stream" = String, Path, description = "`marketing`; `care` is never paused")),
    responses((status = 200, body = StreamView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "The stream is not paused", body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn resume_stream(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Segment(stream): Segment<String>,
) -> Answer<Json<StreamView>> {
    Ok(Json(StreamView::new(guard::resume(&app, &actor, &stream).await?)))
}
