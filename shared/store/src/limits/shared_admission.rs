//! Admission where shared limits apply: one transaction over the key's item and the items of the
//! shared limits, so that the request counts everywhere or nowhere.
//!
//! DynamoDB rejects a transaction that conflicts with another on the same item. A busy shared limit
//! is therefore tried a bounded number of times, with an exponential wait with jitter.

use super::limit_update::{
    release_in_key, release_in_shared_limit, reserve_in_key, reserve_in_shared_limit,
};
use super::{Admission, LimitStore};
use crate::StoreError;
use crate::transaction::{CancelledTransaction, TransactionAction};
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{KeyId, RequestId};
use baton_domain::reservation::{BlockReason, Reservation};
use baton_domain::scope::LimitScope;

/// The most tries for shared limits that other writers keep changing, which take 2 to 4 s in total.
const TRIES_MAX: u32 = 16;

pub(super) async fn admit_together(
    limits: &LimitStore,
    effective_limits: &EffectiveLimits,
    id: &RequestId,
    reservation: &Reservation,
) -> Result<Admission, StoreError> {
    let (connection, scopes) = (&limits.connection, effective_limits.scopes());
    for attempt in 0..TRIES_MAX {
        match connection
            .transact(reservation_actions(limits, effective_limits, id, reservation)?)
            .await
        {
            Ok(()) => return Ok(Admission::Admitted(None)),
            Err(CancelledTransaction::Contended | CancelledTransaction::Throttled(_)) => {
                connection.back_off(attempt).await;
            }
            // Only the key's item can be full: the items of shared limits do not grow.
            Err(CancelledTransaction::Full) => {
                let key = LimitScope::Key(effective_limits.key.clone());
                return Ok(Admission::Blocked(key, BlockReason::Backlog));
            }
            Err(CancelledTransaction::Conditions(_)) => {
                // Reads all items again to find the limit that blocks the request. The reported
                // limit is not always the one whose condition failed first.
                let counters = limits.reader().read_counters(&scopes, true).await?;
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
                limits.make_limit_item(&LimitScope::Key(effective_limits.key.clone())).await?;
            }
            Err(failed) => return Err(failed.into()),
        }
    }
    Err(StoreError::Conflict)
}

fn reservation_actions(
    limits: &LimitStore,
    effective_limits: &EffectiveLimits,
    id: &RequestId,
    reservation: &Reservation,
) -> Result<Vec<TransactionAction>, StoreError> {
    let connection = &limits.connection;
    let key_update =
        reserve_in_key(&effective_limits.own_limits, std::iter::once((id, reservation)))?;
    let mut actions =
        vec![key_update.into_action(connection, &LimitScope::Key(effective_limits.key.clone()))];
    let shared_limits = effective_limits.shared_limits.iter();
    actions.extend(shared_limits.map(|(scope, limits)| {
        reserve_in_shared_limit(limits, reservation).into_action(connection, scope)
    }));
    Ok(actions)
}

pub(super) async fn release_together(
    limits: &LimitStore,
    key: &KeyId,
    id: &RequestId,
    reservation: &Reservation,
) -> Result<(), StoreError> {
    let connection = &limits.connection;
    for attempt in 0..TRIES_MAX {
        let key_update = release_in_key(id, reservation);
        let mut actions = vec![key_update.into_action(connection, &LimitScope::Key(key.clone()))];
        let shared_limits = reservation.shared_limits.iter();
        actions.extend(
            shared_limits
                .map(|scope| release_in_shared_limit(reservation).into_action(connection, scope)),
        );
        match connection.transact(actions).await {
            // A failed condition means that the reservation is closed already.
            Ok(()) | Err(CancelledTransaction::Conditions(_)) => return Ok(()),
            Err(
                CancelledTransaction::Contended
                | CancelledTransaction::Throttled(_)
                | CancelledTransaction::Full,
            ) => {
                connection.back_off(attempt).await;
            }
            Err(failed) => return Err(failed.into()),
        }
    }
    Err(StoreError::Conflict)
}
