//! Every call site, every kind of fault: a line of the product that makes a call fails once in each way, and no invariant
//! breaks. A line that makes a call and that no run reaches fails the test, so that a new one cannot be forgotten.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use sealpost_local::aws::fault::{Call, Failure, Phase};
use sealpost_local::system::sim::{Fate, Mischief, run};

use super::check::{Checker, Violation, delivery_of};
use super::run::leaves_doubt;
use super::seeds::number;
use super::world::World;

/// How long after its caller is gone a late effect comes.
const LATE: Duration = Duration::from_secs(7);

/// What may become of a call in a phase.
pub(crate) fn fates(call: &Call, phase: Phase) -> &'static [Fate] {
    let is_write = matches!(
        call.operation.as_str(),
        "TransactWriteItems" | "PutItem" | "UpdateItem" | "DeleteItem"
    );
    let is_batch = matches!(
        call.operation.as_str(),
        "SendMessageBatch" | "BatchGetItem" | "BatchWriteItem"
    );
    match phase {
        Phase::Before if is_write => &[
            Fate::Fail(Failure::Throttled),
            Fate::Fail(Failure::ServerError),
            Fate::Fail(Failure::TimedOut),
            Fate::Fail(Failure::Reset),
            Fate::Fail(Failure::AccessDenied),
            Fate::Fail(Failure::Conflict),
            Fate::Crash,
            Fate::Stall,
            Fate::Late(LATE),
        ],
        Phase::Before if is_batch => &[
            Fate::Fail(Failure::Throttled),
            Fate::Fail(Failure::ServerError),
            Fate::Fail(Failure::TimedOut),
            Fate::Fail(Failure::AccessDenied),
            Fate::Fail(Failure::Partial),
            Fate::Crash,
            Fate::Stall,
        ],
        Phase::Before => &[
            Fate::Fail(Failure::Throttled),
            Fate::Fail(Failure::ServerError),
            Fate::Fail(Failure::TimedOut),
            Fate::Fail(Failure::Reset),
            Fate::Fail(Failure::AccessDenied),
            Fate::Crash,
            Fate::Stall,
            Fate::Late(LATE),
        ],
        Phase::After => &[
            Fate::Fail(Failure::TimedOut),
            Fate::Fail(Failure::Reset),
            Fate::Fail(Failure::Garbage),
            Fate::Fail(Failure::ServerError),
            Fate::Crash,
            Fate::Stall,
        ],
    }
}

/// A place where a call is made: the function's role, the line, the operation.
type Place = (String, String, String);

fn place(call: &Call) -> Place {
    let site = call.site.map(|site| site.to_string()).unwrap_or_default();
    (call.role.clone(), site, call.operation.clone())
}

/// What one run of the scenario came to.
struct Swept {
    places: BTreeMap<Place, Call>,
    violations: BTreeSet<Violation>,
    has_struck: bool,
}

/// Runs the scenario; the first call at a place that is wanted meets its fate.
fn scenario(seed: u64, wanted: Option<&(Place, Phase, Fate)>) -> Swept {
    run(async {
        let mut world = World::start(seed).await;
        world.plan_of_each();
        world.sim.begin();
        let mut checker = Checker {
            has_faults: wanted.is_some(),
            ..Checker::default()
        };
        let places = RefCell::new(BTreeMap::new());
        let has_struck = Cell::new(false);
        let ambiguous = RefCell::new(BTreeSet::new());
        let mut mischief = Mischief::of(|call, phase, _| {
            let here = place(call);
            if phase == Phase::Before {
                places.borrow_mut().entry(here.clone()).or_insert_with(|| call.clone());
            }
            match wanted {
                Some((place, when, fate)) if !has_struck.get() && *place == here && *when == phase => {
                    has_struck.set(true);
                    if leaves_doubt(call, *fate) {
                        ambiguous.borrow_mut().extend(delivery_of(call));
                    }
                    *fate
                }
                _ => Fate::Go,
            }
        });
        let mut dice = Rng::with_seed(seed);
        world.live(&mut mischief, &mut checker, &mut dice).await;
        drop(mischief);
        checker.ambiguous = ambiguous.take();
        checker.has_stalls = matches!(wanted, Some((_, _, Fate::Stall | Fate::Late(_))));
        checker.end(&mut world).await;
        Ok(Swept {
            places: places.take(),
            violations: checker.violations,
            has_struck: has_struck.get(),
        })
    })
    .unwrap()
}

