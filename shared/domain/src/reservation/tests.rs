//! Properties of reservations: which limit blocks a request, and that settlement leaves the actual
//! costs.

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn usd(text: &str) -> PicoUsd {
    text.parse().unwrap()
}

fn reservation(estimate: PicoUsd, at: Timestamp) -> Reservation {
    Reservation {
        estimate,
        unreserved: PicoUsd::ZERO,
        at,
        expires: at.as_second() + 60,
        model: "claude-opus-5-5".into(),
        stream: true,
        group: GroupId::from_bits(1),
        user: None,
        shared_limits: Vec::new(),
    }
}

/// Counters with these amounts spent and reserved in each window.
fn counted(spent: &str, reserved: &str, now: Timestamp) -> LimitCounters {
    let all = usd(spent) + usd(reserved);
    LimitCounters {
        windows: LimitPeriod::ALL.map(|period| (period.window(now).name, all.pico())).into(),
        open_reservations: [(RequestId::from_bits(1), reservation(usd(reserved), now))].into(),
        ..LimitCounters::default()
    }
}

#[test]
fn limit_with_the_latest_reset_is_reported() {
    let now = at("2026-11-30T12:00:00Z"); // Monday, and the month's last day
    let counters = counted("5", "0", now);
    let check = |limits: Limits, expect: &str| {
        let blocked =
            counters.block_reason(&limits, usd("1"), now).map(|reason| reason.to_string());
        assert_eq!(blocked.unwrap_or_default(), expect);
    };
    let (low, high) = (Some(usd("5.999999999999")), Some(usd("6")));
    let none = Limits::default();
    check(Limits { usd_daily: high, usd_total: high, ..none.clone() }, "");
    check(
        Limits { usd_daily: low, usd_monthly: high, ..none.clone() },
        "spend limit reached · resets Dec 1",
    );
    check(
        Limits { usd_weekly: low, usd_monthly: low, ..none.clone() },
        "spend limit reached · resets Dec 7",
    );
    check(Limits { usd_daily: low, usd_total: low, ..none }, "spend limit reached");
}

#[test]
fn money_limit_blocks_for_three_reasons() {
    let now = at("2026-11-22T21:05:30Z");
    let check = |limit: &str, (spent, reserved): (&str, &str), needed: &str, expect: &str| {
        let limits = Limits { usd_daily: Some(usd(limit)), ..Limits::default() };
        let blocked = counted(spent, reserved, now).block_reason(&limits, usd(needed), now);
        let kind = match blocked {
            None => "fits",
            Some(BlockReason::Spent { amounts, .. }) if amounts.remaining == PicoUsd::ZERO => {
                "spent"
            }
            Some(BlockReason::Spent { .. }) => "too little left",
            Some(BlockReason::TooLarge { .. }) => "too large",
            Some(BlockReason::Reserved { .. }) => "reserved",
            Some(_) => "another",
        };
        assert_eq!(kind, expect, "limit {limit}, {spent} spent, {reserved} reserved, {needed}");
    };
    check("1", ("0", "0"), "1", "fits");
    check("1", ("0", "0.5"), "0.5", "fits");
    check("1", ("0", "0.6"), "0.5", "reserved");
    check("1", ("0.4", "0.6"), "0.6", "reserved");
    check("1", ("0.4", "0.6"), "0.61", "too little left");
    check("1", ("0.4", "0"), "0.61", "too little left");
    check("1", ("0", "0"), "1.01", "too large");
    check("1", ("0.4", "0.6"), "1.01", "too large");
    check("1", ("1", "0"), "0.1", "spent");
    check("1", ("1", "0"), "5", "spent");
    check("1", ("1.5", "0"), "0.1", "spent");
    check("0", ("0", "0"), "0.1", "too large");
    check("0", ("5", "0"), "0.1", "too large");
    check("0", ("0", "0"), "0", "fits");
}

