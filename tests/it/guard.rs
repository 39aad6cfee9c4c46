//! Promise: a stream of marketing that does harm is stopped before it costs the tenant its deliverability, care is never
//! stopped by it, and no other tenant feels it (attack A62).

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use sealpost_core::actor::{self, Actor};
use sealpost_core::app::App;
use sealpost_core::guard::{self, What};
use sealpost_core::id::{DeliveryId, EmailId, TenantId};
use sealpost_core::policy::Purpose;
use sealpost_core::suppression::Source;
use sealpost_core::tenant::{self, NewTenant};
use serde_json::{Value, json};

use crate::system::Running;

const TRACKING: Actor = Actor::System("tracking");

/// The demo's tenant, and an application with every right, as the function has it that is told of bounces.
async fn owner(running: &Running) -> (Arc<App>, TenantId) {
    let app = running.system.app("admin").unwrap();
    let header = format!("Bearer {}", running.api_key);
    let Actor::ApiKey { tenant, .. } = actor::authenticate(&app, Some(&header)).await.unwrap() else {
        panic!("a key is a tenant's");
    };
    (
        App::new(
            app.config.clone(),
            &running.system.sdk(),
            app.clock.clone(),
            app.random.clone(),
        ),
        tenant,
    )
}

/// The `n`-th delivery, of email `email`.
fn source(email: u8, n: u16) -> Source {
    let [high, low] = n.to_be_bytes();
    let mut delivery = [email; 16];
    delivery[14..].copy_from_slice(&[high, low]);
    Source {
        email: EmailId::from_bytes([email; 16]),
        delivery: DeliveryId::from_bytes(delivery),
    }
}

async fn stream(running: &Running, name: &str) -> Value {
    let (status, list) = running.get("/streams").await;
    assert_eq!(status, 200, "{list}");
    let streams = list["data"].as_array().unwrap();
    streams.iter().find(|one| one["stream"] == name).unwrap().clone()
}

fn email(to: &str, purpose: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "News", "text": "We moved.", "purpose": purpose })
}

