//! One Allow statement: patterns of actions and resources, and conditions.

use serde_json::Value;

use super::need::Need;

/// Condition keys that are understood; a name after the slash or colon belongs to the key.
const KEYS: [&str; 4] = [
    "aws:ResourceTag/",
    "aws:RequestTag/",
    "kms:EncryptionContext:",
    "dynamodb:LeadingKeys",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    /// `ForAllValues:`: holds when every value of the request fits, also when there is none.
    is_for_all: bool,
    is_like: bool,
    key: String,
    values: Vec<String>,
}

impl Statement {
    /// Reads a statement; the error names what is not understood.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("a statement is not an object")?;
        if let Some(other) = object
            .keys()
            .find(|name| !["Sid", "Effect", "Action", "Resource", "Condition"].contains(&name.as_str()))
        {
            return Err(format!("{other} in a statement is not understood"));
        }
        if object.get("Effect").and_then(Value::as_str) != Some("Allow") {
            return Err("only the effect Allow is understood".to_owned());
        }
        let actions = texts(object.get("Action"), "Action")?;
        if let Some(action) = actions.iter().find(|action| *action != "*" && !action.contains(':')) {
            return Err(format!("action {action} has no service"));
        }
        let conditions = match object.get("Condition") {
            None => Vec::new(),
            Some(conditions) => parse_conditions(conditions)?,
        };
        Ok(Self {
            actions,
            resources: texts(object.get("Resource"), "Resource")?,
            conditions,
        })
    }

    /// Every pair of an action and a resource pattern.
    pub(super) fn grants(&self) -> Vec<(String, String)> {
        let pairs = |action: &String| {
            let action = action.clone();
            self.resources
                .iter()
                .map(move |resource| (action.clone(), resource.clone()))
                .collect::<Vec<_>>()
        };
        self.actions.iter().flat_map(pairs).collect()
    }

    /// The grants that allow what is needed.
    pub(super) fn allow(&self, need: &Need) -> Vec<(String, String)> {
        if !self.conditions.iter().all(|condition| condition.holds(need)) {
            return Vec::new();
        }
        // Actions are compared without regard to case, resources are not (IAM User Guide, "Policy elements").
        let wanted = need.action.to_ascii_lowercase();
        let actions = self
            .actions
            .iter()
            .filter(|action| like(&action.to_ascii_lowercase(), &wanted));
        let resources = |action: &String| {
            let action = action.clone();
            let fitting = self.resources.iter().filter(|resource| like(resource, &need.resource));
            fitting
                .map(move |resource| (action.clone(), resource.clone()))
                .collect::<Vec<_>>()
        };
        actions.flat_map(resources).collect()
    }
}

impl Condition {
    fn holds(&self, need: &Need) -> bool {
        let found = need.facts.get(&self.key).map_or(&[][..], Vec::as_slice);
        let fits = |value: &String| {
            self.values.iter().any(|wanted| {
                if self.is_like {
                    like(wanted, value)
                } else {
                    wanted == value
                }
            })
        };
        (self.is_for_all || !found.is_empty()) && found.iter().all(fits)
    }
}

fn parse_conditions(value: &Value) -> Result<Vec<Condition>, String> {
    let operators = value.as_object().ok_or("a Condition is not an object")?;
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let (is_for_all, plain) = match operator.strip_prefix("ForAllValues:") {
            Some(plain) => (true, plain),
            None => (false, operator.as_str()),
        };
        let is_like = match plain {
            "StringEquals" => false,
            "StringLike" => true,
            _ => return Err(format!("condition operator {operator} is not understood")),
        };
        let keys = keys.as_object().ok_or("a condition is not an object")?;
        for (key, values) in keys {
            if !KEYS
                .iter()
                .any(|known| key == known || (!known.ends_with("Keys") && key.starts_with(known)))
            {
                return Err(format!("condition key {key} is not understood"));
            }
            // The key has many values; without ForAllValues, AWS would hold the condition against one of them only.
            if key == "dynamodb:LeadingKeys" && !is_for_all {
                return Err("dynamodb:LeadingKeys without ForAllValues is not understood".to_owned());
            }
            conditions.push(Condition {
                is_for_all,
                is_like,
                key: key.clone(),
                values: texts(Some(values), key)?,
            });
        }
    }
    Ok(conditions)
}

/// One text or a list of texts; never none.
fn texts(value: Option<&Value>, what: &str) -> Result<Vec<String>, String> {
    let texts: Option<Vec<String>> = match value {
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(list)) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| format!("{what} is not a text or a list of texts"))
}

