//! The wire as a whole, through the real SDK clients: tables, roles, faults, HTTP, and what survives.

mod fault;
mod keys;

use std::sync::Arc;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, Put, ScalarAttributeType,
    TransactWriteItem,
};
use aws_sdk_dynamodb::{Client, primitives::Blob};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealpost_core::clock::Clock;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fault::Phase;
use super::iam::Role;
use super::server::serve;
use super::testing::{code, folder, memory, sdk};
use super::wire::Aws;

const TABLE: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/Mail";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn role(statements: &[serde_json::Value]) -> Arc<Role> {
    Arc::new(Role::new("send", statements).unwrap())
}

async fn table(aws: &Arc<Aws>) -> Client {
    let client = Client::new(&sdk(aws, None));
    let define = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap()
    };
    let part = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .unwrap()
    };
    client
        .create_table()
        .table_name("Mail")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(define("pk"))
        .attribute_definitions(define("sk"))
        .key_schema(part("pk", KeyType::Hash))
        .key_schema(part("sk", KeyType::Range))
        .send()
        .await
        .unwrap();
    client
}

fn put(client: &Client, pk: &str) -> aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder {
    client
        .put_item()
        .table_name("Mail")
        .item("pk", text(pk))
        .item("sk", text("s"))
}

fn new_item(pk: &str) -> TransactWriteItem {
    let put = Put::builder()
        .table_name("Mail")
        .item("pk", text(pk))
        .item("sk", text("s"));
    let put = put.condition_expression("attribute_not_exists(pk)").build().unwrap();
    TransactWriteItem::builder().put(put).build()
}

async fn n_items(client: &Client) -> usize {
    client.scan().table_name("Mail").send().await.unwrap().items().len()
}

#[tokio::test]
async fn a_transaction_holds_as_a_whole_or_says_why_not() {
    let client = table(&memory()).await;
    put(&client, "a").send().await.unwrap();
    let again = put(&client, "a")
        .condition_expression("attribute_not_exists(pk)")
        .send()
        .await;
    assert_eq!(code(again), "ConditionalCheckFailedException");
    let both = client
        .transact_write_items()
        .transact_items(new_item("b"))
        .transact_items(new_item("a"))
        .send()
        .await;
    let error = both.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(why) =
        error
    else {
        panic!("another error")
    };
    let reasons: Vec<_> = why
        .cancellation_reasons()
        .iter()
        .map(|reason| reason.code().unwrap())
        .collect();
    assert_eq!(reasons, ["None", "ConditionalCheckFailed"]);
    assert_eq!(n_items(&client).await, 1);
    let query = client.query().table_name("Mail").key_condition_expression("pk = :p");
    let found = query.expression_attribute_values(":p", text("a")).send().await.unwrap();
    assert_eq!(found.count(), 1);
    assert_eq!(
        code(client.get_item().table_name("None").key("pk", text("a")).send().await),
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn what_dynamodb_has_and_this_has_not_is_named() {
    let client = table(&memory()).await;
    let backups = client
        .describe_continuous_backups()
        .table_name("Mail")
        .send()
        .await
        .unwrap_err();
    assert_eq!(backups.code(), Some("NotImplemented"));
    assert_eq!(
        backups.message(),
        Some("DynamoDB DescribeContinuousBackups is not implemented by the local AWS")
    );
    let policy = client
        .update_table()
        .table_name("Mail")
        .replica_updates(aws_sdk_dynamodb::types::ReplicationGroupUpdate::builder().build());
    assert!(
        policy
            .send()
            .await
            .unwrap_err()
            .message()
            .unwrap()
            .contains("parameter ReplicaUpdates")
    );
}

#[tokio::test]
async fn a_role_is_held_to_its_statements_and_remembers_what_it_needed() {
    let aws = memory();
    table(&aws).await;
    let role = role(&[
        json!({ "Effect": "Allow", "Action": ["dynamodb:PutItem", "dynamodb:GetItem"], "Resource": TABLE }),
        json!({ "Effect": "Allow", "Action": "dynamodb:Query", "Resource": TABLE,
            "Condition": { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["ten_a#*"] } } }),
        json!({ "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:*:q" }),
    ]);
    let client = Client::new(&sdk(&aws, Some(&role)));
    client
        .transact_write_items()
        .transact_items(new_item("a"))
        .send()
        .await
        .unwrap();
    let check = aws_sdk_dynamodb::types::ConditionCheck::builder()
        .table_name("Mail")
        .key("pk", text("a"))
        .key("sk", text("s"));
    let check = check.condition_expression("attribute_exists(pk)").build().unwrap();
    let check = TransactWriteItem::builder().condition_check(check).build();
    let refused = client
        .transact_write_items()
        .transact_items(new_item("b"))
        .transact_items(check)
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("AccessDeniedException"));
    assert_eq!(
        refused.message(),
        Some(
            "User: arn:aws:sts::000000000000:assumed-role/send/send is not authorized to perform: \
             dynamodb:ConditionCheckItem on resource: arn:aws:dynamodb:us-east-1:000000000000:table/Mail because no \
             identity-based policy allows the dynamodb:ConditionCheckItem action"
        )
    );
    assert_eq!(n_items(&Client::new(&sdk(&aws, None))).await, 1);
    let query = |pk: &str| {
        let query = client
            .query()
            .table_name("Mail")
            .key_condition_expression("#p = :p")
            .expression_attribute_names("#p", "pk");
        query.expression_attribute_values(":p", text(pk)).send()
    };
    query("ten_a#x").await.unwrap();
    assert_eq!(code(query("ten_b#x").await), "AccessDeniedException");
    let used = [("dynamodb:PutItem", TABLE), ("dynamodb:Query", TABLE)];
    let unused = [
        ("dynamodb:GetItem", TABLE),
        ("sqs:SendMessage", "arn:aws:sqs:us-east-1:*:q"),
    ];
    let own = |pairs: [(&str, &str); 2]| {
        pairs
            .map(|(action, resource)| (action.to_owned(), resource.to_owned()))
            .into()
    };
    assert_eq!(role.used(), own(used));
    assert_eq!(role.unused(), own(unused));
}

