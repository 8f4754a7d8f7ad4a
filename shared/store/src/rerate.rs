//! Re-rating of stored events: writes new costs to the events and their rollups in one transaction,
//! and keeps the progress of a period. `domain::rerate` decides which events change.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{StoreItem, inconsistent, key_of};
use crate::item_names::{self, COST, PRICE_VERSION, RERATE, TTL};
use crate::permissions::{Action, Permission, store_handle};
use crate::rollups::add_to;
use crate::transaction::{ACTIONS_MAX, CancelledTransaction, TransactionAction};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::money::PicoUsd;
use baton_domain::rerate::{CostRevision, RevisionBatch, batches};
use baton_domain::rollup::UsageSums;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most tries of a transaction while the table is busy. After them the caller gets an error.
const TRIES_MAX: u32 = 8;

/// How long the progress of an abandoned re-rating is kept.
const KEPT_SECONDS: i64 = 7 * 24 * 3600;

/// The progress of the re-rating of a period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RerateProgress {
    /// The fingerprint of the prices that it uses
    /// ([`baton_domain::price::PriceTable::fingerprint`]).
    pub table: String,
    /// The cursor of the next page of events.
    pub cursor: Option<String>,
    /// The start time of the last event that was examined. It and all later events are done.
    pub next: Option<Timestamp>,
    /// The number of events that were examined.
    pub examined: u64,
    /// The number of events whose cost has changed.
    pub changed: u64,
    /// The sum of the changes.
    pub difference_usd: PicoUsd,
}

/// The result of writing cost revisions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RerateResult {
    /// The number of events whose cost has changed.
    pub changed: u64,
    /// The sum of the changes.
    pub difference_usd: PicoUsd,
}

impl RerateResult {
    /// The result of a batch that was written as a whole.
    pub fn from_batch(batch: &RevisionBatch) -> Self {
        let changed = u64::try_from(batch.revisions.len()).unwrap_or(u64::MAX);
        Self { changed, difference_usd: batch.difference() }
    }

    /// Adds the result of another batch.
    pub fn add(&mut self, other: Self) {
        self.changed += other.changed;
        self.difference_usd += other.difference_usd;
    }
}

store_handle! {
    /// Re-rates events, and keeps the progress.
    RerateStore,
    Permission::on_usage(&[Action::UpdateItem], &["event#*", "rollup#*"]),
    Permission::on_state(&[Action::GetItem, Action::PutItem, Action::DeleteItem], &[RERATE])
}

impl RerateStore {
    /// Writes the new cost of each event and the differences to its rollups, in transactions. An
    /// event is skipped if its cost or price version has changed since it was read. So no revision
    /// is applied twice, even if several processes re-rate the same period.
    pub async fn revise_events(
        &self,
        revisions: Vec<CostRevision>,
    ) -> Result<RerateResult, StoreError> {
        let mut rerated = RerateResult::default();
        for batch in batches(revisions, ACTIONS_MAX) {
            rerated.add(self.revise_batch(batch).await?);
        }
        Ok(rerated)
    }

    async fn revise_batch(&self, mut batch: RevisionBatch) -> Result<RerateResult, StoreError> {
        let mut attempts = 0;
        while !batch.revisions.is_empty() {
            match self.commit_revisions(&batch).await {
                Ok(()) => return Ok(RerateResult::from_batch(&batch)),
                Err(CancelledTransaction::Conditions(indices)) => {
                    batch = batch.remove_positions(&indices);
                }
                Err(CancelledTransaction::Contended | CancelledTransaction::Throttled(_))
                    if attempts < TRIES_MAX =>
                {
                    self.connection.back_off(attempts).await;
                    attempts += 1;
                }
                Err(CancelledTransaction::Throttled(_) | CancelledTransaction::Full) => {
                    return Err(StoreError::Conflict);
                }
                Err(failed) => return Err(failed.into()),
            }
        }
        Ok(RerateResult::default())
    }

