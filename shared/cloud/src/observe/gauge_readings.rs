//! Gauges: values that are not counted as events happen, but read when somebody asks for metrics.

use crate::dead_letters::DeadLetters;
use crate::store::{AccountStateCounts, Store};
use crate::usage_queue::UsageQueue;
use std::fmt::Display;

/// The values of all gauges. A value that could not be read is absent.
#[derive(Debug, Default)]
pub struct GaugeReadings {
    /// The number of accounts in each state.
    pub accounts: Option<AccountStateCounts>,
    /// Usage records that the queue did not accept and that wait in the store.
    pub pending: Option<u64>,
    /// Usage records in the queue.
    pub queued: Option<u64>,
    /// Usage records that could not be stored.
    pub dead_letters: Option<u64>,
}

impl GaugeReadings {
    /// Reads all gauges. A role without permission to read a queue (the relay's) leaves that one
    /// out.
    pub async fn read(store: &Store, queue: &UsageQueue, letters: Option<&DeadLetters>) -> Self {
        let dead_letters = async {
            match letters {
                Some(letters) => ok_or_log("dead letters", letters.count().await),
                None => None,
            }
        };
        // Boxed, because these futures are large and seldom needed.
        let (accounts, pending, queued, dead_letters) = tokio::join!(
            Box::pin(store.count_account_states()),
            Box::pin(store.pending()),
            Box::pin(queue.count_messages()),
            Box::pin(dead_letters),
        );
        Self {
            accounts: ok_or_log("accounts", accounts),
            pending: ok_or_log("pending usage", pending.map(|events| events.len() as u64)),
            queued: ok_or_log("the usage queue", queued),
            dead_letters,
        }
    }
}

fn ok_or_log<T>(what: &str, read: Result<T, impl Display>) -> Option<T> {
    read.inspect_err(|error| tracing::debug!("cannot read {what} for metrics: {error}")).ok()
}
