//! The only reader of the time.
//!
//! Rules that compare times take `now` as a value; what is asynchronous asks `App::clock` once and hands the answer
//! down. A shifted clock runs at the normal speed, some way ahead of the machine's, so that six years can pass in a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// The system's time: the machine's clock, or that plus an amount which only grows.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds added to the machine's clock; shared by every copy of this clock.
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock, unshifted.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// The time now, to the millisecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::MAX)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
        let machine = Timestamp::now().as_millisecond();
        machine.saturating_add(self.shift_ms.load(Ordering::SeqCst))
    }

    /// Moves this clock and all its copies forward by `by_ms` milliseconds; a negative amount moves nothing, since no
    /// deadline may come back.
    pub fn advance_ms(&self, by_ms: i64) {
        self.shift_ms.fetch_add(by_ms.max(0), Ordering::SeqCst);
    }

    /// How far ahead of the machine's clock this one runs, in milliseconds.
    #[must_use]
    pub fn shift_ms(&self) -> i64 {
        self.shift_ms.load(Ordering::SeqCst)
    }
}
