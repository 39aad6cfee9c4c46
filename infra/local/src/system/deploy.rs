//! Makes what the template declares and the local AWS has not yet. Doing it again changes nothing.
//!
//! The template is read three times: KMS and SQS choose ids and URLs themselves, so keys are made first, then queues, which
//! refer to keys, and the last reading knows what to put wherever the template refers to either.

mod messaging;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use aws_sdk_sesv2::types::{DeliveryOptions, TlsPolicy};
use aws_sdk_sqs::types::QueueAttributeName;

use super::function::sdk;
use crate::aws::wire::Aws;
use crate::template::{Bucket, ConfigurationSet, Key, Made, Queue, Settings, TEXT, Table, Template};

const STACK: &str = "sealpost";

/// Makes everything, and answers the template with the names and ARNs that it got.
pub(super) async fn deploy(aws: &Arc<Aws>, portal_url: &str) -> Result<Template> {
    let sdk = sdk(aws.http_client(None), &aws.clock);
    let mut settings = Settings {
        stack: STACK.to_owned(),
        parameters: BTreeMap::from([("PortalUrl".to_owned(), portal_url.to_owned())]),
        made: BTreeMap::new(),
    };
    let first = Template::parse(TEXT, &settings)?;
    for key in &first.keys {
        let made = make_key(&sdk, key)
            .await
            .with_context(|| format!("making {}", key.logical))?;
        settings.made.insert(key.logical.clone(), made);
    }
    // Queues with a dead-letter queue come after the others, one of which it is.
    let second = Template::parse(TEXT, &settings)?;
    let (with, without): (Vec<_>, Vec<_>) = second.queues.iter().partition(|queue| queue.redrive.is_some());
    for queue in without.into_iter().chain(with) {
        let made = make_queue(&sdk, queue)
            .await
            .with_context(|| format!("making {}", queue.logical))?;
        settings.made.insert(queue.logical.clone(), made);
    }
    let template = Template::parse(TEXT, &settings)?;
    for table in &template.tables {
        make_table(&sdk, table)
            .await
            .with_context(|| format!("making {}", table.logical))?;
    }
    for bucket in &template.buckets {
        make_bucket(&sdk, bucket)
            .await
            .with_context(|| format!("making {}", bucket.logical))?;
    }
    for set in &template.configuration_sets {
        make_configuration_set(&sdk, set)
            .await
            .with_context(|| format!("making {}", set.logical))?;
    }
    messaging::make(aws, &sdk, &template).await?;
    Ok(template)
}

async fn make_key(sdk: &SdkConfig, key: &Key) -> Result<Made> {
    let kms = aws_sdk_kms::Client::new(sdk);
    let found = kms.describe_key().key_id(&key.alias).send().await;
    let metadata = match found {
        Ok(found) => found.key_metadata,
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_not_found_exception()) =>
        {
            let made = kms.create_key().description(&key.description).send().await?;
            let metadata = made.key_metadata.context("a key without an id")?;
            if key.is_rotated {
                kms.enable_key_rotation().key_id(&metadata.key_id).send().await?;
            }
            // The alias comes last: a key without one, left by a process that was killed here, seals nothing yet.
            kms.create_alias()
                .alias_name(&key.alias)
                .target_key_id(&metadata.key_id)
                .send()
                .await?;
            Some(metadata)
        }
        Err(error) => return Err(error.into()),
    };
    let metadata = metadata.context("a key without an id")?;
    Ok(Made {
        reference: metadata.key_id,
        arn: metadata.arn.context("a key without an ARN")?,
    })
}

