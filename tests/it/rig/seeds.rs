//! Random runs: at least twenty emails of three tenants by all four methods, with faults at any call, queues that lose and
//! double, and clients that repeat what they got no answer to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::run::{Outcome, Profile, one};
use super::{number, row};

/// Runs seeds one after the other in two threads, and hands every outcome to `see`.
pub(crate) fn many(first: u64, n: u64, see: impl FnMut(Outcome) + Send) {
    let next = AtomicU64::new(first);
    let see = Mutex::new(see);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + n {
                        return;
                    }
                    let outcome = one(seed, &Profile::default());
                    (see.lock().unwrap())(outcome);
                }
            });
        }
    });
}

/// How many seeds tests/run tries.
const SEEDS: u64 = 60;

#[test]
fn random_faults_break_no_invariant() {
    if let Some(seed) = number("SEALPOST_RIG_SEED") {
        let outcome = one(
            seed,
            &Profile {
                tells: true,
                ..Profile::default()
            },
        );
        println!("{}\n{:#?}", outcome.story.join("\n"), outcome.violations);
        assert!(outcome.violations.is_empty());
        return;
    }
    let n = number("SEALPOST_RIG_SEEDS").unwrap_or(SEEDS);
    let first = number("SEALPOST_RIG_FIRST").unwrap_or(1);
    let begun = Instant::now();
    let total: Arc<Mutex<(usize, usize, usize, u64)>> = Arc::default();
    let broken = Mutex::new(Vec::new());
    many(first, n, |outcome| {
        let mut total = total.lock().unwrap();
        total.0 += outcome.n_accepted;
        total.1 += outcome.n_mails;
        total.2 += outcome.n_faults;
        total.3 += outcome.trace.1;
        if !outcome.violations.is_empty() {
            println!("seed {}: {:?}", outcome.seed, outcome.violations);
            broken.lock().unwrap().push(outcome.seed);
        }
    });
    let (n_accepted, n_mails, n_faults, n_steps) = *total.lock().unwrap();
    println!(
        "{n} seeds, {n_accepted} emails accepted, {n_mails} mails handed to SES, {n_faults} faults, {n_steps} steps, {:?}; broken: {:?}",
        begun.elapsed(),
        broken.lock().unwrap()
    );
    let n_broken = broken.lock().unwrap().len();
    let n_seeds = usize::try_from(n).unwrap();
    row(
        "random runs of at least 20 emails, 3 tenants, 4 methods",
        n_seeds,
        n_broken,
    );
    row("  emails accepted in them", n_accepted, n_broken);
    row("  mails handed to SES in them", n_mails, n_broken);
    row("  faults in them", n_faults, n_broken);
    assert!(
        broken.lock().unwrap().is_empty(),
        "run one again with SEALPOST_RIG_SEED"
    );
    assert!(
        n_faults > 0 && n_accepted as u64 >= n * 18,
        "the runs do not do what they are for"
    );
}

#[test]
fn the_same_seed_runs_the_same_way_again() {
    let (first, second) = (one(3, &Profile::default()), one(3, &Profile::default()));
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.violations, second.violations);
}
