//! `baton up`: the whole system on one machine, from the same libraries as on AWS.

use crate::connections::{ConnectionRules, ConnectionSet};
use crate::output::print_line;
use crate::runtime::open_files;
use crate::server::ShutdownTokens;
use crate::{CliError, observe, server};
use baton_admin::{FirstStart, first_start};
use baton_local::LocalAws;
use baton_refresh::{OutboundClients, renew_due_tokens};
use baton_relay::{Relay, UnsentRecords};
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::{Settings, addresses, storage};
use baton_runtime::telemetry;
use baton_runtime::usage_queue::UsageQueue;
use baton_store::pepper::load_pepper;
use baton_store::{AdminStores, RefreshStores, RelayStores, StatsStores, StoreConnection};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The time for all remaining work after the time for answers is over.
const FINAL_WORK_TIMEOUT: Duration = Duration::from_secs(9);
/// The part of that time in which ended answers can be recorded.
const RECORDING_TIMEOUT: Duration = Duration::from_secs(6);

/// The message for records that are missing after a stop.
pub(crate) const RECORDS_LOST_MESSAGE: &str = "stopped; the usage of some answers could not be recorded, \
     and the log has the details";

/// The message for records of this process that exist only in its log.
pub(crate) fn only_in_log(count: u64) -> String {
    format!(
        "stopped; {count} usage records of this process are only in the log, and `baton redrive \
         --file LOG` sends them to the queue"
    )
}

/// Runs the system until Ctrl-C or SIGTERM.
///
/// # Errors
/// Returns an error if the system cannot start.
pub async fn run_up(settings: Settings) -> Result<(), CliError> {
    let started = Instant::now();
    telemetry::init(settings.telemetry.log_format, &settings.telemetry.log);
    let stop_requested = listen_for_stop()?;
    let exports = observe::install_telemetry(&settings)?;
    print_line(format!("opening the stores in {}", settings.storage.data_dir.display()));
    let grace = settings.bounds.shutdown_grace;
    let system = Box::pin(prepare(settings)).await?;
    banner(&system, started.elapsed());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(system.serve_until(shutdown.clone()));
    stop_requested.await;
    let seconds = grace.as_secs_f64();
    print_line(format!(
        "shutting down; open requests can continue for {seconds} s and are then ended, and their \
         usage is stored"
    ));
    shutdown.cancel();
    // The panic's message is not repeated, because it can quote anything.
    let served =
        serving.await.map_err(|_| CliError::Failed("it panicked; the log has the place".into()));
    let _late = tokio::time::timeout(Duration::from_secs(1), exports.finish()).await;
    print_line(match &served {
        Ok(UnfinishedWork::Nothing) => "stopped; all usage is stored".to_owned(),
        Ok(UnfinishedWork::Queued) => {
            "stopped; some usage is still in the queue and is stored at the next start".to_owned()
        }
        Ok(UnfinishedWork::Logged(count)) => only_in_log(*count),
        Ok(UnfinishedWork::Unrecorded) | Err(_) => RECORDS_LOST_MESSAGE.to_owned(),
    });
    served.map(drop)
}

/// A system that has its addresses and stores but does not serve yet.
pub struct PreparedSystem {
    /// The relay's address.
    pub relay: SocketAddr,
    /// The admin API's address.
    pub admin: SocketAddr,
    /// The resources that the first start created.
    pub first_start: FirstStart,
    listeners: ServiceListeners,
    local: LocalAws,
    connection: Arc<StoreConnection>,
    queue: UsageQueue,
    outside: OutboundClients,
    aws: AwsClients,
    settings: Settings,
}

