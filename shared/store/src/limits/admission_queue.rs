//! The requests of this process that wait for the limit item of the same key.

use crate::StoreError;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{KeyId, RequestId};
use baton_domain::limit::minute;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::{BlockReason, LimitCounters, Reservation};
use baton_domain::scope::LimitScope;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The most requests in one update. An expression can have 4 KB (quotas page of the DynamoDB guide,
/// 2026-11), and each request takes about 55 bytes of the condition.
const TOGETHER_MAX: usize = 50;

/// Whether a request is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The request is admitted. If only the key's item was involved, these are its counters,
    /// including this request.
    Admitted(Option<Arc<LimitCounters>>),
    /// A limit of this scope blocks the request.
    Blocked(LimitScope, BlockReason),
}

/// For each key with an update in progress, the requests that wait for it.
#[derive(Clone, Default)]
pub(crate) struct AdmissionQueues(Arc<Mutex<HashMap<KeyId, Vec<AdmissionWaiter>>>>);

/// A request that waits for admission.
pub(crate) struct AdmissionWaiter {
    pub(super) effective_limits: EffectiveLimits,
    pub(super) id: RequestId,
    pub(super) reservation: Reservation,
    pub(super) result_sender: oneshot::Sender<Result<Admission, StoreError>>,
}

impl AdmissionQueues {
    fn lock_queues(&self) -> MutexGuard<'_, HashMap<KeyId, Vec<AdmissionWaiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the request to the key's queue and returns `None`. If the key has no queue, it starts
    /// an empty one and returns the request, which the caller then has to admit.
    pub(super) fn join(&self, waiter: AdmissionWaiter) -> Option<AdmissionWaiter> {
        let mut queues = self.lock_queues();
        if let Some(waiters) = queues.get_mut(&waiter.effective_limits.key) {
            waiters.push(waiter);
            return None;
        }
        queues.insert(waiter.effective_limits.key.clone(), Vec::new());
        Some(waiter)
    }

    /// The requests of the next update, longest waiting first. Removes the queue if it is empty.
    pub(super) fn next(&self, key: &KeyId) -> Vec<AdmissionWaiter> {
        let mut queues = self.lock_queues();
        let Some(waiters) = queues.get_mut(key) else { return Vec::new() };
        let count = count_compatible(waiters);
        let group = waiters.drain(..count).collect();
        if count == 0 {
            queues.remove(key);
        }
        group
    }
}

/// How many of the first requests fit into one update: they have the same limits, are in the same
/// minute, and no money limit is smaller than the sum of their estimates.
fn count_compatible(waiters: &[AdmissionWaiter]) -> usize {
    let Some(first) = waiters.first() else { return 0 };
    let mut sum = PicoUsd::ZERO;
    let is_compatible = |waiter: &&AdmissionWaiter| {
        sum += waiter.reservation.estimate;
        waiter.effective_limits == first.effective_limits
            && minute(waiter.reservation.at) == minute(first.reservation.at)
            && !waiter.effective_limits.exceeds_every_window(sum)
    };
    waiters.iter().take(TOGETHER_MAX).take_while(is_compatible).count().max(1)
}
