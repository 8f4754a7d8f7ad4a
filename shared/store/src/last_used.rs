//! When accounts were last used: one small item for each account, which stats updates once for each
//! batch.

use super::item::{inconsistent, key_of, text};
use super::item_names::{self, AT, PK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use baton_domain::id::AccountId;
use jiff::Timestamp;
use std::collections::HashMap;
use std::fmt::Display;

/// The most items in one call of `BatchGetItem`.
const BATCH_MAX: usize = 100;

impl Store {
    /// Records that the account was used at `at`, unless a later time is stored.
    pub async fn note_used(&self, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
        let noted = self
            .db
            .update_item()
            .table_name(&self.resources.usage_table)
            .set_key(Some(key_of(item_names::used(account))))
            .update_expression("SET #at = :at")
            .condition_expression("attribute_not_exists(#at) OR #at < :at")
            .expression_attribute_names("#at", AT)
            .expression_attribute_values(":at", AttributeValue::S(item_names::sortable_time(at)))
            .send()
            .await;
        match noted.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// When these accounts were last used. Accounts that were never used are left out.
    pub async fn last_used(
        &self,
        accounts: &[AccountId],
    ) -> Result<HashMap<AccountId, Timestamp>, StoreError> {
        let mut by_id = HashMap::new();
        for batch in accounts.chunks(BATCH_MAX) {
            let mut keys = Some(batch.iter().map(|id| key_of(item_names::used(id))).collect());
            while let Some(request_keys) = keys.take() {
                let table = &self.resources.usage_table;
                let request_keys =
                    KeysAndAttributes::builder().set_keys(Some(request_keys)).build().ok();
                let request =
                    request_keys.map(|request_keys| HashMap::from([(table.clone(), request_keys)]));
                let response = self.db.batch_get_item().set_request_items(request).send().await?;
                let items = response.responses.and_then(|mut all| all.remove(table));
                for item in items.unwrap_or_default() {
                    let (pk, at) = (text(&item, PK)?, text(&item, AT)?);
                    let bad = |error: &dyn Display| inconsistent(&pk, item_names::USED, error);
                    let id = pk.strip_prefix(item_names::USED_PREFIX).unwrap_or_default();
                    let id = id.parse().map_err(|error| bad(&error))?;
                    by_id.insert(id, at.parse().map_err(|error: jiff::Error| bad(&error))?);
                }
                let rest = response.unprocessed_keys.and_then(|mut all| all.remove(table));
                keys = rest.map(|rest| rest.keys).filter(|keys| !keys.is_empty());
            }
        }
        Ok(by_id)
    }
}
