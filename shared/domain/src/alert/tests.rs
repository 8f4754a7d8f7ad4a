//! Tables of changes that cause an alert and changes that do not.

use super::ReportedState::{AuthFailed, Cooling, Ready};
use super::*;
use crate::cooldown_reason::CooldownReason;
use crate::id::{GroupId, KeyId, RequestId};
use crate::reservation::Reservation;
use proptest::prelude::*;

const NOW: &str = "2026-11-22T21:05:30Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

#[test]
fn largest_reached_threshold_is_alerted() {
    let check = |spent, limit, expect| {
        let found = reached_threshold(PicoUsd::new(spent), PicoUsd::new(limit), &THRESHOLDS);
        assert_eq!(found, expect, "{spent} of {limit}");
    };
    check(0, 100, None);
    check(49, 100, None);
    check(50, 100, Some(50));
    check(79, 100, Some(50));
    check(97, 100, Some(95));
    check(100, 100, Some(100));
    check(1000, 100, Some(100));
    check(499, 1000, None);
    check(0, 0, Some(100));
    check(-5, 100, None);
}

fn counted(windows: &[(&str, i128)]) -> LimitCounters {
    let windows = windows.iter().map(|(name, pico)| ((*name).to_owned(), *pico)).collect();
    LimitCounters { windows, ..LimitCounters::default() }
}

fn limits(daily: i128, monthly: i128) -> Limits {
    let usd = |pico| Some(PicoUsd::new(pico));
    Limits { usd_daily: usd(daily), usd_monthly: usd(monthly), ..Limits::default() }
}

fn key() -> LimitScope {
    LimitScope::Key(KeyId::from_bits(1))
}

fn ids(limits: &Limits, counters: &LimitCounters, now: Timestamp) -> Vec<String> {
    blocked_ids(limits, counters, &[], now)
}

fn blocked_ids(
    limits: &Limits,
    counters: &LimitCounters,
    blocked: &[&str],
    now: Timestamp,
) -> Vec<String> {
    let blocked = blocked.iter().map(|name| (*name).to_owned()).collect();
    let scope = key();
    let snapshot = LimitSnapshot { scope: &scope, name: "ci", limits, counters, blocked: &blocked };
    limit_alerts(&snapshot, &THRESHOLDS, now).into_iter().map(|alert| alert.id).collect()
}

#[test]
fn each_window_and_each_changed_limit_alert_separately() {
    let counters = counted(&[("d#2026-11-22", 81), ("m#2026-11", 500), ("t", 9999)]);
    assert_eq!(
        ids(&limits(100, 1000), &counters, now()),
        ["limit#key_000000000001#d#2026-11-22#100#80", "limit#key_000000000001#m#2026-11#1000#50"]
    );
    assert_eq!(ids(&limits(200, 2000), &counters, now()), Vec::<String>::new());
    assert_eq!(
        ids(&limits(160, 2000), &counters, now()),
        ["limit#key_000000000001#d#2026-11-22#160#50"]
    );
}

#[test]
fn blocked_requests_alert_regardless_of_spend() {
    let counters = counted(&[("d#2026-11-22", 30), ("m#2026-11", 96)]);
    let check = |blocked: &[&str], expect: &[&str]| {
        assert_eq!(
            blocked_ids(&limits(100, 100), &counters, blocked, now()),
            expect,
            "{blocked:?}"
        );
    };
    let spent = "limit#key_000000000001#m#2026-11#100#95";
    check(&[], &[spent]);
    check(&["d#2026-11-21", "w#2026-11-16"], &[spent]);
    let daily = "limit#key_000000000001#d#2026-11-22#100#blocks";
    check(&["d#2026-11-22"], &[daily, spent]);
    check(&["m#2026-11"], &[spent, "limit#key_000000000001#m#2026-11#100#blocks"]);
}

#[test]
fn reserved_amounts_do_not_count_as_spent() {
    let mut counters = counted(&[("d#2026-11-22", 100), ("m#2026-11", 100)]);
    let open_reservations = Reservation {
        estimate: PicoUsd::new(60),
        at: now(),
        expires: 0,
        model: "m".into(),
        stream: true,
        group: GroupId::from_bits(1),
        user: None,
        unreserved: PicoUsd::ZERO,
        shared_limits: Vec::new(),
    };
    counters.open_reservations.insert(RequestId::from_bits(1), open_reservations);
    assert_eq!(ids(&limits(100, 100), &counters, now()), Vec::<String>::new());
}

#[test]
fn recently_ended_window_is_still_checked() {
    let counters = counted(&[("d#2026-11-22", 100)]);
    let midnight: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    let minutes = |count| midnight + SignedDuration::from_mins(count);
    assert_eq!(ids(&limits(100, 1000), &counters, minutes(5)).len(), 1);
    assert_eq!(ids(&limits(100, 1000), &counters, minutes(11)).len(), 0);
}

