//! What a call needs: the actions and resources that AWS looks at for it, and what the conditions can ask about it.
//!
//! Sources: the "Actions, resources, and condition keys" pages of the Service Authorization Reference.

mod dynamodb;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use mail_parser::MessageParser;
use serde_json::{Map, Value};

use crate::aws::arn;
use crate::aws::kms::Located;
use crate::aws::parameters::Blob;
use crate::aws::wire::form::parameters;
use crate::aws::wire::{Aws, Service, Target, json};

/// One action on one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) action: String,
    pub(crate) resource: String,
    /// The values of condition keys, such as `aws:ResourceTag/owner`.
    pub(crate) facts: BTreeMap<String, Vec<String>>,
}

impl Need {
    fn new(service: Service, action: &str, resource: impl Into<String>) -> Self {
        Self::plain(&format!("{}:{action}", service.as_str()), resource)
    }

    /// A need that no condition can ask anything about.
    pub(crate) fn plain(action: &str, resource: impl Into<String>) -> Self {
        Self {
            action: action.to_owned(),
            resource: resource.into(),
            facts: BTreeMap::new(),
        }
    }

    fn with(mut self, key: impl Into<String>, values: Vec<String>) -> Self {
        self.facts.insert(key.into(), values);
        self
    }

    fn with_all(mut self, facts: impl IntoIterator<Item = (String, String)>) -> Self {
        self.facts
            .extend(facts.into_iter().map(|(key, value)| (key, vec![value])));
        self
    }
}

impl Aws {
    /// Everything a role must allow for this request; nothing for S3, which asks by itself ([`Permissions`]). A request that
    /// cannot be read needs its action on everything, so it reaches the service's own words only with a wide grant.
    ///
    /// [`Permissions`]: crate::aws::s3::Permissions
    pub(crate) fn needs(&self, target: &Target, request: &Request<Bytes>) -> Vec<Need> {
        let operation = target.operation.as_str();
        if target.service == Service::S3 {
            return Vec::new();
        }
        let body = match target.service {
            Service::Sns => parameters(request.body()),
            _ => json(request),
        };
        let Ok(Value::Object(body)) = body else {
            return vec![Need::new(target.service, operation, "*")];
        };
        match target.service {
            Service::Dynamodb => dynamodb::needs(&self.dynamodb, operation, &body),
            Service::Kms => self.kms_needs(operation, &body),
            Service::Sqs => self.sqs_needs(operation, &body),
            Service::Sns => sns_needs(operation, &body),
            _ => ses_needs(operation, request.uri().path(), &body),
        }
    }

    fn kms_needs(&self, operation: &str, body: &Map<String, Value>) -> Vec<Need> {
        let need = |action: &str, resource: String| Need::new(Service::Kms, action, resource);
        let context = |name: &str| {
            let context = body.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
            let facts = context
                .into_iter()
                .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
            facts
                .map(|(key, value)| (format!("kms:EncryptionContext:{key}"), value))
                .collect::<Vec<_>>()
        };
        let request_tags = || {
            let tags = body.get("Tags").and_then(Value::as_array).cloned().unwrap_or_default();
            let pair = |tag: &Value| {
                let key = tag.get("TagKey")?.as_str()?;
                Some((
                    format!("aws:RequestTag/{key}"),
                    tag.get("TagValue")?.as_str()?.to_owned(),
                ))
            };
            tags.iter().filter_map(pair).collect::<Vec<_>>()
        };
        let on = |action: &str, key: Option<Located>| match key {
            Some(key) => {
                let tags = key
                    .tags
                    .into_iter()
                    .map(|(name, value)| (format!("aws:ResourceTag/{name}"), value));
                need(action, key.arn).with_all(tags)
            }
            None => need(action, text(body, "KeyId").map_or_else(|| "*".to_owned(), key_arn)),
        };
        let key_named = |name: &str| text(body, name).and_then(|key| self.kms.locate(key));
        // Decrypt and ReEncrypt name their key in the ciphertext.
        let key_inside = || {
            let blob = body.get("CiphertextBlob").cloned()?;
            let blob: Blob = serde_json::from_value(blob).ok()?;
            self.kms.locate(&self.kms.key_of(&blob.0)?)
        };
        match operation {
            "GenerateRandom" | "ListKeys" | "ListAliases" => vec![need(operation, "*".to_owned())],
            "CreateKey" => {
                let mut needs = vec![need(operation, "*".to_owned()).with_all(request_tags())];
                if body.contains_key("Tags") {
                    // The key has no id yet.
                    needs.push(need("TagResource", arn::of("kms", "key/new")).with_all(request_tags()));
                }
                needs
            }
            "CreateAlias" | "UpdateAlias" | "DeleteAlias" => {
                let alias = text(body, "AliasName").unwrap_or("*");
                let key = key_named("TargetKeyId").or_else(|| self.kms.locate(alias));
                vec![need(operation, arn::of("kms", alias)), on(operation, key)]
            }
            "ReEncrypt" => {
                let from = key_named("SourceKeyId").or_else(key_inside);
                let to = key_named("DestinationKeyId");
                vec![
                    on("ReEncryptFrom", from).with_all(context("SourceEncryptionContext")),
                    on("ReEncryptTo", to).with_all(context("DestinationEncryptionContext")),
                ]
            }
            "TagResource" => vec![on(operation, key_named("KeyId")).with_all(request_tags())],
            _ => vec![on(operation, key_named("KeyId").or_else(key_inside)).with_all(context("EncryptionContext"))],
        }
    }

