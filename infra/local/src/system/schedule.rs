//! Schedules, by the system's clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Shared;
use super::function::{Failed, Function, request_id};
use crate::template::Schedule;

/// How long a clock that runs at its normal pace is left unobserved.
const TICK: Duration = Duration::from_millis(200);

/// Starts the function when the schedule is due: at once, and then at its rate. A clock that was moved over many due times
/// starts it once, since EventBridge does not make up for a time in which it did not run either. A run does not wait for
/// the one before.
pub(super) async fn run(shared: Arc<Shared>, function: Arc<Function>, schedule: Schedule) {
    let every_ms = i64::try_from(schedule.every.as_millis()).unwrap_or(i64::MAX);
    let mut moved = shared.moved.subscribe();
    let mut runs = JoinSet::new();
    let mut due_ms = shared.clock.now_ms();
    while !shared.stops() {
        let now_ms = shared.clock.now_ms();
        if now_ms >= due_ms {
            runs.spawn(once(Arc::clone(&function), schedule.clone()));
            due_ms = now_ms.saturating_add(every_ms);
        }
        while runs.try_join_next().is_some() {}
        shared.pause(&mut moved, TICK).await;
    }
    while runs.join_next().await.is_some() {}
}

async fn once(function: Arc<Function>, schedule: Schedule) {
    let id = request_id();
    if let Err(failed) = function.invoke(schedule.input, &id).await {
        let cause = match &failed {
            Failed::Error(error) => format!("{error:#}"),
            Failed::TimedOut | Failed::Panicked => String::new(),
        };
        tracing::error!(
            function = function.declared.binary,
            schedule = schedule.name,
            request_id = id,
            cause,
            "{failed}"
        );
    }
}
