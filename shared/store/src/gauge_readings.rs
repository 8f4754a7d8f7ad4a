//! Reads the values of all gauges.

use crate::health::HealthStore;
use crate::item_names::PENDING;
use crate::pending_events::read_pending;
use crate::permissions::{Action, LIST_CONFIG, Permission, store_handle};
use baton_domain::metric::GaugeReadings;
use baton_runtime::dead_letters::DeadLetters;
use baton_runtime::usage_queue::UsageQueue;
use std::fmt::Display;

store_handle! {
    /// Values of gauges.
    GaugeReader,
    LIST_CONFIG,
    Permission::on_state(&[Action::BatchGetItem], &["health#*"]),
    Permission::on_state(&[Action::Query], &[PENDING])
}

impl GaugeReader {
    /// Reads all gauges. A queue that cannot be read is left out.
    pub async fn read_gauges(
        &self,
        queue: &UsageQueue,
        letters: Option<&DeadLetters>,
    ) -> GaugeReadings {
        let dead_letters = async {
            match letters {
                Some(letters) => ok_or_log("dead letters", letters.count().await),
                None => None,
            }
        };
        let health = HealthStore::new(&self.connection);
        // Boxed, because these futures are large and seldom needed.
        let (accounts, pending, queued, dead_letters) = tokio::join!(
            Box::pin(health.count_account_states()),
            Box::pin(read_pending(&self.connection)),
            Box::pin(queue.count_messages()),
            Box::pin(dead_letters),
        );
        GaugeReadings {
            accounts: ok_or_log("accounts", accounts),
            pending: ok_or_log("pending usage", pending.map(|events| events.len() as u64)),
            queued: ok_or_log("the usage queue", queued),
            dead_letters,
        }
    }
}

fn ok_or_log<T>(what: &str, read: Result<T, impl Display>) -> Option<T> {
    read.inspect_err(|error| tracing::debug!("cannot read {what} for metrics: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PendingEventWriter;
    use crate::testing::{TestTables, open_handle, record};
    use baton_domain::key::Limits;
    use baton_domain::metric::AccountState;

    #[tokio::test]
    async fn gauges_count_accounts_and_pending_events() {
        let tables = TestTables::open().await;
        tables.store_key_group_and_account(Limits::default()).await;
        open_handle!(tables, PendingEventWriter).put(&record(1)).await.expect("stored");
        let readings = open_handle!(tables, GaugeReader).read_gauges(&tables.queue(), None).await;
        let accounts = readings.accounts.expect("counted");
        assert_eq!(accounts.count(AccountState::Ready), 1);
        assert_eq!((readings.pending, readings.queued), (Some(1), Some(0)));
    }
}
