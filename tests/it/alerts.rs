//! Alerts about limits and accounts: each is sent once and signed, a failed delivery is retried,
//! and requests never wait for them.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::health::{AccountHealth, HealthState};
use baton_domain::id::{AccountId, KeyId, RequestId};
use baton_domain::key::{Key, Limits};
use baton_domain::scope::LimitScope;
use baton_refresh::alerts::{AlertRun, send_alerts};
use baton_store::Admission;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::{InProcessSystem, TestSystem, reservation};
use http::{HeaderMap, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};

const SECRET: &str = "signing-secret-of-a-test";

/// A webhook receiver: what has arrived, and whether it answers with an error.
#[derive(Clone, Default)]
struct WebhookReceiver {
    arrived: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    broken: Arc<Mutex<bool>>,
}

impl WebhookReceiver {
    /// Starts a receiver. Returns it and its URL.
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook/secret", listener.local_addr().expect("an address"));
        let router = axum::Router::new()
            .route("/hook/secret", axum::routing::post(take))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    fn take(&self) -> Vec<(HeaderMap, String)> {
        std::mem::take(&mut *self.arrived.lock().expect("not poisoned"))
    }

    /// The texts that have arrived since the last call.
    fn texts(&self) -> Vec<String> {
        let text = |(_, body): (HeaderMap, String)| {
            let body: Value = serde_json::from_str(&body).expect("JSON");
            body["text"].as_str().expect("a text").to_owned()
        };
        self.take().into_iter().map(text).collect()
    }

    fn fail(&self, broken: bool) {
        *self.broken.lock().expect("not poisoned") = broken;
    }
}

async fn take(
    State(receiver): State<WebhookReceiver>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if *receiver.broken.lock().expect("not poisoned") {
        return StatusCode::BAD_GATEWAY;
    }
    let body = String::from_utf8(body.to_vec()).expect("text");
    receiver.arrived.lock().expect("not poisoned").push((headers, body));
    StatusCode::OK
}

/// An admin system with a webhook receiver.
async fn system_with_receiver(form: &str) -> (InProcessSystem, WebhookReceiver) {
    let in_process = InProcessSystem::open().await;
    let (receiver, url) = WebhookReceiver::start().await;
    let body = json!({"url": url, "form": form, "signing_secret": SECRET});
    in_process.admin().send("PUT", "/alerts", &body).await.ok();
    (in_process, receiver)
}

async fn run_alerts(in_process: &InProcessSystem) -> (usize, usize, usize) {
    let run = send_alerts(&in_process.store.refresh, &in_process.notifier(), "test")
        .await
        .expect("the alert run");
    let AlertRun { noticed, delivered, failed } = run;
    (noticed, delivered, failed)
}

async fn key(in_process: &InProcessSystem, usd: &str) -> (KeyId, Limits) {
    let body = json!({"name": "ci", "limits": {"usd_daily": usd}});
    let id = in_process.admin().create("/keys", &body).await.parse::<KeyId>().expect("an id");
    let stored =
        in_process.store.admin.config.read::<Key>(&id).await.expect("read").expect("there");
    (id, stored.value.limits)
}

/// Admits a request of this key with this cost and stores its record.
async fn spend(in_process: &InProcessSystem, (key, limits): &(KeyId, Limits), usd: &str) {
    spend_within(in_process, &EffectiveLimits::from_own_limits(key.clone(), limits.clone()), usd)
        .await;
}

async fn spend_within(in_process: &InProcessSystem, bounds: &EffectiveLimits, usd: &str) {
    let at = in_process.store.clock().now();
    let mut record = in_process.record(&bounds.key);
    record.cost_usd = usd.parse().expect("an amount");
    record.reserved_usd = Some(record.cost_usd);
    record.reserved_shared_limits = bounds.shared_scopes();
    let mut wanted = reservation(at, record.cost_usd.pico());
    wanted.shared_limits = bounds.shared_scopes();
    let admitted =
        in_process.store.relay.limits.admit(bounds, &record.id, &wanted).await.expect("admitted");
    assert!(matches!(admitted, Admission::Admitted(_)), "{admitted:?}");
    in_process.store_all(&[record]).await;
}

/// The same with all limits that apply to the key.
async fn spend_within_all_limits(in_process: &InProcessSystem, key: &Key, usd: &str) {
    let bounds = in_process.store.admin.limit_settings.effective_limits(key).await.expect("bounds");
    spend_within(in_process, &bounds, usd).await;
}

