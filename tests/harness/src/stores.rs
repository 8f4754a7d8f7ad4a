//! The stores of all functions over one connection, for tests that act as several functions.

use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_store::{AdminStores, RefreshStores, RelayStores, StatsStores, StoreConnection};

/// The stores of all functions. They share their caches, as in `baton up`.
#[derive(Clone)]
pub struct AllStores {
    /// What the relay may do.
    pub relay: RelayStores,
    /// What stats may do.
    pub stats: StatsStores,
    /// What refresh may do.
    pub refresh: RefreshStores,
    /// What the admin function may do.
    pub admin: AdminStores,
}

impl AllStores {
    /// Opens the tables that `settings` names. No I/O.
    pub fn new(aws: &AwsClients, settings: &Settings, clock: Clock, random: RandomSource) -> Self {
        let connection = StoreConnection::new(aws, settings, clock, random);
        Self {
            relay: RelayStores::new(&connection),
            stats: StatsStores::new(&connection),
            refresh: RefreshStores::new(&connection),
            admin: AdminStores::new(&connection),
        }
    }

    /// The clock that sets the times in items.
    pub fn clock(&self) -> &Clock {
        self.admin.clock()
    }

    /// The random source that new ids come from.
    pub fn random_source(&self) -> &RandomSource {
        self.admin.random_source()
    }
}
