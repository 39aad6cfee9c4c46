//! Where a test can break the wire between a function and the local AWS.
//!
//! A hook sees every call of a function's client twice, before its effect and after it, and says whether the call goes on,
//! fails in one of the ways in which calls to AWS fail, or takes the whole process with it. A pace sees the same and may
//! besides let a call wait, so that whoever holds it decides in which order the calls of several invocations go on. Calls of
//! clients without a role (the system's own) pass unseen, so the n-th call is the n-th call of the product.

pub(super) mod batch;
pub(super) mod refusal;

use std::future::Future;
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use sealpost_core::aws::site::Site;

/// Which invocation an execution environment is at: what its client asks for belongs to that.
#[derive(Debug, Default)]
pub(crate) struct Current(Mutex<Option<Arc<str>>>);

impl Current {
    /// An invocation begins.
    pub(crate) fn is_at(&self, invocation: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(invocation));
    }

    pub(super) fn invocation(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One call of a function's client.
#[derive(Debug, Clone)]
pub struct Call {
    /// `dynamodb`, `kms`, `sqs`, `sns`, `ses` or `s3`.
    pub service: &'static str,
    /// The operation's name, such as `TransactWriteItems`.
    pub operation: String,
    /// The name of the function's role.
    pub role: String,
    /// The how-manieth call of all functions' clients this is, from 1. A retry is a call of its own.
    pub n: u64,
    /// The line of the product that makes it; nothing for a function that runs in another process.
    pub site: Option<Site>,
    /// The id of the invocation that makes it; nothing for a function that runs in another process.
    pub invocation: Option<Arc<str>>,
    /// What goes over the wire.
    pub request: Arc<Request<Bytes>>,
}

/// When a hook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The service has not seen the call.
    Before,
    /// The service has done what was asked; the caller does not know yet.
    After,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The service asks to slow down.
    Throttled,
    /// The service answers 500.
    ServerError,
    /// No answer comes in time.
    TimedOut,
    /// The connection breaks.
    Reset,
    /// The answer is no answer: 200 with bytes that are none of the protocol's.
    Garbage,
    /// The caller's role does not allow the call.
    AccessDenied,
    /// DynamoDB gives way to another transaction on the first item: TransactionCanceledException with the reason
    /// TransactionConflict, or TransactionConflictException of a write of one item. Only in [`Phase::Before`].
    Conflict,
    /// Of a batch only the first half, rounded down, is done; the rest comes back as Failed (SQS), UnprocessedKeys or
    /// UnprocessedItems (DynamoDB). Only in [`Phase::Before`].
    Partial,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Go,
    /// It fails. In [`Phase::After`] the effect stands.
    Fail(Failure),
    /// The process dies at once, as by `kill -9`.
    Exit,
    /// No answer ever comes. In [`Phase::After`] the effect stands.
    Never,
    /// Its effect comes so much later, and no answer ever. Only in [`Phase::Before`].
    Late(Duration),
}

/// Decides for every call and phase.
pub type Hook = Arc<dyn Fn(&Call, Phase) -> Verdict + Send + Sync>;

/// Decides the same, when it wants to.
pub type Pace = Arc<dyn Fn(Call, Phase) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// Kills the process at one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashAt {
    /// Which call, from 1: of all functions' calls, or of this kind alone.
    pub call: u64,
    /// Before or after its effect.
    pub phase: Phase,
    /// How the name of the function's role ends, and the operation; nothing for calls of every kind.
    pub of: Option<(String, String)>,
}

impl CrashAt {
    /// The hook that does it.
    #[must_use]
    pub fn hook(self) -> Hook {
        let n_seen = AtomicU64::new(0);
        Arc::new(move |call, phase| {
            let is_meant = match &self.of {
                Some((role, operation)) => call.role.ends_with(role.as_str()) && call.operation == *operation,
                None => true,
            };
            let is_the_one = is_meant && phase == self.phase && n_seen.fetch_add(1, Ordering::SeqCst) + 1 == self.call;
            if is_the_one { Verdict::Exit } else { Verdict::Go }
        })
    }
}

/// Kills this process with SIGKILL, which nothing can catch and after which nothing is flushed or unwound.
pub(crate) fn kill_self() -> ! {
    let pid = std::process::id().to_string();
    // Where there is no `kill`, aborting is the nearest: no destructor runs either.
    if Command::new("kill").args(["-9", &pid]).status().is_err() {
        std::process::abort();
    }
    loop {
        std::thread::park();
    }
}
