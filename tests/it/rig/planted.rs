//! Tests of the rig: defects that are put in on purpose must be found. A finder that is switched off fails here.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealpost_core::planted;
use sealpost_local::aws::fault::{Failure, Phase};
use sealpost_local::system::sim::Fate;

use super::run::{Aim, Profile, one};
use super::{number, row};

/// A defect: its name, what it is, who finds it, and which calls fail most while it is looked for.
type Bug = (&'static str, &'static str, &'static str, Option<Aim>);

const fn at(role: &'static str, operation: &'static str, fate: Option<(Phase, Fate)>) -> Option<Aim> {
    Some(Aim {
        role,
        operation,
        per_mille: 150,
        fate,
    })
}

const fn at_ses(fate: Option<(Phase, Fate)>) -> Option<Aim> {
    at("-encrypt", "SendEmail", fate)
}

/// Where to begin with a defect that few seeds find; the rig's own command begins with the first.
const FIRST_SEEDS: [(&str, u64); 3] = [("bug_16", 25), ("bug_20", 25), ("bug_22", 14)];

/// Those that SES's own events would hide.
const WITHOUT_EVENTS: [&str; 3] = ["bug_03", "bug_04", "bug_22"];

#[rustfmt::skip]
const BUGS: [Bug; 20] = [
    ("bug_19", "TLS mail names another configuration set", "I3", None),
    ("bug_21", "one call names two recipients", "I12", None),
    ("bug_01", "the client repeats a call to SES", "I5", at_ses(None)),
    ("bug_36", "an audit entry is left out of its transaction", "I28", None),
    ("bug_02", "no fence before the call", "I6", None),
    ("bug_11", "acknowledged before it is written", "I2", at("-send", "TransactWriteItems", Some((Phase::Before, Fate::Fail(Failure::AccessDenied))))),
    ("bug_03", "an expired lease takes over a submission", "I5", at_ses(Some((Phase::After, Fate::Crash)))),
    ("bug_04", "a worker that finds a submission sends again", "I5", at_ses(Some((Phase::After, Fate::Crash)))),
    ("bug_05", "a throttle is taken for ambiguous", "F12", at_ses(Some((Phase::Before, Fate::Fail(Failure::Throttled))))),
    ("bug_06", "a time-out is taken for a refusal", "I5", at_ses(Some((Phase::After, Fate::Fail(Failure::TimedOut))))),
    ("bug_10", "nothing sweeps the outbox", "L1", at("-send", "SendMessageBatch", None)),
    ("bug_12", "acknowledged though the archive took nothing", "I2", at("-send", "PutObject", None)),
    ("bug_13", "an idempotency key without its tenant", "I10", None),
    ("bug_14", "an idempotency key is kept after the fact", "I10", at("-send", "TransactWriteItems", None)),
    ("bug_16", "a cancel is granted after the fence", "I9", at("-send", "TransactWriteItems", Some((Phase::Before, Fate::Fail(Failure::AccessDenied))))),
    ("bug_17", "suppressions are not looked at before the fence", "I8", None),
    ("bug_18", "the policy is not checked at the fence", "I4", None),
    ("bug_20", "a key that cannot be read counts as none", "I4", at("-encrypt", "GetItem", Some((Phase::Before, Fate::Fail(Failure::AccessDenied))))),
    ("bug_22", "every attempt is sealed anew", "I22", at_ses(Some((Phase::After, Fate::Fail(Failure::TimedOut))))),
    ("bug_23", "nobody watches for SES's last word", "I1", None),
];
/// How many seeds a defect may take.
const MOST_SEEDS: u64 = 30;

#[test]
fn every_planted_defect_is_found_by_its_invariant() {
    let missed = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    println!("{:8} {:55} {:6} seeds", "defect", "what", "finder");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((bug, what, finder, aim)) = BUGS.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match find(bug, finder, *aim) {
                        Some(seed) => println!("{bug:8} {what:55} {finder:6} {seed}"),
                        None => missed.lock().unwrap().push(*bug),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    row(
        "planted defects, each to be found by its invariant",
        BUGS.len(),
        missed.len(),
    );
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// The seed in which a defect is found.
fn find(bug: &'static str, finder: &str, aim: Option<Aim>) -> Option<u64> {
    let profile = Profile {
        per_mille: Some(if aim.is_some() { 2 } else { 30 }),
        aim,
        withholds_events: WITHOUT_EVENTS.contains(&bug),
        change_every: if aim.is_some() { 100 } else { 20 },
        ..Profile::default()
    };
    planted::set_here(Some(bug));
    let is_found = |seed: &u64| {
        let outcome = one(*seed, &profile);
        outcome.violations.iter().any(|violation| violation.invariant == finder)
    };
    let first = FIRST_SEEDS
        .iter()
        .find(|(name, _)| *name == bug)
        .map(|(_, first)| *first);
    let first = first.filter(|_| number("SEALPOST_RIG_SEEDS").is_none()).unwrap_or(1);
    let found = (first..first + MOST_SEEDS).find(is_found);
    planted::set_here(None);
    found
}

/// What the compiler says of the module that holds the switch, with debug assertions or without.
fn compiled(has_debug_assertions: bool) -> String {
    let out = crate::kill::Folder::new(if has_debug_assertions {
        "switch-debug"
    } else {
        "switch-release"
    });
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions/core/src/planted.rs");
    let told = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "--out-dir",
        ])
        .arg(out.path())
        .args(["--cfg", "feature=\"switched\""])
        .arg(format!(
            "-Cdebug-assertions={}",
            if has_debug_assertions { "on" } else { "off" }
        ))
        .arg(module)
        .output()
        .unwrap();
    String::from_utf8_lossy(&told.stderr).into_owned()
}

#[test]
fn a_release_build_refuses_planted_defects() {
    const REFUSAL: &str = "a release build takes no planted defects";
    assert!(compiled(false).contains(REFUSAL), "{}", compiled(false));
    assert!(!compiled(true).contains(REFUSAL));
}
