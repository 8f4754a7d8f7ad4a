//! Limits that apply to requests in addition to the key's own: the settings of users, groups and
//! the organization. The settings of a scope are in one partition, which one Query reads, and are
//! cached as long as the key. `domain::effective_limits` combines them.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{Entity as _, StoreItem, StoredEntity, inconsistent, text};
use crate::item_names::{self, BODY, GROUP_ID, LIMITS_OF, MESSAGE, PK, SK};
use crate::permissions::{READ_CONFIG, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::effective_limits::{EffectiveLimits, LimitSources, ScopeSettings};
use baton_domain::id::{GroupId, UserId};
use baton_domain::key::{Key, User};
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::SpendLimit;
use std::sync::Arc;

/// The attribute that says whether a user is enabled.
const ENABLED: &str = "enabled";

store_handle! {
    /// Reads the settings that limit requests.
    LimitSettingsReader, READ_CONFIG
}

impl LimitSettingsReader {
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
        self.connection.settings.get(scope, read).await
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
            .connection
            .query(Table::Config)
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
