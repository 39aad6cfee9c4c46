//! Promise: whatever fails, wherever and in whatever order, nothing accepted is lost, nothing goes out in plain text or to
//! somebody else, and nothing goes out twice but where policy says so after a doubt.
//!
//! The whole deployment runs under one scheduler (`sealpost_local::system::sim`). A run is one number, its seed; a run that
//! breaks an invariant prints it, and the same seed runs the same way again. The invariants are in `check`.

mod check;
mod fairness;
#[cfg(feature = "planted")]
mod planted;
mod run;
pub(crate) mod seeds;
mod sweep;
mod tables;
mod tour;
mod world;

/// A row of what the rig prints at its end: what was tried, how often, and how often a promise broke.
pub(crate) fn tried(what: &str, n_times: usize, n_broken: usize) {
    println!("\n| {what:58} | {n_times:9} | {n_broken:7} |");
}
