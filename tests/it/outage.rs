//! Promise: while SES takes nothing, nothing is lost; when it takes mail again, the backlog drains once, at the allowed rate.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::system::Running;

const MAILS: usize = 40;
/// Mails a second that SES takes.
const RATE: f64 = 20.0;

fn batch() -> Value {
    let email = |n: usize| {
        json!({
            "from": "care@clinic.test", "to": format!("p{n}@patient.test"), "subject": "Your results",
            "text": "They are fine.",
        })
    };
    (0..MAILS).map(email).collect()
}

async fn sending(running: &Running, enabled: bool) {
    let ses = aws_sdk_sesv2::Client::new(&running.system.sdk());
    let call = ses.put_account_sending_attributes().sending_enabled(enabled);
    call.send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hours_without_ses_lose_nothing_and_end_without_a_storm() {
    let running = Running::start().await;
    running.system.aws.ses.set_max_send_rate(RATE);
    sending(&running, false).await;
    let (status, answer) = running.post("/emails/batch", &batch()).await;
    assert_eq!(status, 200, "{answer}");
    let ids: Vec<String> = answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|email| email["id"].as_str().unwrap().to_owned())
        .collect();
    for _ in 0..24 {
        running.system.advance(Duration::from_secs(15 * 60)).unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let filter = sealpost_local::aws::ses::Filter::default();
    assert_eq!(running.system.aws.ses.messages(&filter).unwrap().len(), 0);
    for id in &ids {
        let (_, email) = running.get(&format!("/emails/{id}")).await;
        let status = email["recipients"][0]["status"].as_str().unwrap().to_owned();
        assert!(["queued", "sending"].contains(&status.as_str()), "{email}");
    }

    sending(&running, true).await;
    // What waits comes again within ten minutes, the longest wait after a refusal.
    for _ in 0..60 {
        if running.system.aws.ses.messages(&filter).unwrap().len() == MAILS {
            break;
        }
        running.system.advance(Duration::from_secs(30)).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for id in &ids {
        running.until(id, |status| status == "delivered").await;
    }
    let mails = running.system.aws.ses.messages(&filter).unwrap();
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    let mut seconds: BTreeMap<i64, usize> = BTreeMap::new();
    for mail in &mails {
        *copies.entry(mail.recipients[0].address.clone()).or_default() += 1;
        *seconds.entry(mail.at_ms.div_euclid(1000)).or_default() += 1;
    }
    assert_eq!(copies.len(), MAILS);
    assert!(copies.values().all(|n| *n == 1), "{copies:?}");
    let busiest = seconds.values().copied().max().unwrap_or_default();
    println!("busiest second: {busiest} mails of {MAILS}");
    assert!(busiest as f64 <= RATE, "{seconds:?}");
}
