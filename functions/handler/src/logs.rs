//! Logs: JSON lines for CloudWatch, of our own crates only.
//!
//! The AWS SDK and the HTTP client may log headers and bodies at finer levels, so that their targets are not let through
//! whatever level is asked for.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The crates whose lines are let through.
const OURS: [&str; 11] = [
    "sealpost_core",
    "sealpost_handler",
    "sealpost_local",
    "sealpost",
    "send",
    "encrypt",
    "tracking",
    "webhook",
    "retention",
    "portal",
    "admin",
];

/// Makes a panic print its place only: the text of a panic may hold a piece of a message.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(at) => tracing::error!(file = at.file(), line = at.line(), "panicked"),
        None => tracing::error!("panicked"),
    }));
}

/// Starts logging at `level` (`error`, `warn`, `info`, `debug`); a second start in one process changes nothing.
pub fn init(level: &str) {
    quiet_panics();
    let level = level
        .parse::<LevelFilter>()
        .unwrap_or(LevelFilter::INFO)
        .min(LevelFilter::DEBUG);
    let filter = Targets::new().with_targets(OURS.map(|target| (target, level)));
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr);
    if tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .is_err()
    {
        tracing::debug!("logging was started before");
    }
}
