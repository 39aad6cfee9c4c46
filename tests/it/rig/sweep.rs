//! Every call site, every kind of fault: a line of the product that makes a call fails once in each way, and no invariant
//! breaks. One run strikes at many places, each once; what is reached only after a fault is struck in runs that begin with
//! that fault. A line that makes a call and that no run comes to fails the test, so that a new one cannot be forgotten.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use sealpost_local::aws::fault::{Call, Failure, Phase};
use sealpost_local::system::sim::{Fate, Mischief, run};

use super::check::{Checker, Violation, delivery_of, token_of};
use super::row;
use super::run::leaves_doubt;
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

/// A call that is to fail: where, in which phase, how.
#[derive(Debug, Clone, PartialEq)]
struct Case {
    place: Place,
    phase: Phase,
    fate: Fate,
}

/// Every case of a place.
fn cases_of(place: &Place, call: &Call) -> Vec<Case> {
    let of = |phase: Phase| {
        let case = move |fate: &Fate| Case {
            place: place.clone(),
            phase,
            fate: *fate,
        };
        fates(call, phase).iter().map(case)
    };
    of(Phase::Before).chain(of(Phase::After)).collect()
}

/// What one run of the scenario came to.
struct Swept {
    places: BTreeMap<Place, Call>,
    violations: BTreeSet<Violation>,
    /// Of each case, whether its call was made.
    struck: Vec<bool>,
}

/// Runs the scenario; the first call at each place that is wanted meets its fate.
fn scenario(seed: u64, wanted: &[Case]) -> Swept {
    run(async {
        let mut world = World::start(seed).await;
        world.plan_of_each();
        world.sim.begin();
        let mut checker = Checker {
            has_faults: !wanted.is_empty(),
            has_stalls: wanted
                .iter()
                .any(|case| matches!(case.fate, Fate::Stall | Fate::Late(_))),
            ..Checker::default()
        };
        let late = Rc::clone(&checker.late);
        let places = RefCell::new(BTreeMap::new());
        let struck = RefCell::new(vec![false; wanted.len()]);
        let ambiguous = RefCell::new(BTreeSet::new());
        let mut mischief = Mischief::of(|call, phase, _| {
            let here = place(call);
            if phase == Phase::Before {
                places.borrow_mut().entry(here.clone()).or_insert_with(|| call.clone());
            }
            let mut struck = struck.borrow_mut();
            for (n, case) in wanted.iter().enumerate() {
                if !struck[n] && case.place == here && case.phase == phase {
                    struck[n] = true;
                    if matches!(case.fate, Fate::Late(_)) {
                        late.borrow_mut().extend(token_of(call));
                    }
                    if leaves_doubt(call, case.fate) {
                        ambiguous.borrow_mut().extend(delivery_of(call));
                    }
                    return case.fate;
                }
            }
            Fate::Go
        });
        let mut dice = Rng::with_seed(seed);
        world.live(&mut mischief, &mut checker, &mut dice).await;
        drop(mischief);
        checker.ambiguous = ambiguous.take();
        checker.end(&mut world).await;
        Ok(Swept {
            places: places.take(),
            violations: checker.violations,
            struck: struck.take(),
        })
    })
    .unwrap()
}

/// Many runs, each of them with these cases, in two threads.
fn scenarios(runs: &[Vec<Case>]) -> Vec<Swept> {
    let next = AtomicUsize::new(0);
    let swept = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let Some(wanted) = runs.get(n) else { return };
                    let one = scenario(1, wanted);
                    swept.lock().unwrap().insert(n, one);
                }
            });
        }
    });
    swept.into_inner().unwrap().into_values().collect()
}

