//! Storing usage: events, the rollups they add to and the reservations they settle, in one
//! transaction.

use super::event::EventRow;
use super::item::{Item, key_of};
use super::names::{self, PK};
use super::tally::addition;
use super::{Store, StoreError};
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use baton_domain::id::KeyId;
use baton_domain::record::UsageRecord;
use baton_domain::reservation::Settlement;
use baton_domain::rollup::{Rollup, Sums};
use std::collections::HashMap;

/// Actions that DynamoDB takes in one transaction.
pub const ACTIONS_MAX: usize = 100;

/// Why nothing of a transaction was stored.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The records at these positions are stored already; try without them.
    #[error("{} records are stored already", .0.len())]
    Stored(Vec<usize>),
    /// A key's limit item is gone, so there is nothing to settle; try without settling.
    #[error("a limit item is gone")]
    Unreserved,
    /// Another transaction touched the same items, or the table is throttled; try again.
    #[error("the table is busy")]
    Busy,
    /// Something else.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl Store {
    /// Stores `records`, adds `sums` to the rollups and settles reservations, a key's all at once:
    /// all of it or nothing.
    ///
    /// Storing a record twice is impossible: its place follows from its id, and the transaction
    /// demands that the place is free.
    pub async fn commit(
        &self,
        records: &[&UsageRecord],
        sums: &HashMap<Rollup, Sums>,
        settlements: &HashMap<KeyId, Settlement>,
    ) -> Result<(), CommitError> {
        let mut actions = Vec::with_capacity(records.len() + sums.len() + settlements.len());
        for record in records {
            actions.push(self.put_event(EventRow::item(record, self.event_days)?));
        }
        actions.extend(sums.iter().map(|(rollup, sums)| self.add_to(rollup, sums)));
        actions.extend(settlements.iter().map(|(key, one)| self.settle_action(key, one)));
        let sent = self.db.transact_write_items().set_transact_items(Some(actions)).send().await;
        sent.map(drop).map_err(|error| match error.as_service_error() {
            Some(service) => refusal(service, records.len()),
            None => {
                CommitError::Failed(StoreError::Database(DisplayErrorContext(&error).to_string()))
            }
        })
    }

    fn put_event(&self, item: Item) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.resources.usage_table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK);
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }

    pub(super) fn add_to(&self, rollup: &Rollup, sums: &Sums) -> TransactWriteItem {
        let (expression, names, values) = addition(sums);
        let update = Update::builder()
            .table_name(&self.resources.usage_table)
            .set_key(Some(key_of(names::rollup(rollup))))
            .update_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        TransactWriteItem::builder().set_update(update.build().ok()).build()
    }
}

pub(super) fn refusal(error: &TransactWriteItemsError, records: usize) -> CommitError {
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else {
        let text = DisplayErrorContext(error).to_string();
        let busy = ["Throttl", "ThroughputExceeded", "TransactionInProgress", "RequestLimit"];
        return if busy.iter().any(|word| text.contains(word)) {
            CommitError::Busy
        } else {
            CommitError::Failed(StoreError::Database(text))
        };
    };
    let codes =
        || cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default());
    let stored: Vec<usize> = codes()
        .take(records)
        .enumerate()
        .filter(|(_, code)| *code == "ConditionalCheckFailed")
        .map(|(at, _)| at)
        .collect();
    if !stored.is_empty() {
        return CommitError::Stored(stored);
    }
    if codes().any(|code| code == "ConditionalCheckFailed") {
        return CommitError::Unreserved;
    }
    let busy = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
    if codes().any(|code| busy.contains(&code)) {
        return CommitError::Busy;
    }
    let reasons = codes().filter(|code| *code != "None").collect::<Vec<_>>().join(", ");
    CommitError::Failed(StoreError::Database(format!("transaction cancelled: {reasons}")))
}
