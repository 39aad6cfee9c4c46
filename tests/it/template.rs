//! Promise: what `template.yaml` declares and what the code does are the same thing, and fail-closed settings stay on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealpost_core::config;
use sealpost_local::system::{Options, System};
use sealpost_local::template::{Function, Queue, Settings, TEXT, Template};
use serde_yaml_ng::Value as Yaml;

/// Read by lambda_http and not by us.
const FOREIGN_VARIABLE: &str = "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn template() -> Template {
    let settings = Settings {
        stack: "sealpost".to_owned(),
        parameters: BTreeMap::from([("PortalUrl".to_owned(), "https://mail.clinic.example".to_owned())]),
        made: BTreeMap::new(),
    };
    Template::parse(TEXT, &settings).unwrap()
}

fn queue<'a>(template: &'a Template, arn: &str) -> &'a Queue {
    template.queues.iter().find(|queue| queue.arn == arn).unwrap()
}

/// Names of the folders in `functions/` that are deployed, which are those with a `main.rs`.
fn deployed() -> BTreeSet<String> {
    let folders = fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let deployed = folders.filter(|folder| folder.join("src/main.rs").exists());
    deployed
        .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn package(folder: &Path) -> String {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
    name.trim_matches('"').to_owned()
}

#[test]
fn one_name_in_six_places() {
    let template = template();
    let binaries: BTreeSet<String> = template
        .functions
        .iter()
        .map(|function| function.binary.clone())
        .collect();
    assert_eq!(binaries, deployed());
    for Function { binary, logical, .. } in &template.functions {
        let (first, rest) = binary.split_at(1);
        assert_eq!(*logical, format!("{}{rest}Function", first.to_uppercase()));
        assert_eq!(package(&root().join("functions").join(binary)), *binary);
        let events = root().join("events").join(binary);
        assert!(
            fs::read_dir(&events).is_ok_and(|mut files| files.next().is_some()),
            "events/{binary} has no sample"
        );
        assert!(
            root().join("tests/it").join(format!("{binary}.rs")).exists(),
            "tests/it/{binary}.rs is missing"
        );
    }
}

#[test]
fn every_variable_is_a_constant_and_the_reverse() {
    let constants: BTreeSet<&str> = config::VARIABLES.into_iter().chain([FOREIGN_VARIABLE]).collect();
    for function in &template().functions {
        let declared: BTreeSet<&str> = function.environment.keys().map(String::as_str).collect();
        assert_eq!(declared, constants, "{}", function.logical);
    }
}

#[test]
fn every_route_in_the_code_is_in_the_template_and_the_reverse() {
    let template = template();
    type Routes<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    let in_code: [Routes<'_>; 3] = [
        ("send", "CallersApi", &send::ROUTES),
        ("admin", "CallersApi", &admin::ROUTES),
        ("portal", "PortalApi", &portal::ROUTES),
    ];
    for function in &template.functions {
        let code = in_code.iter().find(|(binary, ..)| *binary == function.binary);
        let routes = function
            .routes
            .iter()
            .map(|route| (route.api.as_str(), route.method.as_str(), route.path.as_str()));
        let routes: BTreeSet<_> = routes.collect();
        let expected = code
            .into_iter()
            .flat_map(|(_, api, routes)| routes.iter().map(|(method, path)| (*api, *method, *path)));
        assert_eq!(routes, expected.collect(), "{}", function.logical);
    }
}

#[tokio::test]
async fn every_route_in_the_template_answers() {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let options = Options {
        data: None,
        api: anywhere,
        portal: anywhere,
        mailbox: anywhere,
        aws: None,
    };
    let system = System::start(options).await.unwrap();
    let client = reqwest::Client::new();
    for route in system.template.functions.iter().flat_map(|function| &function.routes) {
        let base = if route.api == "PortalApi" {
            system.portal
        } else {
            system.api
        };
        let path: Vec<_> = route
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect();
        let url = format!("http://{base}{}", path.join("/"));
        let answer = client.request(route.method.parse().unwrap(), url).send().await.unwrap();
        let status = answer.status().as_u16();
        let what = format!("{} {} answers {status}", route.method, route.path);
        match (route.api.as_str(), route.needs_iam) {
            // What needs a signature never reaches the function without one.
            (_, true) => assert!([403, 404].contains(&status), "{what}"),
            // No key was shown, so whatever needs one says so, and only what needs none answers.
            ("CallersApi", false) => assert!([200, 401].contains(&status), "{what}"),
            // A message that is not there is a 404 too; an unknown method would be a 405.
            _ => assert!(status < 500 && status != 405, "{what}"),
        }
    }
    system.stop().await;
}

#[test]
fn a_queue_consumer_reports_partial_failures_and_has_a_dead_letter_queue_and_alarms() {
    let template = template();
    let watches = |queue: &Queue, metric: &str| {
        template
            .alarms
            .iter()
            .any(|alarm| alarm.metric == metric && alarm.watched.contains(&queue.name))
    };
    let mut n_consumers = 0;
    for function in &template.functions {
        for source in &function.queues {
            n_consumers += 1;
            let queue = queue(&template, &source.arn);
            assert!(source.reports_failures, "{}: ReportBatchItemFailures", function.logical);
            let visibility = Duration::from_secs(queue.visibility_timeout_s.into());
            assert!(visibility >= function.timeout * 6, "{}: visibility", queue.logical);
            let (target, n_receives) = queue.redrive.as_ref().unwrap();
            assert!(*n_receives >= 5, "{}: maxReceiveCount", queue.logical);
            let dead = self::queue(&template, target);
            assert!(
                dead.redrive.is_none() && dead.retention_s > queue.retention_s,
                "{}",
                dead.logical
            );
            assert!(
                watches(dead, "ApproximateNumberOfMessagesVisible"),
                "{}: alarm",
                dead.logical
            );
            assert!(
                watches(queue, "ApproximateAgeOfOldestMessage"),
                "{}: alarm",
                queue.logical
            );
        }
        for schedule in &function.schedules {
            let dead = self::queue(&template, schedule.dead_letter.as_deref().unwrap());
            assert!(
                watches(dead, "ApproximateNumberOfMessagesVisible"),
                "{}: alarm",
                dead.logical
            );
        }
        let errors = template
            .alarms
            .iter()
            .any(|alarm| alarm.metric == "Errors" && alarm.watched.contains(&function.name));
        assert!(errors, "{}: alarm", function.logical);
    }
    assert_eq!(n_consumers, 3);
}

#[test]
fn what_a_topic_sends_is_kept_until_somebody_takes_it() {
    let template = template();
    let watches = |queue: &Queue, metric: &str| {
        let mut alarms = template.alarms.iter();
        alarms.any(|alarm| alarm.metric == metric && alarm.watched.contains(&queue.name))
    };
    assert!(!template.subscriptions.is_empty());
    for subscription in &template.subscriptions {
        let logical = &subscription.logical;
        let taken = queue(&template, &subscription.endpoint);
        let lost = queue(&template, subscription.dead_letter.as_deref().unwrap());
        let (failed, n_receives) = taken.redrive.as_ref().unwrap();
        assert!(*n_receives >= 5, "{logical}: maxReceiveCount");
        for dead in [lost, queue(&template, failed)] {
            assert!(
                dead.redrive.is_none() && dead.retention_s > taken.retention_s,
                "{}",
                dead.logical
            );
            assert!(
                watches(dead, "ApproximateNumberOfMessagesVisible"),
                "{}: alarm",
                dead.logical
            );
        }
        assert!(
            watches(taken, "ApproximateAgeOfOldestMessage"),
            "{}: alarm",
            taken.logical
        );
        // Events name addresses and subjects.
        let topic = template
            .topics
            .iter()
            .find(|topic| topic.arn == subscription.topic)
            .unwrap();
        let keys = [&topic.kms_key, &taken.kms_key, &lost.kms_key];
        assert!(
            keys.iter()
                .all(|key| key.as_deref() == Some(template.keys[0].arn.as_str())),
            "{logical}: key"
        );
    }
    // Every event of both sets, so that no delivery stays in doubt for want of one.
    for set in &template.configuration_sets {
        let destinations = template
            .event_destinations
            .iter()
            .filter(|one| one.set == set.name && one.is_enabled);
        let types: BTreeSet<&str> = destinations
            .flat_map(|one| &one.event_types)
            .map(String::as_str)
            .collect();
        for needed in [
            "SEND",
            "REJECT",
            "BOUNCE",
            "COMPLAINT",
            "DELIVERY",
            "DELIVERY_DELAY",
            "RENDERING_FAILURE",
        ] {
            assert!(types.contains(needed), "{}: {needed}", set.logical);
        }
    }
}

#[test]
fn every_queue_is_reached_by_tls_only() {
    let template = template();
    for queue in &template.queues {
        let of = |policy: &&sealpost_local::template::Policy| {
            policy
                .of
                .iter()
                .any(|url| url.rsplit('/').next() == Some(queue.name.as_str()))
        };
        let policies = template.queue_policies.iter().filter(of);
        let statements = policies.flat_map(|policy| policy.document["Statement"].as_array().unwrap());
        let denies = statements.filter(|statement| statement["Effect"] == "Deny" && statement["Principal"] == "*");
        let by_tls = serde_json::json!({"Bool": {"aws:SecureTransport": "false"}});
        let is_denied = |statement: &serde_json::Value| {
            statement["Condition"] == by_tls
                && statement["Action"] == "sqs:*"
                && statement["Resource"] == queue.arn.as_str()
        };
        assert!(denies.into_iter().any(is_denied), "{}", queue.logical);
    }
}

#[test]
fn mail_that_relies_on_tls_never_falls_back_to_plain_text() {
    let template = template();
    let environment = &template.function("encrypt").unwrap().environment;
    let set = |variable: &str| {
        let name = environment.get(variable).unwrap();
        template
            .configuration_sets
            .iter()
            .find(|set| set.name == *name)
            .unwrap()
    };
    let tls = set(config::TLS_CONFIGURATION_SET);
    assert_eq!(tls.tls_policy, "REQUIRE");
    assert!((300..=900).contains(&tls.max_delivery_s.unwrap()));
    assert_ne!(tls.name, set(config::SEALED_CONFIGURATION_SET).name);
}

#[test]
fn what_holds_messages_is_kept_when_the_stack_goes() {
    let document: Yaml = serde_yaml_ng::from_str(TEXT).unwrap();
    let resources = document.get("Resources").unwrap().as_mapping().unwrap();
    let mut n_kept = 0;
    for (logical, resource) in resources {
        let kind = resource.get("Type").and_then(Yaml::as_str).unwrap();
        if ["AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key"].contains(&kind) {
            n_kept += 1;
            for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
                assert_eq!(
                    resource.get(policy).and_then(Yaml::as_str),
                    Some("Retain"),
                    "{logical:?}"
                );
            }
        }
    }
    assert_eq!(n_kept, 8);
    let template = template();
    assert!(template.tables.iter().all(|table| table.is_protected));
    let archive = template
        .buckets
        .iter()
        .find(|bucket| bucket.logical == "ArchiveBucket")
        .unwrap();
    assert!(archive.has_object_lock && archive.is_versioned);
}

