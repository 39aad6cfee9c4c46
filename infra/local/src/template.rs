//! `template.yaml` as the local run understands it.
//!
//! What the template declares is either here, with every property of it taken or named as meaningless to one machine, or
//! on [`IGNORED`] with the reason. Everything else is an error, so that a mistake in the template shows on a laptop and not
//! at the first deployment. Names and ARNs have the form that AWS gives them.

mod function;
mod messaging;
mod properties;
mod resolve;
mod resource;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

pub use messaging::{ConfigurationSet, EventDestination, Policy, Subscription, Topic};
use properties::Properties;
use resolve::{Resolver, entries};

/// The repository's template.
pub const TEXT: &str = include_str!("../../../template.yaml");
/// The one region of the local AWS.
pub const REGION: &str = "us-east-1";
/// The one account of the local AWS.
pub const ACCOUNT: &str = "000000000000";
const PARTITION: &str = "aws";

/// Resource types that the local run passes over, each with the reason. References in them are checked all the same.
pub const IGNORED: [(&str, &str); 8] = [
    (
        "AWS::ApiGateway::Account",
        "there is no CloudWatch to write access logs to",
    ),
    (
        "AWS::ApiGateway::BasePathMapping",
        "both front doors listen on loopback",
    ),
    ("AWS::ApiGateway::DomainName", "both front doors listen on loopback"),
    (
        "AWS::IAM::Role",
        "only API Gateway's own role; functions get theirs from their policies",
    ),
    ("AWS::Logs::LogGroup", "logs go to standard error"),
    ("AWS::S3::BucketPolicy", "there is no TLS inside one process"),
    (
        "AWS::WAFv2::WebACL",
        "there is no WAF; throttling is not tested locally",
    ),
    (
        "AWS::WAFv2::WebACLAssociation",
        "there is no WAF; throttling is not tested locally",
    ),
];

/// What a template is read with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The stack's name; every generated name begins with it.
    pub stack: String,
    /// Values of parameters. They are not held against `AllowedPattern`: the local portal has no https address.
    pub parameters: BTreeMap<String, String>,
    /// What AWS answered when it made a resource, by logical name; what is missing gets a name in AWS's form.
    pub made: BTreeMap<String, Made>,
}

/// What `Ref` and `GetAtt Arn` give for a resource that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What `Ref` gives.
    pub reference: String,
    /// What `GetAtt Arn` gives.
    pub arn: String,
}

/// Everything that the local run makes of the template.
#[derive(Debug, Default)]
pub struct Template {
    /// The tables.
    pub tables: Vec<Table>,
    /// The buckets.
    pub buckets: Vec<Bucket>,
    /// The KMS keys.
    pub keys: Vec<Key>,
    /// The queues.
    pub queues: Vec<Queue>,
    /// The policies of queues.
    pub queue_policies: Vec<Policy>,
    /// The topics.
    pub topics: Vec<Topic>,
    /// The policies of topics.
    pub topic_policies: Vec<Policy>,
    /// The queues that get a topic's messages.
    pub subscriptions: Vec<Subscription>,
    /// SES's configuration sets.
    pub configuration_sets: Vec<ConfigurationSet>,
    /// Where SES's events go.
    pub event_destinations: Vec<EventDestination>,
    /// The functions.
    pub functions: Vec<Function>,
    /// The front doors.
    pub apis: Vec<Api>,
    /// The alarms.
    pub alarms: Vec<Alarm>,
}

/// A DynamoDB table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Logical name.
    pub logical: String,
    /// Table name.
    pub name: String,
    /// The key: attribute name, `HASH` or `RANGE`, attribute type.
    pub key: Vec<(String, String, String)>,
    /// The attribute that says when a row may go.
    pub lifetime_attribute: Option<String>,
    /// Whether it can be deleted by accident.
    pub is_protected: bool,
}

/// An S3 bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Logical name.
    pub logical: String,
    /// Bucket name.
    pub name: String,
    /// Whether objects can be locked.
    pub has_object_lock: bool,
    /// Whether old versions are kept.
    pub is_versioned: bool,
}

/// A KMS key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Logical name.
    pub logical: String,
    /// Key ARN.
    pub arn: String,
    /// Who may use it, beside those whose role says so.
    pub policy: Value,
    /// What it is for.
    pub description: String,
    /// Whether KMS renews its material every year.
    pub is_rotated: bool,
    /// The name that finds it again (`alias/…`).
    pub alias: String,
}

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Logical name.
    pub logical: String,
    /// Queue name.
    pub name: String,
    /// Queue ARN.
    pub arn: String,
    /// How long a message that was received stays hidden, in seconds.
    pub visibility_timeout_s: u32,
    /// How long a message is kept, in seconds.
    pub retention_s: u32,
    /// The KMS key that its messages are encrypted with; `None` for a key of SQS's own.
    pub kms_key: Option<String>,
    /// Where a message goes that was received too often: the dead-letter queue's ARN, and how often.
    pub redrive: Option<(String, u32)>,
}

