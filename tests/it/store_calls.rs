//! What a request asks of the stores: nothing for a bad key, nothing written but its record.

use std::sync::{Arc, Mutex};

use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_local::Local;
use baton_relay::Relay;
use baton_tests::house::{MODEL, message};
use baton_tests::upstream::FakeUpstream;
use http::Request;
use http_body_util::{BodyExt as _, Full};

/// A relay in this process, over stores in memory that note each call.
struct Watched {
    relay: Relay,
    key: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    async fn start(upstream: &FakeUpstream) -> Self {
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&calls);
        let local = Local::open(None).await.expect("stores").with_faults(move |target, _| {
            let operation = target.split('.').next_back().unwrap_or_default();
            notes.lock().expect("the notes").push(operation.to_owned());
            None
        });
        let url = upstream.url();
        let mut settings = Settings::read(|name| match name {
            "BATON_ALLOW_PRIVATE_UPSTREAMS" => Some("1".into()),
            "ANTHROPIC_API_KEY" => Some("sk-upstream".into()),
            "BATON_ANTHROPIC_BASE_URL" => Some(url.clone()),
            _ => None,
        })
        .expect("settings");
        settings.resources = local.resources();
        let aws = Aws::new(&local.sdk_config());
        let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
        let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
        let pepper = store.pepper_or(None).await.expect("a pepper");
        let made = baton_admin::first_start(&settings, &pepper, store.clone()).await;
        let key = made.expect("first start").key.expect("a key").expose().to_owned();
        let relay = Relay::new(&settings, &pepper, store, queue).expect("a relay");
        calls.lock().expect("the notes").clear();
        Self { relay, key, calls }
    }

    /// Asks with a key; answers the status and the calls that it took.
    async fn ask(&self, key: &str) -> (u16, Vec<String>) {
        let body = message(MODEL, "hi", true).to_string();
        let request = Request::post("/v1/messages")
            .header("x-api-key", key)
            .body(Full::new(bytes::Bytes::from(body)))
            .expect("a request");
        let answer = self.relay.handle(request).await;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.expect("a whole answer");
        let calls = std::mem::take(&mut *self.calls.lock().expect("the notes"));
        (status, calls)
    }
}

#[tokio::test]
async fn a_malformed_key_costs_no_call() {
    let upstream = FakeUpstream::start();
    let watched = Watched::start(&upstream).await;
    let mut broken = watched.key.clone();
    let last = if broken.pop() == Some('0') { '1' } else { '0' };
    broken.push(last);
    for key in [broken.as_str(), "bt_nonsense", "sk-ant-api03-x"] {
        assert_eq!(watched.ask(key).await, (401, vec![]), "{key}");
    }
}

#[tokio::test]
async fn a_steady_key_writes_nothing_but_its_record() {
    let upstream = FakeUpstream::start();
    let watched = Watched::start(&upstream).await;
    let (status, first) = watched.ask(&watched.key).await;
    assert_eq!(status, 200);
    assert!(
        !first.iter().any(|call| call.starts_with("Put") || call.starts_with("Update")),
        "{first:?}"
    );
    assert_eq!(watched.ask(&watched.key).await, (200, vec!["SendMessage".to_owned()]));
}
