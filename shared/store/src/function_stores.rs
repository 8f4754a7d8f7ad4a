//! The stores of each function: the handles for what its role may do, and no others. `template.yaml`
//! grants the same permissions.

use crate::permissions::Permission;
use crate::{
    AccountPools, AlertMarker, AlertOutbox, AlertSettingsReader, AlertStore, AuditStore,
    ConcurrencySlots, ConfigEditor, ConfigReader, CredentialReader, GaugeReader, HealthStore,
    LeaseStore, LimitReader, LimitSettingsReader, LimitStore, LimitSweeper, OverviewReader,
    PendingEventQueue, PendingEventWriter, PriceReader, RenewalRequestReceiver,
    RenewalRequestSender, RerateStore, ResponseStore, RollupReader, SecretStore, SessionPins,
    SessionStore, StateCleanup, StoreConnection, TokenStore, UniqueNames, UsageReader, UsageWriter,
};
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use std::sync::Arc;

/// Declares the stores of a function.
macro_rules! function_stores {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $handle:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            connection: Arc<StoreConnection>,
            $(#[doc = concat!("See [`", stringify!($handle), "`].")] pub $field: $handle,)+
        }

        impl $name {
            /// Makes the handles. No I/O.
            pub fn new(connection: &Arc<StoreConnection>) -> Self {
                Self {
                    connection: Arc::clone(connection),
                    $($field: $handle::new(connection),)+
                }
            }

            /// The clock that sets the times in items.
            pub fn clock(&self) -> &Clock {
                &self.connection.clock
            }

            /// The random source that new ids come from.
            pub fn random_source(&self) -> &RandomSource {
                &self.connection.random
            }

            /// What the handles may do.
            pub fn permissions() -> Vec<Permission> {
                [$($handle::PERMISSIONS),+].concat()
            }
        }
    };
}

function_stores! {
    /// What the relay may do: read the configuration, admit requests, change health, and hand work
    /// to refresh.
    RelayStores {
        config: ConfigReader,
        pools: AccountPools,
        prices: PriceReader,
        limit_settings: LimitSettingsReader,
        credentials: CredentialReader,
        health: HealthStore,
        limits: LimitStore,
        counters: LimitReader,
        alerts: AlertMarker,
        slots: ConcurrencySlots,
        session_pins: SessionPins,
        renewals: RenewalRequestSender,
        pending: PendingEventWriter,
    }
}

function_stores! {
    /// What stats may do: store usage and settle reservations.
    StatsStores {
        usage: UsageWriter,
        alerts: AlertMarker,
    }
}

function_stores! {
    /// What refresh may do: renew tokens, sweep reservations, send pending events again, and alert.
    RefreshStores {
        config: ConfigReader,
        prices: PriceReader,
        limit_settings: LimitSettingsReader,
        credentials: CredentialReader,
        alert_settings: AlertSettingsReader,
        health: HealthStore,
        counters: LimitReader,
        sweeper: LimitSweeper,
        alerts: AlertStore,
        outbox: AlertOutbox,
        tokens: TokenStore,
        renewals: RenewalRequestReceiver,
        leases: LeaseStore,
        pending: PendingEventQueue,
    }
}

function_stores! {
    /// What the admin function may do: change the configuration, read everything, write the audit
    /// trail, and reset state.
    AdminStores {
        config: ConfigReader,
        editor: ConfigEditor,
        names: UniqueNames,
        prices: PriceReader,
        limit_settings: LimitSettingsReader,
        credentials: CredentialReader,
        secrets: SecretStore,
        alert_settings: AlertSettingsReader,
        outbox: AlertOutbox,
        health: HealthStore,
        cleanup: StateCleanup,
        counters: LimitReader,
        tokens: TokenStore,
        usage: UsageReader,
        rollups: RollupReader,
        overview: OverviewReader,
        rerates: RerateStore,
        audit: AuditStore,
        sessions: SessionStore,
        responses: ResponseStore,
        gauges: GaugeReader,
    }
}
