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
mod seeds;
mod sweep;
mod tables;
mod tour;
mod world;

/// A row of what the rig prints at its end: what was tried, how often, and how often a promise broke.
pub(crate) fn row(what: &str, n_times: usize, n_broken: usize) {
    println!("\n| {what:58} | {n_times:9} | {n_broken:7} |");
}

/// A number that the rig's command gives.
pub(crate) fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the rig's parameters come from its command")]
    let given = std::env::var(name).ok()?;
    Some(given.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}
