//! Changes by operators in the config table: create, replace and delete.

use crate::StoreError;
use crate::alert_settings::AlertSettings;
use crate::connection::{StoreConnection, Table};
use crate::credentials;
use crate::item::{Entity, StoredEntity, inconsistent, key_of};
use crate::item_names::{
    self, BODY, GROUP_ID, ItemKey, LIMITS, LIMITS_OF, MESSAGE, SETTING, VERSION,
};
use crate::permissions::{
    ANY, Action, MAKE_VAULT, OPEN_VAULT, Permission, READ_CONFIG, Resource, store_handle,
};
use crate::tokens::AccountToken;
use crate::transaction::TransactionAction;
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::account::Account;
use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::{Group, Key, Limits, User};
use baton_domain::own_price::OwnPrice;
use baton_domain::scope::LimitScope;
use baton_domain::secret::Secret;
use baton_domain::spend_limit::SpendLimit;

/// A change that is written in one transaction.
#[derive(Default)]
pub struct ConfigEdit {
    pub(crate) actions: Vec<TransactionAction>,
    keys: Vec<KeyId>,
    groups: Vec<GroupId>,
    /// Whether the change includes prices of the operator.
    prices: bool,
    scopes: Vec<LimitScope>,
}

impl ConfigEdit {
    /// Writes all of the change or nothing, and removes what this process has cached of the changed
    /// items.
    pub(crate) async fn apply(self, connection: &StoreConnection) -> Result<(), StoreError> {
        connection.transact(self.actions).await?;
        self.keys.iter().for_each(|key| connection.keys.forget(key));
        self.groups.iter().for_each(|group| connection.pools.forget(group));
        if self.prices {
            connection.prices.forget(&());
        }
        self.scopes.iter().for_each(|scope| connection.settings.forget(scope));
        Ok(())
    }
}

store_handle! {
    /// Changes entities and settings. The changes are collected in a [`ConfigEdit`].
    ConfigEditor,
    READ_CONFIG,
    Permission::on(Resource::ConfigTable, &[Action::PutItem, Action::DeleteItem], ANY),
    OPEN_VAULT,
    MAKE_VAULT
}

impl ConfigEditor {
    /// Makes a new entity with version 1 and the current time. Writes nothing.
    pub fn new_stored<T: Entity>(&self, value: T, secret: Option<Vec<u8>>) -> StoredEntity<T> {
        let now = self.connection.clock.now();
        StoredEntity { value, secret, created_at: now, updated_at: now, version: 1 }
    }

    /// Makes the next version of `stored` with the current time. Writes nothing.
    pub fn next_version<T: Entity>(&self, stored: &StoredEntity<T>) -> StoredEntity<T> {
        let (updated_at, version) = (self.connection.clock.now(), stored.version + 1);
        StoredEntity { updated_at, version, ..stored.clone() }
    }

    /// Writes all of `edit` or nothing, and removes what this process has cached of the changed
    /// items.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of its conditions does not hold.
    pub async fn apply(&self, edit: ConfigEdit) -> Result<(), StoreError> {
        edit.apply(&self.connection).await
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
            edit.actions.push(self.connection.put(Table::Config, copy).into());
        }
        for group in before.iter().filter(|group| !groups.contains(group)) {
            edit.actions.push(
                self.connection
                    .delete(Table::Config, item_names::member(group, &account.value.id))
                    .into(),
            );
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
        let item = stored.to_item()?;
        let put = if stored.version == 1 {
            self.connection.put_new(Table::Config, item)
        } else {
            let before = AttributeValue::N((stored.version - 1).to_string());
            self.connection
                .put(Table::Config, item)
                .condition_expression("#k = :before")
                .expression_attribute_names("#k", VERSION)
                .expression_attribute_values(":before", before)
        };
        edit.actions.push(put.into());
        Ok(())
    }

