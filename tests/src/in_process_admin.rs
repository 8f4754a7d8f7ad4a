//! Stores in memory, a stopped clock, and the admin API at a port, all in one process. For tests
//! that depend on time or on the content of the stores.

use baton_domain::id::{AccountId, GroupId, KeyId, RequestId};
use baton_domain::money::PicoUsd;
use baton_domain::record::{RequestOutcome, UsageRecord};
use baton_domain::secret::Secret;
use baton_domain::usage::TokenCounts;
use baton_local::LocalAws;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::notifier::Notifier;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::upstream::UpstreamClient;
use serde_json::{Value, json};

use crate::house::{MODEL, OperatorClient};
use crate::injected_faults::{InjectedFault, WithFaults as _};
use crate::stores::AllStores;

/// The initial time of the clock.
pub const NOW: &str = "2026-11-22T21:05:30Z";

/// The parts of Baton that a test can reach.
pub struct InProcessAdmin {
    /// The tables.
    pub store: AllStores,
    /// The operator.
    pub admin: OperatorClient,
    /// The address of the admin API.
    pub admin_url: String,
    /// Delivers alerts.
    pub notifier: Notifier,
}

impl InProcessAdmin {
    /// The admin token.
    pub const TOKEN: &str = "a-token-of-a-test";

    /// Opens the stores and serves the admin API.
    pub async fn open() -> Self {
        Self::over(LocalAws::open(None).await.expect("stores in memory")).await
    }

    /// The same with a connection to the stores that can fail: `faults` decides for each request,
    /// by its operation and body.
    pub async fn behind(
        faults: impl Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync + 'static,
    ) -> Self {
        let local = LocalAws::open(None).await.expect("stores in memory");
        let by_operation = move |target: &str, body: &[u8]| {
            faults(target.rsplit('.').next().unwrap_or_default(), body)
        };
        Self::over(local.with_faults(by_operation)).await
    }

    async fn over(local: LocalAws) -> Self {
        let variable = |name: &str| match name {
            "BATON_ADMIN_TOKEN" => Some(Self::TOKEN.to_owned()),
            "BATON_ALLOW_PRIVATE_UPSTREAMS" => Some("1".to_owned()),
            _ => None,
        };
        let mut settings = Settings::from_lookup(variable).expect("good settings");
        settings.resources = local.resources();
        let aws = AwsClients::new(&local.sdk_config());
        let clock = Clock::fixed_at(NOW.parse().expect("a time"));
        let store = AllStores::new(&aws, &settings, clock, RandomSource::seeded(7));
        let http = UpstreamClient::new(&settings.timers, true).expect("a client");
        let notifier = Notifier::new(&aws, http);
        let pepper = Secret::new("pepper-of-a-test-0123456789abcdef".to_owned());
        let router =
            baton_admin::router(&settings, &pepper, store.admin.clone(), &aws).expect("a router");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let admin = OperatorClient::at(address, Self::TOKEN);
        let admin_url = format!("http://{address}");
        Self { store, admin, admin_url, notifier }
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
            reserved_usd: None,
            reserved_pools: Vec::new(),
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
