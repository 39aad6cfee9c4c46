//! Promise: what one email costs in calls to AWS is known, and does not grow unseen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealpost_local::aws::fault::{Call, Phase, Verdict};
use serde_json::json;

use crate::system::Running;
use crate::webhook::{Receiver, hook};

/// The calls of one email with one recipient by required TLS, two events of SES and two webhooks, in a warm process: 53, and
/// some more where a second of the sending rate is leased, or two events meet at one delivery and one of them reads again.
/// Whoever lowers it lowers this number with it.
const MOST: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn one_email_with_two_events_and_two_webhooks_costs_so_many_calls() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    hook(&running, &receiver.url, &["email.sent", "email.delivered"]).await;
    let email =
        json!({ "from": "care@clinic.test", "to": "pat@patient.test", "subject": "Hello", "text": "All is well." });
    running.settled(&running.send(&email).await).await;
    receiver.until(2).await;
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());

    let counts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&counts);
    let count = move |call: &Call, phase: Phase| {
        if phase == Phase::Before {
            let name = format!("{} {}", call.role, call.operation);
            *counted.lock().unwrap().entry(name).or_default() += 1;
        }
        Verdict::Go
    };
    running.system.aws.set_faults(Some(Arc::new(count)));
    let (status, answer) = running.post("/emails", &email).await;
    assert_eq!(status, 200, "{answer}");
    receiver.until(4).await;
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    running.system.aws.set_faults(None);
    let counts = counts.lock().unwrap();
    let total: usize = counts.values().sum();
    println!("{total} calls: {counts:#?}");
    assert!(total <= MOST, "{total} calls: {counts:#?}");
}
