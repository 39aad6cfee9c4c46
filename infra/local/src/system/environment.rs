//! Execution environments: the processes in which Lambda runs a function.
//!
//! One has one invocation at a time and remembers from one to the next what its process remembers. An invocation gets the
//! idle environment that was used last, or a new one where none is idle; an environment that is killed or runs into the
//! function's timeout is gone with all it knew ("Understanding the Lambda execution environment lifecycle").

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use lambda_runtime::LambdaEvent;
use sealpost_core::app::App;
use sealpost_core::config::{self, Config};
use sealpost_core::random::Random;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::function::sdk;
use crate::aws::fault::Current;
use crate::aws::iam::Role;
use crate::aws::wire::Aws;
use crate::template;

/// A process of a function.
pub(super) struct Environment {
    pub(super) app: Arc<App>,
    pub(super) handler: Handler,
    /// Which invocation it is at.
    pub(super) current: Arc<Current>,
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Value>> + Send>>;

pub(super) enum Handler {
    Http(Router),
    Event(Box<dyn Fn(LambdaEvent<Value>) -> Answer + Send + Sync>),
}

/// The environments of one function.
pub(super) struct Environments {
    logical: String,
    binary: String,
    config: Config,
    role: Arc<Role>,
    aws: Arc<Aws>,
    random: Random,
    /// Those without an invocation, the one that was used last at the end.
    idle: Mutex<Vec<Environment>>,
}

impl Environments {
    /// The first environment of a function, as the template declares it.
    pub(super) fn new(
        declared: &template::Function,
        role: &Arc<Role>,
        aws: &Arc<Aws>,
        random: &Random,
    ) -> Result<Self> {
        let logical = &declared.logical;
        let lookup = |name: &str| match name {
            // The one variable with another value than on AWS: `.test` domains have no DNS.
            config::DOMAIN_FACTS => Some("table".to_owned()),
            name => declared.environment.get(name).cloned(),
        };
        let config = Config::from_lookup(lookup).with_context(|| format!("template.yaml, {logical}"))?;
        let all = Self {
            logical: logical.clone(),
            binary: declared.binary.clone(),
            config,
            role: Arc::clone(role),
            aws: Arc::clone(aws),
            random: random.clone(),
            idle: Mutex::default(),
        };
        let first = all.start()?;
        match &first.handler {
            Handler::Http(_) if declared.queues.is_empty() && declared.schedules.is_empty() => {}
            Handler::Event(_) if declared.routes.is_empty() => {}
            _ => bail!(
                "template.yaml, {logical}: an event of a kind that {} does not take",
                declared.binary
            ),
        }
        all.give_back(first);
        Ok(all)
    }

    /// An environment for one invocation.
    pub(super) fn take(&self) -> Result<Environment> {
        let idle = self.lock().pop();
        idle.map_or_else(|| self.start(), Ok)
    }

    /// An environment whose invocation has ended waits for the next.
    pub(super) fn give_back(&self, environment: Environment) {
        self.lock().push(environment);
    }

    /// Ends those without an invocation, as Lambda does with what is idle for some time.
    pub(super) fn end_idle(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Environment>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<Environment> {
        let current = Arc::new(Current::default());
        let sdk = sdk(self.aws.client_of(&self.role, &current), &self.aws.clock);
        let app = App::new(self.config.clone(), &sdk, self.aws.clock.clone(), self.random.clone());
        let handler = match self.binary.as_str() {
            "send" => Handler::Http(send::router(Arc::clone(&app))),
            "portal" => Handler::Http(portal::router(Arc::clone(&app))),
            "admin" => Handler::Http(admin::router(Arc::clone(&app))),
            "encrypt" => events(&app, encrypt::handle),
            "tracking" => events(&app, tracking::handle),
            "webhook" => events(&app, webhook::handle),
            "retention" => events(&app, retention::handle),
            other => bail!("template.yaml, {}: the local run has no function {other}", self.logical),
        };
        Ok(Environment { app, handler, current })
    }
}

/// A handler whose events and answers are JSON on the outside, as Lambda has them.
fn events<E, R, F, Fut>(app: &Arc<App>, handle: F) -> Handler
where
    E: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
    F: Fn(Arc<App>, LambdaEvent<E>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = sealpost_core::error::Result<R>> + Send + 'static,
{
    let app = Arc::clone(app);
    Handler::Event(Box::new(move |event| {
        let app = Arc::clone(&app);
        Box::pin(async move {
            let payload = serde_json::from_value(event.payload).context("the function does not know this event")?;
            let answer = handle(app, LambdaEvent::new(payload, event.context)).await?;
            Ok(serde_json::to_value(answer)?)
        })
    }))
}
