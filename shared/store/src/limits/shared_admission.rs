//! Admission where shared limits apply: one transaction over the key's item and the items of the
//! shared limits, so that the request counts everywhere or nowhere.
//!
//! DynamoDB rejects a transaction that conflicts with another on the same item. A busy shared limit
//! is therefore tried a bounded number of times, with an exponential wait with jitter.

use super::limit_update::{release_in_key, release_in_pool, reserve_in_key, reserve_in_pool};
use super::{Admission, Store, StoreError};
use crate::transaction::CancelledTransaction;
use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{KeyId, RequestId};
use baton_domain::reservation::{BlockReason, Reservation};
use baton_domain::scope::LimitScope;

/// The most tries for shared limits that other writers keep changing, which take 2 to 4 s in total.
const TRIES_MAX: u32 = 16;

impl Store {
    pub(super) async fn admit_together(
        &self,
        effective_limits: &EffectiveLimits,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<Admission, StoreError> {
        let scopes = effective_limits.scopes();
        for attempt in 0..TRIES_MAX {
            match self
                .write_together(self.reservation_actions(effective_limits, id, reservation)?)
                .await
            {
                Ok(()) => return Ok(Admission::Admitted(None)),
                Err(CancelledTransaction::Failed(error)) => return Err(error),
                Err(CancelledTransaction::Refused(reason)) => {
                    return Err(StoreError::Database(reason));
                }
                Err(CancelledTransaction::Busy) => self.back_off(attempt).await,
                // Only the key's item can be full: the items of shared limits do not grow.
                Err(CancelledTransaction::Full) => {
                    let key = LimitScope::Key(effective_limits.key.clone());
                    return Ok(Admission::Blocked(key, BlockReason::Backlog));
                }
                Err(CancelledTransaction::Conditions(_)) => {
                    // Reads all items again to find the limit that blocks the request. The reported
                    // limit is not always the one whose condition failed first.
                    let counters = self.read_counters(&scopes, true).await?;
                    if counters
                        .first()
                        .is_some_and(|key_counters| key_counters.open_reservations.contains_key(id))
                    {
                        return Ok(Admission::Admitted(None));
                    }
                    let blocked =
                        effective_limits.blocked(&counters, reservation.estimate, reservation.at);
                    if let Some((scope, reason)) = blocked {
                        return Ok(Admission::Blocked(scope, reason));
                    }
                    self.make_limit_item(&LimitScope::Key(effective_limits.key.clone())).await?;
                }
            }
        }
        Err(StoreError::Conflict)
    }

    fn reservation_actions(
        &self,
        effective_limits: &EffectiveLimits,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let table = &self.resources.state_table;
        let key_update =
            reserve_in_key(&effective_limits.own_limits, std::iter::once((id, reservation)))?;
        let mut actions =
            vec![key_update.into_action(table, &LimitScope::Key(effective_limits.key.clone()))];
        let pools = effective_limits.shared_limits.iter();
        actions.extend(
            pools.map(|(scope, limits)| {
                reserve_in_pool(limits, reservation).into_action(table, scope)
            }),
        );
        Ok(actions)
    }

    pub(super) async fn release_together(
        &self,
        key: &KeyId,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<(), StoreError> {
        let table = &self.resources.state_table;
        for attempt in 0..TRIES_MAX {
            let key_update = release_in_key(id, reservation);
            let mut actions = vec![key_update.into_action(table, &LimitScope::Key(key.clone()))];
            let pools = reservation.shared_limits.iter();
            actions
                .extend(pools.map(|scope| release_in_pool(reservation).into_action(table, scope)));
            match self.write_together(actions).await {
                // A failed condition means that the reservation is closed already.
                Ok(()) | Err(CancelledTransaction::Conditions(_)) => return Ok(()),
                Err(CancelledTransaction::Busy | CancelledTransaction::Full) => {
                    self.back_off(attempt).await;
                }
                Err(CancelledTransaction::Failed(error)) => return Err(error),
                Err(CancelledTransaction::Refused(reason)) => {
                    return Err(StoreError::Database(reason));
                }
            }
        }
        Err(StoreError::Conflict)
    }

    async fn write_together(
        &self,
        actions: Vec<TransactWriteItem>,
    ) -> Result<(), CancelledTransaction> {
        let result = self.db.transact_write_items().set_transact_items(Some(actions)).send().await;
        result.map(drop).map_err(CancelledTransaction::from)
    }
}
