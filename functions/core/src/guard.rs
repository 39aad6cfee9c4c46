//! Whether a tenant's streams do well: how many mails of the last 24 hours came back or were called unwanted.
//!
//! There are two streams: marketing, and care, which is everything else. Each has hour buckets of what was sent, bounced and
//! complained of, and a verdict with two things behind it: Google asks senders to stay below 0.10 % complaints and never to
//! reach 0.30 % ("Email sender guidelines"), and SES looks at an account from 5 % bounces on (SES developer guide, "Bounces").
//! Marketing is slowed and paused; care is warned of and always goes. A pause ends only when somebody resumes the stream,
//! which also starts the count anew. Every change of a verdict is audited and told.

mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Transaction, absent, number};
use crate::error::{Error, Kind, Result};
use crate::event::{EventType, NewEvent};
use crate::id::TenantId;
use crate::key::Key;
use crate::policy::Purpose;

pub use window::{Cause, Counts, What, count};

/// Fewer sends than this say nothing: a single complaint among a hundred would stop everything.
const ENOUGH: u64 = 200;
/// Complaints of ten thousand mails from which a stream is warned of, slowed and paused.
const COMPLAINTS: [(u64, Verdict); 3] = [(25, Verdict::Pause), (10, Verdict::Slow), (8, Verdict::Warn)];
/// Bounces of ten thousand mails from which a stream is paused.
const BOUNCES: u64 = 500;
/// How old a verdict may be when a marketing mail is about to go.
const FRESH_MS: i64 = 60_000;

/// One of a tenant's streams of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Mail with the purpose `marketing`.
    Marketing,
    /// Every other mail.
    Care,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Stream; 2] = [Stream::Marketing, Stream::Care];

    /// The stream as it stands in keys, requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Marketing => "marketing",
            Stream::Care => "care",
        }
    }

    /// The stream of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.as_str() == text)
    }

    /// The stream that mail of this purpose belongs to.
    #[must_use]
    pub fn of(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Marketing => Stream::Marketing,
            Purpose::Treatment | Purpose::Payment | Purpose::Operations => Stream::Care,
        }
    }

    /// What a verdict means for this stream: care is never slowed and never paused.
    fn bounded(self, verdict: Verdict) -> Verdict {
        match self {
            Stream::Marketing => verdict,
            Stream::Care => verdict.min(Verdict::Warn),
        }
    }
}

/// How a stream does, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Well.
    #[default]
    Ok,
    /// Near the limit.
    Warn,
    /// At the limit: each mail waits once, for ten minutes to an hour.
    Slow,
    /// Over it: nothing goes until somebody resumes the stream.
    Pause,
}

impl Verdict {
    /// The verdict as it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Slow => "slow",
            Verdict::Pause => "pause",
        }
    }
}

/// Judges what was counted.
#[must_use]
pub fn judge(counts: &Counts) -> Verdict {
    if counts.sent < ENOUGH {
        return Verdict::Ok;
    }
    let is_at_least =
        |n: u64, of_ten_thousand: u64| n.saturating_mul(10_000) >= counts.sent.saturating_mul(of_ten_thousand);
    if is_at_least(counts.bounced, BOUNCES) {
        return Verdict::Pause;
    }
    let reached = COMPLAINTS
        .into_iter()
        .find(|(limit, _)| is_at_least(counts.complained, *limit));
    reached.map_or(Verdict::Ok, |(_, verdict)| verdict)
}

/// A stream as the table holds it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct StreamRow {
    version: u64,
    /// Grows with every resumption; buckets of an earlier one do not count.
    generation: u64,
    verdict: Verdict,
    /// When the verdict changed last.
    since_ms: i64,
    /// When the counts were looked at last.
    judged_at_ms: i64,
}

/// A stream as its tenant sees it.
pub struct Watched {
    /// The stream.
    pub stream: Stream,
    /// How it does.
    pub verdict: Verdict,
    /// When that changed last, milliseconds since the epoch; `None` where it never did.
    pub since_ms: Option<i64>,
    /// What was counted.
    pub counts: Counts,
    /// The emails that bounced or were complained of most.
    pub causes: Vec<Cause>,
}

