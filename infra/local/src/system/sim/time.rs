//! A time that passes only when it is told to.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sealpost_core::clock::Source;
use tokio::sync::oneshot;

/// The time of a run, and who sleeps.
pub(super) struct Time(Mutex<Inner>);

struct Inner {
    now_ms: i64,
    n_sleepers: u64,
    /// By when they wake, and in the order in which they went to sleep.
    sleepers: BTreeMap<(i64, u64), oneshot::Sender<()>>,
}

impl Time {
    pub(super) fn new(now_ms: i64) -> Self {
        Self(Mutex::new(Inner {
            now_ms,
            n_sleepers: 0,
            sleepers: BTreeMap::new(),
        }))
    }

    /// Lets so much time pass and wakes whose time has come.
    pub(super) fn advance(&self, by: Duration) {
        let mut inner = self.lock();
        inner.now_ms = inner.now_ms.saturating_add(ms(by));
        inner.wake();
    }

    /// Lets time pass until then, unless a sleeper wakes before; answers whether it has come so far.
    pub(super) fn advance_to(&self, at_ms: i64) -> bool {
        let mut inner = self.lock();
        inner.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        let next_ms = inner.sleepers.first_key_value().map(|((due_ms, _), _)| *due_ms);
        let until_ms = next_ms.map_or(at_ms, |next_ms| next_ms.min(at_ms));
        inner.now_ms = inner.now_ms.max(until_ms);
        inner.wake();
        inner.now_ms >= at_ms
    }

    /// Lets time pass until the next sleeper wakes, if there is one.
    pub(super) fn skip(&self) {
        let mut inner = self.lock();
        // Who no longer waits for its end is no sleeper: most time limits are not reached.
        inner.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        if let Some(((due_ms, _), _)) = inner.sleepers.first_key_value() {
            inner.now_ms = inner.now_ms.max(*due_ms);
        }
        inner.wake();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wake(&mut self) {
        while let Some(entry) = self.sleepers.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
            if entry.remove().send(()).is_err() {
                tracing::trace!("a sleeper was gone before its time came");
            }
        }
    }
}

impl Source for Time {
    fn now_ms(&self) -> i64 {
        self.lock().now_ms
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let mut inner = self.lock();
        let (sender, woken) = oneshot::channel();
        inner.n_sleepers += 1;
        let place = (inner.now_ms.saturating_add(ms(duration)), inner.n_sleepers);
        inner.sleepers.insert(place, sender);
        Box::pin(async move {
            // The sender is dropped only when the run is over.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
