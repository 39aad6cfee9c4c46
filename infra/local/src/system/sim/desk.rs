//! Where calls wait until they are let go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealpost_core::clock::Source as _;
use tokio::sync::oneshot;

use super::fate::Fate;
use super::time::Time;
use crate::aws::fault::{Call, Pace, Phase, Verdict};

/// Calls that wait, in the order in which they came.
pub(super) struct Desk {
    time: Arc<Time>,
    waiting: Mutex<Vec<Waiting>>,
    n_came: AtomicU64,
}

/// A call that waits.
pub(super) struct Waiting {
    pub(super) call: Call,
    pub(super) phase: Phase,
    came_ms: i64,
    /// Whether its effect was seen.
    is_seen: bool,
    verdict: oneshot::Sender<Verdict>,
}

impl Waiting {
    /// Lets it go. Where its invocation is gone, nobody hears it.
    pub(super) fn let_go(self, fate: Fate) {
        if self.verdict.send(fate.verdict()).is_err() {
            tracing::debug!(n = self.call.n, "a call was let go that nobody waits for");
        }
    }
}

impl Desk {
    pub(super) fn new(time: &Arc<Time>) -> Self {
        Self {
            time: Arc::clone(time),
            waiting: Mutex::default(),
            n_came: AtomicU64::new(0),
        }
    }

    /// Which call is done first where each takes so long until its effect, and when, milliseconds since the Unix epoch.
    pub(super) fn first_done(&self, call_takes: Duration) -> Option<(usize, i64)> {
        let takes_ms = i64::try_from(call_takes.as_millis()).unwrap_or(i64::MAX);
        let waiting = self.lock();
        let done_ms = |waiting: &Waiting| match waiting.phase {
            Phase::Before => waiting.came_ms.saturating_add(takes_ms),
            Phase::After => waiting.came_ms,
        };
        let all = waiting.iter().enumerate().map(|(n, waiting)| (n, done_ms(waiting)));
        all.min_by_key(|(n, done_ms)| (*done_ms, *n))
    }

    /// The pace that brings every call here.
    pub(super) fn pace(self: &Arc<Self>) -> Pace {
        let desk = Arc::clone(self);
        Arc::new(move |call, phase| {
            let (verdict, decided) = oneshot::channel();
            let waiting = Waiting {
                call,
                phase,
                came_ms: desk.time.now_ms(),
                is_seen: phase == Phase::Before,
                verdict,
            };
            desk.lock().push(waiting);
            desk.n_came.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                match decided.await {
                    Ok(verdict) => verdict,
                    // The run is over.
                    Err(_) => Verdict::Never,
                }
            })
        })
    }

    /// How many calls have come, those that went on included.
    pub(super) fn n_came(&self) -> u64 {
        self.n_came.load(Ordering::SeqCst)
    }

    pub(super) fn waiting(&self, operation: &str) -> Vec<Call> {
        let calls = self.lock();
        let calls = calls.iter().map(|waiting| &waiting.call);
        calls.filter(|call| call.operation == operation).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The `n`-th of those that wait.
    pub(super) fn take(&self, n: usize) -> Option<Waiting> {
        let mut waiting = self.lock();
        (n < waiting.len()).then(|| waiting.remove(n))
    }

    /// Adds the calls that had their effect since this was last asked. One call goes on at a time, so they are seen before
    /// anything else has an effect.
    pub(super) fn take_effects(&self, effects: &mut Vec<Call>) {
        for waiting in self.lock().iter_mut().filter(|waiting| !waiting.is_seen) {
            waiting.is_seen = true;
            effects.push(waiting.call.clone());
        }
    }

    /// Drops the calls of invocations that were killed.
    pub(super) fn forget_dead(&self) {
        self.lock().retain(|waiting| !waiting.verdict.is_closed());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
