//! SES through its own requests.

use super::*;
use crate::aws::testing::ses;
use base64::Engine as _;
use http::Method;
use serde_json::json;

struct World {
    ses: Ses,
    clock: Clock,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::system();
        let world = Self {
            ses: ses(None, &clock),
            clock,
        };
        world
            .post("identities", json!({"EmailIdentity": "clinic.test"}))
            .await
            .unwrap();
        let options = json!({"TlsPolicy": "REQUIRE", "MaxDeliverySeconds": 300});
        let set = json!({"ConfigurationSetName": "tls", "DeliveryOptions": options});
        world.post("configuration-sets", set).await.unwrap();
        world
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, AwsError> {
        self.ses.call(&method, &format!("/v2/email/{path}"), body).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, AwsError> {
        self.call(Method::POST, path, body).await
    }

    async fn send(&self, to: &str) -> Result<Value, AwsError> {
        self.post("outbound-emails", email(to)).await
    }

    fn only_state(&self, to: &str) -> &'static str {
        let filter = Filter {
            to: Some(to.to_owned()),
            id: None,
        };
        let messages = self.ses.messages(&filter).unwrap();
        assert_eq!(messages.len(), 1);
        messages[0].state(self.clock.now_ms())
    }
}

fn raw(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn email(to: &str) -> Value {
    json!({
        "FromEmailAddress": "Clinic <care@clinic.test>",
        "Destination": {"ToAddresses": [to]},
        "Content": {"Raw": {"Data": raw("From: Clinic <care@clinic.test>\r\nTo: x@y.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n")}},
        "EmailTags": [{"Name": "attempt", "Value": "at_1-b"}],
        "ConfigurationSetName": "tls",
    })
}

#[tokio::test]
async fn an_accepted_email_is_in_the_mailbox() {
    let world = World::new().await;
    let answer = world.send("Pat Example <Pat@Mail.test>").await.unwrap();
    let messages = world.ses.messages(&Filter::default()).unwrap();
    let mail = &messages[0];
    assert_eq!(answer["MessageId"], mail.message_id);
    assert_eq!(mail.message_id.len(), 60);
    assert!(mail.message_id.starts_with("0100") && mail.message_id.ends_with("-000000"));
    assert_eq!(
        (mail.from.as_str(), mail.subject.as_str()),
        ("care@clinic.test", "Grüße")
    );
    assert_eq!(mail.recipients[0].address, "Pat@Mail.test");
    assert_eq!(mail.tls_policy, TlsPolicy::Require);
    assert_eq!(mail.configuration_set.as_deref(), Some("tls"));
    assert_eq!(mail.tags, [("attempt".to_owned(), "at_1-b".to_owned())]);
    assert_eq!(world.only_state("pat@mail.test"), "delivered");
    let text = String::from_utf8(world.ses.raw(&mail.id).unwrap().unwrap()).unwrap();
    assert!(
        text.contains(&format!(
            "Message-ID: <{}@us-east-1.amazonses.com>\r\n",
            mail.message_id
        )),
        "{text}"
    );
    assert!(text.ends_with("\r\n\r\nHello\r\n"));
    assert!(world.ses.raw("msg_99").unwrap().is_none());
}

#[tokio::test]
async fn what_ses_refuses_is_refused_and_not_stored() {
    let world = World::new().await;
    let with = |pointer: &str, value: Value| {
        let mut body = email("pat@mail.test");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .insert(name.to_owned(), value);
        body
    };
    let many: Vec<String> = (0..51).map(|n| format!("p{n}@mail.test")).collect();
    let other = raw("From: a@elsewhere.test\r\n\r\nx");
    let cases = [
        (
            with("/ConfigurationSetName", json!("none")),
            "NotFoundException",
            "Configuration set <none> does not exist.",
        ),
        (
            with("/Content/Raw", json!({"Data": other})),
            "MessageRejected",
            "region US-EAST-1: a@elsewhere.test",
        ),
        (
            with("/FromEmailAddress", json!("a@b.test")),
            "MessageRejected",
            "region US-EAST-1: a@b.test",
        ),
        (
            with("/Destination/ToAddresses", json!(many)),
            "BadRequestException",
            "Recipient count exceeds 50",
        ),
        (
            with("/Destination/ToAddresses", json!(["pat"])),
            "BadRequestException",
            "Missing final '@domain'",
        ),
        (
            with("/EmailTags", json!([{"Name": "a b", "Value": "c"}])),
            "BadRequestException",
            "Invalid tag name",
        ),
        (
            with("/EmailTags", json!([{"Name": "a", "Value": "p@x"}])),
            "BadRequestException",
            "Invalid tag value",
        ),
        (
            with("/Content", json!({"Simple": {}})),
            "NotImplemented",
            "SESv2 SendEmail: Content: Simple",
        ),
        (
            with("/Content", json!({"Template": {}})),
            "NotImplemented",
            "SESv2 SendEmail: Content: Template",
        ),
        (
            with("/TenantName", json!("t")),
            "NotImplemented",
            "SESv2 SendEmail: TenantName",
        ),
    ];
    for (body, code, message) in cases {
        let error = world.post("outbound-emails", body).await.unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(message), "{}", error.message);
    }
    assert!(world.ses.messages(&Filter::default()).unwrap().is_empty());
}

