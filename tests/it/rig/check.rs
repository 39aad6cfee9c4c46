//! The invariants, each a checker with its number: those of a step, held against every call as it has its effect, and those
//! of the end, when everything has come to rest.

mod end;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_local::aws::fault::Call;
use sealpost_local::aws::ses::Filter;
use serde_json::Value;

use super::tables;
use super::world::{CANARY, World};

/// What was found broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Such as `I5`.
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
}

/// Statuses in which nothing is left to be done, or a person is asked.
const TERMINAL: [&str; 10] = [
    "delivered",
    "bounced",
    "complained",
    "suppressed",
    "expired",
    "picked_up",
    "blocked",
    "canceled",
    "held",
    "failed",
];

/// Who has a key or a certificate on file, which nobody removes.
const OWN_KEY: [&str; 2] = ["rosa@mta-sts.test", "samir@certs.test"];

/// By what DynamoDB knows a transaction that is tried again.
const TOKEN: &str = "ClientRequestToken";

/// What is known of a run so far.
#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) violations: BTreeSet<Violation>,
    /// Emails that were seen durable after their answer.
    pub(crate) acked: BTreeSet<String>,
    pub(crate) n_effects: usize,
    /// Whether anything was injected that may leave a doubt.
    pub(crate) has_faults: bool,
    /// Whether calls were left unanswered for good, those to SES after them as well.
    pub(crate) has_stalls: bool,
    /// Deliveries whose call to SES met a fate that leaves a doubt, by the bodies of the calls.
    pub(crate) ambiguous: BTreeSet<String>,
    /// The tokens of transactions whose effect came late, when nobody saw it.
    pub(crate) late: Rc<RefCell<BTreeSet<String>>>,
    /// How many events each delivery had when it last changed.
    pub(crate) n_events: BTreeMap<String, usize>,
    /// What was sent for a delivery by a method other than TLS.
    pub(crate) sealed: BTreeMap<(String, String), Vec<u8>>,
}

impl Checker {
    pub(crate) fn broken(&mut self, invariant: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.violations.insert(Violation { invariant, what });
    }

    /// After a step: what had its effect, and what clients were told.
    pub(crate) async fn step(&mut self, world: &mut World) {
        for call in world.sim.effects() {
            self.n_effects += 1;
            match (call.service, call.operation.as_str()) {
                ("ses", "SendEmail") => self.mail(world, &call).await,
                ("dynamodb", "TransactWriteItems") => self.transaction(world, &call).await,
                ("dynamodb", "PutItem" | "UpdateItem" | "DeleteItem") => self.i30_log_is_append_only(&call),
                _ => {}
            }
            self.i14_one_tenant(world, &call);
        }
        let told: Vec<(usize, String)> = world
            .sent
            .iter()
            .flat_map(|sent| sent.ids.iter().flatten().map(|id| (sent.tenant, id)))
            .filter(|(_, id)| !self.acked.contains(*id))
            .map(|(tenant, id)| (tenant, id.clone()))
            .collect();
        for (tenant, id) in told {
            self.i02_acknowledged_is_durable(world, tenant, &id).await;
            self.acked.insert(id);
        }
    }

    /// I2: what a client was told is accepted is in the tables and in the archive, whatever dies next.
    async fn i02_acknowledged_is_durable(&mut self, world: &World, tenant: usize, id: &str) {
        let tenant = &world.tenants[tenant].id;
        let rows = tables::query(&world.sim, "Mail", &format!("{tenant}#EMAIL#{id}")).await;
        let Some(email) = rows.iter().find(|row| row["sk"] == "EMAIL") else {
            return self.broken("I2", format!("{id} was acknowledged and has no row"));
        };
        let n_deliveries = rows
            .iter()
            .filter(|row| text(row, "sk").starts_with("DELIVERY#"))
            .count();
        if n_deliveries as u64 != email["n_deliveries"].as_u64().unwrap_or_default() {
            self.broken("I2", format!("{id} has {n_deliveries} deliveries"));
        }
        let record = text(email, "record");
        let Some(record) = tables::get(&world.sim, "Records", &format!("{tenant}#RECORD#{record}"), "RECORD").await
        else {
            return self.broken("I2", format!("{id} has no record"));
        };
        if !object_is_there(world, tenant, &record).await {
            self.broken("I2", format!("{id} has no archived object as its record describes it"));
        }
    }

