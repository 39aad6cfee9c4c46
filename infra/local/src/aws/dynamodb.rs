//! DynamoDB: `dynoxide` behind DynamoDB's operations.
//!
//! `dynoxide` reads members it does not know over silently; here they are refused by name. Its items are durable: every
//! change is an SQLite transaction. Its idempotency tokens live in memory, so a `TransactWriteItems` that is repeated
//! after a restart is a new one. Stamps it puts on tables are the machine's time, not the system clock's, and nothing
//! expires by TTL: a row whose time is over stays until it is deleted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use dynoxide::{Database, DynoxideError};
use http::StatusCode;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::error::AwsError;

/// How an operation is run on a request's text.
type Run = fn(&Database, &[u8]) -> Result<Vec<u8>, Refusal>;

/// Every operation, with the members of its request that `dynoxide` reads.
#[rustfmt::skip]
const OPERATIONS: &[(&str, &[&str], Run)] = &[
    ("CreateTable", &["TableName", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "LocalSecondaryIndexes", "BillingMode", "ProvisionedThroughput", "StreamSpecification", "SSESpecification", "TableClass", "Tags", "DeletionProtectionEnabled", "OnDemandThroughput"], |db, body| answer(body, |request| db.create_table(request))),
    ("DescribeTable", &["TableName"], |db, body| answer(body, |request| db.describe_table(request))),
    ("DeleteTable", &["TableName"], |db, body| answer(body, |request| db.delete_table(request))),
    ("ListTables", &["ExclusiveStartTableName", "Limit"], |db, body| answer(body, |request| db.list_tables(request))),
    ("UpdateTable", &["TableName", "AttributeDefinitions", "GlobalSecondaryIndexUpdates", "StreamSpecification", "DeletionProtectionEnabled", "ProvisionedThroughput", "BillingMode", "TableClass", "OnDemandThroughput"], |db, body| answer(body, |request| db.update_table(request))),
    ("PutItem", &["TableName", "Item", "ReturnValues", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues", "ReturnConsumedCapacity", "ReturnValuesOnConditionCheckFailure", "ReturnItemCollectionMetrics", "Expected", "ConditionalOperator"], |db, body| answer(body, |request| db.put_item(request))),
    ("GetItem", &["TableName", "Key", "ConsistentRead", "ProjectionExpression", "ExpressionAttributeNames", "ReturnConsumedCapacity", "AttributesToGet"], |db, body| answer(body, |request| db.get_item(request))),
    ("UpdateItem", &["TableName", "Key", "UpdateExpression", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues", "ReturnValues", "ReturnConsumedCapacity", "ReturnValuesOnConditionCheckFailure", "ReturnItemCollectionMetrics", "AttributeUpdates", "Expected", "ConditionalOperator"], |db, body| answer(body, |request| db.update_item(request))),
    ("DeleteItem", &["TableName", "Key", "ReturnValues", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues", "ReturnConsumedCapacity", "ReturnValuesOnConditionCheckFailure", "ReturnItemCollectionMetrics", "Expected", "ConditionalOperator"], |db, body| answer(body, |request| db.delete_item(request))),
    ("Query", &["TableName", "KeyConditionExpression", "FilterExpression", "ProjectionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues", "ScanIndexForward", "Limit", "ExclusiveStartKey", "Select", "ConsistentRead", "IndexName", "ReturnConsumedCapacity", "KeyConditions", "AttributesToGet", "QueryFilter", "ConditionalOperator"], |db, body| answer(body, |request| db.query(request))),
    ("Scan", &["TableName", "FilterExpression", "ProjectionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues", "Limit", "ExclusiveStartKey", "Select", "ConsistentRead", "IndexName", "Segment", "TotalSegments", "ReturnConsumedCapacity", "AttributesToGet", "ScanFilter", "ConditionalOperator"], |db, body| answer(body, |request| db.scan(request))),
    ("BatchGetItem", &["RequestItems", "ReturnConsumedCapacity"], |db, body| answer(body, |request| db.batch_get_item(request))),
    ("BatchWriteItem", &["RequestItems", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"], |db, body| answer(body, |request| db.batch_write_item(request))),
    ("TransactWriteItems", &["TransactItems", "ClientRequestToken", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"], |db, body| answer(body, |request| db.transact_write_items(request))),
    ("TransactGetItems", &["TransactItems", "ReturnConsumedCapacity"], |db, body| answer(body, |request| db.transact_get_items(request))),
    ("UpdateTimeToLive", &["TableName", "TimeToLiveSpecification"], |db, body| answer(body, |request| db.update_time_to_live(request))),
    ("DescribeTimeToLive", &["TableName"], |db, body| answer(body, |request| db.describe_time_to_live(request))),
    ("TagResource", &["ResourceArn", "Tags"], |db, body| answer(body, |request| db.tag_resource(request))),
    ("UntagResource", &["ResourceArn", "TagKeys"], |db, body| answer(body, |request| db.untag_resource(request))),
    ("ListTagsOfResource", &["ResourceArn", "NextToken"], |db, body| answer(body, |request| db.list_tags_of_resource(request))),
];

/// Tables and items.
pub struct Dynamodb {
    database: Database,
    /// The partition keys of the tables that were asked for, by table.
    partition_keys: Mutex<HashMap<String, String>>,
}

/// A DynamoDB answer, or a refusal in DynamoDB's own shape (a cancelled transaction lists its reasons).
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The JSON text.
    pub body: Vec<u8>,
}

impl Dynamodb {
    /// Opens the file, or memory for `None`.
    ///
    /// # Errors
    /// When the file cannot be opened, or is no database of `dynoxide`'s.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let database = match path {
            None => Database::memory(),
            Some(path) => Database::new(path.to_str().context("the path of the tables is not UTF-8")?),
        };
        Ok(Self {
            database: database.context("the tables cannot be opened")?,
            partition_keys: Mutex::default(),
        })
    }

    /// Runs one operation on a JSON request.
    pub async fn call(&self, operation: &str, body: &[u8]) -> Answer {
        match self.run(operation, body) {
            Ok(body) => Answer {
                status: StatusCode::OK,
                body,
            },
            Err(Refusal::Ours(error)) => Answer {
                status: error.status,
                body: json!({ "__type": error.code, "message": error.message })
                    .to_string()
                    .into_bytes(),
            },
            Err(Refusal::Theirs(error)) => Answer {
                status: StatusCode::from_u16(error.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                body: error.to_json().into_bytes(),
            },
        }
    }

    /// The name of a table's partition key, if there is such a table.
    pub(crate) fn partition_key(&self, table: &str) -> Option<String> {
        let mut known = self.partition_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(table) {
            return Some(key.clone());
        }
        let key = self.described_partition_key(table)?;
        known.insert(table.to_owned(), key.clone());
        Some(key)
    }

    fn described_partition_key(&self, table: &str) -> Option<String> {
        let request = serde_json::from_value(json!({ "TableName": table })).ok()?;
        let described = self.database.describe_table(request).ok()?;
        let described = serde_json::to_value(&described).ok()?;
        let schema = described.pointer("/Table/KeySchema")?.as_array()?;
        let hash = schema
            .iter()
            .find(|part| part.get("KeyType").and_then(Value::as_str) == Some("HASH"))?;
        hash.get("AttributeName").and_then(Value::as_str).map(str::to_owned)
    }

    fn run(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let Some((_, members, run)) = OPERATIONS.iter().find(|(name, ..)| *name == operation) else {
            return Err(AwsError::not_implemented(&format!("DynamoDB {operation}")).into());
        };
        let request: BTreeMap<String, IgnoredAny> = serde_json::from_slice(body).map_err(|error| {
            malformed(match error.is_data() {
                true => "The request is not a JSON object.",
                false => "The request is not JSON.",
            })
        })?;
        if let Some(unknown) = request.keys().find(|name| !members.contains(&name.as_str())) {
            return Err(AwsError::not_implemented(&format!("DynamoDB {operation}: parameter {unknown}")).into());
        }
        let answer = run(&self.database, body);
        if operation == "DeleteTable" {
            // A table of the same name may come with another key.
            self.partition_keys
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
        answer
    }
}

enum Refusal {
    Ours(AwsError),
    Theirs(DynoxideError),
}

impl From<AwsError> for Refusal {
    fn from(error: AwsError) -> Self {
        Self::Ours(error)
    }
}

fn malformed(message: &str) -> Refusal {
    AwsError::bad_request("com.amazon.coral.service#SerializationException", message).into()
}

/// Reads the request, runs it, writes the answer.
fn answer<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    run: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, Refusal> {
    let request = serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))?;
    let answer = run(request).map_err(Refusal::Theirs)?;
    serde_json::to_vec(&answer).map_err(|_| {
        AwsError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "The answer cannot be written.",
        )
        .into()
    })
}

/// A request that `dynoxide`'s types refuse. Their own messages start with a marker of DynamoDB's class of error; the
/// others are serde's, which may quote the input and are therefore reworded.
fn unreadable(message: &str) -> Refusal {
    let position = message.rfind(" at line ").unwrap_or(message.len());
    let text = message.get(..position).unwrap_or(message);
    let validation = |text: &str| AwsError::bad_request("com.amazon.coral.validate#ValidationException", text);
    for marker in ["VALIDATION:", "VALIDATION_REQUEST:", "VALIDATION_AS_READ:"] {
        if let Some(text) = text.strip_prefix(marker) {
            return validation(text).into();
        }
    }
    if text.starts_with("missing field") || text.contains("Supplied AttributeValue") {
        return validation(text).into();
    }
    malformed("A member of the request has another type than the operation takes.")
}
