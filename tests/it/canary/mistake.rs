//! What is done wrongly with canaries: requests, links and events that are none, to the system and to the functions' binaries.

use reqwest::Method;
use sealpost_core::config;
use serde_json::{Value, json};

use super::field::{self, Canaries};
use super::sink::Sink;
use super::stage::{Asker, Stage};
use crate::lambda::{Function, events, fill};

/// Everything that can be asked wrongly: the API with a valid key.
pub(super) async fn mistakes(stage: &Stage, canaries: &mut Canaries) {
    let good = field::email(canaries, "patient.test").body;
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        match body.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => body[&pointer[1..]] = value,
        }
        body.to_string()
    };
    let c = canaries;
    let long = |text: String, n: usize| format!("{text}{}", "x".repeat(n));
    let bodies = [
        format!("{{\"subject\": \"{}", c.make("malformed")),
        c.make("malformed").to_string(),
        format!("{{\"to\":\"{}\",\"to\":\"b\"}}", c.make("twice")),
        format!("{{\"{}\":1,\"{0}\":2}}", c.make("twice.name")),
        format!("{{\"{} {}\": {{\"a\":1,\"a\":2}}}}", c.make("twice.parent"), "Müller"),
        format!("{{\"{}@patient.test\": [1, tru]}}", c.make("malformed.parent")),
        format!("{{\"a\":1}} {}", c.make("trailing")),
        with(
            &format!("/{}", c.make("unknown_field")),
            json!(c.make("unknown_field.value")),
        ),
        with(&format!("/{}@patient.test", c.make("unknown_field.odd")), json!(1)),
        with("/data_class", json!(c.make("unknown_variant"))),
        with("/subject", json!([c.make("wrong_type")])),
        with("/subject", json!({ (c.make("wrong_type.name")): 1 })),
        with("/attachments", json!(c.make("wrong_type"))),
        with(
            "/attachments/0/content",
            json!(format!("not base64 {}", c.make("not_base64"))),
        ),
        with("/attachments/0/filename", json!(long(c.make("long.filename"), 5000))),
        with(
            "/attachments/0/content_type",
            json!(format!("multipart/{}", c.make("bad.content_type"))),
        ),
        with(
            "/attachments/0/content_id",
            json!(format!("{} <>", c.make("bad.content_id"))),
        ),
        with("/to", json!([format!("{} at patient.test", c.make("bad.address"))])),
        with("/to", json!([format!("{}@", c.make("bad.address"))])),
        with("/to", json!(long(c.make("long.address"), 4000))),
        with("/from", json!(format!("{}@elsewhere.test", c.make("foreign.sender")))),
        with("/from", json!(format!("{} <broken", c.make("bad.address")))),
        with("/reply_to", json!(7)),
        with("/subject", json!(long(c.make("long.subject"), 1000))),
        with(
            "/subject",
            json!(format!("{}\r\nBcc: x@y.test", c.make("broken.subject"))),
        ),
        with("/text", json!(format!("{}\u{0}", c.make("nul.text")))),
        with("/html", json!(long(c.make("long.html"), 2_100_000))),
        with("/headers", json!({ "Bcc": c.make("bad.header.value") })),
        with(
            "/headers",
            json!({ (format!("Bad {}", c.make("bad.header.name"))): "x" }),
        ),
        with("/headers", json!({ "X-Number": { (c.make("bad.header.object")): 1 } })),
        with(
            "/tags",
            json!([{ "name": format!("{} !", c.make("bad.tag")), "value": "x" }]),
        ),
        with("/patient_ref", json!(long(c.make("long.patient_ref"), 200))),
        with("/scheduled_at", json!(format!("in {} days", c.make("bad.time")))),
        with(
            "/security",
            json!({ "expires_in": c.make("bad.time"), "method": "auto" }),
        ),
        with("/security", json!({ "method": c.make("unknown_variant") })),
    ];
    for body in bodies {
        for (path, body) in [
            ("/emails", body.clone()),
            ("/emails/batch", format!("[{body}]")),
            ("/encryption/plan", body),
        ] {
            let answer = stage
                .api_with(Asker::Owner, Method::POST, path, &[], Some(body.clone().into_bytes()))
                .await;
            let shown: String = body.chars().take(100).collect();
            stage.check(
                (400..500).contains(&answer.status),
                format!("{path} {shown}: {}", answer.status),
            );
        }
    }
    let key = [("idempotency-key", c.make("idempotency_key"))];
    let key = [("idempotency-key", &*key[0].1)];
    for n in 0..2 {
        let mut body = good.clone();
        body["subject"] = json!(format!("{n} {}", c.make("subject")));
        let body = Some(body.to_string().into_bytes());
        let answer = stage.api_with(Asker::Owner, Method::POST, "/emails", &key, body).await;
        stage.same(answer.status, [200, 409][n], "another body under the same key");
    }
    let long = long(c.make("long.idempotency_key"), 300);
    let body = Some(good.to_string().into_bytes());
    let answer = stage
        .api_with(
            Asker::Owner,
            Method::POST,
            "/emails",
            &[("idempotency-key", &*long)],
            body,
        )
        .await;
    stage.same(answer.status, 400, "another answer");

    for (method, path, body) in [
        (Method::GET, format!("/emails/{}", c.make("path.id")), None),
        (Method::POST, format!("/emails/{}/cancel", c.make("path.id")), None),
        (
            Method::GET,
            format!("/emails?limit={}&after={}", c.make("query"), c.make("query")),
            None,
        ),
        (Method::GET, format!("/emails?{}=1", c.make("query.name")), None),
        (
            Method::GET,
            format!("/events?after={}&type={}", c.make("query"), c.make("query")),
            None,
        ),
        (
            Method::GET,
            format!("/suppressions/{}@patient.test", c.make("path.address")),
            None,
        ),
        (
            Method::GET,
            format!("/suppressions/{}%20at%20x", c.make("path.address")),
            None,
        ),
        (
            Method::GET,
            format!("/suppressions/export?format={}", c.make("query")),
            None,
        ),
        (Method::GET, format!("/usage?day={}", c.make("query")), None),
        (
            Method::GET,
            format!("/recipients/{}/keys", c.make("path.address")),
            None,
        ),
        (
            Method::DELETE,
            format!(
                "/recipients/{}@x.test/keys/{}",
                c.make("path.address"),
                c.make("path.id")
            ),
            None,
        ),
        (
            Method::POST,
            format!("/recipients/{}@patient.test/keys", c.make("path.address")),
            Some(json!({ "kind": "openpgp", "data": format!("-----BEGIN {}-----", c.make("bad.key")) })),
        ),
        (
            Method::POST,
            format!("/recipients/{}@patient.test/keys", c.make("path.address")),
            Some(json!({ "kind": "smime", "data": c.make("bad.key") })),
        ),
        (
            Method::GET,
            format!(
                "/recipient-domains/{}.{}!",
                c.make("path.domain"),
                c.make("path.domain")
            ),
            None,
        ),
        (
            Method::PUT,
            "/policies".to_owned(),
            Some(json!({ (c.make("unknown_field")): c.make("unknown_field.value") })),
        ),
        (
            Method::POST,
            "/suppressions".to_owned(),
            Some(json!({ "email": format!("{}!", c.make("bad.address")) })),
        ),
        (
            Method::POST,
            "/suppressions".to_owned(),
            Some(json!({ "email": "a@b.test", "reason": c.make("unknown_variant"), "expires_at": c.make("bad.time") })),
        ),
        (
            Method::POST,
            "/webhooks".to_owned(),
            Some(json!({ "endpoint": c.make("bad.url"), "events": [] })),
        ),
        (
            Method::POST,
            "/webhooks".to_owned(),
            Some(json!({ "endpoint": "https://hooks.example/", "events": [c.make("unknown_variant")] })),
        ),
        (Method::POST, format!("/streams/{}/resume", c.make("path.id")), None),
        (
            Method::POST,
            format!("/webhooks/{}/replay", c.make("path.id")),
            Some(json!({ "since": c.make("bad.time") })),
        ),
        (Method::GET, format!("/{}", c.make("path")), None),
        (Method::DELETE, format!("/emails?{}", c.make("query.name")), None),
    ] {
        let answer = stage.api(Asker::Owner, method, &path, body.as_ref()).await;
        stage.check(answer.status < 500, format!("{path}: {}", answer.status));
    }
    for (name, value) in [
        ("authorization", format!("Bearer {}", c.make("api_key"))),
        ("authorization", format!("Basic {}", c.make("api_key"))),
        ("user-agent", c.make("user_agent")),
        ("cookie", format!("session={}", c.make("cookie"))),
        ("accept-language", c.make("accept_language")),
    ] {
        let headers = [(name, &*value)];
        let answer = stage
            .api_with(Asker::Owner, Method::GET, "/emails/em_0", &headers, None)
            .await;
        stage.check(answer.status >= 400, "another answer");
    }
}