#[tokio::test]
async fn each_threshold_alerts_once_per_period() {
    let (in_process, receiver) = system_with_receiver("json").await;
    let ci = key(&in_process, "10").await;
    spend(&in_process, &ci, "4.99").await;
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0));
    spend(&in_process, &ci, "0.01").await;
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    let text = |percent, spent| {
        format!(
            "key ci: {percent} % of the daily limit is spent ({spent} of 10.00 USD; resets 2026-11-23 00:00 UTC)"
        )
    };
    assert_eq!(receiver.texts(), [text(50, "5.00")]);
    spend(&in_process, &ci, "0.01").await;
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0), "once");
    // Two thresholds are crossed at once. Only the larger one is reported.
    spend(&in_process, &ci, "4.5").await;
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    assert_eq!(receiver.texts(), [text(95, "9.51")]);
    spend(&in_process, &ci, "0.49").await;
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    assert_eq!(receiver.texts(), [text(100, "10.00")]);

    in_process.store.clock().advance(SignedDuration::from_hours(24));
    spend(&in_process, &ci, "6").await;
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0), "another day");
    assert!(receiver.texts()[0].contains("50 % of the daily limit"));
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0));
}

#[tokio::test]
async fn alerts_name_user_group_and_organization() {
    let (in_process, receiver) = system_with_receiver("json").await;
    let daily = |usd: &str| json!({ "usd_daily": usd });
    let admin = &in_process.admin();
    let user = admin.create("/users", &json!({"name": "ada", "limits": daily("10")})).await;
    let group = admin.create("/groups", &json!({"name": "research", "limits": daily("20")})).await;
    admin.send("PUT", "/limits/organization", &daily("40")).await.ok();
    let body = json!({"name": "ci", "user_id": user, "group_id": group});
    let id: KeyId = admin.create("/keys", &body).await.parse().expect("an id");
    let key =
        in_process.store.admin.config.read::<Key>(&id).await.expect("read").expect("there").value;
    spend_within_all_limits(&in_process, &key, "5").await;
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    spend_within_all_limits(&in_process, &key, "5").await;
    assert_eq!(run_alerts(&in_process).await, (2, 2, 0));
    let mut texts = receiver.texts();
    texts.sort_unstable();
    let resets = "resets 2026-11-23 00:00 UTC";
    let text = |whose, percent, amounts| {
        format!("{whose}: {percent} % of the daily limit is spent ({amounts} USD; {resets})")
    };
    assert_eq!(
        texts,
        [
            text("group research", 50, "10.00 of 20.00"),
            text("user ada", 100, "10.00 of 10.00"),
            text("user ada", 50, "5.00 of 10.00"),
        ]
    );
    // Ten more would exceed Ada's limit, but another key of the group can spend them.
    let body = json!({"name": "other", "group_id": group});
    let id: KeyId = admin.create("/keys", &body).await.parse().expect("an id");
    let other =
        in_process.store.admin.config.read::<Key>(&id).await.expect("read").expect("there").value;
    spend_within_all_limits(&in_process, &other, "10").await;
    assert_eq!(run_alerts(&in_process).await, (2, 2, 0));
    let mut texts = receiver.texts();
    texts.sort_unstable();
    assert_eq!(
        texts,
        [
            text("group research", 100, "20.00 of 20.00"),
            text("the organization", 50, "20.00 of 40.00"),
        ]
    );
}

#[tokio::test]
async fn spend_cap_alert_names_the_person() {
    let (in_process, receiver) = system_with_receiver("json").await;
    let cap = json!({"scope": {"type": "organization"}, "amount": "1000", "period": "weekly"});
    in_process.admin().post("/organizations/spend_limits", &cap).await.ok();
    let ada = in_process.admin().create("/users", &json!({"name": "ada"})).await;
    for body in [json!({"name": "hers", "user_id": ada}), json!({"name": "nobodys"})] {
        let id: KeyId = in_process.admin().create("/keys", &body).await.parse().expect("an id");
        let key = in_process
            .store
            .admin
            .config
            .read::<Key>(&id)
            .await
            .expect("read")
            .expect("there")
            .value;
        spend_within_all_limits(&in_process, &key, "8").await;
    }
    assert_eq!(run_alerts(&in_process).await, (2, 2, 0));
    let mut texts = receiver.texts();
    texts.sort_unstable();
    let rest = "80 % of the weekly limit is spent (8.00 of 10.00 USD; resets 2026-11-23 00:00 UTC)";
    assert_eq!(texts, [format!("key nobodys: {rest}"), format!("user ada: {rest}")]);
}

