//! Stored answers to POSTs with an idempotency key. They are kept encrypted for a day and written
//! in the transaction that makes the change. The admin function decides whether a request is a
//! repetition.

use super::config_edit::{ConfigEdit, put};
use super::item::{StoreItem, key_of, number};
use super::item_names::{self, EXPIRES, FINGERPRINT, PK, SECRET, STATUS, TTL};
use super::{Store, StoreError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Put};
use baton_domain::secret::Secret;

/// How long an answer is kept, in seconds.
const KEPT_SECONDS: i64 = 24 * 3600;

/// A stored answer and the request that it answers.
pub struct StoredResponse {
    /// Distinguishes the request from other requests with the same idempotency key.
    pub fingerprint: Vec<u8>,
    /// The HTTP status.
    pub status: u16,
    /// The body, which can contain a key's secret.
    pub body: Secret,
}

impl Store {
    /// The answer stored under `name`, if there is one that is at most a day old.
    pub async fn stored_response(&self, name: &str) -> Result<Option<StoredResponse>, StoreError> {
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::replay(name))))
            .consistent_read(true)
            .send()
            .await?;
        let Some(item) = response.item else { return Ok(None) };
        if number::<i64>(&item, EXPIRES)? <= self.clock.now().as_second() {
            return Ok(None);
        }
        let vault = self.vault.get_or_try_init(|| self.load_vault(true)).await?;
        let body = vault.open(&bytes(&item, SECRET), &place(name))?;
        let fingerprint = bytes(&item, FINGERPRINT);
        Ok(Some(StoredResponse { fingerprint, status: number(&item, STATUS)?, body }))
    }

    /// Stores `answer` under `name` in the same transaction, which fails with
    /// [`StoreError::Conflict`] if another request has stored one under this name.
    pub async fn store_response(
        &self,
        edit: &mut ConfigEdit,
        name: &str,
        response: &StoredResponse,
    ) -> Result<(), StoreError> {
        let vault = self.vault.get_or_try_init(|| self.load_vault(true)).await?;
        let sealed = vault.seal(&response.body, &place(name))?;
        let now = self.clock.now().as_second();
        let number = |value: i64| AttributeValue::N(value.to_string());
        let blob = |bytes: &[u8]| AttributeValue::B(Blob::new(bytes));
        let expires = now.saturating_add(KEPT_SECONDS);
        let row = Put::builder()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(item_names::replay(name))))
            .item(FINGERPRINT, blob(&response.fingerprint))
            .item(STATUS, number(response.status.into()))
            .item(SECRET, blob(&sealed))
            .item(EXPIRES, number(expires))
            .item(TTL, number(expires))
            .condition_expression("attribute_not_exists(#pk) OR #expires <= :now")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#expires", EXPIRES)
            .expression_attribute_values(":now", number(now));
        edit.actions.push(put(row));
        Ok(())
    }
}

fn bytes(item: &StoreItem, name: &str) -> Vec<u8> {
    match item.get(name) {
        Some(AttributeValue::B(blob)) => blob.as_ref().to_vec(),
        _ => Vec::new(),
    }
}

/// The place that an answer is encrypted for: its table, item and attribute.
fn place(name: &str) -> String {
    format!("state/replay#{name}/{SECRET}")
}
