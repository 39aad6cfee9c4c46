//! The repository's template, and what goes wrong with others.

use std::collections::BTreeMap;

use super::{Settings, TEXT, Template};

fn settings() -> Settings {
    Settings {
        stack: "sealpost".to_owned(),
        parameters: BTreeMap::from([("PortalUrl".to_owned(), "http://127.0.0.1:8026".to_owned())]),
        made: BTreeMap::new(),
    }
}

fn parsed() -> Template {
    Template::parse(TEXT, &settings()).unwrap()
}

/// The template with one place changed.
fn failure(from: &str, to: &str) -> String {
    assert!(TEXT.contains(from), "{from}");
    let error = Template::parse(&TEXT.replacen(from, to, 1), &settings()).unwrap_err();
    format!("{error:#}")
}

#[test]
fn names_have_the_form_that_aws_gives_them() {
    let template = parsed();
    let send = template.function("send").unwrap();
    assert_eq!(send.name, "sealpost-send");
    assert_eq!(send.environment["MAIL_TABLE"], "sealpost-MailTable");
    assert_eq!(send.environment["ARCHIVE_BUCKET"], "sealpost-archivebucket");
    assert_eq!(
        send.environment["OUTBOUND_QUEUE_URL"],
        "https://sqs.us-east-1.amazonaws.com/000000000000/sealpost-OutboundQueue"
    );
    assert_eq!(send.environment["TLS_CONFIGURATION_SET"], "sealpost-tls");
    assert_eq!(send.environment["PORTAL_URL"], "http://127.0.0.1:8026");
    let store = send
        .statements
        .iter()
        .find(|statement| statement.actions.iter().any(|action| action == "s3:PutObject"))
        .unwrap();
    assert_eq!(store.resources, ["arn:aws:s3:::sealpost-archivebucket/mail/*"]);
    assert_eq!(template.keys[0].alias, "alias/sealpost");
}

#[test]
fn globals_stand_below_a_functions_own_properties() {
    let template = parsed();
    assert_eq!(template.function("send").unwrap().timeout.as_secs(), 15);
    assert_eq!(template.function("encrypt").unwrap().timeout.as_secs(), 60);
}

#[test]
fn buckets_tables_and_queues_are_read() {
    let template = parsed();
    let locked: Vec<_> = template
        .buckets
        .iter()
        .map(|b| (b.logical.as_str(), b.has_object_lock, b.is_versioned))
        .collect();
    assert_eq!(locked, [("ArchiveBucket", true, true), ("WorkBucket", false, false)]);
    let lifetimes: Vec<_> = template
        .tables
        .iter()
        .filter_map(|table| table.lifetime_attribute.as_deref())
        .collect();
    assert_eq!((template.tables.len(), lifetimes), (5, vec!["expires_at"]));
    let outbound = template
        .queues
        .iter()
        .find(|queue| queue.logical == "OutboundQueue")
        .unwrap();
    let key = "arn:aws:kms:us-east-1:000000000000:key/Key";
    assert_eq!(outbound.kms_key.as_deref(), Some(key));
    let (target, count) = outbound.redrive.clone().unwrap();
    assert_eq!(
        (target.as_str(), count),
        ("arn:aws:sqs:us-east-1:000000000000:sealpost-OutboundDeadLetterQueue", 5)
    );
}

#[test]
fn what_becomes_of_mails_goes_from_both_sets_into_one_queue() {
    let template = parsed();
    let topic = "arn:aws:sns:us-east-1:000000000000:sealpost-SesEventsTopic";
    let sets: Vec<_> = template
        .event_destinations
        .iter()
        .map(|one| (one.set.as_str(), one.topic.as_str()))
        .collect();
    assert_eq!(sets, [("sealpost-tls", topic), ("sealpost-sealed", topic)]);
    let types = [
        "SEND",
        "REJECT",
        "BOUNCE",
        "COMPLAINT",
        "DELIVERY",
        "DELIVERY_DELAY",
        "RENDERING_FAILURE",
    ];
    assert!(
        template
            .event_destinations
            .iter()
            .all(|one| one.is_enabled && one.event_types == types)
    );
    // The alarms' topic has a subscription as well, by mail, which the local run passes over.
    assert_eq!((template.topics.len(), template.subscriptions.len()), (2, 1));
    let subscription = &template.subscriptions[0];
    let queue = |name: &str| format!("arn:aws:sqs:us-east-1:000000000000:sealpost-{name}");
    assert_eq!(subscription.topic, topic);
    assert_eq!(subscription.endpoint, queue("SesEventsQueue"));
    assert_eq!(subscription.dead_letter, Some(queue("SesEventsDeadLetterQueue")));
    assert!(subscription.is_raw);
}