#[test]
fn too_large_requests_are_reported_first() {
    let now = at("2026-11-22T21:05:30Z");
    let counters = counted("0.5", "0.4", now);
    let some = |text: &str| Some(usd(text));
    let check = |daily: &str, monthly: &str, expect: &str| {
        let limits =
            Limits { usd_daily: some(daily), usd_monthly: some(monthly), ..Limits::default() };
        let reason =
            counters.block_reason(&limits, usd("0.3"), now).map(|reason| reason.to_string());
        assert_eq!(reason.unwrap_or_default(), expect);
    };
    check("1", "5", "Requests in progress have reserved the rest of the daily limit");
    check("1", "0.7", "spend limit reached · resets Dec 1");
    check("0.2", "5", "spend limit reached · resets Nov 23");
    let fresh = LimitCounters::default();
    let limits = Limits { usd_daily: some("0.2"), usd_monthly: some("5"), ..Limits::default() };
    let reason = fresh.block_reason(&limits, usd("0.3"), now).map(|reason| reason.to_string());
    let expect = "This request could cost up to 0.30 USD, which is more than the whole daily limit \
                  of 0.20 USD";
    assert_eq!(reason.as_deref(), Some(expect));
    assert_eq!(format_dollars(usd("1.2345")), "1.2345 USD");
    assert_eq!(format_dollars(usd("0.000001")), "0.000001 USD");
}

#[test]
fn rate_and_concurrency_block_after_money() {
    let now = at("2026-11-22T21:05:30Z");
    let counters = LimitCounters {
        windows: [(minute(now).name, 3)].into(),
        open_reservations: [(RequestId::from_bits(1), reservation(usd("1"), now))].into(),
        ..LimitCounters::default()
    };
    let check = |rate, concurrency, expect| {
        let limits = Limits { requests_per_minute: rate, concurrency, ..Limits::default() };
        assert_eq!(counters.block_reason(&limits, PicoUsd::ZERO, now), expect);
    };
    let rate = BlockReason::Rate { resets_at: Some(at("2026-11-22T21:06:00Z")) };
    check(Some(4), Some(2), None);
    check(Some(3), Some(2), Some(rate));
    check(Some(3), Some(1), Some(rate));
    check(Some(4), Some(1), Some(BlockReason::Concurrency));
    let none = |unit| Some(BlockReason::NoRequests { unit });
    check(None, Some(0), none("requests at the same time"));
    check(Some(0), None, none("requests per minute"));
}

#[test]
fn tightest_limit_has_the_largest_used_share() {
    let now = at("2026-11-22T21:05:30Z");
    let counters = LimitCounters {
        windows: [("d#2026-11-22".into(), 50), ("m#2026-11".into(), 60)].into(),
        ..LimitCounters::default()
    };
    let some = |pico| Some(PicoUsd::new(pico));
    let limits = Limits { usd_daily: some(100), usd_monthly: some(100), ..Limits::default() };
    let tightest = |limits| {
        let effective_limits = EffectiveLimits::from_own_limits(KeyId::from_bits(1), limits);
        effective_limits
            .tightest_limit(std::slice::from_ref(&counters), now)
            .map(|spend| spend.period)
    };
    assert_eq!(tightest(limits.clone()), Some(LimitPeriod::Monthly));
    assert_eq!(tightest(Limits { usd_daily: some(60), ..limits }), Some(LimitPeriod::Daily));
    assert_eq!(tightest(Limits::default()), None);
}