    fn sqs_needs(&self, operation: &str, body: &Map<String, Value>) -> Vec<Need> {
        if operation == "ListQueues" {
            return vec![Need::new(Service::Sqs, operation, "*")];
        }
        let url = text(body, "QueueUrl").and_then(|url| url.rsplit('/').next());
        let source = text(body, "SourceArn").and_then(|arn| arn.rsplit(':').next());
        let name = url.or_else(|| text(body, "QueueName")).or(source).unwrap_or("*");
        // There are no actions for batches.
        let action = operation.strip_suffix("Batch").unwrap_or(operation);
        let mut needs = vec![Need::new(Service::Sqs, action, arn::of("sqs", name))];
        // "Configure KMS permissions for queue": who sends needs both, who receives needs Decrypt.
        let key = self.sqs.kms_key(name).and_then(|key| self.kms.locate(&key));
        if let Some(key) = key {
            let actions: &[&str] = match action {
                "SendMessage" => &["GenerateDataKey", "Decrypt"],
                "ReceiveMessage" => &["Decrypt"],
                _ => &[],
            };
            needs.extend(
                actions
                    .iter()
                    .map(|action| Need::new(Service::Kms, action, key.arn.clone())),
            );
        }
        needs
    }
}

/// The topic that a call is about, also where it names one of the topic's subscriptions.
fn sns_needs(operation: &str, body: &Map<String, Value>) -> Vec<Need> {
    let named = |name: &str| text(body, name).map(str::to_owned);
    let of_subscription =
        || named("SubscriptionArn").map(|arn| arn.splitn(7, ':').take(6).collect::<Vec<_>>().join(":"));
    let of_name = || named("Name").map(|name| arn::of("sns", &name));
    let topic = named("TopicArn")
        .or_else(|| named("TargetArn"))
        .or_else(of_subscription)
        .or_else(of_name);
    vec![Need::new(Service::Sns, operation, topic.as_deref().unwrap_or("*"))]
}

fn ses_needs(operation: &str, path: &str, body: &Map<String, Value>) -> Vec<Need> {
    let need = |resource: &str| Need::new(Service::Ses, operation, resource);
    match operation {
        "SendEmail" => {
            // A raw message needs the right of the older API: AWS's refusals of this call name `ses:SendRawEmail` ("554 Access
            // denied" and "Unauthorized" in the AWS Knowledge Center), though the Service Authorization Reference is silent.
            let is_raw = body
                .get("Content")
                .and_then(|content| content.get("Raw"))
                .is_some_and(|raw| !raw.is_null());
            let action = if is_raw { "SendRawEmail" } else { operation };
            let need = |resource: &str| Need::new(Service::Ses, action, resource);
            let sender = text(body, "FromEmailAddress")
                .map(str::to_owned)
                .or_else(|| sender_of(body));
            let domain = sender.as_deref().and_then(|sender| sender.rsplit('@').next());
            let domain = domain.map_or("*", |domain| domain.trim_end_matches('>'));
            let mut needs = vec![need(&arn::of(
                "ses",
                &format!("identity/{}", domain.to_ascii_lowercase()),
            ))];
            if let Some(set) = text(body, "ConfigurationSetName") {
                needs.push(need(&arn::of("ses", &format!("configuration-set/{set}"))));
            }
            needs
        }
        "GetEmailIdentity" | "GetConfigurationSet" => {
            let kind = if operation == "GetEmailIdentity" {
                "identity"
            } else {
                "configuration-set"
            };
            let name = path.rsplit('/').next().unwrap_or_default();
            vec![need(&arn::of("ses", &format!("{kind}/{name}")))]
        }
        _ => vec![need("*")],
    }
}

/// The address in the From field of a raw message.
fn sender_of(body: &Map<String, Value>) -> Option<String> {
    let raw: Blob = serde_json::from_value(body.get("Content")?.pointer("/Raw/Data")?.clone()).ok()?;
    let message = MessageParser::default().parse_headers(raw.0.as_slice())?;
    message.from()?.first()?.address().map(str::to_owned)
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

/// The ARN of a key that is not there.
fn key_arn(key: &str) -> String {
    if key.starts_with("arn:") {
        key.to_owned()
    } else if key.starts_with("alias/") {
        arn::of("kms", key)
    } else {
        arn::of("kms", &format!("key/{key}"))
    }
}