    /// Deletes an entity, on the condition that it has not changed since it was read.
    pub fn remove<T: Entity>(&self, edit: &mut ConfigEdit, stored: &StoredEntity<T>) {
        let version = AttributeValue::N(stored.version.to_string());
        let delete = self
            .connection
            .delete(Table::Config, T::item_key(stored.value.id()))
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":version", version);
        edit.actions.push(delete.into());
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
            edit.actions.push(
                self.connection
                    .delete(Table::Config, item_names::member(group, &account.value.id))
                    .into(),
            );
        }
        edit.groups.extend(account.value.groups.iter().cloned());
        self.remove(edit, account);
    }

    /// Sets the limits of the organization.
    pub fn save_organization_limits(
        &self,
        edit: &mut ConfigEdit,
        limits: &Limits,
    ) -> Result<(), StoreError> {
        let item_key = ItemKey::new(LIMITS, SETTING);
        let value = serde_dynamo::to_attribute_value(limits)
            .map_err(|error| inconsistent(LIMITS, SETTING, &error))?;
        let mut item = key_of(item_key);
        item.insert(LIMITS_OF.to_owned(), value);
        edit.actions.push(self.connection.put(Table::Config, item).into());
        edit.scopes.push(LimitScope::Organization);
        Ok(())
    }

    /// Sets the message that clients get when a spend limit is reached; `None` removes it.
    pub fn save_spend_message(&self, edit: &mut ConfigEdit, message: Option<&str>) {
        let item_key = ItemKey::new(LIMITS, MESSAGE);
        edit.actions.push(match message {
            Some(message) => {
                let mut item = key_of(item_key);
                item.insert(BODY.to_owned(), AttributeValue::S(message.to_owned()));
                self.connection.put(Table::Config, item).into()
            }
            None => self.connection.delete(Table::Config, item_key).into(),
        });
        edit.scopes.push(LimitScope::Organization);
    }

    /// Adds or replaces a spend limit: its own item and the copy among its scope's settings.
    pub fn save_spend_limit(
        &self,
        edit: &mut ConfigEdit,
        limit: &StoredEntity<SpendLimit>,
    ) -> Result<(), StoreError> {
        let copy = limit.to_copy(item_names::cap(&limit.value.id))?;
        edit.actions.push(self.connection.put(Table::Config, copy).into());
        edit.scopes.push(limit.value.id.scope().clone());
        self.save(edit, limit)
    }

    /// Deletes a spend limit, on the condition that it has not changed since it was read.
    pub fn remove_spend_limit(&self, edit: &mut ConfigEdit, limit: &StoredEntity<SpendLimit>) {
        edit.actions
            .push(self.connection.delete(Table::Config, item_names::cap(&limit.value.id)).into());
        edit.scopes.push(limit.value.id.scope().clone());
        self.remove(edit, limit);
    }

    /// Records among the user's settings which group the key belongs to.
    pub(crate) fn add_member_key(&self, edit: &mut ConfigEdit, key: &Key) {
        let Some(user) = &key.user_id else { return };
        let mut item = key_of(item_names::member_key(user, &key.id));
        item.insert(GROUP_ID.to_owned(), AttributeValue::S(key.group_id.to_string()));
        edit.actions.push(self.connection.put(Table::Config, item).into());
        edit.scopes.push(LimitScope::User(user.clone()));
    }

    /// Removes the key from its user's settings, before it goes to another user or is deleted.
    pub fn remove_member_key(&self, edit: &mut ConfigEdit, key: &Key) {
        let Some(user) = &key.user_id else { return };
        edit.actions.push(
            self.connection.delete(Table::Config, item_names::member_key(user, &key.id)).into(),
        );
        edit.scopes.push(LimitScope::User(user.clone()));
    }

    /// Adds a price.
    pub fn save_price(
        &self,
        edit: &mut ConfigEdit,
        price: &StoredEntity<OwnPrice>,
    ) -> Result<(), StoreError> {
        edit.prices = true;
        self.save(edit, price)
    }

    /// Removes a price.
    pub fn remove_price(&self, edit: &mut ConfigEdit, price: &StoredEntity<OwnPrice>) {
        edit.prices = true;
        self.remove(edit, price);
    }

    /// Adds the alert settings to `edit`.
    pub async fn save_alert_settings(
        &self,
        edit: &mut ConfigEdit,
        settings: &AlertSettings,
    ) -> Result<(), StoreError> {
        self.save(edit, &settings.seal(&self.connection).await?)
    }

    /// Adds a token for the account to `edit`. It replaces the account's existing token.
    pub async fn add_token(
        &self,
        edit: &mut ConfigEdit,
        token: &AccountToken,
    ) -> Result<(), StoreError> {
        let item = token.to_item(&self.connection).await?;
        edit.actions.push(self.connection.put(Table::Config, item).into());
        Ok(())
    }

    /// Deletes the account's token, if it has one.
    pub fn remove_token(&self, edit: &mut ConfigEdit, id: &AccountId) {
        edit.actions.push(self.connection.delete(Table::Config, item_names::token(id)).into());
    }

    /// Encrypts an account's credential and binds it to the account's upstream and proxy. Creates
    /// the data key if there is none yet. Only admin can do that: the other functions have
    /// permission neither to write it nor to get one from KMS.
    pub async fn seal_credential(
        &self,
        account: &Account,
        credential: &Secret,
    ) -> Result<Vec<u8>, StoreError> {
        credentials::seal_credential(&self.connection, account, credential).await
    }

    /// Encrypts the URL of an account's proxy, for [`Account::proxy_sealed`].
    pub async fn seal_proxy(
        &self,
        account: &AccountId,
        url: &Secret,
    ) -> Result<String, StoreError> {
        credentials::seal_proxy(&self.connection, account, url).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, group, key, open_handle};
    use crate::{ConfigReader, LimitSettingsReader};

    #[tokio::test]
    async fn change_of_an_older_version_conflicts_and_changes_nothing() {
        let tables = TestTables::open().await;
        let (key, ..) = tables.store_key_group_and_account(Limits::default()).await;
        let (editor, config) =
            (open_handle!(tables, ConfigEditor), open_handle!(tables, ConfigReader));
        let before = config.read::<Key>(&key.id).await.expect("read").expect("there");
        for name in ["first", "second"] {
            let mut after = editor.next_version(&before);
            after.value.name = name.to_owned();
            let mut edit = ConfigEdit::default();
            editor.save_key(&mut edit, &after).expect("an item");
            let applied = editor.apply(edit).await;
            assert_eq!(applied.is_ok(), name == "first", "{applied:?}");
        }
        let mut edit = ConfigEdit::default();
        editor.remove_key(&mut edit, &before);
        assert!(matches!(editor.apply(edit).await, Err(StoreError::Conflict)));
        let now = config.read::<Key>(&key.id).await.expect("read").expect("there");
        assert_eq!((now.value.name.as_str(), now.version), ("first", 2));
        let mut edit = ConfigEdit::default();
        editor.remove_key(&mut edit, &now);
        editor.apply(edit).await.expect("removed");
        assert!(config.read::<Key>(&key.id).await.expect("read").is_none());
    }

    #[tokio::test]
    async fn entity_is_created_once() {
        let tables = TestTables::open().await;
        let editor = open_handle!(tables, ConfigEditor);
        for is_first in [true, false] {
            let mut edit = ConfigEdit::default();
            editor.save_group(&mut edit, &editor.new_stored(group(), None)).expect("an item");
            assert_eq!(editor.apply(edit).await.is_ok(), is_first);
        }
    }

    #[tokio::test]
    async fn limits_of_the_organization_apply_to_keys() {
        let tables = TestTables::open().await;
        let editor = open_handle!(tables, ConfigEditor);
        let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
        let mut edit = ConfigEdit::default();
        editor.save_organization_limits(&mut edit, &limits).expect("an item");
        editor.save_spend_message(&mut edit, Some("ask Ann"));
        editor.apply(edit).await.expect("saved");
        let settings = open_handle!(tables, LimitSettingsReader);
        let effective = settings.effective_limits(&key(Limits::default())).await.expect("read");
        assert_eq!(effective.shared_limits, [(LimitScope::Organization, limits)]);
        let organization = settings.scope_settings(&LimitScope::Organization).await.expect("read");
        assert_eq!(organization.message.as_deref(), Some("ask Ann"));
    }
}
