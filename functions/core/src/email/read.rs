//! Reading emails back: one with its timeline, or many, newest first.

use std::collections::HashMap;

use jiff::Timestamp;
use sealpost_codec::mime;
use serde::{Deserialize, Serialize};

use super::batch::BatchRow;
use super::{EmailRow, Head, MESSAGE};
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::aws::table::Range;
use crate::delivery::{DeliveryRow, Status};
use crate::engagement::{self, EngagementRow};
use crate::error::{Error, Result};
use crate::id::{EmailId, TenantId};
use crate::key::{self, DELIVERIES, Key, Object, Table, list_partition};
use crate::policy::{DataClass, Purpose};
use crate::record::{RecordKey, RecordRow};

/// A line of a month's list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) id: EmailId,
}

/// An email as its sender sees it. What identifies a patient is in the clear here: it is for the answer alone.
pub struct Email {
    /// The email.
    pub id: EmailId,
    /// Sender, as a header value.
    pub from: String,
    /// To recipients, as header values.
    pub to: Vec<String>,
    /// Cc recipients.
    pub cc: Vec<String>,
    /// Bcc recipients.
    pub bcc: Vec<String>,
    /// Where answers go.
    pub reply_to: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The HTML body; read for a single email only.
    pub html: Option<String>,
    /// The text body; read for a single email only.
    pub text: Option<String>,
    /// The tags.
    pub tags: Vec<(String, String)>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The time that its sender asked for, if that was later than at once.
    pub scheduled_at: Option<Timestamp>,
    /// What sort of data it carries.
    pub data_class: DataClass,
    /// What it is sent for.
    pub purpose: Purpose,
    /// The sender's own reference of the patient.
    pub patient_ref: Option<String>,
    /// Where its counted links lead, in the order of their numbers; read for a single email only.
    pub links: Vec<String>,
    /// Whether its recipients are simulated.
    pub is_test: bool,
    /// What became of it for each recipient; empty in lists.
    pub recipients: Vec<Recipient>,
    /// The state of the recipient that is furthest from done, as Resend's `last_event`.
    pub last_event: Status,
}

/// What became of an email for one recipient.
pub struct Recipient {
    /// The address.
    pub address: String,
    /// The delivery, with its plan and its events.
    pub delivery: DeliveryRow,
    /// What was counted of it; read for a single email only.
    pub engagement: Option<EngagementRow>,
}

/// Which emails a list shows.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// 1 to 100.
    pub limit: usize,
    /// Only older ones than this.
    pub after: Option<EmailId>,
    /// Only newer ones than this.
    pub before: Option<EmailId>,
}

/// One email.
///
/// # Errors
/// Forbidden; NotFound, also for another tenant's; Unavailable.
pub async fn get(app: &App, actor: &Actor, id: &str) -> Result<Email> {
    let tenant = actor.tenant_with(Scope::EmailsRead)?;
    let id = EmailId::parse(id).ok_or_else(Error::not_found)?;
    let row = app
        .get::<EmailRow>(&Key::Email(tenant, &id))
        .await?
        .filter(|row| actor.sees(row.is_test))
        .ok_or_else(Error::not_found)?;
    if !is_committed(app, tenant, &row).await? {
        return Err(Error::not_found());
    }
    let deliveries = deliveries(app, tenant, &id).await?;
    let (record, key) = app.record(tenant, &row.record).await?;
    let mut email = view(&row, &key, &deliveries)?;
    let object = app
        .get_object(&Object::Archive(tenant, &record.id), record.version.as_deref())
        .await?;
    let object = object.ok_or_else(|| Error::internal("An archived object is not there."))?;
    let message = mime::read(&key.unseal(MESSAGE, &object)?)
        .map_err(|error| Error::internal("An archived message cannot be read.").because(error))?;
    if !row.tracking.is_none() {
        email.links = engagement::targets(app, tenant, &id, &key).await?;
        for counted in engagement::counted(app, tenant, &id).await? {
            let of = |recipient: &&mut Recipient| counted.delivery.as_ref() == Some(&recipient.delivery.id);
            if let Some(recipient) = email.recipients.iter_mut().find(of) {
                recipient.engagement = Some(counted);
            }
        }
    }
    email.html = message.html;
    email.text = message.text;
    Ok(email)
}

