//! Openings and clicks, where the stream and the data class allow them to be counted.
//!
//! Nothing is counted unless the tenant's policy says so for the stream, and never of a mail that carries what the law
//! protects. A counted link leads through the portal's address to a target that stood in the mail when it was accepted: the
//! targets are kept sealed beside the email, and a link names one by its number. Machines are counted apart. An opening is
//! not a reading: it changes no delivery's status, and a click changes nothing but its count.

mod visitor;

use std::collections::{BTreeMap, BTreeSet};

use sealpost_codec::html::links;
use sealpost_codec::mime::Content;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::aws::table::{Expression, Outcome, Range, Transaction, number, string, string_set};
use crate::delivery::DeliveryRow;
use crate::email::EmailRow;
use crate::error::{Error, Result};
use crate::event::{EventType, NewEvent};
use crate::id::{DeliveryId, EmailId, TenantId};
use crate::key::{ENGAGEMENTS, Key, Table, email_partition};
use crate::link::{self, Link, Use};
use crate::planted;
use crate::planted::slip;
use crate::policy::Tracking;
use crate::record::RecordKey;

use visitor::By;
pub use visitor::Visitor;

/// At most so many links of a mail are counted; the rest lead where they led.
const MAX_LINKS: usize = 200;
/// At most so many bytes of targets are kept of a mail; what comes after them is not counted.
const MAX_TARGETS: usize = 128 * 1024;
/// From how many requests on a delivery's are no longer counted: whoever makes more is no reader.
const MOST: i64 = 1_000;
/// The name of the sealed targets among a record's parts.
const LINKS: &str = "links";

/// Where the counted links of an email lead, sealed under its record key: an address of a page may say what ails somebody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LinksRow {
    #[serde(with = "serde_bytes")]
    targets: Vec<u8>,
}

impl LinksRow {
    /// The counted links of a mail; `None` where there are none.
    pub(crate) fn of(html: Option<&str>, key: &RecordKey) -> Result<Option<Self>> {
        let mut n_bytes = 0;
        let mut targets = html.map(links::targets).unwrap_or_default();
        targets.truncate(MAX_LINKS);
        targets.retain(|target| {
            n_bytes += target.len();
            n_bytes <= MAX_TARGETS
        });
        if targets.is_empty() {
            return Ok(None);
        }
        let plain = serde_json::to_vec(&targets)
            .map_err(|error| Error::internal("The links of an email could not be written.").because(error))?;
        Ok(Some(Self {
            targets: key.seal(LINKS, &plain)?,
        }))
    }

    fn open(&self, key: &RecordKey) -> Result<Vec<String>> {
        let plain = key.unseal(LINKS, &self.targets)?;
        serde_json::from_slice(&plain).map_err(|_| Error::internal("The links of an email do not have their form."))
    }
}

/// Where an email's counted links lead, in the order of their numbers, which begin at 1.
pub(crate) async fn targets(app: &App, tenant: &TenantId, email: &EmailId, key: &RecordKey) -> Result<Vec<String>> {
    match app.get::<LinksRow>(&Key::Links(tenant, email)).await? {
        Some(row) => row.open(key),
        None => Ok(Vec::new()),
    }
}

/// What makes one delivery's openings and clicks known.
pub(crate) struct Marks {
    open: Option<String>,
    /// Targets, and what stands in their place.
    clicks: BTreeMap<String, String>,
}

impl Marks {
    /// The marks of a delivery, as far as they are wanted.
    pub(crate) async fn make(
        app: &App,
        tenant: &TenantId,
        email: &EmailRow,
        delivery: &DeliveryId,
        wanted: Tracking,
        key: &RecordKey,
    ) -> Result<Self> {
        let open = match wanted.opens {
            true => Some(link::make(app, tenant, &email.id, delivery, (Use::Open, 0)).await?),
            false => None,
        };
        let mut clicks = BTreeMap::new();
        if wanted.clicks {
            for (n, target) in (1..).zip(targets(app, tenant, &email.id, key).await?) {
                let link = link::make(app, tenant, &email.id, delivery, (Use::Click, n)).await?;
                clicks.insert(target, link);
            }
        }
        Ok(Self { open, clicks })
    }

    /// Puts them into a message. HTML that browsers might read in another way than we do stays as it is, and uncounted.
    pub(crate) fn add_to(&self, content: &mut Content) {
        let picture = |link: &String| format!("<img src=\"{link}\" alt=\"\" width=\"1\" height=\"1\">");
        let end = self.open.as_ref().map(picture).unwrap_or_default();
        let replace = |target: &str| self.clicks.get(target).cloned();
        if let Some(html) = &mut content.html
            && let Some(marked) = links::rewrite(html, &end, replace)
        {
            *html = marked;
        }
    }
}

/// What was counted of a delivery.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EngagementRow {
    /// The delivery.
    pub delivery: Option<DeliveryId>,
    /// How often the picture was loaded by somebody who may be a person.
    #[serde(default)]
    pub n_opens: i64,
    /// How often by a machine.
    #[serde(default)]
    pub n_machine_opens: i64,
    /// How often a link was followed by somebody who may be a person.
    #[serde(default)]
    pub n_clicks: i64,
    /// How often by a machine.
    #[serde(default)]
    pub n_machine_clicks: i64,
    /// What customers were told of.
    #[serde(default)]
    told: BTreeSet<String>,
}

