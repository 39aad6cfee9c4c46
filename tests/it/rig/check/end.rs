//! What has to hold when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use sealpost_local::aws::ses::{Filter, TlsPolicy};
use sealpost_local::system::sim::Door;
use serde_json::Value;

use super::{Checker, TERMINAL, recipient, text};
use crate::rig::tables;
use crate::rig::world::{World, request};

impl Checker {
    /// When everything has come to rest.
    pub(crate) async fn end(&mut self, world: &mut World) {
        self.step(world).await;
        let accepts = self.accepts(world);
        let mut listed: Vec<BTreeSet<String>> = Vec::new();
        for tenant in 0..world.tenants.len() {
            listed.push(all_listed(world, tenant).await);
        }
        let told: Vec<(usize, usize, String)> = world
            .sent
            .iter()
            .enumerate()
            .flat_map(|(n, sent)| sent.ids.iter().flatten().map(move |id| (n, sent.tenant, id.clone())))
            .collect();
        for (n, tenant, id) in &told {
            self.i01_nothing_is_lost(world, *n, id, &listed[*tenant]).await;
            let sent = &world.sent[*n];
            if sent.is_canceled && accepts.iter().any(|((_, email, _), n)| email == id && *n > 0) {
                self.broken("I9", format!("{id} was called off and went out"));
            }
        }
        let rows = tables::scan(&world.sim, "Mail").await;
        let told: BTreeSet<&String> = told.iter().map(|(_, _, id)| id).collect();
        self.i10_one_key_one_email(world, &rows, &told);
        // What a batch staged that was never accepted counts for nothing; a sweep of its own removes it after a day.
        let staged: BTreeSet<&str> = rows
            .iter()
            .filter(|row| {
                row["sk"] == "EMAIL" && row["batch"].is_string() && !told.contains(&text(row, "id").to_owned())
            })
            .map(|row| text(row, "id"))
            .collect();
        for row in &rows {
            if let Some(delivery) = text(row, "sk").strip_prefix("DELIVERY#") {
                self.i05_copies(world, row, delivery, &accepts);
                if !staged.contains(text(row, "email")) {
                    self.l01_all_end(row, delivery);
                }
            }
            if text(row, "pk").contains("#OUTBOX#") && text(row, "sk").starts_with("em_") {
                let line = text(row, "sk");
                self.broken(
                    "L2",
                    format!("{line} is still in the outbox, to be looked at {}", row["look_at_ms"]),
                );
            }
        }
        for mail in world.sim.aws.ses.messages(&Filter::default()).unwrap() {
            let is_tls = mail.tags.iter().any(|(name, value)| name == "method" && value == "tls");
            if is_tls && mail.tls_policy != TlsPolicy::Require {
                self.broken("I3", format!("{} may have gone in plain text", mail.id));
            }
        }
    }

    /// How often SES accepted each delivery.
    fn accepts(&mut self, world: &World) -> BTreeMap<(String, String, String), usize> {
        let mut accepts = BTreeMap::new();
        for mail in world.sim.aws.ses.messages(&Filter::default()).unwrap() {
            let tag = |name: &str| {
                mail.tags
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default()
            };
            *accepts
                .entry((tag("tenant"), tag("email"), tag("delivery")))
                .or_default() += 1;
        }
        accepts
    }

    async fn i01_nothing_is_lost(&mut self, world: &mut World, n: usize, id: &str, listed: &BTreeSet<String>) {
        let request = world.request_of(&world.sent[n], Method::GET, &format!("/emails/{id}"), &Value::Null);
        let answer = world.sim.call(Door::Api, request).await.unwrap();
        let email = answer.json();
        if answer.status != 200 || !listed.contains(id) {
            return self.broken(
                "I1",
                format!("{id} was accepted and is not shown: {} {email}", answer.status),
            );
        }
        for recipient in email["recipients"].as_array().into_iter().flatten() {
            let status = text(recipient, "status");
            if !TERMINAL.contains(&status) {
                self.broken("I1", format!("{id} ends as {status}: {}", recipient["events"]));
            }
        }
    }

