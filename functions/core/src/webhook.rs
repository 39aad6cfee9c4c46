//! Telling customers' systems what happened.
//!
//! [`signature`] makes what a receiver needs to know that a message is ours.

#[allow(dead_code, reason = "used by the delivery of webhooks")]
pub(crate) mod signature;
