//! The system as a whole, in memory and on file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use super::{Options, System};

fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn options(data: Option<&Path>) -> Options {
    Options {
        data: data.map(Path::to_owned),
        api: anywhere(),
        portal: anywhere(),
        mailbox: anywhere(),
        aws: Some(anywhere()),
    }
}

async fn in_memory() -> System {
    System::start(options(None)).await.unwrap()
}

/// A folder of this test alone, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sealpost-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

async fn failure(options: Options) -> String {
    match System::start(options).await {
        Ok(_) => panic!("it started"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn a_route_that_the_template_lacks_answers_as_the_template_words_it() {
    let system = in_memory().await;
    for (method, path) in [
        ("GET", "/nothing"),
        ("DELETE", "/emails"),
        ("GET", "/emails/"),
        ("GET", "/emails/batch"),
    ] {
        let url = format!("http://{}{path}", system.api);
        let answer = reqwest::Client::new()
            .request(method.parse().unwrap(), url)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{method} {path}");
        assert!(answer.headers().contains_key("x-amzn-requestid"));
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body["name"], "not_found", "{method} {path}");
    }
    let page = reqwest::Client::new()
        .get(format!("http://{}/nothing", system.portal))
        .header("accept", "text/html,*/*");
    let page = page.send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), page.headers()["content-type"].to_str().unwrap()),
        (404, "text/html")
    );
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    system.stop().await;
}

#[tokio::test]
async fn the_door_for_operators_is_shut_without_aws() {
    let system = in_memory().await;
    let url = format!("http://{}/tenants", system.api);
    let unsigned = reqwest::Client::new().post(&url).body("{}").send().await.unwrap();
    assert_eq!(unsigned.status(), 404);
    let signed = reqwest::Client::new()
        .post(&url)
        .header("authorization", "AWS4-HMAC-SHA256 Credential=x");
    assert_eq!(signed.body("{}").send().await.unwrap().status(), 403);
    system.stop().await;
}

#[tokio::test]
async fn a_body_over_six_megabytes_is_refused() {
    let system = in_memory().await;
    let url = format!("http://{}/emails", system.api);
    let answer = reqwest::Client::new()
        .post(url)
        .body(vec![b' '; 6 * 1024 * 1024 + 1])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["statusCode"], 413);
    system.stop().await;
}

