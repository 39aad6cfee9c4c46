//! Promise: what a person, or somebody who writes about one, fills in anywhere shows nowhere but where it has to: no log, no
//! key, no tag, no queue, no page tells anything of a patient (invariants I3 and I13).
//!
//! Every field gets a canary of its own, the real system is driven with them, and everything that leaves a function or stays
//! behind is searched, in every encoding that a slip might give it. The list of what may stand where is in [`allowed`]. Twenty
//! planted leaks show that the search would find one.

mod allowed;
mod encoding;
mod field;
mod mistake;
#[cfg(feature = "planted")]
mod planted;
mod scenario;
mod sink;
mod stage;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use tokio::process::Command;

use allowed::ALLOWED;
use field::Canaries;
use scenario::Deed;
use sink::{Found, Recorder, Sink, Way};
use stage::Stage;

/// Set in the process that a test has for itself.
const ALONE: &str = "SEALPOST_TEST_ALONE";

/// Whether this process runs this test and no other. If not, it has been run in such a process when this returns: logs,
/// panics and planted defects are one to a process.
async fn is_alone(test: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a child process is told what it is")]
    let is_alone = std::env::var_os(ALONE).is_some();
    if is_alone {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(ALONE, "1");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{warned}");
    println!("{said}");
    false
}

/// Every sink, so that none is without anything to search.
const SINKS: [Sink; 26] = [
    Sink::Mail(Way::Tls),
    Sink::Mail(Way::Portal),
    Sink::Mail(Way::OpenPgp),
    Sink::Mail(Way::Smime),
    Sink::Envelope,
    Sink::MailTag,
    Sink::Log,
    Sink::Stderr,
    Sink::LambdaError,
    Sink::Queue,
    Sink::SesEvents,
    Sink::TableKey,
    Sink::TableAttribute,
    Sink::Audit,
    Sink::ObjectKey,
    Sink::ObjectMetadata,
    Sink::Object,
    Sink::KmsContext,
    Sink::WebhookBody,
    Sink::WebhookHeader,
    Sink::ErrorBody,
    Sink::ThinBody,
    Sink::Page,
    Sink::ResponseHeader,
    Sink::Location,
    Sink::Wire,
];

fn report(found: &Found, canaries: &Canaries) {
    println!("{} canaries in {} fields", canaries.0.len(), canaries.fields().len());
    for (sink, (n_items, n_bytes)) in &found.searched {
        println!("  {:<18} {n_items:>6} items {n_bytes:>10} bytes", format!("{sink:?}"));
    }
    for (place, n) in &found.allowed {
        println!("  allowed {n:>5} times: {}", ALLOWED[*place].reason);
    }
    println!(
        "  allowed {:>5} times: a mail that protects itself names its own recipient",
        found.n_own
    );
    for leak in &found.leaks {
        println!(
            "  LEAK {:?} {} shows {} by {}",
            leak.sink, leak.at, leak.hit.field, leak.hit.encoding
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_patient_shows_where_it_need_not() {
    if !is_alone("canary::nothing_of_a_patient_shows_where_it_need_not").await {
        return;
    }
    let recorder = Recorder::install();
    let start = Instant::now();
    let mut canaries = Canaries::default();
    let stage = Arc::new(Stage::open(recorder).await);
    for deed in [
        Deed::EveryMethod,
        Deed::LaterAndMany,
        Deed::Marketing,
        Deed::Suppressions,
        Deed::Mistakes,
        Deed::WrongLinks,
        Deed::WrongEvents,
        Deed::EveryFate,
        Deed::Refused,
        Deed::Binaries,
    ] {
        let done = Instant::now();
        canaries.0.extend(scenario::done(&stage, deed).await.0);
        println!("{deed:?} in {:.1?}", done.elapsed());
    }
    stage.listen_to_the_end().await;
    println!("driven in {:.1?}", start.elapsed());

    let found = sink::search(&stage.recorder.take(), &canaries);
    report(&found, &canaries);
    println!("searched after {:.1?}", start.elapsed());
    let surprises = stage.surprises();
    assert!(found.leaks.is_empty(), "{} leaks; {surprises:#?}", found.leaks.len());
    assert!(surprises.is_empty(), "{surprises:#?}");
    for sink in SINKS {
        let (n_items, n_bytes) = found.searched.get(&sink).copied().unwrap_or_default();
        assert!(n_items > 0 && n_bytes > 0, "{sink:?} was not looked at");
    }
    for (place, allowance) in ALLOWED.iter().enumerate() {
        assert!(
            found.allowed.contains_key(&place),
            "nothing needs it: {}",
            allowance.reason
        );
    }
    assert!(found.n_own > 0);
}

/// A certificate holds its owner's name and address.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_table_of_certificates_names_nobody() {
    let stage = Stage::open(Arc::new(Recorder::default())).await;
    let mut canaries = Canaries::default();
    for (kind, domain) in [("openpgp", "keys.test"), ("smime", "certs.test")] {
        let address = canaries.address("to.local", domain);
        stage.pin(&mut canaries, kind, &address).await;
    }
    stage.recorder.at_rest(&stage.running).await;
    let surprises = stage.surprises();
    assert!(surprises.is_empty(), "{surprises:#?}");
    let found = sink::search(&stage.recorder.take(), &canaries);
    assert!(found.leaks.is_empty(), "{:#?}", found.leaks);
}
