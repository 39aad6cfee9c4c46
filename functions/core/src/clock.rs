//! The only reader of the time.
//!
//! Rules that compare times take `now` as a value; what is asynchronous asks `App::clock` once and hands the answer
//! down. A shifted clock runs at the normal speed, some way ahead of the machine's, so that six years can pass in a test; a
//! clock on another source runs as that does.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Tells milliseconds since the Unix epoch.
type Source = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The system's time: the machine's clock or another source, plus an amount which only grows.
#[derive(Clone, Default)]
pub struct Clock {
    /// `None` is the machine's clock.
    source: Option<Source>,
    /// Milliseconds added to the source; shared by every copy of this clock.
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock, unshifted.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows what `source` tells, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn of(source: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..Self::default()
        }
    }

    /// The time now, to the millisecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::MAX)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let told = match &self.source {
            Some(source) => source(),
            None => machine_ms(),
        };
        told.saturating_add(self.shift_ms.load(Ordering::SeqCst))
    }

    /// Moves this clock and all its copies forward by `by_ms` milliseconds; a negative amount moves nothing, since no
    /// deadline may come back.
    pub fn advance_ms(&self, by_ms: i64) {
        self.shift_ms.fetch_add(by_ms.max(0), Ordering::SeqCst);
    }

    /// How far ahead of its source this one runs, in milliseconds.
    #[must_use]
    pub fn shift_ms(&self) -> i64 {
        self.shift_ms.load(Ordering::SeqCst)
    }
}

fn machine_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    let now = Timestamp::now();
    now.as_millisecond()
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("shift_ms", &self.shift_ms())
            .finish_non_exhaustive()
    }
}
