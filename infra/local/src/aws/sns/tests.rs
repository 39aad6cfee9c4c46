//! SNS through its own requests.

use serde_json::json;

use super::*;
use crate::aws::iam::Role;
use crate::aws::kms::Kms;
use crate::aws::testing::{folder, memory};
use crate::aws::wire::{Aws, Caller, Reply};

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:events";

struct World {
    sns: Sns,
    sqs: Arc<Sqs>,
}

impl World {
    fn open(dir: Option<&Path>) -> Self {
        let clock = Clock::system();
        let file = |name: &str| dir.map(|dir| dir.join(name));
        let kms = Arc::new(Kms::open(file("kms").as_deref(), clock.clone()).unwrap());
        let sqs = Arc::new(Sqs::open(file("sqs").as_deref(), clock.clone(), kms).unwrap());
        let sns = Sns::open(file("sns").as_deref(), clock, Arc::clone(&sqs)).unwrap();
        Self { sns, sqs }
    }

    fn new() -> Self {
        let world = Self::open(None);
        world.call("CreateTopic", json!({"Name": "events"})).unwrap();
        world
    }

    fn call(&self, operation: &str, body: Value) -> Result<String, AwsError> {
        self.sns.call(operation, body)
    }

    /// A queue that lets the topic send.
    async fn queue(&self, name: &str) -> String {
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
        let policy = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage", "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}}}]});
        let body = json!({"QueueName": name, "Attributes": {"Policy": policy.to_string()}});
        self.sqs.call("CreateQueue", body).await.unwrap();
        arn
    }

    fn subscribe(&self, queue: &str, attributes: Value) -> String {
        let body = json!({"TopicArn": TOPIC, "Protocol": "sqs", "Endpoint": queue, "Attributes": attributes});
        let answer = self.call("Subscribe", body).unwrap();
        answer
            .replace("<SubscriptionArn>", "")
            .replace("</SubscriptionArn>", "")
    }

    async fn bodies(&self, queue: &str) -> Vec<Value> {
        let asked = json!({"QueueUrl": format!("http://sqs.test/000000000000/{queue}"), "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]});
        let got = self.sqs.call("ReceiveMessage", asked).await.unwrap();
        got["Messages"].as_array().cloned().unwrap_or_default()
    }
}

fn raw() -> Value {
    json!([{"key": "RawMessageDelivery", "value": "true"}])
}

#[tokio::test]
async fn a_message_reaches_every_queue_in_the_form_it_asked_for() {
    let world = World::new();
    let (plain, wrapped) = (world.queue("plain").await, world.queue("wrapped").await);
    world.subscribe(&plain, raw());
    world.subscribe(&wrapped, json!([]));
    let attribute = json!([{"Name": "kind", "Value": {"DataType": "String", "StringValue": "hint"}}]);
    let body =
        json!({"TopicArn": TOPIC, "Message": "h\u{e9}llo", "Subject": "Greeting", "MessageAttributes": attribute});
    let id = world.call("Publish", body).unwrap();
    let got = world.bodies("plain").await;
    assert_eq!((got.len(), &got[0]["Body"]), (1, &json!("h\u{e9}llo")));
    assert_eq!(got[0]["MessageAttributes"]["kind"]["StringValue"], "hint");
    let got = world.bodies("wrapped").await;
    let envelope: Value = serde_json::from_str(got[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(got[0].get("MessageAttributes"), None);
    assert_eq!(id, element("MessageId", envelope["MessageId"].as_str().unwrap()));
    let expected = json!({"kind": {"Type": "String", "Value": "hint"}});
    assert_eq!(
        [
            &envelope["Type"],
            &envelope["TopicArn"],
            &envelope["Message"],
            &envelope["Subject"],
            &envelope["MessageAttributes"]
        ],
        [
            &json!("Notification"),
            &json!(TOPIC),
            &json!("h\u{e9}llo"),
            &json!("Greeting"),
            &expected
        ]
    );
    assert!(envelope["Timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn what_a_queue_does_not_take_goes_to_the_dead_letters() {
    let world = World::new();
    let dead = world.queue("dead").await;
    let redrive = |queue: &str| json!({"deadLetterTargetArn": queue}).to_string();
    // There, but without a policy; and not there at all.
    world
        .sqs
        .call("CreateQueue", json!({"QueueName": "shut"}))
        .await
        .unwrap();
    for name in ["shut", "none"] {
        let queue = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
        world.subscribe(
            &queue,
            json!([{"key": "RedrivePolicy", "value": redrive(&dead)}, {"key": "RawMessageDelivery", "value": "true"}]),
        );
    }
    world
        .call("Publish", json!({"TopicArn": TOPIC, "Message": "x"}))
        .unwrap();
    assert_eq!(world.bodies("dead").await.len(), 2);
    assert!(world.bodies("shut").await.is_empty());
}

#[tokio::test]
async fn topics_and_subscriptions_are_made_once_and_survive() {
    let dir = folder("sns");
    std::fs::create_dir_all(&dir).unwrap();
    let world = World::open(Some(&dir));
    let attributes = json!([{"key": "DisplayName", "value": "Events"}]);
    let topic = world
        .call("CreateTopic", json!({"Name": "events", "Attributes": attributes}))
        .unwrap();
    assert_eq!(topic, element("TopicArn", TOPIC));
    assert_eq!(world.call("CreateTopic", json!({"Name": "events"})).unwrap(), topic);
    let other = json!({"Name": "events", "Attributes": [{"key": "DisplayName", "value": "Other"}]});
    assert!(
        world
            .call("CreateTopic", other)
            .unwrap_err()
            .message
            .contains("different attributes")
    );
    let queue = world.queue("q").await;
    let arn = world.subscribe(&queue, json!(""));
    assert_eq!(world.subscribe(&queue, json!("")), arn);
    let set = json!({"SubscriptionArn": arn, "AttributeName": "RawMessageDelivery", "AttributeValue": "true"});
    world.call("SetSubscriptionAttributes", set).unwrap();
    drop(world);

    let world = World::open(Some(&dir));
    let attributes = world.call("GetTopicAttributes", json!({"TopicArn": TOPIC})).unwrap();
    for (key, value) in [
        ("DisplayName", "Events"),
        ("SubscriptionsConfirmed", "1"),
        ("Owner", "000000000000"),
    ] {
        let entry = format!("<entry>{}{}</entry>", element("key", key), element("value", value));
        assert!(attributes.contains(&entry), "{attributes}");
    }
    let attributes = world
        .call("GetSubscriptionAttributes", json!({"SubscriptionArn": arn}))
        .unwrap();
    assert!(
        attributes.contains("<key>RawMessageDelivery</key><value>true</value>"),
        "{attributes}"
    );
    let listed = world
        .call("ListSubscriptionsByTopic", json!({"TopicArn": TOPIC}))
        .unwrap();
    assert!(listed.contains(&element("SubscriptionArn", &arn)) && listed.contains(&element("Endpoint", &queue)));
    world.call("Unsubscribe", json!({"SubscriptionArn": arn})).unwrap();
    world
        .call("Publish", json!({"TopicArn": TOPIC, "Message": "x"}))
        .unwrap();
    assert!(world.bodies("q").await.is_empty());
    world.call("DeleteTopic", json!({"TopicArn": TOPIC})).unwrap();
    world.call("DeleteTopic", json!({"TopicArn": TOPIC})).unwrap();
    let gone = world
        .call("Publish", json!({"TopicArn": TOPIC, "Message": "x"}))
        .unwrap_err();
    assert_eq!((gone.status.as_u16(), gone.code.as_str()), (404, "NotFound"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_long_list_comes_in_pages() {
    let world = World::open(None);
    for n in 0..101 {
        world.call("CreateTopic", json!({"Name": format!("t{n:03}")})).unwrap();
    }
    let first = world.call("ListTopics", json!({})).unwrap();
    assert_eq!(first.matches("<member>").count(), 100);
    assert!(first.ends_with("<NextToken>t099</NextToken>"));
    let last = world.call("ListTopics", json!({"NextToken": "t099"})).unwrap();
    assert_eq!(
        (last.matches("<member>").count(), last.contains("NextToken")),
        (1, false)
    );
}

#[test]
fn what_sns_refuses_and_what_is_not_here() {
    let world = World::new();
    let queue = "arn:aws:sqs:us-east-1:000000000000:q";
    let filter = json!([{"key": "FilterPolicy", "value": "{}"}]);
    for (operation, body, code, message) in [
        ("PublishBatch", json!({}), "NotImplemented", "SNS PublishBatch"),
        ("CreateTopic", json!({"Name": "a.fifo"}), "NotImplemented", "FIFO"),
        ("CreateTopic", json!({"Name": "a b"}), "InvalidParameter", "Topic Name"),
        (
            "CreateTopic",
            json!({"Name": "a", "DataProtectionPolicy": "{}"}),
            "NotImplemented",
            "DataProtectionPolicy",
        ),
        (
            "CreateTopic",
            json!({"Name": "a", "Attributes": [{"key": "TracingConfig", "value": "Active"}]}),
            "NotImplemented",
            "TracingConfig",
        ),
        (
            "CreateTopic",
            json!({"Name": "a", "Attributes": [{"key": "Policy", "value": "{"}]}),
            "InvalidParameter",
            "Policy",
        ),
        (
            "Subscribe",
            json!({"TopicArn": TOPIC, "Protocol": "email", "Endpoint": "pat@mail.test"}),
            "NotImplemented",
            "protocol email",
        ),
        (
            "Subscribe",
            json!({"TopicArn": TOPIC, "Protocol": "sqs", "Endpoint": "q"}),
            "InvalidParameter",
            "SQS endpoint ARN",
        ),
        (
            "Subscribe",
            json!({"TopicArn": TOPIC, "Protocol": "sqs", "Endpoint": queue, "Attributes": filter}),
            "NotImplemented",
            "FilterPolicy",
        ),
        (
            "Publish",
            json!({"TopicArn": TOPIC, "Message": ""}),
            "InvalidParameter",
            "Empty message",
        ),
        (
            "Publish",
            json!({"TopicArn": TOPIC, "Message": "x".repeat(262_145)}),
            "InvalidParameter",
            "too long",
        ),
        (
            "Publish",
            json!({"TopicArn": TOPIC, "Message": "x", "Subject": "a\nb"}),
            "InvalidParameter",
            "Subject",
        ),
        (
            "Publish",
            json!({"PhoneNumber": "1", "Message": "x"}),
            "NotImplemented",
            "PhoneNumber",
        ),
        (
            "Publish",
            json!({"TopicArn": "none", "Message": "x"}),
            "InvalidParameter",
            "TopicArn",
        ),
        (
            "GetSubscriptionAttributes",
            json!({"SubscriptionArn": format!("{TOPIC}:x")}),
            "NotFound",
            "Subscription",
        ),
    ] {
        let error = world.call(operation, body).unwrap_err();
        assert_eq!(error.code, code, "{operation}: {}", error.message);
        assert!(error.message.contains(message), "{}", error.message);
    }
}

/// A call to SNS as SDKs make it, by a role.
async fn ask(aws: &Arc<Aws>, role: Option<&Arc<Role>>, form: &str) -> (u16, String) {
    let request = http::Request::post("/")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=A/20261124/us-east-1/sns/aws4_request, SignedHeaders=host",
        )
        .body(bytes::Bytes::from(format!("{form}&Version=2010-03-31")))
        .unwrap();
    let caller = Caller { role: role.cloned() };
    match aws.dispatch(&caller, request).await {
        Reply::Answer(answer) => {
            let text = String::from_utf8(answer.body().to_vec()).unwrap();
            let id = answer.headers()["x-amzn-requestid"].to_str().unwrap();
            assert!(text.contains(&format!("<RequestId>{id}</RequestId>")), "{text}");
            (answer.status().as_u16(), text)
        }
        Reply::Lost => panic!("the reply was lost"),
    }
}

#[tokio::test]
async fn topics_speak_the_query_protocol_and_are_asked_for_by_their_own_arns() {
    let aws = memory();
    let namespace = "xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"";
    let topic = "arn:aws:sns:us-east-1:000000000000:events";
    let (status, made) = ask(&aws, None, "Action=CreateTopic&Name=events").await;
    let expected = format!(
        "<CreateTopicResponse {namespace}><CreateTopicResult><TopicArn>{topic}</TopicArn></CreateTopicResult><ResponseMetadata>"
    );
    assert_eq!((status, made.starts_with(&expected)), (200, true), "{made}");
    let (status, refused) = ask(
        &aws,
        None,
        "Action=Publish&TopicArn=arn:aws:sns:us-east-1:000000000000:none&Message=x",
    )
    .await;
    let expected = format!(
        "<ErrorResponse {namespace}><Error><Type>Sender</Type><Code>NotFound</Code><Message>Topic does not exist</Message></Error>"
    );
    assert_eq!((status, refused.starts_with(&expected)), (404, true), "{refused}");
    let (status, unknown) = ask(&aws, None, "Action=ListOriginationNumbers").await;
    assert_eq!(
        (status, unknown.contains("SNS ListOriginationNumbers is not")),
        (501, true),
        "{unknown}"
    );
    let statement = json!({ "Effect": "Allow", "Action": "sns:Publish", "Resource": topic });
    let role = Arc::new(Role::new("send", &[statement]).unwrap());
    let publish = format!("Action=Publish&TopicArn={topic}&Message=x");
    assert_eq!(ask(&aws, Some(&role), &publish).await.0, 200);
    let (status, denied) = ask(&aws, Some(&role), "Action=DeleteTopic&TopicArn=x").await;
    assert_eq!(
        (status, denied.contains("<Code>AuthorizationError</Code>")),
        (403, true),
        "{denied}"
    );
    let unsubscribe = format!("Action=Unsubscribe&SubscriptionArn={topic}:1");
    let (_, denied) = ask(&aws, Some(&role), &unsubscribe).await;
    assert!(
        denied.contains(&format!("sns:Unsubscribe on resource: {topic} ")),
        "{denied}"
    );
}
