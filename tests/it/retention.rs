//! Single events are kept for a limited time, sums forever.

use baton_domain::id::{GroupId, KeyId, RequestId};
use baton_domain::money::PicoUsd;
use baton_domain::reservation::Reservation;
use baton_runtime::clock::Clock;
use baton_store::{EventFilter, RollupPeriod};
use baton_test_harness::system::{MODEL, TestSystem};
use jiff::SignedDuration;

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[tokio::test]
async fn expired_events_leave_totals_unchanged() {
    let begin = "2027-01-31T22:30:00Z".parse().expect("a time");
    let clock = Clock::fixed_at(begin);
    let builder = TestSystem::builder().env("BATON_EVENT_DAYS", "30");
    let system = builder.in_process().clock(clock.clone()).repeatable().start().await;
    let (store, queue) = (&system.store, &system.queue);
    for number in 0..60 {
        let reservation = Reservation {
            estimate: PicoUsd::new(1_000 + number),
            at: begin + SignedDuration::from_mins(i64::try_from(number).expect("small") * 5),
            expires: 0,
            model: MODEL.into(),
            stream: true,
            group: GroupId::from_bits(1),
            user: None,
            unreserved: PicoUsd::ZERO,
            shared_limits: Vec::new(),
        };
        let (id, key) = (RequestId::from_bits(number.unsigned_abs()), KeyId::from_bits(1));
        let mut record = reservation.to_expired_record(id, key, "t");
        record.reserved_usd = None;
        queue.send(&record).await.expect("sent");
    }
    system.run_stats().await;

    let everything = async || {
        let filter = EventFilter {
            from: begin,
            to: begin + DAY,
            key: None,
            account: None,
            user: None,
            model: None,
            outcome: None,
            keys: None,
        };
        let events =
            store.admin.usage.events(&filter, 1000, None).await.expect("events").data.len();
        let hours =
            store.admin.rollups.totals(RollupPeriod::Hour, "2027-01-31T00", "2027-02-02T00").await;
        let days = store.admin.rollups.totals(RollupPeriod::Day, "2027-01-31", "2027-02-02").await;
        let mut cells = store.admin.rollups.cells("2027-01-31").await.expect("cells");
        cells.extend(store.admin.rollups.cells("2027-02-01").await.expect("cells"));
        (events, hours.expect("hours"), days.expect("days"), cells)
    };
    let before = everything().await;
    assert_eq!((before.0, before.2.len()), (60, 2));
    clock.advance(DAY * 29);
    system.local.sweep_expired().await;
    assert_eq!(everything().await, before, "events expired too early");
    clock.advance(DAY * 3);
    system.local.sweep_expired().await;
    let after = everything().await;
    assert_eq!(after.0, 0, "an event has not expired");
    assert_eq!((after.1, after.2, after.3), (before.1, before.2, before.3), "a sum has changed");
}