impl EngagementRow {
    fn total(&self) -> i64 {
        [self.n_opens, self.n_machine_opens, self.n_clicks, self.n_machine_clicks]
            .into_iter()
            .fold(0, i64::saturating_add)
    }
}

/// What was counted of an email's deliveries.
pub(crate) async fn counted(app: &App, tenant: &TenantId, email: &EmailId) -> Result<Vec<EngagementRow>> {
    let range = Range {
        prefix: Some(ENGAGEMENTS),
        ..Range::default()
    };
    app.query(Table::Mail, &email_partition(tenant, email), &range).await
}

/// Counts an opening. Without a visitor, as for a request that only asks whether the picture is there, nothing is counted.
///
/// # Errors
/// NotFound, alike for every link that is not good; Unavailable.
pub async fn open(app: &App, token: &str, visitor: Option<Visitor<'_>>) -> Result<()> {
    let link = link::find(app, Use::Open, token).await?;
    let Some(email) = app.get::<EmailRow>(&Key::Email(&link.tenant.id, &link.email)).await? else {
        return Err(Error::not_found());
    };
    if let Some(visitor) = visitor {
        count(app, &link, &email, EventType::EmailOpened, visitor).await;
    }
    Ok(())
}

/// Where a link leads, which never depends on the request. Counts the click, unless there is no visitor.
///
/// # Errors
/// NotFound, alike for every link that is not good; Unavailable.
pub async fn click(app: &App, token: &str, visitor: Option<Visitor<'_>>) -> Result<String> {
    let link = link::find(app, Use::Click, token).await?;
    let tenant = &link.tenant.id;
    let Some(email) = app.get::<EmailRow>(&Key::Email(tenant, &link.email)).await? else {
        return Err(Error::not_found());
    };
    let (_, key) = app.record(tenant, &email.record).await?;
    let targets = targets(app, tenant, &email.id, &key).await?;
    let target = usize::from(link.n)
        .checked_sub(1)
        .and_then(|n| targets.into_iter().nth(n));
    // It was good when it was kept; a rule that became stricter since counts.
    let target = target
        .and_then(|target| links::target(&target))
        .ok_or_else(Error::not_found)?;
    if let Some(visitor) = visitor {
        count(app, &link, &email, EventType::EmailClicked, visitor).await;
    }
    if planted!("leak_17") {
        return Ok(format!("{target}&utm_content={}", slip::last().address));
    }
    Ok(target)
}

/// Counts, and tells customers the first time. A count that fails is logged and lost: the reader goes on.
async fn count(app: &App, link: &Link, email: &EmailRow, kind: EventType, visitor: Visitor<'_>) {
    if let Err(error) = try_count(app, link, email, kind, visitor).await {
        tracing::warn!(kind = ?error.kind(), "a link was followed and not counted: {error}");
    }
}

async fn try_count(app: &App, link: &Link, email: &EmailRow, kind: EventType, visitor: Visitor<'_>) -> Result<()> {
    let tenant = &link.tenant.id;
    let delivery = app
        .get::<DeliveryRow>(&Key::Delivery(tenant, &email.id, &link.delivery))
        .await?
        .ok_or_else(Error::not_found)?;
    let key = Key::Engagement(tenant, &email.id, &delivery.id);
    let row = app.get::<EngagementRow>(&key).await?.unwrap_or_default();
    if row.total() >= MOST {
        return Ok(());
    }
    let handed_over = delivery.events.iter().rev().find(|event| event.kind == "submitting");
    let after_ms = handed_over.map_or(i64::MAX, |event| app.clock.now_ms().saturating_sub(event.at_ms));
    let by = visitor.by(after_ms);
    let column = match (kind, by) {
        (EventType::EmailOpened, By::Person) => "n_opens",
        (EventType::EmailOpened, _) => "n_machine_opens",
        (_, By::Person) => "n_clicks",
        (_, _) => "n_machine_clicks",
    };
    // Of each link once by a person and once by a machine.
    let what = format!("{column}#{}", link.n);
    if !row.told.contains(&what) {
        let mut facts = BTreeMap::from([
            ("by", by.as_str().to_owned()),
            ("machine", (by != By::Person).to_string()),
            ("purpose", email.purpose.as_str().to_owned()),
        ]);
        if kind == EventType::EmailClicked {
            facts.insert("link", link.n.to_string());
        }
        let event = NewEvent {
            tenant,
            kind,
            email: Some(&email.id),
            delivery: Some(&delivery.id),
            sequence: 0,
            is_test: email.is_test,
            facts,
        };
        let change = Expression::new(format!("SET delivery = :delivery ADD {column} :one, told :told"))
            .with(":delivery", string(delivery.id.as_str()))
            .with(":one", number(1))
            .with(":told", string_set(&what));
        let is_new =
            Expression::new("attribute_not_exists(told) OR NOT contains(told, :what)").with(":what", string(&what));
        let transaction = Transaction::new(app)
            .update("engagement", &key, change, is_new)
            .event(app, event)?;
        if transaction.commit().await? == Outcome::Committed {
            return Ok(());
        }
    }
    let change = Expression::new(format!("ADD {column} :one")).with(":one", number(1));
    app.update(&key, change, Expression::default()).await?;
    Ok(())
}
