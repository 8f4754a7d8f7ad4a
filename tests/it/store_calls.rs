//! The store calls of a request: none for an invalid key, and no write except its record.

use baton_domain::own_price::{OwnPrice, PriceId};
use baton_domain::price::ModelPrice;
use baton_domain::token_rates::TokenRates;
use baton_relay::Relay;
use baton_runtime::clock::Clock;
use baton_store::ConfigEdit;
use baton_test_harness::system::{InProcessSystem, MODEL, TestSystem, message};
use baton_test_harness::upstream::FakeUpstream;
use http::Request;
use http_body_util::{BodyExt as _, Full};

/// A relay over in-memory stores. Every store call is recorded.
struct WatchedRelay {
    system: InProcessSystem,
    relay: Relay,
    key: String,
}

impl WatchedRelay {
    async fn start(upstream: &FakeUpstream) -> Self {
        let system = TestSystem::builder()
            .env("ANTHROPIC_API_KEY", "sk-upstream")
            .env("BATON_ANTHROPIC_BASE_URL", &upstream.url())
            .in_process()
            .clock(Clock::system())
            .start()
            .await;
        let key = system.first_start().await.expose().to_owned();
        system.take_calls();
        Self { relay: system.relay(), system, key }
    }

    /// Sends a request with a key. Returns the status and the store calls.
    async fn ask(&self, key: &str) -> (u16, Vec<String>) {
        let body = message(MODEL, "hi", true).to_string();
        let request = Request::post("/v1/messages")
            .header("x-api-key", key)
            .body(Full::new(bytes::Bytes::from(body)))
            .expect("a request");
        let answer = self.relay.handle(request).await;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.expect("a whole answer");
        (status, self.system.take_calls())
    }
}

impl WatchedRelay {
    /// Sets a price as another instance does.
    async fn set_price(&self, model: &str) {
        let store = self.system.another(8).store;
        let from = "2026-01-01T00:00:00Z".parse().expect("a time");
        let standard =
            TokenRates { input: 1, output: 1, cache_read: 1, cache_write_5m: 1, cache_write_1h: 1 };
        let version = "own".to_owned();
        let price = ModelPrice { from, standard, version, ..ModelPrice::default() };
        let id = PriceId { model: model.to_owned(), from };
        let mut edit = ConfigEdit::default();
        let stored = store.admin.editor.new_stored(OwnPrice { id, price }, None);
        store.admin.editor.save_price(&mut edit, &stored).expect("an item");
        store.admin.editor.apply(edit).await.expect("saved");
    }

    /// Sends a GET request. Returns the status and the body.
    async fn get(&self, path: &str) -> (u16, String) {
        let request = Request::get(path)
            .header("x-api-key", &self.key)
            .body(Full::new(bytes::Bytes::new()))
            .expect("a request");
        let answer = self.relay.handle(request).await;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[tokio::test]
async fn models_with_own_price_are_listed_when_cached() {
    let upstream = FakeUpstream::start();
    let watched = WatchedRelay::start(&upstream).await;
    watched.set_price("own-model").await;
    let (one, all) = ("/v1/models/own-model", "/v1/models");
    // Prices are cached after a request was priced. The upstream no longer lists models.
    assert_eq!(watched.ask(&watched.key).await.0, 200);
    drop(upstream);
    let (status, list) = watched.get(all).await;
    assert_eq!((status, list.contains("\"own-model\"")), (200, true), "{list}");
    assert!(list.contains(MODEL), "the built-in models are missing: {list}");
    assert_eq!(watched.get(one).await.0, 200);

    // The list does not read prices itself. Before a request was priced, only built-in prices are
    // listed.
    let upstream = FakeUpstream::start();
    let fresh = WatchedRelay::start(&upstream).await;
    fresh.set_price("own-model").await;
    drop(upstream);
    let (status, list) = fresh.get(all).await;
    assert_eq!((status, list.contains("\"own-model\"")), (200, false), "{list}");
    assert!(list.contains(MODEL), "{list}");
    assert_eq!(fresh.get(one).await.0, 404);
}

#[tokio::test]
async fn malformed_key_costs_no_store_call() {
    let upstream = FakeUpstream::start();
    let watched = WatchedRelay::start(&upstream).await;
    let mut broken = watched.key.clone();
    let last = if broken.pop() == Some('0') { '1' } else { '0' };
    broken.push(last);
    for key in [broken.as_str(), "bt_nonsense", "sk-ant-api03-x"] {
        assert_eq!(watched.ask(key).await, (401, vec![]), "{key}");
    }
}

#[tokio::test]
async fn repeated_requests_write_only_their_record() {
    let upstream = FakeUpstream::start();
    let watched = WatchedRelay::start(&upstream).await;
    let (status, first) = watched.ask(&watched.key).await;
    assert_eq!(status, 200);
    assert!(
        !first.iter().any(|call| call.starts_with("Put") || call.starts_with("Update")),
        "{first:?}"
    );
    assert_eq!(watched.ask(&watched.key).await, (200, vec!["SendMessage".to_owned()]));
}