/// A bucket is no host name here.
fn by_path(sdk: &aws_config::SdkConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(sdk).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

#[tokio::test]
async fn keys_queues_mail_and_objects_are_asked_for_by_their_own_arns() {
    let aws = memory();
    let all = sdk(&aws, None);
    let kms = aws_sdk_kms::Client::new(&all);
    let tag = aws_sdk_kms::types::Tag::builder()
        .tag_key("tenant")
        .tag_value("ten_a")
        .build()
        .unwrap();
    let tagged = kms
        .create_key()
        .tags(tag)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .arn
        .unwrap();
    let plain = kms
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .arn
        .unwrap();
    kms.create_alias()
        .alias_name("alias/a")
        .target_key_id(&tagged)
        .send()
        .await
        .unwrap();
    let sqs = aws_sdk_sqs::Client::new(&all);
    let sealed = aws_sdk_sqs::types::QueueAttributeName::KmsMasterKeyId;
    let url = sqs
        .create_queue()
        .queue_name("q")
        .attributes(sealed, &plain)
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap();
    let s3 = by_path(&all);
    s3.create_bucket().bucket("work").send().await.unwrap();
    let role = role(&[
        json!({ "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "arn:aws:kms:us-east-1:000000000000:key/*",
            "Condition": { "StringLike": { "aws:ResourceTag/tenant": "ten_*" },
                "StringEquals": { "kms:EncryptionContext:purpose": "mail" } } }),
        json!({ "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:000000000000:q" }),
        json!({ "Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::work/portal/*" }),
        json!({ "Effect": "Allow", "Action": "ses:SendRawEmail", "Resource": "arn:aws:ses:us-east-1:000000000000:identity/clinic.test" }),
    ]);
    let own = sdk(&aws, Some(&role));
    let kms = aws_sdk_kms::Client::new(&own);
    let encrypt = |key: &str, purpose: &str| {
        kms.encrypt()
            .key_id(key)
            .plaintext(Blob::new("x"))
            .encryption_context("purpose", purpose)
            .send()
    };
    encrypt("alias/a", "mail").await.unwrap();
    assert_eq!(code(encrypt("alias/a", "other").await), "AccessDeniedException");
    assert_eq!(code(encrypt(&plain, "mail").await), "AccessDeniedException");
    assert_eq!(code(kms.create_key().send().await), "AccessDeniedException");

    // The queue is encrypted, and the sender has no right to its key.
    let sqs = aws_sdk_sqs::Client::new(&own);
    let sent = sqs
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .send()
        .await
        .unwrap_err();
    assert!(
        sent.message()
            .unwrap()
            .contains(&format!("kms:GenerateDataKey on resource: {plain}")),
        "{sent:?}"
    );

    let s3 = by_path(&own);
    let put = |key: &str| {
        s3.put_object()
            .bucket("work")
            .key(key)
            .body(b"x".to_vec().into())
            .send()
    };
    put("portal/a").await.unwrap();
    assert_eq!(code(put("sealed/a").await), "AccessDenied");
    assert!(
        role.used()
            .contains(&("s3:PutObject".to_owned(), "arn:aws:s3:::work/portal/*".to_owned()))
    );

    let ses = aws_sdk_sesv2::Client::new(&own);
    let send = |set: Option<&str>| {
        let raw =
            aws_sdk_sesv2::types::RawMessage::builder().data(Blob::new("From: Clinic <care@clinic.test>\r\n\r\nx"));
        let content = aws_sdk_sesv2::types::EmailContent::builder()
            .raw(raw.build().unwrap())
            .build();
        ses.send_email()
            .content(content)
            .set_configuration_set_name(set.map(str::to_owned))
            .send()
    };
    assert_ne!(code(send(None).await), "AccessDeniedException");
    let refused = send(Some("other")).await.unwrap_err();
    assert!(refused.message().unwrap().contains("configuration-set/other"));
    let part = aws_sdk_sesv2::types::Content::builder().data("x").build().unwrap();
    let body = aws_sdk_sesv2::types::Body::builder().text(part.clone()).build();
    let simple = aws_sdk_sesv2::types::Message::builder()
        .subject(part)
        .body(body)
        .build();
    let content = aws_sdk_sesv2::types::EmailContent::builder().simple(simple).build();
    let simple = ses.send_email().content(content).from_email_address("care@clinic.test");
    let refused = simple.send().await.unwrap_err();
    assert!(
        refused.message().unwrap().contains("perform: ses:SendEmail on"),
        "{refused:?}"
    );
}

/// The other half of `a_process_that_is_killed_keeps_what_was_done`: does nothing unless that test started it.
#[tokio::test]
async fn killed_at_a_call() {
    let args: Vec<String> = std::env::args().collect();
    let Some(folder) = args.iter().find_map(|arg| arg.strip_prefix("killed-in=")) else {
        return;
    };
    let phase = if folder.contains("killed-after") {
        Phase::After
    } else {
        Phase::Before
    };
    let aws = Aws::open(Some(std::path::Path::new(folder)), Clock::system()).unwrap();
    table(&aws).await;
    let role = role(&[json!({ "Effect": "Allow", "Action": "*", "Resource": "*" })]);
    let client = Client::new(&sdk(&aws, Some(&role)));
    aws.set_faults(Some(
        super::fault::CrashAt {
            call: 2,
            phase,
            of: None,
        }
        .hook(),
    ));
    for pk in ["a", "b", "c"] {
        put(&client, pk).send().await.unwrap();
    }
}

#[tokio::test]
async fn a_process_that_is_killed_keeps_what_was_done() {
    use std::os::unix::process::ExitStatusExt;
    for (phase, n_kept) in [("before", 1), ("after", 2)] {
        let folder = folder(&format!("killed-{phase}"));
        // The test's own filter; the argument with the folder matches no test's name.
        let this = std::env::current_exe().unwrap();
        let marker = format!("killed-in={}", folder.display());
        let ended = std::process::Command::new(this)
            .args(["aws::tests::killed_at_a_call", &marker, "--nocapture"])
            .output()
            .unwrap();
        assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
        let client = Client::new(&sdk(&Aws::open(Some(&folder), Clock::system()).unwrap(), None));
        assert_eq!(n_items(&client).await, n_kept, "{phase}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn over_http_the_answers_are_the_same_and_a_lost_reply_breaks_the_connection() {
    let aws = memory();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}");
    let serving = tokio::spawn(serve(Arc::clone(&aws), listener));
    let http = reqwest::Client::new();
    let random = http
        .post(&url)
        .header("x-amz-target", "TrentService.GenerateRandom")
        .body("{\"NumberOfBytes\":8}");
    let answer = random.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-amzn-requestid"));
    assert_eq!(answer.headers()["content-type"], "application/x-amz-json-1.1");
    let missing = http
        .post(&url)
        .header("x-amz-target", "AmazonSQS.GetQueueUrl")
        .body("{\"QueueName\":\"q\"}");
    let answer = missing.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(
        answer.headers()["x-amzn-query-error"],
        "AWS.SimpleQueueService.NonExistentQueue;Sender"
    );
    let unknown = http
        .post(&url)
        .header("x-amz-target", "AWSEvents.PutEvents")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), 501);
    assert!(unknown.text().await.unwrap().contains("AWSEvents.PutEvents"));
    aws.clock.advance_ms(366 * 86_400_000);
    let later = http
        .post(&url)
        .header("x-amz-target", "TrentService.ListKeys")
        .body("{}")
        .send()
        .await
        .unwrap();
    let date = later.headers()["date"].to_str().unwrap().to_owned();
    let month = aws.clock.now().strftime(" %b %Y ").to_string();
    assert!(date.contains(&month) && date.ends_with(" GMT"), "{date}");

    let ses = aws_sdk_sesv2::Client::new(&sdk(&aws, None));
    ses.create_email_identity()
        .email_identity("clinic.test")
        .send()
        .await
        .unwrap();
    aws.ses.verify("clinic.test").unwrap();
    let mail = json!({
        "FromEmailAddress": "care@clinic.test",
        "Destination": { "ToAddresses": ["pat@lost-reply.test"] },
    "Content": { "Raw": { "Data": STANDARD.encode("From: care@clinic.test\r\nTo: pat@lost-reply.test\r\nSubject: s\r\n\r\nt\r\n") } },
    });
    let lost = http
        .post(format!("{url}/v2/email/outbound-emails"))
        .body(mail.to_string())
        .send()
        .await;
    assert!(lost.unwrap_err().status().is_none());
    assert_eq!(aws.ses.messages(&super::ses::Filter::default()).unwrap().len(), 1);
    // A body that is too long is refused by its announced length, and by what comes where none is announced.
    let announced = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 52428801\r\n\r\n".to_vec();
    let mut chunked = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3200001\r\n".to_vec();
    chunked.resize(chunked.len() + 0x320_0001, b'x');
    for request in [announced, chunked] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 413");
    }
    serving.abort();
}
