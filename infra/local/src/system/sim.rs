//! The whole deployment in one thread, where a seed decides everything that is left to chance.
//!
//! It is the real functions on the real local AWS. What differs is who lets things happen: every call to AWS waits before its
//! effect and after it until it is let go, one at a time, so that invocations meet in every order; queues, schedules and
//! SES's events move only when told to; the time stands still between two steps, and so six years may pass in none. The
//! same seed and the same orders give the same steps, which a hash over them shows ([`Sim::trace`]).
//!
//! It runs within [`run`], whose runtime has one thread.

mod desk;
mod door;
mod fate;
mod schedule;
mod time;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_config::SdkConfig;
use axum::body::Body;
use bytes::Bytes;
use fastrand::Rng;
use http::Request;
use http_body_util::{BodyExt, Full};
use sealpost_core::app::App;
use sealpost_core::clock::{Clock, Source};
use sealpost_core::random::Random;
use tokio::task::JoinHandle;

use super::Shared;
use super::data::Data;
use super::function;
use super::gateway::Gateway;
use super::queue::Poller;
use crate::aws::fault::Call;
use crate::aws::random;
use crate::aws::wire::Aws;
use crate::template::Template;
use desk::Desk;
pub use door::{Answer, Asked, Door};
pub use fate::{Fate, Mischief};
use schedule::Scheduled;
use time::Time;

/// When every run begins: 2026-12-01 08:00:00 UTC, in milliseconds.
pub const BEGIN_MS: i64 = 1_796_112_000_000;
/// What one step takes.
const STEP: Duration = Duration::from_millis(1);
/// How often a task may be passed on from one to the next until all wait: more than any chain of wake-ups is long.
const MOST_YIELDS: usize = 256;
/// After so many rounds in which nothing changed all wait.
const QUIET_YIELDS: usize = 12;

/// Runs `work` alone in one thread.
///
/// # Errors
/// When there is no runtime; what `work` answers.
pub fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(work)
}

/// A deployment under a seed.
pub struct Sim {
    /// The local AWS.
    pub aws: Arc<Aws>,
    /// What the template declares.
    pub template: Arc<Template>,
    /// Chance, from the seed.
    pub dice: Rng,
    shared: Arc<Shared>,
    time: Arc<Time>,
    api: Gateway,
    portal: Gateway,
    pollers: Vec<Arc<Poller>>,
    schedules: Vec<Scheduled>,
    desk: Arc<Desk>,
    running: Vec<Running>,
    answered: Vec<(Asked, Option<Answer>)>,
    /// Invocations whose calls are no longer answered.
    stalled: BTreeSet<Arc<str>>,
    has_begun: bool,
    effects: Vec<Call>,
    /// What a call takes, where calls are let go by the time and not by chance.
    call_takes: Option<Duration>,
    n_invocations: u64,
    trace: DefaultHasher,
    n_steps: u64,
    story: Option<Vec<String>>,
}

struct Running {
    id: Arc<str>,
    asked: Option<Asked>,
    task: JoinHandle<Option<Answer>>,
}

impl Sim {
    /// A fresh deployment in memory. Its calls are let go at once until [`Sim::begin`].
    ///
    /// # Errors
    /// When the template asks for what the local run does not know.
    pub async fn start(seed: u64) -> Result<Self> {
        let random = seeded(seed);
        random::draw_from(random.clone());
        // What the SDK draws for itself: how long it waits before it tries again.
        fastrand::seed(seed);
        let time = Arc::new(Time::new(BEGIN_MS));
        let clock = Clock::of(Arc::clone(&time) as Arc<dyn Source>);
        let (shared, template) = Shared::deploy(Data::open(None)?, clock, &random, "http://portal.test").await?;
        let pollers = shared.pollers(&template).await?.into_iter().map(Arc::new).collect();
        let schedules = shared.functions.iter().flat_map(Scheduled::of);
        Ok(Self {
            aws: Arc::clone(&shared.aws),
            dice: Rng::with_seed(seed),
            api: Gateway::new(&template, "CallersApi", &shared)?,
            portal: Gateway::new(&template, "PortalApi", &shared)?,
            pollers,
            schedules: schedules.collect(),
            desk: Arc::new(Desk::new(&time)),
            running: Vec::new(),
            answered: Vec::new(),
            stalled: BTreeSet::new(),
            has_begun: false,
            effects: Vec::new(),
            call_takes: None,
            n_invocations: 0,
            trace: DefaultHasher::new(),
            n_steps: 0,
            story: None,
            template,
            shared,
            time,
        })
    }

