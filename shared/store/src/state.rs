//! Short-lived state: usage records that the queue did not accept, leases, and reads of many items
//! in one call.

use super::item::{StoreItem, inconsistent, key_of, text};
use super::item_names::{self, BODY, EXPIRES, OWNER, PENDING, PK, SK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use baton_domain::record::UsageRecord;
use std::collections::HashMap;
use std::time::Duration;

/// A usage record that the queue did not accept, with the message to send again.
pub struct PendingEvent {
    /// The record's id.
    pub id: String,
    /// The record as JSON, as it is sent to the queue.
    pub body: String,
}

/// The most items in one call of `BatchGetItem`.
pub(super) const BATCH_MAX: usize = 100;

impl Store {
    /// Reads at most [`BATCH_MAX`] items of the state table. Items that do not exist are left out;
    /// the order is not defined.
    pub(super) async fn batch_get_state(
        &self,
        keys: Vec<StoreItem>,
        is_consistent: bool,
    ) -> Result<Vec<StoreItem>, StoreError> {
        self.batch_get(&self.resources.state_table, keys, is_consistent).await
    }

    /// Reads items of any table, as [`Self::batch_get_state`] does.
    pub(super) async fn batch_get(
        &self,
        table: &str,
        places: Vec<StoreItem>,
        is_consistent: bool,
    ) -> Result<Vec<StoreItem>, StoreError> {
        let (mut items, mut pending_keys) = (Vec::new(), places);
        while !pending_keys.is_empty() {
            let keys = KeysAndAttributes::builder().set_keys(Some(pending_keys));
            let keys = keys.consistent_read(is_consistent).build().ok();
            let request = keys.map(|keys| HashMap::from([(table.to_owned(), keys)]));
            let response = self.db.batch_get_item().set_request_items(request).send().await?;
            items.extend(
                response.responses.and_then(|mut all| all.remove(table)).unwrap_or_default(),
            );
            let rest = response.unprocessed_keys.and_then(|mut all| all.remove(table));
            pending_keys = rest.map(|rest| rest.keys).unwrap_or_default();
        }
        Ok(items)
    }

    /// Stores a record that the queue did not accept, so that refresh sends it again.
    pub async fn put_pending(&self, record: &UsageRecord) -> Result<(), StoreError> {
        let id = record.id.to_string();
        let body =
            serde_json::to_string(record).map_err(|error| inconsistent(PENDING, &id, &error))?;
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of((PENDING.to_owned(), id))))
            .item(BODY, AttributeValue::S(body))
            .send()
            .await?;
        Ok(())
    }

    /// The oldest records that wait to be sent to the queue again, at most 1000.
    pub async fn pending(&self) -> Result<Vec<PendingEvent>, StoreError> {
        let response = self
            .db
            .query()
            .table_name(&self.resources.state_table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":pk", AttributeValue::S(PENDING.to_owned()))
            .limit(1000)
            .send()
            .await?;
        let read =
            |item: &StoreItem| Ok(PendingEvent { id: text(item, SK)?, body: text(item, BODY)? });
        response.items().iter().map(read).collect()
    }

    /// Deletes a pending record after the queue has accepted it.
    pub async fn remove_pending(&self, id: &str) -> Result<(), StoreError> {
        self.db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of((PENDING.to_owned(), id.to_owned()))))
            .send()
            .await?;
        Ok(())
    }

    /// Takes the lease `name` for `owner`, unless another owner holds it. The holder can take it
    /// again to extend it. Returns whether `owner` now holds the lease.
    pub async fn lease(&self, name: &str, owner: &str, time: Duration) -> Result<bool, StoreError> {
        let now = self.clock.now().as_millisecond();
        let until = now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let number = |millis: i64| AttributeValue::N(millis.to_string());
        let acquired = self
            .db
            .update_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::lease(name))))
            .update_expression("SET #owner = :owner, #expires = :until, #ttl = :ttl")
            .condition_expression(
                "attribute_not_exists(#owner) OR #owner = :owner OR #expires < :now",
            )
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_names("#expires", EXPIRES)
            .expression_attribute_names("#ttl", item_names::TTL)
            .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
            .expression_attribute_values(":until", number(until))
            .expression_attribute_values(":ttl", number(until / 1000 + 3600))
            .expression_attribute_values(":now", number(now))
            .send()
            .await;
        match acquired.map_err(StoreError::from) {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Releases a lease, if `owner` still holds it.
    pub async fn release_lease(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        let released = self
            .db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::lease(name))))
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
            .send()
            .await;
        match released.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
