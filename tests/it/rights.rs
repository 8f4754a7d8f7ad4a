//! The store calls of each function are allowed by its policy, and no policy lets a function act as
//! another one. The simulation checks relay, stats and refresh against the same policies in all its
//! runs.

use std::sync::{Arc, Mutex};

use baton_domain::account_selection::SessionPinKey;
use baton_domain::alert::ReportedState;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::after_refusal;
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use baton_domain::money::PicoUsd;
use baton_domain::scope::LimitScope;
use baton_runtime::clock::Clock;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::{InProcessSystem, TestSystem};
use baton_test_harness::table_rights::TableRights;
use std::time::Duration;

/// Stores, and the calls of each function that its policy denies.
struct WatchedRights {
    system: InProcessSystem,
    denied: Arc<Mutex<Vec<String>>>,
}

impl WatchedRights {
    async fn open() -> Self {
        let system = TestSystem::builder().in_process().clock(Clock::system()).start().await;
        Self { system, denied: Arc::default() }
    }

    /// The store as one function sees it.
    fn store(&self, function: &'static str) -> AllStores {
        let (rights, denied) = (TableRights::of(function), Arc::clone(&self.denied));
        let process = self.system.another_with_hook(3, move |target, body| {
            let found = rights.denied(target, body);
            let found = found.into_iter().map(|call| format!("{function}: {call}"));
            denied.lock().expect("a lock").extend(found);
            None
        });
        process.store
    }

    fn assert_none_denied(&self) {
        let denied = self.denied.lock().expect("a lock");
        assert!(denied.is_empty(), "the policies in template.yaml do not allow {denied:#?}");
    }
}

fn account() -> AccountId {
    AccountId::from_bits(7)
}

#[tokio::test]
async fn relay_calls_are_allowed_by_its_policy() {
    let watched = WatchedRights::open().await;
    let store = watched.store("Relay").relay;
    let (id, now) = (RequestId::at(store.clock().now(), 1), store.clock().now());
    let which = SessionPinKey { group: GroupId::from_bits(1), session: 3, model: "m".into() };
    store.slots.acquire_slot(&account(), 3, &id, now.as_second() + 60).await.expect("a slot");
    store.slots.release_slot(&account(), &id).await.expect("released");
    store.session_pins.put_session_pin(&which, "elsewhere").await.expect("stored");
    store.session_pins.find_session_pin(&which).await.expect("read");
    store.renewals.request_renewal(&account(), 1).await.expect("requested");
    store.alerts.note_blocked(&LimitScope::Organization, "day", PicoUsd::default()).await;
    store.health.read_health(&[account()]).await.expect("read");
    let change = |health: &baton_domain::health::AccountHealth| {
        after_refusal(health, CooldownReason::CredentialRefused, None, now)
    };
    store.health.change_health(&account(), change).await.expect("changed");
    let scopes = [
        LimitScope::Key(KeyId::from_bits(1)),
        LimitScope::User(UserId::from_bits(1)),
        LimitScope::Group(GroupId::from_bits(1)),
        LimitScope::Organization,
    ];
    store.counters.read_counters(&scopes, true).await.expect("counted");
    store.config.key(&KeyId::from_bits(1)).await.expect("looked up");
    store.pools.get(&GroupId::from_bits(1)).await.expect("looked up");
    for scope in &scopes {
        store.limit_settings.scope_settings(scope).await.expect("looked up");
    }
    watched.assert_none_denied();
}

#[tokio::test]
async fn stats_calls_are_allowed_by_its_policy() {
    let watched = WatchedRights::open().await;
    let store = watched.store("Stats").stats;
    store.alerts.touch_limits([LimitScope::Organization].iter()).await;
    store.usage.note_used(&account(), store.clock().now()).await.expect("noted");
    watched.assert_none_denied();
}

#[tokio::test]
async fn refresh_calls_are_allowed_by_its_policy() {
    let watched = WatchedRights::open().await;
    watched.store("Relay").relay.renewals.request_renewal(&account(), 1).await.expect("requested");
    watched.store("Stats").stats.alerts.touch_limits([LimitScope::Organization].iter()).await;
    let store = watched.store("Refresh").refresh;
    assert!(store.leases.acquire("tick", "me", Duration::from_secs(5)).await.expect("a lease"));
    store.leases.release("tick", "me").await.expect("given back");
    store.tokens.list().await.expect("listed");
    store.tokens.read(&account()).await.expect("looked up");
    assert_eq!(store.renewals.requested_renewals().await.expect("read").len(), 1);
    store.renewals.forget_renewal(&account()).await.expect("forgotten");
    store.sweeper.due_limits(1).await.expect("read");
    store.pending.list().await.expect("read");
    store.pending.remove("req_1").await.expect("removed");
    for touched in store.alerts.touched_limits().await.expect("read") {
        store.alerts.remove_touched(&touched).await.expect("noted");
    }
    store.health.count_account_states().await.expect("read");
    store.alerts.last_alerts().await.expect("read");
    let last_alert = baton_store::LastAlert { state: ReportedState::default(), count: 1 };
    store.alerts.put_last_alert(&account(), last_alert).await.expect("noted");
    store.outbox.deliveries().await.expect("read");
    store.alert_settings.read().await.expect("read");
    let now = store.clock().now();
    let change = |health: &baton_domain::health::AccountHealth| {
        after_refusal(health, CooldownReason::CredentialRefused, None, now)
    };
    store.health.change_health(&account(), change).await.expect("changed");
    watched.assert_none_denied();
}

/// A role must not write items of another function or of an operator.
#[test]
fn no_role_can_write_items_of_another() {
    let writes = ["PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"];
    let state = ["session#1", "sign_in#1", "replay#1", "rerate", "anything"];
    let config = ["key#1", "user#1", "account#1", "group#1", "setting#data_key", "price#m"];
    for function in ["Relay", "Stats", "Refresh"] {
        let rights = TableRights::of(function);
        for action in writes {
            for key in state {
                assert!(!rights.may(action, "StateTable", key), "{function} {action} {key}");
            }
            for key in config {
                assert!(!rights.may(action, "ConfigTable", key), "{function} {action} {key}");
            }
            assert!(!rights.may(action, "UsageTable", "audit#2026-11"), "{function} {action}");
        }
        for read in ["GetItem", "BatchGetItem", "Query"] {
            assert!(!rights.may(read, "StateTable", "session#1"), "{function} {read}");
            assert!(!rights.may(read, "UsageTable", "audit#2026-11"), "{function} {read}");
        }
        for anything in ["Scan", "DeleteTable", "BatchWriteItem", "*"] {
            for table in ["StateTable", "ConfigTable", "UsageTable"] {
                assert!(!rights.may(anything, table, "x"), "{function} {anything} {table}");
            }
        }
    }
    let relay = TableRights::of("Relay");
    for key in ["alert#1", "outbox", "told", "lease#tick"] {
        assert!(writes.iter().all(|action| !relay.may(action, "StateTable", key)), "{key}");
    }
    assert!(!relay.may("DeleteItem", "StateTable", "limit#key_1"));
    assert!(!relay.may("PutItem", "StateTable", "limit#key_1"), "a limit can be replaced");
    assert!(relay.may("UpdateItem", "StateTable", "limit#key_1"));
    assert!(TableRights::of("Admin").may("PutItem", "StateTable", "session#1"));
}
