//! The mailbox through its router.

use std::sync::Mutex;

use axum::body::Body;
use base64::Engine as _;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

const MIXED: &str = "From: =?utf-8?q?Clinic_S=C3=BCd?= <care@clinic.test>\r\nTo: Pat <pat@mail.test>\r\nSubject: Results <b>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\nPlain <script>\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>Hello <img src=\"cid:logo@x\"><script>alert(1)</script></p>\r\n--a--\r\n\
--m\r\nContent-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n\
--m\r\nContent-Type: text/html; name=\"../b\"\r\nContent-Disposition: attachment; filename=\"../befund \u{fc}.html\"\r\n\r\n<script>alert(2)</script>\r\n--m--\r\n";
const PGP: &str = "From: care@clinic.test\r\nTo: pgp@mail.test\r\nSubject: ...\r\nMIME-Version: 1.0\r\nContent-Type: Multipart/Encrypted;\r\n protocol=\"application/pgp-encrypted\"; boundary=p\r\n\r\n--p\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--p\r\nContent-Type: application/octet-stream; name=encrypted.asc\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n--p--\r\n";
const SMIME: &str = "From: care@clinic.test\r\nTo: smime@mail.test\r\nSubject: ...\r\nMIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=authEnveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\nMAA=\r\n";

struct World {
    mailbox: Mailbox,
    advanced: Arc<Mutex<Vec<i64>>>,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::system();
        let ses = Arc::new(crate::aws::testing::ses(None, &clock));
        let advanced = Arc::new(Mutex::new(Vec::new()));
        let (moved, seen) = (clock.clone(), advanced.clone());
        let mailbox = Mailbox {
            ses,
            clock,
            advance: Arc::new(move |by_ms| {
                moved.advance_ms(by_ms);
                seen.lock().unwrap().push(by_ms);
            }),
            opener: Arc::new(|method, to| (method == Method::OpenPgp).then(|| format!("gpg --decrypt # {to}"))),
            example: "curl 'http://127.0.0.1/emails'".to_owned(),
        };
        let world = Self { mailbox, advanced };
        world.ses("identities", json!({"EmailIdentity": "clinic.test"})).await;
        for name in ["tls", "portal-notice"] {
            let set = json!({"ConfigurationSetName": name, "DeliveryOptions": {"TlsPolicy": "REQUIRE"}});
            world.ses("configuration-sets", set).await;
        }
        world
    }

    async fn ses(&self, path: &str, body: Value) {
        let path = format!("/v2/email/{path}");
        self.mailbox.ses.call(&HttpMethod::POST, &path, body).await.unwrap();
    }

    async fn send(&self, raw: &str, set: Option<&str>) {
        let data = base64::engine::general_purpose::STANDARD.encode(raw);
        let mut body = json!({"Content": {"Raw": {"Data": data}}});
        if let Some(set) = set {
            body["ConfigurationSetName"] = json!(set);
        }
        self.ses("outbound-emails", body).await;
    }

    async fn ask(&self, request: http::request::Builder, body: &str) -> (StatusCode, HeaderMap, String) {
        let request = request
            .header(header::HOST, "127.0.0.1:8025")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = router(self.mailbox.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        self.ask(http::Request::get(path), "").await
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.2).unwrap()
    }
}

