//! Programs that `tests/run` installs for the tests, and running them to their end.

use std::process::Output;
use std::time::Duration;

use tokio::process::Command;

/// The Python that has the packages of `tests/requirements.txt`.
pub(crate) const PYTHON: &str = "SEALPOST_TEST_PYTHON";
/// The folder that has the packages of `tests/package.json`.
pub(crate) const NODE_MODULES: &str = "SEALPOST_TEST_NODE_MODULES";

/// The browser that the portal's pages are read in.
pub(crate) const CHROMIUM: &str = "SEALPOST_TEST_CHROMIUM";

/// How long a suite in another language may take, for each thousand checks that it is asked for.
const PATIENCE: Duration = Duration::from_secs(300);

/// The path of a tool, by the variable in which `tests/run` hands it over.
pub(crate) fn tool(variable: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no other way to learn what tests/run installed"
    )]
    let path = std::env::var(variable);
    match path {
        Ok(path) if std::path::Path::new(&path).exists() => path,
        _ => panic!("{variable} names nothing that is there; use tests/run, which installs it and runs the tests"),
    }
}

/// A number that the command of a long run hands over, or what `tests/run` takes.
pub(crate) fn number(variable: &str, usual: usize) -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no other way to learn what is asked of it"
    )]
    let asked = std::env::var(variable);
    asked.map_or(usual, |text| text.parse().unwrap())
}

/// A file of this package.
pub(crate) fn file(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a suite in another language, prints what it prints, and requires that it passed at least `least` checks.
pub(crate) async fn suite(command: &mut Command, least: usize) {
    let running = command.kill_on_drop(true).output();
    let thousands = u32::try_from(least.div_ceil(1_000)).unwrap();
    let output = tokio::time::timeout(PATIENCE * thousands, running)
        .await
        .expect("the suite ends")
        .expect("the suite can be run");
    let Output { status, stdout, stderr } = output;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    println!("{stdout}");
    assert!(status.success(), "{stdout}{stderr}");
    let summary = stdout.lines().last().unwrap_or_default();
    let n_passed = summary.split(" passed").next().and_then(|n| n.parse::<usize>().ok());
    assert!(
        n_passed.is_some_and(|n| n >= least),
        "fewer than {least} checks: {summary}"
    );
}
