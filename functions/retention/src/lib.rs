//! Removes what nobody will ever ask for again.

use std::sync::Arc;

use lambda_runtime::LambdaEvent;
use sealpost_core::actor::Actor;
use sealpost_core::app::App;
use sealpost_core::error::Result;
use sealpost_core::retention;
use sealpost_handler::scheduled::{Reply, Schedule, Scheduled, Task};

/// The actor of what this function does.
const ACTOR: Actor = Actor::System("retention");

/// Handles one run of the schedule.
///
/// # Errors
/// Unavailable and Internal, when some part of the run failed; the next run takes it up.
pub async fn handle(app: Arc<App>, event: LambdaEvent<Scheduled>) -> Result<Reply> {
    let Scheduled::Schedule(Schedule { task: Task::Sweep }) = event.payload;
    let swept = retention::sweep(&app, &ACTOR).await?;
    tracing::info!(
        n_orphans = swept.n_orphans,
        n_emails = swept.n_emails,
        n_sealed = swept.n_sealed,
        n_copies = swept.n_copies,
        "swept the objects"
    );
    Ok(Reply::Done {})
}
