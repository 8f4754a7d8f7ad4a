//! The connection to the stores: always slow, and faulty in the outages of the plan.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::instance_life::InstanceLife;
use super::plan::{OutageKind, OutageWindow};

use crate::injected_faults::InjectedFault;

/// Shared by all callers in a run.
#[derive(Clone)]
pub(crate) struct StoreConditions(Arc<Mutex<Inner>>);

struct Inner {
    outages: Vec<OutageWindow>,
    since: Instant,
    rng: StdRng,
}

impl StoreConditions {
    pub(crate) fn new(outages: Vec<OutageWindow>, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        Self(Arc::new(Mutex::new(Inner { outages, since: Instant::now(), rng })))
    }

    /// Ends all faults.
    pub(crate) fn clear(&self) {
        self.inner().outages.clear();
    }

    /// The fault of one call by a caller with this life.
    pub(crate) fn fault(&self, life: &InstanceLife, target: &str, body: &[u8]) -> InjectedFault {
        let mut inner = self.inner();
        if life.is_over() {
            return InjectedFault::no_answer();
        }
        if !life.step() {
            // This is the last call of a dying instance. It can take effect, but its answer never
            // arrives.
            let silence = InjectedFault::no_answer();
            return if inner.rng.random_bool(0.5) { silence.after() } else { silence };
        }
        let now = inner.since.elapsed();
        let here = |outage: &&OutageWindow| outage.time.contains(&now);
        let outage = inner.outages.iter().find(here).cloned();
        let bad = outage.filter(|outage| inner.rng.random_range(0..100) < outage.share);
        if let Some(fault) = bad.and_then(|outage| fault(outage.kind, target, body)) {
            return fault;
        }
        let mut way = || Duration::from_millis(inner.rng.random_range(0..8));
        InjectedFault::slow(way(), way())
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fault(kind: OutageKind, target: &str, body: &[u8]) -> Option<InjectedFault> {
    let is_send = target.ends_with(".SendMessage");
    let is_write = ["PutItem", "UpdateItem", "DeleteItem"].iter().any(|one| target.ends_with(one));
    let at_state = || body.windows(10).any(|window| window == b"StateTable");
    match kind {
        OutageKind::Throttled => Some(InjectedFault::throttled()),
        OutageKind::Internal => Some(InjectedFault::internal()),
        OutageKind::Lost => Some(InjectedFault::connection_lost()),
        OutageKind::Unanswered => Some(InjectedFault::connection_lost().after()),
        OutageKind::Conflict if target.ends_with(".TransactWriteItems") => {
            Some(InjectedFault::cancelled(&["None", "TransactionConflict"]))
        }
        OutageKind::Conflict if is_write => Some(InjectedFault::conflict()),
        OutageKind::QueueDown if is_send => Some(InjectedFault::internal()),
        OutageKind::BothDown if is_send || at_state() => Some(InjectedFault::internal()),
        OutageKind::Conflict | OutageKind::QueueDown | OutageKind::BothDown => None,
    }
}
