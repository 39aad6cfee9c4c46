//! Topics, who may send to them and to queues, which queues get their messages, and where SES's events go.
//!
//! Policies come before whatever they allow: SES and SNS look at them, here as on AWS.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use aws_config::SdkConfig;
use aws_sdk_sesv2::types::{EventDestinationDefinition, EventType, SnsDestination};
use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use http::Request;
use url::form_urlencoded::Serializer;

use crate::aws::wire::{Aws, Caller, Reply};
use crate::template::{EventDestination, Policy, REGION, Subscription, Template, Topic};

/// Makes all of it.
pub(super) async fn make(aws: &Arc<Aws>, sdk: &SdkConfig, template: &Template) -> Result<()> {
    for policy in &template.queue_policies {
        set_queue_policy(sdk, policy)
            .await
            .with_context(|| format!("making {}", policy.logical))?;
    }
    for topic in &template.topics {
        make_topic(aws, topic)
            .await
            .with_context(|| format!("making {}", topic.logical))?;
    }
    for policy in &template.topic_policies {
        for topic in &policy.of {
            set(
                aws,
                "SetTopicAttributes",
                ("TopicArn", topic),
                "Policy",
                &policy.document.to_string(),
            )
            .await
            .with_context(|| format!("making {}", policy.logical))?;
        }
    }
    for subscription in &template.subscriptions {
        make_subscription(aws, subscription)
            .await
            .with_context(|| format!("making {}", subscription.logical))?;
    }
    for destination in &template.event_destinations {
        make_event_destination(sdk, destination)
            .await
            .with_context(|| format!("making {}", destination.logical))?;
    }
    Ok(())
}

async fn set_queue_policy(sdk: &SdkConfig, policy: &Policy) -> Result<()> {
    let sqs = aws_sdk_sqs::Client::new(sdk);
    for url in &policy.of {
        let set = sqs.set_queue_attributes().queue_url(url);
        set.attributes(QueueAttributeName::Policy, policy.document.to_string())
            .send()
            .await?;
    }
    Ok(())
}

/// A topic without attributes is made or found; then it gets the template's.
async fn make_topic(aws: &Aws, topic: &Topic) -> Result<()> {
    sns(aws, "CreateTopic", &[("Name", &topic.name)]).await?;
    let key = topic.kms_key.as_deref().unwrap_or_default();
    set(
        aws,
        "SetTopicAttributes",
        ("TopicArn", &topic.arn),
        "KmsMasterKeyId",
        key,
    )
    .await
}

async fn make_subscription(aws: &Aws, subscription: &Subscription) -> Result<()> {
    let parameters = [
        ("TopicArn", subscription.topic.as_str()),
        ("Protocol", &subscription.protocol),
        ("Endpoint", &subscription.endpoint),
    ];
    let answer = sns(aws, "Subscribe", &parameters).await?;
    let arn = answer
        .split_once("<SubscriptionArn>")
        .and_then(|(_, rest)| rest.split_once("</SubscriptionArn>"));
    let (arn, _) = arn.context("a subscription without an ARN")?;
    let redrive = subscription.dead_letter.as_ref();
    let redrive = redrive.map(|target| serde_json::json!({"deadLetterTargetArn": target}).to_string());
    for (name, value) in [
        ("RawMessageDelivery", subscription.is_raw.to_string()),
        ("RedrivePolicy", redrive.unwrap_or_default()),
    ] {
        set(aws, "SetSubscriptionAttributes", ("SubscriptionArn", arn), name, &value).await?;
    }
    Ok(())
}

async fn make_event_destination(sdk: &SdkConfig, destination: &EventDestination) -> Result<()> {
    let ses = aws_sdk_sesv2::Client::new(sdk);
    let topic = SnsDestination::builder().topic_arn(&destination.topic).build()?;
    let types = destination
        .event_types
        .iter()
        .map(|name| EventType::from(name.as_str()));
    let definition = EventDestinationDefinition::builder()
        .enabled(destination.is_enabled)
        .set_matching_event_types(Some(types.collect()))
        .sns_destination(topic)
        .build();
    let make = ses
        .create_configuration_set_event_destination()
        .configuration_set_name(&destination.set)
        .event_destination_name(&destination.name)
        .event_destination(definition.clone());
    match make.send().await {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_already_exists_exception()) =>
        {
            let update = ses
                .update_configuration_set_event_destination()
                .configuration_set_name(&destination.set)
                .event_destination_name(&destination.name)
                .event_destination(definition);
            update.send().await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Sets one attribute of a topic or a subscription; an empty value takes it away.
async fn set(aws: &Aws, operation: &str, of: (&str, &str), name: &str, value: &str) -> Result<()> {
    sns(
        aws,
        operation,
        &[of, ("AttributeName", name), ("AttributeValue", value)],
    )
    .await?;
    Ok(())
}

/// A call to SNS as it goes over the wire. There is no SDK client for it, since no function calls SNS.
async fn sns(aws: &Aws, operation: &str, parameters: &[(&str, &str)]) -> Result<String> {
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", operation)
        .append_pair("Version", "2010-03-31");
    form.extend_pairs(parameters);
    let scope = format!("AWS4-HMAC-SHA256 Credential=local/20260101/{REGION}/sns/aws4_request");
    let request = Request::post("/")
        .header("host", format!("sns.{REGION}.amazonaws.com"))
        .header("authorization", scope)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(form.finish()))?;
    let Reply::Answer(answer) = aws.dispatch(&Caller::default(), request).await else {
        bail!("{operation}: the reply was lost");
    };
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    if !answer.status().is_success() {
        bail!("{operation}: {text}");
    }
    Ok(text)
}