    /// What SES was handed: I3, I5, I6, I12.
    async fn mail(&mut self, world: &World, call: &Call) {
        let request: Value = serde_json::from_slice(call.request.body()).unwrap();
        let tags: BTreeMap<&str, &str> = request["EmailTags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tag| {
                (
                    tag["Name"].as_str().unwrap_or_default(),
                    tag["Value"].as_str().unwrap_or_default(),
                )
            })
            .collect();
        let raw = STANDARD
            .decode(request["Content"]["Raw"]["Data"].as_str().unwrap_or_default())
            .unwrap_or_default();
        let tag = |name: &str| tags.get(name).copied().unwrap_or_default();
        let (tenant, email, delivery) = (tag("tenant"), tag("email"), tag("delivery"));
        let method = tag("method");
        let set = request["ConfigurationSetName"].as_str().unwrap_or_default();
        if delivery.is_empty() && !tag("pickup").is_empty() {
            return self.one_time_code(world, &request, &raw);
        }
        if delivery.is_empty() {
            return self.broken("I3", "SES was handed a mail without a delivery's tags");
        }
        if method == "tls" && !set.ends_with("-tls") {
            self.broken(
                "I3",
                format!("{delivery} by TLS under {set:?}, which does not require it"),
            );
        }
        if method != "tls" && shows(&raw, CANARY) {
            self.broken("I3", format!("{delivery} by {method} shows its message"));
        }
        let to = addresses(&request);
        let Some(row) = tables::get(
            &world.sim,
            "Mail",
            &format!("{tenant}#EMAIL#{email}"),
            &format!("DELIVERY#{delivery}"),
        )
        .await
        else {
            return self.broken("I12", format!("{delivery} is no delivery of {tenant}"));
        };
        let expected = recipient(world, email, row["n"].as_u64().unwrap_or_default());
        if let Some(expected) = &expected
            && to != [expected.as_str()]
        {
            self.broken(
                "I12",
                format!("{delivery} went to {} addresses, or to another than its own", to.len()),
            );
        }
        if method == "tls" {
            let head = String::from_utf8_lossy(&raw);
            let head = head.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
            if head.lines().any(|line| line.starts_with("bcc:")) {
                self.broken("I12", format!("{delivery} names its blind copies"));
            }
        }
        let strong = ["openpgp", "smime", "portal"].contains(&method);
        let has_key = expected.as_deref().is_some_and(|address| OWN_KEY.contains(&address));
        if has_key && !strong {
            self.broken("I4", format!("{delivery} went by {method} although a key is on file"));
        }
        if method != "tls" {
            let first = self
                .sealed
                .entry((
                    delivery.to_owned(),
                    // A notice that was renewed is a new copy.
                    format!(
                        "{method} {} {}",
                        row["decision"]["plan_sha256"], row["n_attempts_before"]
                    ),
                ))
                .or_insert_with(|| raw.clone());
            if *first != raw {
                self.broken("I22", format!("{delivery} was sealed anew for another attempt"));
            }
        }
        if row["state"] != "submitting" || row["attempt"].as_u64() != tag("attempt").parse().ok() {
            self.broken(
                "I6",
                format!(
                    "{delivery} was handed to SES as attempt {} while it is {} {}",
                    tag("attempt"),
                    row["state"],
                    row["attempt"]
                ),
            );
        }
    }

    /// A code goes to somebody who got a notice, and shows nothing of the message.
    fn one_time_code(&mut self, world: &World, request: &Value, raw: &[u8]) {
        if shows(raw, CANARY) {
            self.broken("I3", "a code's mail shows the message");
        }
        let to = addresses(request);
        let has_notice = |address: &&str| {
            let filter = Filter {
                to: Some((*address).to_owned()),
                id: None,
            };
            let mails = world.sim.aws.ses.messages(&filter).unwrap();
            // A code's own mail is of no delivery.
            let is_notice = |tags: &[(String, String)]| {
                let has = |name: &str, value: Option<&str>| {
                    let is_it = |(known, is): &(String, String)| known == name && value.is_none_or(|value| value == is);
                    tags.iter().any(is_it)
                };
                has("method", Some("portal")) && has("delivery", None)
            };
            mails.iter().any(|mail| is_notice(&mail.tags))
        };
        if to.len() != 1 || !to.iter().all(has_notice) {
            self.broken("I12", "a code went to somebody who has no notice");
        }
    }

    /// A transaction that was asked for: I4, I7, I8, I9 at the fence, I28 and I30 always.
    async fn transaction(&mut self, world: &World, call: &Call) {
        let request: Value = serde_json::from_slice(call.request.body()).unwrap();
        let items = request["TransactItems"].as_array().unwrap();
        let key = |row: &Value, part: &str| row[part]["S"].as_str().unwrap_or_default().to_owned();
        let puts: Vec<&Value> = items
            .iter()
            .filter_map(|item| item.get("Put"))
            .map(|put| &put["Item"])
            .collect();
        let n_audit = puts.iter().filter(|row| key(row, "pk").contains("#PENDING#")).count();
        for item in items {
            let is_log = |part: &Value| {
                let key = part
                    .get("Item")
                    .or(part.get("Key"))
                    .and_then(|key| key["pk"]["S"].as_str())
                    .unwrap_or_default();
                key.contains("#PENDING#")
            };
            for change in ["Update", "Delete"] {
                if item.get(change).is_some_and(is_log) {
                    self.broken("I30", "an audit entry was changed");
                }
            }
            if let Some(put) = item.get("Put").filter(|put| is_log(put))
                && put["ConditionExpression"] != "attribute_not_exists(pk)"
            {
                self.broken("I30", "an audit entry might be written over");
            }
        }
        for row in &puts {
            let (pk, sk) = (&key(row, "pk"), &key(row, "sk"));
            let Some(delivery) = sk.strip_prefix("DELIVERY#") else {
                continue;
            };
            let row = &tables::plain(row);
            let stored = tables::get(&world.sim, "Mail", pk, sk).await.unwrap_or_default();
            // Only what took effect counts.
            if stored["ver"] != row["ver"] || stored["state"] != row["state"] {
                continue;
            }
            let n_events = row["events"].as_array().map_or(0, Vec::len);
            let n_before = self.n_events.insert(delivery.to_owned(), n_events).unwrap_or_default();
            let is_change = !matches!(text(row, "state"), "claimed" | "ready")
                || n_events > n_before
                    && row["events"].as_array().is_some_and(|events| {
                        matches!(
                            events.last().map(|event| text(event, "type")),
                            Some("rerouted" | "in_doubt" | "postponed")
                        )
                    })
                    && text(row, "state") == "ready";
            if is_change && n_audit == 0 {
                self.broken(
                    "I28",
                    format!("{delivery} became {} without an audit entry", row["state"]),
                );
            }
            // What SES says of a mail whose answer is still out changes such a row too; only the fence adds the event.
            if row["state"] == "submitting"
                && n_events > n_before
                && row["is_ambiguous"] != true
                && row["events"]
                    .as_array()
                    .and_then(|all| all.last())
                    .map(|event| text(event, "type"))
                    == Some("submitting")
            {
                self.fence(world, pk, delivery, row, &request).await;
            }
        }
        let is_acceptance = puts
            .iter()
            .any(|row| key(row, "sk") == "EMAIL" && row["n_deliveries"]["N"].is_string());
        if is_acceptance && n_audit == 0 {
            self.broken("I28", "an email was accepted without an audit entry");
        }
    }

    /// At the fence, policy, suppression, cancel and archive are as the plan assumes.
    async fn fence(&mut self, world: &World, pk: &str, delivery: &str, row: &Value, request: &Value) {
        let tenant = pk.split('#').next().unwrap_or_default();
        let policy = tables::get(&world.sim, "Directory", tenant, "POLICY")
            .await
            .unwrap_or_default();
        // Where an earlier try had its effect unseen, this one only repeats its answer (the token is the same).
        let is_repeated = self.late.borrow().contains(text(request, TOKEN));
        if !is_repeated && row["decision"]["policy_version"] != policy["version"] {
            self.broken(
                "I4",
                format!(
                    "{delivery} goes by policy {} while {} is in force",
                    row["decision"]["policy_version"], policy["version"]
                ),
            );
        }
        let email = tables::get(&world.sim, "Mail", pk, "EMAIL").await.unwrap_or_default();
        if email["canceled_at_ms"].is_i64() || email["canceled_at_ms"].is_u64() {
            self.broken("I9", format!("{delivery} is submitted although it was called off"));
        }
        let record = text(&email, "record");
        let record = tables::get(&world.sim, "Records", &format!("{tenant}#RECORD#{record}"), "RECORD")
            .await
            .unwrap_or_default();
        // A test reaches nobody, and nothing is kept of it.
        if record["locked_until_ms"].is_null() && email["is_test"] != true {
            self.broken(
                "I7",
                format!("{delivery} is submitted before its archived object is locked"),
            );
        }
        let items = request["TransactItems"].as_array();
        let mut facts = items
            .into_iter()
            .flatten()
            .filter_map(|item| item["ConditionCheck"]["Key"]["pk"]["S"].as_str());
        let recipient = facts.find(|pk| pk.contains("#RECIPIENT#"));
        let Some(recipient) = recipient else {
            return self.broken("I8", format!("{delivery} is submitted without a look at its recipient"));
        };
        for suppression in tables::query(&world.sim, "People", recipient).await {
            let scope = text(&suppression, "sk")
                .strip_prefix("SUPPRESSION#")
                .unwrap_or_default();
            if scope == "all" || scope == "marketing" && email["purpose"] == "marketing" {
                self.broken("I8", format!("{delivery} is submitted to a suppressed address"));
            }
        }
    }

    fn i30_log_is_append_only(&mut self, call: &Call) {
        let request: Value = serde_json::from_slice(call.request.body()).unwrap_or_default();
        let table = request["TableName"].as_str().unwrap_or_default();
        if table.to_ascii_lowercase().ends_with("log") {
            self.broken("I30", format!("{} on the log outside a transaction", call.operation));
        }
    }

    /// I14: a request of one tenant touches keys of that tenant and of the deployment alone; no transaction touches two.
    fn i14_one_tenant(&mut self, world: &World, call: &Call) {
        if call.service == "kms" && ["Decrypt", "GenerateDataKey"].contains(&call.operation.as_str()) {
            let request: Value = serde_json::from_slice(call.request.body()).unwrap_or_default();
            if !request["EncryptionContext"]["tenant"].is_string() {
                self.broken("I14", format!("{} without a tenant in its context", call.operation));
            }
        }
        if call.service != "dynamodb" || call.operation != "TransactWriteItems" {
            return;
        }
        let body = String::from_utf8_lossy(call.request.body());
        let n_tenants = world
            .tenants
            .iter()
            .filter(|tenant| {
                body.contains(&format!("\"{}#", tenant.id)) || body.contains(&format!("\"{}\"", tenant.id))
            })
            .count();
        if n_tenants > 1 {
            self.broken("I14", "one transaction touches two tenants");
        }
    }
}

