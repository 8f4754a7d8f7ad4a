//! One instance of the relay, with separate caches and memory and a limited life.

use std::sync::Arc;

use baton_local::LocalAws;
use baton_relay::Relay;
use baton_runtime::aws::AwsClients;
use baton_runtime::random::RandomSource;
use baton_runtime::upstream::UpstreamClient;
use baton_runtime::usage_queue::UsageQueue;

use super::instance_life::InstanceLife;
use super::simulated_world::SimulatedWorld;
use super::upstream::UpstreamLink;
use crate::injected_faults::WithFaults as _;
use crate::stores::AllStores;
use crate::table_rights::TableRights;

pub(crate) struct RelayInstance {
    pub(crate) relay: Relay,
    pub(crate) life: InstanceLife,
}

impl RelayInstance {
    /// The instance with this number in its world. No two of them create the same ids.
    pub(crate) fn new(world: &SimulatedWorld, life: InstanceLife, number: u64) -> Self {
        let aws = AwsClients::new(&line(world, &life, &world.rights.relay).sdk_config());
        let random = RandomSource::seeded(world.seed ^ number << 32);
        let store = AllStores::new(&aws, &world.settings, world.clock.clone(), random);
        let queue = UsageQueue::new(&aws, &world.settings.resources.usage_queue_url);
        let upstream = UpstreamLink {
            ledger: world.ledger.clone(),
            asks: Arc::clone(&world.plan.asks),
            life: life.clone(),
        };
        let upstream = UpstreamClient::with_transport(Arc::new(upstream));
        let relay =
            Relay::with_upstream(upstream, &world.settings, &world.pepper, (store.relay, queue));
        Self { relay, life }
    }
}

/// The connection to the stores for a caller with this life and these permissions.
///
/// # Panics
///
/// If the caller sends a request that the template's policy does not permit.
pub(crate) fn line(world: &SimulatedWorld, life: &InstanceLife, rights: &TableRights) -> LocalAws {
    let (weather, life, rights) = (world.weather.clone(), life.clone(), rights.clone());
    world.local.with_faults(move |target, body| {
        let denied = rights.denied(target, body);
        assert!(denied.is_empty(), "the policy in template.yaml does not allow {denied:?}");
        Some(weather.fault(&life, target, body))
    })
}
