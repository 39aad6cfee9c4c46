//! The wire between an SDK client and the local AWS in the same process: an HTTP client that opens no connection.
//!
//! What the SDK would send goes to [`Aws::dispatch`] as it is, so the SDK's own serialisation, signing and retries are the
//! ones that run in production. Between the two sits the fault hook.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use sealpost_core::aws::site::Site;

use super::error::AwsError;
use super::fault::batch::{Rest, halve};
use super::fault::refusal::{conflict, impossible, throttled};
use super::fault::{self, Call, Current, Failure, Hook, Pace, Phase, Verdict};
use super::iam::Role;
use super::wire::{Aws, Caller, Reply, Service, Target, denied, error, garbage};

impl Aws {
    /// The HTTP client for the SDK clients of a function with this role; `None` is the system's own, which may do
    /// everything and is neither counted nor broken by faults.
    #[must_use]
    pub fn http_client(self: &Arc<Self>, role: Option<Arc<Role>>) -> SharedHttpClient {
        SharedHttpClient::new(InProcess {
            aws: Arc::clone(self),
            caller: Caller { role },
            current: None,
        })
    }

    /// The same for one execution environment of a function: its calls name the invocation that it is at.
    pub(crate) fn client_of(self: &Arc<Self>, role: &Arc<Role>, current: &Arc<Current>) -> SharedHttpClient {
        SharedHttpClient::new(InProcess {
            aws: Arc::clone(self),
            caller: Caller {
                role: Some(Arc::clone(role)),
            },
            current: Some(Arc::clone(current)),
        })
    }

    /// Puts a fault hook on the wire of every function's client, or takes it away. Counting starts again at 1.
    pub fn set_faults(&self, hook: Option<Hook>) {
        *self.hook.write().unwrap_or_else(PoisonError::into_inner) = hook;
        self.n_calls.store(0, Ordering::SeqCst);
    }

    /// Puts a pace on the wire of every function's client, in the place of a hook, or takes it away.
    pub fn set_pace(&self, pace: Option<Pace>) {
        *self.pace.write().unwrap_or_else(PoisonError::into_inner) = pace;
    }

    /// How many calls functions' clients have made since the last [`Aws::set_faults`].
    #[must_use]
    pub fn n_calls(&self) -> u64 {
        self.n_calls.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct InProcess {
    aws: Arc<Aws>,
    caller: Caller,
    current: Option<Arc<Current>>,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpClient for InProcess {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move { this.exchange(request).await })
    }
}

impl InProcess {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let mut request = collect(request).await?;
        let watched = self.watch(&request);
        let mut rest = None;
        if let Some(watched) = &watched {
            match watched.before(&mut request).await {
                Fate::Goes => {}
                Fate::Halved(left) => rest = Some(left),
                Fate::Ends(failure) => return failure,
                Fate::Late(after) => {
                    let this = self.clone();
                    tokio::spawn(async move {
                        this.aws.clock.sleep(after).await;
                        this.aws.dispatch(&this.caller, request).await
                    });
                    return std::future::pending().await;
                }
            }
        }
        let reply = self.aws.dispatch(&self.caller, request).await;
        if let Some(watched) = &watched
            && let Some(failure) = watched.after().await
        {
            return failure;
        }
        match (reply, rest) {
            (Reply::Answer(answer), None) => to_sdk(answer),
            (Reply::Answer(answer), Some(rest)) => to_sdk(rest.add_to(answer)),
            (Reply::Lost, _) => Err(broken()),
        }
    }

    /// What the hook has to know of a call, when there is a hook and the caller is a function.
    fn watch(&self, request: &Request<Bytes>) -> Option<Watched> {
        let role = self.caller.role.as_ref()?;
        let n = self.aws.n_calls.fetch_add(1, Ordering::SeqCst) + 1;
        let pace = self.aws.pace.read().unwrap_or_else(PoisonError::into_inner).clone();
        let hook = self.aws.hook.read().unwrap_or_else(PoisonError::into_inner).clone();
        let watch = pace.map(Watch::Pace).or(hook.map(Watch::Hook))?;
        let Target { service, operation } = Target::of(request).ok()?;
        let call = Call {
            service: service.as_str(),
            operation,
            role: role.name().to_owned(),
            n,
            site: Site::current(),
            invocation: self.current.as_ref().and_then(|current| current.invocation()),
            request: Arc::new(request.clone()),
        };
        Some(Watched { watch, service, call })
    }
}

