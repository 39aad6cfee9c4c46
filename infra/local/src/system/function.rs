//! One deployed function under its own role, and an invocation as Lambda makes it.
//!
//! An invocation runs in a task of its own, in an environment that it has alone. It ends at the function's timeout wherever it stands, and a panic in it is a
//! failure of that invocation alone, as on Lambda.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{self as smithy, AsyncSleep, SharedAsyncSleep};
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use lambda_runtime::{Context, LambdaEvent};
use sealpost_core::app::App;
use sealpost_core::aws::timeouts;
use sealpost_core::clock::Clock;
use sealpost_core::random::Random;
use serde_json::Value;
use tower::ServiceExt;

use super::environment::{Environment, Environments, Handler};
use crate::aws::iam::Role;
use crate::aws::random;
use crate::aws::wire::Aws;
use crate::template::{self, REGION};

/// A deployed function.
pub(super) struct Function {
    pub(super) declared: template::Function,
    pub(super) role: Arc<Role>,
    environments: Environments,
    clock: Clock,
    n_running: AtomicUsize,
}

/// Why an invocation has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the function ran into its timeout")]
    TimedOut,
    #[error("the function panicked")]
    Panicked,
    #[error("the function answered with an error")]
    Error(#[source] anyhow::Error),
}

impl Function {
    /// Builds the function as the template declares it.
    pub(super) fn new(declared: &template::Function, aws: &Arc<Aws>, random: &Random) -> Result<Self> {
        let logical = &declared.logical;
        let statements: Vec<Value> = declared.statements.iter().map(template::Statement::to_json).collect();
        let role =
            Arc::new(Role::new(&declared.name, &statements).with_context(|| format!("template.yaml, {logical}"))?);
        Ok(Self {
            declared: declared.clone(),
            environments: Environments::new(declared, &role, aws, random)?,
            role,
            clock: aws.clock.clone(),
            n_running: AtomicUsize::new(0),
        })
    }

    /// The application as an invocation would find it now.
    ///
    /// # Errors
    /// As [`Environments::take`].
    pub(super) fn app(&self) -> Result<Arc<App>> {
        let environment = self.environments.take()?;
        let app = Arc::clone(&environment.app);
        self.environments.give_back(environment);
        Ok(app)
    }

    /// How many invocations are under way.
    pub(super) fn n_running(&self) -> usize {
        self.n_running.load(Ordering::SeqCst)
    }

    /// Ends what no invocation runs in: the next one starts cold.
    pub(super) fn cool(&self) {
        self.environments.end_idle();
    }

    /// Answers an HTTP request.
    pub(super) async fn answer(&self, mut request: Request<Body>, request_id: &str) -> Result<Response<Bytes>, Failed> {
        let environment = self.environments.take().map_err(Failed::Error)?;
        let Handler::Http(router) = &environment.handler else {
            return Err(Failed::Error(anyhow::anyhow!("the function takes no HTTP requests")));
        };
        request.extensions_mut().insert(self.context(request_id));
        let router = router.clone();
        let work = async move {
            let Ok(response) = router.oneshot(request).await;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.context("the body of an answer broke off")?;
            anyhow::Ok(Response::from_parts(parts, body.to_bytes()))
        };
        self.run(environment, request_id, work).await
    }

    /// Hands over an event.
    pub(super) async fn invoke(&self, payload: Value, request_id: &str) -> Result<Value, Failed> {
        let environment = self.environments.take().map_err(Failed::Error)?;
        let Handler::Event(handle) = &environment.handler else {
            return Err(Failed::Error(anyhow::anyhow!("the function takes HTTP requests only")));
        };
        let work = handle(LambdaEvent::new(payload, self.context(request_id)));
        self.run(environment, request_id, work).await
    }

    fn context(&self, request_id: &str) -> Context {
        let timeout_ms = i64::try_from(self.declared.timeout.as_millis()).unwrap_or(i64::MAX);
        let mut context = Context::default();
        context.request_id = request_id.to_owned();
        context.deadline = u64::try_from(self.clock.now_ms().saturating_add(timeout_ms)).unwrap_or_default();
        context.invoked_function_arn = format!(
            "arn:aws:lambda:{REGION}:{}:function:{}",
            template::ACCOUNT,
            self.declared.name
        );
        context
    }

    async fn run<T: Send + 'static>(
        &self,
        environment: Environment,
        request_id: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T, Failed> {
        self.n_running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.n_running);
        environment.current.is_at(request_id);
        let mut task = tokio::spawn(work);
        // Dropping the caller must not leave an invocation behind, so the task ends with this future.
        let _end = AbortOnDrop(task.abort_handle());
        let answer = tokio::select! {
            biased;
            ended = &mut task => match ended {
                Err(_) => Err(Failed::Panicked),
                Ok(answer) => answer.map_err(Failed::Error),
            },
            // Lambda ends the process with it.
            () = self.clock.sleep(self.declared.timeout) => return Err(Failed::TimedOut),
        };
        self.environments.give_back(environment);
        answer
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets the SDK sign and sleep by the system's clock.
#[derive(Debug)]
struct SystemTimes(Clock);

impl TimeSource for SystemTimes {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.now_ms().unsigned_abs())
    }
}

impl AsyncSleep for SystemTimes {
    fn sleep(&self, duration: Duration) -> smithy::Sleep {
        let clock = self.0.clone();
        smithy::Sleep::new(async move { clock.sleep(duration).await })
    }
}

/// An SDK configuration over this HTTP client, otherwise like the one that Lambda's environment gives.
pub(super) fn sdk(client: SharedHttpClient, clock: &Clock) -> SdkConfig {
    // The local AWS looks at no signature, but the SDK wants something to sign with.
    let credentials = Credentials::new("local", "local", None, None, "local");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        // An endpoint of its own makes S3 clients name buckets in the path; the connector leads every host to the local AWS.
        .endpoint_url("http://aws.localhost")
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts())
        .sleep_impl(SharedAsyncSleep::new(SystemTimes(clock.clone())))
        .time_source(SharedTimeSource::new(SystemTimes(clock.clone())))
        .http_client(client)
        .build()
}

/// A new request id, in the form that AWS gives it; none where there is no randomness, since a call does not fail for it.
pub(super) fn request_id() -> String {
    random::id().unwrap_or_default()
}
