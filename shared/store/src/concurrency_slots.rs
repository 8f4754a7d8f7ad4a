//! Concurrency slots of accounts with `max_concurrency`: a map of open requests in one item. A
//! conditional update takes a slot, and another update releases it. If the process of a request
//! dies, its slot expires with the request's deadline. A request that finds all slots taken removes
//! the expired ones.

use crate::StoreError;
use crate::connection::Table;
use crate::item::StoreItem;
use crate::item_names::{self, OPEN, TTL};
use crate::permissions::{Action, Permission, store_handle};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use baton_domain::id::{AccountId, RequestId};
use std::collections::HashMap;

/// The most tries to take a slot. Creating the item and removing expired slots take one each, and
/// concurrent requests can make them necessary again.
const TRIES_MAX: u32 = 5;

/// The most expired slots that one update removes.
const CLEARED_MAX: usize = 100;

/// How long an unused item is kept after its last slot has expired.
const KEPT_SECONDS: i64 = 24 * 3600;

store_handle! {
    /// The concurrency slots of accounts.
    ConcurrencySlots, Permission::on_state(&[Action::UpdateItem], &["seats#*"])
}

impl ConcurrencySlots {
    /// Takes one of the account's `max` slots for a request that ends by `expires` (Unix time in
    /// seconds). Returns whether a slot was free. The count is exact across all instances.
    pub async fn acquire_slot(
        &self,
        account: &AccountId,
        max: u32,
        id: &RequestId,
        expires: i64,
    ) -> Result<bool, StoreError> {
        for _ in 0..TRIES_MAX {
            let Some(item) = self.try_acquire_slot(account, max, id, expires).await? else {
                return Ok(true);
            };
            let Some(AttributeValue::M(open)) = item.get(OPEN) else {
                self.create_slots_item(account).await?;
                continue;
            };
            // DynamoDB can have executed an earlier try whose answer got lost.
            if open.contains_key(id.as_str()) {
                return Ok(true);
            }
            let stale = expired_slots(open, self.connection.clock.now().as_second());
            if stale.is_empty() {
                return Ok(false);
            }
            self.release_slots(account, &stale).await?;
        }
        Ok(false)
    }

    /// Releases the slot of a request. It does nothing if the slot is already gone.
    pub async fn release_slot(
        &self,
        account: &AccountId,
        id: &RequestId,
    ) -> Result<(), StoreError> {
        self.release_slots(account, &[id.as_str()]).await
    }

    /// Tries to take a slot. Returns `None` if it was taken, otherwise the item as it is.
    async fn try_acquire_slot(
        &self,
        account: &AccountId,
        max: u32,
        id: &RequestId,
        expires: i64,
    ) -> Result<Option<StoreItem>, StoreError> {
        let number = |number: i64| AttributeValue::N(number.to_string());
        let result = self
            .slots_update(account)
            .condition_expression("attribute_exists(#open) AND size(#open) < :most")
            .update_expression("SET #open.#id = :expires, #ttl = :ttl")
            .expression_attribute_names("#id", id.as_str())
            .expression_attribute_names("#ttl", TTL)
            .expression_attribute_values(":most", number(max.into()))
            .expression_attribute_values(":expires", number(expires))
            .expression_attribute_values(":ttl", number(expires.saturating_add(KEPT_SECONDS)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = result else { return Ok(None) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Some(failed.item.clone().unwrap_or_default()))
            }
            _ => Err(error.into()),
        }
    }

    async fn create_slots_item(&self, account: &AccountId) -> Result<(), StoreError> {
        let created = self
            .slots_update(account)
            .condition_expression("attribute_not_exists(#open)")
            .update_expression("SET #open = :none")
            .expression_attribute_values(":none", AttributeValue::M(HashMap::new()))
            .send()
            .await;
        ignore_conflict(created.map(drop).map_err(StoreError::from))
    }

    async fn release_slots(&self, account: &AccountId, ids: &[&str]) -> Result<(), StoreError> {
        let mut update = self.slots_update(account).condition_expression("attribute_exists(#open)");
        let mut removed = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            removed.push(format!("#open.#i{index}"));
            update = update.expression_attribute_names(format!("#i{index}"), *id);
        }
        let left = update.update_expression(format!("REMOVE {}", removed.join(", "))).send().await;
        ignore_conflict(left.map(drop).map_err(StoreError::from))
    }

    fn slots_update(&self, account: &AccountId) -> UpdateItemFluentBuilder {
        self.connection
            .update_request(Table::State, item_names::concurrency_slots(account))
            .expression_attribute_names("#open", OPEN)
    }
}

/// The slots whose requests must have ended.
fn expired_slots(open: &HashMap<String, AttributeValue>, now: i64) -> Vec<&str> {
    let is_over = |value: &AttributeValue| {
        value
            .as_n()
            .ok()
            .and_then(|digits| digits.parse().ok())
            .is_none_or(|timestamp: i64| timestamp <= now)
    };
    let over = open.iter().filter(|(_, expires)| is_over(expires));
    over.map(|(id, _)| id.as_str()).take(CLEARED_MAX).collect()
}

fn ignore_conflict(done: Result<(), StoreError>) -> Result<(), StoreError> {
    match done {
        Err(StoreError::Conflict) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, open_handle};
    use jiff::SignedDuration;

    #[tokio::test]
    async fn slot_is_free_after_its_request_or_its_deadline() {
        let tables = TestTables::open().await;
        let [slots, other] = [(); 2].map(|()| open_handle!(tables, ConcurrencySlots));
        let [first, second] = [1, 2].map(RequestId::from_bits);
        let (id, expires) = (account().id, tables.clock.now().as_second() + 60);
        assert!(slots.acquire_slot(&id, 1, &first, expires).await.expect("asked"));
        assert!(slots.acquire_slot(&id, 1, &first, expires).await.expect("repeated"));
        assert!(!other.acquire_slot(&id, 1, &second, expires).await.expect("asked"));
        slots.release_slot(&id, &first).await.expect("released");
        slots.release_slot(&id, &first).await.expect("released before");
        assert!(other.acquire_slot(&id, 1, &second, expires).await.expect("asked"));
        tables.clock.advance(SignedDuration::from_secs(61));
        assert!(slots.acquire_slot(&id, 1, &first, expires + 60).await.expect("asked"));
    }
}
