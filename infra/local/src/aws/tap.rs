//! Where a test reads along: every request that comes to the local AWS, with its headers and its whole body.
//!
//! A tap changes nothing and can break nothing. What a fault hook stops before its effect does not come here.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::Request;

use super::wire::{Aws, Caller, Target};

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// `dynamodb`, `kms`, `sqs`, `sns`, `ses` or `s3`.
    pub service: &'static str,
    /// The operation's name, such as `TransactWriteItems`.
    pub operation: &'a str,
    /// The name of the caller's role; `None` over HTTP and for the system's own calls.
    pub role: Option<&'a str>,
    /// The request.
    pub request: &'a Request<Bytes>,
}

/// Is told of every request.
pub type Tap = Arc<dyn Fn(Seen<'_>) + Send + Sync>;

impl Aws {
    /// Puts a tap on the wire, or takes it away.
    pub fn set_tap(&self, tap: Option<Tap>) {
        *self.tap.write().unwrap_or_else(PoisonError::into_inner) = tap;
    }

    pub(super) fn tell_tap(&self, caller: &Caller, target: &Target, request: &Request<Bytes>) {
        let tap = self.tap.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tap) = tap {
            tap(Seen {
                service: target.service.as_str(),
                operation: &target.operation,
                role: caller.role.as_ref().map(|role| role.name()),
                request,
            });
        }
    }
}