/// How many events and audit entries say that a verdict changed.
async fn n_told(running: &Running) -> (usize, usize) {
    let dynamodb = aws_sdk_dynamodb::Client::new(&running.system.sdk());
    let mut told = (0, 0);
    for table in dynamodb.list_tables().send().await.unwrap().table_names() {
        for item in dynamodb.scan().table_name(table).send().await.unwrap().items() {
            let is = |name: &str, value: &str| {
                item.get(name)
                    .and_then(|found| found.as_s().ok())
                    .is_some_and(|found| found == value)
            };
            told.0 += usize::from(is("type", "stream.guarded"));
            told.1 += usize::from(is("action", "stream.guarded") || is("action", "stream.resumed"));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmful_stream_of_marketing_pauses_until_somebody_resumes_it() {
    let running = Running::start().await;
    let (app, tenant) = owner(&running).await;
    let count = async |purpose, what, email, n| {
        guard::count(&app, &TRACKING, &tenant, purpose, what, &source(email, n))
            .await
            .unwrap();
    };
    for n in 0..200 {
        count(Purpose::Marketing, What::Sent, 7, n).await;
        count(Purpose::Payment, What::Sent, 8, n).await;
    }
    assert_eq!(stream(&running, "marketing").await["verdict"], "ok");
    for n in 0..20 {
        count(Purpose::Payment, What::Bounced, 8, n).await;
    }
    let care = stream(&running, "care").await;
    assert_eq!((&care["verdict"], &care["bounce_rate"]), (&json!("warn"), &json!(0.1)));

    count(Purpose::Marketing, What::Complained, 7, 3).await;
    let paused = stream(&running, "marketing").await;
    assert_eq!(
        (&paused["verdict"], &paused["sent"], &paused["complained"]),
        (&json!("pause"), &json!(200), &json!(1))
    );
    assert_eq!(paused["causes"][0]["email_id"], source(7, 0).email.as_str());
    assert_eq!(n_told(&running).await, (2, 2));
    // Told again, nothing is counted again.
    count(Purpose::Marketing, What::Complained, 7, 3).await;
    count(Purpose::Marketing, What::Sent, 7, 3).await;
    assert_eq!(stream(&running, "marketing").await, paused);
    assert_eq!(n_told(&running).await, (2, 2));

    let waits = running.send(&email("offers@patient.test", "marketing")).await;
    let care = running.send(&email("pat@patient.test", "treatment")).await;
    assert_eq!(running.settled(&care).await["last_event"], "delivered");
    let events = postponed(&running, &waits).await;
    assert_eq!(events, ["queued", "paused"]);
    // Waiting does not bring it back: only a person does.
    for _ in 0..6 {
        running.system.advance(Duration::from_secs(1_000)).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(running.get(&format!("/emails/{waits}")).await.1["last_event"], "queued");
    assert_eq!(
        postponed(&running, &waits).await,
        ["queued", "paused"],
        "it is told once"
    );
    assert_eq!(running.mails("offers@patient.test").await.len(), 0);

    let (status, resumed) = running.call(Method::POST, "/streams/marketing/resume", None, &[]).await;
    assert_eq!(
        (status, &resumed["verdict"], &resumed["sent"]),
        (200, &json!("ok"), &json!(0))
    );
    assert_eq!(n_told(&running).await, (3, 3));
    for _ in 0..2 {
        running.system.advance(Duration::from_secs(1_000)).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(running.settled(&waits).await["last_event"], "delivered");
    assert_eq!(
        running
            .call(Method::POST, "/streams/marketing/resume", None, &[])
            .await
            .0,
        409
    );
    assert_eq!(
        running.call(Method::POST, "/streams/care/resume", None, &[]).await.0,
        409
    );
    assert_eq!(
        running.call(Method::POST, "/streams/spam/resume", None, &[]).await.0,
        404
    );
}

/// The events of an email that waits, once it was put off.
async fn postponed(running: &Running, id: &str) -> Vec<String> {
    for _ in 0..200 {
        let (_, email) = running.get(&format!("/emails/{id}")).await;
        let recipient = &email["recipients"][0];
        let events: Vec<String> = recipient["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect();
        if recipient["status"] == "queued" && events.len() > 1 {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} was not put off")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slowed_stream_delays_each_mail_once_and_recovers_by_itself() {
    let running = Running::start().await;
    let (app, tenant) = owner(&running).await;
    let count = async |what, n| {
        guard::count(&app, &TRACKING, &tenant, Purpose::Marketing, what, &source(7, n))
            .await
            .unwrap();
    };
    for n in 0..500 {
        count(What::Sent, n).await;
    }
    count(What::Complained, 1).await;
    assert_eq!(stream(&running, "marketing").await["verdict"], "slow");
    let id = running.send(&email("offers@patient.test", "marketing")).await;
    assert_eq!(postponed(&running, &id).await, ["queued", "slowed"]);
    for _ in 0..5 {
        running.system.advance(Duration::from_secs(800)).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(running.settled(&id).await["last_event"], "delivered");
    // The window moves on; the next mail finds the stream well.
    running.system.advance(Duration::from_secs(25 * 3_600)).unwrap();
    let id = running.send(&email("offers@patient.test", "marketing")).await;
    assert_eq!(running.settled(&id).await["last_event"], "delivered");
    let well = stream(&running, "marketing").await;
    assert_eq!((&well["verdict"], &well["complaint_rate"]), (&json!("ok"), &json!(0.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_s_harm_stops_no_other() {
    let running = Running::start().await;
    let (app, _) = owner(&running).await;
    let ses = aws_sdk_sesv2::Client::new(&running.system.sdk());
    ses.create_email_identity()
        .email_identity("practice.test")
        .send()
        .await
        .unwrap();
    let new = NewTenant {
        name: "Practice".to_owned(),
        domain: "practice.test".to_owned(),
        care_address: "Practice <care@practice.test>".to_owned(),
    };
    let other = tenant::create(&app, &Actor::Operator, new).await.unwrap().tenant;
    for n in 0..200 {
        let source = source(7, n);
        guard::count(&app, &TRACKING, &other, Purpose::Marketing, What::Sent, &source)
            .await
            .unwrap();
        if n % 10 == 0 {
            guard::count(&app, &TRACKING, &other, Purpose::Marketing, What::Bounced, &source)
                .await
                .unwrap();
        }
    }
    let last = source(7, 0);
    guard::count(&app, &TRACKING, &other, Purpose::Marketing, What::Bounced, &last)
        .await
        .unwrap();
    let mine = stream(&running, "marketing").await;
    assert_eq!(
        (&mine["verdict"], &mine["sent"], &mine["causes"]),
        (&json!("ok"), &json!(0), &json!([]))
    );
    let id = running.send(&email("offers@patient.test", "marketing")).await;
    assert_eq!(running.settled(&id).await["last_event"], "delivered");
    assert_eq!(n_told(&running).await, (1, 1), "the other tenant's stream is paused");
}
