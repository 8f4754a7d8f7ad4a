//! The store handles of each function. A function has exactly the handles for its tasks, and the
//! IAM policy of the function in `template.yaml` grants exactly the permissions of these handles.

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

/// Declares a structure with the handles of one function: a constructor, the clock and the random
/// source of its connection, and the permissions of all its handles.
macro_rules! function_stores {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $handle:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            connection: Arc<StoreConnection>,
            $(#[doc = concat!("See [`", stringify!($handle), "`].")] pub $field: $handle,)+
        }

        impl $name {
            /// Creates the handles. They share `connection`. No I/O.
            pub fn new(connection: &Arc<StoreConnection>) -> Self {
                Self {
                    connection: Arc::clone(connection),
                    $($field: $handle::new(connection),)+
                }
            }

            /// Returns the clock from which the times in stored items come.
            pub fn clock(&self) -> &Clock {
                &self.connection.clock
            }

            /// Returns the random source from which new ids come.
            pub fn random_source(&self) -> &RandomSource {
                &self.connection.random
            }

            /// Returns the permissions that the handles need.
            pub fn permissions() -> Vec<Permission> {
                [$($handle::PERMISSIONS),+].concat()
            }
        }
    };
}

function_stores! {
    /// The handles of the relay. It reads the configuration, admits requests, changes the health of
    /// accounts, and leaves work for refresh in the store.
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
    /// The handles of stats. It stores usage and settles reservations.
    StatsStores {
        usage: UsageWriter,
        alerts: AlertMarker,
    }
}

function_stores! {
    /// The handles of refresh. It renews tokens, settles expired reservations, sends pending events
    /// again, and sends alerts.
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
    /// The handles of the admin function. It changes the configuration, reads everything, writes
    /// the audit trail, and resets state.
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
