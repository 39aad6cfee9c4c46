//! Takes deliveries from the queue, and sweeps what the queue lost.

use std::sync::Arc;

use lambda_runtime::LambdaEvent;
use sealpost_core::actor::Actor;
use sealpost_core::app::App;
use sealpost_core::aws::queue::Ticket;
use sealpost_core::delivery::{run, sweep};
use sealpost_core::error::Result;
use sealpost_handler::batch;
use sealpost_handler::scheduled::{Event, Reply, Schedule, Task};

/// The actor of what this function does.
const ACTOR: Actor = Actor::System("encrypt");

/// Handles one invocation.
///
/// # Errors
/// Unavailable, when a sweep could not read its tables; the messages of a batch fail one by one instead.
pub async fn handle(app: Arc<App>, event: LambdaEvent<Event>) -> Result<Reply> {
    match event.payload {
        Event::Queue(messages) => {
            let work = |body: String| deliver(Arc::clone(&app), body);
            Ok(Reply::Batch(batch::each(messages, work).await))
        }
        Event::Schedule(Schedule { task: Task::Sweep }) => {
            let swept = sweep::sweep(&app, &ACTOR).await?;
            tracing::info!(
                n_enqueued = swept.n_enqueued,
                n_decided = swept.n_decided,
                n_cleared = swept.n_cleared,
                "swept the outbox"
            );
            Ok(Reply::Done {})
        }
    }
}

/// Runs the delivery that a message names; whether the message is done with.
async fn deliver(app: Arc<App>, body: String) -> bool {
    // A message that is no ticket is nobody's delivery: it stays, and ends in the dead-letter queue, where it is seen.
    let Ok(ticket) = serde_json::from_str::<Ticket>(&body) else {
        tracing::error!("a message on the outbound queue is not a ticket");
        return false;
    };
    match run::run(&app, &ACTOR, &ticket).await {
        Ok(next) => next == run::Next::Done,
        Err(error) => {
            tracing::warn!(delivery = %ticket.delivery, kind = ?error.kind(), "a delivery stopped: {error}");
            false
        }
    }
}