/// Binds the addresses and opens the stores in the data directory.
///
/// # Errors
/// An address is in use, or the stores cannot be opened.
pub async fn prepare(mut settings: Settings) -> Result<PreparedSystem, CliError> {
    let relay_listener = server::bind(settings.addresses.listen, "--listen").await?;
    let admin_listener = server::bind(settings.addresses.admin_listen, "--admin-listen").await?;
    let local =
        LocalAws::open(Some(&settings.storage.data_dir)).await.map_err(CliError::from_cause)?;
    settings.resources = local.resources();

    let aws = AwsClients::new(&local.sdk_config());
    let connection = StoreConnection::new(&aws, &settings, Clock::system(), RandomSource::system());
    let admin_stores = AdminStores::new(&connection);
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let pepper =
        load_pepper(&aws, &settings, &admin_stores.secrets).await.map_err(CliError::from_cause)?;
    let first_start = first_start(&settings, pepper.clone(), admin_stores.clone())
        .await
        .map_err(CliError::Failed)?;
    let relay = Relay::new(&settings, pepper.clone(), RelayStores::new(&connection), queue.clone())
        .map_err(CliError::from_cause)?;
    let admin = baton_admin::router(&settings, pepper.clone(), admin_stores, &aws)
        .map_err(CliError::from_cause)?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(CliError::from_cause);
    Ok(PreparedSystem {
        relay: address(&relay_listener)?,
        admin: address(&admin_listener)?,
        first_start,
        listeners: ServiceListeners { relay, relay_listener, admin, admin_listener },
        local,
        connection,
        queue,
        outside: OutboundClients::new(&aws, &settings).map_err(CliError::from_cause)?,
        aws,
        settings,
    })
}

/// The two services and their listeners.
pub(crate) struct ServiceListeners {
    pub(crate) relay: Relay,
    pub(crate) relay_listener: TcpListener,
    pub(crate) admin: axum::Router,
    pub(crate) admin_listener: TcpListener,
}

impl PreparedSystem {
    /// Serves until `shutdown`, then ends the parts in the order in which they feed each other.
    pub async fn serve_until(self, shutdown: CancellationToken) -> UnfinishedWork {
        let gauges = AdminStores::new(&self.connection).gauges;
        observe::observe_gauges(&self.settings, &self.aws, gauges, shutdown.clone());
        let queue_done = CancellationToken::new();
        let stats_task = tokio::spawn(feed_stats(
            self.local.clone(),
            StatsStores::new(&self.connection),
            queue_done.clone(),
        ));
        let maintenance_task = tokio::spawn(run_maintenance(
            self.local,
            RefreshStores::new(&self.connection),
            self.outside,
            self.queue,
            shutdown.clone(),
        ));
        let recorded = self.listeners.serve(&self.settings, shutdown).await;
        queue_done.cancel();
        let ends = async { tokio::join!(stats_task, maintenance_task) };
        let is_stored =
            tokio::time::timeout(FINAL_WORK_TIMEOUT.saturating_sub(RECORDING_TIMEOUT), ends)
                .await
                .is_ok();
        match recorded {
            ShutdownRecords::Sent if is_stored => UnfinishedWork::Nothing,
            ShutdownRecords::Sent | ShutdownRecords::Pending => UnfinishedWork::Queued,
            ShutdownRecords::Logged(count) => UnfinishedWork::Logged(count),
            ShutdownRecords::Not => UnfinishedWork::Unrecorded,
        }
    }
}

/// The work that a stop left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfinishedWork {
    /// Nothing.
    Nothing,
    /// Usage that is in the queue and not stored yet.
    Queued,
    /// The number of records that exist only in the log.
    Logged(u64),
    /// Answers whose records could not be written in time.
    Unrecorded,
}

/// Where the records of answers are when a stop is over. The worst case that applies is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShutdownRecords {
    /// All records are in the queue.
    Sent,
    /// Some records wait in the store until refresh sends them to the queue.
    Pending,
    /// The number of records since the start of the process that exist only in the log.
    Logged(u64),
    /// Some records could not be written in time.
    Not,
}

impl ShutdownRecords {
    /// `pending_before` is the number of records that waited before the stop began.
    fn from_counts(is_complete: bool, pending_before: u64, unsent: UnsentRecords) -> Self {
        match unsent {
            _ if !is_complete => Self::Not,
            UnsentRecords { logged: 1.., .. } => Self::Logged(unsent.logged),
            UnsentRecords { pending, .. } if pending > pending_before => Self::Pending,
            UnsentRecords { .. } => Self::Sent,
        }
    }
}

