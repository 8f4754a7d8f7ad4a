//! Gauges: values that are not counted as events happen, but read when somebody asks for metrics.

use baton_domain::metric::AccountStateCounts;

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
