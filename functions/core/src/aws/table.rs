//! Reads and transactions on the five tables.
//!
//! Reads are strongly consistent. A transaction either holds as a whole or names the item whose condition failed; an
//! answer that never came is Unavailable, and the caller's next read tells what became of it.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::queue::Hint;
use super::site::Site;
use crate::app::App;
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Table};
use crate::planted;
use crate::planted::slip;

/// An item as DynamoDB holds it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A number as an attribute.
pub(crate) fn number(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// A string as an attribute.
pub(crate) fn string(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A value of ours as an attribute.
pub(crate) fn attribute<T: Serialize>(value: &T) -> Result<AttributeValue> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(value)
        .map_err(|error| Error::internal("A value could not be stored.").because(error))
}

/// A set of one string as an attribute.
pub(crate) fn string_set(value: impl Into<String>) -> AttributeValue {
    AttributeValue::Ss(vec![value.into()])
}

/// An expression with the values of its placeholders.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expression {
    text: String,
    values: Vec<(&'static str, AttributeValue)>,
}

impl Expression {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, placeholder: &'static str, value: AttributeValue) -> Self {
        self.values.push((placeholder, value));
        self
    }
}

/// Holds only when the item does not exist yet.
pub(crate) fn absent() -> Expression {
    Expression::new("attribute_not_exists(pk)")
}

