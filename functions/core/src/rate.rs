//! How fast we hand mail to SES: as its quota says, in fair shares, care before marketing.
//!
//! A process leases a block of the tokens of the present second by one conditional write, and spends them without another
//! call; what it does not spend by the end of the second is lost. Who gets none is given a time to come back at: each tenant's
//! waiting deliveries of a lane are lined up at the sending rate, so that a backlog drains as fast as SES takes it and no
//! faster, and in the second of that time the tenant is known to wait, which limits the others to their shares. Backlogs
//! leave a tenth of every second to tenants that have none, and a tenant's first mail of care in a second gets one token
//! whoever waits, so that their mail goes at once.
//!
//! The bucket keeps a tenth of the quota free: for codes of the portal, which do not wait, and since a second of ours and a
//! second of SES do not begin together. SES has the last word: when it throttles nevertheless, the process halves what it
//! asks for. A decision that is wrong costs time and never a mail, as a throttled mail was not accepted.

mod bucket;

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tokio::sync::Mutex;

use crate::app::App;
use crate::aws::table::{Expression, Updated, number, string_set};
use crate::error::Result;
use crate::id::TenantId;
use crate::key::Key;
use crate::policy::Purpose;
use bucket::{Brake, Limit, Window, allowed, block, ceiling, for_backlogs};

/// What may be sent a second when SES does not tell: the rate of an account that has just left the sandbox (SES developer
/// guide, "Service quotas"). An account in the sandbox has 1, and is throttled by SES itself.
pub const DEFAULT_RATE: f64 = 14.0;
/// How long a quota that was read holds, milliseconds.
const QUOTA_MS: i64 = 300_000;
/// How far ahead waiting deliveries are lined up, milliseconds: within what SQS can delay, and near enough that a higher
/// quota is soon made use of.
const LINE_MS: i64 = 600_000;
/// How often a lease is tried again when another process was faster.
const TRIES: usize = 5;
/// How many tenants' lanes a process keeps in mind.
const MOST_OWNS: usize = 1_000;
/// How long a window's row is kept, seconds.
const KEPT_S: i64 = 3_600;

/// Which of a tenant's mail: care goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Everything but marketing.
    Care,
    /// What care leaves.
    Marketing,
}

impl Lane {
    pub(crate) fn of(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Marketing => Lane::Marketing,
            _ => Lane::Care,
        }
    }

    /// The lane as it stands in keys.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Lane::Care => "care",
            Lane::Marketing => "marketing",
        }
    }

    /// The attribute of a window that counts a tenant's tokens.
    fn count_of(self, tenant: &TenantId) -> String {
        format!("{}_{tenant}", self.as_str())
    }

    /// The attribute of a window that names the tenants who come back in it.
    fn waiting(self) -> &'static str {
        match self {
            Lane::Care => "waiting_care",
            Lane::Marketing => "waiting_marketing",
        }
    }
}

/// Whether a delivery may go to SES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Now.
    Go,
    /// Not now; it is to come back after so many milliseconds, which are whole seconds as the queue's delays are.
    Wait(i64),
}

/// What one process knows of the rate.
#[derive(Default)]
pub(crate) struct Rate {
    quota: Mutex<Option<(f64, i64)>>,
    /// By tenant and lane, each with a lock of its own, which is held over the calls for a lease: the deliveries of a batch
    /// share one, and a tenant's do not wait for another's.
    owns: StdMutex<Owns>,
    brake: StdMutex<Brake>,
}

type Owns = HashMap<(TenantId, Lane), Arc<Mutex<Own>>>;

/// What a process has leased for one tenant's lane.
#[derive(Default)]
struct Own {
    lease: Option<Lease>,
    /// The second that had nothing left, and whether that was for mail that had waited before.
    empty: Option<(i64, bool)>,
    places: Option<Places>,
}

/// Tokens of one second.
#[derive(Debug, Clone, Copy)]
struct Lease {
    second: i64,
    n: i64,
}