impl ServiceListeners {
    /// Serves until `shutdown`, then for the time of a graceful stop, and then ends what is still
    /// open.
    pub(crate) async fn serve(
        self,
        settings: &Settings,
        shutdown: CancellationToken,
    ) -> ShutdownRecords {
        let Self { relay, relay_listener, admin, admin_listener } = self;
        let (files, grace) = (open_files(), settings.bounds.shutdown_grace);
        let tokens = ShutdownTokens { requested: shutdown, ..ShutdownTokens::default() };
        let pending_before = Arc::new(AtomicU64::new(0));
        let graceful_end = {
            let (relay, tokens) = (relay.clone(), tokens.clone());
            let pending_before = Arc::clone(&pending_before);
            tokio::spawn(async move {
                tokens.requested.cancelled().await;
                pending_before.store(relay.unsent_records().pending, Ordering::Relaxed);
                relay.begin_stop();
                tokio::time::sleep(grace).await;
                relay.cancel_responses();
                tokens.cancelled.cancel();
            })
        };
        let relay_connections = ConnectionSet::new(ConnectionRules::for_relay(settings, files));
        let admin_connections = ConnectionSet::new(ConnectionRules::for_admin(settings, files));
        tokio::join!(
            server::serve_connections(
                relay_listener,
                relay.clone(),
                relay_connections.clone(),
                admin_connections.clone(),
                tokens.clone(),
            ),
            server::serve_connections(
                admin_listener,
                admin,
                admin_connections.clone(),
                relay_connections.clone(),
                tokens.clone(),
            ),
        );
        // Meanwhile, answers whose client has left are read to their end.
        let forced_end = async {
            tokens.cancelled.cancelled().await;
            tokio::time::sleep(RECORDING_TIMEOUT).await;
        };
        let is_complete = tokio::select! {
            () = relay.drain() => true,
            // Updates of account health can still wait for a store that hangs, but they are not
            // usage.
            () = forced_end => relay.unsent_records().in_flight == 0,
        };
        graceful_end.abort();
        if !is_complete {
            tracing::error!(
                "some answers could not be recorded before the shutdown ended; their usage is lost"
            );
        }
        ShutdownRecords::from_counts(
            is_complete,
            pending_before.load(Ordering::Relaxed),
            relay.unsent_records(),
        )
    }
}

/// Passes messages of the usage queue to stats.
async fn feed_stats(local: LocalAws, store: StatsStores, queue_drained: CancellationToken) {
    let handler = move |event| {
        let store = store.clone();
        async move { baton_stats::handle(&store, event).await }
    };
    local.consume_usage(queue_drained, handler).await;
}

/// Runs refresh on its schedule.
async fn run_maintenance(
    local: LocalAws,
    store: RefreshStores,
    outside: OutboundClients,
    queue: UsageQueue,
    shutdown: CancellationToken,
) {
    // A request that waits for a token triggers a renewal before the next minute.
    let (maintenance_store, endpoint) = (store.clone(), outside.endpoint.clone());
    let prompt = shutdown.clone().run_until_cancelled_owned(async move {
        loop {
            maintenance_store.renewals.wait_for_renewal_request().await;
            log_failure("refresh", renew_due_tokens(&maintenance_store, &endpoint).await.map(drop));
        }
    });
    let tick = move || {
        let (store, queue, outside) = (store.clone(), queue.clone(), outside.clone());
        async move {
            log_failure(
                "refresh",
                baton_refresh::collect_usage(&store, &queue, "local").await.map(drop),
            );
            log_failure(
                "refresh",
                baton_refresh::maintain_accounts(&store, &outside, "local").await.map(drop),
            );
            let run = baton_refresh::alerts::send_alerts(&store, &outside.notifier, "local").await;
            log_failure("alerts", run.map(drop));
        }
    };
    tokio::join!(prompt, local.run_schedule(shutdown, tick));
}

fn log_failure(part: &str, result: Result<(), impl std::fmt::Display>) {
    if let Err(error) = result {
        tracing::error!("{part}: {error}");
    }
}