/// Who is asked.
enum Watch {
    Hook(Hook),
    Pace(Pace),
}

struct Watched {
    watch: Watch,
    service: Service,
    call: Call,
}

/// What the hook made of a call before its effect.
enum Fate {
    Goes,
    /// Only its first half goes on.
    Halved(Rest),
    Ends(Result<HttpResponse, ConnectorError>),
    /// It goes on when its caller is no longer there.
    Late(Duration),
}

impl Watched {
    /// Asks the hook before the effect.
    async fn before(&self, request: &mut Request<Bytes>) -> Fate {
        let (service, operation) = (self.service, self.call.operation.as_str());
        let failure = match self.ask(Phase::Before).await {
            Verdict::Late(after) => return Fate::Late(after),
            verdict => self.obey(verdict, Phase::Before).await,
        };
        let answer = match failure {
            None => return Fate::Goes,
            Some(Failure::Partial) => match halve(service, operation, request) {
                Some(rest) => match rest.alone() {
                    None => return Fate::Halved(rest),
                    Some(answer) => answer,
                },
                None => impossible(service, &self.call, "Partial"),
            },
            Some(Failure::Conflict) => conflict(service, operation, request.body())
                .unwrap_or_else(|| impossible(service, &self.call, "Conflict")),
            Some(failure) => return Fate::Ends(self.failed(failure)),
        };
        Fate::Ends(to_sdk(answer))
    }

    /// Asks after the effect; answers what the caller sees when the call is to fail.
    async fn after(&self) -> Option<Result<HttpResponse, ConnectorError>> {
        let verdict = self.ask(Phase::After).await;
        Some(self.failed(self.obey(verdict, Phase::After).await?))
    }

    async fn ask(&self, phase: Phase) -> Verdict {
        match &self.watch {
            Watch::Hook(hook) => hook(&self.call, phase),
            Watch::Pace(pace) => pace(self.call.clone(), phase).await,
        }
    }

    /// How the call is to fail, where it comes back at all.
    async fn obey(&self, verdict: Verdict, phase: Phase) -> Option<Failure> {
        match verdict {
            Verdict::Go => None,
            Verdict::Fail(failure) => Some(failure),
            Verdict::Never | Verdict::Late(_) => std::future::pending().await,
            Verdict::Exit => {
                let Call { operation, role, n, .. } = &self.call;
                tracing::warn!(operation, role, n, ?phase, "killed at a call");
                fault::kill_self()
            }
        }
    }

    fn failed(&self, failure: Failure) -> Result<HttpResponse, ConnectorError> {
        let refusal = |refusal: &AwsError| to_sdk(error(Some(self.service), refusal));
        match failure {
            Failure::TimedOut => Err(ConnectorError::timeout(
                "the local AWS was told to let this call time out".into(),
            )),
            Failure::Reset => Err(broken()),
            Failure::Garbage => to_sdk(garbage(self.service)),
            Failure::ServerError => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                refusal(&AwsError::new(status, "InternalServerError", "The service failed."))
            }
            Failure::AccessDenied => refusal(&denied(self.service, "The role does not allow this call.")),
            Failure::Throttled => refusal(&throttled(self.service)),
            Failure::Conflict | Failure::Partial => to_sdk(impossible(
                self.service,
                &self.call,
                "Conflict or Partial after its effect",
            )),
        }
    }
}

fn broken() -> ConnectorError {
    ConnectorError::io("the connection broke before an answer came".into())
}

/// The request with its whole body, and with the host that an HTTP client would have set.
async fn collect(request: HttpRequest) -> Result<Request<Bytes>, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
    let authority = parts
        .uri
        .authority()
        .map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        parts.headers.entry(HOST).or_insert(host);
    }
    Ok(Request::from_parts(parts, body))
}

fn to_sdk(answer: http::Response<Bytes>) -> Result<HttpResponse, ConnectorError> {
    let answer = answer.map(SdkBody::from);
    HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
}
