//! A queue's attributes: which there are, what they may be, what they are when not given.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::aws::error::AwsError;

/// Attributes as SQS carries them: all values are text.
pub(super) type Attributes = BTreeMap<String, String>;

/// Name, least, most, default (SetQueueAttributes in the SQS API Reference).
const NUMBERS: &[(&str, i64, i64, i64)] = &[
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
    ("KmsDataKeyReusePeriodSeconds", 60, 86_400, 300),
];
/// Kept as they are written.
const TEXTS: &[&str] = &["Policy", "KmsMasterKeyId", "SqsManagedSseEnabled", "RedrivePolicy"];
/// What a queue tells about itself.
pub(super) const READ_ONLY: &[&str] = &[
    "QueueArn",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];
/// Attributes that AWS has and this has not.
const OTHERS: &[&str] = &[
    "RedriveAllowPolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
];

/// When a message goes to which queue instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redrive {
    pub(super) target_arn: String,
    /// A message that was received more often goes there.
    pub(super) max_receives: i64,
}

/// Checks attributes that a caller sets; a text that is empty takes the attribute away.
pub(super) fn check(attributes: &Attributes) -> Result<(), AwsError> {
    for (name, value) in attributes {
        if let Some((_, least, most, _)) = NUMBERS.iter().find(|(known, ..)| known == name) {
            let number = value.parse::<i64>().ok();
            if number.is_none_or(|number| number < *least || number > *most) {
                return Err(wrong(name));
            }
        } else if name == "RedrivePolicy" && !value.is_empty() {
            redrive(value)?;
        } else if name == "Policy" && !value.is_empty() {
            serde_json::from_str::<Map<String, Value>>(value).map_err(|_| wrong(name))?;
        } else if name == "SqsManagedSseEnabled" {
            value.parse::<bool>().map_err(|_| wrong(name))?;
        } else if OTHERS.contains(&name.as_str()) {
            return Err(AwsError::not_implemented(&format!("SQS: queue attribute {name}")));
        } else if !TEXTS.contains(&name.as_str()) {
            return Err(unknown());
        }
    }
    Ok(())
}

/// Whether a name is one that GetQueueAttributes takes.
pub(super) fn is_known(name: &str) -> bool {
    name == "All"
        || READ_ONLY.contains(&name)
        || TEXTS.contains(&name)
        || OTHERS.contains(&name)
        || default(name).is_some()
}

/// What a number is when it was not set.
pub(super) fn default(name: &str) -> Option<i64> {
    NUMBERS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(.., value)| *value)
}

/// All settings of a queue, set or not. The reuse period only says something with a key.
pub(super) fn effective(set: &Attributes) -> Attributes {
    let mut all: Attributes = NUMBERS
        .iter()
        .map(|(name, .., value)| ((*name).to_owned(), value.to_string()))
        .collect();
    if !set.contains_key("KmsMasterKeyId") {
        all.remove("KmsDataKeyReusePeriodSeconds");
        all.insert("SqsManagedSseEnabled".to_owned(), "true".to_owned());
    }
    all.extend(set.clone());
    all
}

/// Reads a RedrivePolicy; the count may be written as a number or as text.
pub(super) fn redrive(policy: &str) -> Result<Redrive, AwsError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(i64),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Policy {
        dead_letter_target_arn: String,
        max_receive_count: Count,
    }
    let Policy {
        dead_letter_target_arn,
        max_receive_count,
    } = serde_json::from_str(policy).map_err(|_| wrong("RedrivePolicy"))?;
    let max_receives = match max_receive_count {
        Count::Number(count) => count,
        Count::Text(count) => count.parse().map_err(|_| wrong("RedrivePolicy"))?,
    };
    if !(1..=1000).contains(&max_receives) {
        return Err(wrong("RedrivePolicy"));
    }
    Ok(Redrive {
        target_arn: dead_letter_target_arn,
        max_receives,
    })
}

/// An attribute that SQS does not have.
pub(super) fn unknown() -> AwsError {
    AwsError::bad_request("InvalidAttributeName", "Unknown Attribute.")
}

fn wrong(name: &str) -> AwsError {
    AwsError::bad_request(
        "InvalidAttributeValue",
        format!("Invalid value for the parameter {name}."),
    )
}
