//! Stores what a request shows about its account. The write does not delay the request and happens
//! only if the health changes.

use crate::RelayState;
use baton_domain::health::{AccountHealth, after, after_success};
use baton_domain::id::AccountId;
use baton_domain::verdict::AccountEffect;
use baton_protocol::rate_limit_headers::read_utilization;
use http::HeaderMap;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long an answer waits for a write that is still running.
const PATIENCE: Duration = Duration::from_secs(1);

/// A change of an account's health that is being written to the store.
pub(crate) struct PendingHealthUpdate(pub(crate) Option<JoinHandle<()>>);

impl PendingHealthUpdate {
    /// Nothing has to be written.
    pub(crate) fn no_change() -> Self {
        Self(None)
    }

    /// Waits until the change is stored, but at most [`PATIENCE`]. Without the wait, Lambda could
    /// freeze the process after the answer and delay the write.
    pub(crate) async fn wait_until_stored(self) {
        if let Some(writing) = self.0 {
            let _either_way = tokio::time::timeout(PATIENCE, writing).await;
        }
    }
}

impl RelayState {
    /// Stores the effect of a failure on the account.
    pub(crate) fn note_failure(
        &self,
        account: &AccountId,
        effect: AccountEffect,
    ) -> PendingHealthUpdate {
        let now = self.store.clock().now();
        self.note_health_change(account, move |health| after(health, &effect, now))
    }

    /// Stores a successful answer for `model` and the utilization from its headers.
    pub(crate) fn note_success(
        &self,
        account: &AccountId,
        model: &str,
        headers: &HeaderMap,
    ) -> PendingHealthUpdate {
        let (now, utilization) = (self.store.clock().now(), read_utilization(headers));
        let model = model.to_owned();
        self.note_health_change(account, move |health| {
            after_success(health, &model, utilization, now)
        })
    }

    /// Applies `change` in memory, and writes it to the store if it changes anything.
    pub(crate) fn note_health_change(
        &self,
        account: &AccountId,
        change: impl Fn(&AccountHealth) -> Option<AccountHealth> + Send + Sync + 'static,
    ) -> PendingHealthUpdate {
        if !self.store.health.change_health_in_memory(account, &change) {
            return PendingHealthUpdate::no_change();
        }
        let (store, account) = (self.store.clone(), account.clone());
        PendingHealthUpdate(Some(self.background_tasks.spawn(async move {
            if let Err(error) = store.health.write_health(&account, change).await {
                tracing::warn!(account_id = %account, "cannot store the health of an account: \
                     {error}");
            }
        })))
    }
}
