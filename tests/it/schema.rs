//! Promise: the API answers as its description says, whatever is asked: no 5xx, no status, content type or field that is not
//! described, nothing accepted that the description forbids, no hang.

use std::process::Stdio;

use tokio::process::Command;

use crate::lambda::target;
use crate::tools::{PYTHON, file, number, suite, tool};

/// How many requests are made where nobody asks for more.
const CASES: usize = 5_000;
/// The variable in which `tests/schema` hands over how many.
const ASKED: &str = "SEALPOST_TEST_CASES";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_it_is_described() {
    let program = target().join("sealpost");
    assert!(
        program.exists(),
        "{} is missing; use tests/run, which builds it",
        program.display()
    );
    let n_cases = number(ASKED, CASES);
    let mut command = Command::new(tool(PYTHON));
    command.arg(file("conformance/run.py")).arg("--program").arg(program);
    command.args(["--cases", &n_cases.to_string()]).stdin(Stdio::null());
    suite(&mut command, n_cases).await;
}
