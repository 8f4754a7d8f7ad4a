//! AWS on one machine: stores, queue, key service, event source and schedule, as template.yaml
//! defines them (see `definitions`), with the operations that Baton calls.
//!
//! The real AWS clients use it in process (`LocalAws::sdk_config`) or over loopback (`LocalAws::serve`).
//! The callers pass the functions as closures: of Baton this crate knows only the names of the
//! resources.

mod clock;
mod connector;
mod data_dir;
pub mod definitions;
mod dynamo;
mod error;
mod event_source;
mod executor;
mod http;
mod kms;
mod queue;
mod schedule;
mod store_reply;
mod stores;

use std::{
    future::Future,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use baton_runtime::settings::ResourceNames;
use definitions::{REFRESH_INTERVAL, TABLES, USAGE_BATCH_SIZE, USAGE_QUEUE};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use clock::MillisecondClock;
pub use error::LocalError;
use event_source::QueuePoller;
use executor::StoreExecutor;
use stores::LocalStores;

const EXPIRY_SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// The local stack; clones share it. The lock of the data directory is released with the last
/// clone.
#[derive(Clone)]
pub struct LocalAws {
    stores: LocalStores,
    /// The way of this value's clients to the stores.
    sdk_config: SdkConfig,
}

impl LocalAws {
    /// Opens or creates all tables, queues and keys of the local stack, under `dir` or in memory.
    ///
    /// # Errors
    /// The data cannot be opened, for example because another process has the directory open. The
    /// error is one line for the user.
    pub async fn open(dir: Option<&Path>) -> Result<Self, LocalError> {
        Self::open_with_clock(dir, MillisecondClock::system()).await
    }

    /// Like `open`, with another clock for the queue and for tables in memory.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_with_clock(
        dir: Option<&Path>,
        clock: MillisecondClock,
    ) -> Result<Self, LocalError> {
        let dir = dir.map(Path::to_owned);
        let opening = tokio::task::spawn_blocking(move || {
            LocalStores::open(dir.as_deref(), &TABLES, clock, StoreExecutor::OffThread)
        });
        let stores = opening.await.map_err(|cause| LocalError::store("stores", cause))??;
        tokio::spawn(sweep_periodically(Arc::downgrade(stores.inner())));
        Ok(Self::over(stores))
    }

    /// A stack in memory that does everything on the caller's thread in the order of the calls, and
    /// nothing in the background, so that a test with a seed can repeat it.
    ///
    /// # Errors
    /// As `open`.
    #[cfg(feature = "test-support")]
    pub fn open_inline(clock: MillisecondClock) -> Result<Self, LocalError> {
        let stores = LocalStores::open(None, &TABLES, clock, StoreExecutor::Inline)?;
        Ok(Self::over(stores))
    }

    fn over(stores: LocalStores) -> Self {
        Self { sdk_config: connector::sdk_config(stores.clone()), stores }
    }

    /// Deletes expired items and messages. Unless opened inline, the stack does that once a minute.
    pub async fn sweep_expired(&self) {
        self.stores.inner().sweep_expired().await;
    }

    /// A configuration with which real AWS clients reach these stores and nothing else.
    pub fn sdk_config(&self) -> SdkConfig {
        self.sdk_config.clone()
    }

    /// The same stack, whose clients (its own consumer included) use `sdk_config`. A test passes a
    /// configuration with a connection that fails.
    #[must_use]
    pub fn with_sdk_config(&self, sdk_config: SdkConfig) -> Self {
        Self { stores: self.stores.clone(), sdk_config }
    }

    /// The template's resources by their local names.
    pub fn resources(&self) -> ResourceNames {
        ResourceNames::local()
    }

    /// Serves all stores on a loopback listener until `shutdown`.
    ///
    /// # Errors
    /// The listener is not on a loopback address.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), LocalError> {
        http::serve_stores(self.stores.clone(), listener, shutdown).await
    }

    /// Feeds the usage queue to `handler` as Lambda does. After `shutdown` it continues until the
    /// queue is empty, for at most 10 s, so cancel it after the senders have stopped.
    pub async fn consume_usage<F, Fut>(&self, shutdown: CancellationToken, handler: F)
    where
        F: Fn(SqsEvent) -> Fut,
        Fut: Future<Output = SqsBatchResponse> + Send + 'static,
    {
        let source = QueuePoller {
            client: aws_sdk_sqs::Client::new(&self.sdk_config()),
            queue: USAGE_QUEUE,
            batch_size: USAGE_BATCH_SIZE,
            queues: self.stores.queues().clone(),
        };
        source.consume(shutdown, handler).await;
    }

    /// Calls `tick` at once and then at the rate of the refresh function, until `shutdown`.
    pub async fn run_schedule<F, Fut>(&self, shutdown: CancellationToken, tick: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        schedule::run_at_rate(REFRESH_INTERVAL, shutdown, tick).await;
    }
}

/// Deletes expired items and messages once a minute while the stores are in use.
async fn sweep_periodically(stores: Weak<stores::StoresInner>) {
    loop {
        tokio::time::sleep(EXPIRY_SWEEP_INTERVAL).await;
        let Some(stores) = stores.upgrade() else { return };
        stores.sweep_expired().await;
    }
}