#[tokio::test]
async fn delivery_is_signed_and_has_alert_id() {
    let (in_process, receiver) = system_with_receiver("slack").await;
    let test = in_process.admin().post("/alerts/test", &json!({})).await.status(202).json();
    assert_eq!(test["channels"], json!(["webhook"]));
    assert_eq!(run_alerts(&in_process).await, (0, 1, 0));
    let (headers, body) = receiver.take().pop().expect("it arrived");
    assert_eq!(body, r#"{"text":"Baton: this is a test alert"}"#);
    assert_eq!(headers["baton-alert-id"], test["id"].as_str().expect("an id"));
    let second = in_process.store.clock().now().as_second();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, format!("{second}.{body}").as_bytes());
    let hex = tag.as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    assert_eq!(headers["baton-signature"], format!("t={second},v1={hex}").as_str());
}

#[tokio::test]
async fn failed_deliveries_are_retried_with_backoff() {
    let (in_process, receiver) = system_with_receiver("json").await;
    receiver.fail(true);
    in_process.admin().post("/alerts/test", &json!({})).await.status(202);
    assert_eq!(run_alerts(&in_process).await, (0, 0, 1));
    let waiting = in_process.admin().get("/alerts").await.ok().json()["waiting"].clone();
    assert_eq!(waiting[0]["tries"], 1);
    assert_eq!(waiting[0]["last_error"], "the webhook answered with status 502 Bad Gateway");
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0), "retried before the backoff is over");
    let wait = |seconds| in_process.store.clock().advance(SignedDuration::from_secs(seconds));
    wait(30);
    assert_eq!(run_alerts(&in_process).await, (0, 0, 1));
    wait(30);
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0));
    wait(30);
    receiver.fail(false);
    assert_eq!(run_alerts(&in_process).await, (0, 1, 0));
    assert_eq!(receiver.texts(), ["this is a test alert"]);
    assert_eq!(in_process.admin().get("/alerts").await.ok().json()["waiting"], json!([]));

    receiver.fail(true);
    in_process.admin().post("/alerts/test", &json!({})).await.status(202);
    for _ in 0..30 {
        assert_eq!(run_alerts(&in_process).await, (0, 0, 1));
        wait(3600);
    }
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0), "delivery is given up");
}

async fn set_health(store: &AllStores, id: &AccountId, state: HealthState) {
    let change =
        |health: &AccountHealth| Some(AccountHealth { state: state.clone(), ..health.clone() });
    store.admin.health.change_health(id, change).await.expect("written");
}

#[tokio::test]
async fn account_failure_and_recovery_alert_each_time() {
    let (in_process, receiver) = system_with_receiver("json").await;
    let body = json!({
        "name": "main", "provider": "anthropic", "base_url": "http://127.0.0.1:9",
        "credential": {"type": "api_key", "value": "sk-upstream-main"},
    });
    let id: AccountId = in_process.admin().create("/accounts", &body).await.parse().expect("an id");
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0), "a new account causes no alert");
    let failed = || HealthState::AuthFailed {
        since: in_process.store.clock().now(),
        reason: CooldownReason::CredentialRefused,
        detail: None,
    };
    for _ in 0..2 {
        set_health(&in_process.store, &id, failed()).await;
        assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
        assert_eq!(run_alerts(&in_process).await, (0, 0, 0));
        in_process.admin().post(&format!("/accounts/{id}/reset"), &json!({})).await.ok();
        assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    }
    let texts = receiver.texts();
    assert_eq!(texts[1], "account main is ready again");
    assert_eq!(texts[0], texts[2]);
    assert!(
        texts[0].contains("needs another credential (the upstream refuses the credential (401))"),
        "{texts:?}"
    );
}

#[tokio::test]
async fn without_receiver_no_alert_is_stored() {
    let in_process = InProcessSystem::open().await;
    let ci = key(&in_process, "1").await;
    spend(&in_process, &ci, "0.9").await;
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0));
    in_process.admin().post("/alerts/test", &json!({})).await.refused(400, "invalid_request_error");
    // A new receiver gets the current state.
    let (receiver, url) = WebhookReceiver::start().await;
    in_process.admin().send("PUT", "/alerts", &json!({ "url": url })).await.ok();
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    assert!(receiver.texts()[0].contains("80 %"));
}

#[tokio::test]
async fn blocking_limit_alerts_once_with_amount() {
    let (in_process, receiver) = system_with_receiver("json").await;
    let (id, _) = key(&in_process, "10").await;
    let scope = LimitScope::Key(id.clone());
    let usd = |text: &str| text.parse().expect("an amount");
    for _ in 0..3 {
        in_process.store.relay.alerts.note_blocked(&scope, "d#2026-11-22", usd("10")).await;
    }
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    let text = "key ci: requests are refused because of the daily limit (0.00 of 10.00 USD; resets 2026-11-23 00:00 UTC)";
    assert_eq!(receiver.texts(), [text]);
    in_process.store.relay.alerts.note_blocked(&scope, "d#2026-11-22", usd("10")).await;
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0), "this process has already alerted");
    // The limit is raised and reached again.
    let limits = json!({"limits": {"usd_daily": "12"}});
    in_process.admin().patch(&format!("/keys/{id}"), &limits).await.ok();
    in_process.store.relay.alerts.note_blocked(&scope, "d#2026-11-22", usd("12")).await;
    // A settlement in between does not hide it.
    in_process.store.stats.alerts.touch_limits([&scope].into_iter()).await;
    assert_eq!(run_alerts(&in_process).await, (1, 1, 0));
    assert!(receiver.texts()[0].contains("of 12.00 USD"));
}

