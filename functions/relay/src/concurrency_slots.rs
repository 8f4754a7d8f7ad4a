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
        let Some(most) = account.max_concurrency else { return ConcurrencySlot::NotNeeded };
        let left = deadline.saturating_duration_since(Instant::now()) + self.reservation_margin;
        let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
        let expires = self.store.clock().now().saturating_add(left).unwrap_or(Timestamp::MAX);
        let wanted = (request, expires.as_second());
        // Boxed, so that the future of a request without a slot stays small.
        match Box::pin(self.store.acquire_slot(&account.id, most, wanted)).await {
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
    pub(crate) async fn release_slot(&self, receipt: &PendingUsage) {
        if receipt.seat == ConcurrencySlot::Taken {
            self.release_account_slot(&receipt.account, &receipt.question.id).await;
        }
    }

    /// Releases a slot that was taken.
    pub(crate) async fn release_account_slot(&self, account: &AccountId, request: &RequestId) {
        let leaving = Box::pin(self.store.release_slot(account, request));
        if let Err(error) = self.in_store_time(leaving).await {
            tracing::warn!(account_id = %account, "cannot release a concurrency slot, it stays \
                 until it expires: {error}");
        }
    }
}