#[tokio::test]
async fn a_message_that_nobody_understands_ends_in_the_dead_letter_queue() {
    let system = in_memory().await;
    let sqs = aws_sdk_sqs::Client::new(&system.sdk());
    let url = |name: &'static str| sqs.get_queue_url().queue_name(name).send();
    let outbound = url("sealpost-OutboundQueue").await.unwrap().queue_url.unwrap();
    let dead = url("sealpost-OutboundDeadLetterQueue")
        .await
        .unwrap()
        .queue_url
        .unwrap();
    sqs.send_message()
        .queue_url(&outbound)
        .message_body("{}")
        .send()
        .await
        .unwrap();
    let visibility = Duration::from_secs(361);
    let mut found = None;
    for _ in 0..200 {
        let got = sqs
            .receive_message()
            .queue_url(&dead)
            .send()
            .await
            .unwrap()
            .messages
            .unwrap_or_default();
        if let Some(message) = got.into_iter().next() {
            found = Some(message);
            break;
        }
        system.advance(visibility).unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(
        found.expect("the message is in the dead-letter queue").body.unwrap(),
        "{}"
    );
    assert!(system.settled(Duration::from_secs(5)).await.unwrap());
    system.stop().await;
}

#[tokio::test]
async fn state_and_clock_survive_a_restart_and_two_systems_never_share_a_folder() {
    let folder = Folder::new("restart");
    let data = folder.0.join("data");
    let first = System::start(options(Some(&data))).await.unwrap();
    first.advance(Duration::from_secs(6 * 365 * 86_400)).unwrap();
    let key = aws_sdk_kms::Client::new(&first.sdk())
        .describe_key()
        .key_id("alias/sealpost")
        .send()
        .await
        .unwrap();
    let shift_ms = first.clock().shift_ms();
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&data).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
    }
    assert!(
        failure(options(Some(&data)))
            .await
            .contains("another Sealpost runs on the folder")
    );
    // As if the template had said something else when the queue was made.
    let sqs = aws_sdk_sqs::Client::new(&first.sdk());
    let outbound = sqs
        .get_queue_url()
        .queue_name("sealpost-OutboundQueue")
        .send()
        .await
        .unwrap();
    let other = sqs.set_queue_attributes().set_queue_url(outbound.queue_url.clone());
    other
        .attributes(QueueAttributeName::VisibilityTimeout, "77")
        .send()
        .await
        .unwrap();
    first.stop().await;

    let second = System::start(options(Some(&data))).await.unwrap();
    assert_eq!(second.clock().shift_ms(), shift_ms);
    let same = aws_sdk_kms::Client::new(&second.sdk())
        .describe_key()
        .key_id("alias/sealpost")
        .send()
        .await
        .unwrap();
    assert_eq!(same.key_metadata.unwrap().key_id, key.key_metadata.unwrap().key_id);
    let sqs = aws_sdk_sqs::Client::new(&second.sdk());
    let read = sqs.get_queue_attributes().set_queue_url(outbound.queue_url);
    let read = read
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap()
        .attributes
        .unwrap();
    assert_eq!(read[&QueueAttributeName::VisibilityTimeout], "360");
    assert!(read.contains_key(&QueueAttributeName::KmsMasterKeyId));
    second.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_or_open_to_others_is_named() {
    let taken = std::net::TcpListener::bind(anywhere()).unwrap();
    let address = taken.local_addr().unwrap();
    let message = failure(Options {
        api: address,
        ..options(None)
    })
    .await;
    assert!(
        message.contains(&format!("{address} is taken by another program")),
        "{message}"
    );
    let open = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let message = failure(Options {
        portal: open,
        ..options(None)
    })
    .await;
    assert!(message.contains("--portal 0.0.0.0:0 is not on loopback"), "{message}");
}

#[tokio::test]
async fn a_role_allows_what_the_template_says_and_no_more() {
    let system = in_memory().await;
    let portal = system.role("portal").unwrap();
    let sdk = super::function::sdk(system.aws.http_client(Some(portal)), system.clock());
    let s3 = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build();
    let s3 = aws_sdk_s3::Client::from_conf(s3);
    let put = s3
        .put_object()
        .bucket("sealpost-archivebucket")
        .key("mail/x")
        .body(b"x".to_vec().into())
        .send()
        .await;
    assert_eq!(put.unwrap_err().raw_response().unwrap().status().as_u16(), 403);
    system.stop().await;
}

#[tokio::test]
async fn a_first_email_goes_all_the_way() {
    let system = in_memory().await;
    let seed = crate::demo::seed(&system).await.unwrap();
    let body = json!({"from": crate::demo::SENDER, "to": "pat@mta-sts.test", "subject": "Results", "text": "Fine."});
    let answer = reqwest::Client::new()
        .post(format!("http://{}/emails", system.api))
        .header("authorization", format!("Bearer {}", seed.api_key))
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let accepted = answer.bytes().await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&accepted));
    assert!(system.settled(Duration::from_secs(20)).await.unwrap());
    let sent = system.aws.ses.messages(&crate::aws::ses::Filter::default()).unwrap();
    assert_eq!(sent.len(), 1);
    system.stop().await;
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_leaves_one_tenant() {
    let folder = Folder::new("seed");
    let system = System::start(options(Some(&folder.0))).await.unwrap();
    crate::demo::seed(&system).await.unwrap();
    system.stop().await;
    // As if it had been killed before the key was stored.
    std::fs::remove_file(folder.0.join("demo.json")).unwrap();
    let system = System::start(options(Some(&folder.0))).await.unwrap();
    let seed = crate::demo::seed(&system).await.unwrap();
    let admin = system.app("admin").unwrap();
    assert_eq!(sealpost_core::tenant::all(&admin).await.unwrap().len(), 1);
    let answer = reqwest::Client::new()
        .get(format!("http://{}/emails", system.api))
        .header("authorization", format!("Bearer {}", seed.api_key))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    system.stop().await;
}

