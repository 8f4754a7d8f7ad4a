//! Scheduled maintenance.
//!
//! It sends usage events again that the queue did not accept, settles expired reservations, renews
//! tokens before they expire, checks accounts whose credential was refused, and notifies operators
//! of changes.

pub mod alerts;
mod recovery;
mod sign_in;
mod sweep;

pub use sign_in::renew_all;

use baton_cloud::aws::Aws;
use baton_cloud::herald::Herald;
use baton_cloud::identity_token::IdentityTokens;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::{Store, StoreError};
use baton_cloud::token_endpoint::TokenEndpoint;
use baton_cloud::upstream::{NoAnswer, Upstream};
use std::time::Duration;

/// Two ticks of the same minute must not overlap. A tick that crashed must not block the next one
/// for long.
const LEASE: Duration = Duration::from_secs(50);

/// The result of a tick.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Done {
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
pub struct Outside {
    upstream: Upstream,
    /// The client for token endpoints.
    pub endpoint: TokenEndpoint,
    /// The sender of alerts.
    pub herald: Herald,
}

impl Outside {
    /// Makes the clients with the rules for addresses in `settings`. No I/O.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(aws: &Aws, settings: &Settings) -> Result<Self, NoAnswer> {
        let upstream = Upstream::new(&settings.timers, settings.allow_private_upstreams)?;
        let files = IdentityTokens::within(settings.identity_token_dir.clone());
        let endpoint = TokenEndpoint::new(aws, upstream.clone(), files);
        let herald = Herald::new(aws, upstream.clone());
        Ok(Self { upstream, endpoint, herald })
    }
}

/// Maintains the accounts: renews tokens that are due, and probes accounts whose credential was
/// refused.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub async fn tend(store: &Store, outside: &Outside, owner: &str) -> Result<Done, StoreError> {
    let renewed = renew_all(store, &outside.endpoint).await?;
    let recovered = recovery::look_again(store, &outside.upstream, owner).await?;
    Ok(Done { renewed, recovered, ..Done::default() })
}

/// Sends pending usage events and estimated records for expired reservations to the queue.
///
/// A pending event is removed after the queue has accepted it. A crash in between sends it twice,
/// which is harmless because storing an event is idempotent.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub async fn tick(store: &Store, queue: &UsageQueue, owner: &str) -> Result<Done, StoreError> {
    if !store.lease("refresh", owner, LEASE).await? {
        return Ok(Done { elsewhere: true, ..Done::default() });
    }
    let mut done = Done::default();
    for pending in store.pending().await? {
        if let Err(error) = queue.send_raw(pending.body).await {
            tracing::warn!(request_id = %pending.id, "cannot send a pending usage event, it stays pending: {error}");
            break;
        }
        store.remove_pending(&pending.id).await?;
        done.resent += 1;
    }
    done.swept = sweep::sweep(store, queue).await?;
    if done != Done::default() {
        tracing::info!(
            resent = done.resent,
            swept = done.swept,
            "sent pending usage events and expired reservations to the queue"
        );
    }
    Ok(done)
}
