//! Baton in one process, so that a test can watch the calls to the stores and make them fail.

use std::sync::{Arc, Mutex};

use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{GroupId, KeyId, RequestId, UserId};
use baton_domain::key::{Group, Key, Limits, ReservationEstimate, Role, User};
use baton_domain::limit::LimitPeriod;
use baton_domain::money::PicoUsd;
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::reservation::Reservation;
use baton_domain::scope::LimitScope;
use baton_domain::secret::Secret;
use baton_local::LocalAws;
use baton_relay::Relay;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::usage_queue::UsageQueue;
use baton_runtime::vault::Pepper;
use baton_store::{Admission, ConfigEdit};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::house::{MODEL, message};
use crate::injected_faults::{InjectedFault, WithFaults as _};
use crate::stores::AllStores;

const PEPPER: &str = "pepper-of-a-test-0123456789abcdef";

/// Stores in memory, a stopped clock, and the recorded calls to the stores.
pub struct InProcessRelay {
    /// The stores.
    pub local: LocalAws,
    /// The settings that everything here uses.
    pub settings: Settings,
    /// The store.
    pub store: AllStores,
    /// The usage queue.
    pub queue: UsageQueue,
    seen: Arc<Mutex<Vec<String>>>,
    /// How many more calls to the state table fail, and with which fault.
    fault: Arc<Mutex<Option<(usize, InjectedFault)>>>,
    /// After how many calls to the stores one panics, and with which message.
    panic: Arc<Mutex<Option<(usize, String)>>>,
}

impl InProcessRelay {
    /// Creates the system with these variables set.
    pub async fn new(variables: &[(&str, &str)]) -> Self {
        let (seen, fault) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<Mutex<Option<(usize, InjectedFault)>>>::default(),
        );
        let panic = Arc::<Mutex<Option<(usize, String)>>>::default();
        let local = LocalAws::open(None).await.expect("stores in memory").with_faults({
            let (seen, fault, panic) = (Arc::clone(&seen), Arc::clone(&fault), Arc::clone(&panic));
            move |target, body| {
                if let Some(message) = now(&panic) {
                    panic!("{message} {}", String::from_utf8_lossy(body));
                }
                let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
                seen.lock().expect("not poisoned").push(operation);
                let mut fault = fault.lock().expect("not poisoned");
                let (left, fault) = fault.as_mut().filter(|(left, _)| *left > 0)?;
                String::from_utf8_lossy(body).contains("StateTable").then(|| {
                    *left -= 1;
                    fault.clone()
                })
            }
        });
        let mut settings = Settings::from_lookup(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .expect("good settings");
        settings.resources = local.resources();
        let aws = AwsClients::new(&local.sdk_config());
        let clock = Clock::fixed_at("2026-11-22T21:05:30Z".parse().expect("a time"));
        let store = AllStores::new(&aws, &settings, clock, RandomSource::seeded(7));
        let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
        Self { local, settings, store, queue, seen, fault, panic }
    }

    /// A key in a group that does not exist: its requests pass the limits and then fail with 503.
    pub async fn key(&self, limits: Limits) -> (KeyId, Secret) {
        self.key_of(None, limits).await
    }

    /// The same for a key of a user.
    pub async fn key_of(&self, user_id: Option<UserId>, limits: Limits) -> (KeyId, Secret) {
        let key = Key {
            id: KeyId::from_bits(self.store.random_source().bits()),
            name: "ci".into(),
            user_id,
            group_id: GroupId::from_bits(1),
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            limits,
            estimate: ReservationEstimate::Most,
        };
        let secret = new_secret([1, 2]);
        let whole = compose(&key.id, &secret);
        let hash = Pepper::new(&Secret::new(PEPPER.to_owned())).hash(secret.expose());
        let id = key.id.clone();
        let stored = self.store.admin.editor.new_stored(key, Some(hash));
        let mut edit = ConfigEdit::default();
        self.store.admin.editor.save_key(&mut edit, &stored).expect("an item");
        self.store.admin.editor.apply(edit).await.expect("saved");
        (id, whole)
    }

    /// Another store with a separate cache over the same tables, like that of another instance.
    pub fn another(&self) -> AllStores {
        let aws = AwsClients::new(&self.local.sdk_config());
        AllStores::new(&aws, &self.settings, self.store.clock().clone(), RandomSource::seeded(8))
    }

    /// Limits a user, the keys' group or the organization.
    pub async fn limit(&self, scope: &LimitScope, limits: &Limits) {
        let (store, limits) = (&self.store, limits.clone());
        let mut edit = ConfigEdit::default();
        match scope {
            LimitScope::User(id) => {
                let (name, role) = ("somebody".to_owned(), Role::Member);
                let (id, email, enabled) = (id.clone(), None, true);
                let identity = None;
                let session_round = 0;
                let user = User { id, name, email, role, enabled, limits, session_round, identity };
                store
                    .admin
                    .editor
                    .save_user(&mut edit, &store.admin.editor.new_stored(user, None))
                    .expect("an item");
            }
            LimitScope::Group(id) => {
                let (name, description) = ("some".to_owned(), String::new());
                let group = Group {
                    id: id.clone(),
                    name,
                    description,
                    enabled: true,
                    limits,
                    model_aliases: Vec::new(),
                };
                store
                    .admin
                    .editor
                    .save_group(&mut edit, &store.admin.editor.new_stored(group, None))
                    .expect("an item");
            }
            LimitScope::Organization => {
                store.admin.editor.save_organization_limits(&mut edit, &limits).expect("an item");
            }
            LimitScope::Key(_) => panic!("a key has its limits from the beginning"),
        }
        store.admin.editor.apply(edit).await.expect("saved");
    }

