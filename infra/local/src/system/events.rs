//! Publishes SES's events when their time comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::Shared;

/// How long a clock that runs at its normal pace is left unobserved.
const TICK: Duration = Duration::from_millis(200);

/// Publishes at once what an accepted email, a move of the clock or the end of a hold makes due, and otherwise waits.
pub(super) async fn run(shared: Arc<Shared>) {
    let ses = Arc::clone(&shared.aws.ses);
    let mut moved = shared.moved.subscribe();
    while !shared.stops() {
        let publisher = Arc::clone(&ses);
        // A clock that was moved far may make many due at once.
        let published = spawn_blocking(move || publisher.publish_due().and_then(|_| publisher.next_due_ms()));
        let next_ms = match published.await {
            Ok(Ok(next_ms)) => next_ms,
            Err(_) => None,
            Ok(Err(error)) => {
                // What was not published stays in the outbox.
                tracing::error!(code = %error.code, "events of SES were not published; they are tried again");
                None
            }
        };
        let left_ms = next_ms.map(|next_ms| next_ms.saturating_sub(shared.clock.now_ms()));
        let left = left_ms.map_or(TICK, |left_ms| {
            Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
        });
        tokio::select! {
            () = shared.pause(&mut moved, left.min(TICK)) => {}
            () = ses.changed() => {}
        }
    }
}