#[tokio::test]
async fn the_clock_settles_a_required_tls_failure() {
    let world = World::new().await;
    world.send("pat@tls-fails.test").await.unwrap();
    world.send("pat@slow.test").await.unwrap();
    assert_eq!(world.only_state("pat@tls-fails.test"), "accepted");
    assert_eq!(world.only_state("pat@slow.test"), "accepted");
    world.clock.advance_ms(121_000);
    assert_eq!(world.only_state("pat@tls-fails.test"), "delayed");
    assert_eq!(world.only_state("pat@slow.test"), "delivered");
    world.clock.advance_ms(180_000);
    assert_eq!(world.only_state("pat@tls-fails.test"), "tls_failed");
}

#[tokio::test]
async fn a_lost_reply_leaves_the_email_accepted() {
    let world = World::new().await;
    assert_eq!(
        world.send("pat@lost-reply.test").await.unwrap_err().code,
        "Sealpost.ReplyLost"
    );
    assert_eq!(world.only_state("pat@lost-reply.test"), "delivered");
}

#[tokio::test]
async fn over_the_rate_nothing_is_accepted() {
    let world = World::new().await;
    assert_eq!(
        world.send("pat@throttled.test").await.unwrap_err().code,
        "TooManyRequestsException"
    );
    world.ses.set_max_send_rate(2.0);
    world.send("one@mail.test").await.unwrap();
    world.send("two@mail.test").await.unwrap();
    let error = world.send("three@mail.test").await.unwrap_err();
    assert_eq!(
        (error.status.as_u16(), error.code.as_str()),
        (429, "TooManyRequestsException")
    );
    world.clock.advance_ms(1_000);
    world.send("three@mail.test").await.unwrap();
    assert_eq!(world.ses.messages(&Filter::default()).unwrap().len(), 3);
    let account = world.call(Method::GET, "account", Value::Null).await.unwrap();
    assert_eq!(
        account["SendQuota"],
        json!({"Max24HourSend": -1.0, "MaxSendRate": 2.0, "SentLast24Hours": 3})
    );
}

#[tokio::test]
async fn a_hard_bounce_suppresses_the_next_email() {
    let world = World::new().await;
    world.send("pat@bounce.test").await.unwrap();
    assert_eq!(world.only_state("pat@bounce.test"), "bounced");
    world.send("PAT@bounce.test").await.unwrap();
    let messages = world.ses.messages(&Filter::default()).unwrap();
    assert_eq!(messages[1].state(world.clock.now_ms()), "suppressed");
    let path = "suppression/addresses/pat%40bounce.test";
    let found = world.call(Method::GET, path, Value::Null).await.unwrap();
    assert_eq!(found["SuppressedDestination"]["Reason"], "BOUNCE");
    let listed = world
        .call(Method::GET, "suppression/addresses?Reason=COMPLAINT", Value::Null)
        .await
        .unwrap();
    assert_eq!(listed["SuppressedDestinationSummaries"], json!([]));
    world.call(Method::DELETE, path, Value::Null).await.unwrap();
    assert_eq!(
        world.call(Method::GET, path, Value::Null).await.unwrap_err().code,
        "NotFoundException"
    );
}

#[tokio::test]
async fn a_complaint_suppresses_only_once_it_has_happened() {
    let world = World::new().await;
    world.send("pat@complaint.test").await.unwrap();
    let path = "suppression/addresses/pat%40complaint.test";
    assert!(world.call(Method::GET, path, Value::Null).await.is_err());
    world.clock.advance_ms(60_000);
    assert!(world.call(Method::GET, path, Value::Null).await.is_ok());
    let options = json!({"SuppressedReasons": ["BOUNCE"]});
    world
        .call(Method::PUT, "configuration-sets/tls/suppression-options", options)
        .await
        .unwrap();
    world.send("pat@complaint.test").await.unwrap();
    let messages = world.ses.messages(&Filter::default()).unwrap();
    assert_eq!(messages[1].state(world.clock.now_ms()), "delivered");
}

