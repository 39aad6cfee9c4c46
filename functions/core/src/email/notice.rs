//! A portal notice that was lost is answered with a fresh one.
//!
//! The secret of a link stands in its notice and nowhere else, so a lost link cannot be sent again: the delivery begins
//! anew, and with it a fresh copy is made from the archive, under a new link. It goes to the address that the email was
//! for and to no other, and opens after a one-time code as the first one did. The old link leads nowhere from the moment of
//! the request. Policy, keys and suppressions count as they are now, and the message goes no weaker than before.

use std::collections::BTreeMap;

use sealpost_codec::address::Address;
use serde::Deserialize;

use super::{Head, read};
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Transaction, number};
use crate::delivery::{DeliveryRow, State, run};
use crate::error::{Error, Kind, Result};
use crate::id::{EmailId, PickupId};
use crate::json;
use crate::key::Key;
use crate::policy::Method;

/// How many notices of one message are made anew within a day.
const RENEWALS_A_DAY: usize = 3;
const DAY_MS: i64 = 86_400_000;

/// The body of `POST /emails/{id}/notices`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoticeRequest {
    /// The recipient whose notice was lost.
    #[schema(example = "peter@no-tls.test")]
    to: String,
}

/// Makes the notice of one recipient anew.
///
/// # Errors
/// Malformed, Invalid with pointers; Forbidden; NotFound; Conflict when there is no notice that could be lost, and then
/// nothing changed; Throttled; Unavailable.
pub async fn renew(app: &App, actor: &Actor, id: &str, body: &[u8]) -> Result<EmailId> {
    let tenant = actor.tenant_with(Scope::EmailsSend)?;
    let request = json::read::<NoticeRequest>(body)?;
    let to = Address::parse(&request.to).map_err(|error| Error::invalid("/to", error.to_string()))?;
    let email = read::find(app, actor, tenant, id).await?;
    let (_, key) = app.record(tenant, &email.record).await?;
    let head = Head::open(&key, &email.head)?;
    let n = head.recipients().iter().position(|known| known.address == to);
    let deliveries = read::deliveries(app, tenant, &email.id).await?;
    let row = n.and_then(|n| deliveries.into_iter().nth(n));
    let row = row.ok_or_else(|| Error::invalid("/to", "The email was not for this address."))?;
    let old = lost(&row)?.clone();
    let now_ms = app.clock.now_ms();
    if row.n_renewals_since(now_ms.saturating_sub(DAY_MS)) >= RENEWALS_A_DAY {
        return Err(Error::new(
            Kind::Throttled,
            "The notice was made anew three times within a day; try again tomorrow.",
        ));
    }
    let (was, ver) = (row.state, row.ver);
    let row = row.renewed(now_ms);
    let entry = Entry {
        tenant,
        actor,
        action: Action::NoticeRenewed,
        subject: row.id.as_str(),
        facts: BTreeMap::from([("email", email.id.to_string()), ("pickup", old.to_string())]),
    };
    let is_same = Expression::new("ver = :ver").with(":ver", number(i64::try_from(ver).unwrap_or(i64::MAX)));
    let outcome = Transaction::new(app)
        .put(
            "delivery",
            &Key::Delivery(tenant, &email.id, &row.id),
            &row,
            Some(is_same),
        )
        // The server half goes, so that whoever finds the old notice finds nothing.
        .delete("pickup", &Key::Pickup(tenant, &old))
        .audit(app, entry)?
        .follow(app, tenant, &email, was, &row)
        .commit()
        .await?;
    match outcome {
        Outcome::Committed => {
            run::hint(app, row.ticket(tenant)).await;
            Ok(email.id)
        }
        Outcome::Refused(_) => Err(Error::new(
            Kind::Conflict,
            "Something became of the notice at the same time; nothing was changed by this request.",
        )),
    }
}

/// The portal message whose notice can have been lost.
fn lost(row: &DeliveryRow) -> Result<&PickupId> {
    let decision = row.decision.as_ref();
    let pickup = decision
        .filter(|decision| decision.method == Method::Portal)
        .and_then(|decision| decision.pickup.as_ref());
    let message = match (row.state, pickup) {
        (State::Sent | State::Expired, Some(pickup)) => return Ok(pickup),
        (State::Sent | State::Expired, None) => "This message did not go to the portal, so there is no notice.",
        (State::Scheduled | State::Ready | State::Claimed | State::Submitting | State::Held, _) => {
            "The message is not sent yet."
        }
        _ => "The message was not sent.",
    };
    Err(Error::new(Kind::Conflict, message))
}
