//! Reads the values of all gauges.

use crate::Store;
use baton_domain::metric::GaugeReadings;
use baton_runtime::dead_letters::DeadLetters;
use baton_runtime::usage_queue::UsageQueue;
use std::fmt::Display;

/// Reads all gauges. A role without permission to read a queue (the relay's) leaves that one out.
pub async fn read_gauges(
    store: &Store,
    queue: &UsageQueue,
    letters: Option<&DeadLetters>,
) -> GaugeReadings {
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
    GaugeReadings {
        accounts: ok_or_log("accounts", accounts),
        pending: ok_or_log("pending usage", pending.map(|events| events.len() as u64)),
        queued: ok_or_log("the usage queue", queued),
        dead_letters,
    }
}

fn ok_or_log<T>(what: &str, read: Result<T, impl Display>) -> Option<T> {
    read.inspect_err(|error| tracing::debug!("cannot read {what} for metrics: {error}")).ok()
}
