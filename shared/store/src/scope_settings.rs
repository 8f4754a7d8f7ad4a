//! Limits that apply to requests in addition to the key's own: the settings of users, groups and
//! the organization. The settings of a scope are in one partition, which one Query reads, and are
//! cached as long as the key. `domain::effective_limits` combines them.

use super::config_edit::{ConfigEdit, put};
use super::item::{Entity as _, StoreItem, StoredEntity, inconsistent, key_of, text};
use super::item_names::{self, BODY, GROUP_ID, LIMITS, MESSAGE, PK, SETTING, SK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::effective_limits::{EffectiveLimits, LimitSources, ScopeSettings};
use baton_domain::id::{GroupId, UserId};
use baton_domain::key::{Key, Limits, User};
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::SpendLimit;
use std::sync::Arc;

/// The attribute that says whether a user is enabled.
const ENABLED: &str = "enabled";
/// The attribute of an entity that holds its limits.
const LIMITS_OF: &str = "limits";

impl Store {
    /// The settings of a scope, from the cache while the entry is fresh. (A key's own limits are in
    /// the key.)
    pub async fn scope_settings(
        &self,
        scope: &LimitScope,
    ) -> Result<Arc<ScopeSettings>, StoreError> {
        let read = || {
            let (store, scope) = (self.clone(), scope.clone());
            async move { store.read_scope_settings(&scope).await.map(Arc::new) }
        };
        self.settings.get(scope, read).await
    }

    /// All limits that apply to requests of `key`.
    pub async fn effective_limits(&self, key: &Key) -> Result<EffectiveLimits, StoreError> {
        Ok(EffectiveLimits::from_sources(
            key,
            &self.sources(key.user_id.as_ref(), Some(&key.group_id)).await?,
        ))
    }

    /// The settings of a user, of all groups that its keys belong to, of `group`, and of the
    /// organization.
    pub async fn sources(
        &self,
        user: Option<&UserId>,
        group: Option<&GroupId>,
    ) -> Result<LimitSources, StoreError> {
        let user = async {
            match user {
                Some(id) => self.scope_settings(&LimitScope::User(id.clone())).await.map(Some),
                None => Ok(None),
            }
        };
        let own = async {
            match group.map(|id| LimitScope::Group(id.clone())) {
                Some(scope) => {
                    self.scope_settings(&scope).await.map(|settings| vec![(scope, settings)])
                }
                None => Ok(Vec::new()),
            }
        };
        let (user, mut groups, organization) =
            tokio::try_join!(user, own, self.scope_settings(&LimitScope::Organization))?;
        for id in user.iter().flat_map(|settings| &settings.groups).filter(|id| Some(*id) != group)
        {
            let scope = LimitScope::Group(id.clone());
            let settings = self.scope_settings(&scope).await?;
            groups.push((scope, settings));
        }
        Ok(LimitSources { user, groups, organization })
    }

    /// The settings of a scope, read from the database now.
    pub async fn read_scope_settings(
        &self,
        scope: &LimitScope,
    ) -> Result<ScopeSettings, StoreError> {
        // Sort keys before `group` belong to the accounts of a group.
        let mut pages = self
            .db
            .query()
            .table_name(&self.resources.config_table)
            .key_condition_expression("#pk = :pk AND #sk >= :from")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(item_names::scope_partition(scope)),
            )
            .expression_attribute_values(":from", AttributeValue::S("group".to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut settings = ScopeSettings::default();
        while let Some(item) = pages.try_next().await? {
            add_settings_item(&mut settings, item)?;
        }
        Ok(settings)
    }

    /// Sets the limits of the organization.
    pub fn save_organization_limits(
        &self,
        edit: &mut ConfigEdit,
        limits: &Limits,
    ) -> Result<(), StoreError> {
        let partition_key = (LIMITS.to_owned(), SETTING.to_owned());
        let value = serde_dynamo::to_attribute_value(limits)
            .map_err(|error| inconsistent(LIMITS, SETTING, &error))?;
        let mut item = key_of(partition_key);
        item.insert(LIMITS_OF.to_owned(), value);
        edit.actions.push(put(self.config_put(item)));
        edit.scopes.push(LimitScope::Organization);
        Ok(())
    }

    /// Sets the message that clients get when a spend limit is reached; `None` removes it.
    pub fn save_spend_message(&self, edit: &mut ConfigEdit, message: Option<&str>) {
        let partition_key = (LIMITS.to_owned(), MESSAGE.to_owned());
        edit.actions.push(match message {
            Some(message) => {
                let mut item = key_of(partition_key);
                item.insert(BODY.to_owned(), AttributeValue::S(message.to_owned()));
                put(self.config_put(item))
            }
            None => self.delete(partition_key, None),
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
        edit.actions.push(put(self.config_put(copy)));
        edit.scopes.push(limit.value.id.scope().clone());
        self.save(edit, limit)
    }

    /// Deletes a spend limit, on the condition that it has not changed since it was read.
    pub fn remove_spend_limit(&self, edit: &mut ConfigEdit, limit: &StoredEntity<SpendLimit>) {
        edit.actions.push(self.delete(item_names::cap(&limit.value.id), None));
        edit.scopes.push(limit.value.id.scope().clone());
        self.remove(edit, limit);
    }

    /// Records among the user's settings which group the key belongs to.
    pub(super) fn add_member_key(&self, edit: &mut ConfigEdit, key: &Key) {
        let Some(user) = &key.user_id else { return };
        let mut item = key_of(item_names::member_key(user, &key.id));
        item.insert(GROUP_ID.to_owned(), AttributeValue::S(key.group_id.to_string()));
        edit.actions.push(put(self.config_put(item)));
        edit.scopes.push(LimitScope::User(user.clone()));
    }

    /// Removes the key from its user's settings, before it goes to another user or is deleted.
    pub fn remove_member_key(&self, edit: &mut ConfigEdit, key: &Key) {
        let Some(user) = &key.user_id else { return };
        edit.actions.push(self.delete(item_names::member_key(user, &key.id), None));
        edit.scopes.push(LimitScope::User(user.clone()));
    }
}

/// Adds the content of one item of a scope's partition.
fn add_settings_item(settings: &mut ScopeSettings, mut item: StoreItem) -> Result<(), StoreError> {
    let (pk, sk) = (text(&item, PK)?, text(&item, SK)?);
    let is_invalid_char = |error: &dyn std::fmt::Display| inconsistent(&pk, &sk, error);
    if sk.starts_with(item_names::SPEND_LIMIT_PREFIX) {
        let limit = StoredEntity::<SpendLimit>::from_item(item)?.value;
        settings.caps.insert(limit.id.period(), limit.cap);
    } else if sk.starts_with(item_names::MEMBER_KEY_PREFIX) {
        let group = text(&item, GROUP_ID)?.parse().map_err(|error| is_invalid_char(&error))?;
        settings.groups.insert(group);
    } else if sk == MESSAGE {
        settings.message = Some(text(&item, BODY)?);
    } else if let Some(limits) = item.remove(LIMITS_OF) {
        settings.is_disabled =
            sk == User::KIND && item.get(ENABLED) == Some(&AttributeValue::Bool(false));
        settings.limits =
            serde_dynamo::from_attribute_value(limits).map_err(|error| is_invalid_char(&error))?;
    }
    Ok(())
}
