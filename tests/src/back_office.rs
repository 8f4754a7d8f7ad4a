//! Everything in one process: stores in memory, a clock that stands, and the admin API at a port.
//! For promises that depend on time, or on what the store holds.

use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::herald::Herald;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::upstream::Upstream;
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId};
use baton_domain::money::PicoUsd;
use baton_domain::record::{Outcome, UsageRecord};
use baton_domain::secret::Secret;
use baton_domain::usage::Tokens;
use baton_local::{Fault, Local};
use serde_json::{Value, json};

use crate::house::{Admin, MODEL};

/// The time at which the clock stands at first.
pub const NOW: &str = "2026-11-22T21:05:30Z";

/// The parts of Baton within reach.
pub struct BackOffice {
    /// The tables.
    pub store: Store,
    /// The operator.
    pub admin: Admin,
    /// Where the operator's API is.
    pub admin_url: String,
    /// Delivers alerts.
    pub herald: Herald,
}

impl BackOffice {
    /// The admin token.
    pub const TOKEN: &str = "a-token-of-a-test";

    /// Opens the stores and serves the admin API.
    pub async fn open() -> Self {
        Self::over(Local::open(None).await.expect("stores in memory")).await
    }

    /// The same over a line to the stores that may fail: `faults` is asked for each request, by
    /// its operation and body.
    pub async fn behind(
        faults: impl Fn(&str, &[u8]) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let local = Local::open(None).await.expect("stores in memory");
        let by_operation = move |target: &str, body: &[u8]| {
            faults(target.rsplit('.').next().unwrap_or_default(), body)
        };
        Self::over(local.with_faults(by_operation)).await
    }

    async fn over(local: Local) -> Self {
        let variable = |name: &str| match name {
            "BATON_ADMIN_TOKEN" => Some(Self::TOKEN.to_owned()),
            "BATON_ALLOW_PRIVATE_UPSTREAMS" => Some("1".to_owned()),
            _ => None,
        };
        let mut settings = Settings::read(variable).expect("good settings");
        settings.resources = local.resources();
        let aws = Aws::new(&local.sdk_config());
        let clock = Clock::standing(NOW.parse().expect("a time"));
        let store = Store::new(&aws, &settings, clock, Dice::seeded(7));
        let http = Upstream::new(&settings.timers, true).expect("a client");
        let herald = Herald::new(&aws, http);
        let pepper = Secret::new("pepper-of-a-test-0123456789abcdef".to_owned());
        let router =
            baton_admin::router(&settings, &pepper, store.clone(), &aws).expect("a router");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let admin = Admin::at(address, Self::TOKEN);
        let admin_url = format!("http://{address}");
        Self { store, admin, admin_url, herald }
    }

    /// A record of a request that begins now and costs nothing.
    pub fn record(&self, key: &KeyId) -> UsageRecord {
        let at = self.store.clock().now();
        UsageRecord {
            v: 1,
            id: RequestId::at(at, self.store.dice().bits()),
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
            outcome: Outcome::Complete,
            estimated: false,
            tokens: Tokens { input: 1000, output: 100, ..Tokens::default() },
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
            let answer = baton_stats::handle(&self.store, event).await;
            assert!(answer.batch_item_failures.is_empty(), "not stored: {answer:?}");
        }
    }
}