/// Times to come back at that this process may give out.
#[derive(Debug, Clone, Copy)]
struct Places {
    next_ms: i64,
    end_ms: i64,
    step_ms: i64,
}

impl Rate {
    fn own(&self, tenant: &TenantId, lane: Lane) -> Arc<Mutex<Own>> {
        let mut owns = self.owns.lock().unwrap_or_else(PoisonError::into_inner);
        if owns.len() >= MOST_OWNS {
            owns.retain(|_, own| Arc::strong_count(own) > 1);
        }
        Arc::clone(owns.entry((tenant.clone(), lane)).or_default())
    }

    /// SES refused a mail as too fast: asks for less for a while.
    pub(crate) fn throttled(&self, now_ms: i64) {
        let mut brake = self.brake.lock().unwrap_or_else(PoisonError::into_inner);
        *brake = brake.pressed(now_ms);
    }
}

impl App {
    /// Asks for one token, for mail that was or was not made to wait before.
    ///
    /// # Errors
    /// Unavailable.
    pub(crate) async fn turn(&self, tenant: &TenantId, lane: Lane, has_waited: bool) -> Result<Turn> {
        let own = self.rate.own(tenant, lane);
        let mut own = own.lock().await;
        let now_ms = self.clock.now_ms();
        let second = now_ms.div_euclid(1000);
        if let Some(lease) = own.lease.as_mut().filter(|lease| lease.second == second && lease.n > 0) {
            lease.n -= 1;
            return Ok(Turn::Go);
        }
        let rate = self.quota(now_ms).await;
        let brake = *self.rate.brake.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = Limit::new(rate, brake.halvings(now_ms));
        // What a second has no more for new mail it has not for mail that waited either.
        let is_empty = |(at, of_waited): (i64, bool)| at == second && (has_waited || !of_waited);
        if !own.empty.is_some_and(is_empty) {
            let is_first = !has_waited && own.lease.is_none_or(|lease| lease.second != second);
            match self.lease(tenant, lane, second, limit, has_waited, is_first).await? {
                Some(0) => own.empty = Some((second, has_waited)),
                Some(n) => {
                    own.lease = Some(Lease { second, n: n - 1 });
                    return Ok(Turn::Go);
                }
                None => {}
            }
        }
        let wait_ms = self.place(&mut own.places, tenant, lane, limit.braked, now_ms).await?;
        Ok(Turn::Wait(wait_ms))
    }

    /// Mails a second, as SES says or as it said last.
    async fn quota(&self, now_ms: i64) -> f64 {
        let mut quota = self.rate.quota.lock().await;
        match *quota {
            Some((rate, at_ms)) if now_ms < at_ms.saturating_add(QUOTA_MS) => return rate,
            _ => {}
        }
        let known = self.aws.ses.max_send_rate().await.filter(|rate| *rate > 0.0);
        if known.is_none() {
            tracing::warn!("SES does not tell its sending rate");
        }
        let rate = known.or(quota.map(|(rate, _)| rate)).unwrap_or(DEFAULT_RATE);
        *quota = Some((rate, now_ms));
        rate
    }

