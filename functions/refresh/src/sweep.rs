//! Reservations that have expired: their requests crashed, or their records are lost. Each becomes
//! an estimated record, which settles it like any other.
//!
//! The record has the request's own id and time, hence the same place in the store: whichever of
//! it and a late true record is stored first is the only one. It goes through the queue, behind
//! true records that are in there already.

use baton_cloud::queue::UsageQueue;
use baton_cloud::store::{Store, StoreError};
use baton_domain::usage::Usage;

/// How long a swept reservation has for being settled before it is sent once more.
const PATIENCE_SECONDS: i64 = 600;

/// Sends a record for each expired reservation; returns how many.
pub(crate) async fn sweep(store: &Store, queue: &UsageQueue) -> Result<usize, StoreError> {
    let now = store.clock().now().as_second();
    let prices = store.prices().await;
    let mut swept = 0;
    for key in store.due_limits(now).await? {
        let counted = store.counted(&key).await?;
        let mut next = None;
        for (id, reservation) in &counted.open {
            let mut due = reservation.expires;
            if due <= now {
                // The price that its estimate was made of.
                let price = prices.cost(&Usage::default(), &reservation.model, reservation.at);
                let record = reservation.given_up(id.clone(), key.clone(), &price.version);
                if let Err(error) = queue.send(&record).await {
                    tracing::warn!(request_id = %id, "{error}; the reservation stays open");
                    return Ok(swept);
                }
                tracing::warn!(request_id = %id, key_id = %key, cost_usd = %record.cost_usd,
                    "a request was never settled; it is counted as estimated");
                swept += 1;
                due = now + PATIENCE_SECONDS;
            }
            next = Some(next.map_or(due, |other: i64| other.min(due)));
        }
        store.look_again(&key, &counted, next).await?;
    }
    Ok(swept)
}
