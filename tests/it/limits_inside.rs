//! Limits with everything in one process, where the line to the stores can be watched and cut.

use std::sync::{Arc, Mutex};

use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::{Admission, Edit, EventFilter, Store};
use baton_cloud::vault::Pepper;
use baton_domain::id::{GroupId, KeyId, RequestId};
use baton_domain::key::{Key, Limits};
use baton_domain::limit::Period;
use baton_domain::money::PicoUsd;
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::reservation::Reservation;
use baton_domain::secret::Secret;
use baton_local::{Fault, Local};
use baton_relay::Relay;
use baton_tests::house::{MODEL, message};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PEPPER: &str = "pepper-of-a-test-0123456789abcdef";

/// Stores in memory, a clock that stands, and what went over the line to the stores.
struct Inside {
    local: Local,
    settings: Settings,
    store: Store,
    queue: UsageQueue,
    seen: Arc<Mutex<Vec<String>>>,
    /// How often yet the state table answers with a fault, and with which.
    fault: Arc<Mutex<Option<(usize, Fault)>>>,
}

impl Inside {
    async fn new(variables: &[(&str, &str)]) -> Self {
        let (seen, fault) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Option<(usize, Fault)>>>::default());
        let local = Local::open(None).await.expect("stores in memory").with_faults({
            let (seen, fault) = (Arc::clone(&seen), Arc::clone(&fault));
            move |target, body| {
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
        let mut settings = Settings::read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .expect("good settings");
        settings.resources = local.resources();
        let aws = Aws::new(&local.sdk_config());
        let clock = Clock::standing("2026-11-22T21:05:30Z".parse().expect("a time"));
        let store = Store::new(&aws, &settings, clock, Dice::seeded(7));
        let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
        Self { local, settings, store, queue, seen, fault }
    }

    /// A key in a group that is not there: a request of it passes the limits, then is 503.
    async fn key(&self, limits: Limits) -> (KeyId, Secret) {
        let key = Key {
            id: KeyId::from_bits(self.store.dice().bits()),
            name: "ci".into(),
            user_id: None,
            group_id: GroupId::from_bits(1),
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            limits,
        };
        let secret = new_secret([1, 2]);
        let whole = compose(&key.id, &secret);
        let hash = Pepper::new(&Secret::new(PEPPER.to_owned())).hash(secret.expose());
        let id = key.id.clone();
        let stored = self.store.stamp(key, Some(hash));
        let mut edit = Edit::default();
        self.store.save_key(&mut edit, &stored).expect("an item");
        self.store.apply(edit).await.expect("saved");
        (id, whole)
    }

    async fn ask(&self, secret: &Secret) -> (u16, Value) {
        let pepper = Secret::new(PEPPER.to_owned());
        let relay = Relay::new(&self.settings, &pepper, self.store.clone(), self.queue.clone());
        let request = http::Request::post("/v1/messages")
            .header("x-api-key", secret.expose())
            .body(message(MODEL, "hi", true).to_string())
            .expect("a request");
        let answer = relay.expect("a relay").handle(request).await;
        let status = answer.status().as_u16();
        let has_wait = answer.headers().contains_key("retry-after");
        let mut body = std::pin::pin!(answer.into_body());
        let frame =
            std::future::poll_fn(|context| http_body::Body::poll_frame(body.as_mut(), context));
        let bytes = frame.await.expect("a body").expect("whole").into_data().expect("data");
        let mut error: Value = serde_json::from_slice(&bytes).expect("JSON");
        error["has_wait"] = json!(has_wait);
        (status, error)
    }

    fn fail(&self, times: usize, fault: Fault) {
        *self.fault.lock().expect("not poisoned") = Some((times, fault));
    }

    fn operations(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("not poisoned"))
    }

    /// Lets stats take everything that is in the queue.
    async fn count(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        let store = self.store.clone();
        let handler = move |event| {
            let store = store.clone();
            async move { baton_stats::handle(&store, event).await }
        };
        self.local.consume_usage(stop, handler).await.expect("a consumer");
    }

    async fn spent(&self, key: &KeyId) -> (PicoUsd, PicoUsd) {
        let counted = self.store.counted(key).await.expect("counted");
        let now = self.store.clock().now();
        (counted.spent(Period::Total, now), counted.reserved(Period::Total, now))
    }
}

fn daily(usd: &str) -> Limits {
    Limits { usd_daily: Some(usd.parse().expect("an amount")), ..Limits::default() }
}

fn broken() -> Fault {
    let body = json!({ "__type": "ResourceNotFoundException", "message": "gone" });
    Fault::answer(400, &body)
}

fn reservation(at: Timestamp, pico: i128) -> Reservation {
    Reservation {
        estimate: PicoUsd::new(pico),
        at,
        expires: at.as_second() + 60,
        model: MODEL.into(),
        stream: true,
        group: GroupId::from_bits(1),
        user: None,
    }
}

#[tokio::test]
async fn a_key_without_limits_writes_nothing_and_one_with_limits_once() {
    let inside = Inside::new(&[]).await;
    let (_, free) = inside.key(Limits::default()).await;
    let (_, limited) = inside.key(daily("100")).await;
    inside.operations();
    assert_eq!(inside.ask(&free).await.0, 503);
    let seen = inside.operations();
    assert!(seen.iter().all(|operation| matches!(&**operation, "GetItem" | "Query")), "{seen:?}");

    assert_eq!(inside.ask(&limited).await.0, 503, "its first request makes the item");
    inside.operations();
    assert_eq!(inside.ask(&limited).await.0, 503);
    let seen = inside.operations();
    let updates = seen.iter().filter(|operation| *operation == "UpdateItem").count();
    assert_eq!(updates, 2, "reserved and, since no upstream was there, released: {seen:?}");
    assert!(!seen.iter().any(|operation| operation == "PutItem"), "{seen:?}");
}

#[tokio::test]
async fn without_the_store_money_is_refused_and_rates_go_on_unless_set_otherwise() {
    let rates = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let check = async |variables: &[(&str, &str)], limits: &Limits, expect: (u16, &str)| {
        let inside = Inside::new(variables).await;
        let (_, secret) = inside.key(limits.clone()).await;
        inside.fail(usize::MAX, broken());
        let (status, error) = inside.ask(&secret).await;
        let kind = error["error"]["type"].as_str().unwrap_or_default();
        assert_eq!((status, kind), expect, "{variables:?}: {error}");
        error
    };
    let told = check(&[], &daily("100"), (429, "billing_error")).await;
    let text = told["error"]["message"].as_str().unwrap_or_default();
    assert!(text.starts_with("spend limit unavailable"), "{told}");
    assert_eq!(told["has_wait"], false, "nobody knows for how long");
    check(&[("BATON_LIMITS_FAIL_MONEY", "open")], &daily("100"), (503, "api_error")).await;
    check(&[], &rates, (503, "api_error")).await;
    let closed = [("BATON_LIMITS_FAIL_RATES", "closed")];
    check(&closed, &rates, (429, "rate_limit_error")).await;
}

#[tokio::test]
async fn a_transaction_in_the_way_is_waited_for_and_a_lost_answer_reserves_once() {
    let inside = Inside::new(&[]).await;
    let (key, _) = inside.key(daily("100")).await;
    let now = inside.store.clock().now();
    let admit = async |bits| {
        let id = RequestId::from_bits(bits);
        inside.store.admit(&key, &daily("100"), &id, &reservation(now, 5)).await
    };
    assert!(matches!(admit(1).await, Ok(Admission::Admitted(_))));
    inside.fail(2, Fault::conflict());
    assert!(matches!(admit(2).await, Ok(Admission::Admitted(_))));
    assert_eq!(inside.spent(&key).await.1, PicoUsd::new(10));
    inside.fail(1, Fault::disconnected().after());
    assert!(matches!(admit(3).await, Ok(Admission::Admitted(_))));
    assert_eq!(inside.spent(&key).await.1, PicoUsd::new(15), "once");
}

#[tokio::test]
async fn an_expired_reservation_is_settled_once_also_if_its_record_comes_late() {
    let inside = Inside::new(&[]).await;
    let (key, _) = inside.key(daily("100")).await;
    let (store, queue) = (&inside.store, &inside.queue);
    let at = store.clock().now();
    let id = RequestId::at(at, store.dice().bits());
    let wanted = reservation(at, 1000);
    store.admit(&key, &daily("100"), &id, &wanted).await.expect("admitted");
    let swept = async || baton_refresh::tick(store, queue, "test").await.expect("a tick").swept;
    assert_eq!(swept().await, 0, "its time is not over");
    store.clock().advance(SignedDuration::from_secs(61));
    assert_eq!(swept().await, 1);
    assert_eq!(swept().await, 0, "it has time to be settled");
    inside.count().await;
    assert_eq!(inside.spent(&key).await, (PicoUsd::new(1000), PicoUsd::ZERO));

    let mut late = wanted.given_up(id, key.clone(), "t");
    late.cost_usd = PicoUsd::new(400);
    queue.send(&late).await.expect("sent");
    inside.count().await;
    assert_eq!(inside.spent(&key).await, (PicoUsd::new(1000), PicoUsd::ZERO), "settled once");
    let now = store.clock().now();
    let filter = EventFilter {
        from: at,
        to: now,
        key: Some(key),
        account: None,
        user: None,
        model: None,
        outcome: None,
    };
    let events = store.events(&filter, 10, None).await.expect("events").data;
    assert_eq!((events.len(), events[0].estimated), (1, true));
    store.clock().advance(SignedDuration::from_secs(700));
    assert_eq!(swept().await, 0, "nothing is left");
}

#[tokio::test]
async fn a_record_whose_limit_item_is_gone_is_stored_all_the_same() {
    let inside = Inside::new(&[]).await;
    let (key, _) = inside.key(daily("100")).await;
    let at = inside.store.clock().now();
    let id = RequestId::at(at, inside.store.dice().bits());
    let record = reservation(at, 1000).given_up(id, key.clone(), "t");
    inside.queue.send(&record).await.expect("sent");
    inside.count().await;
    let filter = EventFilter {
        from: at,
        to: at + SignedDuration::from_secs(1),
        key: Some(key.clone()),
        account: None,
        user: None,
        model: None,
        outcome: None,
    };
    assert_eq!(inside.store.events(&filter, 10, None).await.expect("events").data.len(), 1);
    assert_eq!(inside.spent(&key).await, (PicoUsd::ZERO, PicoUsd::ZERO), "nothing was reserved");
}

#[tokio::test]
async fn a_limit_item_stays_small() {
    let inside = Inside::new(&[]).await;
    let limits = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let (key, _) = inside.key(limits.clone()).await;
    for number in 0..100 {
        let at = inside.store.clock().now();
        let (id, wanted) = (RequestId::from_bits(number), reservation(at, 5));
        let admitted = inside.store.admit(&key, &limits, &id, &wanted).await;
        assert!(matches!(admitted, Ok(Admission::Admitted(_))), "{number}: {admitted:?}");
        inside.store.release(&key, &id, &wanted).await.expect("released");
        inside.store.clock().advance(SignedDuration::from_mins(1));
    }
    let counted = inside.store.counted(&key).await.expect("counted");
    assert!(counted.windows.len() < 30, "{:?}", counted.windows.keys());
    assert!(counted.open.is_empty());
}
