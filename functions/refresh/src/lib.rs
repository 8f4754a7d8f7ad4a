//! The caretaker: what has to happen on a schedule.
//!
//! Usage events that the queue did not take are sent again, reservations that nobody settled are,
//! tokens are renewed ahead of their end, accounts whose credential was refused
//! are asked again, and operators are told what is news.

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
    /// Tokens that were renewed now.
    pub renewed: usize,
    /// Accounts whose credential is taken again.
    pub recovered: usize,
}

/// What reaches out of the house: upstreams, token endpoints, and those who are told.
#[derive(Clone)]
pub struct Outside {
    upstream: Upstream,
    /// Where tokens are renewed.
    pub endpoint: TokenEndpoint,
    /// Through what operators are told.
    pub herald: Herald,
}

impl Outside {
    /// By the rules for addresses in `settings`. No I/O.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(aws: &Aws, settings: &Settings) -> Result<Self, NoAnswer> {
        let upstream = Upstream::new(&settings.timers, settings.allow_private_upstreams)?;
        let files = IdentityTokens::within(settings.identity_token_dir.clone());
        let endpoint = TokenEndpoint::new(aws, upstream.clone(), files);
        let herald = Herald::new(aws, upstream.clone());
        Ok(Self { upstream, endpoint, herald })
    }
}

/// Looks after the accounts: renews tokens whose time has come, and asks those again that refused
/// their credential.
///
/// # Errors
/// When the store cannot be read; the next tick tries again.
pub async fn tend(store: &Store, outside: &Outside, owner: &str) -> Result<Done, StoreError> {
    let renewed = renew_all(store, &outside.endpoint).await?;
    let recovered = recovery::look_again(store, &outside.upstream, owner).await?;
    Ok(Done { renewed, recovered, ..Done::default() })
}

/// Brings left-over usage home.
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
