//! `baton serve`: the container form, relay and admin API in one process against real AWS.
//!
//! The deployed functions consume the queue and run the schedule.

use crate::output::print_line;
use crate::up::{ServiceListeners, ShutdownRecords};
use crate::{CliError, observe, server, up};
use baton_relay::Relay;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::telemetry;
use baton_runtime::usage_queue::UsageQueue;
use baton_store::pepper::load_pepper;
use baton_store::{AdminStores, RelayStores, StoreConnection};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// When it cannot start.
pub async fn run_server(settings: Settings) -> Result<(), CliError> {
    telemetry::init(settings.telemetry.log_format, &settings.telemetry.log);
    settings.require_resources().map_err(|bad| CliError::Usage(bad.to_string()))?;
    let stop_requested = up::listen_for_stop()?;
    let exports = observe::install_telemetry(&settings)?;
    let relay_listener = server::bind(settings.addresses.listen, "--listen").await?;
    let admin_listener = server::bind(settings.addresses.admin_listen, "--admin-listen").await?;
    let aws = AwsClients::from_env(&settings).await;
    let connection = StoreConnection::new(&aws, &settings, Clock::system(), RandomSource::system());
    let admin_stores = AdminStores::new(&connection);
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let pepper =
        load_pepper(&aws, &settings, &admin_stores.secrets).await.map_err(CliError::from_cause)?;
    let relay = Relay::new(&settings, pepper.clone(), RelayStores::new(&connection), queue)
        .map_err(CliError::from_cause)?;
    let admin = baton_admin::router(&settings, pepper.clone(), admin_stores.clone(), &aws)
        .map_err(CliError::from_cause)?;

    let shutdown = CancellationToken::new();
    observe::observe_gauges(&settings, &aws, admin_stores.gauges, shutdown.clone());
    print_line(format!(
        "the relay listens on http://{}, the admin API on http://{}",
        settings.addresses.listen, settings.addresses.admin_listen
    ));
    let signal = shutdown.clone();
    let seconds = settings.bounds.shutdown_grace.as_secs_f64();
    tokio::spawn(async move {
        stop_requested.await;
        print_line(format!(
            "shutting down; open requests can continue for {seconds} s and are then ended, and \
             their usage is sent to the queue"
        ));
        signal.cancel();
    });
    let listeners = ServiceListeners { relay, relay_listener, admin, admin_listener };
    let recorded = listeners.serve(&settings, shutdown).await;
    let _late = tokio::time::timeout(Duration::from_secs(1), exports.finish()).await;
    print_line(match recorded {
        ShutdownRecords::Sent => "stopped; all usage is in the queue".to_owned(),
        ShutdownRecords::Pending => {
            "stopped; all usage is in the queue, or in the store until refresh sends it".to_owned()
        }
        ShutdownRecords::Logged(count) => up::only_in_log(count),
        ShutdownRecords::Not => up::RECORDS_LOST_MESSAGE.to_owned(),
    });
    Ok(())
}