/// Serves only the stores over HTTP, until Ctrl-C or SIGTERM.
///
/// # Errors
/// The stores cannot be opened, or the address is in use.
pub async fn serve_stores(settings: &Settings) -> Result<(), CliError> {
    telemetry::init(settings.telemetry.log_format, &settings.telemetry.log);
    let stop_requested = listen_for_stop()?;
    let listener =
        server::bind(settings.addresses.stores_listen, addresses::BATON_STORES_LISTEN.name).await?;
    let local =
        LocalAws::open(Some(&settings.storage.data_dir)).await.map_err(CliError::from_cause)?;
    let address = listener.local_addr().map_err(CliError::from_cause)?;
    let resources = local.resources();
    let first_start = prepare_first_start(settings, &local).await?;
    if let Some(token) = &first_start.admin_token {
        print_line(format!("# the admin token, shown only once: {}", token.expose()));
    }
    if let Some(key) = &first_start.key {
        print_line(format!("# the first key, shown only once: {}", key.expose()));
    }
    print_line("# the stores are ready; in another terminal:");
    for (name, value) in [
        (storage::AWS_ENDPOINT_URL.name, format!("http://{address}")),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        (storage::BATON_CONFIG_TABLE.name, resources.config_table),
        (storage::BATON_STATE_TABLE.name, resources.state_table),
        (storage::BATON_USAGE_TABLE.name, resources.usage_table),
        (storage::BATON_USAGE_QUEUE_URL.name, resources.usage_queue_url),
        (storage::BATON_DEAD_LETTER_QUEUE_URL.name, resources.dead_letter_queue_url),
        (storage::BATON_DATA_KEY_ID.name, resources.data_key_id),
    ] {
        print_line(format!("export {name}={value}"));
    }
    let shutdown = CancellationToken::new();
    let serving = local.serve(listener, shutdown.clone());
    tokio::select! {
        result = serving => result.map_err(CliError::from_cause),
        () = stop_requested => Ok(()),
    }
}

/// Creates in new stores what `baton up` creates at its first start, since the functions do not
/// create it.
async fn prepare_first_start(
    settings: &Settings,
    local: &LocalAws,
) -> Result<FirstStart, CliError> {
    let mut settings = settings.clone();
    settings.resources = local.resources();
    let aws = AwsClients::new(&local.sdk_config());
    let connection = StoreConnection::new(&aws, &settings, Clock::system(), RandomSource::system());
    let stores = AdminStores::new(&connection);
    let pepper =
        load_pepper(&aws, &settings, &stores.secrets).await.map_err(CliError::from_cause)?;
    first_start(&settings, pepper, stores).await.map_err(CliError::Failed)
}

/// Waits for Ctrl-C or SIGTERM. It listens from the moment of the call, before the future is
/// polled.
pub(crate) fn listen_for_stop() -> Result<impl Future<Output = ()>, CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::from_cause)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::from_cause)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints what a person who has just started the system needs. Secrets are shown only when they are
/// new.
fn banner(system: &PreparedSystem, elapsed: Duration) {
    print_line(format!(
        "baton {} is ready in {} ms",
        env!("CARGO_PKG_VERSION"),
        elapsed.as_millis()
    ));
    print_line(format!("  relay          http://{}", system.relay));
    print_line(format!("  admin API      http://{}/api/v1", system.admin));
    let first_start = &system.first_start;
    if let Some(name) = &first_start.account {
        print_line(format!("  first account  {name}, with the key in ANTHROPIC_API_KEY"));
    }
    if let Some(token) = &first_start.admin_token {
        print_line(format!("  admin token    {}", token.expose()));
    }
    print_line(format!(
        "  console        http://{}/console (sign in with the admin token)",
        system.admin
    ));
    if let Some(key) = &first_start.key {
        let listening = || format!("http://{}", system.relay);
        let relay_url = system.settings.addresses.relay_url.clone().unwrap_or_else(listening);
        print_line("\nThe first key is shown only once. Connect a client with:\n");
        print_line(format!(
            "export ANTHROPIC_BASE_URL={relay_url} ANTHROPIC_AUTH_TOKEN={}",
            key.expose()
        ));
    }
    if first_start.admin_token.is_some() {
        print_line(
            "\nThe admin token is also shown only once. The operator's commands read it from \
             BATON_ADMIN_TOKEN.",
        );
    }
}