#[tokio::test]
async fn the_list_is_oldest_first_and_may_be_kept_to_one_recipient() {
    let world = World::new().await;
    assert_eq!(world.json("/messages").await, json!({"object": "list", "data": []}));
    world.send(MIXED, Some("tls")).await;
    world.send(PGP, Some("tls")).await;
    world.send(SMIME, Some("tls")).await;
    world.send(MIXED, Some("portal-notice")).await;
    world.send(MIXED, None).await;
    let all = world.json("/messages").await;
    let methods: Vec<&str> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mail| mail["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods, ["tls", "openpgp", "smime", "portal", "plain"]);
    let first = &all["data"][0];
    assert_eq!(
        (&first["id"], &first["to"], &first["state"]),
        (&json!("msg_1"), &json!(["pat@mail.test"]), &json!("delivered"))
    );
    assert_eq!(
        (&first["tls_policy"], &first["configuration_set"]),
        (&json!("REQUIRE"), &json!("tls"))
    );
    assert_eq!(world.json("/messages/msg_1").await, *first);
    let mine = world.json("/messages?to=PGP%40mail.test").await;
    assert_eq!(mine["data"].as_array().unwrap().len(), 1);
    let (status, headers, raw) = world.get("/messages/msg_2/raw").await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, "message/rfc822")
    );
    assert!(raw.ends_with("-----BEGIN PGP MESSAGE-----\r\n--p--\r\n"));
    assert_eq!(world.get("/messages/msg_77").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/messages/msg_77/raw").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_clock_moves_by_an_iso_duration_and_only_forward() {
    let world = World::new().await;
    let before = world.mailbox.clock.now();
    let (status, _, body) = world.ask(http::Request::post("/clock"), r#"{"advance":"P6Y"}"#).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let now: Timestamp = serde_json::from_str::<Value>(&body).unwrap()["now"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        now.to_zoned_datetime(TimeZone::UTC).year(),
        before.to_zoned_datetime(TimeZone::UTC).year() + 6
    );
    for body in [
        r#"{"advance":"six"}"#,
        r#"{"advance":"-PT1S"}"#,
        r#"{"advance":6}"#,
        "{}",
        "",
        r#"{"advance":"P9000Y"}"#,
    ] {
        let (status, _, answer) = world.ask(http::Request::post("/clock"), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (&answer["statusCode"], &answer["name"]),
            (&json!(400), &json!("validation_error"))
        );
    }
    assert_eq!(world.advanced.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_page_shows_mail_without_trusting_it() {
    let world = World::new().await;
    let (_, _, empty) = world.get("/").await;
    assert!(
        empty.contains("No mail yet") && empty.contains("curl &#39;http://127.0.0.1/emails&#39;"),
        "{empty}"
    );
    world.send(MIXED, Some("tls")).await;
    let (status, headers, page) = world.get("/?open=msg_1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-security-policy"], PAGE_POLICY);
    assert!(
        page.contains("Clinic Süd &#60;care@clinic.test&#62;") && page.contains("Results &#60;b&#62;"),
        "{page}"
    );
    assert!(page.contains("Plain &#60;script&#62;") && !page.contains("alert(1)</script>"));
    let (_, headers, body) = world.get("/messages/msg_1/body").await;
    assert!(body.contains("<img src=\"data:image/png;base64,iVBORw==\">"), "{body}");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("sandbox allow-popups") && !policy.contains("script")
    );
    let (_, headers, file) = world.get("/messages/msg_1/attachments/1").await;
    assert_eq!(file.trim_end(), "<script>alert(2)</script>");
    assert_eq!(headers["content-type"], "application/octet-stream");
    let saved_as = headers["content-disposition"].to_str().unwrap();
    assert!(
        saved_as.starts_with("attachment; filename=\"befund _.html\"; filename*=UTF-8''befund%20%C3%BC.html"),
        "{saved_as}"
    );
    assert_eq!(
        world.get("/messages/msg_1/attachments/9").await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(world.get("/?open=msg_9").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_sealed_message_names_the_command_that_opens_it() {
    let world = World::new().await;
    world.send(PGP, Some("tls")).await;
    world.send(SMIME, Some("tls")).await;
    let (_, _, page) = world.get("/?open=msg_1").await;
    let command = "curl -s http://127.0.0.1:8025/messages/msg_1/raw | gpg --decrypt # pgp@mail.test";
    assert!(page.contains(command), "{page}");
    let (_, _, page) = world.get("/?open=msg_2").await;
    assert!(page.contains("S/MIME") && page.contains("The key is not on this machine"));
}

#[tokio::test]
async fn other_hosts_and_other_sites_are_refused() {
    let world = World::new().await;
    let app = router(world.mailbox.clone());
    for (host, expected) in [
        ("localhost:1", 200),
        ("[::1]:8025", 200),
        ("evil.test", 403),
        ("127.0.0.1.evil.test:80", 403),
    ] {
        let request = http::Request::get("/messages")
            .header(header::HOST, host)
            .body(Body::empty())
            .unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), expected, "{host}");
    }
    let request = http::Request::post("/clock").header("sec-fetch-site", "cross-site");
    assert_eq!(
        world.ask(request, r#"{"advance":"PT1S"}"#).await.0,
        StatusCode::FORBIDDEN
    );
    for path in ["/", "/messages", "/mailbox.css", "/nothing"] {
        let (_, headers, _) = world.get(path).await;
        assert!(headers.contains_key("content-security-policy"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
    }
}

#[tokio::test]
async fn events_are_disturbed_on_demand() {
    let world = World::new().await;
    let post = |body: &'static str| world.ask(http::Request::post("/events"), body);
    for (body, expected) in [
        (
            r#"{"withhold":true}"#,
            json!({"withhold": true, "duplicate": false, "reverse": false, "waiting": 0}),
        ),
        (
            r#"{"duplicate":true,"withhold":false}"#,
            json!({"withhold": false, "duplicate": true, "reverse": false, "waiting": 0}),
        ),
        (
            "{}",
            json!({"withhold": false, "duplicate": true, "reverse": false, "waiting": 0}),
        ),
    ] {
        let (status, _, answer) = post(body).await;
        assert_eq!(
            (status, serde_json::from_str(&answer).unwrap()),
            (StatusCode::OK, expected)
        );
    }
    for body in ["", r#"{"withhold":1}"#, r#"{"hold":true}"#] {
        assert_eq!(post(body).await.0, StatusCode::BAD_REQUEST);
    }
}