/// Writes that hold together or not at all: at most 100 items (TransactWriteItems, API reference).
pub(crate) struct Transaction<'a> {
    app: &'a App,
    items: Vec<TransactWriteItem>,
    labels: Vec<&'static str>,
    fault: Option<Error>,
    /// Events among the items, whose webhooks follow the commit.
    hints: Vec<Hint>,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything is written.
    Committed,
    /// Nothing is written: the conditions of the items with these labels did not hold.
    Refused(Vec<&'static str>),
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(app: &'a App) -> Self {
        Self {
            app,
            items: Vec::new(),
            labels: Vec::new(),
            fault: None,
            hints: Vec::new(),
        }
    }

    /// Puts this on the webhook queue once everything is written.
    pub(crate) fn hint(mut self, hint: Hint) -> Self {
        self.hints.push(hint);
        self
    }

    /// Writes an item that must not exist yet.
    pub(crate) fn put_new<T: Serialize>(self, label: &'static str, key: &Key<'_>, row: &T) -> Self {
        self.put(label, key, row, Some(absent()))
    }

    /// Writes an item, under a condition if there is one.
    pub(crate) fn put<T: Serialize>(
        mut self,
        label: &'static str,
        key: &Key<'_>,
        row: &T,
        condition: Option<Expression>,
    ) -> Self {
        match item(key, row) {
            Ok(item) => {
                let mut put = Put::builder().table_name(self.table(key.table())).set_item(Some(item));
                if let Some(condition) = condition {
                    put = put.condition_expression(condition.text);
                    for (placeholder, value) in condition.values {
                        put = put.expression_attribute_values(placeholder, value);
                    }
                }
                match put.build() {
                    Ok(put) => self.push(label, TransactWriteItem::builder().put(put).build()),
                    Err(error) => self.fail(error),
                }
            }
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Changes an item under a condition. Both expressions share their placeholders.
    pub(crate) fn update(
        mut self,
        label: &'static str,
        key: &Key<'_>,
        change: Expression,
        condition: Expression,
    ) -> Self {
        let mut update = Update::builder()
            .table_name(self.table(key.table()))
            .set_key(Some(key_item(key)))
            .update_expression(change.text)
            .condition_expression(condition.text);
        for (placeholder, value) in change.values.into_iter().chain(condition.values) {
            update = update.expression_attribute_values(placeholder, value);
        }
        match update.build() {
            Ok(update) => self.push(label, TransactWriteItem::builder().update(update).build()),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Requires a condition of an item that is not changed.
    pub(crate) fn check(mut self, label: &'static str, key: &Key<'_>, condition: Expression) -> Self {
        let mut check = ConditionCheck::builder()
            .table_name(self.table(key.table()))
            .set_key(Some(key_item(key)))
            .condition_expression(condition.text);
        for (placeholder, value) in condition.values {
            check = check.expression_attribute_values(placeholder, value);
        }
        match check.build() {
            Ok(check) => self.push(label, TransactWriteItem::builder().condition_check(check).build()),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Removes an item, whether it is there or not.
    pub(crate) fn delete(self, label: &'static str, key: &Key<'_>) -> Self {
        self.remove(label, key, None)
    }

    /// Removes an item under a condition.
    pub(crate) fn delete_if(self, label: &'static str, key: &Key<'_>, condition: Expression) -> Self {
        self.remove(label, key, Some(condition))
    }

    fn remove(mut self, label: &'static str, key: &Key<'_>, condition: Option<Expression>) -> Self {
        let mut delete = Delete::builder()
            .table_name(self.table(key.table()))
            .set_key(Some(key_item(key)));
        if let Some(condition) = condition {
            delete = delete.condition_expression(condition.text);
            for (placeholder, value) in condition.values {
                delete = delete.expression_attribute_values(placeholder, value);
            }
        }
        match delete.build() {
            Ok(delete) => self.push(label, TransactWriteItem::builder().delete(delete).build()),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Writes everything. Where another write to one of the items is under way, DynamoDB cancels the whole transaction and
    /// the SDK does not try again (`TransactionConflict`; API reference, TransactWriteItems): it is tried again here, since
    /// nothing was written and the conditions still decide.
    ///
    /// # Errors
    /// Unavailable for a throttle, a conflict that lasts, a fault or a reply that never came.
    #[track_caller]
    pub(crate) fn commit(self) -> impl Future<Output = Result<Outcome>> {
        Site::caller().scope(async move {
            if let Some(fault) = self.fault {
                return Err(fault);
            }
            let mut n_conflicts = 0;
            loop {
                let call = self
                    .app
                    .aws
                    .dynamodb
                    .transact_write_items()
                    .set_transact_items(Some(self.items.clone()))
                    .send()
                    .await;
                let error = match call {
                    Ok(_) => {
                        self.app.hint(&self.hints).await;
                        return Ok(Outcome::Committed);
                    }
                    Err(error) => error,
                };
                let codes = cancellation(&error);
                let is_refusal = |code: &&str| ["None", "ConditionalCheckFailed"].contains(code);
                if codes.contains(&"ConditionalCheckFailed") && codes.iter().all(is_refusal) {
                    let failed = codes
                        .iter()
                        .zip(&self.labels)
                        .filter(|(code, _)| **code == "ConditionalCheckFailed");
                    return Ok(Outcome::Refused(failed.map(|(_, label)| *label).collect()));
                }
                if !codes.contains(&"TransactionConflict") || n_conflicts == MOST_CONFLICTS {
                    return Err(store_error(error));
                }
                n_conflicts += 1;
                let longest_ms = 20_u32 << n_conflicts;
                let wait_ms = self.app.random.below(longest_ms)?.saturating_add(longest_ms / 2);
                self.app.clock.sleep(Duration::from_millis(wait_ms.into())).await;
            }
        })
    }

    fn table(&self, table: Table) -> String {
        table.name(&self.app.config).to_owned()
    }

    fn push(&mut self, label: &'static str, item: TransactWriteItem) {
        self.labels.push(label);
        self.items.push(item);
    }

    fn fail(&mut self, error: impl std::error::Error + Send + Sync + 'static) {
        self.fault = Some(Error::internal("A write could not be built.").because(error));
    }
}

/// How a single change ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Updated {
    /// It is made.
    Done,
    /// Its condition did not hold for the item as it is here; empty where there is none.
    Refused(Item),
}

impl App {
    /// Changes one item outside a transaction, for what is counted and not audited; an empty condition always holds.
    ///
    /// # Errors
    /// Unavailable.
    #[track_caller]
    pub(crate) fn update(
        &self,
        key: &Key<'_>,
        change: Expression,
        condition: Expression,
    ) -> impl Future<Output = Result<Updated>> {
        Site::caller().scope(async move {
            let mut call = self
                .aws
                .dynamodb
                .update_item()
                .table_name(key.table().name(&self.config))
                .set_key(Some(key_item(key)))
                .update_expression(change.text)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            if !condition.text.is_empty() {
                call = call.condition_expression(condition.text);
            }
            for (placeholder, value) in change.values.into_iter().chain(condition.values) {
                call = call.expression_attribute_values(placeholder, value);
            }
            match call.send().await {
                Ok(_) => Ok(Updated::Done),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                        Ok(Updated::Refused(failed.item.clone().unwrap_or_default()))
                    }
                    _ => Err(store_error(error)),
                },
            }
        })
    }

    /// Reads one item.
    ///
    /// # Errors
    /// Unavailable; Internal when the item does not have the expected form.
    #[track_caller]
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key<'_>) -> impl Future<Output = Result<Option<T>>> {
        Site::caller().scope(async move {
            let answer = self
                .aws
                .dynamodb
                .get_item()
                .table_name(key.table().name(&self.config))
                .set_key(Some(key_item(key)))
                .consistent_read(true)
                .send()
                .await
                .map_err(store_error)?;
            answer.item.map(row).transpose()
        })
    }

    /// Reads many items of one table, in no order; what does not exist is left out.
    ///
    /// # Errors
    /// Unavailable, also when DynamoDB keeps leaving keys unprocessed.
    #[track_caller]
    pub(crate) fn get_all<T: DeserializeOwned>(&self, keys: &[Key<'_>]) -> impl Future<Output = Result<Vec<T>>> {
        Site::caller().scope(async move {
            const KEYS_A_CALL: usize = 100;
            const ROUNDS: u32 = 5;
            let mut rows = Vec::with_capacity(keys.len());
            let Some(table) = keys.first().map(|key| key.table().name(&self.config)) else {
                return Ok(rows);
            };
            for some in keys.chunks(KEYS_A_CALL) {
                let mut wanted: Vec<Item> = some.iter().map(key_item).collect();
                for round in 0..ROUNDS {
                    let request = KeysAndAttributes::builder()
                        .set_keys(Some(wanted))
                        .consistent_read(true)
                        .build();
                    let request =
                        request.map_err(|error| Error::internal("A read could not be built.").because(error))?;
                    let answer = self
                        .aws
                        .dynamodb
                        .batch_get_item()
                        .request_items(table, request)
                        .send()
                        .await;
                    let answer = answer.map_err(store_error)?;
                    for item in answer.responses.unwrap_or_default().remove(table).unwrap_or_default() {
                        rows.push(row(item)?);
                    }
                    let left = answer.unprocessed_keys.unwrap_or_default().remove(table);
                    wanted = left.map(|left| left.keys).unwrap_or_default();
                    if wanted.is_empty() {
                        break;
                    }
                    if round + 1 == ROUNDS {
                        return Err(Error::new(Kind::Unavailable, "The table is not available."));
                    }
                }
            }
            Ok(rows)
        })
    }

    /// Reads a partition in the order of its sort keys, as far as `range` says.
    ///
    /// # Errors
    /// Unavailable; Internal when an item does not have the expected form.
    #[track_caller]
    pub(crate) fn query<T: DeserializeOwned>(
        &self,
        table: Table,
        pk: &str,
        range: &Range<'_>,
    ) -> impl Future<Output = Result<Vec<T>>> {
        Site::caller().scope(async move {
            let mut rows = Vec::new();
            let mut start: Option<Item> = None;
            loop {
                let mut query = self
                    .aws
                    .dynamodb
                    .query()
                    .table_name(table.name(&self.config))
                    .consistent_read(true)
                    .scan_index_forward(!range.newest_first)
                    .expression_attribute_values(":pk", string(pk))
                    .set_exclusive_start_key(start);
                query = match (range.prefix, range.before, range.after) {
                    (Some(prefix), ..) => query
                        .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
                        .expression_attribute_values(":sk", string(prefix)),
                    (None, Some(before), _) => query
                        .key_condition_expression("pk = :pk AND sk < :sk")
                        .expression_attribute_values(":sk", string(before)),
                    (None, None, Some(after)) => query
                        .key_condition_expression("pk = :pk AND sk > :sk")
                        .expression_attribute_values(":sk", string(after)),
                    (None, None, None) => query.key_condition_expression("pk = :pk"),
                };
                if let Some(limit) = range.limit {
                    let left = limit.saturating_sub(rows.len());
                    query = query.limit(i32::try_from(left).unwrap_or(i32::MAX));
                }
                let page = query.send().await.map_err(store_error)?;
                for item in page.items.unwrap_or_default() {
                    rows.push(row(item)?);
                }
                start = page.last_evaluated_key.filter(|key| !key.is_empty());
                if start.is_none() || range.limit.is_some_and(|limit| rows.len() >= limit) {
                    return Ok(rows);
                }
            }
        })
    }
}

/// Which part of a partition is read. At most one of `prefix`, `before` and `after` is used, in this order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Range<'a> {
    /// Only sort keys that begin so.
    pub(crate) prefix: Option<&'a str>,
    /// Only sort keys below this one.
    pub(crate) before: Option<&'a str>,
    /// Only sort keys above this one.
    pub(crate) after: Option<&'a str>,
    /// At most so many items; all for `None`.
    pub(crate) limit: Option<usize>,
    /// Highest sort key first.
    pub(crate) newest_first: bool,
}

fn key_item(key: &Key<'_>) -> Item {
    let (pk, sk) = key.parts();
    HashMap::from([("pk".to_owned(), string(pk)), ("sk".to_owned(), string(sk))])
}

fn item<T: Serialize>(key: &Key<'_>, row: &T) -> Result<Item> {
    let mut item: Item = serde_dynamo::aws_sdk_dynamodb_1::to_item(row)
        .map_err(|error| Error::internal("A row could not be stored.").because(error))?;
    item.retain(|_, value| !value.is_null());
    if planted!("leak_08") && matches!(key, Key::Email(..)) {
        let summary = serde_json::json!({ "subject": slip::last().subject, "n": 1 }).to_string();
        item.insert("summary".to_owned(), AttributeValue::B(slip::gzip(&summary).into()));
    }
    if planted!("leak_15") && matches!(key, Key::Record(..)) {
        item.insert(
            "note".to_owned(),
            AttributeValue::B(slip::utf16(&slip::last().text).into()),
        );
    }
    item.extend(key_item(key));
    Ok(item)
}

fn row<T: DeserializeOwned>(mut item: Item) -> Result<T> {
    // The key is how the row was found and no part of it, so that a row may refuse fields that it does not know.
    item.remove("pk");
    item.remove("sk");
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|error| Error::internal("A stored row does not have its form.").because(error))
}

/// How often a transaction that met another one is tried again; the waits grow to a second.
const MOST_CONFLICTS: u32 = 6;

/// Why a transaction was cancelled, item by item; nothing for another failure.
fn cancellation(error: &SdkError<TransactWriteItemsError>) -> Vec<&str> {
    if let SdkError::ServiceError(service) = error
        && let TransactWriteItemsError::TransactionCanceledException(canceled) = service.err()
    {
        let reasons = canceled.cancellation_reasons().iter();
        return reasons.map(|reason| reason.code().unwrap_or("None")).collect();
    }
    Vec::new()
}

/// A failed call as an error of ours; the SDK's own error may hold the HTTP body, so only its kind is kept.
fn store_error<E>(error: SdkError<E>) -> Error
where
    E: aws_sdk_dynamodb::error::ProvideErrorMetadata,
{
    super::call_error("The table", &error)
}