/// Emails, newest first, and whether more follow.
///
/// # Errors
/// Forbidden; Unavailable.
pub async fn list(app: &App, actor: &Actor, page: &Page) -> Result<(Vec<Email>, bool)> {
    let tenant = actor.tenant_with(Scope::EmailsRead)?;
    let limit = page.limit.clamp(1, 100);
    let ids = listed(app, actor, tenant, page, limit.saturating_add(1)).await?;
    let has_more = ids.len() > limit;
    let ids = ids.get(..ids.len().min(limit)).unwrap_or_default();
    let keys: Vec<Key<'_>> = ids.iter().map(|id| Key::Email(tenant, id)).collect();
    let rows: Vec<EmailRow> = app.get_all(&keys).await?;
    let keys: Vec<Key<'_>> = rows.iter().map(|row| Key::Record(tenant, &row.record)).collect();
    let records: Vec<RecordRow> = app.get_all(&keys).await?;
    let records: HashMap<_, _> = records
        .into_iter()
        .map(|record| (record.email.clone(), record))
        .collect();
    let mut emails = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(record) = records.get(&row.id) {
            let key = RecordKey::open(app, tenant, record).await?;
            emails.push(view(row, &key, &deliveries(app, tenant, &row.id).await?)?);
        }
    }
    emails.sort_by(|one, other| other.id.cmp(&one.id));
    Ok((emails, has_more))
}

/// All deliveries of an email.
pub(crate) async fn deliveries(app: &App, tenant: &TenantId, email: &EmailId) -> Result<Vec<DeliveryRow>> {
    let range = Range {
        prefix: Some(DELIVERIES),
        ..Range::default()
    };
    let mut rows: Vec<DeliveryRow> = app
        .query(Table::Mail, &key::email_partition(tenant, email), &range)
        .await?;
    rows.sort_by_key(|row| row.n);
    Ok(rows)
}

/// Whether an email counts: it came alone, or its batch has its commit mark.
pub(crate) async fn is_committed(app: &App, tenant: &TenantId, row: &EmailRow) -> Result<bool> {
    match &row.batch {
        None => Ok(true),
        Some(batch) => {
            let mark = app.get::<BatchRow>(&Key::Batch(tenant, batch)).await?;
            Ok(mark.is_some_and(|mark| mark.is_committed()))
        }
    }
}

/// An email that counts, for its sender to change.
///
/// # Errors
/// NotFound, also for another tenant's; Unavailable.
pub(super) async fn find(app: &App, actor: &Actor, tenant: &TenantId, id: &str) -> Result<EmailRow> {
    let id = EmailId::parse(id).ok_or_else(Error::not_found)?;
    let email = app.get::<EmailRow>(&Key::Email(tenant, &id)).await?;
    let email = email
        .filter(|email| actor.sees(email.is_test))
        .ok_or_else(Error::not_found)?;
    if is_committed(app, tenant, &email).await? {
        Ok(email)
    } else {
        Err(Error::not_found())
    }
}

