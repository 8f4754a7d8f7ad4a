//! The only crate that talks to DynamoDB. [`item_names`] holds the names of items and attributes,
//! the `domain` crate defines what they mean, and each operation here serves one access pattern.
//!
//! Operations belong to handles, one for each subject and permission. A function gets the handles of
//! its role ([`RelayStores`], [`StatsStores`], [`RefreshStores`], [`AdminStores`]), so it has no
//! name for what its IAM policy does not allow.

mod account_pool;
mod account_pools;
mod alert_settings;
mod alerts;
mod audit;
mod concurrency_slots;
mod config_editor;
mod config_reader;
mod connection;
mod credential_binding;
mod credentials;
mod data_key;
mod function_stores;
mod gauge_readings;
mod health;
mod health_cache;
mod idempotency;
mod item;
mod item_names;
mod leases;
mod limits;
mod list;
mod overview;
mod pending_events;
pub mod pepper;
pub mod permissions;
mod prices;
mod renewal_requests;
mod rerate;
mod rollups;
mod scope_settings;
mod secrets;
mod session_pin;
mod session_pins;
mod sessions;
mod state_cleanup;
#[cfg(test)]
mod testing;
#[cfg(feature = "token-renewal")]
pub mod token_renewal;
mod tokens;
mod transaction;
mod unique_names;
mod usage_events;
mod usage_writer;

pub use account_pool::{AccountPool, PoolMember, TokenState};
pub use account_pools::AccountPools;
pub use alert_settings::{AlertSettings, AlertSettingsReader};
pub use alerts::{AlertDelivery, AlertMarker, AlertOutbox, AlertStore, ChangedLimit, LastAlert};
pub use audit::{AuditChange, AuditFilter, AuditRow, AuditStore};
pub use concurrency_slots::ConcurrencySlots;
pub use config_editor::{ConfigEdit, ConfigEditor};
pub use config_reader::ConfigReader;
pub use connection::StoreConnection;
pub use credential_binding::{credential_binding, token_binding};
pub use credentials::CredentialReader;
pub use function_stores::{AdminStores, RefreshStores, RelayStores, StatsStores};
pub use gauge_readings::GaugeReader;
pub use health::HealthStore;
pub use idempotency::{ResponseStore, StoredResponse};
pub use item::{Entity, StoredEntity};
pub use item_names::ItemKey;
pub use leases::LeaseStore;
pub use limits::{Admission, LimitReader, LimitStore, LimitSweeper};
pub use list::ListPage;
pub use overview::{OverviewReader, OverviewSnapshot};
pub use pending_events::{PendingEvent, PendingEventQueue, PendingEventWriter};
pub use prices::PriceReader;
pub use renewal_requests::{RenewalRequestReceiver, RenewalRequestSender};
pub use rerate::{RerateProgress, RerateResult, RerateStore};
pub use rollups::{DaySumKey, RollupPeriod, RollupReader};
pub use scope_settings::LimitSettingsReader;
pub use secrets::SecretStore;
pub use session_pins::SessionPins;
pub use sessions::{SessionContext, SessionRow, SessionStore};
pub use state_cleanup::StateCleanup;
pub use tokens::{AccountToken, ListedToken, TokenStore};
pub use transaction::ACTIONS_MAX;
pub use unique_names::{UniqueNames, UniquelyNamed};
pub use usage_events::{EventFilter, UsageReader};
pub use usage_writer::{CommitError, UsageWriter};

use aws_sdk_dynamodb::error::{BuildError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use baton_runtime::vault::VaultError;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused the call or did not answer, and the retries of the SDK are used up.
    #[error("the database failed: {0}")]
    Database(String),
    /// A request cannot be built, because a part that DynamoDB requires is missing.
    #[error("the request cannot be built: {0}")]
    InvalidRequest(#[from] BuildError),
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

impl<E> From<SdkError<E>> for StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    /// For all calls except transactions, which [`transaction`] classifies.
    fn from(error: SdkError<E>) -> Self {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        if code == Some("ConditionalCheckFailedException") {
            return Self::Conflict;
        }
        Self::Database(DisplayErrorContext(&error).to_string())
    }
}
