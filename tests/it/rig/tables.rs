//! The tables as they are, read and written past every fault and every role.

use sealpost_local::system::sim::Sim;
use serde_json::{Map, Value, json};

/// Items of one table: the name's end and what the rows are.
pub(crate) async fn get(sim: &Sim, table: &str, pk: &str, sk: &str) -> Option<Value> {
    let request = json!({ "TableName": name(sim, table), "Key": { "pk": { "S": pk }, "sk": { "S": sk } } });
    let answer = call(sim, "GetItem", &request).await;
    answer.get("Item").map(plain)
}

/// Writes an item, with DynamoDB's types.
pub(crate) async fn put(sim: &Sim, table: &str, item: &Value) {
    call(sim, "PutItem", &json!({ "TableName": name(sim, table), "Item": item })).await;
}

/// Adds one to a number of an item.
pub(crate) async fn count_up(sim: &Sim, table: &str, pk: &str, sk: &str, field: &str) {
    let request = json!({
        "TableName": name(sim, table), "Key": { "pk": { "S": pk }, "sk": { "S": sk } },
        "UpdateExpression": "SET #field = #field + :one",
        "ExpressionAttributeNames": { "#field": field }, "ExpressionAttributeValues": { ":one": { "N": "1" } },
    });
    call(sim, "UpdateItem", &request).await;
}

/// A partition.
pub(crate) async fn query(sim: &Sim, table: &str, pk: &str) -> Vec<Value> {
    let request = json!({
        "TableName": name(sim, table), "KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": { ":pk": { "S": pk } },
    });
    items(&call(sim, "Query", &request).await)
}

/// A whole table.
pub(crate) async fn scan(sim: &Sim, table: &str) -> Vec<Value> {
    let mut request = json!({ "TableName": name(sim, table) });
    let mut all = Vec::new();
    loop {
        let answer = call(sim, "Scan", &request).await;
        all.extend(items(&answer));
        match answer.get("LastEvaluatedKey") {
            Some(last) if !last.is_null() => request["ExclusiveStartKey"] = last.clone(),
            _ => return all,
        }
    }
}

fn items(answer: &Value) -> Vec<Value> {
    answer["Items"].as_array().unwrap().iter().map(plain).collect()
}

fn name<'s>(sim: &'s Sim, table: &str) -> &'s str {
    let found = sim
        .template
        .tables
        .iter()
        .find(|known| known.logical.starts_with(table));
    &found.unwrap_or_else(|| panic!("no table {table}")).name
}

async fn call(sim: &Sim, operation: &str, request: &Value) -> Value {
    let answer = sim.aws.dynamodb.call(operation, request.to_string().as_bytes()).await;
    assert!(
        answer.status.is_success(),
        "{operation}: {}",
        String::from_utf8_lossy(&answer.body)
    );
    serde_json::from_slice(&answer.body).unwrap()
}

/// An item without DynamoDB's types. Bytes are shown by their length: what they hold is sealed.
pub(crate) fn plain(item: &Value) -> Value {
    let fields = item.as_object().unwrap();
    Value::Object(
        fields
            .iter()
            .map(|(name, value)| (name.clone(), untyped(value)))
            .collect(),
    )
}

fn untyped(value: &Value) -> Value {
    let (kind, inner) = value.as_object().and_then(|typed| typed.iter().next()).unwrap();
    match kind.as_str() {
        "N" => serde_json::from_str(inner.as_str().unwrap()).unwrap(),
        "L" => inner.as_array().unwrap().iter().map(untyped).collect(),
        "M" => {
            let fields: Map<String, Value> = inner
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), untyped(value)))
                .collect();
            Value::Object(fields)
        }
        "B" => json!({ "bytes": inner.as_str().unwrap().len() }),
        "NULL" => Value::Null,
        _ => inner.clone(),
    }
}
