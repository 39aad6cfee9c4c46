//! Promise: killing the process between any two steps and starting it again loses no accepted email and sends none twice.
//!
//! The real program is killed at one call to AWS, before or after its effect, and started again on the same folder. A
//! client that saw no answer repeats its request under the same idempotency key, as a client does; one that saw an answer
//! repeats it as well, and must get the same one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use sealpost_local::template::REGION;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use crate::lambda::target;
use crate::rig::{number, row};

/// How long a start, or a state that must come about, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many kills tests/run tries; `SEALPOST_RIG_KILLS` asks for another number.
const MOST_KILLS: usize = 160;
/// How many programs run at the same time.
const AT_ONCE: usize = 2;
/// The kinds of calls at which a kill must have been tried. `TransactWriteItems` is the acceptance under `send`, claim,
/// fence, record and settlement under `encrypt`, and what SES said under `tracking`.
const KINDS: [(&str, &str); 8] = [
    ("send", "PutObject"),
    ("send", "TransactWriteItems"),
    ("send", "SendMessage"),
    ("encrypt", "TransactWriteItems"),
    ("encrypt", "GetObject"),
    ("encrypt", "PutObjectRetention"),
    ("encrypt", "SendEmail"),
    ("tracking", "TransactWriteItems"),
];

/// A folder under the build's own, gone when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    #[cfg(feature = "planted")]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Another folder with the same files.
    pub(crate) fn copy(&self, name: &str) -> Self {
        let copy = Self::new(name);
        copy_files(&self.0, &copy.0);
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {error}", self.0.display());
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_files(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The program, started.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) api: String,
    mailbox: String,
    aws: String,
    pub(crate) api_key: String,
    http: reqwest::Client,
    log: PathBuf,
}