    /// Writes a batch in one transaction. Only the events have conditions, and they come first, so
    /// the positions of failed conditions are positions of events.
    async fn commit_revisions(&self, batch: &RevisionBatch) -> Result<(), CancelledTransaction> {
        let mut actions: Vec<TransactionAction> =
            batch.revisions.iter().map(|revision| self.revise_event(revision)).collect();
        // Differences can cancel each other out, and DynamoDB rejects an update that adds nothing.
        let sums = batch.sums.iter().filter(|(_, sums)| **sums != UsageSums::default());
        actions.extend(sums.map(|(rollup, sums)| add_to(&self.connection, rollup, sums)));
        self.connection.transact(actions).await
    }

    fn revise_event(&self, revision: &CostRevision) -> TransactionAction {
        let CostRevision { record, cost } = revision;
        let text = |value: &dyn ToString| AttributeValue::S(value.to_string());
        self.connection
            .update(Table::Usage, item_names::event(record))
            .condition_expression("#cost = :old_cost AND #version = :old_version")
            .update_expression("SET #cost = :cost, #version = :version")
            .expression_attribute_names("#cost", COST)
            .expression_attribute_names("#version", PRICE_VERSION)
            .expression_attribute_values(":old_cost", text(&record.cost_usd))
            .expression_attribute_values(":old_version", text(&record.price_version))
            .expression_attribute_values(":cost", text(&cost.amount))
            .expression_attribute_values(":version", text(&cost.version))
            .into()
    }

    /// The progress of the re-rating with this name, if one has begun.
    pub async fn read_progress(&self, name: &str) -> Result<Option<RerateProgress>, StoreError> {
        let item = self.connection.get_item(Table::State, progress_key(name), true).await?;
        let read = |item| {
            serde_dynamo::from_item(item).map_err(|error| inconsistent(RERATE, name, &error))
        };
        item.map(read).transpose()
    }

    /// Stores the progress.
    pub async fn put_progress(
        &self,
        name: &str,
        rerate: &RerateProgress,
    ) -> Result<(), StoreError> {
        let item: StoreItem =
            serde_dynamo::to_item(rerate).map_err(|error| inconsistent(RERATE, name, &error))?;
        let expires = self.connection.clock.now().as_second() + KEPT_SECONDS;
        self.connection
            .put_request(Table::State, key_of(progress_key(name)).into_iter().chain(item).collect())
            .item(TTL, AttributeValue::N(expires.to_string()))
            .send()
            .await?;
        Ok(())
    }

    /// Deletes the progress of a re-rating that is complete.
    pub async fn remove_progress(&self, name: &str) -> Result<(), StoreError> {
        self.connection.delete_item(Table::State, progress_key(name)).await
    }
}

fn progress_key(name: &str) -> item_names::ItemKey {
    item_names::ItemKey::new(RERATE, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, open_handle, record};
    use crate::usage_writer::tests::commit;
    use crate::{RollupPeriod, RollupReader};
    use baton_domain::price::UsageCost;

    #[tokio::test]
    async fn revision_changes_an_event_and_its_rollups_once() {
        let tables = TestTables::open().await;
        commit(&tables, &record(1)).await.expect("stored");
        let rerates = open_handle!(tables, RerateStore);
        let cost =
            UsageCost { amount: PicoUsd::new(7), version: "new".to_owned(), is_priced: true };
        let revision = CostRevision { record: record(1), cost };
        let revise = async || rerates.revise_events(vec![revision.clone()]).await.expect("revised");
        assert_eq!(revise().await.changed, 1);
        assert_eq!(revise().await.changed, 0);
        let rollups = open_handle!(tables, RollupReader);
        let days = rollups.totals(RollupPeriod::Day, "2026-11-22", "2026-11-22").await;
        assert_eq!(days.expect("read")[0].1.cost, PicoUsd::new(7));
    }

    #[tokio::test]
    async fn progress_is_kept_until_it_is_removed() {
        let tables = TestTables::open().await;
        let rerates = open_handle!(tables, RerateStore);
        let progress = RerateProgress { examined: 3, ..RerateProgress::default() };
        rerates.put_progress("a", &progress).await.expect("stored");
        assert_eq!(rerates.read_progress("a").await.expect("read"), Some(progress));
        rerates.remove_progress("a").await.expect("removed");
        assert_eq!(rerates.read_progress("a").await.expect("read"), None);
    }
}