/// A Lambda function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Logical name.
    pub logical: String,
    /// Function name.
    pub name: String,
    /// The binary that is built for it.
    pub binary: String,
    /// When Lambda ends it.
    pub timeout: Duration,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What its role allows.
    pub statements: Vec<Statement>,
    /// The HTTP requests that come to it.
    pub routes: Vec<Route>,
    /// The queues it takes from.
    pub queues: Vec<QueueSource>,
    /// The schedules that start it.
    pub schedules: Vec<Schedule>,
}

/// One statement of a role: always `Allow`.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its name within the role.
    pub sid: String,
    /// Actions, such as `s3:PutObject`.
    pub actions: Vec<String>,
    /// ARN patterns.
    pub resources: Vec<String>,
    /// The condition, as it stands in the template.
    pub condition: Option<Value>,
}

/// One HTTP route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Logical name of the API.
    pub api: String,
    /// Method, in capitals.
    pub method: String,
    /// Path with parameters in braces.
    pub path: String,
    /// Whether a request has to be signed with the account's credentials.
    pub needs_iam: bool,
}

/// A queue that a function takes from.
#[derive(Debug, Clone)]
pub struct QueueSource {
    /// ARN of the queue.
    pub arn: String,
    /// How many messages an invocation gets at most.
    pub batch_size: u32,
    /// Whether the function answers which messages failed.
    pub reports_failures: bool,
    /// How many invocations run at the same time at most.
    pub concurrency: usize,
}

/// A schedule that starts a function.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Its name within the function.
    pub name: String,
    /// How often.
    pub every: Duration,
    /// What the function gets.
    pub input: Value,
    /// ARN of the queue for runs that did not start.
    pub dead_letter: Option<String>,
}

/// A REST API.
#[derive(Debug, Clone)]
pub struct Api {
    /// Logical name.
    pub logical: String,
    /// What API Gateway itself answers, by its name for the case.
    pub responses: BTreeMap<String, GatewayResponse>,
}

/// An answer that API Gateway gives without a function.
#[derive(Debug, Clone)]
pub struct GatewayResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Bodies by media type.
    pub bodies: BTreeMap<String, String>,
}

/// A CloudWatch alarm.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// Logical name.
    pub logical: String,
    /// Metric, such as `ApproximateAgeOfOldestMessage`.
    pub metric: String,
    /// What it watches: the values of its dimensions.
    pub watched: Vec<String>,
}