#[test]
fn tenants_are_made_with_the_accounts_credentials_only() {
    let template = parsed();
    let signed = template
        .functions
        .iter()
        .flat_map(|f| &f.routes)
        .filter(|route| route.needs_iam);
    let signed: Vec<_> = signed.map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(signed, ["POST /tenants"]);
}

#[test]
fn mistakes_show() {
    for (from, to, expected) in [
        (
            "AWS::SQS::Queue\n",
            "AWS::SQS::Quue\n",
            "the local run does not know the resource type AWS::SQS::Quue",
        ),
        (
            "      MessageRetentionPeriod:",
            "      MessageRetentionPeriodd:",
            "does not know MessageRetentionPeriodd",
        ),
        (
            "!GetAtt OutboundDeadLetterQueue.Arn",
            "!GetAtt OutboundDeadQueue.Arn",
            "the template declares no OutboundDeadQueue",
        ),
        (
            "MAIL_TABLE: !Ref MailTable",
            "MAIL_TABLE: !Ref MialTable",
            "the template declares no MialTable",
        ),
        (
            "PORTAL_URL: !Ref PortalUrl",
            "PORTAL_URL: !ImportValue portal",
            "the function !ImportValue is not known here",
        ),
        ("rate(1 minute)", "cron(0 3 * * ? *)", "is no rate"),
        (
            "DeletionPolicy: Retain",
            "DeletePolicy: Retain",
            "an unknown field DeletePolicy",
        ),
        (
            "Queue: !GetAtt OutboundQueue.Arn",
            "Queue: !GetAtt MailTable.Arn",
            "is no queue",
        ),
        (
            "Endpoint: !GetAtt SesEventsQueue.Arn",
            "Endpoint: !GetAtt MailTable.Arn",
            "is no queue",
        ),
        (
            "[send, reject, bounce,",
            "[sent, reject, bounce,",
            "there is no event type sent",
        ),
        (
            "SnsDestination: { TopicARN: !Ref SesEventsTopic }",
            "SnsDestination: { TopicARN: !GetAtt SesEventsQueue.Arn }",
            "is no topic",
        ),
        (
            "[ses.amazonaws.com, sns.amazonaws.com]",
            "[sns.amazonaws.com]",
            "TlsEventDestination: the key's policy does not allow ses.amazonaws.com kms:GenerateDataKey",
        ),
        (
            "[ses.amazonaws.com, sns.amazonaws.com]",
            "[ses.amazonaws.com]",
            "SesEventsSubscription: the key's policy does not allow sns.amazonaws.com kms:GenerateDataKey",
        ),
        ("\nOutputs:\n", "\nOutput:\n", "unknown section Output"),
        ("Path: \"/emails/batch\"", "Path: \"/emails\"", "POST /emails twice"),
        (
            "HasApiDomain, !Sub \"https://${ApiDomain}\"",
            "HasApi, !Sub \"https://${ApiDomain}\"",
            "there is no condition HasApi",
        ),
    ] {
        let message = failure(from, to);
        assert!(message.contains(expected), "{from} -> {to}: {message}");
    }
}

#[test]
fn a_parameter_without_a_value_is_named() {
    let none = Settings {
        parameters: BTreeMap::new(),
        ..settings()
    };
    let message = format!("{:#}", Template::parse(TEXT, &none).unwrap_err());
    assert_eq!(message, "the parameter PortalUrl has no value");
}
