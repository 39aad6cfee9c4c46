//! Object Lock: which versions may be deleted, and which changes of a lock are allowed.
//!
//! A lock protects a version, never a key: new versions and delete markers are always possible. A retention that the
//! clock has passed protects nothing and may be replaced by any other.

use s3s::{S3Error, S3ErrorCode};

/// How strongly a retention binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Callers who bypass governance may shorten or remove it.
    Governance,
    /// Nobody may shorten or remove it.
    Compliance,
}

/// A version may not be deleted before `until_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    pub mode: Mode,
    pub until_ms: i64,
}

/// What protects one version. A legal hold that was never set differs from one that was released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lock {
    pub retention: Option<Retention>,
    pub legal_hold: Option<bool>,
}

impl Mode {
    pub(super) fn parse(mode: &str) -> Result<Self, S3Error> {
        match mode {
            "GOVERNANCE" => Ok(Self::Governance),
            "COMPLIANCE" => Ok(Self::Compliance),
            _ => Err(S3Error::with_message(
                S3ErrorCode::InvalidArgument,
                "Unknown wormMode directive.",
            )),
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

impl Retention {
    fn is_active(self, now_ms: i64) -> bool {
        now_ms < self.until_ms
    }
}

impl Lock {
    /// Refuses the deletion of a version that this lock still protects. `bypass` overrides governance, not a hold.
    pub(super) fn check_deletion(self, bypass: bool, now_ms: i64) -> Result<(), S3Error> {
        let is_retained = self
            .retention
            .is_some_and(|retention| retention.is_active(now_ms) && !(bypass && retention.mode == Mode::Governance));
        if is_retained || self.legal_hold == Some(true) {
            return Err(protected());
        }
        Ok(())
    }
}

/// Refuses a retention that would already be over.
pub(super) fn check_future(retention: Retention, now_ms: i64) -> Result<(), S3Error> {
    if retention.is_active(now_ms) {
        return Ok(());
    }
    Err(S3Error::with_message(
        S3ErrorCode::InvalidArgument,
        "The retain until date must be in the future!",
    ))
}

/// Judges the change from `current` to `wanted` (`None` removes the retention).
///
/// Extending is always allowed. A change of mode, also from governance to compliance, counts as a change that governance
/// protects from: AWS asks for the bypass there, which the Ceph project found by trying it (ceph/ceph#42505).
pub(super) fn check_change(
    current: Option<Retention>,
    wanted: Option<Retention>,
    bypass: bool,
    now_ms: i64,
) -> Result<(), S3Error> {
    if let Some(wanted) = wanted {
        check_future(wanted, now_ms)?;
    }
    let Some(current) = current.filter(|current| current.is_active(now_ms)) else {
        return Ok(());
    };
    let extends = wanted.is_some_and(|wanted| wanted.mode == current.mode && wanted.until_ms >= current.until_ms);
    if extends || (current.mode == Mode::Governance && bypass) {
        return Ok(());
    }
    Err(protected())
}

fn protected() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::AccessDenied,
        "Access Denied because object protected by object lock.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;

    fn governance(until_ms: i64) -> Option<Retention> {
        Some(Retention {
            mode: Mode::Governance,
            until_ms,
        })
    }

    fn compliance(until_ms: i64) -> Option<Retention> {
        Some(Retention {
            mode: Mode::Compliance,
            until_ms,
        })
    }

    #[test]
    fn a_change_of_retention_is_judged() {
        let cases = [
            // (current, wanted, allowed without bypass, allowed with bypass)
            (None, governance(2_000), true, true),
            (None, compliance(2_000), true, true),
            (None, None, true, true),
            (None, governance(1_000), false, false),
            (governance(1_000), None, true, true),
            (compliance(1_000), governance(1_001), true, true),
            (governance(2_000), governance(3_000), true, true),
            (governance(2_000), governance(2_000), true, true),
            (governance(2_000), governance(1_999), false, true),
            (governance(2_000), None, false, true),
            (governance(2_000), compliance(3_000), false, true),
            (compliance(2_000), compliance(3_000), true, true),
            (compliance(2_000), compliance(1_999), false, false),
            (compliance(2_000), governance(3_000), false, false),
            (compliance(2_000), None, false, false),
        ];
        for (current, wanted, plain, bypassing) in cases {
            let case = format!("{current:?} to {wanted:?}");
            assert_eq!(check_change(current, wanted, false, NOW).is_ok(), plain, "{case}");
            assert_eq!(
                check_change(current, wanted, true, NOW).is_ok(),
                bypassing,
                "{case}, bypassing"
            );
        }
    }

    #[test]
    fn a_deletion_is_judged() {
        let cases = [
            (None, None, true, true),
            (governance(2_000), None, false, true),
            (governance(1_000), None, true, true),
            (compliance(2_000), None, false, false),
            (compliance(1_000), None, true, true),
            (None, Some(true), false, false),
            (None, Some(false), true, true),
            (governance(2_000), Some(true), false, false),
            (compliance(1_000), Some(true), false, false),
        ];
        for (retention, legal_hold, plain, bypassing) in cases {
            let lock = Lock { retention, legal_hold };
            assert_eq!(lock.check_deletion(false, NOW).is_ok(), plain, "{lock:?}");
            assert_eq!(lock.check_deletion(true, NOW).is_ok(), bypassing, "{lock:?}, bypassing");
        }
    }
}
