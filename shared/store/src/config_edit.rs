//! Changes by operators in the config table: create, replace and delete. [`super::list`] reads the
//! lists.

use super::item::{Entity, StoreItem, StoredEntity, key_of};
use super::item_names::{self, PK, VERSION};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use baton_domain::account::Account;
use baton_domain::id::{GroupId, KeyId};
use baton_domain::key::{Group, Key, User};
use baton_domain::scope::LimitScope;
use std::collections::BTreeMap;

/// One page of a list.
pub struct ListPage<T> {
    /// The entries of the page.
    pub data: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// A change that is written in one transaction.
#[derive(Default)]
pub struct ConfigEdit {
    pub(super) actions: Vec<TransactWriteItem>,
    keys: Vec<KeyId>,
    groups: Vec<GroupId>,
    /// Whether the change includes prices of the operator.
    pub(super) prices: bool,
    pub(super) scopes: Vec<LimitScope>,
}

impl Store {
    /// Makes a new entity with version 1 and the current time. Writes nothing.
    pub fn new_stored<T: Entity>(&self, value: T, secret: Option<Vec<u8>>) -> StoredEntity<T> {
        let now = self.clock.now();
        StoredEntity { value, secret, created_at: now, updated_at: now, version: 1 }
    }

    /// Makes the next version of `stored` with the current time. Writes nothing.
    pub fn next_version<T: Entity>(&self, stored: &StoredEntity<T>) -> StoredEntity<T> {
        let (updated_at, version) = (self.clock.now(), stored.version + 1);
        StoredEntity { updated_at, version, ..stored.clone() }
    }

    /// Writes all of `edit` or nothing, and removes what this process has cached of the changed
    /// items.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of its conditions does not hold.
    pub async fn apply(&self, edit: ConfigEdit) -> Result<(), StoreError> {
        let result = self.db.transact_write_items().set_transact_items(Some(edit.actions)).send();
        result.await.map_err(|error| match StoreError::from(error) {
            // Another transaction held one of the items.
            StoreError::Database(text) if text.contains("TransactionConflict") => {
                StoreError::Conflict
            }
            error => error,
        })?;
        edit.keys.iter().for_each(|key| self.keys.forget(key));
        edit.groups.iter().for_each(|group| self.pools.forget(group));
        if edit.prices {
            self.prices.forget(&());
        }
        edit.scopes.iter().for_each(|scope| self.settings.forget(scope));
        Ok(())
    }

    /// Adds or replaces a key.
    pub fn save_key(
        &self,
        edit: &mut ConfigEdit,
        key: &StoredEntity<Key>,
    ) -> Result<(), StoreError> {
        edit.keys.push(key.value.id.clone());
        self.add_member_key(edit, &key.value);
        self.save(edit, key)
    }

    /// Adds or replaces a group.
    pub fn save_group(
        &self,
        edit: &mut ConfigEdit,
        group: &StoredEntity<Group>,
    ) -> Result<(), StoreError> {
        edit.groups.push(group.value.id.clone());
        edit.scopes.push(LimitScope::Group(group.value.id.clone()));
        self.save(edit, group)
    }

    /// Adds or replaces a user.
    pub fn save_user(
        &self,
        edit: &mut ConfigEdit,
        user: &StoredEntity<User>,
    ) -> Result<(), StoreError> {
        edit.scopes.push(LimitScope::User(user.value.id.clone()));
        self.save(edit, user)
    }

    /// Adds or replaces an account: its own item and the copies in its groups. `before` are the
    /// groups that it was in.
    pub fn save_account(
        &self,
        edit: &mut ConfigEdit,
        account: &StoredEntity<Account>,
        before: &[GroupId],
    ) -> Result<(), StoreError> {
        self.save(edit, account)?;
        let groups = &account.value.groups;
        for group in groups {
            let copy = account.to_copy(item_names::member(group, &account.value.id))?;
            edit.actions.push(put(self.config_put(copy)));
        }
        for group in before.iter().filter(|group| !groups.contains(group)) {
            edit.actions.push(self.delete(item_names::member(group, &account.value.id), None));
        }
        edit.groups.extend(groups.iter().chain(before).cloned());
        Ok(())
    }

