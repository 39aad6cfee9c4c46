//! A dry run: how an email would go to each recipient, without sending it.

use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::email::request::SendRequest;
use crate::error::Result;
use crate::json;
use crate::policy::{self, Verdict};
use crate::recipient;

/// How an email would go to one recipient.
pub struct Planned {
    /// The address.
    pub address: String,
    /// What was decided.
    pub verdict: Verdict,
    /// Whether a suppression stops it, whatever was decided.
    pub is_suppressed: bool,
}

/// Plans the email in `body`, which is checked as one that is sent.
///
/// # Errors
/// As [`super::accept::accept`], without anything being stored.
pub async fn plan(app: &App, actor: &Actor, body: &[u8]) -> Result<Vec<Planned>> {
    let tenant = actor.tenant_with(Scope::EmailsSend)?;
    let checked = json::read::<SendRequest>(body)?.check(app.clock.now_ms(), actor.mode())?;
    checked.require_domain(app.tenant(tenant).await?.domains.iter())?;
    let policy = app.policy(tenant).await?;
    checked.tracking(&policy)?;
    let message = policy::Message {
        data_class: checked.data_class,
        purpose: checked.purpose.unwrap_or(policy.default_purpose),
        requested: checked.requested,
        portal_only: false,
    };
    let mut planned: Vec<Planned> = Vec::new();
    for mailbox in checked.to.iter().chain(&checked.cc).chain(&checked.bcc) {
        let address = mailbox.address.as_str().to_owned();
        if planned.iter().any(|known| known.address.eq_ignore_ascii_case(&address)) {
            continue;
        }
        let known = recipient::known(app, tenant, &mailbox.address).await?;
        planned.push(Planned {
            address,
            verdict: policy::plan(&message, &known.facts, &policy),
            is_suppressed: known.suppressed(message.purpose, &policy).is_some(),
        });
    }
    Ok(planned)
}