/// Puts cases together to runs: in one run all fail in the same way, each at another place.
fn together(cases: Vec<Case>, most: usize) -> Vec<Vec<Case>> {
    let mut rounds: Vec<Vec<Case>> = Vec::new();
    for case in cases {
        let is_alike = |round: &&mut Vec<Case>| {
            let is_other =
                |other: &Case| (other.phase, other.fate) == (case.phase, case.fate) && other.place != case.place;
            round.iter().all(is_other)
        };
        match rounds.iter_mut().find(is_alike) {
            Some(round) => round.push(case),
            None => rounds.push(vec![case]),
        }
    }
    let mut runs = Vec::new();
    for round in rounds {
        let n_runs = round.len().div_ceil(most);
        // Neighbours go to different runs: they are calls of the same function.
        runs.extend((0..n_runs).map(|n| round.iter().skip(n).step_by(n_runs).cloned().collect::<Vec<_>>()));
    }
    runs
}

/// How many places are struck in one run.
const MOST_AT_ONCE: usize = 64;
/// How often what is reached only after faults is followed.
const MOST_ROUNDS: usize = 4;

/// The sweep so far.
#[derive(Default)]
struct Sweep {
    places: BTreeSet<Place>,
    /// Places that no case was made for yet, with the faults after which they are reached.
    new: Vec<(Place, Call, Vec<Case>)>,
    n_cases: usize,
    n_runs: usize,
    unstruck: Vec<Case>,
    broken: Vec<(Vec<Case>, BTreeSet<Violation>)>,
}

impl Sweep {
    /// Takes in what runs came to; `n_base` of each run's cases are only the way to the others.
    fn learn(&mut self, runs: &[Vec<Case>], n_base: usize) {
        self.n_runs += runs.len();
        let begun = Instant::now();
        let mut reached: Vec<(&Vec<Case>, BTreeMap<Place, Call>)> = Vec::new();
        for (wanted, swept) in runs.iter().zip(scenarios(runs)) {
            let is_new = |(place, _): &(Place, Call)| !self.places.contains(place);
            reached.push((wanted, swept.places.into_iter().filter(is_new).collect()));
            let missed = wanted
                .iter()
                .zip(&swept.struck)
                .skip(n_base)
                .filter(|(_, struck)| !**struck);
            self.unstruck.extend(missed.map(|(case, _)| case.clone()));
            if !swept.violations.is_empty() {
                self.broken.push((wanted.clone(), swept.violations));
            }
        }
        // Few runs are to lead to many of the new places.
        while let Some((wanted, most)) = reached.iter().max_by_key(|(_, places)| places.len()).cloned()
            && !most.is_empty()
        {
            for (_, places) in &mut reached {
                places.retain(|place, _| !most.contains_key(place));
            }
            for (place, call) in most {
                self.places.insert(place.clone());
                self.new.push((place, call, wanted.clone()));
            }
        }
        println!(
            "{} runs after {n_base} faults: {:?}, {} new places, {} not struck, {} broken",
            runs.len(),
            begun.elapsed(),
            self.new.len(),
            self.unstruck.len(),
            self.broken.len()
        );
    }

    /// Strikes at everything that was newly reached.
    fn strike(&mut self) {
        let mut by_base: Vec<(Vec<Case>, Vec<Case>)> = Vec::new();
        for (place, call, base) in std::mem::take(&mut self.new) {
            let cases = cases_of(&place, &call);
            self.n_cases += cases.len();
            match by_base.iter_mut().find(|(known, _)| *known == base) {
                Some((_, all)) => all.extend(cases),
                None => by_base.push((base, cases)),
            }
        }
        for (base, cases) in by_base {
            let with_base = |cases: Vec<Case>| base.iter().cloned().chain(cases).collect::<Vec<_>>();
            let runs: Vec<_> = together(cases, MOST_AT_ONCE).into_iter().map(with_base).collect();
            self.learn(&runs, base.len());
            // What another fault of the same run kept from being struck is struck among fewer, and then alone.
            for most in [MOST_AT_ONCE / 4, 1] {
                let left = std::mem::take(&mut self.unstruck);
                let runs: Vec<_> = together(left, most).into_iter().map(with_base).collect();
                self.learn(&runs, base.len());
            }
        }
    }
}

