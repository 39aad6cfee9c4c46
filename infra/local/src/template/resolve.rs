//! The intrinsic functions of CloudFormation, as far as `template.yaml` uses them.
//!
//! A reference to what the template does not declare is an error, and so is a function that is not known here: nothing is
//! passed over in silence.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use serde_yaml_ng::Value as Yaml;
use serde_yaml_ng::value::TaggedValue;

use super::{ACCOUNT, PARTITION, REGION, Settings};

/// A template with the values that its functions may refer to.
pub(super) struct Resolver<'a> {
    settings: &'a Settings,
    parameters: BTreeMap<String, Value>,
    conditions: &'a Yaml,
    resources: BTreeMap<String, Resource>,
}

/// What is known of a resource before its properties are resolved.
struct Resource {
    kind: String,
    /// `TableName`, `BucketName` … where the template gives one.
    name: Option<Yaml>,
    stage: Option<String>,
}

/// The property that names a resource of this type, where `Ref` answers with the name.
fn name_property(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "AWS::DynamoDB::Table" => "TableName",
        "AWS::S3::Bucket" => "BucketName",
        "AWS::SQS::Queue" => "QueueName",
        "AWS::SNS::Topic" => "TopicName",
        "AWS::SES::ConfigurationSet" => "Name",
        "AWS::Serverless::Function" => "FunctionName",
        "AWS::KMS::Alias" => "AliasName",
        "AWS::Logs::LogGroup" => "LogGroupName",
        _ => return None,
    })
}

impl<'a> Resolver<'a> {
    /// Reads the parameters, their defaults, the conditions and the names of all resources.
    pub(super) fn new(document: &'a Yaml, settings: &'a Settings) -> Result<Self> {
        let mut parameters = BTreeMap::new();
        for (name, declaration) in entries(document.get("Parameters"))? {
            let value = match settings.parameters.get(&name) {
                Some(value) => Value::String(value.clone()),
                None => {
                    let default = declaration.get("Default");
                    serde_json::to_value(default.with_context(|| format!("the parameter {name} has no value"))?)?
                }
            };
            parameters.insert(name, value);
        }
        for name in settings.parameters.keys() {
            ensure!(parameters.contains_key(name), "the template has no parameter {name}");
        }
        let mut resources = BTreeMap::new();
        for (logical, declaration) in entries(document.get("Resources"))? {
            let kind = declaration.get("Type").and_then(Yaml::as_str);
            let kind = kind.with_context(|| format!("{logical} has no type"))?.to_owned();
            let property = |name: &str| {
                declaration
                    .get("Properties")
                    .and_then(|properties| properties.get(name))
            };
            let resource = Resource {
                name: name_property(&kind).and_then(property).cloned(),
                stage: property("StageName").and_then(Yaml::as_str).map(str::to_owned),
                kind,
            };
            resources.insert(logical, resource);
        }
        Ok(Self {
            settings,
            parameters,
            conditions: document.get("Conditions").unwrap_or(&Yaml::Null),
            resources,
        })
    }

    /// The value with every function in it replaced by what it stands for.
    pub(super) fn value(&self, value: &Yaml) -> Result<Value> {
        Ok(match value {
            Yaml::Tagged(tagged) => self.function(tagged)?,
            Yaml::Sequence(items) => {
                let items = items.iter().map(|item| self.value(item));
                let items: Vec<_> = items.collect::<Result<_>>()?;
                Value::Array(items.into_iter().filter(|item| !item.is_null()).collect())
            }
            Yaml::Mapping(_) => {
                let mut map = serde_json::Map::new();
                for (key, item) in entries(Some(value))? {
                    ensure!(
                        !key.starts_with("Fn::") && key != "Ref",
                        "{key} is understood in its short form only"
                    );
                    map.insert(key.clone(), self.value(item).with_context(|| key)?);
                }
                Value::Object(map)
            }
            plain => serde_json::to_value(plain)?,
        })
    }

    /// The value as text; numbers and truth values are written out, as CloudFormation does.
    pub(super) fn text(&self, value: &Yaml) -> Result<String> {
        text(self.value(value)?)
    }

    /// Whether the condition of this name holds.
    pub(super) fn holds(&self, condition: &str) -> Result<bool> {
        let rule = self.conditions.get(condition);
        self.truth(rule.with_context(|| format!("there is no condition {condition}"))?)
    }

    /// What `Ref` gives for a resource.
    pub(super) fn reference(&self, logical: &str) -> Result<String> {
        if let Some(made) = self.settings.made.get(logical) {
            return Ok(made.reference.clone());
        }
        let name = self.name(logical)?;
        Ok(match self.resource(logical)?.kind.as_str() {
            "AWS::SQS::Queue" => format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"),
            "AWS::SNS::Topic" => self.arn(logical)?,
            _ => name,
        })
    }

