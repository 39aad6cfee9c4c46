//! One tenant's backlog leaves another's latency as it is.
//!
//! The run keeps time: every call to AWS takes ten milliseconds, whoever makes it, so that what differs is what the product
//! makes a mail wait for.

use std::time::Duration;

use http::Method;
use sealpost_local::aws::ses::Filter;
use sealpost_local::system::sim::{Door, Mischief, run};
use serde_json::{Value, json};

use super::world::World;

/// What a call to AWS takes.
const CALL: Duration = Duration::from_millis(10);
/// How many mails are measured, alone and beside the backlog.
const MAILS: usize = 7;
/// How often the measured tenant sends: less than a tenth of what SES takes, as most tenants do.
const PACE: Duration = Duration::from_millis(1_130);
/// What waits: more than is sent while the measurement lasts.
const BACKLOG: usize = 100;
/// What is sent before the measurement begins: the burst with which a backlog begins is over.
const LEAD: usize = 14;
const RATE: f64 = 10.0;
const FLOODED: usize = 0;
const MEASURED: usize = 2;

struct Line<'m> {
    world: World,
    mischief: Mischief<'m>,
}

impl Line<'_> {
    /// Lets time pass, and everything happen in it.
    async fn pass(&mut self, by: Duration) {
        let until_ms = self.world.sim.now_ms() + i64::try_from(by.as_millis()).unwrap();
        loop {
            while self.world.sim.now_ms() < until_ms && self.world.sim.step(&mut self.mischief).await.unwrap() {}
            if self.world.sim.now_ms() >= until_ms {
                return;
            }
            self.world.sim.advance(Duration::from_millis(10)).await;
        }
    }

    fn ask(&mut self, tenant: usize, path: &str, body: &Value) {
        let request = self.world.request(tenant, Method::POST, path, body, None);
        self.world.sim.ask(Door::Api, request);
    }

    fn email(&self, tenant: usize, to: &str) -> Value {
        let from = format!("care@{}", self.world.tenants[tenant].domain);
        json!({ "from": from, "to": to, "subject": "Your appointment", "text": "Tomorrow at nine." })
    }

    /// How long each of some mails takes from the request to SES, in milliseconds, sorted; and when the last was asked for.
    async fn latencies(&mut self, who: &str) -> (Vec<i64>, i64) {
        let mut asked = Vec::new();
        for n in 0..MAILS {
            let to = format!("{who}{n}@mta-sts.test");
            let body = self.email(MEASURED, &to);
            asked.push((to, self.world.sim.now_ms()));
            self.ask(MEASURED, "/emails", &body);
            self.pass(PACE).await;
        }
        let left_at_ms = self.world.sim.now_ms();
        self.pass(Duration::from_secs(5)).await;
        let at_ms = |to: &str| {
            let filter = Filter {
                to: Some(to.to_owned()),
                id: None,
            };
            let mails = self.world.sim.aws.ses.messages(&filter).unwrap();
            assert_eq!(mails.len(), 1, "{to}");
            mails[0].at_ms
        };
        let mut latencies: Vec<i64> = asked.iter().map(|(to, asked_ms)| at_ms(to) - asked_ms).collect();
        latencies.sort_unstable();
        (latencies, left_at_ms)
    }

    /// When SES took the mails of the tenant with the backlog.
    fn drained(&self) -> Vec<i64> {
        let mails = self.world.sim.aws.ses.messages(&Filter::default()).unwrap();
        let is_of_backlog = |address: &str| address.starts_with("flood");
        let mut at_ms: Vec<i64> = mails
            .iter()
            .filter(|mail| is_of_backlog(&mail.recipients[0].address))
            .map(|mail| mail.at_ms)
            .collect();
        at_ms.sort_unstable();
        at_ms
    }
}

#[test]
fn one_tenants_backlog_leaves_another_tenants_latency_as_it_is() {
    run(async {
        let mut world = World::start(1).await;
        world.sim.aws.ses.set_max_send_rate(RATE);
        world.sim.begin();
        world.sim.keep_time(CALL);
        let mischief = Mischief {
            most_running: 200,
            ..Mischief::default()
        };
        let mut line = Line { world, mischief };
        line.latencies("warm").await;
        let (alone, _) = line.latencies("alone").await;
        let flood = (0..BACKLOG).map(|n| line.email(FLOODED, &format!("flood{n}@mta-sts.test")));
        let flood = Value::Array(flood.collect());
        line.ask(FLOODED, "/emails/batch", &flood);
        // The backlog is lined up: its first mails go.
        let begun_ms = line.world.sim.now_ms();
        while line.drained().len() < LEAD {
            line.pass(Duration::from_millis(100)).await;
        }
        let (beside, until_ms) = line.latencies("beside").await;
        line.pass(Duration::from_secs(900)).await;
        let drained = line.drained();
        let n_left = drained.iter().filter(|at_ms| **at_ms > until_ms).count();
        println!(
            "alone {alone:?} beside {beside:?} ms while {n_left} of {BACKLOG} waited; the backlog drained in {} ms",
            drained.last().unwrap() - begun_ms
        );
        assert_eq!(drained.len(), BACKLOG, "nothing is lost, nothing is sent twice");
        assert!(n_left > 0, "the backlog was over before the measurement was");
        for (name, n) in [("median", MAILS / 2), ("worst", MAILS - 1)] {
            assert!(
                beside[n] * 10 <= alone[n] * 11,
                "{name}: {} ms alone, {} ms beside a backlog",
                alone[n],
                beside[n]
            );
        }
        Ok(())
    })
    .unwrap();
}