#[tokio::test]
async fn configuration_sets_keep_their_delivery_options() {
    let world = World::new().await;
    let path = "configuration-sets/tls/delivery-options";
    for (seconds, is_taken) in [(299, false), (300, true), (50_400, true), (50_401, false)] {
        let body = json!({"TlsPolicy": "REQUIRE", "MaxDeliverySeconds": seconds});
        assert_eq!(world.call(Method::PUT, path, body).await.is_ok(), is_taken, "{seconds}");
    }
    let set = world
        .call(Method::GET, "configuration-sets/tls", Value::Null)
        .await
        .unwrap();
    assert_eq!(
        set["DeliveryOptions"],
        json!({"TlsPolicy": "REQUIRE", "MaxDeliverySeconds": 50_400})
    );
    let again = world
        .post("configuration-sets", json!({"ConfigurationSetName": "tls"}))
        .await
        .unwrap_err();
    assert_eq!(again.code, "AlreadyExistsException");
    world
        .post("configuration-sets", json!({"ConfigurationSetName": "open"}))
        .await
        .unwrap();
    let first = world
        .post("list-configuration-sets", json!({"PageSize": 1}))
        .await
        .unwrap();
    assert_eq!(first, json!({"ConfigurationSets": ["open"], "NextToken": "open"}));
    let next = world
        .post("list-configuration-sets", json!({"NextToken": "open"}))
        .await
        .unwrap();
    assert_eq!(next, json!({"ConfigurationSets": ["tls"]}));
    world
        .call(Method::DELETE, "configuration-sets/open", Value::Null)
        .await
        .unwrap();
    let gone = world
        .call(Method::GET, "configuration-sets/open", Value::Null)
        .await
        .unwrap_err();
    assert_eq!((gone.status.as_u16(), gone.code.as_str()), (404, "NotFoundException"));
}

#[tokio::test]
async fn an_identity_outside_the_reserved_names_waits_for_verification() {
    let world = World::new().await;
    let made = world
        .post("identities", json!({"EmailIdentity": "Clinic.Invalid"}))
        .await
        .unwrap();
    assert_eq!(made["VerifiedForSendingStatus"], false);
    let found = world
        .call(Method::GET, "identities/clinic.invalid", Value::Null)
        .await
        .unwrap();
    assert_eq!(found["VerificationStatus"], "PENDING");
    assert!(world.ses.verify("clinic.invalid").unwrap());
    let found = world
        .call(Method::GET, "identities/clinic.invalid", Value::Null)
        .await
        .unwrap();
    assert_eq!(found["VerifiedForSendingStatus"], true);
    assert_eq!(
        world.post("list-identities", json!({})).await.unwrap()["EmailIdentities"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(!world.ses.verify("never.invalid").unwrap());
}

#[tokio::test]
async fn what_is_not_here_says_so_by_name() {
    let world = World::new().await;
    for (method, path, name) in [
        (Method::POST, "outbound-bulk-emails", "SESv2 SendBulkEmail"),
        (Method::POST, "contact-lists", "SESv2 CreateContactList"),
        (Method::GET, "no/such/path", "SESv2 GET /v2/email/no/such/path"),
    ] {
        let error = world.call(method, path, json!({})).await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.code.as_str()), (501, "NotImplemented"));
        assert!(error.message.contains(name), "{}", error.message);
    }
}

#[tokio::test]
async fn the_mailbox_survives_a_restart() {
    let dir = std::env::temp_dir().join(format!("sealpost-ses-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("ses.sqlite");
    let clock = Clock::system();
    let first = ses(Some(&path), &clock);
    let identity = json!({"EmailIdentity": "care@clinic.test"});
    first
        .call(&Method::POST, "/v2/email/identities", identity)
        .await
        .unwrap();
    let mut body = email("pat@mail.test");
    body.as_object_mut().unwrap().remove("ConfigurationSetName");
    first
        .call(&Method::POST, "/v2/email/outbound-emails", body)
        .await
        .unwrap();
    drop(first);
    let messages = ses(Some(&path), &clock).messages(&Filter::default()).unwrap();
    assert_eq!(
        (messages[0].id.as_str(), messages[0].tls_policy),
        ("msg_1", TlsPolicy::Optional)
    );
    std::fs::remove_dir_all(&dir).unwrap();
}
