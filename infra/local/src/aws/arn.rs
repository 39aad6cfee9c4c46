//! The one region and account of the local AWS, and how its resources are named.

/// The only region.
pub const REGION: &str = "us-east-1";
/// The only account.
pub const ACCOUNT: &str = "000000000000";

/// The ARN of a resource of this region and account: `kms` and `key/…`, `sqs` and a queue's name.
#[must_use]
pub fn of(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}")
}

/// The ARN of a table, from its name or its ARN.
#[must_use]
pub fn table(name_or_arn: &str) -> String {
    if name_or_arn.starts_with("arn:") {
        name_or_arn.to_owned()
    } else {
        of("dynamodb", &format!("table/{name_or_arn}"))
    }
}

/// Whether a text can name a queue, a topic, a configuration set or a tag, of which each has its own longest name.
pub(crate) fn is_name(text: &str, longest: usize) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= longest && text.bytes().all(is_part)
}
