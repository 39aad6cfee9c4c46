//! The whole deployment in one process: the local AWS, the real handlers, and what stands between them on AWS.
//!
//! Every resource, route, schedule, queue and permission comes from `template.yaml`. Each function is built with a role of
//! its own and reaches the local AWS only through it. What API Gateway, Lambda's queue pollers and EventBridge do is done
//! here in the same order and with the same limits, as far as a function can tell.

mod data;
mod deploy;
mod environment;
mod events;
mod function;
mod gateway;
mod listen;
mod queue;
mod schedule;
pub mod sim;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sealpost_core::app::App;
use sealpost_core::clock::Clock;
use sealpost_core::random::Random;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::fault::CrashAt;
use crate::aws::iam::Role;
use crate::aws::wire::Aws;
use crate::mailbox::{self, Mailbox, Opener};
use crate::template::Template;
use data::Data;
use function::Function;

/// How long a stop waits for what is under way.
const GRACE: Duration = Duration::from_secs(5);

/// What a system is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where state is kept; `None` keeps it in memory.
    pub data: Option<PathBuf>,
    /// Where the API listens; port 0 takes any.
    pub api: SocketAddr,
    /// Where the portal listens.
    pub portal: SocketAddr,
    /// Where the mailbox listens.
    pub mailbox: SocketAddr,
    /// Where the local AWS listens for other programs; `None` for nowhere.
    pub aws: Option<SocketAddr>,
}

/// A running system. It stops when [`System::stop`] is called or the value is dropped.
pub struct System {
    /// The local AWS.
    pub aws: Arc<Aws>,
    /// What the template declares.
    pub template: Arc<Template>,
    /// Address of the API.
    pub api: SocketAddr,
    /// Address of the portal.
    pub portal: SocketAddr,
    /// Address of the mailbox.
    pub mailbox: SocketAddr,
    /// Address of the local AWS, when it listens.
    pub aws_endpoint: Option<SocketAddr>,
    shared: Arc<Shared>,
    mailbox_listener: Mutex<Option<TcpListener>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the parts of a running system have in common.
pub(crate) struct Shared {
    aws: Arc<Aws>,
    clock: Clock,
    functions: Vec<Arc<Function>>,
    data: Data,
    /// Changes whenever the clock was moved.
    moved: watch::Sender<i64>,
    /// Becomes true when the system stops.
    stopping: watch::Sender<bool>,
}

impl System {
    /// Starts a system: makes what the template declares and is not there yet, then listens.
    ///
    /// # Errors
    /// When an address is taken or not on loopback, the folder is in use or cannot be read, or the template asks for what
    /// the local run does not know.
    pub async fn start(options: Options) -> Result<Self> {
        let data = Data::open(options.data.as_deref())?;
        let clock = Clock::system();
        clock.advance_ms(data.shift_ms()?);

        let api_listener = listen::bind("--api", options.api).await?;
        let portal_listener = listen::bind("--portal", options.portal).await?;
        let mailbox_listener = listen::bind("--mailbox", options.mailbox).await?;
        let aws_listener = match options.aws {
            Some(address) => Some(listen::bind("--aws", address).await?),
            None => None,
        };
        let api = api_listener.local_addr()?;
        let portal = portal_listener.local_addr()?;
        let mailbox = mailbox_listener.local_addr()?;
        let aws_endpoint = aws_listener.as_ref().map(TcpListener::local_addr).transpose()?;

        let (shared, template) = Shared::deploy(data, clock, &Random::system(), &format!("http://{portal}")).await?;
        let aws = Arc::clone(&shared.aws);

        let mut tasks = JoinSet::new();
        for (logical, listener) in [("CallersApi", api_listener), ("PortalApi", portal_listener)] {
            let gateway = gateway::Gateway::new(&template, logical, &shared)?;
            tasks.spawn(listen::serve(listener, Arc::clone(&shared), gateway));
        }
        if let Some(listener) = aws_listener {
            tasks.spawn(listen::serve_aws(listener, Arc::clone(&shared)));
        }
        tasks.spawn(events::run(Arc::clone(&shared)));
        for poller in shared.pollers(&template).await? {
            tasks.spawn(poller.run());
        }
        for function in &shared.functions {
            for schedule in &function.declared.schedules {
                tasks.spawn(schedule::run(
                    Arc::clone(&shared),
                    Arc::clone(function),
                    schedule.clone(),
                ));
            }
        }
        Ok(Self {
            aws,
            template,
            api,
            portal,
            mailbox,
            aws_endpoint,
            shared,
            mailbox_listener: Mutex::new(Some(mailbox_listener)),
            tasks: Mutex::new(tasks),
        })
    }

