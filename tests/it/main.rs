//! Behaviour tests, through the public surface only. Each module guards the promise that its first line names.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by a panic; clippy exempts the test functions themselves, but not what they share"
)]

mod admin;
mod assignment;
mod authority;
mod calls;
mod canary;
mod contract;
mod encrypt;
mod engagement;
mod guard;
mod idempotency;
mod interop;
mod interop_envelope;
mod kill;
mod lambda;
mod notice;
mod openapi;
mod outage;
mod partial_batch;
mod permissions;
mod policy;
mod portal;
mod rate;
mod refusals;
mod retention;
mod rig;
mod schedule;
mod schema;
mod sdk;
mod send;
mod suppression;
mod system;
mod template;
mod test_mode;
mod tools;
mod tracking;
mod unsubscribe;
mod webhook;
mod webhook_feed;
mod webhook_receivers;
