//! A function as Lambda runs it: its real binary, which takes events from the Runtime API and leaves its answers there.
//!
//! The binary reaches the local AWS over HTTP under the environment that `template.yaml` gives it. Its events are the
//! files in `events/`, of which every one is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use sealpost_core::config;
use sealpost_local::template::{ACCOUNT, REGION};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

use crate::system::Running;

/// What stands in every event where a caller's text stands: neither answers nor logs may show it.
pub(crate) const CANARY: &str = "canary-lambda-6b2d";
/// How long an unoptimised binary may take for one event.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running binary, its Runtime API and what it logged.
pub(crate) struct Function {
    events: mpsc::Sender<(String, Bytes)>,
    outcomes: mpsc::Receiver<(String, Outcome)>,
    n_invocations: usize,
    log: PathBuf,
    _child: Child,
}

/// What came back for an event: an answer, or an error as Lambda shows it.
pub(crate) type Outcome = Result<Value, Value>;

/// An answer of a function behind API Gateway.
pub(crate) struct Answer {
    pub(crate) status: u64,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Status, and the error's name or nothing.
    pub(crate) fn verdict(&self) -> (u64, String) {
        let name = self.json()["name"].as_str().unwrap_or_default().to_owned();
        (self.status, name)
    }
}

/// The two ends that the Runtime API connects.
struct Runtime {
    events: Mutex<mpsc::Receiver<(String, Bytes)>>,
    outcomes: mpsc::Sender<(String, Outcome)>,
}

impl Function {
    /// Starts a function's binary; `more` goes over the variables of the template.
    pub(crate) async fn start(running: &Running, binary: &str, more: &[(&str, &str)]) -> Self {
        let (events, taken) = mpsc::channel(1);
        let (answered, outcomes) = mpsc::channel(1);
        let runtime = Arc::new(Runtime {
            events: Mutex::new(taken),
            outcomes: answered,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(runtime);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

        let declared = running
            .system
            .template
            .functions
            .iter()
            .find(|function| function.binary == binary)
            .unwrap();
        let program = target().join(binary);
        assert!(
            program.exists(),
            "{} is missing; use tests/run, which builds it",
            program.display()
        );
        let n = std::process::id();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{binary}-{n}-{}.log", address.port()));
        let child = Command::new(program)
            .env_clear()
            .envs(&declared.environment)
            // As in the local run: `.test` domains have no DNS.
            .env(config::DOMAIN_FACTS, "table")
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", &declared.name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env(
                "AWS_ENDPOINT_URL",
                format!("http://{}", running.system.aws_endpoint.unwrap()),
            )
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            events,
            outcomes,
            n_invocations: 0,
            log,
            _child: child,
        }
    }

    /// Hands over an event and waits for what comes back, which shows nothing of the event's canary.
    pub(crate) async fn invoke(&mut self, event: &Value) -> Outcome {
        self.n_invocations += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.n_invocations);
        let event = Bytes::from(serde_json::to_vec(event).unwrap());
        self.events.send((id.clone(), event)).await.unwrap();
        let outcome = tokio::time::timeout(PATIENCE, self.outcomes.recv()).await;
        let Ok(Some((answered, outcome))) = outcome else {
            panic!("no answer; the log says:\n{}", self.log());
        };
        assert_eq!(answered, id);
        outcome
    }

    /// Hands over a request from API Gateway.
    pub(crate) async fn request(&mut self, event: &Value) -> Answer {
        let answer = self
            .invoke(event)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        let mut headers = BTreeMap::new();
        for (name, values) in answer["multiValueHeaders"].as_object().unwrap() {
            headers.insert(name.to_ascii_lowercase(), values[0].as_str().unwrap().to_owned());
        }
        assert_eq!(answer["isBase64Encoded"], false);
        let body = answer["body"].as_str().unwrap_or_default().to_owned();
        Answer {
            status: answer["statusCode"].as_u64().unwrap(),
            headers,
            body,
        }
    }

    /// What the function logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Err(error) = fs::remove_file(&self.log)
        {
            eprintln!("{} was not removed: {error}", self.log.display());
        }
    }
}

/// The events of a function by name, without the ending.
pub(crate) fn events(binary: &str) -> BTreeMap<String, Value> {
    let folder = root().join("events").join(binary);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let events = files.map(|file| {
        assert_eq!(file.extension().unwrap(), "json", "{}", file.display());
        let event = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        (file.file_stem().unwrap().to_str().unwrap().to_owned(), event)
    });
    events.collect()
}

/// The names of a function's events are those of its table of expectations.
pub(crate) fn assert_every_event_is_used<'a>(binary: &str, used: impl IntoIterator<Item = &'a str>) {
    let files: BTreeSet<String> = events(binary).into_keys().collect();
    let used: BTreeSet<String> = used.into_iter().map(str::to_owned).collect();
    assert_eq!(files, used, "events/{binary} and its test differ");
}

/// An event with its placeholders, such as `{{api_key}}`, filled in.
pub(crate) fn fill(event: &Value, values: &[(&str, &str)]) -> Value {
    match event {
        Value::String(text) => {
            let mut text = text.clone();
            for (name, value) in values {
                text = text.replace(&format!("{{{{{name}}}}}"), value);
            }
            assert!(!text.contains("{{"), "a placeholder is left: {text}");
            Value::String(text)
        }
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), fill(value, values)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    // Without a next event the function waits, as a frozen one does on Lambda.
    let Some((id, event)) = runtime.events.lock().await.recv().await else {
        return std::future::pending().await;
    };
    Response::builder()
        .header("lambda-runtime-aws-request-id", id)
        .header("lambda-runtime-deadline-ms", "4102444800000")
        .header(
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:test"),
        )
        .header(
            "lambda-runtime-trace-id",
            "Root=1-00000000-000000000000000000000000;Sampled=0",
        )
        .header("content-type", "application/json")
        .body(Body::from(event))
        .unwrap()
}

async fn response(State(runtime): State<Arc<Runtime>>, Segment(id): Segment<String>, body: Bytes) -> StatusCode {
    let outcome = Ok(serde_json::from_slice(&body).unwrap());
    runtime.outcomes.send((id, outcome)).await.unwrap();
    StatusCode::ACCEPTED
}

async fn error(State(runtime): State<Arc<Runtime>>, Segment(id): Segment<String>, body: Bytes) -> StatusCode {
    let outcome = Err(serde_json::from_slice(&body).unwrap());
    runtime.outcomes.send((id, outcome)).await.unwrap();
    StatusCode::ACCEPTED
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder of this build's binaries, above the one that holds this test.
pub(crate) fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().to_owned()
}

#[tokio::test]
async fn every_folder_of_events_is_a_function() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let running = Running::start().await;
    let binaries = running
        .system
        .template
        .functions
        .iter()
        .map(|function| function.binary.clone());
    assert_eq!(folders, binaries.collect());
}
