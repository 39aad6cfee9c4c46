//! Promise: a key in test mode reaches simulated recipients alone and nobody else reaches them; each behaves as its name says,
//! through the same steps and the same events as a person's mail, marked as a test; and a test leaves nothing behind that
//! weighs on real mail.

use std::time::Duration;

use reqwest::Method;
use sealpost_local::aws::ses::Filter;
use serde_json::{Value, json};

use crate::system::Running;
use crate::webhook::Receiver;

fn email(to: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." })
}

/// A running system that speaks with a key in test mode, and its live key.
async fn start() -> (Running, String) {
    let mut running = Running::start().await;
    let (status, key) = running
        .post("/api-keys", &json!({ "name": "CI", "mode": "test" }))
        .await;
    assert_eq!(status, 201, "{key}");
    let token = key["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("sp_test_"), "{token}");
    let live = std::mem::replace(&mut running.api_key, token);
    (running, live)
}

async fn as_live(running: &Running, live: &str, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
    let bearer = format!("Bearer {live}");
    let body = body.map(|body| body.to_string().into_bytes());
    running.call(method, path, body, &[("authorization", &bearer)]).await
}

/// Lets the events of simulated recipients come, which the queue delays.
async fn pass(running: &Running) {
    for _ in 0..5 {
        running.system.advance(Duration::from_secs(10)).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_simulated_recipient_behaves_as_its_name_says_and_none_gets_a_mail() {
    let (running, live) = start().await;
    let cases = [
        ("delivered", "tls", "delivered", "delivered"),
        ("slow", "tls", "delivered", "delivery_delayed"),
        ("no-tls", "portal", "delivered", "rerouted"),
        ("bad-certificate+7", "portal", "delivered", "rerouted"),
        ("bounced", "tls", "bounced", "bounced"),
        ("complained", "tls", "complained", "complained"),
        ("lost-reply", "tls", "delivered", "unanswered"),
        ("openpgp", "openpgp", "delivered", "delivered"),
        ("smime", "smime", "delivered", "delivered"),
        ("portal", "portal", "delivered", "delivered"),
    ];
    let mut ids = Vec::new();
    for (name, ..) in cases {
        ids.push(running.send(&email(&format!("{name}@simulator.test"))).await);
    }
    pass(&running).await;
    for (id, (name, method, status, event)) in ids.iter().zip(cases) {
        let email = running.until(id, |now| now == status).await;
        let recipient = &email["recipients"][0];
        assert_eq!(recipient["method"], method, "{name}: {email}");
        assert_eq!(email["test"], true);
        let events = recipient["events"].to_string();
        assert!(events.contains(&format!("\"{event}\"")), "{name}: {events}");
    }
    let handed = running.system.aws.ses.messages(&Filter::default()).unwrap();
    assert!(handed.is_empty(), "SES was handed a mail for nobody");

    // The same events as any other mail's, marked; the key sees them and nothing else.
    pass(&running).await;
    let (_, feed) = running.get("/events?limit=100").await;
    let events = feed["data"].as_array().unwrap();
    assert!(events.iter().all(|event| event["data"]["test"] == true), "{feed}");
    for kind in [
        "email.sent",
        "email.delivered",
        "email.delivery_delayed",
        "email.rerouted",
        "email.bounced",
        "email.complained",
    ] {
        assert!(events.iter().any(|event| event["type"] == kind), "{kind}: {feed}");
    }

    // Nothing of it weighs on real mail: no suppression, no lesson about a domain, no count, no lock on the archive.
    let get = async |path: &str| as_live(&running, &live, Method::GET, path, None).await.1;
    assert_eq!(get("/suppressions").await["data"], json!([]));
    let domain = get("/recipient-domains/simulator.test").await;
    assert!(domain["learned"].is_null(), "{domain}");
    let streams = get("/streams").await;
    assert!(!streams.to_string().contains("\"sent\":1"), "{streams}");
    let usage = get("/usage").await;
    assert!(usage.to_string().contains("\"ambiguous\":0"), "{usage}");
    assert_eq!(lock_calls(&running).await, 0, "a test was locked in the archive");
}

/// How many objects of the archive have a retention date.
async fn lock_calls(running: &Running) -> usize {
    let sdk = running.system.sdk();
    let s3 = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build());
    let buckets = s3.list_buckets().send().await.unwrap();
    let mut names = buckets.buckets().iter().filter_map(|bucket| bucket.name());
    let archive = names.find(|name| name.contains("archive")).unwrap();
    let objects = s3.list_objects_v2().bucket(archive).send().await.unwrap();
    assert!(objects.contents().len() >= 10, "the archive was not looked at");
    let mut n = 0;
    for object in objects.contents() {
        let key = object.key().unwrap();
        let lock = s3.get_object_retention().bucket(archive).key(key).send().await;
        n += usize::from(lock.is_ok_and(|lock| lock.retention().is_some()));
    }
    n
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_key_reaches_nobody_else_and_a_live_key_no_simulated_recipient() {
    let (running, live) = start().await;
    for (field, body) in [
        ("/to", email("pat@patient.test")),
        ("/to", email("pat@simulator.test")),
        ("/to", email("delivered@simulator.test.example")),
        ("/cc/1", {
            let mut email = email("delivered@simulator.test");
            email["cc"] = json!(["slow@simulator.test", "pat@patient.test"]);
            email
        }),
    ] {
        for path in ["/emails", "/encryption/plan"] {
            let (status, answer) = running.post(path, &body).await;
            assert_eq!(
                (status, &answer["errors"][0]["pointer"]),
                (422, &json!(field)),
                "{answer}"
            );
        }
        let (status, answer) = running.post("/emails/batch", &json!([body])).await;
        let pointer = json!(format!("/0{field}"));
        assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &pointer), "{answer}");
    }
    let body = email("delivered@simulator.test");
    let (status, answer) = as_live(&running, &live, Method::POST, "/emails", Some(&body)).await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (422, &json!("/to")),
        "{answer}"
    );

    // Either sees its own emails only, and no idempotency key of the other's stands in its way.
    let key = [("idempotency-key", "the same")];
    let bytes = |body: &Value| Some(body.to_string().into_bytes());
    let tested = running.call(Method::POST, "/emails", bytes(&body), &key).await;
    assert_eq!(tested.0, 200, "{}", tested.1);
    let bearer = format!("Bearer {live}");
    let headers = [key[0], ("authorization", bearer.as_str())];
    let sent = running
        .call(Method::POST, "/emails", bytes(&email("pat@patient.test")), &headers)
        .await;
    assert_eq!(sent.0, 200, "{}", sent.1);
    let (tested, sent) = (tested.1["id"].as_str().unwrap(), sent.1["id"].as_str().unwrap());
    let (tested_at, sent_at) = (format!("/emails/{tested}"), format!("/emails/{sent}"));
    assert_eq!(running.get(&sent_at).await.0, 404);
    assert_eq!(running.post(&format!("{sent_at}/cancel"), &json!({})).await.0, 404);
    assert_eq!(as_live(&running, &live, Method::GET, &tested_at, None).await.0, 404);
    let ids = |list: &Value| {
        let lines = list["data"].as_array().unwrap().iter();
        lines
            .map(|line| line["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&running.get("/emails").await.1), [tested]);
    assert_eq!(
        ids(&as_live(&running, &live, Method::GET, "/emails", None).await.1),
        [sent]
    );

    // A key in test mode stands in build machines: it leads to no recipient, policy, key or endpoint.
    for path in [
        "/policies",
        "/suppressions",
        "/api-keys",
        "/webhooks",
        "/recipients/pat@patient.test/keys",
    ] {
        assert_eq!(running.get(path).await.0, 403, "{path}");
    }
    let wide = json!({ "name": "CI", "mode": "test", "scopes": ["emails:send", "policies:write"] });
    let (status, answer) = as_live(&running, &live, Method::POST, "/api-keys", Some(&wide)).await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (422, &json!("/scopes")),
        "{answer}"
    );
    // The mode is part of what is proved: the other word before the same secret is no key.
    let forged = running.api_key.replacen("sp_test_", "sp_live_", 1);
    assert_eq!(as_live(&running, &forged, Method::GET, "/emails", None).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_tests_are_the_same_and_say_so() {
    let (running, live) = start().await;
    let receiver = Receiver::start(&running).await;
    let body = json!({ "endpoint": receiver.url, "events": ["email.bounced"] });
    let (status, answer) = as_live(&running, &live, Method::POST, "/webhooks", Some(&body)).await;
    assert_eq!(status, 201, "{answer}");
    running.send(&email("bounced@simulator.test")).await;
    pass(&running).await;
    let posted = receiver.until(1).await[0].json();
    assert_eq!(
        (&posted["type"], &posted["data"]["test"]),
        (&json!("email.bounced"), &json!(true))
    );
}
