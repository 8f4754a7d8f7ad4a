//! Leases: locks with an end time.

use crate::StoreError;
use crate::connection::Table;
use crate::item::key_of;
use crate::item_names::{self, EXPIRES, OWNER};
use crate::permissions::{Action, Permission, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use std::time::Duration;

store_handle! {
    /// Leases, by which only one process does a job.
    LeaseStore, Permission::on_state(&[Action::UpdateItem, Action::DeleteItem], &["lease#*"])
}

impl LeaseStore {
    /// Takes the lease `name` for `owner`, unless another owner holds it. The holder can take it
    /// again to extend it. Returns whether `owner` now holds the lease.
    pub async fn acquire(
        &self,
        name: &str,
        owner: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let now = self.connection.clock.now().as_millisecond();
        let until = now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let number = |millis: i64| AttributeValue::N(millis.to_string());
        let acquired = self
            .connection
            .update_request(Table::State, item_names::lease(name))
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
    pub async fn release(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        let released = self
            .connection
            .db
            .delete_item()
            .table_name(self.connection.table(Table::State))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, open_handle};
    use jiff::SignedDuration;

    #[tokio::test]
    async fn lease_has_one_owner_until_it_is_released_or_expires() {
        let tables = TestTables::open().await;
        let leases = open_handle!(tables, LeaseStore);
        let acquire = async |owner: &str| {
            leases.acquire("job", owner, Duration::from_secs(10)).await.expect("asked")
        };
        assert!(acquire("a").await && acquire("a").await && !acquire("b").await);
        leases.release("job", "b").await.expect("not held, so nothing happens");
        assert!(!acquire("b").await);
        leases.release("job", "a").await.expect("released");
        assert!(acquire("b").await);
        tables.clock.advance(SignedDuration::from_secs(11));
        assert!(acquire("a").await);
    }
}
