//! All connections of one listener: how many are kept, and which ones are closed.
//!
//! At the limit, the oldest connection that has not shown a valid credential is closed, and
//! if there is none, one that is idle. A connection with a valid credential and an open request is
//! kept.

use crate::connection::{ClientConnection, ConnectionTimeouts};
use baton_runtime::client_address::AddressRanges;
use baton_runtime::settings::Settings;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How many connections a listener keeps, and their time limits.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionRules {
    pub(crate) max_connections: usize,
    pub(crate) per_address: usize,
    pub(crate) times: ConnectionTimeouts,
    /// The time for a request body, if the service does not set one.
    pub(crate) body_time: Option<Duration>,
    /// Proxies whose connections carry the requests of many clients.
    pub(crate) trusted_proxies: AddressRanges,
}

/// The percentage of this process's open-file limit that connections to the relay can use. Each of
/// them can need another connection to an upstream.
const RELAY_PERCENT: u64 = 45;
/// The same percentage for the admin API and the console.
const ADMIN_PERCENT: u64 = 10;

impl ConnectionRules {
    /// The rules for the relay's listener, in a process that can open `files` files.
    pub(crate) fn for_relay(settings: &Settings, files: u64) -> Self {
        Self::new(settings, files, RELAY_PERCENT)
    }

    /// The rules for the admin API's listener.
    pub(crate) fn for_admin(settings: &Settings, files: u64) -> Self {
        Self { body_time: Some(settings.bounds.head), ..Self::new(settings, files, ADMIN_PERCENT) }
    }

    fn new(settings: &Settings, files: u64, percent: u64) -> Self {
        let share = usize::try_from(files.saturating_mul(percent) / 100).unwrap_or(usize::MAX);
        let bounds = &settings.bounds;
        let (head, keep_alive, unread) = (bounds.head, bounds.keep_alive, bounds.unread);
        Self {
            max_connections: bounds.connections.min(share).max(1),
            per_address: bounds.connections_per_address.max(1),
            times: ConnectionTimeouts { head, keep_alive, unread },
            body_time: None,
            trusted_proxies: settings.addresses.trusted_proxies.clone(),
        }
    }

