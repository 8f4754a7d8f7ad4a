//! Baton's libraries in this process, for tests that depend on time or on single calls to the
//! stores: stores in memory, a clock that only the test moves, and failures that it injects.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use baton_domain::key::{Group, Key, Limits, User};
use baton_domain::limit::LimitPeriod;
use baton_domain::money::PicoUsd;
use baton_domain::record::{RequestOutcome, UsageRecord};
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::reservation::Reservation;
use baton_domain::scope::LimitScope;
use baton_domain::secret::Secret;
use baton_domain::usage::TokenCounts;
use baton_local::LocalAws;
use baton_relay::Relay;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::notifier::Notifier;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::upstream::UpstreamClient;
use baton_runtime::usage_queue::UsageQueue;
use baton_runtime::vault::Pepper;
use baton_store::{Admission, ConfigEdit};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::store_calls::{StoreCalls, StoreHook};
use super::{
    MODEL, OperatorClient, TestSystem, TestSystemBuilder, message, stored_group, stored_key,
    stored_user,
};
use crate::injected_faults::{InjectedFault, WithFaults as _};
use crate::repeatable_aws;
use crate::stores::AllStores;

const PEPPER: &str = "pepper-of-a-test-0123456789abcdef";

/// The time at which a system in this process starts.
pub const NOW: &str = "2026-11-22T21:05:30Z";

/// What a system in this process is started with.
#[must_use]
pub struct InProcessBuilder {
    config: TestSystemBuilder,
    clock: Clock,
    seed: u64,
    is_recorded: bool,
    is_repeatable: bool,
    hook: Option<StoreHook>,
}

impl InProcessBuilder {
    pub(super) fn new(config: TestSystemBuilder) -> Self {
        let clock = Clock::fixed_at(NOW.parse().expect("a time"));
        Self { config, clock, seed: 7, is_recorded: true, is_repeatable: false, hook: None }
    }

    /// Sets the clock. By default it stands at [`NOW`].
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sets the seed of the random numbers.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Decides from the `x-amz-target` and the body of each call to the stores whether it fails.
    pub fn store_hook(
        self,
        hook: impl Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync + 'static,
    ) -> Self {
        Self { hook: Some(Arc::new(hook)), ..self }
    }

    /// Does not record the calls to the stores, for measurements.
    pub fn unrecorded(self) -> Self {
        Self { is_recorded: false, ..self }
    }

    /// Runs everything in the order of the calls; the stores have the time of the clock.
    pub fn repeatable(self) -> Self {
        Self { is_repeatable: true, ..self }
    }

    /// Opens the stores.
    pub async fn start(self) -> InProcessSystem {
        let local = if self.is_repeatable {
            repeatable_aws::open(&self.clock)
        } else {
            LocalAws::open(self.config.data()).await.expect("the stores")
        };
        let variable = |name: &str| self.config.variable(name).map(str::to_owned);
        let mut settings = Settings::from_lookup(variable).unwrap_or_else(|bad| panic!("{bad}"));
        settings.resources = local.resources();
        let calls = StoreCalls::default();
        // The last one sees a call first.
        let hooks = [self.hook, self.is_recorded.then(|| recording(&calls))];
        let local = hooks
            .into_iter()
            .flatten()
            .fold(local, |local, hook| local.with_faults(move |target, body| hook(target, body)));
        InProcessSystem::over(local, settings, self.clock, self.seed, calls)
    }
}

fn recording(calls: &StoreCalls) -> StoreHook {
    let calls = calls.clone();
    Arc::new(move |target, body| calls.record(target, body))
}

/// Baton's libraries over stores in this process.
pub struct InProcessSystem {
    /// The stores, with the hooks of the test.
    pub local: LocalAws,
    /// The settings.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
    /// The stores of all functions.
    pub store: AllStores,
    /// The usage queue.
    pub queue: UsageQueue,
    /// The secret for hashing keys and signing records.
    pub pepper: Secret,
    calls: StoreCalls,
    admin_api: OnceLock<AdminApi>,
}

/// The admin API and the console at a port.
struct AdminApi {
    address: SocketAddr,
    operator: OperatorClient,
    _running: DropGuard,
}

impl InProcessSystem {
    /// Opens empty stores.
    pub async fn open() -> Self {
        TestSystem::builder().in_process().start().await
    }

