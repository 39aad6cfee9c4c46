//! One target under libFuzzer: the one that `SEALPOST_FUZZ_TARGET` names. `tests/fuzz/run` builds and starts it.

#![no_main]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::sync::OnceLock;

use sealpost_fuzz::{TARGETS, Target};

// The crate brings libFuzzer's `main`, which calls the function below.
use libfuzzer_sys as _;

static TARGET: OnceLock<Target> = OnceLock::new();

/// Called by libFuzzer once for every input.
#[expect(unsafe_code, reason = "libFuzzer looks its target up by this name")]
#[expect(improper_ctypes_definitions, reason = "the crate calls it so; both sides are Rust")]
#[unsafe(no_mangle)]
pub extern "C" fn rust_fuzzer_test_input(data: &[u8]) -> i32 {
    let target = TARGET.get_or_init(|| {
        // The crate's own hook ends the process at every panic, also at those that the product contains.
        std::panic::set_hook(Box::new(|_| {}));
        target()
    });
    if catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
        // Once more with its words, then the end that libFuzzer writes the input down for.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        drop(catch_unwind(AssertUnwindSafe(|| target(data))));
        abort();
    }
    0
}

#[expect(clippy::disallowed_methods, reason = "libFuzzer owns the command line")]
fn target() -> Target {
    let name = std::env::var("SEALPOST_FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, target)| *target)
        .expect("SEALPOST_FUZZ_TARGET names a target")
}
