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
const MAILS: usize = 23;
/// How often the measured tenant sends: less than a tenth of what SES takes, as most tenants do.
const PACE: Duration = Duration::from_millis(1_130);
/// Mails a second that SES takes.
const RATE: f64 = 10.0;
/// Emails that one request may have.
const MOST_IN_BATCH: usize = 100;
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
        // How often it is looked whether something is due: nothing is measured while hours pass.
        let hop = if by > PACE * 10 { Duration::from_secs(1) } else { CALL };
        loop {
            while self.world.sim.now_ms() < until_ms && self.world.sim.step(&mut self.mischief).await.unwrap() {}
            if self.world.sim.now_ms() >= until_ms {
                return;
            }
            self.world.sim.advance(hop).await;
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

/// Whether SES takes mail.
async fn sending(world: &World, is_enabled: bool) {
    let ses = aws_sdk_sesv2::Client::new(&world.sim.sdk());
    let call = ses.put_account_sending_attributes().sending_enabled(is_enabled);
    call.send().await.unwrap();
}

/// Measures one tenant alone, then beside so many mails of another's that were kept from going for so long, from their first
/// second on.
async fn measure(backlog: usize, pause: Duration) {
    let world = World::start(1).await;
    let mut line = Line {
        world,
        mischief: Mischief {
            most_running: 200,
            ..Mischief::default()
        },
    };
    line.world.sim.aws.ses.set_max_send_rate(RATE);
    line.world.sim.begin();
    line.world.sim.keep_time(CALL);
    line.latencies("warm").await;
    // What is kept in mind for a while is looked up again after it, alone as beside the backlog.
    line.pass(pause).await;
    // The first finds nobody warm, as some do beside a backlog, for which more environments start.
    line.world.sim.cool();
    let (alone, _) = line.latencies("alone").await;
    sending(&line.world, pause.is_zero()).await;
    let flood: Vec<Value> = (0..backlog)
        .map(|n| line.email(FLOODED, &format!("flood{n}@mta-sts.test")))
        .collect();
    for batch in flood.chunks(MOST_IN_BATCH) {
        line.ask(FLOODED, "/emails/batch", &Value::Array(batch.to_vec()));
    }
    line.pass(pause).await;
    sending(&line.world, true).await;
    let begun_ms = line.world.sim.now_ms();
    let (beside, until_ms) = line.latencies("beside").await;
    line.pass(Duration::from_secs(900)).await;
    let drained = line.drained();
    let n_left = drained.iter().filter(|at_ms| **at_ms > until_ms).count();
    println!(
        "alone {alone:?} beside {beside:?} ms while {n_left} of {backlog} waited; the backlog drained in {} ms",
        drained.last().unwrap() - begun_ms
    );
    assert_eq!(drained.len(), backlog, "nothing is lost, nothing is sent twice");
    assert!(
        drained[0] >= begun_ms || pause.is_zero(),
        "SES took mail while it was paused"
    );
    assert!(n_left > 0, "the backlog was over before the measurement was");
    for (name, n) in [("median", MAILS / 2), ("worst", MAILS - 1)] {
        assert!(
            beside[n] * 10 <= alone[n] * 11,
            "{name}: {} ms alone, {} ms beside a backlog",
            alone[n],
            beside[n]
        );
    }
}

#[test]
fn one_tenants_backlog_leaves_another_tenants_latency_as_it_is() {
    run(async {
        measure(200, Duration::ZERO).await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_six_hours_without_ses_held_back_leaves_another_tenants_latency_as_it_is() {
    run(async {
        measure(30, Duration::from_secs(6 * 3_600)).await;
        Ok(())
    })
    .unwrap();
}