/// The ids of committed emails that the actor sees, on a page and one more, month by month.
async fn listed(app: &App, actor: &Actor, tenant: &TenantId, page: &Page, wanted: usize) -> Result<Vec<EmailId>> {
    let first = app.tenant(tenant).await?.created_at_ms;
    let first = Timestamp::from_millisecond(first).unwrap_or(Timestamp::UNIX_EPOCH);
    let upward = page.before.is_some();
    let now = app.clock.now();
    // An id that nobody was given may name any time; outside these months there is nothing to look at.
    let within = |id: &EmailId| id.made_at().min(now).max(first);
    let (start, end) = match (&page.before, &page.after) {
        (Some(before), _) => (within(before), now),
        (None, Some(after)) => (within(after), first),
        (None, None) => (now, first),
    };
    let mut ids = Vec::new();
    let mut batches: HashMap<_, bool> = HashMap::new();
    for month in months(start, end) {
        let mut from = if upward {
            page.before.clone()
        } else {
            page.after.clone()
        };
        loop {
            let at = from.as_ref().map(EmailId::as_str);
            let range = Range {
                after: at.filter(|_| upward),
                before: at.filter(|_| !upward),
                limit: Some(wanted.saturating_sub(ids.len())),
                newest_first: !upward,
                ..Range::default()
            };
            let lines: Vec<Listed> = app.query(Table::Mail, &list_partition(tenant, &month), &range).await?;
            let Some(last) = lines.last() else { break };
            from = Some(last.id.clone());
            let keys: Vec<Key<'_>> = lines.iter().map(|line| Key::Email(tenant, &line.id)).collect();
            let rows: Vec<EmailRow> = app.get_all(&keys).await?;
            let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
            for line in lines {
                let Some(row) = rows.get(&line.id).filter(|row| actor.sees(row.is_test)) else {
                    continue;
                };
                let is_committed = match &row.batch {
                    None => true,
                    Some(batch) => match batches.get(batch) {
                        Some(known) => *known,
                        None => {
                            let known = is_committed(app, tenant, row).await?;
                            batches.insert(batch.clone(), known);
                            known
                        }
                    },
                };
                if is_committed {
                    ids.push(line.id);
                }
            }
            if ids.len() >= wanted {
                return Ok(ids);
            }
        }
    }
    Ok(ids)
}

/// The months from `start` to `end`, both included, in whichever direction that is.
fn months(start: Timestamp, end: Timestamp) -> Vec<String> {
    let number = |at: Timestamp| {
        let text = key::month(at);
        let (year, month) = text.split_once('-').unwrap_or(("1970", "1"));
        year.parse::<i32>().unwrap_or(1970) * 12 + month.parse::<i32>().unwrap_or(1) - 1
    };
    let (start, end) = (number(start), number(end));
    let name = |n: i32| format!("{:04}-{:02}", n.div_euclid(12), n.rem_euclid(12) + 1);
    if start <= end {
        (start..=end).map(name).collect()
    } else {
        (end..=start).rev().map(name).collect()
    }
}

fn view(row: &EmailRow, key: &RecordKey, deliveries: &[DeliveryRow]) -> Result<Email> {
    let head = Head::open(key, &row.head)?;
    let texts =
        |list: &[sealpost_codec::address::Mailbox]| list.iter().map(|m| m.to_header_value()).collect::<Vec<_>>();
    let recipients = deliveries
        .iter()
        .map(|delivery| {
            let address = head.recipient(delivery.n)?.as_str().to_owned();
            Ok(Recipient {
                address,
                delivery: delivery.clone(),
                engagement: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let last_event = deliveries
        .iter()
        .map(DeliveryRow::status)
        .max_by_key(|status| status.urgency());
    Ok(Email {
        id: row.id.clone(),
        from: head.from.to_header_value(),
        to: texts(&head.to),
        cc: texts(&head.cc),
        bcc: texts(&head.bcc),
        reply_to: texts(&head.reply_to),
        subject: head.subject,
        html: None,
        text: None,
        tags: head.tags,
        created_at: Timestamp::from_millisecond(row.created_at_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        scheduled_at: row.scheduled_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        data_class: row.data_class,
        purpose: row.purpose,
        patient_ref: head.patient_ref,
        links: Vec::new(),
        is_test: row.is_test,
        recipients,
        last_event: last_event.unwrap_or(Status::Queued),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_run_both_ways_over_the_turn_of_the_year() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (old, new) = (at("2025-11-30T23:59:59Z"), at("2026-02-01T00:00:00Z"));
        assert_eq!(months(new, old), ["2026-02", "2026-01", "2025-12", "2025-11"]);
        assert_eq!(months(old, new), ["2025-11", "2025-12", "2026-01", "2026-02"]);
    }
}