    /// I5: at most one copy, and one more for each resend, of which there is at most one and none without a doubt.
    fn i05_copies(
        &mut self,
        world: &World,
        row: &Value,
        delivery: &str,
        accepts: &BTreeMap<(String, String, String), usize>,
    ) {
        let pk = text(row, "pk");
        let tenant_id = pk.split('#').next().unwrap_or_default();
        let email = pk.rsplit('#').next().unwrap_or_default();
        let n = accepts
            .get(&(tenant_id.to_owned(), email.to_owned(), delivery.to_owned()))
            .copied()
            .unwrap_or_default() as u64;
        let events: Vec<&str> = row["events"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| text(event, "type"))
            .collect();
        let n_resends = row["n_resends"].as_u64().unwrap_or_default();
        let n_doubts = events.iter().filter(|event| **event == "in_doubt").count() as u64;
        // What came back for want of TLS goes by the portal: another mail, not another copy.
        let n_rerouted = events.iter().filter(|event| **event == "rerouted").count() as u64;
        // A notice that its reader lost is sent again, under another link.
        let n_renewed = events.iter().filter(|event| **event == "renewed").count() as u64;
        let tenant = world.tenants.iter().find(|tenant| tenant.id == tenant_id);
        let holds = tenant.is_some_and(|tenant| tenant.on_doubt == "hold");
        // A renewal begins the count of resends anew; every doubt before it was one.
        let n_again = if n_renewed > 0 { n_doubts } else { n_resends };
        if n > 1 + n_again + n_rerouted + n_renewed {
            self.broken(
                "I5",
                format!("{delivery}: {n} copies, {n_resends} resends, {n_rerouted} reroutes: {events:?}"),
            );
        }
        if n_resends > 1 || n_rerouted > 1 || n_resends > n_doubts || n_doubts > 1 + n_rerouted + n_renewed {
            self.broken(
                "I5",
                format!("{delivery}: {n_resends} resends after {n_doubts} doubts, {n_rerouted} reroutes: {events:?}"),
            );
        }
        if holds && (n_resends > 0 || n > 1 + n_rerouted + n_renewed) {
            self.broken(
                "I5",
                format!("{delivery} was resent although its tenant holds: {events:?}"),
            );
        }
        let has_known_end = !self.has_stalls && !self.ambiguous.contains(delivery) && !is_lost_reply(world, email, row);
        if has_known_end && events.contains(&"unanswered") {
            self.broken(
                "F12",
                format!("{delivery} is taken for unanswered although SES answered: {events:?}"),
            );
        }
        // A doubt may also come of events that a queue lost, which no run without faults does.
        if has_known_end && !self.has_faults && n_resends > 0 {
            self.broken(
                "I5",
                format!("{delivery} was resent without an injected doubt: {events:?}"),
            );
        }
    }

    /// I10: one key, one email, one answer.
    fn i10_one_key_one_email(&mut self, world: &World, rows: &[Value], told: &BTreeSet<&String>) {
        for sent in &world.sent {
            for contradiction in &sent.contradictions {
                self.broken("I10", contradiction.clone());
            }
        }
        // No email stands for two requests.
        let mut seen = BTreeSet::new();
        for id in world.sent.iter().flat_map(|sent| sent.ids.iter().flatten()) {
            if !seen.insert(id) {
                self.broken("I10", format!("{id} answers two requests"));
            }
        }
        // No request became two emails: only who has no key and heard nothing has one that it does not know.
        let is_untold = |row: &&Value| {
            row["sk"] == "EMAIL" && row["batch"].is_null() && !told.contains(&text(row, "id").to_owned())
        };
        for (n, tenant) in world.tenants.iter().enumerate() {
            let is_theirs = |row: &&Value| text(row, "pk").starts_with(&format!("{}#", tenant.id));
            let n_untold = rows.iter().filter(is_untold).filter(is_theirs).count();
            let n_may_be = world
                .sent
                .iter()
                .filter(|sent| sent.tenant == n && sent.may_be_unknown())
                .count();
            if n_untold > n_may_be {
                self.broken(
                    "I10",
                    format!("{n_untold} emails that no client knows, of {n_may_be} that may be"),
                );
            }
        }
        let n_rows = rows
            .iter()
            .filter(|row| text(row, "pk").contains("#IDEMPOTENCY#"))
            .count();
        let n_keyed = world.sent.iter().filter(|sent| sent.is_keyed()).count();
        if n_rows > n_keyed {
            self.broken("I10", format!("{n_rows} idempotency rows for {n_keyed} keys"));
        }
    }

    fn l01_all_end(&mut self, row: &Value, delivery: &str) {
        if matches!(text(row, "state"), "scheduled" | "ready" | "claimed" | "submitting") {
            self.broken("L1", format!("{delivery} is still {}: {row}", row["state"]));
        }
        for events in row["events"]
            .as_array()
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .windows(2)
        {
            let waited_ms =
                events[1]["at_ms"].as_i64().unwrap_or_default() - events[0]["at_ms"].as_i64().unwrap_or_default();
            if text(events[1], "type") == "in_doubt" && waited_ms > 24 * 3_600_000 {
                self.broken("L3", format!("{delivery} was in doubt for {waited_ms} ms"));
            }
        }
    }
}

/// Whether a delivery's reply is lost by its very address, or by a queue: a simulated recipient's events go through one.
fn is_lost_reply(world: &World, email: &str, row: &Value) -> bool {
    let loses = |address: String| {
        ["@lost-reply.test", "@simulator.test"]
            .iter()
            .any(|end| address.ends_with(end))
    };
    recipient(world, email, row["n"].as_u64().unwrap_or_default()).is_none_or(loses)
}

/// The emails that a tenant's applications see in their lists.
async fn all_listed(world: &mut World, tenant: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let theirs = world.sent.iter().filter(|sent| sent.tenant == tenant);
    let others: BTreeSet<String> = theirs.filter_map(|sent| sent.api_key.clone()).collect();
    for api_key in others.into_iter().chain([world.tenants[tenant].api_key.clone()]) {
        let mut after = String::new();
        loop {
            let path = format!("/emails?limit=100{after}");
            let request = request(&api_key, Method::GET, &path, &Value::Null, None);
            let page = world.sim.call(Door::Api, request).await.unwrap().json();
            let data = page["data"].as_array().cloned().unwrap_or_default();
            ids.extend(data.iter().map(|email| text(email, "id").to_owned()));
            match data.last() {
                Some(last) if page["has_more"] == true => after = format!("&after={}", text(last, "id")),
                _ => break,
            }
        }
    }
    ids
}
