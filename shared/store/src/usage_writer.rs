//! Storing usage: events, the rollups that they add to, and the reservations that they settle, in
//! one transaction; and when accounts were last used.

use crate::StoreError;
use crate::connection::Table;
use crate::item_names::{self, AT};
use crate::limits::{LimitStore, settle_action};
use crate::permissions::{Action, Permission, store_handle};
use crate::rollups::add_to;
use crate::transaction::CancelledTransaction;
use crate::usage_events::{EventRow, read_event};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::AccountId;
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use baton_domain::reservation::{Reservation, Settlement};
use baton_domain::rollup::{Rollup, UsageSums};
use baton_domain::scope::LimitScope;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

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

store_handle! {
    /// Stores usage and settles reservations.
    UsageWriter,
    Permission::on_usage(&[Action::GetItem, Action::PutItem], &["event#*"]),
    Permission::on_usage(&[Action::UpdateItem], &["rollup#*", "used#*"]),
    Permission::on_state(&[Action::UpdateItem], &["limit#*"])
}

impl UsageWriter {
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
            let item = EventRow::item(record, self.connection.event_days)?;
            actions.push(self.connection.put_new(Table::Usage, item).into());
        }
        actions.extend(sums.iter().map(|(rollup, sums)| add_to(&self.connection, rollup, sums)));
        actions.extend(
            settlements
                .iter()
                .map(|(scope, settlement)| settle_action(&self.connection, scope, settlement)),
        );
        match self.connection.transact(actions).await {
            Ok(()) => Ok(()),
            Err(
                CancelledTransaction::Contended
                | CancelledTransaction::Throttled(_)
                | CancelledTransaction::Full,
            ) => Err(CommitError::Busy),
            Err(CancelledTransaction::Refused(reason)) => Err(CommitError::Refused(reason)),
            Err(CancelledTransaction::Failed(error)) => Err(CommitError::Failed(error)),
            Err(CancelledTransaction::Conditions(indices)) => {
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

    /// Settles the reservation of `expired` at the cost of the record that is stored in its place,
    /// if the reservation is still open. The part of the reservation above that cost is released.
    pub async fn settle_expired_reservation(
        &self,
        expired: &UsageRecord,
    ) -> Result<(), StoreError> {
        let item = self.connection.get_item(Table::Usage, item_names::event(expired), true).await?;
        let (Some(item), Some(reserved)) = (item, expired.reserved_usd) else {
            return Ok(());
        };
        let stored = read_event(item)?;
        let beyond = Reservation {
            estimate: reserved - stored.cost_usd,
            unreserved: PicoUsd::default(),
            at: expired.started_at,
            expires: 0,
            model: expired.model.clone(),
            stream: expired.stream,
            group: expired.group_id.clone(),
            user: expired.user_id.clone(),
            shared_limits: expired.reserved_shared_limits.clone(),
        };
        LimitStore::new(&self.connection).release(&expired.key_id, &expired.id, &beyond).await
    }

    /// Records that the account was used at `at`, unless a later time is stored.
    pub async fn note_used(&self, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
        let noted = self
            .connection
            .update_request(Table::Usage, item_names::last_use(account))
            .update_expression("SET #at = :at")
            .condition_expression("attribute_not_exists(#at) OR #at < :at")
            .expression_attribute_names("#at", AT)
            .expression_attribute_values(":at", AttributeValue::S(item_names::sortable_time(at)))
            .send()
            .await;
        match noted.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{TestTables, account, at, key, open_handle, record, reservation};
    use crate::{EventFilter, LimitReader, RollupPeriod, RollupReader, UsageReader};
    use baton_domain::effective_limits::EffectiveLimits;
    use baton_domain::key::Limits;
    use baton_domain::rollup::rollups_of;
    use jiff::SignedDuration;

    /// Stores one record as stats does.
    pub(crate) async fn commit(
        tables: &TestTables,
        record: &UsageRecord,
    ) -> Result<(), CommitError> {
        let sums = UsageSums::from_record(record);
        let sums = rollups_of(record).into_iter().map(|rollup| (rollup, sums)).collect();
        let mut settlements = BTreeMap::<LimitScope, Settlement>::new();
        for scope in Settlement::settled_scopes(record) {
            settlements.entry(scope).or_default().add_record(record);
        }
        open_handle!(tables, UsageWriter).commit(&[record], &sums, &settlements).await
    }

    #[tokio::test]
    async fn record_is_stored_once_with_its_rollups() {
        let tables = TestTables::open().await;
        let first = record(1);
        commit(&tables, &first).await.expect("stored");
        assert!(matches!(commit(&tables, &first).await, Err(CommitError::AlreadyStored(_))));
        let (usage, rollups) =
            (open_handle!(tables, UsageReader), open_handle!(tables, RollupReader));
        let filter = EventFilter {
            from: at() - SignedDuration::from_hours(1),
            to: at() + SignedDuration::from_hours(1),
            key: None,
            user: None,
            account: None,
            model: None,
            outcome: None,
            keys: None,
        };
        for keys in [None, Some(vec![first.key_id.clone()])] {
            let filter = EventFilter { keys, ..filter.clone() };
            let events = usage.events(&filter, 10, None).await.expect("read").data;
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].id, first.id);
        }
        let days = rollups.totals(RollupPeriod::Day, "2026-11-22", "2026-11-22").await;
        assert_eq!(days.expect("read")[0].1.cost, first.cost_usd);
        assert_eq!(rollups.cells("2026-11-22").await.expect("read").len(), 1);
        assert_eq!(rollups.read_day_sums("2026-11-22").await.expect("read").len(), 2);
    }

    #[tokio::test]
    async fn reservation_is_settled_with_its_record_or_after_it() {
        let tables = TestTables::open().await;
        let limits = open_handle!(tables, LimitStore);
        let id = key(Limits::default()).id;
        let own = Limits { concurrency: Some(3), ..Limits::default() };
        let effective = EffectiveLimits::from_own_limits(id.clone(), own);
        let counters = open_handle!(tables, LimitReader);
        let open = async || counters.read_key_counters(&id).await.expect("read").open_reservations;
        let mut settled = record(1);
        settled.reserved_usd = Some(reservation().estimate);
        limits.admit(&effective, &settled.id, &reservation()).await.expect("admitted");
        commit(&tables, &settled).await.expect("stored");
        assert!(open().await.is_empty());
        limits.admit(&effective, &settled.id, &reservation()).await.expect("admitted");
        let writer = open_handle!(tables, UsageWriter);
        writer.settle_expired_reservation(&settled).await.expect("settled");
        assert!(open().await.is_empty());
    }

    #[tokio::test]
    async fn later_use_of_an_account_stays() {
        let tables = TestTables::open().await;
        let (writer, reader) =
            (open_handle!(tables, UsageWriter), open_handle!(tables, UsageReader));
        let id = account().id;
        writer.note_used(&id, at()).await.expect("noted");
        writer.note_used(&id, at() - SignedDuration::from_hours(1)).await.expect("ignored");
        assert_eq!(
            reader.last_used(std::slice::from_ref(&id)).await.expect("read"),
            HashMap::from([(id, at())])
        );
    }
}