    /// The name of a resource: the one that the template gives, or one made of the stack's name and the logical name.
    pub(super) fn name(&self, logical: &str) -> Result<String> {
        let resource = self.resource(logical)?;
        match &resource.name {
            Some(name) => self.text(name).with_context(|| format!("the name of {logical}")),
            None => Ok(match resource.kind.as_str() {
                "AWS::S3::Bucket" => format!("{}-{logical}", self.settings.stack).to_ascii_lowercase(),
                "AWS::DynamoDB::Table" | "AWS::SQS::Queue" | "AWS::SNS::Topic" => {
                    format!("{}-{logical}", self.settings.stack)
                }
                _ => logical.to_owned(),
            }),
        }
    }

    /// The ARN of a resource.
    pub(super) fn arn(&self, logical: &str) -> Result<String> {
        if let Some(made) = self.settings.made.get(logical) {
            return Ok(made.arn.clone());
        }
        let name = self.name(logical)?;
        let tail = match self.resource(logical)?.kind.as_str() {
            "AWS::DynamoDB::Table" => format!("dynamodb:{REGION}:{ACCOUNT}:table/{name}"),
            "AWS::S3::Bucket" => format!("s3:::{name}"),
            "AWS::SQS::Queue" => format!("sqs:{REGION}:{ACCOUNT}:{name}"),
            "AWS::SNS::Topic" => format!("sns:{REGION}:{ACCOUNT}:{name}"),
            "AWS::KMS::Key" => format!("kms:{REGION}:{ACCOUNT}:key/{name}"),
            "AWS::Serverless::Function" => format!("lambda:{REGION}:{ACCOUNT}:function:{name}"),
            "AWS::Logs::LogGroup" => format!("logs:{REGION}:{ACCOUNT}:log-group:{name}:*"),
            "AWS::IAM::Role" => format!("iam::{ACCOUNT}:role/{name}"),
            "AWS::WAFv2::WebACL" => format!("wafv2:{REGION}:{ACCOUNT}:regional/webacl/{name}"),
            kind => bail!("{logical} ({kind}) has no ARN that is known here"),
        };
        Ok(format!("arn:{PARTITION}:{tail}"))
    }

    fn resource(&self, logical: &str) -> Result<&Resource> {
        let resource = self.resources.get(logical);
        resource.with_context(|| format!("the template declares no {logical}"))
    }

    fn function(&self, tagged: &TaggedValue) -> Result<Value> {
        let name = tagged.tag.to_string();
        let inner = &tagged.value;
        Ok(match name.as_str() {
            "!Ref" => self.named(inner.as_str().context("Ref takes a name")?)?,
            "!GetAtt" => Value::String(self.attribute(&self.attribute_name(inner)?)?),
            "!Sub" => Value::String(self.substitute(inner)?),
            "!Join" => {
                let [separator, items] = arguments::<2>(inner, "Join")?;
                let separator = self.text(separator)?;
                Value::String(self.texts(items)?.join(&separator))
            }
            "!Split" => {
                let [separator, subject] = arguments::<2>(inner, "Split")?;
                let (separator, subject) = (self.text(separator)?, self.text(subject)?);
                subject.split(separator.as_str()).map(Value::from).collect()
            }
            "!Select" => {
                let [index, items] = arguments::<2>(inner, "Select")?;
                let index: usize = self.text(index)?.parse()?;
                let item = self.texts(items)?.into_iter().nth(index);
                Value::String(item.context("Select has no such item")?)
            }
            "!If" => {
                let [condition, then, otherwise] = arguments::<3>(inner, "If")?;
                let holds = self.holds(condition.as_str().context("If takes the name of a condition")?)?;
                // Both branches are resolved, so that a mistake in the one that is not taken shows as well.
                let (then, otherwise) = (self.value(then)?, self.value(otherwise)?);
                if holds { then } else { otherwise }
            }
            "!Equals" | "!Not" | "!And" | "!Or" | "!Condition" => Value::Bool(self.decide(&name, inner)?),
            other => bail!("the function {other} is not known here"),
        })
    }

    fn truth(&self, rule: &Yaml) -> Result<bool> {
        match rule {
            Yaml::Tagged(tagged) => self.decide(&tagged.tag.to_string(), &tagged.value),
            _ => bail!("a condition is a function"),
        }
    }

