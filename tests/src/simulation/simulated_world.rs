//! The environment of a run: stores, time, keys, and the instances that serve.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::{Group, Key, Limits, ReservationEstimate};
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::secret::Secret;
use baton_local::LocalAws;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::vault::Pepper;
use baton_store::ConfigEdit;

use super::instance::RelayInstance;
use super::instance_life::InstanceLife;
use super::oracle::ClientRequest;
use super::plan::RunPlan;
use super::store_conditions::StoreConditions;
use super::upstream::CallLedger;
use crate::repeatable_aws;
use crate::stores::AllStores;
use crate::table_rights::TableRights;

/// Everything that exists longer than an instance.
pub(crate) struct SimulatedWorld {
    pub(crate) seed: u64,
    pub(crate) plan: RunPlan,
    pub(crate) local: LocalAws,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    pub(crate) pepper: Secret,
    pub(crate) keys: Vec<SimKey>,
    pub(crate) ledger: CallLedger,
    pub(crate) weather: StoreConditions,
    pub(crate) rights: &'static FunctionRights,
    pub(crate) client_requests: Mutex<Vec<ClientRequest>>,
    deaths: Mutex<VecDeque<u32>>,
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
        let clock = Clock::running(plan.begins);
        let local = repeatable_aws::open(&clock);
        let mut settings = Settings::from_lookup(variable).expect("good settings");
        settings.resources = local.resources();
        let store = AllStores::new(
            &AwsClients::new(&local.sdk_config()),
            &settings,
            clock.clone(),
            RandomSource::seeded(seed ^ 0xb00c),
        );
        let pepper = Secret::new("pepper-of-a-simulation-0123456789".to_owned());
        let keys = furnish(&store, &pepper).await;
        Self {
            seed,
            weather: StoreConditions::new(plan.spells.clone(), seed),
            rights: &RIGHTS,
            deaths: Mutex::new(plan.deaths.iter().copied().collect()),
            plan,
            local,
            clock,
            settings,
            pepper,
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
        let steps = locked(&self.deaths).pop_front();
        let mut started = locked(&self.started);
        *started += 1;
        let instance = Arc::new(RelayInstance::new(self, InstanceLife::of(steps), *started));
        slots[slot] = Some(Arc::clone(&instance));
        instance
    }

    /// From now on no instance dies, except those whose remaining steps are already fixed.
    pub(crate) fn let_live(&self) {
        locked(&self.deaths).clear();
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "BATON_FIRST_BYTE_SECONDS" => "20",
        "BATON_IDLE_SECONDS" => "15",
        "BATON_OVERALL_SECONDS" => "90",
        "BATON_DRAIN_SECONDS" => "4",
        "BATON_RESERVATION_MARGIN_SECONDS" => "30",
        _ => return None,
    };
    Some(value.to_owned())
}

async fn furnish(store: &AllStores, pepper: &Secret) -> Vec<SimKey> {
    let group = GroupId::from_bits(1);
    let mut edit = ConfigEdit::default();
    let stored = Group {
        id: group.clone(),
        name: "all".into(),
        description: String::new(),
        enabled: true,
        model_aliases: Vec::new(),
        limits: Limits::default(),
    };
    store
        .admin
        .editor
        .save_group(&mut edit, &store.admin.editor.new_stored(stored, None))
        .expect("an item");
    for number in 1..=2 {
        let account = account(number, &group);
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
        let key = Key {
            id: KeyId::from_bits(number as u128 + 1),
            name: format!("key {number}"),
            user_id: None,
            group_id: group.clone(),
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            estimate: ReservationEstimate::Most,
            limits: limits.clone(),
        };
        let id = key.id.clone();
        let secret = new_secret([number as u128, 7]);
        let hash = Pepper::new(pepper).hash(secret.expose());
        store
            .admin
            .editor
            .save_key(&mut edit, &store.admin.editor.new_stored(key, Some(hash)))
            .expect("an item");
        keys.push(SimKey { whole: compose(&id, &secret), id, limits });
    }
    store.admin.editor.apply(edit).await.expect("saved");
    keys
}

fn account(number: u128, group: &GroupId) -> Account {
    Account {
        id: AccountId::from_bits(number),
        name: format!("account {number}"),
        provider: Provider::Anthropic,
        base_url: "https://upstream.invalid".into(),
        credential: CredentialKind::ApiKey,
        groups: vec![group.clone()],
        priority: 0,
        weight: 1,
        models: Vec::new(),
        model_map: Vec::new(),
        cache_domain: None,
        max_concurrency: None,
        proxy_url: None,
        proxy_sealed: None,
        speaks_responses: false,
        enabled: true,
    }
}