    /// From now on every call of a function waits until it is let go, and nothing is warm of what came before.
    pub fn begin(&mut self) {
        self.cool();
        self.has_begun = true;
        self.aws.set_pace(Some(self.desk.pace()));
    }

    /// From now on every call takes so long, all invocations run side by side and nothing is left to chance: for measuring
    /// how long something takes.
    pub fn keep_time(&mut self, call_takes: Duration) {
        self.call_takes = Some(call_takes);
    }

    /// Keeps every step in words, for whoever looks into a run.
    pub fn tell(&mut self) {
        self.story = Some(Vec::new());
    }

    /// What happened, step by step, where it was to be told.
    #[must_use]
    pub fn story(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    /// A hash over every step so far, and how many there were.
    #[must_use]
    pub fn trace(&self) -> (u64, u64) {
        (self.trace.finish(), self.n_steps)
    }

    /// The time, milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// An SDK configuration with every right, whose calls nobody stops.
    #[must_use]
    pub fn sdk(&self) -> SdkConfig {
        function::sdk(self.aws.http_client(None), &self.shared.clock)
    }

    /// The application of a function, for what is set up before [`Sim::begin`].
    #[must_use]
    pub fn app(&self, binary: &str) -> Option<Arc<App>> {
        self.shared.function(binary)?.app().ok()
    }

    /// Makes a request, as a client does that does not wait.
    pub fn ask(&mut self, door: Door, request: Request<Bytes>) -> Asked {
        let id = self.next_id();
        self.note(|| format!("{id} {door:?} {} {}", request.method(), request.uri().path()));
        let asked = Asked(self.n_invocations);
        let gateway = match door {
            Door::Api => self.api.clone(),
            Door::Portal => self.portal.clone(),
        };
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let request = request.map(Full::new);
        let name = Arc::clone(&id);
        let task = tokio::spawn(async move {
            let answer = gateway.answer_as(&name, request, peer).await;
            let (parts, body) = answer.into_parts();
            let body: Body = body;
            let body = body.collect().await.ok()?.to_bytes();
            Some(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body,
            })
        });
        self.running.push(Running {
            id,
            asked: Some(asked),
            task,
        });
        asked
    }

