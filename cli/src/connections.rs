//! All connections of one listener: how many are kept, and which have to go.
//!
//! Where there is no room, the oldest connection that has shown no valid credential goes, then the
//! one that is idle. A connection with a valid credential and a request under way is kept.

use crate::connection::{Connection, Times};
use baton_cloud::peer::AddressRanges;
use baton_cloud::settings::InputBounds;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How many connections a listener keeps, and for how long they may do what.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) in_all: usize,
    pub(crate) per_address: usize,
    pub(crate) times: Times,
    /// For the body of a request, where the service has no time of its own.
    pub(crate) body_time: Option<Duration>,
    /// Their connections are many clients'.
    pub(crate) trusted_proxies: AddressRanges,
}

/// Of all files that this process may open, connections to the relay may be so many percent: each
/// may need one to an upstream.
const RELAY_PERCENT: u64 = 45;
/// The same for the admin API and the console.
const ADMIN_PERCENT: u64 = 10;

impl Rules {
    /// Those of the relay's listener, in a process that may open `files`.
    pub(crate) fn of_relay(bounds: &InputBounds, files: u64) -> Self {
        Self::new(bounds, files, RELAY_PERCENT)
    }

    /// Those of the admin API's listener.
    pub(crate) fn of_admin(bounds: &InputBounds, files: u64) -> Self {
        Self { body_time: Some(bounds.head), ..Self::new(bounds, files, ADMIN_PERCENT) }
    }

    fn new(bounds: &InputBounds, files: u64, percent: u64) -> Self {
        let share = usize::try_from(files.saturating_mul(percent) / 100).unwrap_or(usize::MAX);
        let (head, keep_alive, unread) = (bounds.head, bounds.keep_alive, bounds.unread);
        Self {
            in_all: bounds.connections.min(share).max(1),
            per_address: bounds.connections_per_address.max(1),
            times: Times { head, keep_alive, unread },
            body_time: None,
            trusted_proxies: bounds.trusted_proxies.clone(),
        }
    }

    /// How often connections are looked at: often enough for the shortest time.
    fn interval(&self) -> Duration {
        let Times { head, keep_alive, unread } = self.times;
        let shortest = head.min(keep_alive).min(unread);
        (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }
}

/// The connections of one listener. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    rules: Rules,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// By the order in which they came.
    open: BTreeMap<u64, Arc<Connection>>,
    per_address: HashMap<IpAddr, usize>,
}

impl Connections {
    pub(crate) fn new(rules: Rules) -> Self {
        Self(Arc::new(Shared { rules, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection from `address` and takes it in; `None` where there is none:
    /// all others have a valid credential and a request under way.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Arc<Connection>> {
        let rules = &self.0.rules;
        let address = address.to_canonical();
        let mut state = self.state();
        let of_address = state.per_address.get(&address).copied().unwrap_or_default();
        if of_address >= rules.per_address && !rules.trusted_proxies.contain(address) {
            // Where all of its others are at work, the bound for all decides.
            state.close_one(|other| other.address() == address);
        }
        if state.open.len() >= rules.in_all && !state.close_one(|_| true) {
            tracing::warn!(
                "a connection is refused: all {} have a request under way",
                rules.in_all
            );
            return None;
        }
        Some(state.insert(address))
    }

    /// Closes one that may go, because the process has no more files to open.
    pub(crate) fn close_one(&self) {
        self.state().close_one(|_| true);
    }

    /// Forgets one that has ended.
    pub(crate) fn remove(&self, connection: &Connection) {
        self.state().remove(connection.number);
    }

    /// Closes all of them; how many there were.
    pub(crate) fn close_all(&self) -> usize {
        let state = self.state();
        state.open.values().for_each(|connection| connection.close());
        state.open.len()
    }

    /// Closes those that are idle or slow, again and again.
    pub(crate) async fn sweep_until(self, ended: CancellationToken) {
        let mut interval = tokio::time::interval(self.0.rules.interval());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let sweeping = async {
            loop {
                interval.tick().await;
                for connection in self.state().open.values() {
                    if let Some(why) = connection.is_over(&self.0.rules.times) {
                        tracing::debug!("a connection is closed: {why}");
                        connection.close();
                    }
                }
            }
        };
        let _: Option<()> = ended.run_until_cancelled(sweeping).await;
    }
}

impl State {
    fn insert(&mut self, address: IpAddr) -> Arc<Connection> {
        let connection = Arc::new(Connection::new(self.next, address));
        *self.per_address.entry(address).or_default() += 1;
        self.open.insert(self.next, Arc::clone(&connection));
        self.next += 1;
        connection
    }

    fn remove(&mut self, number: u64) {
        let Some(connection) = self.open.remove(&number) else { return };
        let address = connection.address();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// Closes the oldest of those that `is_meant` which may go, if there is one.
    fn close_one(&mut self, is_meant: impl Fn(&Connection) -> bool) -> bool {
        let first = |may_go: &dyn Fn(&Connection) -> bool| {
            let found = self.open.iter().find(|(_, one)| is_meant(one) && may_go(one));
            found.map(|(number, _)| *number)
        };
        let number = first(&|one| !one.is_authenticated()).or_else(|| first(&Connection::is_idle));
        let Some(number) = number else { return false };
        if let Some(connection) = self.open.get(&number) {
            connection.close();
        }
        self.remove(number);
        true
    }
}
