//! Promise: each function's role has what the function uses and nothing else.
//!
//! One scenario goes through every route and every path that makes a call to AWS. After it no call was refused, and every
//! grant of every role was needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use sealpost_core::actor::Actor;
use sealpost_core::tenant::{self, NewTenant};
use sealpost_local::aws::fault::{Call, Failure, Phase, Verdict};
use sealpost_local::demo::{self, Seed};
use serde_json::{Value, json};

use crate::engagement::{BROWSER, allow, html, of_kind, ours};
use crate::system::{Running, base64};
use crate::webhook::{Receiver, hook};

/// What is needed on AWS and not here: Lambda requires it of a role when it sets up the poller of a queue (Lambda developer
/// guide, "Configuring permissions" of SQS event sources). SESv2's SendEmail asks for `ses:SendRawEmail` of a raw message, and
/// every mail is one; whether it asks for `ses:SendEmail` as well, AWS's documentation does not say, so both are granted.
const ELSEWHERE: [(&str, &str); 5] = [
    ("encrypt", "sqs:GetQueueAttributes"),
    ("webhook", "sqs:GetQueueAttributes"),
    ("tracking", "sqs:GetQueueAttributes"),
    ("encrypt", "ses:SendEmail"),
    ("portal", "ses:SendEmail"),
];
const FUNCTIONS: [&str; 7] = ["send", "encrypt", "tracking", "webhook", "retention", "portal", "admin"];

