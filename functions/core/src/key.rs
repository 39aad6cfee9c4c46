//! The only builder of table keys and object paths.
//!
//! Every partition key begins with the tenant, so that a role or a query for one tenant cannot reach another; the
//! exceptions are the register of tenants itself and the sending rate, which tenants share. No key holds an address, a subject or a body: addresses appear as a keyed
//! hash ([`RecipientHash`]).
//!
//! | access | table | pk | sk |
//! |---|---|---|---|
//! | which tenants exist | Directory | `deployment` | `TENANT#<tenant>` |
//! | a tenant | Directory | `<tenant>` | `TENANT` |
//! | an API key; all of a tenant | Directory | `<tenant>` | `APIKEY#<key>` |
//! | the policy in force | Directory | `<tenant>` | `POLICY` |
//! | a webhook endpoint; all of a tenant | Directory | `<tenant>` | `WEBHOOK#<webhook>` |
//! | a period key | Directory | `<tenant>` | `PERIODKEY#<purpose>#<period>` |
//! | an email and all its deliveries | Mail | `<tenant>#EMAIL#<email>` | `EMAIL`, `DELIVERY#<delivery>` |
//! | where an email's counted links lead; what was counted of a delivery | Mail | `<tenant>#EMAIL#<email>` | `LINKS`, `ENGAGEMENT#<delivery>` |
//! | emails, newest first | Mail | `<tenant>#EMAILS#<month>` | `<email>` |
//! | a batch's commit mark | Mail | `<tenant>#BATCH#<batch>` | `BATCH` |
//! | an idempotency key | Mail | `<tenant>#IDEMPOTENCY#<hash>` | `IDEMPOTENCY` |
//! | emails that wait for their time, soonest first | Mail | `<tenant>#SCHEDULED#<shard>` | `<time>#<email>` |
//! | what was sent in a second, who comes back in it | Mail | `deployment#RATE#<second>` | `WINDOW` |
//! | until when waiting deliveries are lined up | Mail | `<tenant>#RATE` | `LINE#<lane>` |
//! | what still has to be done | Mail | `<tenant>#OUTBOX#<shard>` | `<email or batch>` |
//! | a portal message, its sessions | Mail | `<tenant>#PICKUP#<pickup>` | `PICKUP`, `SESSION#<hash>` |
//! | what happened on a day, oldest first | Mail | `<tenant>#EVENTS#<day>` | `<event>` |
//! | how often an answer of SES was in doubt on a day | Mail | `<tenant>#USAGE#<day>` | `DOUBTS` |
//! | events that still have to be told | Mail | `<tenant>#EVENTDUE#<shard>` | `<event>` |
//! | how a stream does | Mail | `<tenant>#STREAM#<stream>` | `STREAM` |
//! | what a stream did in an hour, and which email | Mail | `<tenant>#STREAM#<stream>#<shard>` | `HOUR#…`, `CAUSE#…` |
//! | that something was counted | Mail | `<tenant>#COUNTED#<delivery>` | `<what>` |
//! | an event's way to an endpoint; all of an endpoint; how the endpoint is | Mail | `<tenant>#WEBHOOK#<webhook>` | `EVENT#<event>`, `HEALTH` |
//! | what still has to be posted | Mail | `<tenant>#WEBHOOKDUE#<shard>` | `<event>#<webhook>` |
//! | a recipient's keys and version | People | `<tenant>#RECIPIENT#<hash>` | `FACTS`, `KEY#<kind>` |
//! | a recipient's suppressions | People | `<tenant>#RECIPIENT#<hash>` | `SUPPRESSION#<scope>` |
//! | a tenant's suppressions, oldest first | People | `<tenant>#SUPPRESSIONS#<shard>` | `<suppression>` |
//! | what is known of a mail domain | People | `<tenant>#DOMAIN#<domain>` | `TLS` |
//! | a record: its key and object | Records | `<tenant>#RECORD#<record>` | `RECORD` |
//! | how far the archive was swept | Records | `<tenant>#SWEPT` | `ARCHIVE` |
//! | audit entries without a place in the log | Log | `<tenant>#PENDING#<shard>` | `<entry>` |