#[test]
fn only_long_account_changes_are_alerted() {
    let rest = |seconds| {
        HealthState::Cooling(Cooldown::new(later(seconds), CooldownReason::RateLimited, false))
    };
    let open = |seconds, until| HealthState::Open {
        until: later(until),
        seconds,
        reason: CooldownReason::ServerError,
        probe_until: None,
    };
    let reason = CooldownReason::CredentialRefused;
    let failed = HealthState::AuthFailed { since: now(), reason, detail: None };
    let spent = |seconds| {
        HealthState::Cooling(Cooldown::new(later(seconds), CooldownReason::CreditUsedUp, false))
    };
    let check = |told, state: &HealthState, expect: Option<ReportedState>| {
        let health = AccountHealth { state: state.clone(), ..AccountHealth::default() };
        let change = account_news(told, &health, now());
        assert_eq!(change.map(|news| news.state), expect, "{told:?}, then {state:?}");
    };
    check(Ready, &HealthState::Ready, None);
    check(Ready, &rest(299), None);
    check(Ready, &rest(300), Some(Cooling));
    check(Cooling, &rest(300), None);
    check(Cooling, &rest(10), None);
    check(Cooling, &rest(-1), Some(Ready));
    check(Ready, &open(60, 50), None);
    check(Ready, &open(120, 50), Some(Cooling));
    check(Cooling, &open(120, -1), None);
    check(Ready, &failed, Some(AuthFailed));
    check(Cooling, &failed, Some(AuthFailed));
    check(AuthFailed, &failed, None);
    check(AuthFailed, &HealthState::Ready, Some(Ready));
    check(AuthFailed, &rest(1000), Some(Cooling));
    check(Ready, &spent(600), Some(Cooling));
    check(Cooling, &spent(-1), None);
    check(Cooling, &HealthState::Ready, Some(Ready));
}

#[test]
fn alert_messages_are_readable() {
    let reached = LimitReached {
        scope: key(),
        name: "ci".into(),
        period: "daily".into(),
        percent: 80,
        spent_usd: PicoUsd::new(8_099_000_000_000),
        limit_usd: PicoUsd::new(10_000_000_000_000),
        resets_at: "2026-11-23T00:00:00Z".parse().ok(),
    };
    let blocks = LimitReached { name: "<!channel> & co".into(), ..reached.clone() };
    let alert = Alert { id: "x".into(), at: now(), event: AlertEvent::LimitBlocks(blocks) };
    let slack: serde_json::Value =
        serde_json::from_str(&alert.webhook_body(WebhookFormat::Slack)).unwrap();
    let text = "Baton: key &lt;!channel&gt; &amp; co: requests are refused because of the daily limit \
        (8.09 of 10.00 USD; resets 2026-11-23 00:00 UTC)";
    assert_eq!(slack, json!({ "text": text }), "a name mentions nobody");
    let alert = Alert { id: "x".into(), at: now(), event: AlertEvent::Limit(reached) };
    let text =
        "key ci: 80 % of the daily limit is spent (8.09 of 10.00 USD; resets 2026-11-23 00:00 UTC)";
    assert_eq!(alert.to_text(), text);
    let body: serde_json::Value =
        serde_json::from_str(&alert.webhook_body(WebhookFormat::Json)).unwrap();
    assert_eq!((&body["kind"], &body["percent"]), (&json!("limit"), &json!(80)));
    assert_eq!((&body["text"], &body["at"]), (&json!(text), &json!(NOW)));
    let slack: serde_json::Value =
        serde_json::from_str(&alert.webhook_body(WebhookFormat::Slack)).unwrap();
    assert_eq!(slack, json!({ "text": format!("Baton: {text}") }));
    let again: Alert = serde_json::from_str(&serde_json::to_string(&alert).unwrap()).unwrap();
    assert_eq!(again, alert);

    let event = AlertEvent::Account {
        account_id: AccountId::from_bits(1),
        name: "main".into(),
        state: ReportedState::Cooling,
        reason: Some("spend cap".into()),
        until: Some(later(0)),
    };
    let alert = Alert { id: "x".into(), at: now(), event };
    assert_eq!(alert.to_text(), "account main is not used until 2026-11-22 21:05 UTC (spend cap)");
}

proptest! {
    #[test]
    fn reached_threshold_stays_reached(spent in 0_i128..1000, more in 0_i128..1000, limit in 1_i128..1000) {
        let at = |pico| reached_threshold(PicoUsd::new(pico), PicoUsd::new(limit), &THRESHOLDS);
        prop_assert!(at(spent + more) >= at(spent));
    }
}