#[tokio::test]
async fn reservation_alone_does_not_alert() {
    let (in_process, _receiver) = system_with_receiver("json").await;
    let (id, limits) = key(&in_process, "10").await;
    let at = in_process.store.clock().now();
    let wanted = reservation(at, 9_990_000_000_000);
    let bounds = EffectiveLimits::from_own_limits(id.clone(), limits);
    in_process
        .store
        .relay
        .limits
        .admit(&bounds, &RequestId::from_bits(1), &wanted)
        .await
        .expect("admitted");
    spend(&in_process, &(id, Limits::default()), "0.01").await;
    assert_eq!(run_alerts(&in_process).await, (0, 0, 0));
}

#[tokio::test]
async fn alert_settings_are_validated_and_hide_secrets() {
    let system = TestSystem::open().await;
    let admin = system.admin();
    let blank = admin.get("/alerts").await.ok().json();
    assert_eq!(blank["thresholds"], json!([50, 80, 95, 100]));
    assert_eq!((&blank["url_host"], &blank["waiting"]), (&Value::Null, &json!([])));
    let topic = "arn:aws:sns:eu-central-1:123456789012:alerts";
    let body = json!({
        "url": "https://hooks.example.com/services/T0/B0/very-secret", "form": "slack",
        "thresholds": [90, 50, 90], "sns_topic_arn": topic,
    });
    let set = admin.send("PUT", "/alerts", &body).await.ok();
    let made = set.json()["signing_secret"].as_str().expect("shown this once").to_owned();
    assert!(!set.text().contains("very-secret"));
    let shown = admin.get("/alerts").await.ok();
    assert!(!shown.text().contains("very-secret") && !shown.text().contains(&made));
    let shown = shown.json();
    assert_eq!(shown["url_host"], "hooks.example.com");
    assert_eq!((&shown["form"], &shown["thresholds"]), (&json!("slack"), &json!([50, 90])));
    assert_eq!(shown["sns_topic_arn"], topic);
    // A field that is absent stays unchanged; `null` clears it.
    let again = admin.send("PUT", "/alerts", &json!({})).await.ok().json();
    assert_eq!(
        (&again["url_host"], &again["form"]),
        (&json!("hooks.example.com"), &json!("slack"))
    );
    assert_eq!((&again["thresholds"], &again["sns_topic_arn"]), (&json!([50, 90]), &json!(topic)));
    assert_eq!(again.get("signing_secret"), None);
    let gone = admin.send("PUT", "/alerts", &json!({ "url": null })).await.ok().json();
    assert_eq!((&gone["url_host"], &gone["version"]), (&Value::Null, &json!(3)));
    let rows = admin.get("/audit?target=alerts").await.ok();
    assert!(!rows.text().contains("very-secret") && !rows.text().contains(&made));
    let rows = rows.json();
    assert_eq!(rows["data"].as_array().map(Vec::len), Some(3), "{rows}");
    assert_eq!(rows["data"][2]["after"]["url_host"], "hooks.example.com", "{rows}");
    for bad in [
        json!({"url": "ftp://example.com"}),
        json!({"url": "nonsense"}),
        json!({"thresholds": [0]}),
        json!({"thresholds": [101]}),
        json!({"form": "teams"}),
        json!({"sns_topic_arn": "arn:aws:sqs:eu-central-1:1:q"}),
        json!({"signing_secret": "short"}),
        json!({"webhook": "https://example.com"}),
    ] {
        admin.send("PUT", "/alerts", &bad).await.refused(400, "invalid_request_error");
    }
}

#[tokio::test]
async fn model_without_a_price_is_reported_once_a_day() {
    let (in_process, receiver) = system_with_receiver("json").await;
    let (key, _) = key(&in_process, "100").await;
    for _ in 0..2 {
        let mut record = in_process.record(&key);
        record.upstream_model = "made-up".to_owned();
        record.price_version = "v?".to_owned();
        record.cost_usd = "0.5".parse().expect("an amount");
        in_process.store_all(&[record]).await;
        run_alerts(&in_process).await;
    }
    let texts = receiver.texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].starts_with("the model made-up has no price"), "{texts:?}");
}