async fn make_queue(sdk: &SdkConfig, queue: &Queue) -> Result<Made> {
    let sqs = aws_sdk_sqs::Client::new(sdk);
    let mut attributes = HashMap::from([
        (
            QueueAttributeName::VisibilityTimeout,
            queue.visibility_timeout_s.to_string(),
        ),
        (
            QueueAttributeName::MessageRetentionPeriod,
            queue.retention_s.to_string(),
        ),
    ]);
    // Whoever sends or receives needs rights on the key as well, here as on AWS.
    if let Some(key) = &queue.kms_key {
        attributes.insert(QueueAttributeName::KmsMasterKeyId, key.clone());
    }
    if let Some((target, count)) = &queue.redrive {
        let policy = serde_json::json!({"deadLetterTargetArn": target, "maxReceiveCount": count});
        attributes.insert(QueueAttributeName::RedrivePolicy, policy.to_string());
    }
    let made = sqs
        .create_queue()
        .queue_name(&queue.name)
        .set_attributes(Some(attributes.clone()))
        .send()
        .await;
    let url = match made {
        Ok(made) => made.queue_url,
        // The template has changed since the queue was made.
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_queue_name_exists()) =>
        {
            let url = sqs.get_queue_url().queue_name(&queue.name).send().await?.queue_url;
            let set = sqs.set_queue_attributes().set_queue_url(url.clone());
            set.set_attributes(Some(attributes)).send().await?;
            url
        }
        Err(error) => return Err(error.into()),
    };
    let url = url.context("a queue without a URL")?;
    let wanted = QueueAttributeName::QueueArn;
    let attributes = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(wanted.clone())
        .send()
        .await?
        .attributes
        .unwrap_or_default();
    let arn = attributes.get(&wanted).context("a queue without an ARN")?;
    // The redrive policy above was written before the queue was made, so the two must agree.
    ensure!(*arn == queue.arn, "the queue got another ARN than the template expects");
    Ok(Made {
        reference: url,
        arn: arn.clone(),
    })
}

async fn make_table(sdk: &SdkConfig, table: &Table) -> Result<()> {
    let dynamodb = aws_sdk_dynamodb::Client::new(sdk);
    let found = dynamodb.describe_table().table_name(&table.name).send().await;
    match found {
        Ok(_) => {}
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            let mut make = dynamodb
                .create_table()
                .table_name(&table.name)
                .billing_mode(BillingMode::PayPerRequest);
            for (name, kind, attribute_type) in &table.key {
                let element = KeySchemaElement::builder()
                    .attribute_name(name)
                    .key_type(KeyType::from(kind.as_str()));
                let attribute_type = ScalarAttributeType::from(attribute_type.as_str());
                let definition = AttributeDefinition::builder()
                    .attribute_name(name)
                    .attribute_type(attribute_type);
                make = make
                    .key_schema(element.build()?)
                    .attribute_definitions(definition.build()?);
            }
            make.send().await?;
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(attribute) = &table.lifetime_attribute {
        let described = dynamodb.describe_time_to_live().table_name(&table.name).send().await?;
        let description = described.time_to_live_description;
        if description.and_then(|description| description.attribute_name).as_ref() != Some(attribute) {
            let lifetime = TimeToLiveSpecification::builder()
                .attribute_name(attribute)
                .enabled(true)
                .build()?;
            let update = dynamodb
                .update_time_to_live()
                .table_name(&table.name)
                .time_to_live_specification(lifetime);
            update.send().await?;
        }
    }
    Ok(())
}

async fn make_bucket(sdk: &SdkConfig, bucket: &Bucket) -> Result<()> {
    let s3 = aws_sdk_s3::config::Builder::from(sdk).force_path_style(true).build();
    let s3 = aws_sdk_s3::Client::from_conf(s3);
    let found = s3.head_bucket().bucket(&bucket.name).send().await;
    match found {
        Ok(_) => {}
        Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
            let make = s3.create_bucket().bucket(&bucket.name);
            let make = if bucket.has_object_lock {
                make.object_lock_enabled_for_bucket(true)
            } else {
                make
            };
            make.send().await?;
        }
        Err(error) => return Err(error.into()),
    }
    // With Object Lock versions are on from the first moment and cannot be turned off.
    if bucket.is_versioned && !bucket.has_object_lock {
        let versioning = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        let put = s3
            .put_bucket_versioning()
            .bucket(&bucket.name)
            .versioning_configuration(versioning);
        put.send().await?;
    }
    Ok(())
}

async fn make_configuration_set(sdk: &SdkConfig, set: &ConfigurationSet) -> Result<()> {
    let ses = aws_sdk_sesv2::Client::new(sdk);
    let policy = TlsPolicy::from(set.tls_policy.as_str());
    let mut delivery = DeliveryOptions::builder().tls_policy(policy.clone());
    if let Some(seconds) = set.max_delivery_s {
        delivery = delivery.max_delivery_seconds(seconds.into());
    }
    let make = ses
        .create_configuration_set()
        .configuration_set_name(&set.name)
        .delivery_options(delivery.build());
    match make.send().await {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_already_exists_exception()) =>
        {
            // The template may have changed since; what is sent under the set must follow it.
            let put = ses
                .put_configuration_set_delivery_options()
                .configuration_set_name(&set.name)
                .tls_policy(policy);
            let put = put.set_max_delivery_seconds(set.max_delivery_s.map(i64::from));
            put.send().await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
