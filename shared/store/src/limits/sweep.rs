//! Reservations that are due: the query for them, and when a key is looked at again.

use super::LimitStore;
use super::limit_update::{due_value, number};
use crate::StoreError;
use crate::connection::Table;
use crate::item::{StoreItem, inconsistent, text};
use crate::item_names::{self, BY_DUE, DUE, DUE_AT, OPEN, PK, SK};
use crate::permissions::{ANY, Action, Permission, Resource, store_handle};
use baton_domain::id::KeyId;
use baton_domain::reservation::LimitCounters;
use baton_domain::scope::LimitScope;

/// The most keys that one query of the index returns.
const DUE_MAX: i32 = 500;

store_handle! {
    /// Finds reservations that are due.
    LimitSweeper,
    Permission::on(Resource::StateIndexes, &[Action::Query], ANY),
    Permission::on_state(&[Action::UpdateItem], &["limit#*"])
}

impl LimitSweeper {
    /// The keys that have a reservation due by `second` (Unix time), longest overdue first.
    pub async fn due_limits(&self, second: i64) -> Result<Vec<KeyId>, StoreError> {
        let response = self
            .connection
            .query(Table::State)
            .index_name(BY_DUE)
            .key_condition_expression("#due = :due AND #due_at <= :now")
            .expression_attribute_names("#due", DUE)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":due", due_value())
            .expression_attribute_values(":now", number(second))
            .limit(DUE_MAX)
            .send()
            .await?;
        let read = |item: &StoreItem| {
            let (pk, sk) = (text(item, PK)?, text(item, SK)?);
            let id = pk.strip_prefix(item_names::LIMIT_PREFIX).unwrap_or_default();
            id.parse().map_err(|error| inconsistent(&pk, &sk, &error))
        };
        response.items().iter().map(read).collect()
    }

    /// Sets the time of the next sweep of the key, or none if `second` is `None`. `seen` are the
    /// counters that the sweep read. If the number of open reservations differs by now, nothing is
    /// changed, and the next sweep looks at the key again.
    pub async fn schedule_next_sweep(
        &self,
        key: &KeyId,
        counters: &LimitCounters,
        second: Option<i64>,
    ) -> Result<(), StoreError> {
        let update = LimitStore::new(&self.connection)
            .limit_update(&LimitScope::Key(key.clone()))
            .condition_expression("size(#open) = :seen")
            .expression_attribute_names("#open", OPEN)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":seen", number(counters.open_reservations.len()));
        let update = match second {
            Some(second) => update
                .update_expression("SET #due_at = :at")
                .expression_attribute_values(":at", number(second)),
            None => update
                .update_expression("REMOVE #due, #due_at")
                .expression_attribute_names("#due", DUE),
        };
        match update.send().await.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, key, open_handle, reservation};
    use crate::{LimitReader, LimitStore};
    use baton_domain::effective_limits::EffectiveLimits;
    use baton_domain::id::RequestId;
    use baton_domain::key::Limits;

    #[tokio::test]
    async fn key_is_due_until_its_next_sweep_is_scheduled() {
        let tables = TestTables::open().await;
        let (sweeper, counters) =
            (open_handle!(tables, LimitSweeper), open_handle!(tables, LimitReader));
        let (id, limits) =
            (key(Limits::default()).id, Limits { concurrency: Some(3), ..Limits::default() });
        let effective = EffectiveLimits::from_own_limits(id.clone(), limits);
        let (request, wanted) = (RequestId::from_bits(1), reservation());
        let admitted = open_handle!(tables, LimitStore).admit(&effective, &request, &wanted).await;
        admitted.expect("asked");
        let due = async |second| sweeper.due_limits(second).await.expect("read");
        assert!(due(wanted.expires - 1).await.is_empty());
        assert_eq!(due(wanted.expires).await, std::slice::from_ref(&id));
        let stale = LimitCounters::default();
        sweeper.schedule_next_sweep(&id, &stale, None).await.expect("not changed");
        assert_eq!(due(wanted.expires).await.len(), 1);
        let seen = counters.read_key_counters(&id).await.expect("read");
        sweeper.schedule_next_sweep(&id, &seen, None).await.expect("changed");
        assert!(due(wanted.expires).await.is_empty());
    }
}
