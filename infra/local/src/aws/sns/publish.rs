//! Publish: one message to every queue that is subscribed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::subscription::Subscription;
use super::topic::Topic;
use super::{Sns, invalid};
use crate::aws::error::AwsError;
use crate::aws::iam::{Asked, allows};
use crate::aws::parameters::Parameters;
use crate::aws::random;

/// The longest message with its attributes, in octets (Publish, SNS API Reference).
const LONGEST_MESSAGE: usize = 262_144;
/// The longest subject, in characters (Publish, SNS API Reference).
const LONGEST_SUBJECT: usize = 100;

/// What is published.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) subject: Option<String>,
    /// Attributes as SQS takes them: `{"DataType", "StringValue" or "BinaryValue"}` by name.
    pub(crate) attributes: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Attribute {
    name: String,
    value: Value,
}

impl Sns {
    pub(super) fn publish_call(&self, mut given: Parameters) -> Result<String, AwsError> {
        let topic: Option<String> = given.optional("TopicArn")?;
        let target: Option<String> = given.optional("TargetArn")?;
        let text: String = given.required("Message")?;
        let subject: Option<String> = given.optional("Subject")?;
        let attributes: Vec<Attribute> = given.optional("MessageAttributes")?.unwrap_or_default();
        given.finish()?;
        let arn = topic
            .or(target)
            .ok_or_else(|| invalid("TopicArn or TargetArn Reason: no value for required parameter"))?;
        let attributes = attributes
            .into_iter()
            .map(|attribute| (attribute.name, attribute.value))
            .collect();
        self.publish(
            &arn,
            &Message {
                text,
                subject,
                attributes,
            },
        )
    }

    /// Publishes for another service of AWS, which the topic's policy has to let do so.
    ///
    /// # Errors
    /// AuthorizationError where the policy does not, and what Publish answers.
    pub(crate) fn publish_for(
        &self,
        service: &str,
        source: &str,
        arn: &str,
        message: &Message,
    ) -> Result<String, AwsError> {
        self.check_publisher(service, source, arn)?;
        self.publish(arn, message)
    }

    /// Whether a service of AWS may publish to a topic, on behalf of the resource `source`.
    pub(crate) fn check_publisher(&self, service: &str, source: &str, arn: &str) -> Result<(), AwsError> {
        let topic = self.store.change(|tx| Topic::find(tx, arn))?;
        let asked = Asked {
            service,
            action: "sns:Publish",
            resource: arn,
            source,
        };
        if allows(&topic.policy(), asked) {
            return Ok(());
        }
        Err(AwsError::new(
            http::StatusCode::FORBIDDEN,
            "AuthorizationError",
            format!("{service} is not authorized to perform: SNS:Publish on resource: {arn}"),
        ))
    }

    fn publish(&self, arn: &str, message: &Message) -> Result<String, AwsError> {
        check(message)?;
        let subscriptions = self.store.change(|tx| {
            let topic = Topic::find(tx, arn)?;
            Subscription::of(tx, &topic)
        })?;
        let id = random::id()?;
        for subscription in &subscriptions {
            let (body, attributes) = if subscription.is_raw() {
                (message.text.clone(), json!(message.attributes))
            } else {
                (self.wrapped(arn, &id, message, subscription), json!({}))
            };
            let delivered = self.sqs.deliver(&subscription.endpoint, arn, &body, &attributes);
            // A queue that is gone or does not let the topic send is not asked again ("Amazon SNS message delivery
            // retries", Developer Guide: a client-side error goes to the dead letters at once).
            if let Err(error) = delivered {
                tracing::warn!(topic = arn, queue = subscription.endpoint, code = %error.code, "a queue does not take a topic's message");
                let dead = subscription.dead_letters();
                let kept = dead.map(|dead| self.sqs.deliver(&dead, arn, &body, &attributes));
                if !matches!(kept, Some(Ok(()))) {
                    tracing::error!(
                        topic = arn,
                        queue = subscription.endpoint,
                        "a message is lost: no dead-letter queue takes it"
                    );
                }
            }
        }
        Ok(id)
    }

    /// The message in the form that a subscription without RawMessageDelivery gets ("Amazon SNS message formats", Developer
    /// Guide), without the signature.
    fn wrapped(&self, arn: &str, id: &str, message: &Message, subscription: &Subscription) -> String {
        let mut wrapped = json!({
            "Type": "Notification",
            "MessageId": id,
            "TopicArn": arn,
            "Message": message.text,
            "Timestamp": self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            "UnsubscribeURL": format!(
                "https://sns.{}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={}",
                crate::aws::arn::REGION,
                subscription.arn()
            ),
        });
        let attribute = |(name, value): (&String, &Value)| {
            let text = value.get("StringValue").or_else(|| value.get("BinaryValue"));
            let shown = json!({"Type": value.get("DataType"), "Value": text});
            (name.clone(), shown)
        };
        if let Some(wrapped) = wrapped.as_object_mut() {
            if let Some(subject) = &message.subject {
                wrapped.insert("Subject".to_owned(), Value::from(subject.as_str()));
            }
            if !message.attributes.is_empty() {
                let attributes: Map<_, _> = message.attributes.iter().map(attribute).collect();
                wrapped.insert("MessageAttributes".to_owned(), Value::Object(attributes));
            }
        }
        wrapped.to_string()
    }
}

fn check(message: &Message) -> Result<(), AwsError> {
    if message.text.is_empty() {
        return Err(invalid("Empty message"));
    }
    let attribute = |(name, value): (&String, &Value)| name.len() + value.to_string().len();
    if message.text.len() + message.attributes.iter().map(attribute).sum::<usize>() > LONGEST_MESSAGE {
        return Err(invalid("Message too long"));
    }
    let is_subject = |subject: &String| {
        let starts = subject.bytes().next().is_some_and(|byte| byte.is_ascii_graphic());
        starts && subject.len() <= LONGEST_SUBJECT && subject.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    if !message.subject.as_ref().is_none_or(is_subject) {
        return Err(invalid("Subject"));
    }
    Ok(())
}
