//! Which line of the product makes a call to AWS.
//!
//! The line goes with the call's task: a failed call names it in the log, and whoever stands on the wire, as the local AWS
//! does, can tell two calls of one operation apart. Nothing else depends on it.

use std::fmt;
use std::future::Future;
use std::panic::Location;

tokio::task_local! {
    static SITE: Site;
}

/// A line of the product that makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// The file, as the compiler was given it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

impl Site {
    /// Where the current task makes a call; nothing outside of one.
    #[must_use]
    pub fn current() -> Option<Self> {
        SITE.try_with(|site| *site).ok()
    }

    /// The caller of the function that asks, which is marked `#[track_caller]`.
    #[track_caller]
    pub(crate) fn caller() -> Self {
        let caller = Location::caller();
        Self {
            file: caller.file(),
            line: caller.line(),
        }
    }

    /// The call, made from here.
    pub(crate) fn scope<F: Future>(self, call: F) -> impl Future<Output = F::Output> {
        SITE.scope(self, call)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A call that is made where this stands.
#[track_caller]
pub(crate) fn call<F: Future>(call: F) -> impl Future<Output = F::Output> {
    Site::caller().scope(call)
}