#[test]
fn a_fault_of_any_kind_at_any_call_breaks_no_invariant() {
    let calm = scenario(1, None);
    assert!(calm.violations.is_empty(), "without any fault: {:?}", calm.violations);
    let mut cases: Vec<(Place, Phase, Fate)> = Vec::new();
    for (place, call) in &calm.places {
        for phase in [Phase::Before, Phase::After] {
            cases.extend(fates(call, phase).iter().map(|fate| (place.clone(), phase, *fate)));
        }
    }
    // tests/run tries some of them, evenly spread; the rig's own command all.
    let n_all = cases.len();
    let n_tried = number("SEALPOST_RIG_CASES")
        .map_or(SOME, |n| usize::try_from(n).unwrap())
        .clamp(1, n_all);
    let every = n_all.div_ceil(n_tried);
    let cases: Vec<_> = cases.into_iter().step_by(every).collect();
    let (next, n_struck) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let broken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let swept = scenario(1, Some(case));
                    n_struck.fetch_add(usize::from(swept.has_struck), Ordering::SeqCst);
                    if !swept.violations.is_empty() || !swept.has_struck {
                        println!("{case:?}: {:?}", swept.violations);
                        broken.lock().unwrap().push(case.clone());
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    println!(
        "{} places, {} cases of {n_all} tried, {} struck, {} broken",
        calm.places.len(),
        cases.len(),
        n_struck.into_inner(),
        broken.len()
    );
    assert!(broken.is_empty());
    assert!(calm.places.len() >= 60, "{} places", calm.places.len());
}

/// How many cases tests/run tries.
const SOME: usize = 24;

/// What the product calls AWS by, as its lines read.
const CALLS: [&str; 9] = [
    ".commit()",
    ".get::<",
    ".get_all(",
    ".query(",
    ".update(",
    ".enqueue(",
    ".put_object(",
    ".get_object(",
    ".lock_object(",
];

/// Lines of the way of a mail that make a call.
fn sites() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions/core/src");
    let mut sites = BTreeSet::new();
    for file in [
        "delivery/run.rs",
        "delivery/doubt.rs",
        "delivery/sweep.rs",
        "delivery/track.rs",
        "email/accept.rs",
        "seal.rs",
        "record.rs",
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap();
        for (line, code) in (1..).zip(product.lines()) {
            if CALLS.iter().any(|call| code.contains(call)) {
                sites.insert(format!("functions/core/src/{file}:{line}"));
            }
        }
    }
    sites
}

/// How many lines of a file are reached only after a fault, or in a race: the sweep does not strike at them, random runs do.
const AFTER_FAULTS: [(&str, usize); 5] = [
    ("delivery/doubt.rs", 1),
    ("delivery/run.rs", 5),
    ("delivery/sweep.rs", 3),
    ("delivery/track.rs", 2),
    ("seal.rs", 1),
];

#[test]
fn a_new_line_of_the_way_of_a_mail_that_calls_must_be_swept() {
    let reached: BTreeSet<String> = scenario(1, None).places.into_keys().map(|(_, site, _)| site).collect();
    let mut missed: BTreeMap<String, usize> = BTreeMap::new();
    for site in sites().difference(&reached) {
        let file = site
            .trim_start_matches("functions/core/src/")
            .split(':')
            .next()
            .unwrap();
        *missed.entry(file.to_owned()).or_default() += 1;
    }
    let known: BTreeMap<String, usize> = AFTER_FAULTS.map(|(file, n)| (file.to_owned(), n)).into();
    println!(
        "{} lines that call, reached only after faults: {missed:?}",
        sites().len()
    );
    assert_eq!(missed, known, "a line makes a call that the scenario does not reach");
}