#[test]
fn a_fault_of_any_kind_at_any_call_breaks_no_invariant() {
    let begun = Instant::now();
    let mut sweep = Sweep::default();
    sweep.learn(&[Vec::new()], 0);
    assert!(sweep.broken.is_empty(), "without any fault: {:?}", sweep.broken);
    let n_calm = sweep.places.len();
    let mut unstruck = Vec::new();
    for _ in 0..MOST_ROUNDS {
        sweep.strike();
        unstruck.append(&mut sweep.unstruck);
    }
    for (wanted, violations) in &sweep.broken {
        println!("{violations:?} after {wanted:?}");
    }
    println!(
        "{} places ({n_calm} without a fault), {} cases in {} runs, {} not struck, {} broken, {:?}",
        sweep.places.len(),
        sweep.n_cases,
        sweep.n_runs,
        unstruck.len(),
        sweep.broken.len(),
        begun.elapsed()
    );
    row("calls to AWS by role, line and operation", sweep.places.len(), 0);
    row("a call x a kind of fault", sweep.n_cases, sweep.broken.len());
    assert!(sweep.broken.is_empty());
    assert!(unstruck.is_empty(), "not struck: {unstruck:?}");
    let left: Vec<&Place> = sweep.new.iter().map(|(place, ..)| place).collect();
    assert!(left.is_empty(), "reached and never struck: {left:?}");
    every_line_that_calls_is_reached(&sweep.places);
}

/// What the product calls AWS by, as its lines read.
const CALLS: [&str; 18] = [
    ".commit()",
    ".get::<",
    ".get_all(",
    ".query(",
    "app.update(",
    "self.update(",
    ".enqueue(",
    ".put_object(",
    ".get_object(",
    ".lock_object(",
    "site::call(",
    ".enqueue_hints(",
    ".enqueue_ses_events(",
    ".list_objects(",
    ".remove_object(",
    ".remove_versions(",
    "self.save(Transaction",
    "self.save(transaction",
];

/// Lines of the product that make a call, by file and number.
fn lines() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Nothing else has a client: `Clients` is the core's own.
    let mut folders = vec![root.join("functions/core/src")];
    let mut lines = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if !name.ends_with(".rs") || name.contains("/tests") {
                continue;
            }
            // These two are what the others call by.
            if name.ends_with("aws/bucket.rs") || name.ends_with("aws/table.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let product = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
            for (line, code) in (1..).zip(product.lines()) {
                let is_comment = code.trim_start().starts_with("//");
                if !is_comment && CALLS.iter().any(|call| code.contains(call)) {
                    lines.insert(format!("{name}:{line}"));
                }
            }
        }
    }
    lines
}

/// A line that makes a call and that no run has come to fails the test, so that a new one cannot be forgotten.
fn every_line_that_calls_is_reached(places: &BTreeSet<Place>) {
    let reached: BTreeSet<&String> = places.iter().map(|(_, site, _)| site).collect();
    let lines = lines();
    let mut missed: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        if !reached.contains(line) {
            println!("not reached: {line}");
            *missed.entry(line.split(':').next().unwrap()).or_default() += 1;
        }
    }
    println!(
        "{} lines call, {} of them are swept",
        lines.len(),
        lines.len() - missed.values().sum::<usize>()
    );
    let known: BTreeMap<&str, usize> = ELSEWHERE.iter().map(|(file, n, _)| (*file, *n)).collect();
    assert_eq!(missed, known, "a line makes a call that no run comes to");
}

/// How many lines of a file no run comes to, and why.
#[rustfmt::skip]
const ELSEWHERE: [(&str, usize, &str); 2] = [
    ("functions/core/src/delivery/run.rs", 1, "a step whose callers are the places"),
    ("functions/core/src/email/accept.rs", 1, "a planted defect"),
];
