//! Tests of the rig: defects that are put in on purpose must be found. A finder that is switched off fails here.

use sealpost_core::planted;

use super::run::{Profile, one};

/// Each defect, who finds it, and in how many seeds at most.
const BUGS: [(&str, &str, &str); 18] = [
    ("bug_01", "the client repeats a call to SES", "I5"),
    ("bug_02", "no fence before the call", "I6"),
    ("bug_03", "an expired lease takes over a submission", "I5"),
    ("bug_04", "a worker that finds a submission sends again", "I5"),
    ("bug_05", "a throttle is taken for ambiguous", "F12"),
    ("bug_06", "a time-out is taken for a refusal", "I5"),
    ("bug_10", "nothing sweeps the outbox", "L1"),
    ("bug_11", "acknowledged before it is written", "I2"),
    ("bug_12", "acknowledged though the archive took nothing", "I2"),
    ("bug_16", "a cancel is granted after the fence", "I9"),
    ("bug_17", "suppressions are not looked at before the fence", "I8"),
    ("bug_18", "the policy is not checked at the fence", "I4"),
    ("bug_19", "TLS mail names another configuration set", "I3"),
    ("bug_20", "a key that cannot be read counts as none", "I4"),
    ("bug_21", "one call names two recipients", "I12"),
    ("bug_22", "every attempt is sealed anew", "I22"),
    ("bug_23", "nobody watches for SES's last word", "I1"),
    ("bug_36", "an audit entry is left out of its transaction", "I28"),
];
/// How many seeds a defect may take.
const MOST_SEEDS: u64 = 200;

#[test]
fn every_planted_defect_is_found_by_its_invariant() {
    let mut missed = Vec::new();
    println!("{:8} {:55} {:6} seeds", "defect", "what", "finder");
    for (bug, what, finder) in BUGS {
        let profile = Profile {
            per_mille: (bug != "bug_01" && bug != "bug_19" && bug != "bug_21").then_some(30),
            change_every: 100,
            ..Profile::default()
        };
        planted::set_here(Some(bug));
        let found = (1..=MOST_SEEDS).find(|seed| {
            one(*seed, &profile)
                .violations
                .iter()
                .any(|violation| violation.invariant == finder)
        });
        planted::set_here(None);
        match found {
            Some(seed) => println!("{bug:8} {what:55} {finder:6} {seed}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
