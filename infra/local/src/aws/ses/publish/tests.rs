//! From the outbox through a topic into a queue, over restarts, and disturbed.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use sealpost_core::clock::Clock;

use super::*;
use crate::aws::testing::folder;
use crate::aws::wire::Aws;

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:events";
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:events";
const ALL: [&str; 6] = ["SEND", "DELIVERY", "DELIVERY_DELAY", "BOUNCE", "COMPLAINT", "REJECT"];

struct World {
    aws: Arc<Aws>,
    clock: Clock,
}

impl World {
    fn open(dir: Option<&Path>) -> Self {
        let clock = Clock::system();
        let aws = Aws::open(dir, clock.clone()).unwrap();
        Self { aws, clock }
    }

    async fn new(dir: Option<&Path>) -> Self {
        let world = Self::open(dir);
        let allow = |service: &str, action: &str, resource: &str| {
            let principal = json!({"Service": service});
            json!({"Statement": {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource}})
                .to_string()
        };
        let policy = allow("sns.amazonaws.com", "sqs:SendMessage", QUEUE);
        let queue = json!({"QueueName": "events", "Attributes": {"Policy": policy}});
        world.aws.sqs.call("CreateQueue", queue).await.unwrap();
        let policy = allow("ses.amazonaws.com", "sns:Publish", TOPIC);
        let topic = json!({"Name": "events", "Attributes": [{"key": "Policy", "value": policy}]});
        world.aws.sns.call("CreateTopic", topic).unwrap();
        let raw = json!([{"key": "RawMessageDelivery", "value": "true"}]);
        let subscription = json!({"TopicArn": TOPIC, "Protocol": "sqs", "Endpoint": QUEUE, "Attributes": raw});
        world.aws.sns.call("Subscribe", subscription).unwrap();
        world
            .post("identities", json!({"EmailIdentity": "clinic.test"}))
            .await
            .unwrap();
        let options = json!({"TlsPolicy": "REQUIRE", "MaxDeliverySeconds": 600});
        let set = json!({"ConfigurationSetName": "tls", "DeliveryOptions": options});
        world.post("configuration-sets", set).await.unwrap();
        world.destination(&ALL).await.unwrap();
        assert_eq!(
            world.take().await,
            ["Successfully validated SNS topic for Amazon SES event publishing."]
        );
        world
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, AwsError> {
        self.aws.ses.call(&method, &format!("/v2/email/{path}"), body).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, AwsError> {
        self.call(Method::POST, path, body).await
    }

    async fn destination(&self, types: &[&str]) -> Result<Value, AwsError> {
        let body = json!({"EventDestinationName": "events", "EventDestination": definition(types)});
        self.post("configuration-sets/tls/event-destinations", body).await
    }

    async fn send(&self, to: &[&str]) -> Result<Value, AwsError> {
        let raw = STANDARD.encode("From: care@clinic.test\r\nSubject: x\r\n\r\nx");
        self.post(
            "outbound-emails",
            json!({
                "Destination": {"ToAddresses": to},
                "Content": {"Raw": {"Data": raw}},
                "EmailTags": [{"Name": "attempt", "Value": "at_1"}],
                "ConfigurationSetName": "tls",
            }),
        )
        .await
    }

    /// What is in the queue, taken from it.
    async fn take(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let asked = json!({"QueueUrl": "http://sqs.test/000000000000/events", "MaxNumberOfMessages": 10});
            let got = self.aws.sqs.call("ReceiveMessage", asked).await.unwrap();
            let Some(messages) = got["Messages"].as_array() else {
                return bodies;
            };
            for message in messages {
                let asked = json!({"QueueUrl": "http://sqs.test/000000000000/events", "ReceiptHandle": message["ReceiptHandle"]});
                self.aws.sqs.call("DeleteMessage", asked).await.unwrap();
                bodies.push(message["Body"].as_str().unwrap().to_owned());
            }
        }
    }

    /// The types of the events in the queue, with the recipient of the last object.
    async fn types(&self) -> Vec<String> {
        let events = self
            .take()
            .await
            .into_iter()
            .map(|body| serde_json::from_str::<Value>(&body).unwrap());
        events
            .map(|event| event["eventType"].as_str().unwrap().to_owned())
            .collect()
    }

    fn publish(&self) -> u64 {
        self.aws.ses.publish_due().unwrap()
    }
}

fn definition(types: &[&str]) -> Value {
    json!({"Enabled": true, "MatchingEventTypes": types, "SnsDestination": {"TopicArn": TOPIC}})
}

#[tokio::test]
async fn each_event_is_published_once_when_its_time_has_come() {
    let world = World::new(None).await;
    assert_eq!(world.aws.ses.next_due_ms().unwrap(), None);
    for (to, expected) in [
        ("pat@mail.test", vec!["Send", "Delivery"]),
        ("pat@lost-reply.test", vec!["Send", "Delivery"]),
        ("pat@bounce.test", vec!["Send", "Bounce"]),
        ("pat@rejected.test", vec!["Send", "Reject"]),
        ("ooto@simulator.amazonses.com", vec!["Send", "Delivery"]),
        ("pat@complaint.test", vec!["Send", "Delivery", "Complaint"]),
        ("pat@complaint.test", vec!["Send", "Complaint"]),
        ("pat@bounce.test", vec!["Send", "Bounce"]),
        ("pat@slow.test", vec!["Send", "DeliveryDelay", "Delivery"]),
        ("pat@tls-fails.test", vec!["Send", "DeliveryDelay", "Bounce"]),
    ] {
        let answer = world.send(&[to]).await;
        assert_eq!(answer.is_err(), to.ends_with("lost-reply.test"), "{to}");
        let mut types = Vec::new();
        for after_s in [0, 59, 1, 60, 480, 3600] {
            world.clock.advance_ms(after_s * 1000);
            world.publish();
            types.extend(world.types().await);
        }
        assert_eq!(types, expected, "{to}");
        assert_eq!(world.publish(), 0);
    }
}

#[tokio::test]
async fn an_event_waits_for_the_clock() {
    let world = World::new(None).await;
    world.send(&["pat@tls-fails.test"]).await.unwrap();
    let at_ms = world.clock.now_ms();
    assert_eq!((world.publish(), world.types().await), (1, vec!["Send".to_owned()]));
    let due_ms = world.aws.ses.next_due_ms().unwrap().unwrap();
    assert!((at_ms + 59_000..=at_ms + 60_000).contains(&due_ms));
    world.clock.advance_ms(50_000);
    assert_eq!(world.publish(), 0);
    world.clock.advance_ms(10_000);
    assert_eq!(
        (world.publish(), world.types().await),
        (1, vec!["DeliveryDelay".to_owned()])
    );
}

#[tokio::test]
async fn recipients_have_their_own_events_and_the_email_one_send() {
    let world = World::new(None).await;
    world.send(&["pat@mail.test", "sam@bounce.test"]).await.unwrap();
    assert_eq!(world.publish(), 3);
    let events: Vec<Value> = world
        .take()
        .await
        .iter()
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    assert_eq!(events[0]["eventType"], "Send");
    assert_eq!(
        events[0]["mail"]["destination"],
        json!(["pat@mail.test", "sam@bounce.test"])
    );
    assert_eq!(events[1]["delivery"]["recipients"], json!(["pat@mail.test"]));
    assert_eq!(
        events[2]["bounce"]["bouncedRecipients"][0]["emailAddress"],
        "sam@bounce.test"
    );
    assert_eq!(events[2]["mail"]["tags"]["attempt"], json!(["at_1"]));
    assert_eq!(events[2]["mail"]["tags"]["ses:caller-identity"], json!(["root"]));
}

#[tokio::test]
async fn a_restart_neither_repeats_nor_loses() {
    let dir = folder("ses-restart");
    let first = World::new(Some(&dir)).await;
    first.send(&["pat@slow.test"]).await.unwrap();
    first.send(&["sam@mail.test"]).await.unwrap();
    assert_eq!(first.publish(), 3);
    drop(first);
    let second = World::open(Some(&dir));
    assert_eq!(second.publish(), 0);
    second.clock.advance_ms(120_000);
    assert_eq!(second.publish(), 2);
    drop(second);
    let third = World::open(Some(&dir));
    third.clock.advance_ms(120_000);
    assert_eq!(third.publish(), 0);
    assert_eq!(
        third.types().await,
        ["Send", "Send", "Delivery", "DeliveryDelay", "Delivery"]
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn what_was_published_and_not_marked_is_published_again_with_the_same_ids() {
    let dir = folder("ses-killed");
    let first = World::new(Some(&dir)).await;
    first.send(&["pat@bounce.test"]).await.unwrap();
    let disturb = |reverse| Disturb {
        reverse: Some(reverse),
        ..Disturb::default()
    };
    first.aws.ses.disturb(disturb(true)).unwrap();
    // What a process does that is killed between the two steps.
    let waiting = first.aws.ses.next().unwrap().unwrap();
    first.aws.ses.publish(&waiting).unwrap();
    drop(first);
    let second = World::open(Some(&dir));
    assert_eq!(second.publish(), 2);
    let mut events: Vec<Value> = second
        .take()
        .await
        .iter()
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    let types: Vec<_> = events.iter().map(|event| event["eventType"].clone()).collect();
    assert_eq!(types, ["Bounce", "Send", "Bounce"]);
    assert_eq!(events.pop(), Some(events[0].clone()));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn events_can_be_held_doubled_and_reversed() {
    let world = World::new(None).await;
    let disturb = |change| world.aws.ses.disturb(change).unwrap();
    let held = disturb(Disturb {
        withhold: Some(true),
        ..Disturb::default()
    });
    assert!(held.withhold && !held.duplicate && !held.reverse);
    world.send(&["pat@mail.test"]).await.unwrap();
    assert_eq!((world.publish(), world.aws.ses.next_due_ms().unwrap()), (0, None));
    assert_eq!(disturb(Disturb::default()).n_waiting, 2);
    disturb(Disturb {
        withhold: Some(false),
        reverse: Some(true),
        ..Disturb::default()
    });
    assert_eq!(
        (world.publish(), world.types().await),
        (2, vec!["Delivery".to_owned(), "Send".to_owned()])
    );
    disturb(Disturb {
        duplicate: Some(true),
        reverse: Some(false),
        ..Disturb::default()
    });
    world.send(&["pat@mail.test"]).await.unwrap();
    assert_eq!(world.publish(), 2);
    assert_eq!(world.types().await, ["Send", "Send", "Delivery", "Delivery"]);
    disturb(Disturb {
        duplicate: Some(false),
        ..Disturb::default()
    });
    world.send(&["pat@mail.test"]).await.unwrap();
    assert_eq!((world.publish(), world.types().await.len()), (2, 2));
}

#[tokio::test]
async fn only_the_types_that_a_destination_asks_for_are_published() {
    let world = World::new(None).await;
    let path = "configuration-sets/tls/event-destinations";
    let one = format!("{path}/events");
    world
        .call(Method::PUT, &one, json!({"EventDestination": definition(&["BOUNCE"])}))
        .await
        .unwrap();
    // The topic is the same, so it is not tried again.
    assert!(world.take().await.is_empty());
    let listed = world.call(Method::GET, path, Value::Null).await.unwrap();
    let mut expected = definition(&["BOUNCE"]);
    expected["Name"] = json!("events");
    assert_eq!(listed, json!({"EventDestinations": [expected]}));
    world.send(&["pat@bounce.test"]).await.unwrap();
    world.publish();
    assert_eq!(world.types().await, ["Bounce"]);
    let mut off = definition(&ALL);
    off["Enabled"] = json!(false);
    world
        .call(Method::PUT, &one, json!({"EventDestination": off}))
        .await
        .unwrap();
    world.send(&["pat@mail.test"]).await.unwrap();
    world.publish();
    world.call(Method::DELETE, &one, Value::Null).await.unwrap();
    world.send(&["pat@mail.test"]).await.unwrap();
    world.publish();
    assert!(world.take().await.is_empty());
    assert_eq!(
        world.call(Method::DELETE, &one, Value::Null).await.unwrap_err().code,
        "NotFoundException"
    );
}

#[tokio::test]
async fn a_destination_that_cannot_work_is_refused() {
    let world = World::new(None).await;
    let path = "configuration-sets/tls/event-destinations";
    let with = |name: &str, value: Value| {
        let mut definition = definition(&["SEND"]);
        definition[name] = value;
        json!({"EventDestinationName": "other", "EventDestination": definition})
    };
    let firehose = json!({"IamRoleArn": "a", "DeliveryStreamArn": "b"});
    let no_topic = json!({"TopicArn": "arn:aws:sns:us-east-1:000000000000:none"});
    for (body, code, message) in [
        (
            with("KinesisFirehoseDestination", firehose),
            "NotImplemented",
            "KinesisFirehoseDestination",
        ),
        (
            with("MatchingEventTypes", json!([])),
            "BadRequestException",
            "At least one event type",
        ),
        (
            with("MatchingEventTypes", json!(["send"])),
            "BadRequestException",
            "invalid event type",
        ),
        (
            with("SnsDestination", json!({})),
            "BadRequestException",
            "destination is not provided",
        ),
        (
            with("SnsDestination", no_topic),
            "BadRequestException",
            "Topic does not exist",
        ),
        (
            json!({"EventDestinationName": "a b", "EventDestination": {}}),
            "BadRequestException",
            "Invalid event destination name",
        ),
    ] {
        let error = world.post(path, body).await.unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(message), "{}", error.message);
    }
    assert_eq!(
        world.destination(&ALL).await.unwrap_err().code,
        "AlreadyExistsException"
    );
    let none = "configuration-sets/none/event-destinations";
    assert_eq!(
        world.post(none, with("Enabled", json!(true))).await.unwrap_err().code,
        "NotFoundException"
    );
    // Without a policy of its own a topic lets its owner publish, and no service.
    let policy = json!({"TopicArn": TOPIC, "AttributeName": "Policy", "AttributeValue": ""});
    world.aws.sns.call("SetTopicAttributes", policy).unwrap();
    let error = world.post(path, with("Enabled", json!(true))).await.unwrap_err();
    assert!(
        error.message.contains("ses.amazonaws.com is not authorized"),
        "{}",
        error.message
    );
    // What SES may no longer publish is lost, and what follows is not held up by it.
    world.send(&["pat@mail.test"]).await.unwrap();
    assert_eq!((world.publish(), world.take().await.len()), (2, 0));
}

#[tokio::test]
async fn a_paused_account_sends_nothing() {
    let world = World::new(None).await;
    let enable = |is_enabled: bool| world.call(Method::PUT, "account/sending", json!({"SendingEnabled": is_enabled}));
    enable(false).await.unwrap();
    let account = world.call(Method::GET, "account", Value::Null).await.unwrap();
    assert_eq!(account["SendingEnabled"], false);
    let error = world.send(&["pat@mail.test"]).await.unwrap_err();
    assert_eq!(
        (error.status.as_u16(), error.code.as_str()),
        (400, "SendingPausedException")
    );
    assert_eq!(world.publish(), 0);
    enable(true).await.unwrap();
    world.send(&["pat@mail.test"]).await.unwrap();
    assert_eq!(
        world.call(Method::GET, "account", Value::Null).await.unwrap()["SendingEnabled"],
        true
    );
}
