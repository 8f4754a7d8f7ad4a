//! The caretaker: what has to happen on a schedule.
//!
//! So far: usage events that the queue did not take are sent again, and reservations that nobody
//! settled are. Tokens and recovery probes join here.

pub mod alerts;
mod sweep;

use baton_cloud::queue::UsageQueue;
use baton_cloud::store::{Store, StoreError};
use std::time::Duration;

/// Two ticks of one minute must not overlap; a crashed one must not block the next for long.
const LEASE: Duration = Duration::from_secs(50);

/// What a tick has done.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Done {
    /// Another instance is at it; nothing was done.
    pub elsewhere: bool,
    /// Pending events that the queue has taken now.
    pub resent: usize,
    /// Expired reservations that became estimated records now.
    pub swept: usize,
}

/// Does what is due.
///
/// A pending event is removed after the queue has taken it: a crash in between sends it twice,
/// and storing an event is idempotent.
///
/// # Errors
/// When the store cannot be read; the next tick tries again.
pub async fn tick(store: &Store, queue: &UsageQueue, owner: &str) -> Result<Done, StoreError> {
    if !store.lease("refresh", owner, LEASE).await? {
        return Ok(Done { elsewhere: true, ..Done::default() });
    }
    let mut done = Done::default();
    for pending in store.pending().await? {
        if let Err(error) = queue.send_raw(pending.body).await {
            tracing::warn!(request_id = %pending.id, "{error}; it stays pending");
            break;
        }
        store.remove_pending(&pending.id).await?;
        done.resent += 1;
    }
    done.swept = sweep::sweep(store, queue).await?;
    if done != Done::default() {
        tracing::info!(resent = done.resent, swept = done.swept, "left-over usage sent");
    }
    Ok(done)
}
