//! One instance of the relay, with separate caches and memory and a limited life.

use std::sync::Arc;

use baton_relay::Relay;
use baton_runtime::upstream::UpstreamClient;

use super::instance_life::InstanceLife;
use super::simulated_world::SimulatedWorld;
use super::upstream::UpstreamLink;
use crate::system::InProcessSystem;
use crate::table_rights::TableRights;

pub(crate) struct RelayInstance {
    pub(crate) relay: Relay,
    pub(crate) life: InstanceLife,
}

impl RelayInstance {
    /// The instance with this number in its world. No two of them create the same ids.
    pub(crate) fn new(world: &SimulatedWorld, life: InstanceLife, number: u64) -> Self {
        let upstream = UpstreamLink {
            ledger: world.ledger.clone(),
            requests: Arc::clone(&world.plan.requests),
            life: life.clone(),
        };
        let process = process(world, world.seed ^ number << 32, &life, &world.rights.relay);
        let relay = process.relay_through(UpstreamClient::with_transport(Arc::new(upstream)));
        Self { relay, life }
    }
}

/// A process with this seed, life and permissions over the world's stores.
///
/// # Panics
///
/// If the process sends a request that the template's policy does not permit.
pub(crate) fn process(
    world: &SimulatedWorld,
    seed: u64,
    life: &InstanceLife,
    rights: &TableRights,
) -> InProcessSystem {
    let (weather, life, rights) = (world.weather.clone(), life.clone(), rights.clone());
    world.system.another_with_hook(seed, move |target, body| {
        let denied = rights.denied(target, body);
        assert!(denied.is_empty(), "the policy in template.yaml does not allow {denied:?}");
        Some(weather.fault(&life, target, body))
    })
}