/// Everybody a call to SES names.
fn addresses(request: &Value) -> Vec<&str> {
    ["ToAddresses", "CcAddresses", "BccAddresses"]
        .into_iter()
        .flat_map(|name| request["Destination"][name].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect()
}

/// The token of a transaction.
pub(crate) fn token_of(call: &Call) -> Option<String> {
    let request: Value = serde_json::from_slice(call.request.body()).ok()?;
    Some(request[TOKEN].as_str()?.to_owned())
}

/// The delivery that a call to SES is for.
pub(crate) fn delivery_of(call: &Call) -> Option<String> {
    let request: Value = serde_json::from_slice(call.request.body()).ok()?;
    let tags = request["EmailTags"].as_array()?;
    let tag = tags.iter().find(|tag| tag["Name"] == "delivery")?;
    Some(tag["Value"].as_str()?.to_owned())
}

/// The address of the `n`-th recipient of an email, where its client knows the email.
fn recipient(world: &World, email: &str, n: u64) -> Option<String> {
    for sent in &world.sent {
        let Some(place) = sent.ids.iter().flatten().position(|id| id == email) else {
            continue;
        };
        let addresses = sent.recipients.get(place)?;
        return addresses
            .get(usize::try_from(n).ok()?)
            .map(|address| (*address).to_owned());
    }
    None
}

async fn object_is_there(world: &World, tenant: &str, record: &Value) -> bool {
    let s3 = aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(&world.sim.sdk())
            .force_path_style(true)
            .build(),
    );
    let archive = world
        .sim
        .template
        .buckets
        .iter()
        .find(|bucket| bucket.logical.starts_with("Archive"));
    let id = text(record, "id");
    let listed = s3
        .list_objects_v2()
        .bucket(&archive.unwrap().name)
        .prefix(format!("mail/{tenant}/"))
        .send()
        .await
        .unwrap();
    listed
        .contents()
        .iter()
        .any(|object| object.key().is_some_and(|key| key.ends_with(id)) && object.size() == record["length"].as_i64())
}

fn shows(bytes: &[u8], canary: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let joined = text.replace("=\r\n", "").replace("\r\n", "");
    let encoded = STANDARD.encode(canary);
    joined.contains(canary) || joined.contains(&encoded[..encoded.len() - 4])
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