impl Program {
    pub(crate) async fn start(folder: &Folder, crash_at: Option<&str>) -> Self {
        let program = target().join("sealpost");
        assert!(
            program.exists(),
            "{} is missing; use tests/run, which builds it",
            program.display()
        );
        let log = folder
            .0
            .join(if crash_at.is_some() { "first.log" } else { "second.log" });
        let mut command = Command::new(program);
        command.args(["up", "--json", "--data"]).arg(&folder.0);
        for listener in ["--api", "--portal", "--mailbox", "--aws"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        if let Some(crash_at) = crash_at {
            command.args(["--crash-at", crash_at]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        tokio::time::timeout(PATIENCE, out.read_line(&mut line))
            .await
            .expect("it starts")
            .unwrap();
        // A sweep may make the fatal call before anything is printed to the end.
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Self {
            child,
            api: text("api"),
            mailbox: text("mailbox"),
            aws: text("aws"),
            api_key: text("api_key"),
            http,
            log,
        }
    }

    pub(crate) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Option<(u16, Value)> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.api))
            .bearer_auth(&self.api_key);
        if let Some(body) = body {
            request = request.header("idempotency-key", key).body(body.to_string());
            request = request.header("content-type", "application/json");
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_slice(&answer.bytes().await.ok()?).ok()?))
    }

    /// The ids in the answer to a request that was accepted; `None` when no such answer came.
    async fn send(&self, path: &str, body: &Value, key: &str) -> Option<Vec<String>> {
        let (status, answer) = self.call(reqwest::Method::POST, path, Some(body), key).await?;
        let one = [answer.clone()];
        let accepted = answer["data"].as_array().map_or(&one[..], Vec::as_slice);
        let ids = accepted
            .iter()
            .map(|email| email["id"].as_str().unwrap_or_default().to_owned());
        (status == 200).then(|| ids.collect())
    }

    pub(crate) async fn advance(&self, by: &str) {
        let url = format!("{}/clock", self.mailbox);
        let moved = self
            .http
            .post(url)
            .body(json!({ "advance": by }).to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(moved.status(), 200);
    }

    /// How many mails SES was ever handed for an address.
    pub(crate) async fn n_mails(&self, address: &str) -> usize {
        let url = format!("{}/messages?to={address}", self.mailbox);
        let list = self.http.get(url).send().await.unwrap().bytes().await.unwrap();
        let list: Value = serde_json::from_slice(&list).unwrap();
        list["data"].as_array().unwrap().len()
    }

    /// Waits until the archive holds so many messages.
    async fn until_archived(&self, n: usize, at: &str) {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_s3::config::Region::new(REGION))
            .endpoint_url(&self.aws)
            .credentials_provider(aws_sdk_s3::config::Credentials::new(
                "local", "local", None, None, "local",
            ))
            .force_path_style(true)
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        let buckets = s3.list_buckets().send().await.unwrap();
        let names = buckets.buckets().iter().filter_map(|bucket| bucket.name());
        let archive = names
            .into_iter()
            .find(|name| name.contains("archive"))
            .unwrap()
            .to_owned();
        let mut n_objects = 0;
        for _ in 0..200 {
            let listed = s3.list_object_versions().bucket(&archive).send().await.unwrap();
            n_objects = listed.versions().len();
            assert!(n_objects >= n, "{at}: a message is gone");
            if n_objects == n {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{at}: the archive holds {n_objects} messages of {n} emails")
    }

    /// Waits for the program to die, and answers at which call it did: role, operation and phase.
    pub(crate) async fn death(&mut self, within: Duration) -> Option<(String, String, String)> {
        let ended = tokio::time::timeout(within, self.child.wait()).await.ok()?;
        ended.unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        let plain: String = log.replace('\u{1b}', "");
        let line = plain.lines().find(|line| line.contains("killed at a call"));
        let line = line.unwrap_or_else(|| panic!("it ended in another way:\n{log}"));
        let known = |name: &str, values: &[&str]| {
            let value = values.iter().find(|value| line.contains(*value));
            (*value.unwrap_or_else(|| panic!("no {name} in {line}"))).to_owned()
        };
        let role = known(
            "role",
            &[
                "sealpost-send",
                "sealpost-encrypt",
                "sealpost-tracking",
                "sealpost-webhook",
                "sealpost-retention",
            ],
        );
        let role = role.trim_start_matches("sealpost-");
        let operations = [
            "TransactWriteItems",
            "PutObjectRetention",
            "PutObject",
            "SendMessageBatch",
            "SendMessage",
            "SendEmail",
            "GetObject",
            "ListObjectsV2",
            "BatchGetItem",
            "GetItem",
            "UpdateItem",
            "GetAccount",
            "ReceiveMessage",
            "DeleteMessage",
            "Query",
            "Decrypt",
            "GenerateDataKey",
            "Sign",
        ];
        let operation = known("operation", &operations).replace("SendMessageBatch", "SendMessage");
        Some((role.to_owned(), operation, known("phase", &["Before", "After"])))
    }
}

/// What a client sends: one email to four recipients who get it in different ways, a batch of two, and one that is scheduled
/// for a time that comes while the program runs.
fn requests(soon: jiff::Timestamp) -> [(&'static str, Value, &'static str); 3] {
    let mut later = json!({ "from": "care@clinic.test", "to": ["g@patient.test", "h@clinic2.test"], "subject": "Later", "text": "Now." });
    later["scheduled_at"] = json!(soon.to_string());
    let email = |to: Value| json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." });
    [
        (
            "/emails",
            email(json!([
                "a@clinic2.test",
                "b@no-tls.test",
                "c@mta-sts.test",
                "d@patient.test"
            ])),
            "one",
        ),
        (
            "/emails/batch",
            json!([email(json!("e@patient.test")), email(json!("f@clinic2.test"))]),
            "two",
        ),
        ("/emails", later, "three"),
    ]
}

/// How many emails these are.
const N_EMAILS: usize = 4;

/// What became of one run.
struct Outcome {
    killed: Option<(String, String, String)>,
    n_delivered: usize,
}

/// Runs, kills, starts again, repeats, waits, and looks.
async fn run(seeded: &Folder, n: usize, at: &str) -> Outcome {
    let folder = seeded.copy(&n.to_string());
    let mut first = Program::start(&folder, Some(at)).await;
    let mut answers = BTreeMap::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test runs on the machine's clock"
    )]
    let soon = jiff::Timestamp::now() + Duration::from_millis(1_200);
    for (path, body, key) in requests(soon) {
        answers.insert(key, first.send(path, &body, key).await);
    }
    let killed = first.death(Duration::from_secs(4)).await;
    if killed.is_none() {
        first.child.kill().await.unwrap();
    }
    let second = again(&folder).await;
    let mut emails = Vec::new();
    for (path, body, key) in requests(soon) {
        let ids = accepted(&second, path, &body, key).await;
        if let Some(Some(first)) = answers.get(key) {
            assert_eq!(*first, ids, "{at}: a repetition gets another answer");
        }
        emails.extend(ids);
    }
    // What SES has to say of the first life comes first. Then leases end, deadlines pass, and the sweep runs in between.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for by in ["PT2M", "PT2M", "PT11M", "PT2M"] {
        second.advance(by).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut n_delivered = 0;
    for id in emails {
        for recipient in settled(&second, &id, at).await {
            let address = recipient["address"].as_str().unwrap();
            let n_mails = second.n_mails(address).await;
            // Whatever was in doubt was settled by SES's own event, or sent once more since there was none.
            assert_eq!(recipient["status"], "delivered", "{at}: {killed:?}: {recipient}");
            assert_eq!(n_mails, 1, "{at}: {killed:?}: SES has {n_mails} mails for {address}");
            n_delivered += 1;
        }
    }
    assert_eq!(n_delivered, 8, "{at}: {killed:?}: a recipient is missing");
    if killed.as_ref().is_some_and(|(role, ..)| role == "send") {
        // What the first life stored and did not accept goes; every email that was accepted keeps its message.
        second.advance("P2D").await;
        second.until_archived(N_EMAILS, at).await;
    }
    Outcome { killed, n_delivered }
}

