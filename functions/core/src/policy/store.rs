//! Reading and replacing a tenant's policy.

use std::collections::BTreeMap;

use super::Policy;
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Transaction, number};
use crate::error::{Error, Kind, Result};
use crate::key::Key;

/// The policy in force.
///
/// # Errors
/// Forbidden; Unavailable.
pub async fn read(app: &App, actor: &Actor) -> Result<Policy> {
    app.policy(actor.tenant_with(Scope::PoliciesRead)?).await
}

/// Replaces the policy. `version` must be the one in force; the new one is the next. What is submitted from now on is
/// planned by the new policy, since the fence of a submission requires the version that it was planned with.
///
/// # Errors
/// Forbidden; Invalid; Conflict when somebody else replaced it in the meantime; Unavailable.
pub async fn replace(app: &App, actor: &Actor, new: Policy) -> Result<Policy> {
    let tenant = actor.tenant_with(Scope::PoliciesWrite)?;
    if !(1..=365).contains(&new.portal_expiry_days) {
        return Err(Error::invalid(
            "/portal_expiry_days",
            "A portal message stays open for 1 to 365 days.",
        ));
    }
    if !(1..=36_500).contains(&new.retention_days) {
        return Err(Error::invalid(
            "/retention_days",
            "An archived message is locked for 1 to 36,500 days.",
        ));
    }
    let in_force = app.policy(tenant).await?;
    if new.retention_days < in_force.retention_days {
        let detail = "A shorter retention needs a second person's approval, which this deployment does not have yet.";
        return Err(Error::invalid("/retention_days", detail));
    }
    let next = Policy {
        version: new.version.saturating_add(1),
        ..new
    };
    let seen = number(i64::try_from(new.version).unwrap_or(i64::MAX));
    let is_in_force = Expression::new("version = :v").with(":v", seen);
    let entry = Entry {
        tenant,
        actor,
        action: Action::PolicyReplaced,
        subject: tenant.as_str(),
        facts: BTreeMap::from([("version", next.version.to_string())]),
    };
    let transaction = Transaction::new(app)
        .put("policy", &Key::Policy(tenant), &next, Some(is_in_force))
        .audit(app, entry)?;
    match transaction.commit().await? {
        Outcome::Committed => Ok(next),
        Outcome::Refused(_) => {
            let message = "`version` is not the version in force; read the policy again.";
            Err(Error::new(Kind::Conflict, message))
        }
    }
}
