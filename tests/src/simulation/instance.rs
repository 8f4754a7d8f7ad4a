//! One instance of the relay: caches and memory of its own, and a life.

use std::sync::Arc;

use baton_cloud::aws::Aws;
use baton_cloud::dice::Dice;
use baton_cloud::queue::UsageQueue;
use baton_cloud::store::Store;
use baton_cloud::upstream::Upstream;
use baton_local::Local;
use baton_relay::Relay;

use super::life::Life;
use super::upstream::Way;
use super::world::World;
use crate::rights::Rights;

pub(crate) struct Instance {
    pub(crate) relay: Relay,
    pub(crate) life: Life,
}

impl Instance {
    /// The `number`-th of its world: no two of them make the same ids.
    pub(crate) fn new(world: &World, life: Life, number: u64) -> Self {
        let aws = Aws::new(&line(world, &life, &world.rights.relay).sdk_config());
        let dice = Dice::seeded(world.seed ^ number << 32);
        let store = Store::new(&aws, &world.settings, world.clock.clone(), dice);
        let queue = UsageQueue::new(&aws, &world.settings.resources.usage_queue_url);
        let upstream = Way {
            ledger: world.ledger.clone(),
            asks: Arc::clone(&world.plan.asks),
            life: life.clone(),
        };
        let upstream = Upstream::given(Arc::new(upstream));
        let relay = Relay::to(upstream, &world.settings, &world.pepper, (store, queue));
        Self { relay, life }
    }
}

/// The line to the stores of somebody with this life and these rights.
///
/// # Panics
///
/// Where somebody asks for more than the template's policy lets it.
pub(crate) fn line(world: &World, life: &Life, rights: &Rights) -> Local {
    let (weather, life, rights) = (world.weather.clone(), life.clone(), rights.clone());
    world.local.with_faults(move |target, body| {
        let denied = rights.denied(target, body);
        assert!(denied.is_empty(), "the policy in template.yaml does not allow {denied:?}");
        Some(weather.fault(&life, target, body))
    })
}
