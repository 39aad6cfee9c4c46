//! Tables, buckets, keys, queues, APIs and alarms.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::properties::Properties;
use super::{Alarm, Api, Bucket, GatewayResponse, Key, Queue, Table};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct KeyElement {
    attribute_name: String,
    key_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct AttributeDefinition {
    attribute_name: String,
    attribute_type: String,
}

/// Reads a table.
pub(super) fn table(logical: String, name: String, mut properties: Properties) -> Result<Table> {
    let types: Vec<AttributeDefinition> = properties.required("AttributeDefinitions")?;
    let mut key = Vec::new();
    for element in properties.required::<Vec<KeyElement>>("KeySchema")? {
        let definition = types
            .iter()
            .find(|definition| definition.attribute_name == element.attribute_name);
        let definition = definition.with_context(|| format!("{} has no type", element.attribute_name))?;
        key.push((
            element.attribute_name,
            element.key_type,
            definition.attribute_type.clone(),
        ));
    }
    ensure!(types.len() == key.len(), "an attribute is defined that no key uses");
    let mut lifetime = properties.nested("TimeToLiveSpecification")?;
    let is_on: bool = lifetime.optional("Enabled")?.unwrap_or_default();
    let lifetime_attribute: Option<String> = lifetime.optional("AttributeName")?;
    lifetime.finish()?;
    let is_protected = properties.optional("DeletionProtectionEnabled")?.unwrap_or_default();
    // One file on one disk: no capacity to plan, no copy elsewhere, no encryption below the objects' own.
    properties.ignore(&[
        "TableName",
        "BillingMode",
        "SSESpecification",
        "PointInTimeRecoverySpecification",
    ]);
    properties.finish()?;
    Ok(Table {
        logical,
        name,
        key,
        lifetime_attribute: lifetime_attribute.filter(|_| is_on),
        is_protected,
    })
}

/// Reads a bucket.
pub(super) fn bucket(logical: String, name: String, mut properties: Properties) -> Result<Bucket> {
    let has_object_lock: bool = properties.optional("ObjectLockEnabled")?.unwrap_or_default();
    let mut versioning = properties.nested("VersioningConfiguration")?;
    let status: Option<String> = versioning.optional("Status")?;
    versioning.finish()?;
    // Nobody but this process reaches the files; lifecycle rules are the backstop of a sweep and run for no one here.
    properties.ignore(&[
        "BucketName",
        "OwnershipControls",
        "PublicAccessBlockConfiguration",
        "BucketEncryption",
        "LifecycleConfiguration",
    ]);
    properties.finish()?;
    let is_versioned = status.as_deref() == Some("Enabled");
    ensure!(is_versioned || !has_object_lock, "Object Lock needs versions");
    Ok(Bucket {
        logical,
        name,
        has_object_lock,
        is_versioned,
    })
}

/// Reads a KMS key; its alias is found later.
pub(super) fn key(logical: String, arn: String, mut properties: Properties) -> Result<Key> {
    let description = properties.optional("Description")?.unwrap_or_default();
    let is_rotated = properties.optional("EnableKeyRotation")?.unwrap_or_default();
    // Functions are held to their roles; the policy counts for the services that have none.
    let policy = properties.optional("KeyPolicy")?.unwrap_or_default();
    properties.ignore(&["PendingWindowInDays"]).finish()?;
    Ok(Key {
        logical,
        arn,
        policy,
        description,
        is_rotated,
        alias: String::new(),
    })
}

/// Reads an alias: the key it leads to, and its name.
pub(super) fn alias(mut properties: Properties) -> Result<(String, String)> {
    let target = properties.required("TargetKeyId")?;
    let name = properties.required("AliasName")?;
    properties.finish()?;
    Ok((target, name))
}

/// Reads a queue.
pub(super) fn queue(logical: String, name: String, arn: String, mut properties: Properties) -> Result<Queue> {
    let mut redrive = properties.nested("RedrivePolicy")?;
    let target: Option<String> = redrive.optional("deadLetterTargetArn")?;
    let count: Option<u32> = redrive.optional("maxReceiveCount")?;
    redrive.finish()?;
    ensure!(
        target.is_some() == count.is_some(),
        "a redrive policy needs a queue and a count"
    );
    // Defaults of AWS::SQS::Queue: 30 seconds hidden, kept for 4 days.
    let visibility_timeout_s = properties.optional("VisibilityTimeout")?.unwrap_or(30);
    let retention_s = properties.optional("MessageRetentionPeriod")?.unwrap_or(345_600);
    let kms_key = properties.optional("KmsMasterKeyId")?;
    // Message bodies lie in a file of this machine in any case; the key counts for who may use the queue.
    properties
        .ignore(&["QueueName", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"])
        .finish()?;
    Ok(Queue {
        logical,
        name,
        arn,
        visibility_timeout_s,
        retention_s,
        kms_key,
        redrive: target.zip(count),
    })
}

/// Reads an API; its routes stand with the functions.
pub(super) fn api(logical: String, mut properties: Properties) -> Result<Api> {
    let mut responses = BTreeMap::new();
    let declared: BTreeMap<String, serde_json::Value> = properties.optional("GatewayResponses")?.unwrap_or_default();
    for (case, value) in declared {
        let mut response = Properties::new(format!("{logical}.{case}"), value)?;
        let status: String = response.required("StatusCode")?;
        let mut parameters = response.nested("ResponseParameters")?;
        let headers: BTreeMap<String, String> = parameters.optional("Headers")?.unwrap_or_default();
        parameters.finish()?;
        let bodies = response.optional("ResponseTemplates")?.unwrap_or_default();
        response.finish()?;
        // A fixed value stands in single quotes; anything else is a mapping from the request.
        let fixed = |(name, value): (String, String)| {
            let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            let value = value.with_context(|| format!("{case}: the header {name} is no fixed value"))?;
            anyhow::Ok((name, value.to_owned()))
        };
        let headers = headers.into_iter().map(fixed).collect::<Result<_>>()?;
        let status = status.parse().with_context(|| format!("{case}: StatusCode"))?;
        responses.insert(
            case,
            GatewayResponse {
                status,
                headers,
                bodies,
            },
        );
    }
    // One client on loopback: nothing to throttle, no access log, no text-or-bytes question inside one process.
    properties.ignore(&[
        "Name",
        "StageName",
        "DisableExecuteApiEndpoint",
        "EndpointConfiguration",
        "BinaryMediaTypes",
        "TracingEnabled",
        "MethodSettings",
        "AccessLogSetting",
    ]);
    properties.finish()?;
    Ok(Api { logical, responses })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Dimension {
    #[serde(rename = "Name")]
    _name: String,
    value: String,
}

/// Reads an alarm.
pub(super) fn alarm(logical: String, mut properties: Properties) -> Result<Alarm> {
    let metric = properties.required("MetricName")?;
    let dimensions: Vec<Dimension> = properties.required("Dimensions")?;
    Ok(Alarm {
        logical,
        metric,
        watched: dimensions.into_iter().map(|dimension| dimension.value).collect(),
    })
}
