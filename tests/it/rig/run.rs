//! One run: a world, its mischief, its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use sealpost_local::aws::fault::{Call, Failure, Phase};
use sealpost_local::aws::ses::Filter;
use sealpost_local::system::sim::{Fate, Mischief, run};

use super::check::{Checker, Violation, delivery_of, token_of};
use super::world::World;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) violations: BTreeSet<Violation>,
    pub(crate) trace: (u64, u64),
    pub(crate) n_accepted: usize,
    pub(crate) n_mails: usize,
    pub(crate) n_faults: usize,
    pub(crate) story: Vec<String>,
}

/// A function's calls of one operation, and how they fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    /// How the function's role ends.
    pub(crate) role: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) per_mille: u32,
    /// In which phase and how; in every way where nothing is said.
    pub(crate) fate: Option<(Phase, Fate)>,
}

impl Aim {
    fn is_at(&self, call: &Call) -> bool {
        call.role.ends_with(self.role) && call.operation == self.operation
    }

    fn fate(&self, call: &Call, phase: Phase, dice: &mut Rng) -> Fate {
        match self.fate {
            None => fate(call, phase, self.per_mille, dice),
            Some((when, fate)) if when == phase && dice.u32(..1000) < self.per_mille => fate,
            Some(_) => Fate::Go,
        }
    }
}

/// How a run goes.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// Emails, at least.
    pub(crate) n_emails: usize,
    /// Of a thousand calls so many fail; drawn from the seed where nothing is said.
    pub(crate) per_mille: Option<u32>,
    /// Calls that fail more often than others.
    pub(crate) aim: Option<Aim>,
    /// Whether SES says nothing of its mails before the end.
    pub(crate) withholds_events: bool,
    /// One of so many steps changes a policy, a domain or a suppression.
    pub(crate) change_every: u32,
    /// Whether every step is told.
    pub(crate) tells: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            n_emails: 20,
            per_mille: None,
            aim: None,
            withholds_events: false,
            change_every: 600,
            tells: false,
        }
    }
}

/// Runs one seed.
pub(crate) fn one(seed: u64, profile: &Profile) -> Outcome {
    run(async {
        let mut world = World::start(seed).await;
        let mut dice = Rng::with_seed(seed.rotate_left(17) ^ 0x9e37_79b9_7f4a_7c15);
        world.change_every = profile.change_every;
        world.plan(profile.n_emails, &mut dice);
        if profile.tells {
            world.sim.tell();
        }
        world.sim.begin();
        world.withhold_events(profile.withholds_events);
        let mut checker = Checker::default();
        // One run in eight has no faults at all; the others are anything between a bad day and a disaster.
        let drawn = [0, 2, 5, 10, 10, 20, 40, 80][dice.usize(..8)];
        let per_mille = profile.per_mille.unwrap_or(drawn);
        checker.has_faults = per_mille > 0 || profile.aim.is_some();
        let mut fates_dice = dice.fork();
        let queue_trouble = if per_mille == 0 { 0 } else { dice.u32(..100) };
        let n_faults = RefCell::new(0_usize);
        let ambiguous = RefCell::new(BTreeSet::new());
        let has_stalls = Cell::new(false);
        let late = Rc::clone(&checker.late);
        let mut mischief = Mischief {
            fates: Box::new(|call, phase, _| {
                let fate = match profile.aim.filter(|aim| aim.is_at(call)) {
                    Some(aim) => aim.fate(call, phase, &mut fates_dice),
                    None => fate(call, phase, per_mille, &mut fates_dice),
                };
                if fate != Fate::Go {
                    *n_faults.borrow_mut() += 1;
                    has_stalls.set(has_stalls.get() || matches!(fate, Fate::Stall | Fate::Late(_)));
                    if matches!(fate, Fate::Late(_)) {
                        late.borrow_mut().extend(token_of(call));
                    }
                    if leaves_doubt(call, fate) {
                        ambiguous.borrow_mut().extend(delivery_of(call));
                    }
                }
                fate
            }),
            lost_per_mille: queue_trouble,
            late_per_mille: queue_trouble,
            doubled_per_mille: queue_trouble,
            undeleted_per_mille: queue_trouble,
            ..Mischief::default()
        };
        let until = world.sim.now_ms() + i64::from(dice.u32(120_000..900_000));
        while world.sim.now_ms() < until {
            let is_acting = dice.u32(..4) == 0 && world.act(&mut dice);
            let has_stepped = world.sim.step(&mut mischief).await?;
            checker.step(&mut world).await;
            if !has_stepped && !is_acting {
                world.advance(Duration::from_millis(dice.u64(5_000..90_000))).await;
            } else if per_mille > 0 && dice.u32(..500) == 0 {
                // Invocations may come to their time limit by this, and a call to SES that takes as long as this is one that nobody knows the end of.
                let late = world.sim.waiting("SendEmail").await;
                ambiguous.borrow_mut().extend(late.iter().filter_map(delivery_of));
                world.sim.advance(Duration::from_millis(dice.u64(100..20_000))).await;
            }
            if per_mille > 0 && dice.u32(..20_000) == 0 {
                world.sim.forget_queues().await?;
            }
            if dice.u32(..500) == 0 {
                world.sim.cool();
            }
        }
        drop(mischief);
        checker.ambiguous = ambiguous.take();
        checker.has_stalls = has_stalls.get();
        world.withhold_events(false);
        world.quiesce(&mut checker).await;
        checker.end(&mut world).await;
        let n_faults = *n_faults.borrow();
        Ok(Outcome {
            seed,
            violations: checker.violations,
            trace: world.sim.trace(),
            n_accepted: world.sent.iter().flat_map(|sent| sent.ids.iter().flatten()).count(),
            n_mails: world.sim.aws.ses.messages(&Filter::default()).unwrap().len(),
            n_faults,
            story: world.sim.story().to_vec(),
        })
    })
    .unwrap()
}

/// Whether nobody can know what became of a call to SES that met this fate.
pub(crate) fn leaves_doubt(call: &Call, fate: Fate) -> bool {
    call.operation == "SendEmail" && !matches!(fate, Fate::Go | Fate::Fail(Failure::Throttled | Failure::AccessDenied))
}

/// What becomes of a call in a run where so many of a thousand fail.
fn fate(call: &Call, phase: Phase, per_mille: u32, dice: &mut Rng) -> Fate {
    if per_mille == 0 || dice.u32(..1000) >= per_mille {
        return Fate::Go;
    }
    let kinds = super::sweep::fates(call, phase);
    kinds[dice.usize(..kinds.len())]
}
