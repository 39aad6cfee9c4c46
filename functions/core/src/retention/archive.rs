//! Stored messages that no email was ever accepted for.
//!
//! A message is stored before the transaction that accepts its email, so a process that dies in between leaves an object
//! without a row. A batch is accepted by a last transaction, so one that dies before leaves emails that no read shows. Both
//! are certain after a day. The sweep keeps its place: every object is looked at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{DAY_MS, Pages, Swept, warn_of_stranger};
use crate::actor::Actor;
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Transaction, absent};
use crate::email::batch::BatchRow;
use crate::email::{EmailRow, read};
use crate::error::Result;
use crate::id::{BatchId, EmailId, RecordId, TenantId};
use crate::key::{Key, Objects};
use crate::record::RemovedRow;

/// How far a tenant's archive was swept.
#[derive(Serialize, Deserialize)]
struct SweptRow {
    /// The path of the last object that was looked at.
    after: String,
}

/// What the sweep needs to know of a record, or of what is left of one.
#[derive(Deserialize)]
struct Seen {
    id: RecordId,
    #[serde(default)]
    email: Option<EmailId>,
}

/// An object that is old enough.
struct Due {
    path: String,
    record: RecordId,
}

pub(super) async fn sweep(app: &App, actor: &Actor, tenant: &TenantId, swept: &mut Swept) -> Result<()> {
    let place = Key::Swept(tenant);
    let after = app.get::<SweptRow>(&place).await?.map(|row| row.after);
    let until_ms = app.clock.now_ms().saturating_sub(DAY_MS);
    let mut pages = Pages::new(app, Objects::Archive(tenant), after.unwrap_or_default());
    let mut run = Run {
        app,
        actor,
        tenant,
        batches: HashMap::new(),
    };
    while let Some(page) = pages.next().await? {
        let (mut due, mut is_young) = (Vec::with_capacity(page.len()), false);
        for path in page {
            match Objects::record(&path) {
                // What follows is younger still.
                Some(record) if record.made_at().as_millisecond() > until_ms => {
                    is_young = true;
                    break;
                }
                Some(record) => due.push(Due { path, record }),
                None => warn_of_stranger(tenant),
            }
        }
        let last = due.last().map(|last| last.path.clone());
        run.page(due, swept).await?;
        if let Some(after) = last {
            // Only what is done is passed, so that a run that broke off is repeated.
            let row = SweptRow { after };
            Transaction::new(app).put("place", &place, &row, None).commit().await?;
        }
        if is_young {
            break;
        }
    }
    Ok(())
}

struct Run<'a> {
    app: &'a App,
    actor: &'a Actor,
    tenant: &'a TenantId,
    /// Batches that were looked at: whether they are given up.
    batches: HashMap<BatchId, bool>,
}

impl Run<'_> {
    async fn page(&mut self, due: Vec<Due>, swept: &mut Swept) -> Result<()> {
        let (app, tenant) = (self.app, self.tenant);
        let keys: Vec<Key<'_>> = due.iter().map(|due| Key::Record(tenant, &due.record)).collect();
        let records: Vec<Seen> = app.get_all(&keys).await?;
        let emails: BTreeSet<&EmailId> = records.iter().filter_map(|seen| seen.email.as_ref()).collect();
        let keys: Vec<Key<'_>> = emails.into_iter().map(|email| Key::Email(tenant, email)).collect();
        let emails: Vec<EmailRow> = app.get_all(&keys).await?;
        let emails: HashMap<_, _> = emails.into_iter().map(|email| (email.id.clone(), email)).collect();
        let records: HashMap<_, _> = records.into_iter().map(|seen| (seen.id.clone(), seen)).collect();
        for due in due {
            let is_removed = match records.get(&due.record) {
                None => {
                    let is_ours = self.forbid(&due.record).await?;
                    swept.n_orphans += usize::from(is_ours);
                    is_ours
                }
                Some(Seen { email: None, .. }) => true,
                Some(Seen { email: Some(email), .. }) => {
                    let email = emails.get(email);
                    let is_dead = match email.and_then(|email| email.batch.as_ref()) {
                        Some(batch) => self.is_given_up(batch).await?,
                        None => false,
                    };
                    let is_gone = match email.filter(|_| is_dead) {
                        Some(email) => self.give_up(email).await?,
                        None => false,
                    };
                    swept.n_emails += usize::from(is_gone);
                    is_gone
                }
            };
            if is_removed {
                app.remove_versions(Objects::Archive(tenant), &due.path).await?;
            }
        }
        Ok(())
    }

    /// Sees to it that no record of this id is ever written; whether there is none.
    async fn forbid(&self, record: &RecordId) -> Result<bool> {
        let entry = self.entry(Action::OrphanRemoved, record.as_str(), BTreeMap::new());
        let outcome = Transaction::new(self.app)
            .put(
                "record",
                &Key::Record(self.tenant, record),
                &self.removed(record),
                Some(absent()),
            )
            .audit(self.app, entry)?
            .commit()
            .await?;
        Ok(outcome == Outcome::Committed)
    }

    /// Whether a batch will never be committed. Where it has no mark, it gets the one that forbids it.
    async fn is_given_up(&mut self, batch: &BatchId) -> Result<bool> {
        if let Some(known) = self.batches.get(batch) {
            return Ok(*known);
        }
        let key = Key::Batch(self.tenant, batch);
        let is_given_up = match self.app.get::<BatchRow>(&key).await? {
            Some(mark) => !mark.is_committed(),
            None => {
                let entry = self.entry(Action::BatchGivenUp, batch.as_str(), BTreeMap::new());
                let outcome = Transaction::new(self.app)
                    .put_new("batch", &key, &BatchRow::given_up(self.app.clock.now_ms()))
                    .audit(self.app, entry)?
                    .commit()
                    .await?;
                outcome == Outcome::Committed
            }
        };
        self.batches.insert(batch.clone(), is_given_up);
        Ok(is_given_up)
    }

    /// Removes an email of a batch that is given up, with its record key; whether it was still there.
    async fn give_up(&self, email: &EmailRow) -> Result<bool> {
        let (app, tenant) = (self.app, self.tenant);
        let facts = BTreeMap::from([("record", email.record.to_string())]);
        let is_whole = Expression::new("attribute_exists(email)");
        let mut transaction = Transaction::new(app)
            .put(
                "record",
                &Key::Record(tenant, &email.record),
                &self.removed(&email.record),
                Some(is_whole),
            )
            .delete("email", &Key::Email(tenant, &email.id))
            .delete("list", &Key::Listed(tenant, &email.id))
            .delete("links", &Key::Links(tenant, &email.id))
            .audit(app, self.entry(Action::EmailGivenUp, email.id.as_str(), facts))?;
        if let Some(at_ms) = email.scheduled_at_ms {
            transaction = transaction.delete("scheduled", &Key::Scheduled(tenant, at_ms, &email.id));
        }
        for delivery in read::deliveries(app, tenant, &email.id).await? {
            transaction = transaction.delete("delivery", &Key::Delivery(tenant, &email.id, &delivery.id));
        }
        Ok(transaction.commit().await? == Outcome::Committed)
    }

    fn removed(&self, record: &RecordId) -> RemovedRow {
        RemovedRow {
            id: record.clone(),
            removed_at_ms: self.app.clock.now_ms(),
        }
    }

    fn entry<'e>(&'e self, action: Action, subject: &'e str, facts: BTreeMap<&'static str, String>) -> Entry<'e> {
        Entry {
            tenant: self.tenant,
            actor: self.actor,
            action,
            subject,
            facts,
        }
    }
}
