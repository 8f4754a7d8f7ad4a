//! The one door to DynamoDB. What the items are called is in [`names`], what they mean in
//! `domain`; every operation here is one access pattern.

mod alerts;
mod audit;
mod binding;
mod config;
mod edit;
mod event;
mod glance;
mod health;
mod item;
mod last_used;
mod late;
mod ledger;
mod limits;
mod list;
mod moves;
mod names;
mod prices;
mod replay;
mod rerate;
mod seats;
mod secrets;
mod sessions;
mod state;
mod survey;
mod tally;
mod terms;
mod tokens;
mod trail;
mod transaction;
mod unique_names;

pub use alerts::{AlertSettings, Delivery, LastTold, Touched};
pub use audit::{AuditRow, Change};
pub use binding::{of_credential, of_token};
pub use config::{Pool, PoolMember, TokenState};
pub use edit::{Edit, Page};
pub use event::EventFilter;
pub use glance::{Glance, Part};
pub use item::{Entity, Stored};
pub use ledger::{ACTIONS_MAX, CommitError};
pub use limits::Admission;
pub use replay::KeptAnswer;
pub use rerate::{Rerate, Rerated};
pub use sessions::{SeenSession, SessionRow};
pub use state::PendingEvent;
pub use survey::Survey;
pub use tally::Period;
pub use tokens::{ListedToken, Token, TokenSecrets};
pub use trail::TrailFilter;
pub use unique_names::Named;

use crate::aws::Aws;
use crate::cache::{Cache, Lifetime};
use crate::clock::Clock;
use crate::dice::Dice;
use crate::settings::{Resources, Settings};
use crate::vault::{Sealed, Vault};
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata};
use baton_domain::bounds::Terms;
use baton_domain::choose::Conversation;
use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::Key;
use baton_domain::scope::Scope;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};

/// The three tables. Cloning shares connections and caches.
#[derive(Clone)]
pub struct Store {
    db: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    resources: Arc<Resources>,
    event_days: u32,
    clock: Clock,
    dice: Dice,
    vault: Arc<OnceCell<Vault>>,
    keys: Cache<KeyId, Option<Arc<Stored<Key>>>>,
    pools: Cache<GroupId, Option<Arc<Pool>>>,
    prices: prices::Prices,
    terms: Cache<Scope, Arc<Terms>>,
    moves: Cache<Conversation, Option<moves::Move>>,
    health: health::Memory,
    /// Versions of tokens that this process has asked new ones for.
    asked: Arc<quick_cache::sync::Cache<AccountId, u64>>,
    /// Windows of limits that this process has noted as spent.
    blocked: Arc<quick_cache::sync::Cache<String, ()>>,
    /// Kinds whose names are noted.
    names_noted: Arc<quick_cache::sync::Cache<String, ()>>,
    /// Who waits to be admitted.
    lines: limits::Lines,
    renewal_asked: Arc<Notify>,
}

/// The store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or did not answer; the SDK's own retries are used up.
    #[error("the database failed: {0}")]
    Database(String),
    /// An item is not what this version writes.
    #[error("inconsistent item {pk} / {sk}: {what}")]
    Inconsistent {
        /// Partition key.
        pk: String,
        /// Sort key.
        sk: String,
        /// What is wrong with it.
        what: String,
    },
    /// A secret does not open, or there is no data key yet.
    #[error(transparent)]
    Sealed(#[from] Sealed),
    /// Another writer was there first, or what should be new exists, or what should exist is gone.
    #[error("somebody else has changed it meanwhile; read it again")]
    Conflict,
    /// The cursor is not one that a list has given out.
    #[error("the cursor is not one of this list")]
    BadCursor,
}

impl Store {
    /// The tables named by `resources`. No I/O.
    pub fn new(aws: &Aws, settings: &Settings, clock: Clock, dice: Dice) -> Self {
        let lifetime = Lifetime {
            fresh: Duration::from_secs(2),
            stale: Duration::from_secs(10),
            outage: Duration::from_mins(5),
        };
        Self {
            db: aws.dynamodb.clone(),
            kms: aws.kms.clone(),
            resources: Arc::new(settings.resources.clone()),
            event_days: settings.event_days,
            clock,
            dice,
            vault: Arc::default(),
            keys: Cache::new(10_000, lifetime),
            pools: Cache::new(1_000, lifetime),
            prices: prices::cache(),
            terms: Cache::new(10_000, lifetime),
            moves: Cache::new(10_000, lifetime),
            health: health::Memory::default(),
            asked: Arc::new(quick_cache::sync::Cache::new(1_000)),
            names_noted: Arc::new(quick_cache::sync::Cache::new(16)),
            blocked: Arc::new(quick_cache::sync::Cache::new(1_000)),
            lines: limits::Lines::default(),
            renewal_asked: Arc::default(),
        }
    }

    /// The clock that this store stamps items by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The dice that this store makes ids with.
    pub fn dice(&self) -> &Dice {
        &self.dice
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