proptest! {
    /// Requests that are admitted one after the other and settled in any order never exceed the
    /// limit as long as none costs more than its estimate. In the end exactly the costs are
    /// counted.
    #[test]
    fn committed_stays_within_limit_and_settles_to_cost(
        requests in prop::collection::vec((0_i128..100, 0_i128..100, any::<bool>(), 0_i64..200_000), 1..60),
        limit in 0_i128..2000,
    ) {
        let limits = Limits { usd_weekly: Some(PicoUsd::new(limit)), ..Limits::default() };
        let (mut counted, mut costs) = (LimitCounters::default(), BTreeMap::<String, i128>::new());
        let settle = |counted: &mut LimitCounters, id: &RequestId, cost: i128, costs: &mut BTreeMap<String, i128>| {
            let Some(open) = counted.open_reservations.remove(id) else { return };
            let mut record = open.to_expired_record(id.clone(), KeyId::from_bits(1), "t");
            record.cost_usd = PicoUsd::new(cost.min(open.estimate.pico()));
            *costs.entry(LimitPeriod::Weekly.window(open.at).name).or_default() += record.cost_usd.pico();
            let mut settlement = Settlement::default();
            settlement.add_record(&record);
            for (name, change) in settlement.changes {
                *counted.windows.entry(name).or_default() += change.pico();
            }
        };
        for (number, (estimate, cost, settles_now, second)) in requests.iter().enumerate() {
            let now = Timestamp::from_second(1_790_000_000 + second).unwrap();
            let id = RequestId::from_bits(number as u128);
            if counted.block_reason(&limits, PicoUsd::new(*estimate), now).is_none() {
                for period in LimitPeriod::ALL {
                    *counted.windows.entry(period.window(now).name).or_default() += estimate;
                }
                counted.open_reservations.insert(id.clone(), reservation(PicoUsd::new(*estimate), now));
            }
            prop_assert!(counted.committed_amount(&LimitPeriod::Weekly.window(now)).pico() <= limit);
            if *settles_now {
                settle(&mut counted, &id, *cost, &mut costs);
            }
        }
        for (number, (_, cost, ..)) in requests.iter().enumerate() {
            settle(&mut counted, &RequestId::from_bits(number as u128), *cost, &mut costs);
        }
        for (name, spent) in costs {
            prop_assert_eq!(counted.windows.get(&name).copied().unwrap_or_default(), spent);
            prop_assert!(spent <= limit);
        }
    }

    /// If estimates are too low, a limit is exceeded at most by what the requests that ran at the
    /// last admission could cost beyond their estimates.
    #[test]
    fn overshoot_is_bounded_by_unreserved_cost(
        requests in prop::collection::vec((0_i128..100, 0_i128..50, any::<bool>()), 1..60),
        limit in 0_i128..500,
    ) {
        let now = at("2026-11-22T21:05:30Z");
        let window = LimitPeriod::Total.window(now);
        let limits = Limits { usd_total: Some(PicoUsd::new(limit)), ..Limits::default() };
        let mut counted = LimitCounters::default();
        let mut bound = limit;
        for (number, (estimate, beyond, settles)) in requests.iter().enumerate() {
            if counted.block_reason(&limits, PicoUsd::new(*estimate), now).is_none() {
                *counted.windows.entry(window.name.clone()).or_default() += estimate;
                let beyond = PicoUsd::new(*beyond);
                let open = Reservation { unreserved: beyond, ..reservation(PicoUsd::new(*estimate), now) };
                counted.open_reservations.insert(RequestId::from_bits(number as u128), open);
                bound = limit + counted.unreserved_cost().pico();
            }
            if *settles && let Some((_, done)) = counted.open_reservations.pop_first() {
                *counted.windows.entry(window.name.clone()).or_default() += done.unreserved.pico();
            }
            prop_assert!(counted.committed_amount(&window).pico() + counted.unreserved_cost().pico() <= bound);
        }
    }
}

#[test]
fn scope_with_the_latest_reset_is_reported() {
    let now = at("2026-11-22T21:05:30Z");
    let organization =
        (LimitScope::Organization, Limits { usd_monthly: Some(usd("5")), ..Limits::default() });
    let own_limits =
        Limits { usd_daily: Some(usd("5")), concurrency: Some(1), ..Limits::default() };
    let effective_limits = EffectiveLimits {
        shared_limits: vec![organization],
        ..EffectiveLimits::from_own_limits(KeyId::from_bits(1), own_limits)
    };
    let spent = |pico: i128| LimitCounters {
        windows: LimitPeriod::ALL.map(|period| (period.window(now).name, pico)).into(),
        shared_totals: OpenRequestTotals { requests: 1, ..OpenRequestTotals::default() },
        ..LimitCounters::default()
    };
    let check = |key, organization, expect: Option<(&str, &str)>| {
        let counters = [spent(usd(key).pico()), spent(usd(organization).pico())];
        let found = effective_limits.blocked(&counters, usd("1"), now);
        let found = found.map(|(scope, reason)| (scope.kind(), reason.to_string()));
        assert_eq!(found, expect.map(|(scope, why)| (scope, why.to_owned())));
    };
    let monthly = "spend limit reached · resets Dec 1";
    let daily = "spend limit reached · resets Nov 23";
    check("5", "5", Some(("organization", monthly)));
    check("5", "4", Some(("key", daily)));
    check("4", "5", Some(("organization", monthly)));
    check("4", "4", Some(("key", "Too many requests at the same time")));
    let tightest = |key, organization| {
        let counters = [spent(usd(key).pico()), spent(usd(organization).pico())];
        effective_limits.tightest_limit(&counters, now).map(|spend| spend.period)
    };
    assert_eq!(tightest("4", "3"), Some(LimitPeriod::Daily));
    assert_eq!(tightest("3", "4"), Some(LimitPeriod::Monthly));
}