pub(crate) async fn again(folder: &Folder) -> Program {
    let program = Program::start(folder, None).await;
    assert!(
        !program.api.is_empty(),
        "it does not start again:\n{}",
        fs::read_to_string(&program.log).unwrap()
    );
    program
}

/// Repeats a request until it is accepted, as a client does. A batch that was cut off keeps its key for two minutes.
async fn accepted(program: &Program, path: &str, body: &Value, key: &str) -> Vec<String> {
    for _ in 0..5 {
        if let Some(ids) = program.send(path, body, key).await {
            return ids;
        }
        program.advance("PT1M").await;
    }
    panic!(
        "{path} is not accepted: {:?}",
        program.call(reqwest::Method::POST, path, Some(body), key).await
    )
}

async fn settled(program: &Program, id: &str, at: &str) -> Vec<Value> {
    let mut email = Value::Null;
    for n in 0..100 {
        let answer = program
            .call(reqwest::Method::GET, &format!("/emails/{id}"), None, "")
            .await;
        let (status, read) = answer.unwrap();
        assert_eq!(status, 200, "{at}: {id} is gone: {read}");
        email = read;
        let recipients = email["recipients"].as_array().unwrap();
        if recipients
            .iter()
            .all(|r| !matches!(r["status"].as_str(), Some("scheduled" | "queued" | "sending" | "sent")))
        {
            return recipients.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        if n % 20 == 19 {
            program.advance("PT2M").await;
        }
    }
    panic!(
        "{at}: {id} is never settled: {email}\n{}",
        fs::read_to_string(&program.log).unwrap()
    )
}

/// A folder with the demo's tenant and what is known of one domain, from which every run starts.
async fn seeded() -> Folder {
    let folder = Folder::new("seeded");
    let mut program = again(&folder).await;
    let path = "/recipient-domains/no-tls.test";
    let put = program
        .call(reqwest::Method::PUT, path, Some(&json!({ "tls": "fails" })), "domain")
        .await;
    assert_eq!(put.unwrap().0, 200);
    program.child.kill().await.unwrap();
    folder
}

/// Where the program is killed, in the words of `--crash-at`: at the first call of every kind, and then at any, counted
/// from the start. A run without a kill makes about 160 calls, the last of them for the scheduled email. Those of the
/// acceptances come first, one after the other; deliveries run at the same time, so that which of them makes the n-th call
/// differs between runs.
fn points() -> Vec<String> {
    let n = number("SEALPOST_RIG_KILLS").map_or(MOST_KILLS, |n| usize::try_from(n).unwrap());
    let phases = ["before", "after"];
    let kinds = KINDS
        .iter()
        .flat_map(|(role, operation)| phases.map(|phase| format!("1:{phase}:{role}:{operation}")));
    let any = (1..=158).step_by(2).chain((2..=158).step_by(2)).cycle();
    let any = any.flat_map(|n| phases.map(|phase| format!("{n}:{phase}")));
    kinds.chain(any).take(n).collect()
}

/// What all runs together came to.
#[derive(Default)]
struct Total {
    n_points: usize,
    n_killed: usize,
    n_delivered: usize,
    tried: BTreeMap<(String, String), usize>,
}

async fn run_all(seeded: &Arc<Folder>, points: Vec<String>) -> Total {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = tokio::task::JoinSet::new();
    for (n, at) in points.into_iter().enumerate() {
        let (seeded, places) = (Arc::clone(seeded), Arc::clone(&places));
        runs.spawn(async move {
            let _place = places.acquire().await.unwrap();
            run(&seeded, n, &at).await
        });
    }
    let mut total = Total::default();
    while let Some(done) = runs.join_next().await {
        let outcome = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        total.n_points += 1;
        total.n_delivered += outcome.n_delivered;
        if let Some((role, operation, _)) = outcome.killed {
            total.n_killed += 1;
            *total.tried.entry((role, operation)).or_default() += 1;
        }
    }
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_nothing_and_sends_nothing_twice() {
    let seeded = Arc::new(seeded().await);
    let total = run_all(&seeded, points()).await;
    let Total {
        n_points,
        n_killed,
        n_delivered,
        tried,
    } = &total;
    println!("{n_points} points, {n_killed} kills, {n_delivered} delivered, each once; {tried:?}");
    row("kill -9 between two calls, and a start on the same files", *n_killed, 0);
    assert!(
        *n_killed * 16 >= *n_points * 15,
        "only {n_killed} of {n_points} runs were killed"
    );
    for (role, operation) in KINDS {
        let kind = (role.to_owned(), operation.to_owned());
        assert!(tried.contains_key(&kind), "no kill at {kind:?}: {tried:?}");
    }
}
