//! Stored answers to POSTs with an idempotency key. They are kept encrypted for a day and written
//! in the transaction that makes the change. The admin function decides whether a request is a
//! repetition.

use crate::StoreError;
use crate::config_editor::ConfigEdit;
use crate::connection::Table;
use crate::item::{StoreItem, key_of, number};
use crate::item_names::{self, EXPIRES, FINGERPRINT, PK, SECRET, STATUS, TTL};
use crate::permissions::{Action, KEEP_DATA_KEY, MAKE_VAULT, OPEN_VAULT, Permission, store_handle};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
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

store_handle! {
    /// Stored answers to requests with an idempotency key.
    ResponseStore,
    Permission::on_state(&[Action::GetItem, Action::PutItem], &["replay#*"]),
    KEEP_DATA_KEY,
    OPEN_VAULT,
    MAKE_VAULT
}

impl ResponseStore {
    /// The answer stored under `name`, if there is one that is at most a day old.
    pub async fn stored_response(&self, name: &str) -> Result<Option<StoredResponse>, StoreError> {
        let item =
            self.connection.get_item(Table::State, item_names::stored_response(name), true).await?;
        let Some(item) = item else { return Ok(None) };
        if number::<i64>(&item, EXPIRES)? <= self.connection.clock.now().as_second() {
            return Ok(None);
        }
        let vault = self.connection.make_vault().await?;
        let body = vault.open(&bytes(&item, SECRET), &secret_context(name))?;
        let fingerprint = bytes(&item, FINGERPRINT);
        Ok(Some(StoredResponse { fingerprint, status: number(&item, STATUS)?, body }))
    }

    /// Stores `response` under `name` in the same transaction, which fails with
    /// [`StoreError::Conflict`] if another request has stored one under this name.
    pub async fn store_response(
        &self,
        edit: &mut ConfigEdit,
        name: &str,
        response: &StoredResponse,
    ) -> Result<(), StoreError> {
        let vault = self.connection.make_vault().await?;
        let sealed = vault.seal(&response.body, &secret_context(name))?;
        let now = self.connection.clock.now().as_second();
        let number = |value: i64| AttributeValue::N(value.to_string());
        let blob = |bytes: &[u8]| AttributeValue::B(Blob::new(bytes));
        let expires = now.saturating_add(KEPT_SECONDS);
        let row = self
            .connection
            .put(Table::State, key_of(item_names::stored_response(name)))
            .item(FINGERPRINT, blob(&response.fingerprint))
            .item(STATUS, number(response.status.into()))
            .item(SECRET, blob(&sealed))
            .item(EXPIRES, number(expires))
            .item(TTL, number(expires))
            .condition_expression("attribute_not_exists(#pk) OR #expires <= :now")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#expires", EXPIRES)
            .expression_attribute_values(":now", number(now));
        edit.actions.push(row.into());
        Ok(())
    }
}

fn bytes(item: &StoreItem, name: &str) -> Vec<u8> {
    match item.get(name) {
        Some(AttributeValue::B(blob)) => blob.as_ref().to_vec(),
        _ => Vec::new(),
    }
}

/// The encryption context of a stored answer: its table, item and attribute. A value that is copied
/// to another item cannot be decrypted.
fn secret_context(name: &str) -> String {
    format!("state/replay#{name}/{SECRET}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, open_handle, secret};
    use jiff::SignedDuration;

    #[tokio::test]
    async fn first_answer_is_kept_for_a_day() {
        let tables = TestTables::open().await;
        let responses = open_handle!(tables, ResponseStore);
        // The transaction is part of a change of the configuration. This one has only the answer.
        for is_first in [true, false] {
            let body = secret(&format!("{is_first}"));
            let answer = StoredResponse { fingerprint: vec![1], status: 201, body };
            let mut edit = ConfigEdit::default();
            responses.store_response(&mut edit, "a", &answer).await.expect("an item");
            let applied = edit.apply(&responses.connection).await;
            assert_eq!(applied.is_ok(), is_first, "{applied:?}");
        }
        let stored = responses.stored_response("a").await.expect("read").expect("there");
        assert_eq!((stored.status, stored.body.expose()), (201, "true"));
        tables.clock.advance(SignedDuration::from_hours(25));
        assert!(responses.stored_response("a").await.expect("read").is_none());
    }
}
