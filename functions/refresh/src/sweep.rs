//! Sweeps expired reservations, whose requests crashed or whose records are lost. Each becomes an
//! estimated record, which settles the reservation as any other record does.
//!
//! The record has the id and time of the request, hence the same place in the store. Of this record
//! and a late real one, only the first to be stored counts. It goes through the queue, behind real
//! records that are already in it.

use baton_domain::usage::BilledUsage;
use baton_runtime::usage_queue::UsageQueue;
use baton_store::{RefreshStores, StoreError};

/// How long a swept reservation can stay open before its record is sent again.
const RESEND_AFTER_SECONDS: i64 = 600;

/// Sends a record for each expired reservation. Returns how many.
pub(crate) async fn sweep(store: &RefreshStores, queue: &UsageQueue) -> Result<usize, StoreError> {
    let now = store.clock().now().as_second();
    let prices = store.prices.load().await;
    let mut swept = 0;
    for key in store.sweeper.due_limits(now).await? {
        let counters = store.counters.read_key_counters(&key).await?;
        let mut next = None;
        for (id, reservation) in &counters.open_reservations {
            let mut due = reservation.expires;
            if due <= now {
                // The price that the estimate was computed with.
                let price =
                    prices.cost(&BilledUsage::default(), &reservation.model, reservation.at);
                let record = reservation.to_expired_record(id.clone(), key.clone(), &price.version);
                if let Err(error) = queue.send(&record).await {
                    tracing::warn!(request_id = %id, "cannot settle an expired reservation, it stays open: {error}");
                    return Ok(swept);
                }
                tracing::warn!(request_id = %id, key_id = %key, cost_usd = %record.cost_usd,
                    "a request was never settled; its reserved cost is counted as an estimate");
                swept += 1;
                due = now + RESEND_AFTER_SECONDS;
            }
            next = Some(next.map_or(due, |other: i64| other.min(due)));
        }
        store.sweeper.schedule_next_sweep(&key, &counters, next).await?;
    }
    Ok(swept)
}