    fn decide(&self, name: &str, inner: &Yaml) -> Result<bool> {
        let parts = || inner.as_sequence().with_context(|| format!("{name} takes a list"));
        Ok(match name {
            "!Equals" => {
                let [left, right] = arguments::<2>(inner, "Equals")?;
                self.text(left)? == self.text(right)?
            }
            "!Not" => {
                let [rule] = arguments::<1>(inner, "Not")?;
                !self.truth(rule)?
            }
            "!And" => parts()?
                .iter()
                .try_fold(true, |all, rule| anyhow::Ok(self.truth(rule)? && all))?,
            "!Or" => parts()?
                .iter()
                .try_fold(false, |any, rule| anyhow::Ok(self.truth(rule)? || any))?,
            "!Condition" => self.holds(inner.as_str().context("Condition takes a name")?)?,
            other => bail!("{other} is no condition"),
        })
    }

    fn named(&self, name: &str) -> Result<Value> {
        if let Some(value) = self.parameters.get(name) {
            return Ok(value.clone());
        }
        Ok(Value::String(match name {
            "AWS::Region" => REGION.to_owned(),
            "AWS::AccountId" => ACCOUNT.to_owned(),
            "AWS::Partition" => PARTITION.to_owned(),
            "AWS::URLSuffix" => "amazonaws.com".to_owned(),
            "AWS::StackName" => self.settings.stack.clone(),
            "AWS::NoValue" => return Ok(Value::Null),
            _ => match name.strip_suffix(".Stage") {
                Some(api) => {
                    let stage = self.resource(api)?.stage.clone();
                    stage.with_context(|| format!("{api} has no stage"))?
                }
                None => self.reference(name)?,
            },
        }))
    }

    fn attribute_name(&self, inner: &Yaml) -> Result<String> {
        match inner.as_str() {
            Some(name) => Ok(name.to_owned()),
            None => Ok(self.texts(inner)?.join(".")),
        }
    }

    fn attribute(&self, name: &str) -> Result<String> {
        let (logical, attribute) = name
            .split_once('.')
            .context("GetAtt takes a resource and an attribute")?;
        match (self.resource(logical)?.kind.as_str(), attribute) {
            (_, "Arn") => self.arn(logical),
            ("AWS::SQS::Queue", "QueueName") => self.name(logical),
            ("AWS::SQS::Queue", "QueueUrl") => self.reference(logical),
            ("AWS::SNS::Topic", "TopicArn") => self.arn(logical),
            ("AWS::SNS::Topic", "TopicName") => self.name(logical),
            ("AWS::ApiGateway::DomainName", "RegionalDomainName") => Ok(format!("{logical}.execute-api.invalid")),
            (kind, attribute) => bail!("{kind} has no attribute {attribute} that is known here"),
        }
    }

    fn substitute(&self, inner: &Yaml) -> Result<String> {
        let (pattern, values) = match inner {
            Yaml::String(pattern) => (pattern.as_str(), BTreeMap::new()),
            _ => {
                let [pattern, values] = arguments::<2>(inner, "Sub")?;
                let mut own = BTreeMap::new();
                for (name, value) in entries(Some(values))? {
                    own.insert(name, self.text(value)?);
                }
                (pattern.as_str().context("Sub takes a text")?, own)
            }
        };
        let mut out = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let (name, after) = after.split_once('}').context("Sub has an open brace")?;
            match (values.get(name), name.strip_prefix('!')) {
                (Some(value), _) => out.push_str(value),
                (None, Some(literal)) => out.push_str(&format!("${{{literal}}}")),
                (None, None) if name.contains('.') && !name.ends_with(".Stage") => {
                    out.push_str(&self.attribute(name)?);
                }
                (None, None) => out.push_str(&text(self.named(name)?)?),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn texts(&self, items: &Yaml) -> Result<Vec<String>> {
        match self.value(items)? {
            Value::Array(items) => items.into_iter().map(text).collect(),
            _ => bail!("a list is expected"),
        }
    }
}

/// The entries of a mapping whose keys are texts; none for what is absent.
pub(super) fn entries(mapping: Option<&Yaml>) -> Result<Vec<(String, &Yaml)>> {
    let Some(mapping) = mapping else {
        return Ok(Vec::new());
    };
    let mapping = mapping.as_mapping().context("a mapping is expected")?;
    let entry = |(key, value): (&Yaml, _)| match key.as_str() {
        Some(key) => Ok((key.to_owned(), value)),
        None => bail!("a key that is no text"),
    };
    mapping.iter().map(|(key, value)| entry((key, value))).collect()
}

fn arguments<'y, const N: usize>(inner: &'y Yaml, function: &str) -> Result<[&'y Yaml; N]> {
    let items = inner.as_sequence().map(|items| items.iter().collect::<Vec<_>>());
    let items = items.and_then(|items| items.try_into().ok());
    items.with_context(|| format!("{function} takes a list of {N}"))
}

fn text(value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => bail!("a text is expected"),
    }
}