    /// Adds an entity with version 1, or replaces the previous version.
    pub fn save<T: Entity>(
        &self,
        edit: &mut ConfigEdit,
        stored: &StoredEntity<T>,
    ) -> Result<(), StoreError> {
        let put_item = self.config_put(stored.to_item()?);
        let conditional = if stored.version == 1 {
            put_item
                .condition_expression("attribute_not_exists(#k)")
                .expression_attribute_names("#k", PK)
        } else {
            let before = AttributeValue::N((stored.version - 1).to_string());
            put_item
                .condition_expression("#k = :before")
                .expression_attribute_names("#k", VERSION)
                .expression_attribute_values(":before", before)
        };
        edit.actions.push(put(conditional));
        Ok(())
    }

    /// Deletes an entity, on the condition that it has not changed since it was read.
    pub fn remove<T: Entity>(&self, edit: &mut ConfigEdit, stored: &StoredEntity<T>) {
        edit.actions.push(self.delete(T::place(stored.value.id()), Some(stored.version)));
    }

    /// Deletes a key.
    pub fn remove_key(&self, edit: &mut ConfigEdit, key: &StoredEntity<Key>) {
        edit.keys.push(key.value.id.clone());
        self.remove_member_key(edit, &key.value);
        self.remove(edit, key);
    }

    /// Deletes a group, which must not have accounts.
    pub fn remove_group(&self, edit: &mut ConfigEdit, group: &StoredEntity<Group>) {
        edit.groups.push(group.value.id.clone());
        edit.scopes.push(LimitScope::Group(group.value.id.clone()));
        self.remove(edit, group);
    }

    /// Deletes a user, who must not have keys.
    pub fn remove_user(&self, edit: &mut ConfigEdit, user: &StoredEntity<User>) {
        edit.scopes.push(LimitScope::User(user.value.id.clone()));
        self.remove(edit, user);
    }

    /// Deletes an account and its copies in groups.
    pub fn remove_account(&self, edit: &mut ConfigEdit, account: &StoredEntity<Account>) {
        for group in &account.value.groups {
            edit.actions.push(self.delete(item_names::member(group, &account.value.id), None));
        }
        edit.groups.extend(account.value.groups.iter().cloned());
        self.remove(edit, account);
    }

    pub(super) fn config_put(
        &self,
        item: StoreItem,
    ) -> aws_sdk_dynamodb::types::builders::PutBuilder {
        Put::builder().table_name(&self.resources.config_table).set_item(Some(item))
    }

    pub(super) fn delete(
        &self,
        key: item_names::ItemKey,
        version: Option<u64>,
    ) -> TransactWriteItem {
        let mut delete =
            Delete::builder().table_name(&self.resources.config_table).set_key(Some(key_of(key)));
        if let Some(version) = version {
            delete = delete
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", VERSION)
                .expression_attribute_values(":version", AttributeValue::N(version.to_string()));
        }
        TransactWriteItem::builder().set_delete(delete.build().ok()).build()
    }
}

pub(super) fn put(builder: aws_sdk_dynamodb::types::builders::PutBuilder) -> TransactWriteItem {
    TransactWriteItem::builder().set_put(builder.build().ok()).build()
}

/// Encodes the last key of a page as the cursor: JSON in base64. Clients must treat it as opaque;
/// it is checked when it comes back.
pub(super) fn write_cursor(key: &StoreItem) -> String {
    let texts: BTreeMap<&str, &str> = key
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_s().ok()?.as_str())))
        .collect();
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_string(&texts).unwrap_or_default())
}

/// Decodes a cursor and checks that it has exactly these key attributes. DynamoDB would reject the
/// cursor of another list with an error that looks like a failure of the database.
///
/// # Errors
/// [`StoreError::BadCursor`] if the cursor is malformed or has other attributes.
pub(super) fn read_cursor(cursor: &str, attributes: &[&str]) -> Result<StoreItem, StoreError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::BadCursor)?;
    let texts: BTreeMap<String, String> =
        serde_json::from_slice(&json).map_err(|_| StoreError::BadCursor)?;
    let is_whole = attributes.iter().all(|name| texts.contains_key(*name));
    if !is_whole || texts.len() != attributes.len() {
        return Err(StoreError::BadCursor);
    }
    Ok(texts.into_iter().map(|(name, text)| (name, AttributeValue::S(text))).collect())
}
