//! Promise: bad input gets a clear error that names the field, repeats nothing of it, and leaves nothing behind.

use serde_json::{Value, json};

use crate::system::{Running, base64};

/// Stands in every bad value; no answer may hold it.
const SECRET: &str = "xq7-secret";

fn email() -> Value {
    json!({"from": "Clinic <care@clinic.test>", "to": "pat@patient.test", "subject": "Hello", "text": "Hello"})
}

fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut email = email();
    email[pointer.trim_start_matches('/')] = value;
    email.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_emails_are_refused_with_a_pointer_and_leave_nothing_behind() {
    let running = Running::start().await;
    let many = |n: usize| json!((0..n).map(|n| format!("p{n}@patient.test")).collect::<Vec<_>>());
    let file = |name: &str, value: Value| {
        let mut file = json!({"filename": "a.txt", "content": base64(b"a")});
        file[name] = value;
        json!([file])
    };
    let header = |name: &str, value: &str| json!({name: value});
    let mut cases: Vec<(u16, &str, Vec<u8>)> = vec![
        (400, "/from", format!("{{\"from\": \"{SECRET}").into_bytes()),
        (400, "", b"".to_vec()),
        (400, "", [b"\xff\xfe".as_slice(), SECRET.as_bytes()].concat()),
        (
            400,
            "",
            format!("{{\"from\":\"a@clinic.test\",\"from\":\"{SECRET}\"}}").into_bytes(),
        ),
        (
            400,
            "/headers",
            format!("{{\"from\":\"a@clinic.test\",\"headers\":{{\"X-A\":\"1\",\"X-A\":\"{SECRET}\"}}}}").into_bytes(),
        ),
        (422, "/unknown_field", with("/unknown_field", json!(SECRET))),
        (422, "/to", with("/to", many(51))),
        (422, "/to", with("/to", json!([]))),
        (422, "/to", with("/to", json!(7))),
        (422, "/subject", with("/subject", json!(format!("a\r\nBcc: {SECRET}")))),
        (422, "/subject", with("/subject", json!(format!("a\n{SECRET}")))),
        (422, "/subject", with("/subject", json!(format!("a\0{SECRET}")))),
        (422, "/subject", with("/subject", Value::Null)),
        (422, "/text", with("/text", json!(""))),
        (
            422,
            "/from",
            with("/from", json!(format!("Clinic\r\nBcc: {SECRET} <care@clinic.test>"))),
        ),
        (422, "/from", with("/from", json!(format!("{SECRET}@elsewhere.test")))),
        (
            422,
            "/reply_to",
            with("/reply_to", json!(format!("a\n{SECRET}@clinic.test"))),
        ),
        (422, "/headers/From", with("/headers", header("From", SECRET))),
        (
            422,
            "/headers/content-type",
            with("/headers", header("content-type", SECRET)),
        ),
        (
            422,
            "/headers/DKIM-Signature",
            with("/headers", header("DKIM-Signature", SECRET)),
        ),
        (
            422,
            "/headers/X-Note",
            with("/headers", header("X-Note", &format!("a\r\nBcc: {SECRET}"))),
        ),
        (422, "/headers", with("/headers", header("X Note", SECRET))),
        (
            422,
            "/attachments/0/content",
            with("/attachments", file("content", json!(format!("{SECRET}!!")))),
        ),
        (
            422,
            "/attachments/0/filename",
            with("/attachments", file("filename", json!(format!("a\r\n{SECRET}")))),
        ),
        (
            422,
            "/attachments/0/content_type",
            with("/attachments", file("content_type", json!(format!("a/b\r\n{SECRET}")))),
        ),
        (
            422,
            "/attachments/0/more",
            with("/attachments", file("more", json!(SECRET))),
        ),
        (
            422,
            "/tags/0/value",
            with("/tags", json!([{"name": "a", "value": format!("{SECRET} ä")}])),
        ),
        (422, "/data_class", with("/data_class", json!(SECRET))),
        (
            422,
            "/security/expires_in",
            with("/security", json!({"expires_in": SECRET})),
        ),
        (422, "/security/method", with("/security", json!({"method": SECRET}))),
        (422, "/scheduled_at", with("/scheduled_at", json!(SECRET))),
        (422, "/scheduled_at", with("/scheduled_at", json!("in 366 days"))),
        (422, "/scheduled_at", with("/scheduled_at", json!(7))),
        (422, "/patient_ref", with("/patient_ref", json!(format!("{SECRET}\n")))),
    ];
    for address in [
        "a@b.test,c@d.test",
        "a@b.test c@d.test",
        "<script>@b.test",
        "a(comment)@b.test",
        "\"a b\"@c.test",
        "group:a@b.test;",
        "a@[127.0.0.1]",
        "a@b",
        "@b.test",
        "a@",
        "a@@b.test",
        "a@b.test\r\nBcc: c@d.test",
        "a\0@b.test",
        "ü@b.test",
        "a@b..test",
        "Name <a@b.test> <c@d.test>",
        "Name <a@b.test",
        "a@b.test>",
    ] {
        cases.push((422, "/to", with("/to", json!(address))));
        cases.push((422, "/cc/1", with("/cc", json!(["ok@patient.test", address]))));
    }
    for (status, pointer, body) in &cases {
        let shown = String::from_utf8_lossy(body).into_owned();
        let (got, answer) = running
            .call(reqwest::Method::POST, "/emails", Some(body.clone()), &[])
            .await;
        assert_eq!(got, *status, "{shown}: {answer}");
        assert_eq!(answer["statusCode"], json!(status), "{shown}");
        assert!(answer["name"].is_string() && answer["message"].is_string() && answer["detail"].is_string());
        let pointers: Vec<&str> = answer["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert!(pointers.contains(pointer), "{shown}: {pointers:?} lacks {pointer:?}");
        assert!(
            !answer.to_string().contains(SECRET),
            "{shown}: the answer repeats the input"
        );
    }
    let (status, answer) = running
        .call(
            reqwest::Method::POST,
            "/emails",
            Some(vec![b' '; 6 * 1024 * 1024 + 1]),
            &[],
        )
        .await;
    assert_eq!(
        (status, answer["name"].as_str()),
        (413, Some("validation_error")),
        "{answer}"
    );
    let long = "k".repeat(257);
    let body = Some(email().to_string().into_bytes());
    let (status, answer) = running
        .call(reqwest::Method::POST, "/emails", body, &[("Idempotency-Key", &long)])
        .await;
    assert_eq!(
        (status, answer["name"].as_str()),
        (400, Some("invalid_idempotency_key")),
        "{answer}"
    );
    assert_eq!(answer["errors"][0]["pointer"], "Idempotency-Key");

    // One bad email refuses its batch, whose other emails leave nothing either.
    let batch = json!([email(), {"from": "care@clinic.test", "to": "x", "subject": "s", "text": "t"}]);
    let (status, answer) = running.post("/emails/batch", &batch).await;
    assert_eq!(
        (status, answer["errors"][0]["pointer"].as_str()),
        (422, Some("/1/to")),
        "{answer}"
    );

    let (_, listed) = running.get("/emails").await;
    assert_eq!(listed["data"], json!([]), "something was left behind");
    assert!(
        running
            .system
            .settled(std::time::Duration::from_secs(10))
            .await
            .unwrap()
    );
    assert!(
        running
            .system
            .aws
            .ses
            .messages(&sealpost_local::aws::ses::Filter::default())
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_the_scope_and_foreign_ids_are_refused_alike() {
    let running = Running::start().await;
    let id = running.send(&email()).await;
    running.settled(&id).await;

    // A key that may send only.
    let (status, made) = running
        .post("/api-keys", &json!({"name": "Sender", "permission": "sending_access"}))
        .await;
    assert_eq!(status, 201, "{made}");
    let sender = format!("Bearer {}", made["token"].as_str().unwrap());
    let as_sender = [("authorization", sender.as_str())];
    let call = |method, path: &'static str, body: Option<Value>| {
        let body = body.map(|body| body.to_string().into_bytes());
        running.call(method, path, body, &as_sender)
    };
    let (status, answer) = call(reqwest::Method::GET, "/emails", None).await;
    assert_eq!(
        (status, answer["name"].as_str()),
        (403, Some("restricted_api_key")),
        "{answer}"
    );
    assert!(answer["message"].as_str().unwrap().contains("emails:read"));
    assert_eq!(call(reqwest::Method::GET, "/api-keys", None).await.0, 403);
    assert_eq!(
        call(reqwest::Method::PUT, "/policies", Some(json!({"version": 1})))
            .await
            .0,
        403
    );
    assert_eq!(call(reqwest::Method::POST, "/emails", Some(email())).await.0, 200);

    // Another tenant.
    let admin = running.system.app("admin").unwrap();
    let other = sealpost_core::tenant::create(
        &admin,
        &sealpost_core::actor::Actor::Operator,
        sealpost_core::tenant::NewTenant {
            name: "Other".to_owned(),
            domain: "other.test".to_owned(),
            care_address: "care@other.test".to_owned(),
        },
    )
    .await
    .unwrap();
    let stranger = format!("Bearer {}", other.api_key);
    let as_stranger = [("authorization", stranger.as_str())];
    let path = format!("/emails/{id}");
    let foreign = running.call(reqwest::Method::GET, &path, None, &as_stranger).await;
    let unknown = running
        .call(
            reqwest::Method::GET,
            "/emails/em_01kaz3v0r4m2q8t5w7y9b1d3f5",
            None,
            &as_stranger,
        )
        .await;
    let malformed = running
        .call(reqwest::Method::GET, "/emails/what", None, &as_stranger)
        .await;
    assert_eq!(foreign.0, 404);
    assert_eq!(foreign, unknown);
    assert_eq!(foreign, malformed);
    let key = format!("/api-keys/{}", made["id"].as_str().unwrap());
    assert_eq!(
        running.call(reqwest::Method::DELETE, &key, None, &as_stranger).await,
        foreign
    );

    // A revoked key, an altered one and none.
    assert_eq!(running.call(reqwest::Method::DELETE, &key, None, &[]).await.0, 200);
    let revoked = running.call(reqwest::Method::GET, "/emails", None, &as_sender).await;
    let altered = format!("{stranger}x");
    let altered = running
        .call(reqwest::Method::GET, "/emails", None, &[("authorization", &altered)])
        .await;
    assert_eq!((revoked.0, revoked.1["name"].as_str()), (403, Some("invalid_api_key")));
    assert_eq!(revoked, altered);
    assert_eq!(
        running
            .call(
                reqwest::Method::GET,
                "/emails",
                None,
                &[("authorization", "Basic eA==")]
            )
            .await
            .0,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_names_any_time_costs_no_more_than_another() {
    let running = Running::start().await;
    let id = running.send(&email()).await;
    running.settled(&id).await;
    let (first, last) = ("0".repeat(26), format!("7{}", "z".repeat(25)));
    for (bound, edge, n_listed) in [
        ("after", &first, 0),
        ("after", &last, 1),
        ("before", &first, 1),
        ("before", &last, 0),
    ] {
        let path = format!("/emails?{bound}=em_{edge}");
        running.system.aws.set_faults(None);
        let (status, listed) = running.get(&path).await;
        let n_calls = running.system.aws.n_calls();
        assert_eq!(status, 200, "{path}: {listed}");
        assert_eq!(listed["data"].as_array().unwrap().len(), n_listed, "{path}: {listed}");
        assert!(n_calls < 40, "{path} made {n_calls} calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_must_not_be_used_are_refused_with_the_reason() {
    let running = Running::start().await;
    let path = "/recipients/ana@patient.test/keys";
    for (body, pointer) in [
        (json!({"kind": "openpgp", "data": SECRET}), "/data"),
        (json!({"kind": "smime", "data": SECRET}), "/data"),
        (json!({"kind": SECRET, "data": "x"}), "/kind"),
        (json!({"kind": "smime"}), "/data"),
    ] {
        let (status, answer) = running.post(path, &body).await;
        assert_eq!(
            (status, answer["errors"][0]["pointer"].as_str()),
            (422, Some(pointer)),
            "{answer}"
        );
        assert!(!answer.to_string().contains(SECRET));
    }
    let (status, listed) = running.get(path).await;
    assert_eq!((status, &listed["data"]), (200, &json!([])));
}
