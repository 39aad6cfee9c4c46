//! Topics, subscriptions, policies of queues and topics, configuration sets and where their events go.

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::properties::Properties;
use super::{Key, Queue, Template};
use crate::aws::iam::{Asked, allows};

/// The names of event types in CloudFormation, and in SES's API.
const EVENT_TYPES: [(&str, &str); 10] = [
    ("send", "SEND"),
    ("reject", "REJECT"),
    ("bounce", "BOUNCE"),
    ("complaint", "COMPLAINT"),
    ("delivery", "DELIVERY"),
    ("open", "OPEN"),
    ("click", "CLICK"),
    ("renderingFailure", "RENDERING_FAILURE"),
    ("deliveryDelay", "DELIVERY_DELAY"),
    ("subscription", "SUBSCRIPTION"),
];

/// Who may use queues or topics, beside those whose role says so.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Logical name.
    pub logical: String,
    /// URLs of the queues, or ARNs of the topics.
    pub of: Vec<String>,
    /// The policy as IAM writes it.
    pub document: Value,
}

/// An SNS topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Logical name.
    pub logical: String,
    /// Topic name.
    pub name: String,
    /// Topic ARN.
    pub arn: String,
    /// The KMS key that its messages are encrypted with.
    pub kms_key: Option<String>,
}

/// A queue that gets a topic's messages.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Logical name.
    pub logical: String,
    /// ARN of the topic.
    pub topic: String,
    /// `sqs`.
    pub protocol: String,
    /// ARN of the queue.
    pub endpoint: String,
    /// Whether the queue gets the message alone, without what SNS knows of it.
    pub is_raw: bool,
    /// ARN of the queue for what the endpoint does not take.
    pub dead_letter: Option<String>,
}

/// Where a configuration set's events go.
#[derive(Debug, Clone)]
pub struct EventDestination {
    /// Logical name.
    pub logical: String,
    /// Its name within the set.
    pub name: String,
    /// Name of the configuration set.
    pub set: String,
    /// Whether events go there.
    pub is_enabled: bool,
    /// The events, by their names in SES's API.
    pub event_types: Vec<String>,
    /// ARN of the topic.
    pub topic: String,
}

