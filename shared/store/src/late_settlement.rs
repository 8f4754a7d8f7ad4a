//! Settles a reservation whose usage record is stored already.

use super::item::key_of;
use super::item_names;
use super::usage_events::read_event;
use super::{Store, StoreError};
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use baton_domain::reservation::Reservation;

impl Store {
    /// Settles the reservation of `given_up` at the cost of the record that is stored in its place,
    /// if the reservation is still open. The part of the reservation above that cost is released.
    pub async fn settle_given_up(&self, given_up: &UsageRecord) -> Result<(), StoreError> {
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.usage_table)
            .set_key(Some(key_of(item_names::event(given_up))))
            .consistent_read(true)
            .send()
            .await?;
        let (Some(item), Some(reserved)) = (response.item, given_up.reserved_usd) else {
            return Ok(());
        };
        let stored = read_event(item)?;
        let beyond = Reservation {
            estimate: reserved - stored.cost_usd,
            unreserved: PicoUsd::default(),
            at: given_up.started_at,
            expires: 0,
            model: given_up.model.clone(),
            stream: given_up.stream,
            group: given_up.group_id.clone(),
            user: given_up.user_id.clone(),
            shared_limits: given_up.reserved_pools.clone(),
        };
        self.release(&given_up.key_id, &given_up.id, &beyond).await
    }
}
