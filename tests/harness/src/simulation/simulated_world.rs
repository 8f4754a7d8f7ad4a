//! The environment of a run: stores, time, keys, and the instances that serve.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::Limits;
use baton_domain::relay_key::new_secret;
use baton_domain::secret::Secret;
use baton_runtime::clock::Clock;
use baton_store::ConfigEdit;

use super::instance::RelayInstance;
use super::instance_life::InstanceLife;
use super::oracle::ClientRequest;
use super::plan::RunPlan;
use super::store_conditions::StoreConditions;
use super::upstream::CallLedger;
use crate::system::{InProcessSystem, TestSystem, stored_account, stored_group, stored_key};
use crate::table_rights::TableRights;

/// Everything that exists longer than an instance.
pub(crate) struct SimulatedWorld {
    pub(crate) seed: u64,
    pub(crate) plan: RunPlan,
    /// Stores, time and settings, without faults.
    pub(crate) system: InProcessSystem,
    pub(crate) keys: Vec<SimKey>,
    pub(crate) ledger: CallLedger,
    pub(crate) weather: StoreConditions,
    pub(crate) rights: &'static FunctionRights,
    pub(crate) client_requests: Mutex<Vec<ClientRequest>>,
    crash_points: Mutex<VecDeque<u32>>,
    slots: Mutex<Vec<Option<Arc<RelayInstance>>>>,
    /// The number of instances so far.
    started: Mutex<u64>,
}

/// The permissions that the template's policies give to each function in a run.
pub(crate) struct FunctionRights {
    pub(crate) relay: TableRights,
    pub(crate) stats: TableRights,
    pub(crate) refresh: TableRights,
}

/// All worlds share one reading of the template.
static RIGHTS: LazyLock<FunctionRights> = LazyLock::new(FunctionRights::of_template);

impl FunctionRights {
    fn of_template() -> Self {
        let [relay, stats, refresh] = ["Relay", "Stats", "Refresh"].map(TableRights::of);
        Self { relay, stats, refresh }
    }
}

/// A key with its secret.
pub(crate) struct SimKey {
    pub(crate) id: KeyId,
    pub(crate) limits: Limits,
    pub(crate) whole: Secret,
}

impl SimulatedWorld {
    /// Creates a world with stores in memory, a group of two accounts, and keys with and without
    /// limits.
    pub(crate) async fn new(seed: u64) -> Self {
        let plan = RunPlan::of(seed);
        let builder = TestSystem::builder().envs(&VARIABLES).in_process();
        let builder = builder.clock(Clock::running(plan.begins)).seed(seed ^ 0xb00c);
        let system = builder.unrecorded().repeatable().start().await;
        let keys = create_resources(&system).await;
        Self {
            seed,
            weather: StoreConditions::new(plan.outages.clone(), seed),
            rights: &RIGHTS,
            crash_points: Mutex::new(plan.crash_points.iter().copied().collect()),
            plan,
            system,
            keys,
            ledger: CallLedger::default(),
            client_requests: Mutex::default(),
            slots: Mutex::new(vec![None, None]),
            started: Mutex::default(),
        }
    }

    /// The instance in this slot. If the last one has died, a new one starts.
    pub(crate) fn instance(&self, slot: usize) -> Arc<RelayInstance> {
        let mut slots = locked(&self.slots);
        let living = slots[slot].as_ref().filter(|instance| !instance.life.is_over());
        if let Some(instance) = living {
            return Arc::clone(instance);
        }
        let steps = locked(&self.crash_points).pop_front();
        let mut started = locked(&self.started);
        *started += 1;
        let instance = Arc::new(RelayInstance::new(self, InstanceLife::of(steps), *started));
        slots[slot] = Some(Arc::clone(&instance));
        instance
    }

    /// From now on no instance dies, except those whose remaining steps are already fixed.
    pub(crate) fn let_live(&self) {
        locked(&self.crash_points).clear();
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const VARIABLES: [(&str, &str); 5] = [
    ("BATON_FIRST_BYTE_SECONDS", "20"),
    ("BATON_IDLE_SECONDS", "15"),
    ("BATON_OVERALL_SECONDS", "90"),
    ("BATON_DRAIN_SECONDS", "4"),
    ("BATON_RESERVATION_MARGIN_SECONDS", "30"),
];

async fn create_resources(system: &InProcessSystem) -> Vec<SimKey> {
    let (store, group) = (&system.store, GroupId::from_bits(1));
    let mut edit = ConfigEdit::default();
    let stored = store.admin.editor.new_stored(stored_group(group.clone()), None);
    store.admin.editor.save_group(&mut edit, &stored).expect("an item");
    for number in 1..=2 {
        let id = AccountId::from_bits(number);
        let account = stored_account(id, "https://upstream.invalid", group.clone());
        let credential = Secret::new(format!("sk-{number}"));
        let sealed =
            store.admin.editor.seal_credential(&account, &credential).await.expect("sealed");
        let stored = store.admin.editor.new_stored(account, Some(sealed));
        store.admin.editor.save_account(&mut edit, &stored, &[]).expect("an item");
    }
    let usd = |text: &str| Some(text.parse().expect("an amount"));
    let all = [
        Limits::default(),
        Limits { usd_daily: usd("1000"), ..Limits::default() },
        Limits { usd_daily: usd("0.06"), usd_total: usd("0.1"), ..Limits::default() },
        Limits { requests_per_minute: Some(30), concurrency: Some(3), ..Limits::default() },
    ];
    let mut keys = Vec::new();
    for (number, limits) in all.into_iter().enumerate() {
        let id = KeyId::from_bits(number as u128 + 1);
        let key = stored_key(id.clone(), group.clone(), limits.clone());
        let whole = system.add_key(&mut edit, key, &new_secret([number as u128, 7]));
        keys.push(SimKey { id, limits, whole });
    }
    store.admin.editor.apply(edit).await.expect("saved");
    keys
}
