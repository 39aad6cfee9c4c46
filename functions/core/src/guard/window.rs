//! What was sent, bounced and complained of in the last 24 hours, in buckets of an hour.
//!
//! Each thing is counted once, however often it is told: its mark and its bucket are written in one transaction. A bucket
//! counts as long as any part of its hour lies in the window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Stream, look, row};
use crate::actor::Actor;
use crate::app::App;
use crate::aws::table::{Expression, Outcome, Range, Transaction, number, string};
use crate::error::Result;
use crate::id::{EmailId, TenantId};
use crate::key::{Key, SHARDS, Table, stream_partition};
use crate::policy::Purpose;
use crate::suppression::Source;

const HOUR_MS: i64 = 3_600_000;
/// How far back is looked.
const WINDOW_MS: i64 = 24 * HOUR_MS;
/// How long a mark is kept: as long as a queue can hold an event (SQS: 14 days).
const MARK_MS: i64 = 14 * 24 * HOUR_MS;
/// How many emails are named as causes.
const CAUSES: usize = 10;

/// What is counted of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// SES accepted it.
    Sent,
    /// It came back for good.
    Bounced,
    /// Its recipient called it unwanted.
    Complained,
}

impl What {
    /// As it stands in keys, and the name of the bucket's attribute.
    fn as_str(self) -> &'static str {
        match self {
            What::Sent => "sent",
            What::Bounced => "bounced",
            What::Complained => "complained",
        }
    }
}

/// How many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Accepted by SES.
    pub sent: u64,
    /// Came back for good.
    pub bounced: u64,
    /// Were called unwanted.
    pub complained: u64,
}

/// An email that did harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The email.
    pub email: EmailId,
    /// How many of its deliveries came back for good.
    pub bounced: u64,
    /// How many were called unwanted.
    pub complained: u64,
}

/// A bucket as the table holds it: of a stream, or of one email of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct BucketRow {
    hour_ms: i64,
    #[serde(default)]
    sent: u64,
    #[serde(default)]
    bounced: u64,
    #[serde(default)]
    complained: u64,
    #[serde(default)]
    email: Option<EmailId>,
    expires_at: i64,
}

#[derive(Serialize)]
struct MarkRow {
    expires_at: i64,
}

/// Counts what happened to a delivery, once, and judges its stream when it was something bad.
///
/// # Errors
/// Unavailable; the same call again counts what was not counted.
pub async fn count(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    purpose: Purpose,
    what: What,
    source: &Source,
) -> Result<()> {
    let stream = Stream::of(purpose);
    let now_ms = app.clock.now_ms();
    let generation = row(app, tenant, stream).await?.unwrap_or_default().generation;
    let hour = hour(now_ms);
    let mark = MarkRow {
        expires_at: now_ms.saturating_add(MARK_MS).div_euclid(1000),
    };
    let name = stream.as_str();
    let bucket = Key::StreamHour(tenant, name, generation, hour, &source.delivery);
    let mut transaction = Transaction::new(app)
        .put_new("mark", &Key::Counted(tenant, &source.delivery, what.as_str()), &mark)
        .update("bucket", &bucket, one_more(what, hour, ""), always());
    if what != What::Sent {
        let cause = Key::StreamCause(tenant, name, generation, hour, &source.email);
        let change = one_more(what, hour, ", email = :email").with(":email", string(source.email.as_str()));
        transaction = transaction.update("cause", &cause, change, always());
    }
    let is_counted = transaction.commit().await? == Outcome::Committed;
    // A worker that died after counting left the judging to whoever is told the same again.
    if what != What::Sent || !is_counted {
        look(app, actor, tenant, stream).await?;
    }
    Ok(())
}

fn one_more(what: What, hour_ms: i64, more: &str) -> Expression {
    // The window, the bucket's own hour, and one more for clocks that differ.
    let expires_at = hour_ms
        .saturating_add(WINDOW_MS)
        .saturating_add(2 * HOUR_MS)
        .div_euclid(1000);
    let text = format!(
        "SET hour_ms = :hour, expires_at = :expires{more} ADD {} :one",
        what.as_str()
    );
    Expression::new(text)
        .with(":hour", number(hour_ms))
        .with(":expires", number(expires_at))
        .with(":one", number(1))
}

/// Holds always: the row may or may not be there.
fn always() -> Expression {
    Expression::new("attribute_exists(pk) OR attribute_not_exists(pk)")
}

fn hour(at_ms: i64) -> i64 {
    at_ms.div_euclid(HOUR_MS).saturating_mul(HOUR_MS)
}

/// What was counted in the window.
pub(super) async fn counts(app: &App, tenant: &TenantId, stream: Stream, generation: u64) -> Result<Counts> {
    let now_ms = app.clock.now_ms();
    let mut counts = Counts::default();
    for bucket in buckets(app, tenant, stream, &format!("HOUR#{generation}#")).await? {
        if is_in_window(bucket.hour_ms, now_ms) {
            counts.sent = counts.sent.saturating_add(bucket.sent);
            counts.bounced = counts.bounced.saturating_add(bucket.bounced);
            counts.complained = counts.complained.saturating_add(bucket.complained);
        }
    }
    Ok(counts)
}

/// The emails that did most harm in the window, worst first.
pub(super) async fn causes(app: &App, tenant: &TenantId, stream: Stream, generation: u64) -> Result<Vec<Cause>> {
    let now_ms = app.clock.now_ms();
    let mut by_email: BTreeMap<EmailId, (u64, u64)> = BTreeMap::new();
    for bucket in buckets(app, tenant, stream, &format!("CAUSE#{generation}#")).await? {
        if let Some(email) = bucket.email.filter(|_| is_in_window(bucket.hour_ms, now_ms)) {
            let (bounced, complained) = by_email.entry(email).or_default();
            *bounced = bounced.saturating_add(bucket.bounced);
            *complained = complained.saturating_add(bucket.complained);
        }
    }
    let mut causes: Vec<Cause> = by_email
        .into_iter()
        .map(|(email, (bounced, complained))| Cause {
            email,
            bounced,
            complained,
        })
        .collect();
    causes.sort_by_key(|cause| std::cmp::Reverse((cause.complained, cause.bounced)));
    causes.truncate(CAUSES);
    Ok(causes)
}

async fn buckets(app: &App, tenant: &TenantId, stream: Stream, prefix: &str) -> Result<Vec<BucketRow>> {
    let mut rows = Vec::new();
    for shard in 0..SHARDS {
        let range = Range {
            prefix: Some(prefix),
            ..Range::default()
        };
        let partition = stream_partition(tenant, stream.as_str(), shard);
        rows.extend(app.query::<BucketRow>(Table::Mail, &partition, &range).await?);
    }
    Ok(rows)
}

/// Whether any part of the hour that begins at `hour_ms` lies in the 24 hours before now.
fn is_in_window(hour_ms: i64, now_ms: i64) -> bool {
    hour_ms.saturating_add(HOUR_MS) > now_ms.saturating_sub(WINDOW_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_counts_until_all_of_it_has_left_the_window() {
        let now_ms = 1_000 * HOUR_MS + 1;
        assert_eq!(hour(now_ms), 1_000 * HOUR_MS);
        for (hours_ago, expected) in [(0, true), (23, true), (24, true), (25, false), (48, false)] {
            assert_eq!(
                is_in_window(hour(now_ms) - hours_ago * HOUR_MS, now_ms),
                expected,
                "{hours_ago}"
            );
        }
        assert!(!is_in_window(976 * HOUR_MS - HOUR_MS, 1_000 * HOUR_MS));
    }
}
