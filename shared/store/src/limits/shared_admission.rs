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
        bounds: &EffectiveLimits,
        id: &RequestId,
        wanted: &Reservation,
    ) -> Result<Admission, StoreError> {
        let scopes = bounds.scopes();
        for tries in 0..TRIES_MAX {
            match self.write_together(self.reservation_actions(bounds, id, wanted)?).await {
                Ok(()) => return Ok(Admission::Admitted(None)),
                Err(CancelledTransaction::Failed(error)) => return Err(error),
                Err(CancelledTransaction::Refused(what)) => return Err(StoreError::Database(what)),
                Err(CancelledTransaction::Busy) => self.back_off(tries).await,
                // Only the key's item can be full: the items of shared limits do not grow.
                Err(CancelledTransaction::Full) => {
                    let key = LimitScope::Key(bounds.key.clone());
                    return Ok(Admission::Blocked(key, BlockReason::Backlog));
                }
                Err(CancelledTransaction::Conditions(_)) => {
                    // Reads all items again to find the limit that blocks the request. The reported
                    // limit is not always the one whose condition failed first.
                    let counted = self.read_counters(&scopes, true).await?;
                    if counted.first().is_some_and(|own| own.open.contains_key(id)) {
                        return Ok(Admission::Admitted(None));
                    }
                    let blocked = bounds.blocked(&counted, wanted.estimate, wanted.at);
                    if let Some((scope, why)) = blocked {
                        return Ok(Admission::Blocked(scope, why));
                    }
                    self.make_limit_item(&LimitScope::Key(bounds.key.clone())).await?;
                }
            }
        }
        Err(StoreError::Conflict)
    }

    fn reservation_actions(
        &self,
        bounds: &EffectiveLimits,
        id: &RequestId,
        wanted: &Reservation,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let table = &self.resources.state_table;
        let own = reserve_in_key(&bounds.own, std::iter::once((id, wanted)))?;
        let mut actions = vec![own.into_action(table, &LimitScope::Key(bounds.key.clone()))];
        let pools = bounds.pools.iter();
        actions.extend(
            pools.map(|(scope, limits)| reserve_in_pool(limits, wanted).into_action(table, scope)),
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
        for tries in 0..TRIES_MAX {
            let own = release_in_key(id, reservation);
            let mut actions = vec![own.into_action(table, &LimitScope::Key(key.clone()))];
            let pools = reservation.pools.iter();
            actions
                .extend(pools.map(|scope| release_in_pool(reservation).into_action(table, scope)));
            match self.write_together(actions).await {
                // A failed condition means that the reservation is closed already.
                Ok(()) | Err(CancelledTransaction::Conditions(_)) => return Ok(()),
                Err(CancelledTransaction::Busy | CancelledTransaction::Full) => {
                    self.back_off(tries).await;
                }
                Err(CancelledTransaction::Failed(error)) => return Err(error),
                Err(CancelledTransaction::Refused(what)) => return Err(StoreError::Database(what)),
            }
        }
        Err(StoreError::Conflict)
    }

    async fn write_together(
        &self,
        actions: Vec<TransactWriteItem>,
    ) -> Result<(), CancelledTransaction> {
        let sent = self.db.transact_write_items().set_transact_items(Some(actions)).send().await;
        sent.map(drop).map_err(CancelledTransaction::from)
    }
}
