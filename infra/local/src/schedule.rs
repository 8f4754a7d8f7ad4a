//! The part of `EventBridge` Scheduler: calls a function at a fixed rate.

use std::{future::Future, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Calls `tick` at once and then at the rate, one call at a time, until `shutdown`. A running tick
/// is finished. A tick that panics is logged, and the schedule continues.
pub(crate) async fn run_at_rate<F, Fut>(every: Duration, shutdown: CancellationToken, tick: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // The panic hook has logged the place. The panic's message is left out because it can quote
        // anything.
        if tokio::spawn(tick()).await.is_err() {
            tracing::error!("a scheduled call panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn schedule_runs_at_its_rate_until_shutdown() {
        let shutdown = CancellationToken::new();
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let tick = move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move { assert_ne!(number, 1, "the second tick fails") }
        };
        let running = tokio::spawn(run_at_rate(Duration::from_mins(1), shutdown.clone(), tick));
        tokio::time::sleep(Duration::from_secs(150)).await;
        shutdown.cancel();
        running.await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 3, "at 0, 60 and 120 seconds");
    }
}