mod object;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::id::{
    ApiKeyId, AuditId, BatchId, DeliveryId, EmailId, EventId, PickupId, RecordId, SuppressionId, TenantId, WebhookId,
};
use crate::rate::Lane;

pub use object::{Object, Objects};

/// How many partitions a tenant's outbox and pending audit entries are spread over; a partition takes 1,000 writes a
/// second (DynamoDB developer guide, "Partitions and data distribution").
pub const SHARDS: u8 = 4;

/// The five tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Tenants, API keys, policies, period keys.
    Directory,
    /// Emails, deliveries, idempotency, outbox, portal messages.
    Mail,
    /// What is known of recipients and their domains.
    People,
    /// Record keys and where the objects are.
    Records,
    /// Audit entries.
    Log,
}

impl Table {
    /// The table's name in this deployment.
    #[must_use]
    pub fn name(self, config: &Config) -> &str {
        match self {
            Table::Directory => &config.directory_table,
            Table::Mail => &config.mail_table,
            Table::People => &config.people_table,
            Table::Records => &config.records_table,
            Table::Log => &config.log_table,
        }
    }
}

/// An address as it may stand in a key: HMAC-SHA-256 under the tenant's index key, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RecipientHash(pub(crate) String);

/// What a period key protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Wraps record keys.
    Archive,
    /// Seals what the portal and its codes need.
    Portal,
    /// Hashes addresses for look-ups.
    Index,
    /// Seals addresses in lists of people, and their certificates.
    People,
    /// Seals the secrets that webhooks are signed with.
    Webhook,
}

impl Purpose {
    /// The purpose as it stands in keys and in the encryption context.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Archive => "archive",
            Purpose::Portal => "portal",
            Purpose::Index => "index",
            Purpose::People => "people",
            Purpose::Webhook => "webhook",
        }
    }
}

