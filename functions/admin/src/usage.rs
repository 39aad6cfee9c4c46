//! What a tenant used, and how often an answer of SES was in doubt.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use sealpost_core::app::App;
use sealpost_core::delivery::doubt;
use sealpost_core::error::Error;
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which day.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnDay {
    /// In UTC, such as `2026-11-24`; today by default.
    day: Option<String>,
}

/// A day's counts.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageView {
    object: &'static str,
    /// In UTC.
    day: String,
    doubts: DoubtsView,
}

/// Submissions of which nobody learned at once whether SES accepted them: what makes a second copy possible.
#[derive(Serialize, ToSchema)]
struct DoubtsView {
    /// All of them.
    ambiguous: i64,
    /// Those that an event of SES settled.
    resolved_by_event: i64,
    /// How long that took, all together.
    resolved_by_event_seconds: i64,
    /// Those that were sent once more.
    resent: i64,
    /// Those that wait for a person.
    held: i64,
}

/// A day's counts.
#[utoipa::path(
    get, path = "/usage", tag = "usage", operation_id = "readUsage", security(("api_key" = [])), params(OnDay),
    responses((status = 200, body = UsageView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn read_usage(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query<OnDay>, QueryRejection>,
) -> Answer<Json<UsageView>> {
    let Query(query) = query.map_err(|_| Error::invalid("day", "The one parameter is `day`."))?;
    let (day, doubts) = doubt::doubts(&app, &actor, query.day.as_deref()).await?;
    Ok(Json(UsageView {
        object: "usage",
        day,
        doubts: DoubtsView {
            ambiguous: doubts.n_ambiguous,
            resolved_by_event: doubts.n_resolved_by_event,
            resolved_by_event_seconds: doubts.resolved_by_event_ms.div_euclid(1000),
            resent: doubts.n_resent,
            held: doubts.n_held,
        },
    }))
}
