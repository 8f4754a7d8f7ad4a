//! The only module that talks to DynamoDB. [`item_names`] holds the names of items and attributes,
//! the `domain` crate defines what they mean, and each operation here serves one access pattern.

mod account_states;
mod alerts;
mod audit;
mod audit_trail;
mod concurrency_slots;
mod config;
mod config_edit;
mod credential_binding;
mod gauge_readings;
mod health;
mod idempotency;
mod item;
mod item_names;
mod last_used;
mod late_settlement;
mod limits;
mod list;
mod overview;
pub mod pepper;
mod prices;
mod rerate;
mod rollups;
mod scope_settings;
mod secrets;
mod session_pins;
mod sessions;
mod state;
#[cfg(feature = "token-renewal")]
pub mod token_renewal;
mod tokens;
mod transaction;
mod unique_names;
mod usage_commit;
mod usage_events;

pub use alerts::{AlertDelivery, AlertSettings, ChangedLimit, LastAlert};
pub use audit::{AuditChange, AuditRow};
pub use audit_trail::AuditFilter;
pub use config::{AccountPool, PoolMember, TokenState};
pub use config_edit::{ConfigEdit, ListPage};
pub use credential_binding::{credential_binding, token_binding};
pub use gauge_readings::read_gauges;
pub use idempotency::StoredResponse;
pub use item::{Entity, StoredEntity};
pub use limits::Admission;
pub use overview::{DaySumKey, OverviewSnapshot};
pub use rerate::{RerateProgress, RerateResult};
pub use rollups::RollupPeriod;
pub use sessions::{SessionContext, SessionRow};
pub use state::PendingEvent;
pub use tokens::{AccountToken, ListedToken};
pub use unique_names::UniquelyNamed;
pub use usage_commit::{ACTIONS_MAX, CommitError};
pub use usage_events::EventFilter;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata};
use baton_domain::account_selection::SessionPinKey;
use baton_domain::effective_limits::ScopeSettings;
use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::Key;
use baton_domain::scope::LimitScope;
use baton_runtime::aws::AwsClients;
use baton_runtime::cache::{Cache, CacheLifetime};
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::{ResourceNames, Settings};
use baton_runtime::vault::{Vault, VaultError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};

/// The three DynamoDB tables. Clones share connections and caches.
#[derive(Clone)]
pub struct Store {
    db: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    resources: Arc<ResourceNames>,
    event_days: u32,
    clock: Clock,
    random: RandomSource,
    vault: Arc<OnceCell<Vault>>,
    keys: Cache<KeyId, Option<Arc<StoredEntity<Key>>>>,
    pools: Cache<GroupId, Option<Arc<AccountPool>>>,
    prices: prices::PriceCache,
    settings: Cache<LimitScope, Arc<ScopeSettings>>,
    session_pins: Cache<SessionPinKey, Option<session_pins::SessionPin>>,
    health: health::HealthCache,
    /// For each account, the token version for which this process has already requested a renewal.
    renewal_requests: Arc<quick_cache::sync::Cache<AccountId, u64>>,
    /// Limit windows that this process has already recorded as spent.
    blocked: Arc<quick_cache::sync::Cache<String, ()>>,
    /// Kinds of entities whose names have been recorded as items (see [`unique_names`]).
    noted_names: Arc<quick_cache::sync::Cache<String, ()>>,
    /// Requests of this process that wait for admission.
    lines: limits::AdmissionQueues,
    renewal_requested: Arc<Notify>,
}

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused the call or did not answer, and the retries of the SDK are used up.
    #[error("the database failed: {0}")]
    Database(String),
    /// An item does not have the form that this version writes.
    #[error("inconsistent item {pk} / {sk}: {description}")]
    Inconsistent {
        /// Partition key.
        pk: String,
        /// Sort key.
        sk: String,
        /// The inconsistency.
        description: String,
    },
    /// A secret cannot be decrypted, or the data key does not exist yet.
    #[error(transparent)]
    Sealed(#[from] VaultError),
    /// A condition did not hold: another writer was first, an item to create already exists, or an
    /// item to change no longer exists.
    #[error("somebody else changed it in the meantime; read it again")]
    Conflict,
    /// The cursor does not belong to this list.
    #[error("the cursor does not belong to this list")]
    BadCursor,
}

impl Store {
    /// Opens the tables that `resources` in `settings` names. No I/O.
    pub fn new(aws: &AwsClients, settings: &Settings, clock: Clock, random: RandomSource) -> Self {
        let lifetime = CacheLifetime {
            fresh: Duration::from_secs(2),
            stale: Duration::from_secs(10),
            outage: Duration::from_mins(5),
        };
        Self {
            db: aws.dynamodb.clone(),
            kms: aws.kms.clone(),
            resources: Arc::new(settings.resources.clone()),
            event_days: settings.storage.event_days,
            clock,
            random,
            vault: Arc::default(),
            keys: Cache::new(10_000, lifetime),
            pools: Cache::new(1_000, lifetime),
            prices: prices::cache(),
            settings: Cache::new(10_000, lifetime),
            session_pins: Cache::new(10_000, lifetime),
            health: health::HealthCache::default(),
            renewal_requests: Arc::new(quick_cache::sync::Cache::new(1_000)),
            noted_names: Arc::new(quick_cache::sync::Cache::new(16)),
            blocked: Arc::new(quick_cache::sync::Cache::new(1_000)),
            lines: limits::AdmissionQueues::default(),
            renewal_requested: Arc::default(),
        }
    }

    /// The clock that sets the times in items.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The random source that new ids come from.
    pub fn random_source(&self) -> &RandomSource {
        &self.random
    }
}

impl<E> From<aws_sdk_dynamodb::error::SdkError<E>> for StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    fn from(error: aws_sdk_dynamodb::error::SdkError<E>) -> Self {
        let conflict = error.as_service_error().is_some_and(|service| {
            let code = service.code().unwrap_or_default();
            let text = service.message().unwrap_or_default();
            code == "ConditionalCheckFailedException"
                || (code == "TransactionCanceledException"
                    && text.contains("ConditionalCheckFailed"))
        });
        if conflict {
            return Self::Conflict;
        }
        Self::Database(DisplayErrorContext(&error).to_string())
    }
}