/// The key of one item.
#[derive(Debug, Clone)]
pub enum Key<'a> {
    /// A tenant's line in the register.
    Registered(&'a TenantId),
    /// A tenant.
    Tenant(&'a TenantId),
    /// An API key.
    ApiKey(&'a TenantId, &'a ApiKeyId),
    /// The policy in force.
    Policy(&'a TenantId),
    /// A period key; the period is a month or `permanent`.
    PeriodKey(&'a TenantId, Purpose, &'a str),
    /// An email.
    Email(&'a TenantId, &'a EmailId),
    /// One delivery of an email.
    Delivery(&'a TenantId, &'a EmailId, &'a DeliveryId),
    /// Where an email's counted links lead.
    Links(&'a TenantId, &'a EmailId),
    /// What was counted of a delivery's openings and clicks.
    Engagement(&'a TenantId, &'a EmailId, &'a DeliveryId),
    /// An email's line in the list of its month.
    Listed(&'a TenantId, &'a EmailId),
    /// The commit mark of a batch.
    Batch(&'a TenantId, &'a BatchId),
    /// An idempotency key, by its hash.
    Idempotency(&'a TenantId, &'a str),
    /// An email's line in the outbox.
    OutboxEmail(&'a TenantId, &'a EmailId),
    /// An email's line in the list of those that wait for a time, which is in milliseconds since the epoch.
    Scheduled(&'a TenantId, i64, &'a EmailId),
    /// What was sent in a second, counted since the epoch.
    RateWindow(i64),
    /// The end of a tenant's line of waiting deliveries.
    RateLine(&'a TenantId, Lane),
    /// A batch's line in the outbox.
    OutboxBatch(&'a TenantId, &'a BatchId),
    /// A portal message.
    Pickup(&'a TenantId, &'a PickupId),
    /// A browser session of a portal message, by the hash of its token.
    PickupSession(&'a TenantId, &'a PickupId, &'a str),
    /// Something that happened, in the list of its day.
    Event(&'a TenantId, &'a EventId),
    /// An event that still has to be told.
    EventDue(&'a TenantId, &'a EventId),
    /// A webhook endpoint.
    Webhook(&'a TenantId, &'a WebhookId),
    /// An event's way to an endpoint.
    Telling(&'a TenantId, &'a WebhookId, &'a EventId),
    /// How an endpoint is, while posts to it fail.
    WebhookHealth(&'a TenantId, &'a WebhookId),
    /// An event that still has to be posted to an endpoint.
    TellingDue(&'a TenantId, &'a WebhookId, &'a EventId),
    /// A day's counts of doubts; the day as `2026-11-24`.
    Doubts(&'a TenantId, &'a str),
    /// How a stream does.
    Stream(&'a TenantId, &'a str),
    /// What a stream did in an hour, in one of its shards; generation, hour in milliseconds, what chooses the shard.
    StreamHour(&'a TenantId, &'a str, u64, i64, &'a DeliveryId),
    /// What an email did in an hour; generation, hour in milliseconds.
    StreamCause(&'a TenantId, &'a str, u64, i64, &'a EmailId),
    /// That something of a delivery was counted.
    Counted(&'a TenantId, &'a DeliveryId, &'a str),
    /// The version of all that is known of a recipient.
    Facts(&'a TenantId, &'a RecipientHash),
    /// A recipient's certificate of one kind.
    RecipientKey(&'a TenantId, &'a RecipientHash, &'a str),
    /// A recipient's suppression of one scope.
    Suppression(&'a TenantId, &'a RecipientHash, &'a str),
    /// A suppression in the tenant's list.
    ListedSuppression(&'a TenantId, &'a SuppressionId),
    /// What is known of a mail domain's TLS.
    Domain(&'a TenantId, &'a str),
    /// A record.
    Record(&'a TenantId, &'a RecordId),
    /// How far a tenant's archive was swept.
    Swept(&'a TenantId),
    /// An audit entry that waits for its place.
    Pending(&'a TenantId, &'a AuditId),
}

impl Key<'_> {
    /// The table that the item stands in.
    #[must_use]
    pub fn table(&self) -> Table {
        match self {
            Key::Registered(..)
            | Key::Tenant(..)
            | Key::ApiKey(..)
            | Key::Policy(..)
            | Key::PeriodKey(..)
            | Key::Webhook(..) => Table::Directory,
            Key::Email(..)
            | Key::Delivery(..)
            | Key::Links(..)
            | Key::Engagement(..)
            | Key::Listed(..)
            | Key::Batch(..)
            | Key::Idempotency(..)
            | Key::Scheduled(..)
            | Key::RateWindow(..)
            | Key::RateLine(..)
            | Key::OutboxEmail(..)
            | Key::OutboxBatch(..)
            | Key::Pickup(..)
            | Key::PickupSession(..)
            | Key::Event(..)
            | Key::EventDue(..)
            | Key::Stream(..)
            | Key::StreamHour(..)
            | Key::StreamCause(..)
            | Key::Counted(..)
            | Key::Telling(..)
            | Key::WebhookHealth(..)
            | Key::TellingDue(..)
            | Key::Doubts(..) => Table::Mail,
            Key::Facts(..)
            | Key::RecipientKey(..)
            | Key::Suppression(..)
            | Key::ListedSuppression(..)
            | Key::Domain(..) => Table::People,
            Key::Record(..) | Key::Swept(..) => Table::Records,
            Key::Pending(..) => Table::Log,
        }
    }

    /// Partition key and sort key.
    #[must_use]
    pub fn parts(&self) -> (String, String) {
        match self {
            Key::Registered(tenant) => (REGISTER.to_owned(), format!("TENANT#{tenant}")),
            Key::Tenant(tenant) => (tenant.to_string(), "TENANT".to_owned()),
            Key::ApiKey(tenant, key) => (tenant.to_string(), format!("{API_KEYS}{key}")),
            Key::Policy(tenant) => (tenant.to_string(), "POLICY".to_owned()),
            Key::PeriodKey(tenant, purpose, period) => {
                (tenant.to_string(), format!("PERIODKEY#{}#{period}", purpose.as_str()))
            }
            Key::Email(tenant, email) => (email_partition(tenant, email), "EMAIL".to_owned()),
            Key::Delivery(tenant, email, delivery) => {
                (email_partition(tenant, email), format!("{DELIVERIES}{delivery}"))
            }
            Key::Links(tenant, email) => (email_partition(tenant, email), "LINKS".to_owned()),
            Key::Engagement(tenant, email, delivery) => {
                (email_partition(tenant, email), format!("{ENGAGEMENTS}{delivery}"))
            }
            Key::Listed(tenant, email) => (list_partition(tenant, &month(email.made_at())), email.to_string()),
            Key::Batch(tenant, batch) => (format!("{tenant}#BATCH#{batch}"), "BATCH".to_owned()),
            Key::Idempotency(_, hash) if crate::planted!("bug_13") => {
                (format!("shared#IDEMPOTENCY#{hash}"), "IDEMPOTENCY".to_owned())
            }
            Key::Idempotency(tenant, hash) => (format!("{tenant}#IDEMPOTENCY#{hash}"), "IDEMPOTENCY".to_owned()),
            Key::OutboxEmail(tenant, email) => (outbox_partition(tenant, shard(email.as_str())), email.to_string()),
            Key::Scheduled(tenant, at_ms, email) => (
                scheduled_partition(tenant, shard(email.as_str())),
                format!("{}#{email}", scheduled_from(*at_ms)),
            ),
            Key::RateWindow(second) => (format!("{REGISTER}#RATE#{second}"), "WINDOW".to_owned()),
            Key::RateLine(tenant, lane) => (format!("{tenant}#RATE"), format!("LINE#{}", lane.as_str())),
            Key::OutboxBatch(tenant, batch) => (outbox_partition(tenant, shard(batch.as_str())), batch.to_string()),
            Key::Pickup(tenant, pickup) => (pickup_partition(tenant, pickup), "PICKUP".to_owned()),
            Key::PickupSession(tenant, pickup, hash) => (pickup_partition(tenant, pickup), format!("SESSION#{hash}")),
            Key::Event(tenant, event) => (events_partition(tenant, &day(event.made_at())), event.to_string()),
            Key::EventDue(tenant, event) => (event_due_partition(tenant, shard(event.as_str())), event.to_string()),
            Key::Webhook(tenant, webhook) => (tenant.to_string(), format!("{WEBHOOKS}{webhook}")),
            Key::Telling(tenant, webhook, event) => (webhook_partition(tenant, webhook), format!("{TELLINGS}{event}")),
            Key::WebhookHealth(tenant, webhook) => (webhook_partition(tenant, webhook), "HEALTH".to_owned()),
            Key::TellingDue(tenant, webhook, event) => (
                telling_due_partition(tenant, shard(event.as_str())),
                format!("{event}#{webhook}"),
            ),
            Key::Doubts(tenant, day) => (format!("{tenant}#USAGE#{day}"), "DOUBTS".to_owned()),
            Key::Stream(tenant, stream) => (format!("{tenant}#STREAM#{stream}"), "STREAM".to_owned()),
            Key::StreamHour(tenant, stream, generation, hour, delivery) => (
                stream_partition(tenant, stream, shard(delivery.as_str())),
                format!("HOUR#{generation}#{hour}"),
            ),
            Key::StreamCause(tenant, stream, generation, hour, email) => (
                stream_partition(tenant, stream, shard(email.as_str())),
                format!("CAUSE#{generation}#{hour}#{email}"),
            ),
            Key::Counted(tenant, delivery, what) => (format!("{tenant}#COUNTED#{delivery}"), (*what).to_owned()),
            Key::Facts(tenant, recipient) => (recipient_partition(tenant, recipient), "FACTS".to_owned()),
            Key::RecipientKey(tenant, recipient, kind) => (
                recipient_partition(tenant, recipient),
                format!("{RECIPIENT_KEYS}{kind}"),
            ),
            Key::Suppression(tenant, recipient, scope) => {
                (recipient_partition(tenant, recipient), format!("SUPPRESSION#{scope}"))
            }
            Key::ListedSuppression(tenant, id) => (suppressions_partition(tenant, shard(id.as_str())), id.to_string()),
            Key::Domain(tenant, domain) => (format!("{tenant}#DOMAIN#{domain}"), "TLS".to_owned()),
            Key::Record(tenant, record) => (format!("{tenant}#RECORD#{record}"), "RECORD".to_owned()),
            Key::Swept(tenant) => (format!("{tenant}#SWEPT"), "ARCHIVE".to_owned()),
            Key::Pending(tenant, entry) => (format!("{tenant}#PENDING#{}", shard(entry.as_str())), entry.to_string()),
        }
    }
}

/// Partition of the register of tenants.
pub const REGISTER: &str = "deployment";
/// What the sort keys of API keys begin with.
pub const API_KEYS: &str = "APIKEY#";
/// What the sort keys of webhook endpoints begin with.
pub const WEBHOOKS: &str = "WEBHOOK#";
/// What the sort keys of an endpoint's events begin with.
pub const TELLINGS: &str = "EVENT#";
/// What the sort keys of an email's deliveries begin with.
pub const DELIVERIES: &str = "DELIVERY#";
/// What the sort keys of what was counted of an email's deliveries begin with.
pub const ENGAGEMENTS: &str = "ENGAGEMENT#";
/// What the sort keys of a recipient's certificates begin with.
pub const RECIPIENT_KEYS: &str = "KEY#";

/// Partition of an email and its deliveries.
#[must_use]
pub fn email_partition(tenant: &TenantId, email: &EmailId) -> String {
    format!("{tenant}#EMAIL#{email}")
}

/// Partition of a month's list of emails.
#[must_use]
pub fn list_partition(tenant: &TenantId, month: &str) -> String {
    format!("{tenant}#EMAILS#{month}")
}

/// Partition of one shard of the outbox.
#[must_use]
pub fn outbox_partition(tenant: &TenantId, shard: u8) -> String {
    format!("{tenant}#OUTBOX#{shard}")
}

/// Partition of one shard of the emails that wait for a time.
#[must_use]
pub fn scheduled_partition(tenant: &TenantId, shard: u8) -> String {
    format!("{tenant}#SCHEDULED#{shard}")
}

/// Below every sort key of an email that waits for this time or a later one, above those of earlier ones.
#[must_use]
pub fn scheduled_from(at_ms: i64) -> String {
    format!("{:015}", at_ms.max(0))
}

/// Partition of a day's events.
#[must_use]
pub fn events_partition(tenant: &TenantId, day: &str) -> String {
    format!("{tenant}#EVENTS#{day}")
}

/// Partition of one shard of the events that still have to be told.
#[must_use]
pub fn event_due_partition(tenant: &TenantId, shard: u8) -> String {
    format!("{tenant}#EVENTDUE#{shard}")
}

/// Partition of an endpoint's events.
#[must_use]
pub fn webhook_partition(tenant: &TenantId, webhook: &WebhookId) -> String {
    format!("{tenant}#WEBHOOK#{webhook}")
}

/// Partition of one shard of what still has to be posted.
#[must_use]
pub fn telling_due_partition(tenant: &TenantId, shard: u8) -> String {
    format!("{tenant}#WEBHOOKDUE#{shard}")
}

/// Partition of what is known of a recipient.
#[must_use]
pub fn recipient_partition(tenant: &TenantId, recipient: &RecipientHash) -> String {
    format!("{tenant}#RECIPIENT#{}", recipient.0)
}

/// Partition of one shard of what a stream did.
#[must_use]
pub fn stream_partition(tenant: &TenantId, stream: &str, shard: u8) -> String {
    format!("{tenant}#STREAM#{stream}#{shard}")
}

/// Partition of one shard of the list of suppressions.
#[must_use]
pub fn suppressions_partition(tenant: &TenantId, shard: u8) -> String {
    format!("{tenant}#SUPPRESSIONS#{shard}")
}

fn pickup_partition(tenant: &TenantId, pickup: &PickupId) -> String {
    format!("{tenant}#PICKUP#{pickup}")
}

/// The month of a time, in UTC, as `2026-11`.
#[must_use]
pub fn month(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::UTC).strftime("%Y-%m").to_string()
}

/// The day of a time, in UTC, as `2026-11-24`.
#[must_use]
pub fn day(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

fn shard(id: &str) -> u8 {
    id.bytes().last().unwrap_or_default() % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_access_pattern_has_its_key() {
        let tenant = TenantId::from_bytes([1; 16]);
        let email = EmailId::from_bytes([2; 16]);
        let record = RecordId::from_bytes([3; 16]);
        let recipient = RecipientHash("c0ffee".to_owned());
        let delivery = DeliveryId::from_bytes([4; 16]);
        let pickup = PickupId::from_bytes([5; 16]);
        let batch = BatchId::from_bytes([6; 16]);
        let entry = AuditId::from_bytes([7; 16]);
        let api_key = ApiKeyId::from_bytes([8; 16]);
        let event = EventId::from_bytes([9; 16]);
        let suppression = SuppressionId::from_bytes([10; 16]);
        let webhook = WebhookId::from_bytes([10; 16]);
        let keys = [
            Key::Registered(&tenant),
            Key::Tenant(&tenant),
            Key::ApiKey(&tenant, &api_key),
            Key::Policy(&tenant),
            Key::PeriodKey(&tenant, Purpose::Archive, "2026-11"),
            Key::Email(&tenant, &email),
            Key::Delivery(&tenant, &email, &delivery),
            Key::Listed(&tenant, &email),
            Key::Batch(&tenant, &batch),
            Key::Idempotency(&tenant, "abcd"),
            Key::Scheduled(&tenant, 1_795_521_600_000, &email),
            Key::RateWindow(1_795_521_600),
            Key::RateLine(&tenant, Lane::Care),
            Key::OutboxEmail(&tenant, &email),
            Key::OutboxBatch(&tenant, &batch),
            Key::Pickup(&tenant, &pickup),
            Key::PickupSession(&tenant, &pickup, "ef01"),
            Key::Event(&tenant, &event),
            Key::EventDue(&tenant, &event),
            Key::Webhook(&tenant, &webhook),
            Key::Telling(&tenant, &webhook, &event),
            Key::WebhookHealth(&tenant, &webhook),
            Key::TellingDue(&tenant, &webhook, &event),
            Key::Doubts(&tenant, "2026-11-24"),
            Key::Stream(&tenant, "marketing"),
            Key::StreamHour(&tenant, "marketing", 0, 3_600_000, &delivery),
            Key::StreamCause(&tenant, "marketing", 0, 3_600_000, &email),
            Key::Counted(&tenant, &delivery, "sent"),
            Key::Facts(&tenant, &recipient),
            Key::RecipientKey(&tenant, &recipient, "openpgp"),
            Key::Suppression(&tenant, &recipient, "marketing"),
            Key::ListedSuppression(&tenant, &suppression),
            Key::Domain(&tenant, "clinic.test"),
            Key::Record(&tenant, &record),
            Key::Swept(&tenant),
            Key::Pending(&tenant, &entry),
        ];
        let mut text = String::new();
        for key in keys {
            let (pk, sk) = key.parts();
            text.push_str(&format!("{:?} {pk} | {sk}\n", key.table()));
        }
        for object in [
            Object::Archive(&tenant, &record),
            Object::Sealed(&tenant, &email, &delivery, "0123"),
            Object::Portal(&tenant, &pickup),
        ] {
            text.push_str(&format!("{}\n", object.path()));
        }
        insta::assert_snapshot!(text, @r"
        Directory deployment | TENANT#ten_01040g2081040g2081040g2081
        Directory ten_01040g2081040g2081040g2081 | TENANT
        Directory ten_01040g2081040g2081040g2081 | APIKEY#key_081040g2081040g2081040g208
        Directory ten_01040g2081040g2081040g2081 | POLICY
        Directory ten_01040g2081040g2081040g2081 | PERIODKEY#archive#2026-11
        Mail ten_01040g2081040g2081040g2081#EMAIL#em_02081040g2081040g2081040g2 | EMAIL
        Mail ten_01040g2081040g2081040g2081#EMAIL#em_02081040g2081040g2081040g2 | DELIVERY#dlv_040g2081040g2081040g208104
        Mail ten_01040g2081040g2081040g2081#EMAILS#2039-12 | em_02081040g2081040g2081040g2
        Mail ten_01040g2081040g2081040g2081#BATCH#bat_060r30c1g60r30c1g60r30c1g6 | BATCH
        Mail ten_01040g2081040g2081040g2081#IDEMPOTENCY#abcd | IDEMPOTENCY
        Mail ten_01040g2081040g2081040g2081#SCHEDULED#2 | 001795521600000#em_02081040g2081040g2081040g2
        Mail deployment#RATE#1795521600 | WINDOW
        Mail ten_01040g2081040g2081040g2081#RATE | LINE#care
        Mail ten_01040g2081040g2081040g2081#OUTBOX#2 | em_02081040g2081040g2081040g2
        Mail ten_01040g2081040g2081040g2081#OUTBOX#2 | bat_060r30c1g60r30c1g60r30c1g6
        Mail ten_01040g2081040g2081040g2081#PICKUP#pu_050m2ga1850m2ga1850m2ga185 | PICKUP
        Mail ten_01040g2081040g2081040g2081#PICKUP#pu_050m2ga1850m2ga1850m2ga185 | SESSION#ef01
        Mail ten_01040g2081040g2081040g2081#EVENTS#2284-10-22 | evt_09144gj289144gj289144gj289
        Mail ten_01040g2081040g2081040g2081#EVENTDUE#1 | evt_09144gj289144gj289144gj289
        Directory ten_01040g2081040g2081040g2081 | WEBHOOK#wh_0a1850m2ga1850m2ga1850m2ga
        Mail ten_01040g2081040g2081040g2081#WEBHOOK#wh_0a1850m2ga1850m2ga1850m2ga | EVENT#evt_09144gj289144gj289144gj289
        Mail ten_01040g2081040g2081040g2081#WEBHOOK#wh_0a1850m2ga1850m2ga1850m2ga | HEALTH
        Mail ten_01040g2081040g2081040g2081#WEBHOOKDUE#1 | evt_09144gj289144gj289144gj289#wh_0a1850m2ga1850m2ga1850m2ga
        Mail ten_01040g2081040g2081040g2081#USAGE#2026-11-24 | DOUBTS
        Mail ten_01040g2081040g2081040g2081#STREAM#marketing | STREAM
        Mail ten_01040g2081040g2081040g2081#STREAM#marketing#0 | HOUR#0#3600000
        Mail ten_01040g2081040g2081040g2081#STREAM#marketing#2 | CAUSE#0#3600000#em_02081040g2081040g2081040g2
        Mail ten_01040g2081040g2081040g2081#COUNTED#dlv_040g2081040g2081040g208104 | sent
        People ten_01040g2081040g2081040g2081#RECIPIENT#c0ffee | FACTS
        People ten_01040g2081040g2081040g2081#RECIPIENT#c0ffee | KEY#openpgp
        People ten_01040g2081040g2081040g2081#RECIPIENT#c0ffee | SUPPRESSION#marketing
        People ten_01040g2081040g2081040g2081#SUPPRESSIONS#1 | sup_0a1850m2ga1850m2ga1850m2ga
        People ten_01040g2081040g2081040g2081#DOMAIN#clinic.test | TLS
        Records ten_01040g2081040g2081040g2081#RECORD#rec_030c1g60r30c1g60r30c1g60r3 | RECORD
        Records ten_01040g2081040g2081040g2081#SWEPT | ARCHIVE
        Log ten_01040g2081040g2081040g2081#PENDING#3 | aud_070w3ge1r70w3ge1r70w3ge1r7
        mail/ten_01040g2081040g2081040g2081/2074-12/rec_030c1g60r30c1g60r30c1g60r3
        sealed/ten_01040g2081040g2081040g2081/em_02081040g2081040g2081040g2/dlv_040g2081040g2081040g208104/0123
        portal/ten_01040g2081040g2081040g2081/pu_050m2ga1850m2ga1850m2ga185
        ");
    }
}
