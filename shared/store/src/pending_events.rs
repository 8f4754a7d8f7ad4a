//! Pending events: usage records that the queue did not accept and that refresh sends again.

use crate::StoreError;
use crate::connection::{StoreConnection, Table};
use crate::item::{StoreItem, inconsistent, key_of, text};
use crate::item_names::{BODY, ItemKey, PENDING, PK, SK};
use crate::permissions::{Action, Permission, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::record::UsageRecord;

/// A usage record that the queue did not accept, with the message to send again.
pub struct PendingEvent {
    /// The record's id.
    pub id: String,
    /// The record as JSON, as it is sent to the queue.
    pub body: String,
}

store_handle! {
    /// Stores usage records that the queue did not accept.
    PendingEventWriter, Permission::on_state(&[Action::PutItem], &[PENDING])
}

impl PendingEventWriter {
    /// Stores a record that the queue did not accept, so that refresh sends it again.
    pub async fn put(&self, record: &UsageRecord) -> Result<(), StoreError> {
        let id = record.id.to_string();
        let body =
            serde_json::to_string(record).map_err(|error| inconsistent(PENDING, &id, &error))?;
        self.connection
            .put_request(Table::State, key_of(ItemKey::new(PENDING, id)))
            .item(BODY, AttributeValue::S(body))
            .send()
            .await?;
        Ok(())
    }
}

store_handle! {
    /// The usage records to send again.
    PendingEventQueue, Permission::on_state(&[Action::Query, Action::DeleteItem], &[PENDING])
}

impl PendingEventQueue {
    /// The oldest records that wait to be sent to the queue again, at most 1000.
    pub async fn list(&self) -> Result<Vec<PendingEvent>, StoreError> {
        read_pending(&self.connection).await
    }

    /// Deletes a pending record after the queue has accepted it.
    pub async fn remove(&self, id: &str) -> Result<(), StoreError> {
        self.connection.delete_item(Table::State, ItemKey::new(PENDING, id)).await
    }
}

/// The oldest pending events, at most 1000.
pub(crate) async fn read_pending(
    connection: &StoreConnection,
) -> Result<Vec<PendingEvent>, StoreError> {
    let response = connection
        .query(Table::State)
        .key_condition_expression("#pk = :pk")
        .expression_attribute_names("#pk", PK)
        .expression_attribute_values(":pk", AttributeValue::S(PENDING.to_owned()))
        .limit(1000)
        .send()
        .await?;
    let read = |item: &StoreItem| Ok(PendingEvent { id: text(item, SK)?, body: text(item, BODY)? });
    response.items().iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, open_handle, record};

    #[tokio::test]
    async fn pending_event_waits_until_it_is_removed() {
        let tables = TestTables::open().await;
        let (writer, queue) =
            (open_handle!(tables, PendingEventWriter), open_handle!(tables, PendingEventQueue));
        writer.put(&record(1)).await.expect("stored");
        let waiting = queue.list().await.expect("read");
        let read: UsageRecord = serde_json::from_str(&waiting[0].body).expect("a record");
        assert_eq!(read.id.to_string(), waiting[0].id);
        queue.remove(&waiting[0].id).await.expect("removed");
        assert!(queue.list().await.expect("read").is_empty());
    }
}