fn email(to: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_allows_what_its_function_does_and_nothing_else() {
    let running = Running::start().await;
    tenants(&running).await;
    administration(&running).await;
    sending(&running).await;
    suppressions(&running).await;
    deliveries(&running).await;
    a_test(&running).await;
    schedules(&running).await;
    a_lost_ticket(&running).await;
    a_refusal_by_ses(&running).await;
    a_lost_answer(&running).await;
    bounces(&running).await;
    webhooks(&running).await;
    unsubscription(&running).await;
    engagement(&running).await;
    portal(&running).await;
    a_batch_that_broke_off(&running).await;
    // The keys of a new month are made by whoever needs them first.
    running.system.advance(Duration::from_secs(40 * 86_400)).unwrap();
    bounces(&running).await;
    deliveries(&running).await;
    portal(&running).await;
    administration(&running).await;
    running.system.advance(Duration::from_secs(40 * 86_400)).unwrap();
    unsubscription(&running).await;
    assert!(running.system.settled(Duration::from_secs(20)).await.unwrap());
    let mut wrong = Vec::new();
    for function in FUNCTIONS {
        let role = running.system.role(function).unwrap();
        wrong.extend(
            role.refused()
                .into_iter()
                .map(|(action, on)| format!("{function} lacks {action} on {on}")),
        );
        let unused = role
            .unused()
            .into_iter()
            .filter(|(action, _)| !ELSEWHERE.contains(&(function, action)));
        wrong.extend(unused.map(|(action, on)| format!("{function} does not need {action} on {on}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A second tenant, since the demo's is made before the scenario begins.
async fn tenants(running: &Running) {
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
    tenant::create(&running.system.app("admin").unwrap(), &Actor::Operator, new)
        .await
        .unwrap();
}

/// Every route of `admin` that a caller reaches with a key; pinned keys come with [`deliveries`].
async fn administration(running: &Running) {
    let expect = async |method: Method, path: &str, body: Option<Value>, expected: u16| {
        let body = body.map(|body| body.to_string().into_bytes());
        let (status, answer) = running.call(method, path, body, &[]).await;
        assert_eq!(status, expected, "{path}: {answer}");
        answer
    };
    expect(Method::GET, "/openapi.json", None, 200).await;
    let key = expect(Method::POST, "/api-keys", Some(json!({ "name": "one" })), 201).await;
    expect(Method::GET, "/api-keys", None, 200).await;
    expect(
        Method::DELETE,
        &format!("/api-keys/{}", key["id"].as_str().unwrap()),
        None,
        200,
    )
    .await;
    let mut policy = expect(Method::GET, "/policies", None, 200).await;
    let version = policy["version"].clone();
    if let Some(fields) = policy.as_object_mut() {
        fields.remove("object");
    }
    let put = running
        .call(Method::PUT, "/policies", Some(policy.to_string().into_bytes()), &[])
        .await;
    assert_eq!(put.0, 200, "{version}: {}", put.1);
    // The first look-up of an address makes the key under which addresses are hashed.
    expect(Method::GET, "/recipients/nobody@patient.test/keys", None, 200).await;
    let domain = "/recipient-domains/old.test";
    expect(Method::PUT, domain, Some(json!({ "tls": "fails" })), 200).await;
    expect(Method::GET, domain, None, 200).await;
    expect(Method::DELETE, domain, None, 200).await;
    assert_eq!(expect(Method::GET, "/usage", None, 200).await["object"], "usage");
}

/// Every route of suppressions, and a delivery that one stops.
async fn suppressions(running: &Running) {
    let expect = async |method: Method, path: &str, body: Option<Value>, expected: u16| {
        let body = body.map(|body| body.to_string().into_bytes());
        let (status, answer) = running.call(method, path, body, &[]).await;
        assert_eq!(status, expected, "{path}: {answer}");
        answer
    };
    let address = "stopped@patient.test";
    expect(Method::POST, "/suppressions", Some(json!({ "email": address })), 201).await;
    expect(Method::GET, "/suppressions", None, 200).await;
    expect(Method::GET, "/suppressions/export", None, 200).await;
    expect(Method::GET, &format!("/suppressions/{address}"), None, 200).await;
    let emails = json!({ "emails": [address, "another@patient.test"] });
    expect(Method::POST, "/suppressions/check", Some(emails.clone()), 200).await;
    expect(Method::POST, "/suppressions/batch/add", Some(emails.clone()), 200).await;
    let row = json!({ "rows": [{ "email": address, "reason": "unsubscribe" }] });
    expect(Method::POST, "/suppressions/import", Some(row), 200).await;
    let id = running.send(&email(address)).await;
    assert_eq!(running.settled(&id).await["recipients"][0]["status"], "suppressed");
    expect(Method::GET, "/streams", None, 200).await;
    expect(Method::POST, "/streams/marketing/resume", None, 409).await;
    let mut marketing = email("offers@patient.test");
    marketing["purpose"] = json!("marketing");
    let id = running.send(&marketing).await;
    assert_eq!(running.settled(&id).await["recipients"][0]["status"], "delivered");
    expect(Method::POST, "/suppressions/batch/remove", Some(emails), 200).await;
    expect(Method::POST, "/suppressions", Some(json!({ "email": address })), 201).await;
    expect(Method::DELETE, &format!("/suppressions/{address}"), None, 200).await;
}

/// Every route of `send`.
async fn sending(running: &Running) {
    for _ in 0..2 {
        let headers = [("idempotency-key", "one")];
        let body = email("pat@patient.test").to_string().into_bytes();
        let (status, answer) = running.call(Method::POST, "/emails", Some(body), &headers).await;
        assert_eq!(status, 200, "{answer}");
        let headers = [("idempotency-key", "two")];
        let body = json!([email("pat@patient.test"), email("pet@patient.test")])
            .to_string()
            .into_bytes();
        let (status, answer) = running.call(Method::POST, "/emails/batch", Some(body), &headers).await;
        assert_eq!(status, 200, "{answer}");
        running.settled(answer["data"][1]["id"].as_str().unwrap()).await;
    }
    assert_eq!(running.get("/emails?limit=2").await.0, 200);
    // A domain that nobody asked about yet.
    let (status, plan) = running.post("/encryption/plan", &email("pat@unseen.test")).await;
    assert_eq!(status, 200, "{plan}");
}

/// The demo: keys are pinned, listed and removed, and an email goes by each of the four ways.
async fn deliveries(running: &Running) {
    let seed = Seed {
        api_key: running.api_key.clone(),
        is_new: true,
    };
    let rows = demo::send(&running.system, &seed, demo::Until::Delivered)
        .await
        .unwrap()
        .rows;
    for method in ["openpgp", "smime", "tls", "portal"] {
        assert!(
            rows.iter().any(|row| row.method == method && row.state == "delivered"),
            "nothing went by {method}"
        );
    }
}

/// A key in test mode sends to a simulated recipient.
async fn a_test(running: &Running) {
    let (status, key) = running
        .post("/api-keys", &json!({ "name": "CI", "mode": "test" }))
        .await;
    assert_eq!(status, 201, "{key}");
    let bearer = format!("Bearer {}", key["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let body = Some(email("delivered@simulator.test").to_string().into_bytes());
    let (status, sent) = running.call(Method::POST, "/emails", body, &headers).await;
    assert_eq!(status, 200, "{sent}");
    let path = format!("/emails/{}", sent["id"].as_str().unwrap());
    for _ in 0..200 {
        if running.call(Method::GET, &path, None, &headers).await.1["last_event"] == "delivered" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the simulated recipient says nothing")
}

/// A scheduled email is moved and sent, another called off.
async fn schedules(running: &Running) {
    let later = |to: &str| {
        let mut email = email(to);
        email["scheduled_at"] = json!("in 2 days");
        email
    };
    let (sent, off) = (
        running.send(&later("pat@patient.test")).await,
        running.send(&later("pat@patient.test")).await,
    );
    let body = Some(json!({ "scheduled_at": "in 1 hour" }).to_string().into_bytes());
    let changed = running.call(Method::PATCH, &format!("/emails/{sent}"), body, &[]).await;
    assert_eq!(changed.0, 200, "{}", changed.1);
    let (status, answer) = running.post(&format!("/emails/{off}/cancel"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    running.system.advance(Duration::from_secs(3605)).unwrap();
    for _ in 0..200 {
        if running.get(&format!("/emails/{sent}")).await.1["last_event"] == "delivered" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not sent at its time")
}

/// A batch is not committed, and its emails go when the sweep of objects comes by, as what was sealed for others does.
async fn a_batch_that_broke_off(running: &Running) {
    let n_seen = AtomicUsize::new(0);
    let fail = move |call: &Call, phase: Phase| {
        let is_one = call.role.ends_with("send") && call.operation == "TransactWriteItems" && phase == Phase::Before;
        if is_one && n_seen.fetch_add(1, Ordering::SeqCst) > 0 {
            return Verdict::Fail(Failure::ServerError);
        }
        Verdict::Go
    };
    running.system.aws.set_faults(Some(Arc::new(fail)));
    let body = json!([email("pat@patient.test"), email("pet@patient.test")]);
    let (status, answer) = running.post("/emails/batch", &body).await;
    running.system.aws.set_faults(None);
    assert_eq!(status, 503, "{answer}");
}

/// The queue takes no ticket, so that the sweep has to.
async fn a_lost_ticket(running: &Running) {
    let lose = |call: &Call, phase: Phase| match (call.operation.as_str(), phase) {
        ("SendMessage" | "SendMessageBatch", Phase::Before) => Verdict::Fail(Failure::ServerError),
        _ => Verdict::Go,
    };
    running.system.aws.set_faults(Some(Arc::new(lose)));
    let id = running.send(&email("lost@patient.test")).await;
    running.system.aws.set_faults(None);
    running.system.advance(Duration::from_secs(150)).unwrap();
    assert_eq!(running.settled(&id).await["recipients"][0]["status"], "delivered");
}

/// SES asks to come again later; the next attempt finds the sealed bytes of the first.
async fn a_refusal_by_ses(running: &Running) {
    let throttle = |call: &Call, phase: Phase| match (call.operation.as_str(), phase) {
        ("SendEmail", Phase::Before) => Verdict::Fail(Failure::Throttled),
        _ => Verdict::Go,
    };
    running.system.aws.set_faults(Some(Arc::new(throttle)));
    let id = running.send(&email("rosa@keys.test")).await;
    for _ in 0..200 {
        let events = running.get(&format!("/emails/{id}")).await.1["recipients"][0]["events"].to_string();
        if events.contains("postponed") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.system.aws.set_faults(None);
    for _ in 0..4 {
        running.system.advance(Duration::from_secs(60)).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(running.settled(&id).await["recipients"][0]["status"], "delivered");
}

/// SES's answer is lost, and its event settles the doubt.
async fn a_lost_answer(running: &Running) {
    running.control("/events", &json!({ "withhold": true })).await;
    let id = running.send(&email("lois@lost-reply.test")).await;
    for _ in 0..200 {
        let events = running.get(&format!("/emails/{id}")).await.1["recipients"][0]["events"].to_string();
        if events.contains("unanswered") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.control("/events", &json!({ "withhold": false })).await;
    assert_eq!(running.settled(&id).await["recipients"][0]["status"], "delivered");
}

/// Addresses that take no mail, or whose owner wants none, are suppressed, also where an earlier suppression was lifted.
async fn bounces(running: &Running) {
    let n = running.system.clock().now_ms();
    let (bounce, complaint) = (format!("ben{n}@bounce.test"), format!("cora{n}@complaint.test"));
    for (address, status) in [(&bounce, "bounced"), (&complaint, "complained")] {
        let id = running.send(&email(address)).await;
        running.settled(&id).await;
        if status == "complained" {
            let manual = json!({ "email": address, "scope": "marketing" });
            let (code, answer) = running.post("/suppressions", &manual).await;
            assert_eq!(code, 201, "{answer}");
            let path = format!("/suppressions/{address}");
            assert_eq!(running.call(Method::DELETE, &path, None, &[]).await.0, 200);
        }
        running.system.advance(Duration::from_secs(120)).unwrap();
        running.until(&id, |now| now == status).await;
    }
    let again = running.settled(&running.send(&email(&bounce)).await).await;
    assert_eq!(again["recipients"][0]["status"], "suppressed", "{again}");
}

/// Webhooks: one that takes events and gets them again, one that fails until it is left alone and probed, one that is gone.
async fn webhooks(running: &Running) {
    let receivers = [
        Receiver::start(running).await,
        Receiver::start(running).await,
        Receiver::start(running).await,
    ];
    receivers[1].answers(500);
    receivers[2].answers(410);
    let mut ids = Vec::new();
    for receiver in &receivers {
        ids.push(hook(running, &receiver.url, &["email.delivered"]).await.0);
    }
    for n in 0..6 {
        running
            .settled(&running.send(&email(&format!("hook{n}@patient.test"))).await)
            .await;
    }
    receivers[0].until(6).await;
    receivers[1].until(5).await;
    for _ in 0..3 {
        running.system.advance(Duration::from_secs(130)).unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let path = format!("/webhooks/{}", ids[0]);
    let expect = async |method: Method, path: String, body: Option<Value>| {
        let body = body.map(|body| body.to_string().into_bytes());
        let (status, answer) = running.call(method, &path, body, &[]).await;
        assert_eq!(status, 200, "{path}: {answer}");
    };
    expect(Method::GET, "/webhooks".to_owned(), None).await;
    expect(Method::GET, path.clone(), None).await;
    expect(Method::GET, format!("{path}/attempts"), None).await;
    expect(Method::GET, "/events".to_owned(), None).await;
    expect(Method::POST, format!("{path}/rotate-secret"), None).await;
    expect(Method::POST, format!("{path}/replay"), Some(json!({}))).await;
    expect(Method::PATCH, path.clone(), Some(json!({ "status": "disabled" }))).await;
    for id in ids {
        expect(Method::DELETE, format!("/webhooks/{id}"), None).await;
    }
    // What still waits for an endpoint that is removed is given up.
    running.system.advance(Duration::from_secs(900)).unwrap();
}

/// Somebody unsubscribes, is subscribed again, and unsubscribes once more.
async fn unsubscription(running: &Running) {
    let address = format!("una{}@patient.test", running.system.clock().now_ms());
    let mut message = email(&address);
    message["purpose"] = json!("marketing");
    running.settled(&running.send(&message).await).await;
    let links = crate::unsubscribe::links(&running.mails(&address).await[0]);
    let http = reqwest::Client::new();
    for _ in 0..2 {
        assert_eq!(http.get(&links[0]).send().await.unwrap().status(), 200);
        assert_eq!(http.post(&links[0]).send().await.unwrap().status(), 200);
        let path = format!("/suppressions/{address}");
        assert_eq!(running.call(Method::DELETE, &path, None, &[]).await.0, 200);
    }
}

/// Somebody opens a counted mail and follows a counted link.
async fn engagement(running: &Running) {
    let counted = json!({ "opens": true, "clicks": true });
    allow(running, "track_marketing", counted).await;
    let address = format!("eva{}@patient.test", running.system.clock().now_ms());
    let mut message = email(&address);
    message["purpose"] = json!("marketing");
    message["data_class"] = json!("none");
    message["html"] = json!("<p><a href=\"https://clinic.example/flu\">Flu shots</a></p>");
    running.settled(&running.send(&message).await).await;
    // Whoever is faster than the mail is no person.
    running.system.advance(Duration::from_secs(10)).unwrap();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let http = http.user_agent(BROWSER).build().unwrap();
    let links = ours(running, &html(running, &address).await);
    for (kind, status) in [("o", 200), ("c", 302)] {
        let link = of_kind(&links, kind)[0];
        assert_eq!(http.get(link).send().await.unwrap().status(), status, "{kind}");
    }
}

/// Every route of `portal`, as a patient goes through them.
async fn portal(running: &Running) {
    let address = format!("pia{}@no-tls.test", running.system.clock().now_ms());
    let mut message = email(&address);
    message["attachments"] = json!([{ "filename": "plan.txt", "content": base64(b"Rest.") }]);
    running.settled(&running.send(&message).await).await;
    let link = link(&running.mails(&address).await[0]);
    let origin = format!("http://{}", running.system.portal);
    let mut patient = Patient::new();
    patient.go(Method::GET, &format!("{origin}/"), "", 200).await;
    patient
        .go(Method::GET, &format!("{origin}/assets/portal.css"), "", 200)
        .await;
    patient.go(Method::GET, &link, "", 200).await;
    patient.go(Method::POST, &format!("{link}/code"), "", 303).await;
    let mails = running.mails(&address).await;
    assert_eq!(mails.len(), 2, "a notice and a code");
    let code = code(&mails[1]);
    let wrong = if code == "00000000" { "00000001" } else { "00000000" };
    patient
        .go(Method::POST, &format!("{link}/open"), &format!("code={wrong}"), 422)
        .await;
    patient
        .go(Method::POST, &format!("{link}/open"), &format!("code={code}"), 303)
        .await;
    assert!(
        patient
            .go(Method::GET, &format!("{link}/message"), "", 200)
            .await
            .contains("They are fine.")
    );
    patient.go(Method::GET, &format!("{link}/body"), "", 200).await;
    assert_eq!(
        patient.go(Method::GET, &format!("{link}/attachments/1"), "", 200).await,
        "Rest."
    );
    patient.go(Method::POST, &format!("{link}/leave"), "", 303).await;
}

/// The link in a notice.
pub(crate) fn link(notice: &[u8]) -> String {
    let notice = text(notice);
    let link = notice
        .split_whitespace()
        .find(|word| word.contains("/m/"))
        .unwrap_or_else(|| panic!("{notice}"));
    link[link.find("http").unwrap()..].to_owned()
}

/// The one-time code in a mail.
pub(crate) fn code(mail: &[u8]) -> String {
    let mail = text(mail);
    let parts = mail.split(|c: char| !c.is_ascii_digit() && c != ' ').map(str::trim);
    parts
        .map(|part| part.replace(' ', ""))
        .find(|part| part.len() == 8)
        .unwrap_or_else(|| panic!("{mail}"))
}

/// The first text part of a mail.
fn text(mail: &[u8]) -> String {
    let parsed = mail_parser::MessageParser::default().parse(mail).unwrap();
    parsed.body_text(0).unwrap().into_owned()
}

/// A browser.
pub(crate) struct Patient {
    http: reqwest::Client,
    cookies: Vec<(String, String)>,
}

impl Patient {
    pub(crate) fn new() -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Self {
            http: http.build().unwrap(),
            cookies: Vec::new(),
        }
    }

    pub(crate) async fn go(&mut self, method: Method, url: &str, form: &str, expected: u16) -> String {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = self
            .http
            .request(method.clone(), url)
            .header("cookie", cookies.join("; "));
        if method == Method::POST {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.to_owned());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        let body = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        assert_eq!(status, expected, "{url}: {body}");
        body
    }
}