    fn over(
        local: LocalAws,
        settings: Settings,
        clock: Clock,
        seed: u64,
        calls: StoreCalls,
    ) -> Self {
        let aws = AwsClients::new(&local.sdk_config());
        let store = AllStores::new(&aws, &settings, clock.clone(), RandomSource::seeded(seed));
        let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
        let (pepper, admin_api) = (Secret::new(PEPPER.to_owned()), OnceLock::new());
        Self { local, settings, clock, store, queue, pepper, calls, admin_api }
    }

    /// Another process over the same stores, with its own caches. Calls to the stores are recorded
    /// and fail as those of this one.
    pub fn another(&self, seed: u64) -> Self {
        self.another_over(self.local.clone(), seed)
    }

    /// Another process whose calls to the stores pass this hook first.
    pub fn another_with_hook(
        &self,
        seed: u64,
        hook: impl Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync + 'static,
    ) -> Self {
        self.another_over(self.local.with_faults(hook), seed)
    }

    fn another_over(&self, local: LocalAws, seed: u64) -> Self {
        Self::over(local, self.settings.clone(), self.clock.clone(), seed, self.calls.clone())
    }

    /// The AWS clients of this process.
    pub fn aws(&self) -> AwsClients {
        AwsClients::new(&self.local.sdk_config())
    }

    /// A relay over these stores.
    pub fn relay(&self) -> Relay {
        let relay =
            Relay::new(&self.settings, &self.pepper, self.store.relay.clone(), self.queue.clone());
        relay.expect("a relay")
    }

    /// A relay over these stores that reaches the upstreams in another way.
    pub fn relay_through(&self, upstream: UpstreamClient) -> Relay {
        let (store, queue) = (self.store.relay.clone(), self.queue.clone());
        Relay::with_upstream(upstream, &self.settings, &self.pepper, store, queue)
    }

    /// The admin API and the console.
    pub fn admin_router(&self) -> Router {
        let (store, aws) = (self.store.admin.clone(), self.aws());
        baton_admin::router(&self.settings, &self.pepper, store, &aws).expect("a router")
    }

