//! What starts by the time.

use std::sync::Arc;
use std::time::Duration;

use super::{BEGIN_MS, Mischief, Running, Sim};
use crate::system::function::{Failed, Function};
use crate::template::Schedule;

/// Schedules that start less often are never left out.
const MOST_LEFT_OUT: Duration = Duration::from_secs(3_600);

/// A function's schedule, and when it starts next.
pub(super) struct Scheduled {
    function: Arc<Function>,
    schedule: Schedule,
    due_ms: i64,
}

impl Scheduled {
    /// The schedules of a function, all of them due at the beginning.
    pub(super) fn of(function: &Arc<Function>) -> Vec<Self> {
        let scheduled = |schedule: &Schedule| Self {
            function: Arc::clone(function),
            schedule: schedule.clone(),
            due_ms: BEGIN_MS,
        };
        function.declared.schedules.iter().map(scheduled).collect()
    }

    fn every_ms(&self) -> i64 {
        ms(self.schedule.every)
    }
}

impl Sim {
    /// Leaves out what starts at least every hour of a function's schedules, for so long and once more: for a time in which it
    /// would find nothing to do.
    pub fn put_off(&mut self, binary: &str, by: Duration) {
        let until_ms = self.now_ms().saturating_add(ms(by));
        let is_meant = |scheduled: &&mut Scheduled| {
            scheduled.function.declared.binary == binary && scheduled.schedule.every <= MOST_LEFT_OUT
        };
        for scheduled in self.schedules.iter_mut().filter(is_meant) {
            scheduled.due_ms = scheduled.due_ms.max(until_ms.saturating_add(scheduled.every_ms()));
        }
    }

    /// Starts a schedule that is due, sometimes twice.
    pub(super) fn tick(&mut self, n: usize, mischief: &Mischief<'_>) -> bool {
        let now_ms = self.now_ms();
        let Some(scheduled) = self.schedules.get_mut(n).filter(|scheduled| scheduled.due_ms <= now_ms) else {
            return false;
        };
        scheduled.due_ms = now_ms.saturating_add(scheduled.every_ms());
        let (function, input) = (Arc::clone(&scheduled.function), scheduled.schedule.input.clone());
        let n_starts = 1 + usize::from(self.chance(mischief.doubled_per_mille));
        for _ in 0..n_starts {
            let id = self.next_id();
            let name = Arc::clone(&id);
            self.note(|| format!("{id} {} on schedule", function.declared.binary));
            let (function, input) = (Arc::clone(&function), input.clone());
            let task = tokio::spawn(async move {
                if let Err(failed) = function.invoke(input, &name).await {
                    let cause = match &failed {
                        Failed::Error(error) => format!("{error:#}"),
                        Failed::TimedOut | Failed::Panicked => String::new(),
                    };
                    tracing::debug!(cause, "{failed}");
                }
                None
            });
            self.running.push(Running { id, asked: None, task });
        }
        true
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
