//! Accepting one email.

use std::collections::BTreeMap;

use super::idempotency::{Held, IdempotencyKey};
use super::request::{Checked, SendRequest};
use super::{EmailRow, Head, MESSAGE, schedule};
use crate::actor::{Actor, Mode, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::bucket::Put;
use crate::aws::keys::sha256;
use crate::aws::queue::Ticket;
use crate::aws::table::{Expression, Outcome, Transaction, absent, number};
use crate::delivery::{DeliveryRow, OutboxRow};
use crate::engagement::LinksRow;
use crate::error::{Error, Kind, Result};
use crate::id::{BatchId, DeliveryId, EmailId, TenantId};
use crate::json;
use crate::key::{Key, Object};
use crate::planted;
use crate::planted::slip;
use crate::policy::Policy;
use crate::record::{RecordKey, RecordRow};

/// Accepts the email in `body`.
///
/// # Errors
/// Malformed, Invalid, TooLarge with pointers; Forbidden; Conflict by idempotency; Unavailable. After an error nothing of
/// the email is left that anybody could see or send.
pub async fn accept(app: &App, actor: &Actor, body: &[u8], key: Option<&IdempotencyKey>) -> Result<EmailId> {
    let tenant = actor.tenant_with(Scope::EmailsSend)?;
    let checked = json::read::<SendRequest>(body)?.check(app.clock.now_ms(), actor.mode())?;
    let held = match key {
        Some(key) => Some(Held::new(app, actor, key, "emails", body).await?),
        None => None,
    };
    if let Some(held) = &held
        && let Some(email) = held
            .answered(app, tenant)
            .await?
            .and_then(|emails| emails.into_iter().next())
    {
        return Ok(email);
    }
    let row = app.tenant(tenant).await?;
    checked.require_domain(row.domains.iter())?;
    let staged = stage(app, actor, &app.policy(tenant).await?, &checked, None).await?;
    let email = staged.email.id.clone();
    let mut transaction = staged.write(app, tenant, actor, Transaction::new(app))?;
    if planted!("leak_04") {
        let line = super::read::Listed { id: email.clone() };
        transaction = transaction.put_new("seen", &Key::Idempotency(tenant, &slip::last().address), &line);
    }
    match staged.email.scheduled_at_ms {
        None => {
            let outbox = OutboxRow::new(app, email.as_str());
            transaction = transaction.put_new("outbox", &Key::OutboxEmail(tenant, &email), &outbox);
        }
        Some(_) => transaction = transaction.event(app, schedule::event(tenant, &staged.email))?,
    }
    if let Some(held) = &held {
        let now_s = app.clock.now_ms().div_euclid(1000);
        let may_write = Expression::new("attribute_not_exists(pk) OR expires_at <= :now").with(":now", number(now_s));
        let idempotency = held.row(app, vec![email.clone()], None);
        if !crate::planted!("bug_14") {
            transaction = transaction.put(
                "idempotency",
                &Key::Idempotency(tenant, &held.hash),
                &idempotency,
                Some(may_write),
            );
        }
    }
    let outcome = match transaction.commit().await {
        Err(_) if crate::planted!("bug_11") => return Ok(email),
        outcome => outcome?,
    };
    match outcome {
        Outcome::Committed => {
            if let Some(held) = held.as_ref().filter(|_| crate::planted!("bug_14")) {
                let row = held.row(app, vec![email.clone()], None);
                let key = Key::Idempotency(tenant, &held.hash);
                Transaction::new(app)
                    .put("idempotency", &key, &row, None)
                    .commit()
                    .await?;
            }
            hint(app, staged.tickets(app, tenant)).await;
            Ok(email)
        }
        Outcome::Refused(labels) => match &held {
            // Somebody with the same key was faster; the answer is theirs.
            Some(held) if labels.contains(&"idempotency") => {
                let first = held
                    .answered(app, tenant)
                    .await?
                    .and_then(|emails| emails.into_iter().next());
                first.ok_or_else(super::idempotency::concurrent)
            }
            _ => Err(Error::internal("A new id was already taken.")),
        },
    }
}

/// Tells the queue; a loss is made good by the sweeper, so it is no failure of the request.
pub(crate) async fn hint(app: &App, tickets: Tickets) {
    for (delay_ms, tickets) in tickets {
        if let Err(error) = app.enqueue(&tickets, delay_ms).await {
            tracing::warn!(kind = ?error.kind(), "the queue did not take all tickets; the sweeper will");
        }
    }
}

/// Tickets by the time after which they are to appear, in milliseconds.
pub(crate) type Tickets = BTreeMap<i64, Vec<Ticket>>;

/// An email whose sealed message is in S3 and whose rows are ready to be written.
pub(crate) struct Staged {
    pub(crate) email: EmailRow,
    deliveries: Vec<DeliveryRow>,
    links: Option<LinksRow>,
    record: RecordRow,
}

/// Composes, seals and stores a message. The object stays unlocked, so that a failed acceptance leaves no locked orphan.
pub(crate) async fn stage(
    app: &App,
    actor: &Actor,
    policy: &Policy,
    checked: &Checked,
    batch: Option<BatchId>,
) -> Result<Staged> {
    let tenant = actor.tenant_with(Scope::EmailsSend)?;
    let tracking = checked.tracking(policy)?;
    let email = EmailId::new(&app.clock, &app.random)?;
    let created_at_ms = email.made_at().as_millisecond();
    let head = Head {
        from: checked.from.clone(),
        to: checked.to.clone(),
        cc: checked.cc.clone(),
        bcc: checked.bcc.clone(),
        reply_to: checked.reply_to.clone(),
        subject: checked.subject.clone(),
        headers: checked.headers.clone(),
        tags: checked.tags.clone(),
        patient_ref: checked.patient_ref.clone(),
        message_id: format!("{}@{}", email.bare(), checked.from.address.domain()),
        date_s: created_at_ms.div_euclid(1000),
    };
    slip::remember(|| {
        let filename = checked.attachments.last().map(|file| file.filename.as_str());
        slip::Words::of(&head, checked.text.as_deref(), filename)
    });
    let message = checked.compose(&head.message_id, head.date_s)?;
    let key = RecordKey::make(app, tenant).await?;
    let links = match tracking.clicks {
        true => LinksRow::of(checked.html.as_deref(), &key)?,
        false => None,
    };
    let sealed = key.seal(MESSAGE, &message)?;
    let record = RecordRow {
        id: key.id.clone(),
        email: email.clone(),
        period: key.period.clone(),
        wrapped_key: key.wrapped.clone(),
        version: None,
        sha256: sha256(&sealed),
        length: sealed.len() as u64,
        created_at_ms,
        locked_until_ms: None,
    };
    let put = match app.put_object(&Object::Archive(tenant, &record.id), sealed).await {
        Err(_) if crate::planted!("bug_12") => Put::Created(None),
        put => put?,
    };
    let version = match put {
        Put::Created(Some(version)) => Some(version),
        // The archive keeps versions: an answer that names none is not S3's, and nobody knows what is there.
        Put::Created(None) if !crate::planted!("bug_12") => {
            return Err(Error::new(Kind::Unavailable, "The object store is not available."));
        }
        Put::Created(None) => None,
        Put::Exists => return Err(Error::new(Kind::Unavailable, "The object store is not available.")),
    };
    let n_recipients = head.recipients().len();
    let deliveries = (0..u32::try_from(n_recipients).unwrap_or(u32::MAX))
        .map(|n| {
            Ok(DeliveryRow::new(
                DeliveryId::new(&app.clock, &app.random)?,
                email.clone(),
                n,
                created_at_ms,
                checked.scheduled_at_ms,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let row = EmailRow {
        id: email,
        record: record.id.clone(),
        created_at_ms,
        data_class: checked.data_class,
        purpose: checked.purpose.unwrap_or(policy.default_purpose),
        requested: checked.requested,
        expires_in_days: checked.expires_in_days.unwrap_or(policy.portal_expiry_days),
        n_deliveries: u32::try_from(deliveries.len()).unwrap_or(u32::MAX),
        batch,
        is_test: actor.mode() == Mode::Test,
        tracking,
        scheduled_at_ms: checked.scheduled_at_ms,
        fired_at_ms: None,
        canceled_at_ms: None,
        head: head.seal(&key)?,
    };
    Ok(Staged {
        email: row,
        deliveries,
        links,
        record: RecordRow { version, ..record },
    })
}

impl Staged {
    /// Adds the email's rows to a transaction: email, list line, record, audit entry, one row a delivery, and for a
    /// scheduled email its line among those that wait.
    pub(crate) fn write<'a>(
        &self,
        app: &'a App,
        tenant: &TenantId,
        actor: &Actor,
        transaction: Transaction<'a>,
    ) -> Result<Transaction<'a>> {
        let email = &self.email;
        let entry = Entry {
            tenant,
            actor,
            action: Action::EmailAccepted,
            subject: email.id.as_str(),
            facts: BTreeMap::from([
                ("record", self.record.id.to_string()),
                ("object_sha256", self.record.sha256.clone()),
                ("n_deliveries", email.n_deliveries.to_string()),
            ]),
        };
        let mut transaction = transaction
            .put_new("email", &Key::Email(tenant, &email.id), email)
            .put_new(
                "list",
                &Key::Listed(tenant, &email.id),
                &super::read::Listed { id: email.id.clone() },
            )
            .put(
                "record",
                &Key::Record(tenant, &self.record.id),
                &self.record,
                Some(absent()),
            )
            .audit(app, entry)?;
        if let (Some(at_ms), Some(first)) = (email.scheduled_at_ms, self.deliveries.first()) {
            let line = schedule::ScheduledRow::new(at_ms, first);
            transaction = transaction.put_new("scheduled", &Key::Scheduled(tenant, at_ms, &email.id), &line);
        }
        if let Some(links) = &self.links {
            transaction = transaction.put_new("links", &Key::Links(tenant, &email.id), links);
        }
        for delivery in &self.deliveries {
            transaction = transaction.put_new("delivery", &Key::Delivery(tenant, &email.id, &delivery.id), delivery);
        }
        Ok(transaction)
    }

    /// A ticket for every delivery; for a scheduled email one alone, when its time is near.
    pub(crate) fn tickets(&self, app: &App, tenant: &TenantId) -> Tickets {
        if let Some(at_ms) = self.email.scheduled_at_ms {
            let line = self
                .deliveries
                .first()
                .map(|first| schedule::ScheduledRow::new(at_ms, first));
            return line
                .and_then(|line| line.ticket(tenant, app.clock.now_ms()))
                .map(|(delay_ms, ticket)| (delay_ms, vec![ticket]))
                .into_iter()
                .collect();
        }
        let ticket = |delivery: &DeliveryRow| Ticket {
            tenant: tenant.clone(),
            email: delivery.email.clone(),
            delivery: delivery.id.clone(),
        };
        BTreeMap::from([(0, self.deliveries.iter().map(ticket).collect())])
    }
}
