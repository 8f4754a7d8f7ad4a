//! Groups concurrent requests of this process that need the limit item of the same key. The first
//! request is sent at once; the requests that arrive during its update share the next one.
//!
//! A shared update admits exactly the requests that separate updates would admit one after the
//! other, or it admits none. In that case the item shows which requests a limit blocks, and the
//! others are tried one by one. So a request of an idle key does not wait, and a busy key needs few
//! writes, even if its open requests have made its item large.

use super::admission_queue::{Admission, AdmissionWaiter};
use super::read::parse_counters;
use super::{LimitStore, UpdateRefusal};
use crate::StoreError;
use crate::item_names::OPEN;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{KeyId, RequestId};
use baton_domain::reservation::{BlockReason, Reservation};
use baton_domain::scope::LimitScope;
use futures_util::future::join_all;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Admits a request to which only its key's limits apply, together with other waiting requests
/// of this process.
pub(super) async fn admit_queued(
    limits: &LimitStore,
    effective_limits: &EffectiveLimits,
    id: &RequestId,
    reservation: &Reservation,
) -> Result<Admission, StoreError> {
    let (result_sender, receiver) = oneshot::channel();
    let (effective_limits, id, reservation) =
        (effective_limits.clone(), id.clone(), reservation.clone());
    let key = effective_limits.key.clone();
    if let Some(first) = limits.connection.admission_queues.join(AdmissionWaiter {
        effective_limits,
        id,
        reservation,
        result_sender,
    }) {
        // A separate task, because it admits other requests as well and must not end when this
        // one does.
        tokio::spawn(serve_queue(limits.clone(), key, first));
    }
    receiver
        .await
        .unwrap_or_else(|_| Err(StoreError::Database("the process is shutting down".to_owned())))
}

/// Admits the first request, then the requests that have arrived in the meantime.
async fn serve_queue(limits: LimitStore, key: KeyId, first: AdmissionWaiter) {
    let mut group = vec![first];
    while !group.is_empty() {
        admit_group(&limits, &key, group).await;
        group = limits.connection.admission_queues.next(&key);
    }
}

async fn admit_group(limits: &LimitStore, key: &KeyId, group: Vec<AdmissionWaiter>) {
    let group =
        if group.len() > 1 { admit_together_in_key(limits, key, group).await } else { group };
    join_all(group.into_iter().map(|waiter| async {
        let admission =
            limits.admit_alone(&waiter.effective_limits, &waiter.id, &waiter.reservation).await;
        send_admission(limits, waiter, admission).await;
    }))
    .await;
}

/// Tries one update for all requests, and returns those that must be tried one by one. These
/// are all of them if the item does not exist yet or another writer held it.
async fn admit_together_in_key(
    limits: &LimitStore,
    key: &KeyId,
    group: Vec<AdmissionWaiter>,
) -> Vec<AdmissionWaiter> {
    let scope = LimitScope::Key(key.clone());
    let Some(first) = group.first() else { return group };
    let at = first.reservation.at;
    let each = group.iter().map(|waiter| (&waiter.id, &waiter.reservation));
    let Ok(change) = super::limit_update::reserve_in_key(&first.effective_limits.own_limits, each)
    else {
        return group;
    };
    let (is_admitted, item) = match limits.reserve(&scope, change).await {
        Ok(item) => (true, item),
        Err(UpdateRefusal::Condition(item)) if item.contains_key(OPEN) => (false, item),
        Err(UpdateRefusal::Condition(_) | UpdateRefusal::Busy) => return group,
        Err(UpdateRefusal::Full) => {
            for waiter in group {
                let blocked = Admission::Blocked(scope.clone(), BlockReason::Backlog);
                send_admission(limits, waiter, Ok(blocked)).await;
            }
            return Vec::new();
        }
        Err(UpdateRefusal::Failed(error)) => {
            for waiter in group {
                send_admission(limits, waiter, Err(StoreError::Database(error.to_string()))).await;
            }
            return Vec::new();
        }
    };
    let Ok(counters) = parse_counters(&item) else { return group };
    if is_admitted {
        limits.forget_ended_windows(&scope, &item, at).await;
        let counters = Arc::new(counters);
        for waiter in group {
            send_admission(limits, waiter, Ok(Admission::Admitted(Some(Arc::clone(&counters)))))
                .await;
        }
        return Vec::new();
    }
    let mut others = Vec::new();
    for waiter in group {
        let counters = std::slice::from_ref(&counters);
        let is_open =
            counters.iter().any(|counters| counters.open_reservations.contains_key(&waiter.id));
        match waiter.effective_limits.blocked(
            counters,
            waiter.reservation.estimate,
            waiter.reservation.at,
        ) {
            Some((scope, reason)) if !is_open => {
                send_admission(limits, waiter, Ok(Admission::Blocked(scope, reason))).await;
            }
            _ => others.push(waiter),
        }
    }
    others
}

/// Sends the result to the waiting request. If the request is gone, its reservation is
/// released.
async fn send_admission(
    limits: &LimitStore,
    waiter: AdmissionWaiter,
    admission: Result<Admission, StoreError>,
) {
    let AdmissionWaiter { effective_limits, id, reservation, result_sender } = waiter;
    if let Err(Ok(Admission::Admitted(_))) = result_sender.send(admission)
        && let Err(error) = limits.release(&effective_limits.key, &id, &reservation).await
    {
        tracing::warn!(request_id = %id, "cannot release a reservation, it stays until it \
             expires: {error}");
    }
}