/// What a guard says to a mail that is about to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It goes.
    Open,
    /// It waits once.
    Slow,
    /// It waits.
    Shut,
}

/// The streams of the tenant, with what was counted in the last 24 hours.
///
/// # Errors
/// Forbidden; Unavailable.
pub async fn streams(app: &App, actor: &Actor) -> Result<Vec<Watched>> {
    let tenant = actor.tenant_with(Scope::SuppressionsRead)?;
    let mut streams = Vec::new();
    for stream in Stream::ALL {
        streams.push(watched(app, tenant, stream).await?);
    }
    Ok(streams)
}

async fn watched(app: &App, tenant: &TenantId, stream: Stream) -> Result<Watched> {
    let row = row(app, tenant, stream).await?.unwrap_or_default();
    Ok(Watched {
        stream,
        verdict: row.verdict,
        since_ms: (row.since_ms > 0).then_some(row.since_ms),
        counts: window::counts(app, tenant, stream, row.generation).await?,
        causes: window::causes(app, tenant, stream, row.generation).await?,
    })
}

/// Lets a paused stream go on, and counts from now on.
///
/// # Errors
/// Forbidden; NotFound for a stream that is none; Conflict for one that is not paused; Unavailable.
pub async fn resume(app: &App, actor: &Actor, stream: &str) -> Result<Watched> {
    let tenant = actor.tenant_with(Scope::SuppressionsWrite)?;
    let stream = Stream::parse(stream).ok_or_else(Error::not_found)?;
    let seen = row(app, tenant, stream).await?.unwrap_or_default();
    if seen.verdict != Verdict::Pause {
        return Err(Error::new(Kind::Conflict, "The stream is not paused."));
    }
    let next = StreamRow {
        generation: seen.generation.saturating_add(1),
        ..seen
    };
    if !change(app, actor, tenant, stream, &seen, next, Verdict::Ok, &Counts::default()).await? {
        let message = "The stream was judged at the same time; try again.";
        return Err(Error::new(Kind::Conflict, message));
    }
    watched(app, tenant, stream).await
}

/// Whether a mail of this purpose may go now.
///
/// # Errors
/// Unavailable.
pub(crate) async fn gate(app: &App, actor: &Actor, tenant: &TenantId, purpose: Purpose) -> Result<Gate> {
    let stream = Stream::of(purpose);
    if stream == Stream::Care {
        return Ok(Gate::Open);
    }
    let row = row(app, tenant, stream).await?.unwrap_or_default();
    let is_fresh = app.clock.now_ms() < row.judged_at_ms.saturating_add(FRESH_MS);
    let verdict = if is_fresh || row.verdict == Verdict::Pause {
        row.verdict
    } else {
        look(app, actor, tenant, stream).await?
    };
    Ok(match verdict {
        Verdict::Ok | Verdict::Warn => Gate::Open,
        Verdict::Slow => Gate::Slow,
        Verdict::Pause => Gate::Shut,
    })
}

/// Looks at the counts and judges anew. Safe to be called at the same time: the first one's verdict stands.
async fn look(app: &App, actor: &Actor, tenant: &TenantId, stream: Stream) -> Result<Verdict> {
    let seen = row(app, tenant, stream).await?.unwrap_or_default();
    if seen.verdict == Verdict::Pause {
        return Ok(Verdict::Pause);
    }
    let counts = window::counts(app, tenant, stream, seen.generation).await?;
    let verdict = stream.bounded(judge(&counts));
    if verdict != seen.verdict {
        change(app, actor, tenant, stream, &seen, seen.clone(), verdict, &counts).await?;
    } else if app.clock.now_ms() >= seen.judged_at_ms.saturating_add(FRESH_MS) {
        let next = StreamRow {
            version: seen.version.saturating_add(1),
            judged_at_ms: app.clock.now_ms(),
            ..seen.clone()
        };
        // Whoever was faster looked at the same counts.
        Transaction::new(app)
            .put(
                "stream",
                &Key::Stream(tenant, stream.as_str()),
                &next,
                Some(is_still(&seen)),
            )
            .commit()
            .await?;
    }
    Ok(verdict)
}

