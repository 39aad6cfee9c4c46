//! Every file of the corpora, and a short run of mutations of them, over every target.
//!
//! Each target runs in a process of its own with at most 512 MiB of memory, and no single input may take longer than a
//! second. An input that breaks a promise is written to a file whose path is printed; put it into the target's corpus with
//! the fix. Arguments are names of targets, or parts of them; without any, all run.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use sealpost_fuzz::mutate::{Numbers, mutate};
use sealpost_fuzz::{TARGETS, Target};

/// What a target's process may allocate: data and anonymous memory (RLIMIT_DATA), since the program's own text is no
/// matter of the input's.
const MEMORY: &str = "--data=536870912";
/// How long a target is fed with mutations.
const MUTATIONS: Duration = Duration::from_millis(2_000);
/// How long a single input may take.
const LONGEST: Duration = Duration::from_secs(1);
/// The largest mutation, bytes.
const LIMIT: usize = 16 * 1024;
/// Tells a process that it is one target's. The value is the seed; with a `!` behind it, every input is written down before
/// it is tried, so that one that ends the process is known.
const CHILD: &str = "SEALPOST_FUZZ_CHILD";
/// The seed of every run; another one by this variable.
const SEED: &str = "SEALPOST_FUZZ_SEED";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(seed) = variable(CHILD) {
        let name = arguments.first().map_or("", String::as_str);
        let (_, target) = TARGETS
            .iter()
            .find(|(known, _)| *known == name)
            .expect("it is a target");
        return child(name, *target, &seed);
    }
    // What a test harness may be asked for beside filters means nothing here.
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let names: Vec<&str> = TARGETS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| is_wanted(name))
        .collect();
    parent(&names)
}

/// Runs the targets, as many at a time as there are cores, and prints what came of it.
fn parent(names: &[&str]) -> ExitCode {
    let seed = variable(SEED).unwrap_or_else(|| "1".to_owned());
    let left = Mutex::new(names.iter());
    let results = Mutex::new(Vec::new());
    let start = Instant::now();
    let n_lanes = thread::available_parallelism().map_or(1, usize::from).min(4);
    thread::scope(|scope| {
        for _ in 0..n_lanes {
            scope.spawn(|| {
                loop {
                    let Some(name) = left.lock().expect("no lane panics").next() else {
                        break;
                    };
                    let result = run(name, &seed);
                    results.lock().expect("no lane panics").push((*name, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no lane panics");
    results.sort_by_key(|(name, _)| *name);
    println!("{:<22} {:>9} {:>10}", "target", "runs", "ms, most");
    let (mut n_runs, mut n_failed) = (0, 0);
    for (name, result) in &results {
        match result {
            Ok((runs, longest)) => {
                n_runs += runs;
                println!("{name:<22} {runs:>9} {longest:>10}");
            }
            Err(why) => {
                n_failed += 1;
                println!("{name:<22} failed\n{why}");
            }
        }
    }
    let seconds = start.elapsed().as_secs();
    println!(
        "{} targets, {n_runs} runs, {n_failed} failed, seed {seed}, {seconds} s",
        results.len()
    );
    if n_failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How many inputs a target was given, and the milliseconds of the longest; or why it failed.
fn run(name: &str, seed: &str) -> Result<(u64, u64), String> {
    let first = spawn(name, seed)?;
    if let Some(counted) = first.strip_prefix("done ").and_then(|text| text.trim().split_once(' ')) {
        let number = |text: &str| text.parse().map_err(|_| first.clone());
        return Ok((number(counted.0)?, number(counted.1)?));
    }
    if first.contains("input ") {
        return Err(first);
    }
    // The process ended without a word: memory, the stack, or the time. Once more, and slowly.
    let again = spawn(name, &format!("{seed}!"))?;
    let last = last_input(name);
    Err(format!(
        "{first}{again}the process ended by itself; its last input: {}",
        last.display()
    ))
}

fn spawn(name: &str, seed: &str) -> Result<String, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("prlimit")
        .arg(MEMORY)
        .arg(program)
        .arg(name)
        .env(CHILD, seed)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("prlimit (util-linux) cannot be run: {error}"))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(told);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Ok(format!("{told}{} {error}\n", output.status))
}

thread_local! {
    /// Where and why the last panic happened: those that the product contains are none of a target's.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

fn child(name: &str, target: Target, seed: &str) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| PANIC.set(Some(panic.to_string()))));
    let is_slow = seed.ends_with('!');
    let seed: u64 = seed.trim_end_matches('!').parse().expect("a seed is a number");
    // Each target has mutations of its own.
    let seed = name
        .bytes()
        .fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut numbers = Numbers::new(seed);
    let files = corpus(name);
    assert!(!files.is_empty(), "{name} has no corpus");
    let mut longest = Duration::ZERO;
    let mut n_runs = 0_u64;
    let mut attempt = |data: &[u8]| -> Result<(), String> {
        if is_slow {
            fs::write(last_input(name), data).map_err(|error| error.to_string())?;
        }
        let took = timed(target, data)?;
        longest = longest.max(took);
        n_runs += 1;
        if took > LONGEST {
            // The machine may have been busy with something else.
            let again = timed(target, data)?.min(timed(target, data)?);
            if again > LONGEST {
                return Err(format!("took {again:?}"));
            }
        }
        Ok(())
    };
    let failed = |data: &[u8], why: &str| {
        let path = last_input(name).with_extension("failed");
        let written = fs::write(&path, data).map_or_else(|error| error.to_string(), |()| path.display().to_string());
        println!("input {written}: {why}");
        ExitCode::FAILURE
    };
    for data in &files {
        if let Err(why) = attempt(data) {
            return failed(data, &why);
        }
    }
    let start = Instant::now();
    while start.elapsed() < MUTATIONS {
        let data = mutate(&files, &mut numbers, LIMIT);
        if let Err(why) = attempt(&data) {
            return failed(&data, &why);
        }
    }
    println!("done {n_runs} {}", longest.as_millis());
    ExitCode::SUCCESS
}

/// How long one input took, or how it broke a promise.
fn timed(target: Target, data: &[u8]) -> Result<Duration, String> {
    let start = Instant::now();
    match catch_unwind(AssertUnwindSafe(|| target(data))) {
        Ok(()) => Ok(start.elapsed()),
        Err(_) => Err(PANIC.take().unwrap_or_default()),
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("it can be read"))
        .collect()
}

fn last_input(name: &str) -> PathBuf {
    env::temp_dir().join(format!("sealpost-fuzz-{name}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "how this program tells its own processes apart"
)]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}
