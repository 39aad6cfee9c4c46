//! What may become of a call, and what else may go wrong.

use std::time::Duration;

use fastrand::Rng;

use crate::aws::fault::{Call, Failure, Phase, Verdict};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Go,
    /// It fails; after its effect, the effect stands.
    Fail(Failure),
    /// The process that makes it dies, as by `kill -9`.
    Crash,
    /// Neither it nor any later call of its invocation is answered, until Lambda ends it at its time limit.
    Stall,
    /// The same, and its effect comes all the same, so much later. Only before its effect.
    Late(Duration),
}

impl Fate {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Fate::Go => Verdict::Go,
            Fate::Fail(failure) => Verdict::Fail(failure),
            Fate::Crash | Fate::Stall => Verdict::Never,
            Fate::Late(after) => Verdict::Late(after),
        }
    }
}

/// What decides a call's fate.
pub type Fates<'a> = Box<dyn FnMut(&Call, Phase, &mut Rng) -> Fate + 'a>;

/// What goes wrong in a run, and how often. By default nothing does.
pub struct Mischief<'a> {
    /// Decides a call's fate.
    pub fates: Fates<'a>,
    /// Of a thousand received messages so many are lost.
    pub lost_per_mille: u32,
    /// So many come up to ten minutes later.
    pub late_per_mille: u32,
    /// So many come a second time at once, and so many schedules start twice.
    pub doubled_per_mille: u32,
    /// After so many batches the first handled message stays in the queue.
    pub undeleted_per_mille: u32,
    /// At most so many invocations run at the same time.
    pub most_running: usize,
    /// How often something new begins while calls wait, in percent of the steps.
    pub begin_percent: u32,
}

impl<'a> Mischief<'a> {
    /// Calls meet these fates, and nothing else goes wrong.
    pub fn of(fates: impl FnMut(&Call, Phase, &mut Rng) -> Fate + 'a) -> Self {
        Self {
            fates: Box::new(fates),
            ..Self::default()
        }
    }
}

impl Default for Mischief<'_> {
    fn default() -> Self {
        Self {
            fates: Box::new(|_, _, _| Fate::Go),
            lost_per_mille: 0,
            late_per_mille: 0,
            doubled_per_mille: 0,
            undeleted_per_mille: 0,
            most_running: 8,
            begin_percent: 5,
        }
    }
}
