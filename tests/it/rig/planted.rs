//! Tests of the rig: defects that are put in on purpose must be found. A finder that is switched off fails here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealpost_core::planted;

use super::run::{Profile, one};
use super::seeds::number;

/// Each defect, who finds it, and in how many seeds at most.
const BUGS: [(&str, &str, &str); 18] = [
    ("bug_19", "TLS mail names another configuration set", "I3"),
    ("bug_21", "one call names two recipients", "I12"),
    ("bug_01", "the client repeats a call to SES", "I5"),
    ("bug_36", "an audit entry is left out of its transaction", "I28"),
    ("bug_02", "no fence before the call", "I6"),
    ("bug_11", "acknowledged before it is written", "I2"),
    ("bug_03", "an expired lease takes over a submission", "I5"),
    ("bug_04", "a worker that finds a submission sends again", "I5"),
    ("bug_05", "a throttle is taken for ambiguous", "F12"),
    ("bug_06", "a time-out is taken for a refusal", "I5"),
    ("bug_10", "nothing sweeps the outbox", "L1"),
    ("bug_12", "acknowledged though the archive took nothing", "I2"),
    ("bug_16", "a cancel is granted after the fence", "I9"),
    ("bug_17", "suppressions are not looked at before the fence", "I8"),
    ("bug_18", "the policy is not checked at the fence", "I4"),
    ("bug_20", "a key that cannot be read counts as none", "I4"),
    ("bug_22", "every attempt is sealed anew", "I22"),
    ("bug_23", "nobody watches for SES's last word", "I1"),
];
/// How many seeds a defect may take.
const MOST_SEEDS: u64 = 40;
/// How many of them tests/run tries: the first.
const SOME: usize = 5;

#[test]
fn every_planted_defect_is_found_by_its_invariant() {
    let missed = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    // tests/run tries some; the rig's own command all, each for longer.
    let is_whole = number("SEALPOST_RIG_CASES").is_some();
    let (n_bugs, n_seeds) = if is_whole { (BUGS.len(), MOST_SEEDS) } else { (SOME, 2) };
    println!("{:8} {:55} {:6} seeds", "defect", "what", "finder");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((bug, what, finder)) = BUGS[..n_bugs].get(next.fetch_add(1, Ordering::SeqCst)) {
                    match find(bug, finder, n_seeds) {
                        Some(seed) => println!("{bug:8} {what:55} {finder:6} {seed}"),
                        None => missed.lock().unwrap().push(*bug),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// The seed in which a defect is found.
fn find(bug: &'static str, finder: &str, n_seeds: u64) -> Option<u64> {
    let profile = Profile {
        per_mille: (!WITHOUT_FAULTS.contains(&bug)).then_some(30),
        change_every: 100,
        ..Profile::default()
    };
    planted::set_here(Some(bug));
    let is_found = |seed: &u64| {
        let outcome = one(*seed, &profile);
        outcome.violations.iter().any(|violation| violation.invariant == finder)
    };
    let found = (1..=n_seeds).find(is_found);
    planted::set_here(None);
    found
}

/// Those that show when nothing else goes wrong.
const WITHOUT_FAULTS: [&str; 3] = ["bug_01", "bug_19", "bug_21"];