/// Whether `text` fits `pattern`, in which a star stands for any characters and a question mark for one.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(read) {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(sign), _) if *sign == b'?' || sign == byte => {
                at += 1;
                read += 1;
            }
            (_, Some((place, taken))) => {
                star = Some((place, taken + 1));
                at = place + 1;
                read = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(at).all(|sign| *sign == b'*')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn need(action: &str, resource: &str, facts: &[(&str, &[&str])]) -> Need {
        let facts = facts.iter().map(|(key, values)| {
            (
                (*key).to_owned(),
                values.iter().map(|value| (*value).to_owned()).collect(),
            )
        });
        Need {
            action: action.to_owned(),
            resource: resource.to_owned(),
            facts: facts.collect::<BTreeMap<_, Vec<_>>>(),
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbYbZc", true),
            ("arn:aws:s3:::archive/mail/*", "arn:aws:s3:::archive/mail/x/y", true),
            ("arn:aws:s3:::archive/mail/*", "arn:aws:s3:::archive/other", false),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn statements_allow_what_they_say_and_no_more() {
        let statement = Statement::parse(&json!({
            "Effect": "Allow", "Action": ["dynamodb:Get*", "dynamodb:PutItem"], "Resource": "arn:aws:dynamodb:*:*:table/Mail"
        }))
        .unwrap();
        let mail = "arn:aws:dynamodb:us-east-1:000000000000:table/Mail";
        for (action, resource, allowed) in [
            ("dynamodb:GetItem", mail, true),
            ("DynamoDB:getitem", mail, true),
            ("dynamodb:PutItem", mail, true),
            ("dynamodb:DeleteItem", mail, false),
            (
                "dynamodb:GetItem",
                "arn:aws:dynamodb:us-east-1:000000000000:table/Mail2",
                false,
            ),
            (
                "dynamodb:GetItem",
                "arn:aws:dynamodb:us-east-1:000000000000:table/mail",
                false,
            ),
        ] {
            assert_eq!(
                !statement.allow(&need(action, resource, &[])).is_empty(),
                allowed,
                "{action} {resource}"
            );
        }
    }

    #[test]
    fn conditions_hold_for_what_the_request_says() {
        let of = |operator: &str, key: &str, value: &str| {
            let condition = json!({ operator: { key: value } });
            Statement::parse(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition }))
                .unwrap()
        };
        let tag = "aws:ResourceTag/sealpost:tenant";
        let leading = "dynamodb:LeadingKeys";
        for (statement, key, values, allowed) in [
            (of("StringLike", tag, "ten_*"), tag, &["ten_a"][..], true),
            (of("StringLike", tag, "ten_*"), tag, &["other"], false),
            (of("StringLike", tag, "ten_*"), tag, &[], false),
            (of("StringEquals", tag, "ten_*"), tag, &["ten_a"], false),
            (
                of("StringEquals", "kms:EncryptionContext:tenant", "a"),
                "kms:EncryptionContext:tenant",
                &["a"],
                true,
            ),
            (
                of("ForAllValues:StringEquals", leading, "a"),
                leading,
                &["a", "a"],
                true,
            ),
            (
                of("ForAllValues:StringEquals", leading, "a"),
                leading,
                &["a", "b"],
                false,
            ),
            (of("ForAllValues:StringEquals", leading, "a"), leading, &[], true),
        ] {
            let allows = !statement.allow(&need("kms:Sign", "x", &[(key, values)])).is_empty();
            assert_eq!(allows, allowed, "{statement:?} {values:?}");
        }
    }

    #[test]
    fn what_is_not_understood_does_not_load() {
        let base = json!({ "Effect": "Allow", "Action": "kms:Sign", "Resource": "*" });
        for (name, value, named) in [
            ("Effect", json!("Deny"), "Allow"),
            ("NotAction", json!("kms:*"), "NotAction"),
            ("Action", json!([]), "Action"),
            ("Action", json!("Sign"), "Sign"),
            ("Resource", json!({ "Ref": "Key" }), "Resource"),
            (
                "Condition",
                json!({ "StringEquals": { "aws:SourceIp": "x" } }),
                "aws:SourceIp",
            ),
            ("Condition", json!({ "Null": { "aws:ResourceTag/a": "true" } }), "Null"),
            (
                "Condition",
                json!({ "StringEquals": { "dynamodb:LeadingKeys": "x" } }),
                "ForAllValues",
            ),
        ] {
            let mut statement = base.clone();
            statement[name] = value;
            let refused = Statement::parse(&statement).unwrap_err();
            assert!(refused.contains(named), "{refused}");
        }
    }
}
