//! Concurrency slots of accounts with `max_concurrency`. Other accounts cause no store calls here.

use crate::RelayState;
use crate::pending_usage::{ConcurrencySlot, PendingUsage};
use baton_domain::account::Account;
use baton_domain::id::{AccountId, RequestId};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

impl RelayState {
    /// Takes a slot of the account, which expires after `deadline` and the reservation margin. If
    /// the store is down, the request continues without a slot.
    pub(crate) async fn acquire_slot(
        &self,
        account: &Account,
        request: &RequestId,
        deadline: Instant,
    ) -> ConcurrencySlot {
        let Some(max) = account.max_concurrency else { return ConcurrencySlot::NotNeeded };
        let remaining =
            deadline.saturating_duration_since(Instant::now()) + self.limits.reservation_margin;
        let remaining = SignedDuration::try_from(remaining).unwrap_or(SignedDuration::MAX);
        let expires = self.store.clock().now().saturating_add(remaining).unwrap_or(Timestamp::MAX);
        let slot_request = (request, expires.as_second());
        // Boxed, so that the future of a request without a slot stays small.
        match Box::pin(self.store.slots.acquire_slot(&account.id, max, slot_request)).await {
            Ok(true) => ConcurrencySlot::Taken,
            Ok(false) => ConcurrencySlot::Full,
            Err(error) => {
                tracing::warn!(account_id = %account.id, "cannot count the concurrent requests of \
                     an account, it is used without the count: {error}");
                ConcurrencySlot::NotNeeded
            }
        }
    }

    /// Releases the slot of a pending usage, if it has one.
    pub(crate) async fn release_slot(&self, pending_usage: &PendingUsage) {
        if pending_usage.slot == ConcurrencySlot::Taken {
            self.release_account_slot(&pending_usage.account, &pending_usage.model_call.id).await;
        }
    }

    /// Releases a slot that was taken.
    pub(crate) async fn release_account_slot(&self, account: &AccountId, request: &RequestId) {
        let release = Box::pin(self.store.slots.release_slot(account, request));
        if let Err(error) = self.in_store_time(release).await {
            tracing::warn!(account_id = %account, "cannot release a concurrency slot, it stays \
                 until it expires: {error}");
        }
    }
}