#[tokio::test]
async fn the_first_plan_of_a_new_tenant_is_answered() {
    let system = in_memory().await;
    let seed = crate::demo::seed(&system).await.unwrap();
    let body = json!({"from": crate::demo::SENDER, "to": "pat@patient.test", "subject": "Results", "text": "Fine."});
    let answer = reqwest::Client::new()
        .post(format!("http://{}/encryption/plan", system.api))
        .header("authorization", format!("Bearer {}", seed.api_key))
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = answer.status();
    assert_eq!(status, 200, "{:?}", system.role("send").unwrap().refused());
    system.stop().await;
}

#[tokio::test]
async fn what_becomes_of_a_mail_is_told_through_topic_and_queue() {
    const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:sealpost-SesEventsTopic";
    const PROBE: &str = "arn:aws:sqs:us-east-1:000000000000:probe";
    let system = in_memory().await;
    let listed = system
        .aws
        .sns
        .call("ListSubscriptionsByTopic", json!({"TopicArn": TOPIC}));
    assert!(listed.unwrap().contains(":sealpost-SesEventsQueue</Endpoint>"));
    // A queue of this test's own beside it, from which nobody else takes.
    let policy = json!({"Statement": {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage", "Resource": PROBE, "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}}}});
    let queue = json!({"QueueName": "probe", "Attributes": {"Policy": policy.to_string()}});
    system.aws.sqs.call("CreateQueue", queue).await.unwrap();
    let raw = json!([{"key": "RawMessageDelivery", "value": "true"}]);
    let subscription = json!({"TopicArn": TOPIC, "Protocol": "sqs", "Endpoint": PROBE, "Attributes": raw});
    system.aws.sns.call("Subscribe", subscription).unwrap();

    let ses = std::sync::Arc::clone(&system.aws.ses);
    let call = async |path: &str, body: Value| {
        let path = format!("/v2/email/{path}");
        ses.call(&http::Method::POST, &path, body).await.unwrap();
    };
    call("identities", json!({"EmailIdentity": "clinic.test"})).await;
    let raw = "From: care@clinic.test\r\nTo: pat@tls-fails.test\r\n\r\nx";
    let raw = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, raw);
    let content = json!({"Raw": {"Data": raw}});
    call(
        "outbound-emails",
        json!({"ConfigurationSetName": "sealpost-tls", "Content": content}),
    )
    .await;
    let patience = Duration::from_secs(5);
    // A system has settled once what is due is published.
    assert!(system.settled(patience).await.unwrap());
    assert_eq!(ses.n_published(), 1);
    system.advance(Duration::from_secs(60)).unwrap();
    assert!(system.settled(patience).await.unwrap());
    assert_eq!(ses.n_published(), 2);
    system.advance(Duration::from_secs(540)).unwrap();
    assert!(system.settled(patience).await.unwrap());
    let asked = json!({"QueueUrl": "http://sqs.test/000000000000/probe", "MaxNumberOfMessages": 10});
    let got = system.aws.sqs.call("ReceiveMessage", asked).await.unwrap();
    let bodies = got["Messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["Body"].as_str().unwrap());
    let events: Vec<Value> = bodies.map(|body| serde_json::from_str(body).unwrap()).collect();
    let types: Vec<_> = events
        .iter()
        .map(|event| event["eventType"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["Send", "DeliveryDelay", "Bounce"]);
    assert_eq!(events[2]["bounce"]["bounceType"], "Transient");
    system.stop().await;
}
