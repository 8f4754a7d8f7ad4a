//! The places of accounts with `max_concurrency`. An account without it costs nothing here.

use crate::Means;
use crate::receipt::{Receipt, Seat};
use baton_domain::account::Account;
use baton_domain::id::{AccountId, RequestId};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

impl Means {
    /// Takes a place at the account until `deadline`. A store that is down stops nobody.
    pub(crate) async fn take_seat(
        &self,
        account: &Account,
        request: &RequestId,
        deadline: Instant,
    ) -> Seat {
        let Some(most) = account.max_concurrency else { return Seat::NotNeeded };
        let left = deadline.saturating_duration_since(Instant::now()) + self.reservation_margin;
        let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
        let expires = self.store.clock().now().saturating_add(left).unwrap_or(Timestamp::MAX);
        let wanted = (request, expires.as_second());
        // Boxed, so that requests without seats stay small.
        match Box::pin(self.store.take_seat(&account.id, most, wanted)).await {
            Ok(true) => Seat::Taken,
            Ok(false) => Seat::Full,
            Err(error) => {
                tracing::warn!(account_id = %account.id, "it is used uncounted: {error}");
                Seat::NotNeeded
            }
        }
    }

    /// Leaves the receipt's place, if it has one.
    pub(crate) async fn leave_seat(&self, receipt: &Receipt) {
        if receipt.seat == Seat::Taken {
            self.leave(&receipt.account, &receipt.question.id).await;
        }
    }

    /// Leaves a place that was taken.
    pub(crate) async fn leave(&self, account: &AccountId, request: &RequestId) {
        let leaving = Box::pin(self.store.leave_seat(account, request));
        if let Err(error) = self.in_store_time(leaving).await {
            tracing::warn!(account_id = %account, "a seat is left to expire: {error}");
        }
    }
}
