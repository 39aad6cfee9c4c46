//! Tells customers of events, and sweeps what the queue lost.

use std::sync::Arc;

use lambda_runtime::LambdaEvent;
use sealpost_core::actor::Actor;
use sealpost_core::app::App;
use sealpost_core::aws::queue::Hint;
use sealpost_core::error::Result;
use sealpost_core::webhook::{sweep, tell};
use sealpost_handler::batch;
use sealpost_handler::scheduled::{Event, Reply, Schedule, Task};

/// The actor of what this function does.
const ACTOR: Actor = Actor::System("webhook");

/// Handles one invocation.
///
/// # Errors
/// Unavailable, when a sweep could not read its tables; the messages of a batch fail one by one instead.
pub async fn handle(app: Arc<App>, event: LambdaEvent<Event>) -> Result<Reply> {
    match event.payload {
        Event::Queue(messages) => {
            let work = |body: String| take(Arc::clone(&app), body);
            Ok(Reply::Batch(batch::each(messages, work).await))
        }
        Event::Schedule(Schedule { task: Task::Sweep }) => {
            let swept = sweep::sweep(&app).await?;
            tracing::info!(
                n_events = swept.n_events,
                n_posts = swept.n_posts,
                n_held_back = swept.n_held_back,
                "swept the webhooks"
            );
            Ok(Reply::Done {})
        }
    }
}

/// Does what a message asks for; whether the message is done with.
async fn take(app: Arc<App>, body: String) -> bool {
    // A message that is none of ours stays, and ends in the dead-letter queue, where it is seen.
    let Ok(hint) = serde_json::from_str::<Hint>(&body) else {
        tracing::error!("a message on the webhook queue is none");
        return false;
    };
    match tell::tell(&app, &ACTOR, &hint).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(event = %hint.event, kind = ?error.kind(), "an event was not told: {error}");
            false
        }
    }
}