#[test]
fn roles_name_their_actions_and_resources() {
    for function in &template().functions {
        for statement in &function.statements {
            let place = format!("{} {}", function.logical, statement.sid);
            assert!(statement.actions.iter().all(|action| !action.contains('*')), "{place}");
            for resource in &statement.resources {
                // SES knows no resource for the account's own figures (Service Authorization Reference, SES v2).
                if statement.actions == ["ses:GetAccount"] {
                    continue;
                }
                // A key that does not exist yet has no ARN; its tag is the limit.
                let is_bounded = resource != "*" || statement.actions == ["kms:CreateKey"];
                assert!(is_bounded, "{place}");
                assert!(
                    !(resource.ends_with(":key/*") || resource == "*") || statement.condition.is_some(),
                    "{place}"
                );
            }
        }
    }
}

#[test]
fn nothing_writes_down_the_path_of_a_request() {
    // Links hold secrets, and API paths hold addresses: access logs, execution logs, X-Ray and WAF samples would keep them.
    for leak in [
        "$context.path",
        "$context.identity",
        "DataTraceEnabled: true",
        "LoggingLevel: INFO",
        "LoggingLevel: ERROR",
        "TracingEnabled: true",
        "SampledRequestsEnabled: true",
    ] {
        assert!(!TEXT.contains(leak), "{leak}");
    }
    assert_eq!(TEXT.matches("TracingEnabled: false").count(), 2);
}

#[test]
fn nothing_that_is_deployed_depends_on_the_local_run() {
    for function in deployed() {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--package",
                &function,
            ])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).unwrap();
        let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(packages.contains("sealpost-core"), "{function}");
        for foreign in ["sealpost-local", "dynoxide-rs", "s3s", "rusqlite", "sealpost-tests"] {
            assert!(!packages.contains(foreign), "{function} depends on {foreign}");
        }
    }
}

#[test]
fn cfn_lint_finds_nothing() {
    let mut lint = Command::new("cfn-lint");
    let lint = lint
        .args(["--non-zero-exit-code", "informational", "template.yaml"])
        .current_dir(root());
    let lint = lint.output().expect("cfn-lint is installed (pip install cfn-lint)");
    let found = String::from_utf8_lossy(&lint.stdout);
    assert!(
        lint.status.success(),
        "{found}{}",
        String::from_utf8_lossy(&lint.stderr)
    );
}
