//! Concurrency slots of an account, counted over relay instances that share only the store.

use baton_domain::id::{AccountId, RequestId};
use baton_runtime::clock::Clock;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::TestSystem;
use jiff::SignedDuration;

const MOST: u32 = 10;

async fn instances() -> (Clock, [AllStores; 2]) {
    let clock = Clock::fixed_at(Clock::system().now());
    let system = TestSystem::builder().in_process().clock(clock.clone()).start().await;
    (clock, [system.another(1).store, system.store])
}

fn request(store: &AllStores) -> RequestId {
    RequestId::at(store.clock().now(), store.random_source().bits())
}

#[tokio::test]
async fn two_instances_share_ten_slots() {
    let (_, stores) = instances().await;
    let account = AccountId::from_bits(1);
    let attempts: Vec<_> = (0..60)
        .map(|serial| {
            let (store, account) = (stores[serial % 2].clone(), account.clone());
            tokio::spawn(async move {
                let id = request(&store);
                let expires = store.clock().now().as_second() + 600;
                let is_acquired = store
                    .relay
                    .slots
                    .acquire_slot(&account, MOST, &id, expires)
                    .await
                    .expect("an answer");
                is_acquired.then_some(id)
            })
        })
        .collect();
    let mut taken = Vec::new();
    for each in attempts {
        taken.extend(each.await.expect("no panic"));
    }
    assert_eq!(taken.len(), MOST as usize);

    let late = request(&stores[1]);
    let expires = stores[1].clock().now().as_second() + 600;
    assert!(
        !stores[1]
            .relay
            .slots
            .acquire_slot(&account, MOST, &late, expires)
            .await
            .expect("an answer")
    );
    stores[0].relay.slots.release_slot(&account, &taken[0]).await.expect("released");
    stores[0]
        .relay
        .slots
        .release_slot(&account, &taken[0])
        .await
        .expect("the second release does nothing");
    assert!(
        stores[1]
            .relay
            .slots
            .acquire_slot(&account, MOST, &late, expires)
            .await
            .expect("an answer")
    );
    let again = stores[1].relay.slots.acquire_slot(&account, MOST, &late, expires).await;
    assert!(again.expect("an answer"), "the same request can acquire its slot again");
}

#[tokio::test]
async fn slots_of_dead_processes_expire() {
    let (clock, [store, other]) = instances().await;
    let account = AccountId::from_bits(1);
    let take = async |store: &AllStores, seconds: i64| {
        let id = request(store);
        let expires = clock.now().as_second() + seconds;
        store.relay.slots.acquire_slot(&account, 3, &id, expires).await.expect("an answer")
    };
    assert!(take(&store, 60).await && take(&store, 60).await && take(&store, 600).await);
    clock.advance(SignedDuration::from_secs(59));
    assert!(!take(&other, 60).await);
    clock.advance(SignedDuration::from_secs(1));
    assert!(take(&other, 60).await && take(&other, 60).await);
    assert!(!take(&other, 60).await, "the third slot is not yet free");
}
