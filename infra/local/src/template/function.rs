//! Functions: their environment, role and what starts them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::properties::Properties;
use super::{Function, QueueSource, Route, Schedule, Statement};

/// Reads a function: its own properties over those that all share.
pub(super) fn read(logical: String, mut metadata: Properties, own: Properties, globals: &Value) -> Result<Function> {
    let mut properties = own.over(globals)?;
    let mut build = metadata.nested("BuildProperties")?;
    let binary = build.required("Binary")?;
    build.finish()?;
    metadata.ignore(&["BuildMethod"]).finish()?;

    let mut function = Function {
        name: properties.required("FunctionName")?,
        binary,
        timeout: Duration::from_secs(properties.required("Timeout")?),
        environment: environment(&mut properties)?,
        statements: statements(&mut properties)?,
        routes: Vec::new(),
        queues: Vec::new(),
        schedules: Vec::new(),
        logical,
    };
    for (name, event) in properties.required::<Map<String, Value>>("Events")? {
        source(&mut function, &name, event).with_context(|| format!("event {name}"))?;
    }
    // How Lambda builds, sizes and watches it. Retries of failed schedule runs are off, here as there.
    properties.ignore(&[
        "Runtime",
        "Handler",
        "CodeUri",
        "Architectures",
        "MemorySize",
        "Tracing",
        "Description",
        "LoggingConfig",
        "EventInvokeConfig",
    ]);
    properties.finish()?;
    Ok(function)
}

fn environment(properties: &mut Properties) -> Result<BTreeMap<String, String>> {
    let mut environment = properties.nested("Environment")?;
    let variables = environment.required("Variables")?;
    environment.finish()?;
    Ok(variables)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(value: OneOrMany) -> Self {
        match value {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

fn statements(properties: &mut Properties) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    for policy in properties.required::<Vec<Value>>("Policies")? {
        let mut policy = Properties::new("Policies", policy)?;
        for statement in policy.required::<Vec<Value>>("Statement")? {
            let mut statement = Properties::new("Statement", statement)?;
            let effect: String = statement.required("Effect")?;
            ensure!(effect == "Allow", "a role here only allows");
            statements.push(Statement {
                sid: statement.required("Sid")?,
                actions: statement.required::<OneOrMany>("Action")?.into(),
                resources: statement.required::<OneOrMany>("Resource")?.into(),
                condition: statement.optional("Condition")?,
            });
            statement.finish()?;
        }
        policy.ignore(&["Version"]).finish()?;
    }
    Ok(statements)
}

fn source(function: &mut Function, name: &str, event: Value) -> Result<()> {
    let mut event = Properties::new(name, event)?;
    let kind: String = event.required("Type")?;
    let mut properties = event.nested("Properties")?;
    event.finish()?;
    match kind.as_str() {
        "Api" => function.routes.push(route(&mut properties)?),
        "SQS" => function.queues.push(queue(&mut properties)?),
        "ScheduleV2" => function.schedules.push(schedule(name, &mut properties)?),
        kind => bail!("the local run does not know the event type {kind}"),
    }
    properties.finish()
}

fn route(properties: &mut Properties) -> Result<Route> {
    let mut auth = properties.nested("Auth")?;
    let authorizer: Option<String> = auth.optional("Authorizer")?;
    auth.ignore(&["InvokeRole"]).finish()?;
    let needs_iam = match authorizer.as_deref() {
        None => false,
        Some("AWS_IAM") => true,
        Some(other) => bail!("the local run does not know the authorizer {other}"),
    };
    let method: String = properties.required("Method")?;
    let path: String = properties.required("Path")?;
    ensure!(
        path.starts_with('/') && !path.contains('+'),
        "{path} is no path that the local run knows"
    );
    Ok(Route {
        api: properties.required("RestApiId")?,
        method: method.to_ascii_uppercase(),
        path,
        needs_iam,
    })
}

fn queue(properties: &mut Properties) -> Result<QueueSource> {
    let arn = properties.required("Queue")?;
    let types: Vec<String> = properties.optional("FunctionResponseTypes")?.unwrap_or_default();
    let mut scaling = properties.nested("ScalingConfig")?;
    let concurrency: Option<usize> = scaling.optional("MaximumConcurrency")?;
    scaling.finish()?;
    Ok(QueueSource {
        arn,
        // Lambda's default for a queue.
        batch_size: properties.optional("BatchSize")?.unwrap_or(10),
        reports_failures: types.iter().any(|kind| kind == "ReportBatchItemFailures"),
        concurrency: concurrency.unwrap_or(2).max(2),
    })
}

fn schedule(name: &str, properties: &mut Properties) -> Result<Schedule> {
    let expression: String = properties.required("ScheduleExpression")?;
    let input: String = properties.required("Input")?;
    let mut dead_letter = properties.nested("DeadLetterConfig")?;
    let arn = dead_letter.optional("Arn")?;
    dead_letter.finish()?;
    properties.ignore(&["Description", "RetryPolicy"]);
    Ok(Schedule {
        name: name.to_owned(),
        every: rate(&expression).with_context(|| format!("{expression} is no rate"))?,
        input: serde_json::from_str(&input).context("the input of a schedule is JSON")?,
        dead_letter: arn,
    })
}

/// `rate(5 minutes)` as a duration.
fn rate(expression: &str) -> Option<Duration> {
    let (number, unit) = expression.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (expression, seconds) in [
            ("rate(1 minute)", Some(60)),
            ("rate(5 minutes)", Some(300)),
            ("rate(2 hours)", Some(7_200)),
            ("rate(1 day)", Some(86_400)),
            ("rate(0 minutes)", None),
            ("rate(1 fortnight)", None),
            ("cron(0 3 * * ? *)", None),
        ] {
            assert_eq!(rate(expression), seconds.map(Duration::from_secs), "{expression}");
        }
    }
}