    /// Begins to answer at the mailbox's address. Until then connections to it wait.
    ///
    /// `opener` names the command that opens a sealed message, `example` the one that sends a first email. A second call
    /// changes nothing.
    pub fn open_mailbox(&self, opener: Opener, example: String) {
        let listener = self
            .mailbox_listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(listener) = listener else {
            return;
        };
        let mailbox = Mailbox {
            ses: Arc::clone(&self.aws.ses),
            clock: self.shared.clock.clone(),
            advance: {
                let shared = Arc::clone(&self.shared);
                Arc::new(move |by_ms| {
                    if let Err(error) = shared.advance_ms(by_ms) {
                        tracing::error!(cause = format!("{error:#}"), "the clock was not moved");
                    }
                })
            },
            opener,
            example,
        };
        let router = mailbox::router(mailbox);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(listen::serve(listener, Arc::clone(&self.shared), router));
    }

    /// The system's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Moves the system's clock forward and wakes whatever waits for a time.
    ///
    /// # Errors
    /// When the new time cannot be stored; the clock has then not moved.
    pub fn advance(&self, by: Duration) -> Result<()> {
        self.shared
            .advance_ms(i64::try_from(by.as_millis()).context("too far")?)
    }

    /// The application of the function whose binary has this name, under that function's role; nothing where there is no
    /// such function.
    #[must_use]
    pub fn app(&self, binary: &str) -> Option<Arc<App>> {
        self.shared.function(binary)?.app().ok()
    }

    /// The role of the function whose binary has this name.
    #[must_use]
    pub fn role(&self, binary: &str) -> Option<Arc<Role>> {
        Some(Arc::clone(&self.shared.function(binary)?.role))
    }

    /// An SDK configuration that leads to this system's AWS with every right.
    #[must_use]
    pub fn sdk(&self) -> aws_config::SdkConfig {
        function::sdk(self.aws.http_client(None), &self.shared.clock)
    }

    /// Where state is kept; `None` in memory.
    #[must_use]
    pub fn data(&self) -> Option<PathBuf> {
        self.shared.data.root().map(Path::to_owned)
    }

    /// Kills the process, as by `kill -9`, at one call of a function to AWS, counted from now.
    pub fn crash_at(&self, at: CrashAt) {
        self.aws.set_faults(Some(at.hook()));
    }

    /// Waits until no message is in a queue that a function takes from, no event is being handled and none of SES's waits to
    /// be published (what is held back does not count), and answers whether that came about in time.
    ///
    /// # Errors
    /// When a queue or SES cannot be read.
    pub async fn settled(&self, within: Duration) -> Result<bool> {
        let quiet = async {
            while !queue::is_quiet(&self.shared).await? {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(within, quiet).await {
            Ok(done) => done.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Stops: takes nothing new, waits a few seconds for what is under way, ends it.
    pub async fn stop(self) {
        self.shared.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("something was still under way at the end; the next start takes it up");
        }
        tasks.abort_all();
    }
}

impl Shared {
    /// Makes what the template declares and is not there yet, and the functions on it.
    async fn deploy(data: Data, clock: Clock, random: &Random, portal_url: &str) -> Result<(Arc<Self>, Arc<Template>)> {
        let aws = Aws::open(data.folder("aws").as_deref(), clock.clone())?;
        let template = Arc::new(deploy::deploy(&aws, portal_url).await?);
        let functions = template
            .functions
            .iter()
            .map(|declared| Function::new(declared, &aws, random).map(Arc::new));
        let functions = functions.collect::<Result<Vec<_>>>()?;
        let shared = Arc::new(Self {
            aws,
            functions,
            data,
            moved: watch::Sender::new(clock.shift_ms()),
            stopping: watch::Sender::new(false),
            clock,
        });
        Ok((shared, template))
    }

    /// What takes from every queue for its function.
    async fn pollers(self: &Arc<Self>, template: &Template) -> Result<Vec<queue::Poller>> {
        let mut pollers = Vec::new();
        for function in &self.functions {
            for source in &function.declared.queues {
                let queue = template.queues.iter().find(|queue| queue.arn == source.arn);
                let queue = queue.context("a function takes from a queue that the template does not declare")?;
                pollers.push(queue::Poller::new(self, function, source, queue).await?);
            }
        }
        Ok(pollers)
    }

    fn function(&self, binary: &str) -> Option<&Arc<Function>> {
        self.functions
            .iter()
            .find(|function| function.declared.binary == binary)
    }

    fn advance_ms(&self, by_ms: i64) -> Result<()> {
        self.data
            .store_shift_ms(self.clock.shift_ms().saturating_add(by_ms.max(0)))?;
        self.clock.advance_ms(by_ms);
        self.moved.send_replace(self.clock.shift_ms());
        Ok(())
    }

    /// Waits for the time, for a move of the clock or for the end; whichever is first.
    async fn pause(&self, moved: &mut watch::Receiver<i64>, at_most: Duration) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = tokio::time::sleep(at_most) => {}
            _ = moved.changed() => {}
            _ = stopping.wait_for(|stops| *stops) => {}
        }
    }

    fn stops(&self) -> bool {
        *self.stopping.borrow()
    }
}