    /// The address of the admin API and the console.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_api().address
    }

    /// The base URL of the admin API and the console.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_address())
    }

    /// A client of the admin API for the operator.
    pub fn admin(&self) -> OperatorClient {
        self.admin_api().operator.clone()
    }

    /// The admin API, which is served from its first use on.
    fn admin_api(&self) -> &AdminApi {
        self.admin_api.get_or_init(|| {
            let token = self.settings.secrets.admin_token.as_ref().map_or("", Secret::expose);
            AdminApi::serve(self.admin_router(), token)
        })
    }

    /// Delivers alerts.
    pub fn notifier(&self) -> Notifier {
        let http = UpstreamClient::new(&self.settings.timers, true).expect("a client");
        Notifier::new(&self.aws(), http)
    }

    /// Creates what the first start creates. Returns the first key.
    pub async fn first_start(&self) -> Secret {
        let store = self.store.admin.clone();
        let made = baton_admin::first_start(&self.settings, &self.pepper, store);
        Box::pin(made).await.expect("a first start").key.expect("the first key")
    }

    /// Lets stats process everything in the queue.
    pub async fn run_stats(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        let store = self.store.stats.clone();
        let handler = move |event| {
            let store = store.clone();
            async move { baton_stats::handle(&store, event).await }
        };
        self.local.consume_usage(stop, handler).await;
    }

    /// The operations of the calls to the stores since the last look.
    pub fn take_calls(&self) -> Vec<String> {
        self.calls.take()
    }

    /// Makes the state table fail this number of times.
    pub fn fail(&self, times: usize, fault: InjectedFault) {
        self.calls.fail_state_table(times, fault);
    }

    /// Makes one call to the stores panic after this number of other calls, in the task of its
    /// caller. The panic has this message and the data that was to be sent.
    pub fn panic_after(&self, calls: usize, message: &str) {
        self.calls.panic_after(calls, message);
    }

    /// A key in a group that does not exist: its requests pass the limits and then fail with 503.
    pub async fn key(&self, limits: Limits) -> (KeyId, Secret) {
        self.key_of(None, limits).await
    }

    /// The same for a key of a user.
    pub async fn key_of(&self, user_id: Option<UserId>, limits: Limits) -> (KeyId, Secret) {
        let id = KeyId::from_bits(self.store.random_source().bits());
        let key = Key { user_id, ..stored_key(id.clone(), GroupId::from_bits(1), limits) };
        let mut edit = ConfigEdit::default();
        let whole = self.add_key(&mut edit, key, &new_secret([1, 2]));
        self.store.admin.editor.apply(edit).await.expect("saved");
        (id, whole)
    }

    /// Adds a key with this secret to the edit. Returns the whole key.
    pub fn add_key(&self, edit: &mut ConfigEdit, key: Key, secret: &Secret) -> Secret {
        let whole = compose(&key.id, secret);
        let hash = Pepper::new(&self.pepper).hash(secret.expose());
        let stored = self.store.admin.editor.new_stored(key, Some(hash));
        self.store.admin.editor.save_key(edit, &stored).expect("an item");
        whole
    }

    /// Limits a user, the keys' group or the organization.
    pub async fn limit(&self, scope: &LimitScope, limits: &Limits) {
        let (store, limits) = (&self.store, limits.clone());
        let mut edit = ConfigEdit::default();
        match scope {
            LimitScope::User(id) => {
                let user = User { limits, ..stored_user(id.clone()) };
                store
                    .admin
                    .editor
                    .save_user(&mut edit, &store.admin.editor.new_stored(user, None))
                    .expect("an item");
            }
            LimitScope::Group(id) => {
                let group = Group { limits, ..stored_group(id.clone()) };
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
        let request = http::Request::post("/v1/messages")
            .header("x-api-key", secret.expose())
            .body(message(MODEL, "hi", true).to_string())
            .expect("a request");
        let answer = self.relay().handle(request).await;
        let status = answer.status().as_u16();
        let has_wait = answer.headers().contains_key("retry-after");
        let bytes = answer.into_body().collect().await.expect("whole").to_bytes();
        let mut error: Value = serde_json::from_slice(&bytes).expect("JSON");
        error["has_wait"] = json!(has_wait);
        (status, error)
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
        let mut record = wanted.to_expired_record(id, key.clone(), "t");
        record.cost_usd = most;
        self.queue.send(&record).await.expect("sent");
        self.run_stats().await;
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

    /// A record of a request that starts now and costs nothing.
    pub fn record(&self, key: &KeyId) -> UsageRecord {
        let at = self.store.clock().now();
        UsageRecord {
            v: 1,
            id: RequestId::at(at, self.store.random_source().bits()),
            started_at: at,
            key_id: key.clone(),
            user_id: None,
            group_id: GroupId::from_bits(1),
            account_id: AccountId::from_bits(1),
            provider: "anthropic".into(),
            protocol: "anthropic_messages".into(),
            model: MODEL.into(),
            upstream_model: MODEL.into(),
            stream: true,
            status: 200,
            outcome: RequestOutcome::Complete,
            estimated: false,
            tokens: TokenCounts { input: 1000, output: 100, ..TokenCounts::default() },
            web_searches: 0,
            service_tier: None,
            inference_geo: None,
            speed: None,
            cost_usd: PicoUsd::ZERO,
            price_version: "old".into(),
            ttft_ms: Some(3),
            duration_ms: 5,
            attempts: 1,
            tried: Vec::new(),
            session_id: None,
            agent_id: None,
            iterations: Vec::new(),
            is_capped: false,
            is_highest_cost: false,
            reserved_usd: None,
            reserved_shared_limits: Vec::new(),
        }
    }

    /// Stores these records as if the queue had brought them.
    pub async fn store_all(&self, records: &[UsageRecord]) {
        for batch in records.chunks(100) {
            let message = |record: &UsageRecord| {
                let body = serde_json::to_string(record).expect("JSON");
                json!({ "messageId": record.id, "body": body })
            };
            let messages: Vec<Value> = batch.iter().map(message).collect();
            let event = serde_json::from_value(json!({ "Records": messages })).expect("a batch");
            let answer = baton_stats::handle(&self.store.stats, event).await;
            assert!(answer.batch_item_failures.is_empty(), "not stored: {answer:?}");
        }
    }
}

impl AdminApi {
    fn serve(router: Router, token: &str) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.expect("it serves");
        });
        let operator = OperatorClient::at(address, token);
        Self { address, operator, _running: stop.drop_guard() }
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
        shared_limits: Vec::new(),
    }
}
