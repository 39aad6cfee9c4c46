//! The scenario of the sweep: one of everything that users, time and strangers can do to a deployment, so that every line of
//! the product that calls AWS is come to.

use std::time::Duration;

use fastrand::Rng;
use sealpost_core::id::TenantId;
use sealpost_core::key::stream_partition;
use sealpost_local::system::sim::{BEGIN_MS, Mischief};
use serde_json::json;

use super::{ADDRESSES, CANARY, OPENPGP, SMIME, Sent, World};
use crate::lambda::{events, fill};
use crate::rig::check::Checker;
use crate::rig::tables;
use crate::rig::tour::Tour;

impl World {
    /// Decides that there is to be one of each: every address, a batch, a scheduled email, marketing.
    pub(crate) fn plan_of_each(&mut self) {
        // So slow that mails have to wait for their turn.
        self.sim.aws.ses.set_max_send_rate(2.0);
        let from = format!("care@{}", self.tenants[1].domain);
        let email = |to: &[&str]| json!({ "from": from, "to": to, "subject": format!("{CANARY} results"), "text": format!("{CANARY}: they are fine.") });
        let mut later = email(&[ADDRESSES[3]]);
        later["scheduled_at"] = json!("in 2 min");
        let mut later_in_batch = email(&[ADDRESSES[11]]);
        later_in_batch["scheduled_at"] = json!("in 1 min");
        let mut news = email(&[ADDRESSES[10]]);
        news["purpose"] = json!("marketing");
        news["data_class"] = json!("none");
        news["html"] = json!("<p><a href=\"https://clinic.example/flu\">Flu shots</a></p>");
        let mut to_portal = email(&ADDRESSES[4..8]);
        to_portal["attachments"] =
            json!([{ "filename": "plan.txt", "content": crate::system::base64(CANARY.as_bytes()) }]);
        let mut much_later = email(&[ADDRESSES[3]]);
        much_later["scheduled_at"] = json!("in 20 days");
        let requests = [
            ("/emails", email(&[OPENPGP, SMIME]), vec![vec![OPENPGP, SMIME]]),
            ("/emails", to_portal, vec![ADDRESSES[4..8].to_vec()]),
            ("/emails", email(&[ADDRESSES[8]]), vec![vec![ADDRESSES[8]]]),
            (
                "/emails/batch",
                json!([email(&[ADDRESSES[2]]), later_in_batch]),
                vec![vec![ADDRESSES[2]], vec![ADDRESSES[11]]],
            ),
            ("/emails", later, vec![vec![ADDRESSES[3]]]),
            ("/emails", news, vec![vec![ADDRESSES[10]]]),
            ("/emails", much_later.clone(), vec![vec![ADDRESSES[3]]]),
            ("/emails", much_later, vec![vec![ADDRESSES[3]]]),
        ];
        for (path, body, recipients) in requests {
            let n = self.sent.len();
            let is_scheduled = body.get("scheduled_at").is_some();
            self.sent.push(Sent {
                is_scheduled,
                not_before_ms: BEGIN_MS,
                ..Sent::new(1, path, body, Some(format!("key-{n}")), recipients)
            });
        }
        self.change_every = u32::MAX;
    }

