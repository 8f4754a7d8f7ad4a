//! Storing usage: events, the rollups that they add to, and the reservations that they settle, in
//! one transaction.

use super::item::{StoreItem, key_of};
use super::item_names::{self, PK};
use super::rollups::addition;
use super::transaction::CancelledTransaction;
use super::usage_events::EventRow;
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use baton_domain::record::UsageRecord;
use baton_domain::reservation::Settlement;
use baton_domain::rollup::{Rollup, UsageSums};
use baton_domain::scope::LimitScope;
use std::collections::{BTreeMap, HashMap};

/// The most actions that DynamoDB accepts in one transaction.
pub const ACTIONS_MAX: usize = 100;

/// The reason why nothing of a transaction was stored.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The records at these positions are stored already. Try again without them.
    #[error("{} records are stored already", .0.len())]
    AlreadyStored(Vec<usize>),
    /// The limit items of these scopes no longer exist, so there is nothing to settle in them. Try
    /// again without these settlements.
    #[error("{} limit items are missing", .0.len())]
    LimitItemMissing(Vec<LimitScope>),
    /// Another transaction held the same items, or the table is throttled. Try again.
    #[error("the table is busy")]
    Busy,
    /// DynamoDB rejects part of the transaction, and a retry fails as well. The other records can
    /// be stored without it.
    #[error("the table refuses it: {0}")]
    Refused(String),
    /// Any other failure.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl Store {
    /// Stores `records`, adds `sums` to the rollups and settles reservations, all or nothing. All
    /// settlements of one limit item are given as one change.
    ///
    /// A record cannot be stored twice: its place follows from its id, and the transaction requires
    /// that no item is stored there yet.
    pub async fn commit(
        &self,
        records: &[&UsageRecord],
        sums: &HashMap<Rollup, UsageSums>,
        settlements: &BTreeMap<LimitScope, Settlement>,
    ) -> Result<(), CommitError> {
        let mut actions = Vec::with_capacity(records.len() + sums.len() + settlements.len());
        for record in records {
            actions.push(self.put_event(EventRow::item(record, self.event_days)?));
        }
        actions.extend(sums.iter().map(|(rollup, sums)| self.add_to(rollup, sums)));
        actions.extend(
            settlements.iter().map(|(scope, settlement)| self.settle_action(scope, settlement)),
        );
        let result = self.db.transact_write_items().set_transact_items(Some(actions)).send().await;
        let Err(error) = result else { return Ok(()) };
        match CancelledTransaction::from(error) {
            CancelledTransaction::Busy | CancelledTransaction::Full => Err(CommitError::Busy),
            CancelledTransaction::Refused(reason) => Err(CommitError::Refused(reason)),
            CancelledTransaction::Failed(error) => Err(CommitError::Failed(error)),
            CancelledTransaction::Conditions(indices) => {
                let stored: Vec<usize> =
                    indices.iter().copied().filter(|index| *index < records.len()).collect();
                if !stored.is_empty() {
                    return Err(CommitError::AlreadyStored(stored));
                }
                let first = records.len() + sums.len();
                let gone =
                    settlements.keys().zip(first..).filter(|(_, index)| indices.contains(index));
                Err(CommitError::LimitItemMissing(gone.map(|(scope, _)| scope.clone()).collect()))
            }
        }
    }

    fn put_event(&self, item: StoreItem) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.resources.usage_table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK);
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }

    pub(super) fn add_to(&self, rollup: &Rollup, sums: &UsageSums) -> TransactWriteItem {
        let (expression, names, values) = addition(sums);
        let update = Update::builder()
            .table_name(&self.resources.usage_table)
            .set_key(Some(key_of(item_names::rollup(rollup))))
            .update_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        TransactWriteItem::builder().set_update(update.build().ok()).build()
    }
}
