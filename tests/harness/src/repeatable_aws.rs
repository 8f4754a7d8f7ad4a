//! The local stack for tests that can be repeated: everything happens in the order of the calls, and
//! nothing depends on chance or on other tests.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_config::Region;
use baton_local::{LocalAws, MillisecondClock};
use baton_runtime::clock::Clock;

/// Opens a stack in memory that has the time of `clock`.
pub fn open(clock: &Clock) -> LocalAws {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let clock = clock.clone();
    let clock = MillisecondClock::new(move || clock.now().as_millisecond());
    let local = LocalAws::open_inline(clock).expect("stores in memory");
    let config = local.sdk_config();
    let retries = config.retry_config().expect("the local stack's retries").clone();
    // The SDK keeps a retry quota for each service and region, so each stack is a region.
    let region = format!("in-step-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let config = config
        .into_builder()
        .retry_config(retries.with_use_static_exponential_base(true))
        .region(Region::new(region))
        .build();
    local.with_sdk_config(config)
}