    /// Goes on until everything is said, then through what else users do, and then to the end, with this mischief all along.
    pub(crate) async fn live(&mut self, mischief: &mut Mischief<'_>, checker: &mut Checker, dice: &mut Rng) {
        let (moved, off) = (self.sent.len() - 2, self.sent.len() - 1);
        tour(self, mischief, checker).set_up().await;
        // A new month has new keys, which whoever comes first has to make.
        self.sim.advance(Duration::from_secs(33 * 86_400)).await;
        self.harm_marketing().await;
        self.send_until_locked(mischief, checker, dice).await;
        self.replace_policy().await;
        self.send_all(mischief, checker, dice).await;
        tour(self, mischief, checker).reschedule(moved, off).await;
        for _ in 0..3 {
            tour(self, mischief, checker).a_minute().await;
        }
        self.deceive().await;
        // Marketing that is slowed down goes after ten minutes and up to five more.
        self.advance(Duration::from_secs(16 * 60)).await;
        let silent = tour(self, mischief, checker).look_around().await;
        self.pass(mischief, checker).await;
        // What lies for days is swept, and an endpoint that fails for days is switched off.
        for _ in 0..4 {
            self.advance(Duration::from_secs(36 * 3_600)).await;
            tour(self, mischief, checker).tell_again(&silent).await;
        }
        // So are copies that nobody can read any more.
        self.advance(Duration::from_secs(40 * 86_400)).await;
        tour(self, mischief, checker).a_minute().await;
    }

    /// So many complaints of a tenant's marketing that its guard slows it down.
    async fn harm_marketing(&self) {
        let hour_ms = self.sim.now_ms() / 3_600_000 * 3_600_000;
        let tenant = TenantId::parse(&self.tenants[1].id).unwrap();
        let bucket = json!({
            "pk": { "S": stream_partition(&tenant, "marketing", 0) }, "sk": { "S": format!("HOUR#0#{hour_ms}") },
            "hour_ms": { "N": hour_ms.to_string() }, "sent": { "N": "10000" }, "complained": { "N": "15" },
            "expires_at": { "N": (hour_ms / 1000 + 3 * 86_400).to_string() },
        });
        tables::put(&self.sim, "Mail", &bucket).await;
    }

    /// Sends until a mail's object is about to be locked, which is between its plan and the fence.
    async fn send_until_locked(&mut self, mischief: &mut Mischief<'_>, checker: &mut Checker, dice: &mut Rng) {
        for _ in 0..10_000 {
            let is_locking = !self.sim.waiting("PutObjectRetention").await.is_empty();
            checker.step(self).await;
            if is_locking {
                return;
            }
            self.act(dice);
            self.sim.step(mischief).await.unwrap();
        }
    }

    /// The policy is replaced by one that says the same, at this very moment and not a call later.
    async fn replace_policy(&self) {
        tables::count_up(&self.sim, "Directory", &self.tenants[1].id, "POLICY", "version").await;
    }

    /// Somebody who can write to the queues makes up events, of SES and of ours.
    async fn deceive(&mut self) {
        let unknown = format!("ten_{}", "0".repeat(26));
        let id = |prefix: &str| format!("{prefix}{}", "1".repeat(26));
        let (email, delivery) = (id("em_"), id("dlv_"));
        let forged = &events("tracking")["forged"];
        for tenant in [&unknown, &self.tenants[1].id] {
            let values = [
                ("tenant", tenant.as_str()),
                ("email", &email),
                ("delivery", &delivery),
                ("message_id", "0100"),
            ];
            let forged = fill(forged, &values);
            self.enqueue("SesEvents", forged["Records"][0]["body"].as_str().unwrap())
                .await;
        }
        let hint = json!({ "tenant": self.tenants[1].id, "event": id("evt_") }).to_string();
        self.enqueue("Webhook", &hint).await;
    }

    async fn enqueue(&self, queue: &str, body: &str) {
        let sqs = aws_sdk_sqs::Client::new(&self.sim.sdk());
        let queues = sqs.list_queues().send().await.unwrap();
        let is_it = |url: &&String| url.ends_with(&format!("-{queue}Queue"));
        let url = queues.queue_urls().iter().find(is_it).unwrap();
        sqs.send_message()
            .queue_url(url)
            .message_body(body)
            .send()
            .await
            .unwrap();
    }
}

fn tour<'t, 'm>(world: &'t mut World, mischief: &'t mut Mischief<'m>, checker: &'t mut Checker) -> Tour<'t, 'm> {
    Tour {
        world,
        mischief,
        checker,
    }
}