/// An SES configuration set.
#[derive(Debug, Clone)]
pub struct ConfigurationSet {
    /// Logical name.
    pub logical: String,
    /// Its name.
    pub name: String,
    /// `REQUIRE` or `OPTIONAL`.
    pub tls_policy: String,
    /// When SES gives up, in seconds.
    pub max_delivery_s: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Endpoint {
    protocol: String,
    endpoint: String,
}

/// Reads a topic, and the subscriptions that stand with it.
pub(super) fn topic(
    logical: String,
    name: String,
    arn: String,
    mut properties: Properties,
) -> Result<(Topic, Vec<Subscription>)> {
    let kms_key = properties.optional("KmsMasterKeyId")?;
    let endpoints: Vec<Endpoint> = properties.optional("Subscription")?.unwrap_or_default();
    properties.ignore(&["TopicName"]).finish()?;
    let subscriptions = endpoints.into_iter().filter_map(|endpoint| {
        subscribed(Subscription {
            logical: logical.clone(),
            topic: arn.clone(),
            protocol: endpoint.protocol,
            endpoint: endpoint.endpoint,
            is_raw: false,
            dead_letter: None,
        })
    });
    let subscriptions = subscriptions.collect::<Result<_>>()?;
    Ok((
        Topic {
            logical,
            name,
            arn,
            kms_key,
        },
        subscriptions,
    ))
}

/// Reads a subscription; `None` for one that nobody on one machine listens to.
pub(super) fn subscription(logical: String, mut properties: Properties) -> Result<Option<Subscription>> {
    let mut redrive = properties.nested("RedrivePolicy")?;
    let dead_letter = redrive.optional("deadLetterTargetArn")?;
    redrive.finish()?;
    let read = Subscription {
        logical,
        topic: properties.required("TopicArn")?,
        protocol: properties.required("Protocol")?,
        endpoint: properties.required("Endpoint")?,
        is_raw: properties.optional("RawMessageDelivery")?.unwrap_or_default(),
        dead_letter,
    };
    properties.finish()?;
    subscribed(read).transpose()
}

/// The subscription where its endpoint is a queue; alarms by mail are told to nobody here.
fn subscribed(read: Subscription) -> Option<Result<Subscription>> {
    match read.protocol.as_str() {
        "sqs" => Some(Ok(read)),
        "email" => None,
        other => Some(Err(anyhow::anyhow!("the local run does not know the protocol {other}"))),
    }
}

/// Reads the policy of queues or topics, which stand in the property `of`.
pub(super) fn policy(logical: String, of: &str, mut properties: Properties) -> Result<Policy> {
    let read = Policy {
        logical,
        of: properties.required(of)?,
        document: properties.required("PolicyDocument")?,
    };
    properties.finish()?;
    Ok(read)
}

/// Reads a configuration set.
pub(super) fn configuration_set(logical: String, mut properties: Properties) -> Result<ConfigurationSet> {
    let name = properties.required("Name")?;
    let mut delivery = properties.nested("DeliveryOptions")?;
    let tls_policy: Option<String> = delivery.optional("TlsPolicy")?;
    let max_delivery_s = delivery.optional("MaxDeliverySeconds")?;
    delivery.finish()?;
    properties.finish()?;
    Ok(ConfigurationSet {
        logical,
        name,
        // SES's own default, which falls back to plain text.
        tls_policy: tls_policy.unwrap_or_else(|| "OPTIONAL".to_owned()),
        max_delivery_s,
    })
}

/// Reads where a configuration set's events go.
pub(super) fn event_destination(logical: String, mut properties: Properties) -> Result<EventDestination> {
    let set = properties.required("ConfigurationSetName")?;
    let mut destination = properties.nested("EventDestination")?;
    properties.finish()?;
    let name: Option<String> = destination.optional("Name")?;
    let is_enabled = destination.optional("Enabled")?.unwrap_or(true);
    let mut event_types = Vec::new();
    for wanted in destination.required::<Vec<String>>("MatchingEventTypes")? {
        match EVENT_TYPES.iter().find(|(name, api)| *name == wanted || *api == wanted) {
            Some((_, api)) => event_types.push((*api).to_owned()),
            None => bail!("there is no event type {wanted}"),
        }
    }
    let mut sns = destination.nested("SnsDestination")?;
    let topic = sns.required("TopicARN")?;
    sns.finish()?;
    destination.finish()?;
    Ok(EventDestination {
        name: name.unwrap_or_else(|| logical.clone()),
        logical,
        set,
        is_enabled,
        event_types,
        topic,
    })
}

/// What no single resource can tell: that the topics and queues are there, and that everyone who has to use a key may.
pub(super) fn check(template: &Template) -> Result<()> {
    let is_queue = |arn: &str| template.queues.iter().any(|queue| queue.arn == arn);
    let is_topic = |arn: &str| template.topics.iter().any(|topic| topic.arn == arn);
    for policy in &template.queue_policies {
        for url in &policy.of {
            let name = url.rsplit('/').next().unwrap_or_default();
            let is_there = template.queues.iter().any(|queue| queue.name == name);
            ensure!(is_there, "template.yaml, {}: {url} is no queue", policy.logical);
        }
    }
    for policy in &template.topic_policies {
        for arn in &policy.of {
            ensure!(is_topic(arn), "template.yaml, {}: {arn} is no topic", policy.logical);
        }
    }
    for subscription in &template.subscriptions {
        let logical = &subscription.logical;
        ensure!(
            is_topic(&subscription.topic),
            "template.yaml, {logical}: {} is no topic",
            subscription.topic
        );
        for arn in [Some(&subscription.endpoint), subscription.dead_letter.as_ref()]
            .into_iter()
            .flatten()
        {
            ensure!(is_queue(arn), "template.yaml, {logical}: {arn} is no queue");
            let queue = template.queues.iter().find(|queue| queue.arn == *arn);
            let key = queue.and_then(|queue: &Queue| queue.kms_key.as_deref());
            may_use(template, logical, key, "sns.amazonaws.com", &subscription.topic)?;
        }
    }
    for destination in &template.event_destinations {
        let logical = &destination.logical;
        let is_set = template
            .configuration_sets
            .iter()
            .any(|set| set.name == destination.set);
        ensure!(
            is_set,
            "template.yaml, {logical}: {} is no configuration set",
            destination.set
        );
        ensure!(
            is_topic(&destination.topic),
            "template.yaml, {logical}: {} is no topic",
            destination.topic
        );
        let topic = template.topics.iter().find(|topic| topic.arn == destination.topic);
        let key = topic.and_then(|topic| topic.kms_key.as_deref());
        let source = format!(
            "arn:aws:ses:{}:{}:configuration-set/{}",
            super::REGION,
            super::ACCOUNT,
            destination.set
        );
        may_use(template, logical, key, "ses.amazonaws.com", &source)?;
    }
    Ok(())
}

/// A service that puts something into what a key encrypts needs both of these actions on the key ("Configuring Amazon SNS
/// topic encryption", SNS Developer Guide). The local KMS knows no key policies, so this is where they are held against.
fn may_use(template: &Template, logical: &str, key: Option<&str>, service: &str, source: &str) -> Result<()> {
    let Some(key) = key else { return Ok(()) };
    let found = template.keys.iter().find(|found: &&Key| found.arn == key);
    let policy = found.map_or(&Value::Null, |found| &found.policy);
    for action in ["kms:GenerateDataKey", "kms:Decrypt"] {
        let asked = Asked {
            service,
            action,
            resource: key,
            source,
        };
        ensure!(
            allows(policy, asked),
            "template.yaml, {logical}: the key's policy does not allow {service} {action}"
        );
    }
    Ok(())
}