    /// Leases a block of this second's tokens, or one for the first mail that comes; how many these are, or nothing where
    /// others were faster each time.
    async fn lease(
        &self,
        tenant: &TenantId,
        lane: Lane,
        second: i64,
        limit: Limit,
        has_waited: bool,
        is_first: bool,
    ) -> Result<Option<i64>> {
        let count = lane.count_of(tenant);
        let mut known = None;
        if is_first && lane == Lane::Care {
            // Who has had none of this second gets one as long as there is one, whoever waits.
            let any = format!("(attribute_not_exists(taken) OR taken < :all) AND attribute_not_exists({count})");
            let any = Expression::new(any).with(":all", number(limit.full));
            match self.take(tenant, lane, second, 1, any).await? {
                Updated::Done => return Ok(Some(1)),
                Updated::Refused(item) => known = Some(Window::new(&item)),
            }
        }
        let mut window = match known {
            Some(window) => window,
            None => match self.lease_block(tenant, lane, second, limit, has_waited).await? {
                Ok(n) => return Ok(Some(n)),
                Err(window) => window,
            },
        };
        for _ in 0..TRIES {
            let allowed = allowed(&window, tenant, lane, limit, has_waited);
            // Of what is kept nobody leases more than one, since the rest of a block is lost.
            let is_kept = window.taken >= for_backlogs(limit.braked);
            let n = allowed.min(if is_kept { 1 } else { block(limit.braked) });
            if n <= 0 {
                return Ok(Some(0));
            }
            // Others may have taken meanwhile, as long as what is allowed now is still there.
            let own = window.counts.get(&count).copied().unwrap_or_default();
            let slack = |used: i64| number(used.saturating_add(allowed).saturating_sub(n));
            let still = Expression::new(format!(
                "(attribute_not_exists(taken) OR taken <= :taken) AND (attribute_not_exists({count}) OR {count} <= :own) \
                 AND (attribute_not_exists(marketing) OR marketing <= :marketing)"
            ))
            .with(":taken", slack(window.taken))
            .with(":own", slack(own))
            .with(":marketing", match lane {
                Lane::Care => number(limit.full),
                Lane::Marketing => slack(window.marketing),
            });
            window = match self.take(tenant, lane, second, n, still).await? {
                Updated::Done => return Ok(Some(n)),
                Updated::Refused(item) => Window::new(&item),
            };
        }
        Ok(None)
    }

    /// Leases a block while nobody is known to wait, which takes one write; what the second's row says where it does not.
    ///
    /// Of a second's last tenth it gives only to mail that comes for the first time, of a tenant that has had less than half of
    /// the second: a flood leaves it to the others from its first second on.
    async fn lease_block(
        &self,
        tenant: &TenantId,
        lane: Lane,
        second: i64,
        limit: Limit,
        has_waited: bool,
    ) -> Result<std::result::Result<i64, Window>> {
        let count = lane.count_of(tenant);
        let n = block(limit.braked);
        let free = |max: i64| number(max.saturating_sub(n));
        let open = match has_waited {
            true => "taken <= :backlogs".to_owned(),
            false => {
                format!("taken <= :backlogs OR taken <= :free AND (attribute_not_exists({count}) OR {count} <= :half)")
            }
        };
        let of_lane = match lane {
            Lane::Care => "",
            Lane::Marketing => {
                " AND (attribute_not_exists(marketing) OR marketing <= :left) AND attribute_not_exists(waiting_marketing)"
            }
        };
        let mut quiet = Expression::new(format!(
            "(attribute_not_exists(taken) OR {open}) AND attribute_not_exists(waiting_care){of_lane}"
        ))
        .with(":backlogs", free(for_backlogs(limit.braked)));
        if !has_waited {
            let all = match lane {
                Lane::Care => limit.full,
                Lane::Marketing => limit.braked,
            };
            let half = limit.braked.div_euclid(2).max(n);
            quiet = quiet.with(":free", free(all)).with(":half", free(half));
        }
        if lane == Lane::Marketing {
            quiet = quiet.with(":left", free(ceiling(limit.braked, false)));
        }
        Ok(match self.take(tenant, lane, second, n, quiet).await? {
            Updated::Done => Ok(n),
            Updated::Refused(item) => Err(Window::new(&item)),
        })
    }

    async fn take(&self, tenant: &TenantId, lane: Lane, second: i64, n: i64, condition: Expression) -> Result<Updated> {
        let more = match lane {
            Lane::Care => "",
            Lane::Marketing => ", marketing :n",
        };
        let count = lane.count_of(tenant);
        let change = Expression::new(format!("SET expires_at = :expires ADD taken :n, {count} :n{more}"))
            .with(":n", number(n))
            .with(":expires", number(second.saturating_add(KEPT_S)));
        self.update(&Key::RateWindow(second), change, condition).await
    }

