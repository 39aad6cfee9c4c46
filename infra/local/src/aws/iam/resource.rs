//! Policies of resources: whether a queue's or a topic's own policy lets another AWS service use it.
//!
//! Functions are held to their roles; services of AWS, which have none, to the policy of what they use. A statement that is
//! not understood here never allows and always denies, so that a mistake shows as a refusal.

use serde_json::Value;

use super::super::arn::ACCOUNT;
use super::statement::like;

/// What a service asks a resource's policy for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The service, such as `sns.amazonaws.com`.
    pub(crate) service: &'a str,
    /// The action, such as `sqs:SendMessage`.
    pub(crate) action: &'a str,
    /// The ARN of what the policy belongs to.
    pub(crate) resource: &'a str,
    /// The ARN of what the service acts for, such as a topic.
    pub(crate) source: &'a str,
}

/// Whether the policy lets the service do what it asks for. The source is in this account.
pub(crate) fn allows(policy: &Value, asked: Asked<'_>) -> bool {
    let statements = list(policy.get("Statement"));
    let any = |effect: &str, unknown: bool| {
        let is_of = |statement: &&&Value| statement.get("Effect").and_then(Value::as_str) == Some(effect);
        let mut found = statements.iter().filter(is_of);
        found.any(|statement| asked.applies(statement).unwrap_or(unknown))
    };
    !any("Deny", true) && any("Allow", false)
}

impl Asked<'_> {
    /// Whether a statement is about what is asked and its conditions hold; `None` where it is not understood.
    fn applies(&self, statement: &Value) -> Option<bool> {
        let negated = ["NotPrincipal", "NotAction", "NotResource"];
        if negated.iter().any(|name| statement.get(name).is_some()) {
            return None;
        }
        if self.fits(statement) {
            self.holds(statement)
        } else {
            Some(false)
        }
    }

    /// Whether a statement speaks of this service, action and resource.
    fn fits(&self, statement: &Value) -> bool {
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| texts(statement.get(name)).into_iter().any(fits);
        let principal = statement.get("Principal");
        let is_everyone = |value: Option<&Value>| texts(value).contains(&"*");
        let is_principal = is_everyone(principal)
            || is_everyone(principal.and_then(|principal| principal.get("AWS")))
            || texts(principal.and_then(|principal| principal.get("Service"))).contains(&self.service);
        let action = self.action.to_ascii_lowercase();
        is_principal
            && any("Action", &|pattern| like(&pattern.to_ascii_lowercase(), &action))
            && any("Resource", &|pattern| like(pattern, self.resource))
    }

    /// Whether all conditions of a statement hold; `None` where one is not understood.
    fn holds(&self, statement: &Value) -> Option<bool> {
        let Some(conditions) = statement.get("Condition") else {
            return Some(true);
        };
        let mut holds = true;
        for (operator, keys) in conditions.as_object()? {
            for (key, wanted) in keys.as_object()? {
                // What a service's call carries ("Global condition context keys", IAM User Guide). It has no owner and no
                // organisation, so a condition on those does not hold.
                let found = match key.to_ascii_lowercase().as_str() {
                    "aws:sourcearn" => Some(self.source),
                    "aws:sourceaccount" => Some(ACCOUNT),
                    "aws:securetransport" => Some("true"),
                    "aws:sourceowner" | "aws:sourceorgid" | "aws:principalorgid" => None,
                    _ => return None,
                };
                let is_like = match operator.as_str() {
                    "StringEquals" | "Bool" => false,
                    "StringLike" | "ArnLike" | "ArnEquals" => true,
                    // Among the others are those that hold for a key that is absent, such as StringNotEquals.
                    _ => return None,
                };
                let mut is_any = false;
                for wanted in list(Some(wanted)) {
                    let wanted = match wanted {
                        Value::String(text) => text.clone(),
                        Value::Bool(is_true) => is_true.to_string(),
                        _ => return None,
                    };
                    is_any |= found.is_some_and(|found| if is_like { like(&wanted, found) } else { wanted == found });
                }
                holds &= is_any;
            }
        }
        Some(holds)
    }
}

/// One value or a list of values.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    }
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    list(value).into_iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:events";
    const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:events";

    #[test]
    fn a_service_may_do_what_a_statement_allows_and_none_denies() {
        let allow = json!({"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": QUEUE, "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}}});
        let by_tls = json!({"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": QUEUE,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}});
        let with = |name: &str, value: Value| {
            let mut statement = allow.clone();
            statement[name] = value;
            vec![statement]
        };
        let deny = json!({"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["SQS:Send*"], "Resource": "*"});
        let strange = |effect: &str| {
            json!({"Effect": effect, "Principal": "*", "Action": "sqs:*", "Resource": "*",
            "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}})
        };
        let denied = |name: &str, value: Value| {
            let mut statement = json!({"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"});
            statement[name] = value;
            statement
        };
        let negated = |key: &str| json!({"StringNotEquals": {key: "x"}});
        let owner = json!({"StringEquals": {"AWS:SourceOwner": "000000000000"}});
        let account = json!({"StringEquals": {"aws:SourceAccount": ["1", "000000000000"]}});
        for (statements, expected) in [
            (vec![allow.clone(), by_tls], true),
            (Vec::new(), false),
            (with("Principal", json!({"Service": "ses.amazonaws.com"})), false),
            (with("Principal", json!("*")), true),
            (with("Action", json!("sqs:ReceiveMessage")), false),
            (with("Action", json!(["SQS:sendmessage"])), true),
            (
                with("Resource", json!("arn:aws:sqs:us-east-1:000000000000:other")),
                false,
            ),
            (
                with(
                    "Condition",
                    json!({"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-east-1:000000000000:other"}}),
                ),
                false,
            ),
            (with("Condition", account), true),
            (with("Condition", owner), false),
            (vec![allow.clone(), deny], false),
            (vec![allow.clone(), strange("Deny")], false),
            (vec![strange("Allow")], false),
            (
                vec![allow.clone(), denied("Condition", negated("aws:SourceOwner"))],
                false,
            ),
            (
                vec![allow.clone(), denied("Condition", negated("aws:SourceArn"))],
                false,
            ),
            (with("Condition", negated("aws:SourceOwner")), false),
            (vec![allow.clone(), denied("Condition", json!("none"))], false),
            (with("Condition", json!([])), false),
            (vec![allow.clone(), denied("NotPrincipal", json!({"AWS": "*"}))], false),
            (vec![allow.clone(), denied("NotAction", json!("sqs:Receive*"))], false),
            (vec![allow.clone(), denied("NotResource", json!(TOPIC))], false),
            (with("NotResource", json!(TOPIC)), false),
            (
                vec![
                    allow.clone(),
                    denied("Condition", json!({"Bool": {"aws:SecureTransport": true}})),
                ],
                false,
            ),
            (
                vec![
                    allow.clone(),
                    denied("Condition", json!({"Bool": {"aws:SecureTransport": false}})),
                ],
                true,
            ),
            (vec![allow.clone(), denied("Action", json!("sqs:PurgeQueue"))], true),
        ] {
            let asked = Asked {
                service: "sns.amazonaws.com",
                action: "sqs:SendMessage",
                resource: QUEUE,
                source: TOPIC,
            };
            assert_eq!(
                allows(&json!({"Statement": statements}), asked),
                expected,
                "{statements:?}"
            );
        }
        assert!(allows(
            &json!({"Statement": allow}),
            Asked {
                service: "sns.amazonaws.com",
                action: "sqs:SendMessage",
                resource: QUEUE,
                source: TOPIC
            }
        ));
    }
}