/// The portal, asked wrongly, by people and scanners with made-up links.
pub(super) async fn wrong_links(stage: &Stage, c: &mut Canaries) {
    let portal = format!("http://{}", stage.running.system.portal);
    let cookie = format!(
        "session={}; browser={}; lang={}",
        c.make("cookie"),
        c.make("cookie"),
        c.make("cookie")
    );
    let agent = c.make("portal.user_agent");
    let visitor = [
        ("cookie", &*cookie),
        ("user-agent", &*agent),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    for path in ["m", "u", "o", "c"] {
        let url = format!(
            "{portal}/{path}/{}?{}={}",
            c.make("portal.token"),
            c.make("portal.query"),
            c.make("portal.query")
        );
        stage.ask(Asker::Stranger, Method::GET, &url, &visitor, None).await;
        stage.ask(Asker::Stranger, Method::POST, &url, &visitor, None).await;
    }
    let form = format!("code={}&{}=1", c.make("portal.code"), c.make("portal.form"));
    for page in ["open", "code", "leave"] {
        let url = format!("{portal}/m/{}/{page}", c.make("portal.token"));
        stage
            .ask(
                Asker::Stranger,
                Method::POST,
                &url,
                &visitor,
                Some(form.clone().into_bytes()),
            )
            .await;
    }
    for path in [
        c.make("portal.path"),
        format!("assets/{}", c.make("portal.path")),
        format!("m/{}/attachments/{}", c.make("portal.token"), c.make("portal.path")),
    ] {
        stage
            .ask(
                Asker::Stranger,
                Method::GET,
                &format!("{portal}/{path}"),
                &visitor,
                None,
            )
            .await;
    }
}

/// What comes on queues and is no message, or is one that somebody made up.
pub(super) async fn wrong_events(stage: &Stage, c: &mut Canaries) {
    let sqs = &stage.running.system.aws.sqs;
    let queue = |piece: &str| {
        let queues = &stage.running.system.template.queues;
        let found = queues.iter().find(|queue| queue.logical == piece);
        found.unwrap_or_else(|| panic!("no queue {piece}")).name.clone()
    };
    let forged = |c: &mut Canaries| {
        json!({
            "eventType": "Bounce",
            "mail": {
                "timestamp": "2026-11-24T10:00:00.000Z", "messageId": c.make("ses_event.message_id"),
                "destination": [c.address("ses_event.destination", "patient.test")],
                "commonHeaders": { "subject": c.make("ses_event.subject") },
                "tags": {
                    "tenant": ["ten_00000000000000000000000001"], "email": ["em_00000000000000000000000001"],
                    "delivery": ["dl_00000000000000000000000001"], "attempt": ["1"],
                    "proof": [c.make("ses_event.proof")], "method": ["tls"],
                },
            },
            "bounce": {
                "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-11-24T10:00:00.000Z",
                "bouncedRecipients": [{ "diagnosticCode": format!("550 no TLS, {}", c.make("ses_event.diagnostic")) }],
            },
        })
        .to_string()
    };
    let events = [
        forged(c),
        forged(c).replace("\"messageId\"", "\"messageID\""),
        forged(c).replace("\"1\"", &format!("\"{}\"", c.make("ses_event.attempt"))),
        format!("{{\"eventType\":\"{}\",\"mail\":7}}", c.make("ses_event.kind")),
        c.make("ses_event.text"),
    ];
    for body in events {
        let name = queue("SesEventsQueue");
        let url = sqs.call("GetQueueUrl", json!({ "QueueName": name })).await.unwrap();
        let call = json!({ "QueueUrl": url["QueueUrl"], "MessageBody": body });
        sqs.call("SendMessage", call).await.unwrap();
    }
    stage.recorder.at_rest(&stage.running).await;
    stage.pass(3).await;
}

/// The functions' own binaries, under events that are wrong in every way.
pub(super) async fn binaries(stage: &Stage, c: &mut Canaries) {
    let values = [
        ("api_key", &*stage.running.api_key),
        ("portal", "https://portal.example"),
    ];
    let of = |binary: &str, name: &str| events(binary).remove(name).unwrap();
    let mut work: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut request = fill(&of("send", "send"), &values);
    let mut requests = Vec::new();
    let mut email = field::email(c, "patient.test").body;
    for body in [
        email.to_string(),
        format!("{{\"subject\":\"{}", c.make("malformed")),
        json!({ (c.make("unknown_field")): c.make("unknown_field.value") }).to_string(),
        json!({ "to": 7, "subject": c.make("wrong_type") }).to_string(),
        c.make("malformed"),
    ] {
        request["body"] = json!(body);
        for headers in ["headers", "multiValueHeaders"] {
            request[headers]["Idempotency-Key"] = Value::Null;
            request[headers].as_object_mut().unwrap().remove("Idempotency-Key");
        }
        requests.push(request.clone());
    }
    email["data_class"] = json!(c.make("unknown_variant"));
    request["body"] = json!(email.to_string());
    request["isBase64Encoded"] = json!(true);
    requests.push(request);
    work.push(("send", requests));

    let mut key = fill(&of("admin", "recipient-key-malformed"), &values);
    key["body"] = json!(json!({ "kind": "openpgp", "data": c.make("bad.key") }).to_string());
    work.push(("admin", vec![key]));

    let token = c.make("portal.token");
    let mut link = fill(&of("portal", "unknown-link"), &values);
    link["path"] = json!(format!("/m/{token}"));
    link["pathParameters"]["token"] = json!(token);
    link["headers"]["User-Agent"] = json!(c.make("portal.user_agent"));
    work.push(("portal", vec![link]));

    for (_, requests) in &mut work {
        let mut odd = requests[0].clone();
        odd["httpMethod"] = json!(c.make("event.method"));
        requests.push(odd);
        requests.push(json!([c.make("event.other")]));
        requests.push(json!(c.make("event.other")));
    }
    for binary in ["encrypt", "webhook", "tracking", "retention"] {
        let record = |body: String| {
            let message = "44444444-4444-4444-8444-444444444444";
            json!({ "Records": [{
                "messageId": message, "receiptHandle": message, "body": body, "attributes": {}, "messageAttributes": {},
                "md5OfBody": "9bb58f26192e4ba00f01e2e7b136bbd8", "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:queue", "awsRegion": "us-east-1",
            }] })
        };
        let events = vec![
            record(c.make("ses_event.text")),
            record(json!({ "tenant": c.make("ses_event.kind"), "email": 1 }).to_string()),
            json!({ "task": c.make("event.task") }),
            json!({ "Records": c.make("event.records") }),
            json!([c.make("event.other")]),
        ];
        work.push((binary, events));
    }
    for (binary, events) in work {
        let mut function = Function::start(&stage.running, binary, &[(config::LOG_LEVEL, "debug")]).await;
        let recorder = &stage.recorder;
        for event in events {
            match function.invoke(&event).await {
                Ok(answer) => {
                    let headers = answer["multiValueHeaders"].to_string();
                    recorder.add(Sink::ResponseHeader, format!("the binary of {binary}"), headers);
                    if answer["statusCode"].as_u64().is_none_or(|status| status >= 400) {
                        recorder.add(Sink::ErrorBody, format!("the binary of {binary}"), answer.to_string());
                    }
                }
                Err(error) => recorder.add(Sink::LambdaError, format!("the binary of {binary}"), error.to_string()),
            }
        }
        recorder.add(Sink::Stderr, format!("the binary of {binary}"), function.log());
    }
}
