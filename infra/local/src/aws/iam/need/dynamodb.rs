//! What calls of DynamoDB need: the action on every table they touch, and the partition keys they touch there.

use serde_json::{Map, Value};

use super::{Need, text};
use crate::aws::arn;
use crate::aws::dynamodb::Dynamodb;
use crate::aws::wire::Service;

/// Stands for a partition key that cannot be told from the request; only a pattern that allows every key fits it.
const UNKNOWN: &str = "";

pub(super) fn needs(dynamodb: &Dynamodb, operation: &str, body: &Map<String, Value>) -> Vec<Need> {
    let need = |action: &str, table: &str| Need::new(Service::Dynamodb, action, arn::table(table));
    let keyed = |action: &str, table: &str, items: &[&Value]| {
        let partition = dynamodb.partition_key(table);
        let values = items.iter().map(|item| value_of(partition.as_deref(), item)).collect();
        need(action, table).with("dynamodb:LeadingKeys", values)
    };
    match operation {
        "ListTables" => vec![Need::new(Service::Dynamodb, operation, "*")],
        "TransactWriteItems" | "TransactGetItems" => {
            let items = body.get("TransactItems").and_then(Value::as_array);
            let one = |item: &Value| {
                let (kind, part) = item.as_object()?.iter().find(|(_, part)| !part.is_null())?;
                let action = match kind.as_str() {
                    "Put" => "PutItem",
                    "Update" => "UpdateItem",
                    "Delete" => "DeleteItem",
                    "ConditionCheck" => "ConditionCheckItem",
                    _ => "GetItem",
                };
                let table = part.get("TableName")?.as_str()?;
                Some(keyed(
                    action,
                    table,
                    &[part.get("Item").or_else(|| part.get("Key")).unwrap_or(&Value::Null)],
                ))
            };
            // An item that cannot be read is refused by DynamoDB itself, which reads all of them before the first write.
            items.into_iter().flatten().filter_map(one).collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = body.get("RequestItems").and_then(Value::as_object);
            let one = |(table, requests): (&String, &Value)| {
                let keys = requests.get("Keys").or(Some(requests)).and_then(Value::as_array);
                let item = |request| {
                    let put = Value::pointer(request, "/PutRequest/Item");
                    put.or_else(|| Value::pointer(request, "/DeleteRequest/Key"))
                        .unwrap_or(request)
                };
                let items: Vec<&Value> = keys.into_iter().flatten().map(item).collect();
                keyed(operation, table, &items)
            };
            tables.into_iter().flatten().map(one).collect()
        }
        "TagResource" | "UntagResource" | "ListTagsOfResource" => {
            vec![need(operation, text(body, "ResourceArn").unwrap_or("*"))]
        }
        _ => {
            let Some(table) = text(body, "TableName") else {
                return vec![Need::new(Service::Dynamodb, operation, "*")];
            };
            if let Some(item) = body.get("Item").or_else(|| body.get("Key")) {
                return vec![keyed(operation, table, &[item])];
            }
            let mut need = need(operation, table);
            if let Some(index) = text(body, "IndexName") {
                need.resource = format!("{}/index/{index}", need.resource);
            }
            if matches!(operation, "Query" | "Scan") {
                let value = queried(dynamodb.partition_key(table).as_deref(), body);
                need = need.with(
                    "dynamodb:LeadingKeys",
                    vec![value.unwrap_or_else(|| UNKNOWN.to_owned())],
                );
            }
            vec![need]
        }
    }
}

/// The value of the partition key in an item or key.
fn value_of(partition: Option<&str>, item: &Value) -> String {
    let value = partition.and_then(|partition| item.get(partition));
    value.and_then(plain).unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A string or number as text; binary keys stay base64.
fn plain(value: &Value) -> Option<String> {
    let kinds = value.as_object()?;
    ["S", "N", "B"]
        .iter()
        .find_map(|kind| kinds.get(*kind))
        .and_then(Value::as_str)
        .map(str::to_owned)
}

/// The partition key that a query asks for: the value in its `pk = :value`.
fn queried(partition: Option<&str>, body: &Map<String, Value>) -> Option<String> {
    let partition = partition?;
    let expression = text(body, "KeyConditionExpression")?;
    let resolved = |name: &str| {
        let names = body.get("ExpressionAttributeNames");
        names
            .and_then(|names| names.get(name))
            .and_then(Value::as_str)
            .unwrap_or(name)
            == partition
    };
    let spaced = expression.replace('=', " = ").replace(['(', ')'], " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let placeholder = words.windows(3).find_map(|three| match three {
        [name, "=", value] if resolved(name) => Some(*value),
        _ => None,
    })?;
    plain(body.get("ExpressionAttributeValues")?.get(placeholder)?)
}