/// Writes another verdict with the audit entry and the event; `false` when somebody else was faster.
#[expect(
    clippy::too_many_arguments,
    reason = "what was seen, what is to be, and what it rests on, all of which the entry names"
)]
async fn change(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    stream: Stream,
    seen: &StreamRow,
    next: StreamRow,
    verdict: Verdict,
    counts: &Counts,
) -> Result<bool> {
    let now_ms = app.clock.now_ms();
    let is_resumed = next.generation != seen.generation;
    let next = StreamRow {
        version: seen.version.saturating_add(1),
        verdict,
        since_ms: now_ms,
        judged_at_ms: now_ms,
        ..next
    };
    let mut facts = BTreeMap::from([
        ("stream", stream.as_str().to_owned()),
        ("verdict", verdict.as_str().to_owned()),
        ("before", seen.verdict.as_str().to_owned()),
    ]);
    if !is_resumed {
        facts.insert("sent", counts.sent.to_string());
        facts.insert("bounced", counts.bounced.to_string());
        facts.insert("complained", counts.complained.to_string());
    }
    let action = if is_resumed {
        Action::StreamResumed
    } else {
        Action::StreamGuarded
    };
    let entry = Entry {
        tenant,
        actor,
        action,
        subject: stream.as_str(),
        facts: facts.clone(),
    };
    let event = NewEvent {
        tenant,
        kind: EventType::StreamGuarded,
        email: None,
        delivery: None,
        sequence: next.version,
        is_test: false,
        facts,
    };
    let outcome = Transaction::new(app)
        .put(
            "stream",
            &Key::Stream(tenant, stream.as_str()),
            &next,
            Some(is_still(seen)),
        )
        .audit(app, entry)?
        .event(app, event)?
        .commit()
        .await?;
    Ok(outcome == Outcome::Committed)
}

/// Holds while nobody else judged.
fn is_still(seen: &StreamRow) -> Expression {
    match seen.version {
        0 => absent(),
        version => Expression::new("version = :v").with(":v", number(i64::try_from(version).unwrap_or(i64::MAX))),
    }
}

async fn row(app: &App, tenant: &TenantId, stream: Stream) -> Result<Option<StreamRow>> {
    app.get(&Key::Stream(tenant, stream.as_str())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_judged_at_the_limits_and_not_before_them() {
        for (sent, bounced, complained, expected) in [
            (0, 0, 0, Verdict::Ok),
            (199, 199, 199, Verdict::Ok),
            (200, 9, 0, Verdict::Ok),
            (200, 10, 0, Verdict::Pause),
            (200, 0, 1, Verdict::Pause),
            (399, 0, 1, Verdict::Pause),
            (400, 0, 1, Verdict::Pause),
            (401, 0, 1, Verdict::Slow),
            (1_000, 0, 1, Verdict::Slow),
            (1_001, 0, 1, Verdict::Warn),
            (1_250, 0, 1, Verdict::Warn),
            (1_251, 0, 1, Verdict::Ok),
            (100_000, 4_999, 0, Verdict::Ok),
            (100_000, 5_000, 0, Verdict::Pause),
            (100_000, 0, 79, Verdict::Ok),
            (100_000, 0, 80, Verdict::Warn),
            (100_000, 0, 99, Verdict::Warn),
            (100_000, 0, 100, Verdict::Slow),
            (100_000, 0, 249, Verdict::Slow),
            (100_000, 0, 250, Verdict::Pause),
            (100_000, 5_000, 80, Verdict::Pause),
            (u64::MAX, 0, 0, Verdict::Ok),
        ] {
            let counts = Counts {
                sent,
                bounced,
                complained,
            };
            assert_eq!(judge(&counts), expected, "{counts:?}");
            assert_eq!(Stream::Marketing.bounded(expected), expected);
            assert!(Stream::Care.bounded(expected) <= Verdict::Warn);
        }
    }
}
