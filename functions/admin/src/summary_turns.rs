//! Turns for summaries of long periods: each reads hundreds of partitions, so one caller has one under
//! way, and a process a few.

use crate::api_response::{ApiError, ApiResult};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Long summaries under way in one process.
const IN_ALL: usize = 4;
/// How long a caller waits for a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Who reads long summaries now.
pub(crate) struct SummaryTurns {
    in_all: Arc<Semaphore>,
    by_actor: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to read one; given back when it is dropped.
pub(crate) struct SummaryTurn {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for SummaryTurns {
    fn default() -> Self {
        Self { in_all: Arc::new(Semaphore::new(IN_ALL)), by_actor: Mutex::default() }
    }
}

impl SummaryTurns {
    /// Waits for a turn of this actor.
    ///
    /// # Errors
    /// 429 where others of the same actor, or of all, take too long.
    pub(crate) async fn take(&self, actor: &str) -> ApiResult<SummaryTurn> {
        let own = self.own(actor);
        let taking = async {
            let own = own.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.in_all).acquire_owned().await.ok()?;
            Some(SummaryTurn { _own: own, _of_all: of_all })
        };
        let taken = tokio::time::timeout(WAIT_MAX, taking).await;
        taken.ok().flatten().ok_or_else(|| {
            ApiError::too_many_summaries(
                "other summaries of long periods are being made; ask for them one after the other, \
                 or for 31 days at most",
            )
        })
    }

    fn own(&self, actor: &str) -> Arc<Semaphore> {
        let mut all = self.by_actor.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has none under way and does not wait holds no other reference.
        all.retain(|_, turns| Arc::strong_count(turns) > 1);
        Arc::clone(all.entry(actor.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_for_each_caller_and_few_in_all() {
        let turns = SummaryTurns::default();
        let first = turns.take("a").await.ok().unwrap();
        assert!(turns.take("a").await.is_err(), "one at a time");
        let mut others = Vec::new();
        for actor in ["b", "c", "d"] {
            others.push(turns.take(actor).await.ok().unwrap());
        }
        assert!(turns.take("e").await.is_err(), "few in all");
        drop(first);
        let again = turns.take("a").await.ok().unwrap();
        drop((again, others));
        assert!(turns.take("e").await.is_ok());
        assert_eq!(turns.by_actor.lock().unwrap().len(), 1, "who is done is forgotten");
    }
}
