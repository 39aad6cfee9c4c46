//! Promise: receivers that customers write with the usual libraries accept every webhook, also while a secret is changed,
//! and refuse what is altered, old or signed by somebody else.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::system::Running;
use crate::tools::{PYTHON, file, tool};
use crate::webhook::{Receiver, email, hook};

/// How long a receiver may take for one line.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver in another language.
struct Foreign {
    url: String,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Foreign {
    async fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut foreign = Self {
            url: String::new(),
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
        };
        foreign.url = format!("http://127.0.0.1:{}/hook", foreign.line().await);
        foreign
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        line.expect("the receiver says something")
            .unwrap()
            .expect("the receiver runs")
    }

    async fn knows(&mut self, secrets: &[&str], public_key: &Value) {
        let line = json!({ "secrets": secrets, "public_key": public_key });
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        assert_eq!(self.line().await, "known");
    }

    /// The next webhook, which must be right in everything.
    async fn accepts(&mut self) -> String {
        let said: Value = serde_json::from_str(&self.line().await).unwrap();
        assert_eq!(said["faults"], json!([]), "{said}");
        said["id"].as_str().unwrap().to_owned()
    }
}

async fn key_of(running: &Running, webhook: &str) -> Value {
    running.get(&format!("/webhooks/{webhook}")).await.1["public_key"].clone()
}

async fn accepts_every_webhook(command: Command) {
    let running = Running::start().await;
    let mut receiver = Foreign::start(command).await;
    let (webhook, secret) = hook(
        &running,
        &receiver.url,
        &["email.sent", "email.delivered", "email.bounced"],
    )
    .await;
    let key = key_of(&running, &webhook).await;
    receiver.knows(&[&secret], &key).await;
    for address in ["pat@patient.test", "pat@bounce.test", "pat@no-tls.test"] {
        running.settled(&running.send(&email(address)).await).await;
    }
    let mut n_accepted = 0;
    for _ in 0..3 {
        receiver.accepts().await;
        n_accepted += 1;
    }
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    let count = async || {
        let (_, list) = running.get(&format!("/webhooks/{webhook}/attempts?limit=100")).await;
        let rows = list["data"].as_array().unwrap().clone();
        assert!(rows.iter().all(|row| row["status"] == "delivered"), "{list}");
        rows.len()
    };
    for _ in n_accepted..count().await {
        receiver.accepts().await;
    }
    // Both generations sign, so a receiver may have the old secret, the new one or both.
    let (status, rotated) = running
        .post(&format!("/webhooks/{webhook}/rotate-secret"), &Value::Null)
        .await;
    assert_eq!(status, 200, "{rotated}");
    let new = rotated["signing_secret"].as_str().unwrap().to_owned();
    assert_ne!(new, secret);
    receiver.knows(&[&secret, &new], &key).await;
    let n_before = count().await;
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    let n_after = count().await;
    assert!(n_after > n_before);
    for _ in n_before..n_after {
        receiver.accepts().await;
    }
    receiver.knows(&[&new], &rotated["public_key"]).await;
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    receiver.accepts().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_python_accepts_every_webhook() {
    let mut command = Command::new(tool(PYTHON));
    command.arg(file("webhook/receiver.py"));
    accepts_every_webhook(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_node_accepts_every_webhook() {
    let mut command = Command::new("node");
    command.arg(file("webhook/receiver.mjs"));
    accepts_every_webhook(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_secret_signs_for_a_day_and_no_longer() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    let (webhook, _) = hook(&running, &receiver.url, &["email.delivered"]).await;
    let mut n_got = 0;
    for (rotate, wait_s, n_signatures) in [(false, 0, 2), (true, 0, 4), (false, 86_000, 4), (false, 500, 2)] {
        if rotate {
            let (status, answer) = running
                .post(&format!("/webhooks/{webhook}/rotate-secret"), &Value::Null)
                .await;
            assert_eq!(status, 200, "{answer}");
        }
        running.system.advance(Duration::from_secs(wait_s)).unwrap();
        running.settled(&running.send(&email("pat@patient.test")).await).await;
        n_got += 1;
        let got = receiver.until(n_got).await;
        let signature = &got[n_got - 1].headers["webhook-signature"];
        let kinds: Vec<&str> = signature.split(' ').map(|one| one.split(',').next().unwrap()).collect();
        assert_eq!(kinds.len(), n_signatures, "{kinds:?}");
        assert_eq!(
            kinds.iter().filter(|kind| **kind == "v1a").count(),
            n_signatures / 2,
            "{kinds:?}"
        );
    }
}
