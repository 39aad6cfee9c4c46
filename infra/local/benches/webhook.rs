//! How many webhooks a second of CPU time posts, beside Node's `fetch` on the same machine.
//!
//! `cargo bench --workspace --bench webhook` (needs Node 20). Both post the same message to the same receiver over
//! connections that stay open, eight at a time, in turns, so that other work on the machine meets both. Ours are signed by
//! HMAC-SHA256 and Ed25519, as the product signs; Node's by HMAC-SHA256 alone. Counted is the CPU time of the thread that
//! posts, and of Node's whole process; the receiver runs on a thread of its own. The figure of each is its fastest round.

#![expect(clippy::print_stdout, reason = "a measurement prints what it measured")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use sealpost_core::webhook::sample::Sample;

const ROUNDS: u32 = 7;
const POSTS: u32 = 4_000;
const AT_ONCE: u32 = 8;
const BODY: &str = r#"{"type":"email.delivered","timestamp":"2026-11-24T12:00:00Z","data":{"email_id":"em_01m8gnyfd80000000000000000","delivery_id":"dlv_01m8gnyfd80000000000000000","level":"T2","method":"tls","purpose":"treatment","sequence":40,"status":"delivered","test":false}}"#;

fn main() -> Result<()> {
    let url = format!("http://{}/webhook", receiver()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sample = Arc::new(Sample::new(url.clone())?);
    let mut node = Node::start(&url)?;
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    // The first round of each warms up and does not count.
    for round in 0..=ROUNDS {
        let (our, their) = (runtime.block_on(posts(&sample))?, node.posts()?);
        if round > 0 {
            ours = ours.min(our);
            theirs = theirs.min(their);
        }
    }
    let rate = |taken: Duration| f64::from(POSTS) / taken.as_secs_f64();
    println!("webhook posts per CPU-second: {:.0}", rate(ours));
    println!("Node {}, fetch:              {:.0}", node.version, rate(theirs));
    println!("ratio:                        {:.1}", rate(ours) / rate(theirs));
    Ok(())
}

/// A receiver that takes everything, on a thread of its own.
fn receiver() -> Result<SocketAddr> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            tell.send(listener.local_addr()?)?;
            let take = post(async |_: Bytes| StatusCode::NO_CONTENT);
            axum::serve(listener, Router::new().route("/webhook", take)).await?;
            Ok(())
        })
    });
    told.recv().context("the receiver does not start")
}

/// The CPU time of one round of ours. Everything of it runs on this thread.
async fn posts(sample: &Arc<Sample>) -> Result<Duration> {
    let start = thread_cpu()?;
    let mut posting = tokio::task::JoinSet::new();
    for place in 0..AT_ONCE {
        let sample = Arc::clone(sample);
        posting.spawn(async move {
            for n in 0..POSTS / AT_ONCE {
                let status = sample.post(&format!("evt_{place}_{n}"), BODY.as_bytes()).await?;
                ensure!(status == Some(204), "a webhook was not taken: {status:?}");
            }
            Ok(())
        });
    }
    while let Some(done) = posting.join_next().await {
        done??;
    }
    Ok(thread_cpu()?.saturating_sub(start))
}

/// CPU time of this thread.
fn thread_cpu() -> Result<Duration> {
    let line = fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = line.split_whitespace().next().context("no CPU time")?;
    Ok(Duration::from_nanos(ns.parse()?))
}

/// Node, which posts as many as it is told to.
struct Node {
    child: Child,
    tell: ChildStdin,
    told: BufReader<ChildStdout>,
    version: String,
}

impl Node {
    fn start(url: &str) -> Result<Self> {
        let version = Command::new("node")
            .arg("--version")
            .output()
            .context("there is no Node")?;
        let mut child = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/webhook.mjs"))
            .args([url, BODY, &AT_ONCE.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self {
            tell: child.stdin.take().context("no way to Node")?,
            told: BufReader::new(child.stdout.take().context("no way from Node")?),
            version: String::from_utf8(version.stdout)?.trim().to_owned(),
            child,
        })
    }

    /// The CPU time of one round.
    fn posts(&mut self) -> Result<Duration> {
        writeln!(self.tell, "{POSTS}")?;
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        let us = line.trim().parse().context("Node posted nothing")?;
        Ok(Duration::from_micros(us))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill() {
            eprintln!("Node was not ended: {error}");
        }
    }
}
