//! Scheduled maintenance.
//!
//! It sends usage events again that the queue did not accept, settles expired reservations, renews
//! tokens before they expire, checks accounts whose credential was refused, and notifies operators
//! of changes.

pub mod alerts;
mod recovery;
mod sweep;
mod token_renewal;

pub use token_renewal::renew_due_tokens;

use baton_runtime::aws::AwsClients;
use baton_runtime::identity_token::IdentityTokens;
use baton_runtime::notifier::Notifier;
use baton_runtime::settings::Settings;
use baton_runtime::token_endpoint::TokenEndpoint;
use baton_runtime::upstream::{UpstreamCallError, UpstreamClient};
use baton_runtime::usage_queue::UsageQueue;
use baton_store::{RefreshStores, StoreError};
use std::time::Duration;

/// Two ticks of the same minute must not overlap. A tick that crashed must not block the next one
/// for long.
const LEASE: Duration = Duration::from_secs(50);

/// The result of a tick.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MaintenanceReport {
    /// Whether another instance held the lease, so that this one did nothing.
    pub elsewhere: bool,
    /// Pending events that the queue accepted in this tick.
    pub resent: usize,
    /// Expired reservations for which this tick sent an estimated record.
    pub swept: usize,
    /// Tokens that this tick renewed.
    pub renewed: usize,
    /// Accounts whose credential is accepted again.
    pub recovered: usize,
}

/// The clients for external services: upstreams, token endpoints and the receivers of alerts.
#[derive(Clone)]
pub struct OutboundClients {
    upstream: UpstreamClient,
    /// The client for token endpoints.
    pub endpoint: TokenEndpoint,
    /// The sender of alerts.
    pub notifier: Notifier,
}

impl OutboundClients {
    /// Makes the clients with the rules for addresses in `settings`. No I/O.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(aws: &AwsClients, settings: &Settings) -> Result<Self, UpstreamCallError> {
        let upstream = UpstreamClient::new(&settings.timers, settings.upstreams.allow_private)?;
        let files = IdentityTokens::in_folder(settings.secrets.identity_token_dir.clone());
        let endpoint = TokenEndpoint::new(aws, upstream.clone(), files);
        let notifier = Notifier::new(aws, upstream.clone());
        Ok(Self { upstream, endpoint, notifier })
    }
}

/// Maintains the accounts: renews tokens that are due, and probes accounts whose credential was
/// refused.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub async fn maintain_accounts(
    store: &RefreshStores,
    outside: &OutboundClients,
    owner: &str,
) -> Result<MaintenanceReport, StoreError> {
    let renewed = renew_due_tokens(store, &outside.endpoint).await?;
    let recovered = recovery::retry_refused_accounts(store, &outside.upstream, owner).await?;
    Ok(MaintenanceReport { renewed, recovered, ..MaintenanceReport::default() })
}

/// Sends pending usage events and estimated records for expired reservations to the queue.
///
/// A pending event is removed after the queue has accepted it. A crash in between sends it twice,
/// which is harmless because storing an event is idempotent.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub async fn collect_usage(
    store: &RefreshStores,
    queue: &UsageQueue,
    owner: &str,
) -> Result<MaintenanceReport, StoreError> {
    if !store.leases.acquire("refresh", owner, LEASE).await? {
        return Ok(MaintenanceReport { elsewhere: true, ..MaintenanceReport::default() });
    }
    let mut report = MaintenanceReport::default();
    for pending in store.pending.list().await? {
        if let Err(error) = queue.send_raw(pending.body).await {
            tracing::warn!(request_id = %pending.id, "cannot send a pending usage event, it stays pending: {error}");
            break;
        }
        store.pending.remove(&pending.id).await?;
        report.resent += 1;
    }
    report.swept = sweep::sweep(store, queue).await?;
    if report != MaintenanceReport::default() {
        tracing::info!(
            resent = report.resent,
            swept = report.swept,
            "sent pending usage events and expired reservations to the queue"
        );
    }
    Ok(report)
}