    /// How often connections are checked: often enough for the shortest time limit.
    fn interval(&self) -> Duration {
        let ConnectionTimeouts { head, keep_alive, unread } = self.times;
        let shortest = head.min(keep_alive).min(unread);
        (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }
}

/// The connections of one listener. Cloning shares them.
#[derive(Clone)]
pub(crate) struct ConnectionSet(Arc<ConnectionSetInner>);

struct ConnectionSetInner {
    rules: ConnectionRules,
    state: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    next: u64,
    /// Ordered by arrival.
    connections: BTreeMap<u64, Arc<ClientConnection>>,
    per_address: HashMap<IpAddr, usize>,
}

impl ConnectionSet {
    pub(crate) fn new(rules: ConnectionRules) -> Self {
        Self(Arc::new(ConnectionSetInner { rules, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, OpenConnections> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection from `address` and adds it. Returns `None` if the limit is reached
    /// because all others have a valid credential and an open request.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Arc<ClientConnection>> {
        let rules = &self.0.rules;
        let address = address.to_canonical();
        let mut state = self.state();
        let of_address = state.per_address.get(&address).copied().unwrap_or_default();
        if of_address >= rules.per_address && !rules.trusted_proxies.contains(address) {
            // If all connections of this address are busy, only the total bound applies.
            state.close_one(|other| other.address() == address);
        }
        if state.connections.len() >= rules.max_connections && !state.close_one(|_| true) {
            tracing::warn!(
                "refused a connection, because all {} connections have a request in progress",
                rules.max_connections
            );
            return None;
        }
        Some(state.insert(address))
    }

    /// Closes one connection that can be closed, because the process has no file descriptor left.
    /// Returns whether there was one.
    pub(crate) fn close_one(&self) -> bool {
        self.state().close_one(|_| true)
    }

    /// The time for a request body by the rules of this listener.
    pub(crate) fn body_time(&self) -> Option<Duration> {
        self.0.rules.body_time
    }

    /// Removes a connection that has ended.
    pub(crate) fn remove_connection(&self, connection: &ClientConnection) {
        self.state().remove_by_number(connection.number);
    }

    /// Closes all connections and returns their number.
    pub(crate) fn close_all(&self) -> usize {
        let state = self.state();
        state.connections.values().for_each(|connection| connection.close());
        state.connections.len()
    }

    fn close_overdue(&self) {
        for connection in self.state().connections.values() {
            if let Some(reason) = connection.close_reason(&self.0.rules.times) {
                tracing::debug!("closed a connection: {reason}");
                connection.close();
            }
        }
    }

    /// Repeatedly closes connections that are idle or slow.
    pub(crate) async fn sweep_until(self, ended: CancellationToken) {
        let mut interval = tokio::time::interval(self.0.rules.interval());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let sweeping = async {
            loop {
                interval.tick().await;
                self.close_overdue();
            }
        };
        let _: Option<()> = ended.run_until_cancelled(sweeping).await;
    }
}

impl OpenConnections {
    fn insert(&mut self, address: IpAddr) -> Arc<ClientConnection> {
        let connection = Arc::new(ClientConnection::new(self.next, address));
        *self.per_address.entry(address).or_default() += 1;
        self.connections.insert(self.next, Arc::clone(&connection));
        self.next += 1;
        connection
    }

    fn remove_by_number(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let address = connection.address();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// Closes the oldest connection that matches `is_meant` and can be closed. Returns whether
    /// there was one.
    fn close_one(&mut self, is_meant: impl Fn(&ClientConnection) -> bool) -> bool {
        let first = |may_go: &dyn Fn(&ClientConnection) -> bool| {
            let found = self.connections.iter().find(|(_, one)| is_meant(one) && may_go(one));
            found.map(|(number, _)| *number)
        };
        let number =
            first(&|one| !one.is_authenticated()).or_else(|| first(&ClientConnection::is_idle));
        let Some(number) = number else { return false };
        if let Some(connection) = self.connections.get(&number) {
            connection.close();
        }
        self.remove_by_number(number);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(max_connections: usize, per_address: usize) -> ConnectionSet {
        let minute = Duration::from_mins(1);
        ConnectionSet::new(ConnectionRules {
            max_connections,
            per_address,
            times: ConnectionTimeouts { head: minute, keep_alive: minute, unread: minute },
            body_time: None,
            trusted_proxies: "10.0.0.0/8".parse().unwrap(),
        })
    }

    fn open(connections: &ConnectionSet) -> Vec<u64> {
        connections.state().connections.keys().copied().collect()
    }

    #[tokio::test]
    async fn oldest_unauthenticated_idle_connection_is_closed_first() {
        let connections = connections(3, 100);
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        let first = connections.admit(from(1)).unwrap();
        first.authenticate_for_test();
        let work = first.begin_for_test();
        connections.admit(from(1)).unwrap();
        connections.admit(from(2)).unwrap();
        assert_eq!(open(&connections), [0, 1, 2]);
        connections.admit(from(3)).unwrap();
        assert_eq!(open(&connections), [0, 2, 3], "the oldest without a credential");
        for number in [2, 3] {
            connections.state().connections[&number].authenticate_for_test();
        }
        connections.admit(from(3)).unwrap();
        assert_eq!(open(&connections), [0, 3, 4], "the oldest that is idle");
        let works: Vec<_> = [3, 4]
            .map(|number| {
                let one = Arc::clone(&connections.state().connections[&number]);
                one.authenticate_for_test();
                one.begin_for_test()
            })
            .into();
        assert!(connections.admit(from(4)).is_none(), "all are at work");
        drop((work, works));
        assert!(connections.admit(from(4)).is_some());
    }

    #[tokio::test]
    async fn connections_are_limited_per_address_but_not_for_proxies() {
        let connections = connections(100, 2);
        let from = |first: u8, last: u8| IpAddr::from([first, 0, 2, last]);
        for _ in 0..5 {
            connections.admit(from(192, 1)).unwrap();
            connections.admit(from(10, 1)).unwrap();
        }
        let state = connections.state();
        assert_eq!(state.per_address[&from(192, 1)], 2);
        assert_eq!(state.per_address[&from(10, 1)], 5);
    }
}