    /// Gives a delivery a time to come back at, and makes known that its tenant comes then.
    async fn place(
        &self,
        held: &mut Option<Places>,
        tenant: &TenantId,
        lane: Lane,
        limit: i64,
        now_ms: i64,
    ) -> Result<i64> {
        let is_good = |places: &Places| places.next_ms < places.end_ms && places.next_ms > now_ms;
        let mut places = match held.take().filter(is_good) {
            Some(places) => places,
            None => match self.line_up(tenant, lane, limit, now_ms).await? {
                Some(places) => places,
                None => {
                    // The line is as long as it may be: somewhere in its second half.
                    let half_ms = LINE_MS / 2;
                    let more_ms = self.random.below(u32::try_from(half_ms).unwrap_or(u32::MAX))?;
                    return Ok(whole_seconds(half_ms.saturating_add(i64::from(more_ms))));
                }
            },
        };
        let jitter_ms = self.random.below(u32::try_from(places.step_ms).unwrap_or(1).max(1))?;
        let at_ms = places.next_ms.saturating_add(i64::from(jitter_ms));
        places.next_ms = places.next_ms.saturating_add(places.step_ms);
        *held = Some(places);
        Ok(whole_seconds(at_ms.saturating_sub(now_ms)))
    }

    /// Takes a block of places at the end of a tenant's line; none when the line is as long as it may be.
    async fn line_up(&self, tenant: &TenantId, lane: Lane, limit: i64, now_ms: i64) -> Result<Option<Places>> {
        let step_ms = 1000_i64.div_euclid(for_backlogs(limit).max(1)).max(1);
        let span_ms = step_ms.saturating_mul(block(limit));
        // Nobody comes back within the second that had nothing left.
        let first_ms = now_ms.div_euclid(1000).saturating_add(1).saturating_mul(1000);
        let key = Key::RateLine(tenant, lane);
        let mut known_ms = None;
        for _ in 0..TRIES {
            let start_ms = known_ms.unwrap_or(first_ms).max(first_ms);
            if start_ms > now_ms.saturating_add(LINE_MS) {
                return Ok(None);
            }
            let end_ms = start_ms.saturating_add(span_ms);
            let change = Expression::new("SET end_ms = :end").with(":end", number(end_ms));
            let condition = match known_ms {
                None => Expression::new("attribute_not_exists(end_ms)"),
                Some(known_ms) => Expression::new("end_ms = :known").with(":known", number(known_ms)),
            };
            match self.update(&key, change, condition).await? {
                Updated::Done => {
                    // A ticket comes after whole seconds and a little more, so that it may be the next second already.
                    let comes_ms = now_ms.saturating_add(whole_seconds(start_ms.saturating_sub(now_ms)));
                    let second = comes_ms.div_euclid(1000);
                    for second in [second, second.saturating_add(1)] {
                        let change = format!("SET expires_at = :expires ADD {} :tenant", lane.waiting());
                        let coming = Expression::new(change)
                            .with(":expires", number(second.saturating_add(KEPT_S)))
                            .with(":tenant", string_set(tenant.as_str()));
                        self.update(&Key::RateWindow(second), coming, Expression::default())
                            .await?;
                    }
                    let next_ms = start_ms;
                    return Ok(Some(Places {
                        next_ms,
                        end_ms,
                        step_ms,
                    }));
                }
                Updated::Refused(item) => known_ms = Some(bucket::integer(&item, "end_ms").unwrap_or(first_ms)),
            }
        }
        // Many processes line up at once: a little later will do.
        Ok(Some(Places {
            next_ms: first_ms,
            end_ms: first_ms.saturating_add(step_ms),
            step_ms: step_ms.max(1000),
        }))
    }
}

/// A time of waiting as the queue can keep it: whole seconds, upwards, at least one.
fn whole_seconds(wait_ms: i64) -> i64 {
    wait_ms.max(1).saturating_add(999).div_euclid(1000).saturating_mul(1000)
}