    /// Makes a request and waits for what comes back, with every call let go at once: for what is set up and looked at.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(&mut self, door: Door, request: Request<Bytes>) -> Result<Answer> {
        self.aws.set_pace(None);
        let asked = self.ask(door, request);
        let mut answer = None;
        for _ in 0..10_000 {
            self.breathe().await;
            if let Some(n) = self.answered.iter().position(|(of, _)| *of == asked) {
                answer = self.answered.remove(n).1;
                break;
            }
            self.time.skip();
        }
        self.aws.set_pace(self.has_begun.then(|| self.desk.pace()));
        answer.context("no answer")
    }

    /// Requests that came to an end since this was last asked; without an answer, where the client got none.
    pub fn answered(&mut self) -> Vec<(Asked, Option<Answer>)> {
        std::mem::take(&mut self.answered)
    }

    /// Calls that had their effect since this was last asked, in their order.
    pub fn effects(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.effects)
    }

    /// The calls of this operation that wait to be let go, once what was let go has come to its next wait.
    pub async fn waiting(&mut self, operation: &str) -> Vec<Call> {
        self.breathe().await;
        self.desk.waiting(operation)
    }

    /// How many invocations are under way.
    #[must_use]
    pub fn n_running(&self) -> usize {
        self.running.len()
    }

    /// Ends every execution environment without an invocation, as Lambda does with what is idle: the next invocation of each
    /// function starts cold.
    pub fn cool(&mut self) {
        self.note(|| "environments end".to_owned());
        for function in &self.shared.functions {
            function.cool();
        }
    }

    /// Lets time pass.
    pub async fn advance(&mut self, by: Duration) {
        self.note(|| format!("+{} ms", by.as_millis()));
        self.time.advance(by);
        self.breathe().await;
    }

    /// One step: something that waits goes on, or something new begins. Answers whether there was anything to do.
    ///
    /// # Errors
    /// When the local AWS fails in what is no fault of a function.
    pub async fn step(&mut self, mischief: &mut Mischief<'_>) -> Result<bool> {
        if let Some(call_takes) = self.call_takes {
            return self.step_in_time(mischief, call_takes).await;
        }
        self.time.advance(STEP);
        self.breathe().await;
        let n_waiting = self.desk.len();
        // Most steps are those of what is under way; the more of it, the more.
        let begins = self.running.len() < mischief.most_running
            && (n_waiting == 0 || self.dice.u32(..100) < mischief.begin_percent);
        if begins && self.begin_something(mischief).await? {
            return Ok(true);
        }
        if n_waiting > 0 {
            let n = self.dice.usize(..n_waiting);
            self.let_go(n, mischief);
            return Ok(true);
        }
        if self.running.is_empty() {
            return Ok(false);
        }
        // All that is under way waits for a time.
        self.time.skip();
        Ok(true)
    }

    /// One step of a run that keeps time: something new begins at once, and of the calls under way the first that is done
    /// goes on.
    async fn step_in_time(&mut self, mischief: &mut Mischief<'_>, call_takes: Duration) -> Result<bool> {
        self.breathe().await;
        if self.running.len() < mischief.most_running && self.begin_something(mischief).await? {
            return Ok(true);
        }
        let Some((n, done_ms)) = self.desk.first_done(call_takes) else {
            if self.running.is_empty() {
                return Ok(false);
            }
            self.time.skip();
            return Ok(true);
        };
        if self.time.advance_to(done_ms) {
            self.let_go(n, mischief);
        }
        Ok(true)
    }

    /// Steps until nothing is left to be done at this time.
    ///
    /// # Errors
    /// As [`Sim::step`]; when it does not end within two million steps.
    pub async fn rest(&mut self, mischief: &mut Mischief<'_>) -> Result<()> {
        for _ in 0..2_000_000 {
            if !self.step(mischief).await? {
                return Ok(());
            }
        }
        anyhow::bail!("it does not come to rest")
    }

    /// Takes every message off every queue that a function takes from, as a queue that loses all it has. Messages that are
    /// being handled stay. Answers how many were lost.
    ///
    /// # Errors
    /// What the local SQS answers.
    pub async fn forget_queues(&mut self) -> Result<usize> {
        let mut n_lost = 0;
        for poller in self.pollers.clone() {
            loop {
                let messages = poller.receive().await?;
                if messages.is_empty() {
                    break;
                }
                for message in &messages {
                    poller.delete(message).await?;
                }
                n_lost += messages.len();
            }
        }
        self.note(|| format!("{n_lost} messages forgotten"));
        Ok(n_lost)
    }

    /// Begins something new, if there is something: a batch of messages, a schedule that is due, SES's events.
    async fn begin_something(&mut self, mischief: &Mischief<'_>) -> Result<bool> {
        let n_kinds = self.pollers.len() + self.schedules.len() + 1;
        let first = self.dice.usize(..n_kinds);
        for n in 0..n_kinds {
            let n = (first + n) % n_kinds;
            let has_begun = if n < self.pollers.len() {
                self.poll(n, mischief).await?
            } else if n < self.pollers.len() + self.schedules.len() {
                self.tick(n - self.pollers.len(), mischief)
            } else {
                self.publish()?
            };
            if has_begun {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Hands a batch of messages to a function, as Lambda does, with the mischief of queues.
    async fn poll(&mut self, n: usize, mischief: &Mischief<'_>) -> Result<bool> {
        let Some(poller) = self.pollers.get(n).map(Arc::clone) else {
            return Ok(false);
        };
        let mut messages = poller.receive().await?;
        if messages.is_empty() {
            return Ok(false);
        }
        let mut kept = Vec::new();
        let (n_received, mut n_lost, mut n_late, mut n_doubled) = (messages.len(), 0, 0, 0);
        for message in messages.drain(..) {
            if self.chance(mischief.lost_per_mille) {
                poller.delete(&message).await?;
                n_lost += 1;
            } else if self.chance(mischief.late_per_mille) {
                let after_s = self.dice.u32(1..600);
                poller.release(&message, after_s).await?;
                n_late += 1;
            } else {
                if self.chance(mischief.doubled_per_mille) {
                    poller.release(&message, 0).await?;
                    n_doubled += 1;
                }
                kept.push(message);
            }
        }
        let id = self.next_id();
        let (function, queue) = poller.names();
        self.note(|| {
            format!("{id} {function} takes {n_received} of {queue}: {n_lost} lost, {n_late} late, {n_doubled} doubled")
        });
        if kept.is_empty() {
            return Ok(true);
        }
        self.dice.shuffle(&mut kept);
        let is_kept = self.chance(mischief.undeleted_per_mille);
        let name = Arc::clone(&id);
        let task = tokio::spawn(async move {
            let handled = poller.invoke(&kept, &name).await;
            // A message whose deletion is lost comes again.
            for message in handled.into_iter().skip(usize::from(is_kept)) {
                if let Err(error) = poller.delete(message).await {
                    tracing::debug!(cause = format!("{error:#}"), "a message was not deleted");
                }
            }
            None
        });
        self.running.push(Running { id, asked: None, task });
        Ok(true)
    }

    fn publish(&mut self) -> Result<bool> {
        let refused = |error: crate::aws::error::AwsError| anyhow::anyhow!("{}", error.code);
        let next_ms = self.aws.ses.next_due_ms().map_err(refused)?;
        if next_ms.is_none_or(|next_ms| next_ms > self.now_ms()) {
            return Ok(false);
        }
        let n = self.aws.ses.publish_due().map_err(refused)?;
        self.note(|| format!("SES publishes {n}"));
        Ok(n > 0)
    }

    /// Lets one of the calls that wait go, as its fate wills.
    fn let_go(&mut self, n: usize, mischief: &mut Mischief<'_>) {
        let Some(waiting) = self.desk.take(n) else { return };
        let (call, phase) = (&waiting.call, waiting.phase);
        let is_stalled = call.invocation.as_ref().is_some_and(|id| self.stalled.contains(id));
        let fate = match is_stalled {
            true => Fate::Stall,
            false => (mischief.fates)(call, phase, &mut self.dice),
        };
        self.note(|| {
            let id = call.invocation.as_deref().unwrap_or_default();
            let site = call.site.map(|site| site.to_string()).unwrap_or_default();
            format!("{id} {} {} {site} {phase:?}: {fate:?}", call.role, call.operation)
        });
        match &fate {
            Fate::Stall | Fate::Late(_) => self.stalled.extend(call.invocation.clone()),
            Fate::Crash => {
                let dies = |running: &&Running| call.invocation.as_ref() == Some(&running.id);
                for running in self.running.iter().filter(dies) {
                    running.task.abort();
                }
            }
            Fate::Go | Fate::Fail(_) => {}
        }
        waiting.let_go(fate);
    }

    /// Lets everything go on that can, and sees what has ended.
    async fn breathe(&mut self) {
        let mut n_quiet = 0;
        let mut seen = (self.desk.n_came(), 0);
        for _ in 0..MOST_YIELDS {
            tokio::task::yield_now().await;
            let n_ended = self.running.iter().filter(|running| running.task.is_finished()).count();
            let now = (self.desk.n_came(), n_ended);
            n_quiet = if now == seen { n_quiet + 1 } else { 0 };
            seen = now;
            if n_quiet == QUIET_YIELDS {
                break;
            }
        }
        let (ended, running) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running| running.task.is_finished());
        self.running = running;
        let ended: Vec<Running> = ended;
        for Running { id, asked, task, .. } in ended {
            let answer = task.await.ok().flatten();
            self.stalled.remove(&id);
            self.note(|| format!("{id} ends {:?}", answer.as_ref().map(|answer| answer.status)));
            if let Some(asked) = asked {
                self.answered.push((asked, answer));
            }
        }
        self.desk.forget_dead();
        self.desk.take_effects(&mut self.effects);
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.dice.u32(..1000) < per_mille
    }

    fn next_id(&mut self) -> Arc<str> {
        self.n_invocations += 1;
        Arc::from(format!("i{}", self.n_invocations))
    }

    fn note(&mut self, step: impl FnOnce() -> String) {
        let step = step();
        self.n_steps += 1;
        self.now_ms().hash(&mut self.trace);
        step.hash(&mut self.trace);
        if let Some(story) = &mut self.story {
            let since_ms = self.shared.clock.now_ms() - BEGIN_MS;
            story.push(format!("{since_ms:>9} {step}"));
        }
    }
}

/// A source of randomness that repeats itself from a seed: for everything but cryptography, whose libraries draw for
/// themselves.
fn seeded(seed: u64) -> Random {
    let dice = std::sync::Mutex::new(Rng::with_seed(seed ^ 0x5e_a190_0057));
    Random::of(move |bytes| {
        dice.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .fill(bytes);
        Ok(())
    })
}