impl Statement {
    /// The statement as IAM writes it, every function resolved.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut statement = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": self.actions,
            "Resource": self.resources,
        });
        if let (Some(condition), Some(fields)) = (&self.condition, statement.as_object_mut()) {
            fields.insert("Condition".to_owned(), condition.clone());
        }
        statement
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is no YAML, holds a section, resource type, property or function that is not known here, or refers to what
    /// it does not declare; the message leads to the place.
    pub fn parse(text: &str, settings: &Settings) -> Result<Self> {
        let document: Yaml = serde_yaml_ng::from_str(text).context("the template is no YAML")?;
        for (section, _) in entries(Some(&document))? {
            ensure!(
                SECTIONS.contains(&section.as_str()),
                "the template has an unknown section {section}"
            );
        }
        let resolver = Resolver::new(&document, settings)?;
        let globals = globals(&document, &resolver)?;
        let mut template = Self::default();
        let mut aliases = BTreeMap::new();
        for (logical, declaration) in entries(document.get("Resources"))? {
            let one = |template: &mut Self, aliases: &mut BTreeMap<String, String>| {
                for (field, _) in entries(Some(declaration))? {
                    ensure!(FIELDS.contains(&field.as_str()), "an unknown field {field}");
                }
                let kind = declaration.get("Type").and_then(Yaml::as_str).unwrap_or_default();
                let value = match declaration.get("Properties") {
                    Some(properties) => resolver.value(properties)?,
                    None => Value::Null,
                };
                if let Some(condition) = declaration.get("Condition").and_then(Yaml::as_str)
                    && !resolver.holds(condition)?
                {
                    return Ok(());
                }
                let properties = Properties::new(logical.clone(), value)?;
                template.add(kind, &logical, declaration, properties, &globals, &resolver, aliases)
            };
            one(&mut template, &mut aliases).with_context(|| format!("template.yaml, {logical}"))?;
        }
        for (name, output) in entries(document.get("Outputs"))? {
            resolver
                .value(output)
                .with_context(|| format!("template.yaml, output {name}"))?;
        }
        for key in &mut template.keys {
            let alias = aliases.remove(&resolver.reference(&key.logical)?);
            key.alias = alias.with_context(|| format!("template.yaml, {}: a key needs an alias", key.logical))?;
        }
        template.check()?;
        Ok(template)
    }

    /// The function whose binary has this name.
    #[must_use]
    pub fn function(&self, binary: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.binary == binary)
    }

    #[expect(clippy::too_many_arguments, reason = "one resource, and what it is read against")]
    fn add(
        &mut self,
        kind: &str,
        logical: &str,
        declaration: &Yaml,
        properties: Properties,
        globals: &Value,
        resolver: &Resolver<'_>,
        aliases: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        let logical = logical.to_owned();
        match kind {
            "AWS::DynamoDB::Table" => {
                let name = resolver.name(&logical)?;
                self.tables.push(resource::table(logical, name, properties)?);
            }
            "AWS::S3::Bucket" => {
                let name = resolver.name(&logical)?;
                self.buckets.push(resource::bucket(logical, name, properties)?);
            }
            "AWS::KMS::Key" => {
                let arn = resolver.arn(&logical)?;
                self.keys.push(resource::key(logical, arn, properties)?);
            }
            "AWS::KMS::Alias" => {
                let (target, alias) = resource::alias(properties)?;
                aliases.insert(target, alias);
            }
            "AWS::SQS::Queue" => {
                let (name, arn) = (resolver.name(&logical)?, resolver.arn(&logical)?);
                self.queues.push(resource::queue(logical, name, arn, properties)?);
            }
            "AWS::SES::ConfigurationSet" => {
                self.configuration_sets
                    .push(messaging::configuration_set(logical, properties)?);
            }
            "AWS::SQS::QueuePolicy" => {
                self.queue_policies
                    .push(messaging::policy(logical, "Queues", properties)?);
            }
            "AWS::SNS::Topic" => {
                let (name, arn) = (resolver.name(&logical)?, resolver.arn(&logical)?);
                let (topic, subscriptions) = messaging::topic(logical, name, arn, properties)?;
                self.topics.push(topic);
                self.subscriptions.extend(subscriptions);
            }
            "AWS::SNS::TopicPolicy" => {
                self.topic_policies
                    .push(messaging::policy(logical, "Topics", properties)?);
            }
            "AWS::SNS::Subscription" => self.subscriptions.extend(messaging::subscription(logical, properties)?),
            "AWS::SES::ConfigurationSetEventDestination" => {
                self.event_destinations
                    .push(messaging::event_destination(logical, properties)?);
            }
            "AWS::Serverless::Function" => {
                let metadata = match declaration.get("Metadata") {
                    Some(metadata) => resolver.value(metadata)?,
                    None => Value::Null,
                };
                let metadata = Properties::new(format!("{logical}.Metadata"), metadata)?;
                self.functions
                    .push(function::read(logical, metadata, properties, globals)?);
            }
            "AWS::Serverless::Api" => self.apis.push(resource::api(logical, properties)?),
            "AWS::CloudWatch::Alarm" => self.alarms.push(resource::alarm(logical, properties)?),
            kind if IGNORED.iter().any(|(ignored, _)| *ignored == kind) => {}
            kind => bail!("the local run does not know the resource type {kind}"),
        }
        Ok(())
    }

    /// What no single resource can tell: references between resources of the right kind.
    fn check(&self) -> Result<()> {
        let is_queue = |arn: &str| self.queues.iter().any(|queue| queue.arn == arn);
        for function in &self.functions {
            let logical = &function.logical;
            for route in &function.routes {
                let is_api = self.apis.iter().any(|api| api.logical == route.api);
                ensure!(is_api, "template.yaml, {logical}: {} is no API", route.api);
                let twice = self.functions.iter().flat_map(|function| &function.routes);
                let twice = twice.filter(|other| {
                    (&other.api, &other.method, &other.path) == (&route.api, &route.method, &route.path)
                });
                ensure!(
                    twice.count() == 1,
                    "template.yaml, {logical}: {} {} twice",
                    route.method,
                    route.path
                );
            }
            let dead_letters = function
                .schedules
                .iter()
                .filter_map(|schedule| schedule.dead_letter.as_deref());
            for arn in function
                .queues
                .iter()
                .map(|source| source.arn.as_str())
                .chain(dead_letters)
            {
                ensure!(is_queue(arn), "template.yaml, {logical}: {arn} is no queue");
            }
        }
        for queue in &self.queues {
            if let Some((arn, _)) = &queue.redrive {
                ensure!(is_queue(arn), "template.yaml, {}: {arn} is no queue", queue.logical);
            }
        }
        messaging::check(self)
    }
}

const SECTIONS: [&str; 9] = [
    "AWSTemplateFormatVersion",
    "Transform",
    "Description",
    "Metadata",
    "Parameters",
    "Conditions",
    "Globals",
    "Resources",
    "Outputs",
];

const FIELDS: [&str; 7] = [
    "Type",
    "Properties",
    "Condition",
    "DependsOn",
    "Metadata",
    "DeletionPolicy",
    "UpdateReplacePolicy",
];

/// What all functions share.
fn globals(document: &Yaml, resolver: &Resolver<'_>) -> Result<Value> {
    let mut shared = Value::Null;
    for (section, value) in entries(document.get("Globals"))? {
        ensure!(section == "Function", "template.yaml, Globals: {section} is not known");
        shared = resolver.value(value).context("template.yaml, Globals")?;
    }
    Ok(shared)
}