    /// Sends a request through a new relay. Returns the status, and the body with `has_wait`.
    pub async fn ask(&self, secret: &Secret) -> (u16, Value) {
        let relay = self.relay();
        let request = http::Request::post("/v1/messages")
            .header("x-api-key", secret.expose())
            .body(message(MODEL, "hi", true).to_string())
            .expect("a request");
        let answer = relay.handle(request).await;
        let status = answer.status().as_u16();
        let has_wait = answer.headers().contains_key("retry-after");
        let bytes = answer.into_body().collect().await.expect("whole").to_bytes();
        let mut error: Value = serde_json::from_slice(&bytes).expect("JSON");
        error["has_wait"] = json!(has_wait);
        (status, error)
    }

    /// A relay over these stores.
    pub fn relay(&self) -> Relay {
        let pepper = Secret::new(PEPPER.to_owned());
        let relay =
            Relay::new(&self.settings, &pepper, self.store.relay.clone(), self.queue.clone());
        relay.expect("a relay")
    }

    /// Makes one call to the stores panic after this number of other calls, in the task of its
    /// caller. The panic has this message and the data that was to be sent.
    pub fn panic_after(&self, calls: usize, message: &str) {
        *self.panic.lock().expect("not poisoned") = Some((calls, message.to_owned()));
    }

    /// Makes the state table fail this number of times.
    pub fn fail(&self, times: usize, fault: InjectedFault) {
        *self.fault.lock().expect("not poisoned") = Some((times, fault));
    }

    /// The calls to the stores since the last look.
    pub fn operations(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("not poisoned"))
    }

    /// Spends the whole daily limit of a key that has these limits.
    pub async fn spend(&self, key: &KeyId, limits: &Limits) {
        let most = limits.usd_daily.expect("a daily limit");
        let wanted = reservation(self.store.clock().now(), most.pico());
        let bounds = EffectiveLimits::from_own_limits(key.clone(), limits.clone());
        let id = RequestId::from_bits(77);
        let admission =
            self.store.relay.limits.admit(&bounds, &id, &wanted).await.expect("a store");
        assert!(matches!(admission, Admission::Admitted(_)), "{admission:?}");
        let mut record = wanted.given_up(id, key.clone(), "t");
        record.cost_usd = most;
        self.queue.send(&record).await.expect("sent");
        self.count().await;
    }

    /// Lets stats process everything in the queue.
    pub async fn count(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        let store = self.store.clone();
        let handler = move |event| {
            let store = store.clone();
            async move { baton_stats::handle(&store.stats, event).await }
        };
        self.local.consume_usage(stop, handler).await;
    }

    /// The spent and the reserved amount of a key.
    pub async fn spent(&self, key: &KeyId) -> (PicoUsd, PicoUsd) {
        self.spent_of(LimitScope::Key(key.clone())).await
    }

    /// The same for any scope.
    pub async fn spent_of(&self, scope: LimitScope) -> (PicoUsd, PicoUsd) {
        let counted =
            self.store.admin.counters.read_counters(&[scope], true).await.expect("counted");
        let counted = counted.first().expect("one");
        let now = self.store.clock().now();
        (counted.spent(LimitPeriod::Total, now), counted.reserved(LimitPeriod::Total, now))
    }
}

/// The message of a panic that is due.
fn now(panic: &Mutex<Option<(usize, String)>>) -> Option<String> {
    let mut panic = panic.lock().expect("not poisoned");
    match panic.take() {
        Some((0, message)) => Some(message),
        Some((calls, message)) => {
            *panic = Some((calls - 1, message));
            None
        }
        None => None,
    }
}

/// A daily limit.
pub fn daily(usd: &str) -> Limits {
    Limits { usd_daily: Some(usd.parse().expect("an amount")), ..Limits::default() }
}

/// A failure that is not retried.
pub fn broken() -> InjectedFault {
    let body = json!({ "__type": "ResourceNotFoundException", "message": "gone" });
    InjectedFault::error_answer(400, &body)
}

/// A reservation of this amount.
pub fn reservation(at: Timestamp, pico: i128) -> Reservation {
    Reservation {
        estimate: PicoUsd::new(pico),
        unreserved: PicoUsd::ZERO,
        at,
        expires: at.as_second() + 60,
        model: MODEL.into(),
        stream: true,
        group: GroupId::from_bits(1),
        user: None,
        pools: Vec::new(),
    }
}
