//! The relay's reads of the config table: a key, and a group with its accounts. Both are cached.
//! The health of the accounts is read together with the group.

use super::item::{Entity, StoreItem, StoredEntity, key_of, text};
use super::item_names::{self, PK, SK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::account::Account;
use baton_domain::account_selection::{AccountCandidates, HashedAccount};
use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::{Group, Key};
use baton_domain::secret::Secret;
use baton_domain::upstream_token::TokenStatus;
use baton_runtime::vault::VaultError;
use std::sync::Arc;

/// A group with the accounts that its keys can use.
pub struct AccountPool {
    /// The group itself.
    pub group: Group,
    /// The accounts of the group, enabled or not, by id.
    pub members: Vec<PoolMember>,
    /// The same accounts, hashed for account selection.
    candidates: Vec<HashedAccount>,
    /// Indexes into `members` of the accounts whose credential is a token that expires.
    pub renewed: Vec<usize>,
}

impl AccountPool {
    fn new(group: Group, members: Vec<PoolMember>) -> Self {
        let candidates =
            members.iter().map(|member| HashedAccount::from_account(&member.account)).collect();
        let is_renewed = |index: &usize| members[*index].account.credential.is_renewed();
        let renewed = (0..members.len()).filter(is_renewed).collect();
        Self { group, members, candidates, renewed }
    }

    /// The accounts, as candidates for account selection.
    pub fn candidates(&self) -> AccountCandidates<'_, PoolMember> {
        AccountCandidates { accounts: &self.members, candidates: &self.candidates }
    }
}

/// An account with its decrypted credential.
pub struct PoolMember {
    /// The settings of the account.
    pub account: Account,
    /// The credential. For a short-lived token this is the access token that was received last, or
    /// an empty text if there is none.
    pub credential: Secret,
    /// The status of the token, if the credential is a token.
    pub token: Option<Arc<TokenState>>,
    /// The URL of the account's proxy, with its password.
    pub proxy: Option<Secret>,
}

impl AsRef<Account> for PoolMember {
    fn as_ref(&self) -> &Account {
        &self.account
    }
}

/// The status of a short-lived token.
pub struct TokenState {
    /// When the token expires and is due for renewal, and whether renewals have failed.
    pub token_status: TokenStatus,
    /// The version of the token.
    pub version: u64,
}

impl Store {
    /// The key with this id, from the cache while the entry is fresh; `None` if it does not exist.
    pub async fn key(&self, id: &KeyId) -> Result<Option<Arc<StoredEntity<Key>>>, StoreError> {
        let read = || {
            let (store, id) = (self.clone(), id.clone());
            async move { Ok(store.read::<Key>(&id).await?.map(Arc::new)) }
        };
        self.keys.get(id, read).await
    }

    /// Whether the cache holds the key with this id. Such a key is served without waiting for the
    /// database, also during an outage of the database.
    pub fn is_key_cached(&self, id: &KeyId) -> bool {
        self.keys.get_for_outage(id).is_some_and(|entry| entry.is_some())
    }

    /// The group with its accounts, from the cache while the entry is fresh; `None` if it does not
    /// exist.
    pub async fn pool(&self, id: &GroupId) -> Result<Option<Arc<AccountPool>>, StoreError> {
        let read = || {
            let (store, id) = (self.clone(), id.clone());
            async move { Ok(store.read_pool(&id).await?.map(Arc::new)) }
        };
        self.pools.get(id, read).await
    }

    /// The group with its accounts, read from the database now.
    pub async fn reload_pool(&self, id: &GroupId) -> Result<Option<Arc<AccountPool>>, StoreError> {
        self.pools.forget(id);
        self.pool(id).await
    }

    /// The entity with this id, read from the database; `None` if it does not exist.
    pub async fn read<T: Entity>(&self, id: &T::Id) -> Result<Option<StoredEntity<T>>, StoreError> {
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.config_table)
            .set_key(Some(key_of(T::place(id))))
            .send()
            .await?;
        response.item.map(StoredEntity::from_item).transpose()
    }

    async fn read_pool(&self, id: &GroupId) -> Result<Option<AccountPool>, StoreError> {
        let (mut group, mut members) = (None, Vec::new());
        for item in self.group_items(id).await? {
            let sk = text(&item, SK)?;
            if sk.starts_with("account#") {
                members.push(self.member_or_disabled(StoredEntity::from_item(item)?).await?);
            } else if sk == Group::KIND {
                group = Some(StoredEntity::<Group>::from_item(item)?.value);
            }
        }
        Box::pin(self.add_tokens(&mut members)).await?;
        let ids: Vec<AccountId> = members.iter().map(|member| member.account.id.clone()).collect();
        if let Err(error) = self.read_health(&ids).await {
            tracing::warn!(group_id = %id, "cannot read the health of the accounts of a group: \
                 {error}");
        }
        Ok(group.map(|group| AccountPool::new(group, members)))
    }

    /// Returns the account as a member. If its credential cannot be decrypted, the account is
    /// disabled, so that the other accounts of the group still serve.
    async fn member_or_disabled(
        &self,
        stored: StoredEntity<Account>,
    ) -> Result<PoolMember, StoreError> {
        let mut account = stored.value.clone();
        match self.member(stored).await {
            Err(StoreError::Sealed(_)) => {
                tracing::error!(
                    account_id = %account.id,
                    "cannot decrypt the credential of an account, or it was set for another \
                     provider, address or proxy; set the credential again"
                );
                account.enabled = false;
                let credential = Secret::new(String::new());
                Ok(PoolMember { account, credential, token: None, proxy: None })
            }
            other => other,
        }
    }

    async fn member(&self, stored: StoredEntity<Account>) -> Result<PoolMember, StoreError> {
        let account = stored.value;
        let credential = if account.credential.is_renewed() {
            Secret::new(String::new())
        } else {
            let sealed = stored.secret.unwrap_or_default();
            self.open_credential(&account, &sealed).await?
        };
        let proxy = self.open_proxy(&account).await?;
        Ok(PoolMember { account, credential, token: None, proxy })
    }

    /// An account's credential, read now: the static credential, or the access token received last.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if the credential cannot be decrypted or there is no token.
    pub async fn credential(&self, stored: &StoredEntity<Account>) -> Result<Secret, StoreError> {
        let account = &stored.value;
        if account.credential.is_renewed() {
            let token = self.token(&account.id).await?.filter(|token| token.is_for(account));
            return token.and_then(|token| token.secrets.access_token).ok_or(VaultError.into());
        }
        let sealed = stored.secret.as_deref().unwrap_or_default();
        self.open_credential(account, sealed).await
    }

    /// Adds the stored tokens to those members that use one.
    async fn add_tokens(&self, members: &mut [PoolMember]) -> Result<(), StoreError> {
        let renewed = members.iter().filter(|member| member.account.credential.is_renewed());
        let ids: Vec<AccountId> = renewed.map(|member| member.account.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut tokens = self.read_tokens(&ids).await?;
        for member in members {
            let token = tokens.remove(&member.account.id);
            let Some(token) = token.filter(|token| token.is_for(&member.account)) else { continue };
            member.credential = token.secrets.access_token.unwrap_or(Secret::new(String::new()));
            let (token_status, version) = (token.token_status, token.version);
            member.token = Some(Arc::new(TokenState { token_status, version }));
        }
        Ok(())
    }

    /// The ids of a group's accounts.
    pub async fn account_ids(&self, id: &GroupId) -> Result<Vec<AccountId>, StoreError> {
        let items = self.group_items(id).await?;
        let ids = items
            .iter()
            .filter_map(|item| text(item, SK).ok()?.strip_prefix("account#")?.parse().ok());
        Ok(ids.collect())
    }

    async fn group_items(&self, id: &GroupId) -> Result<Vec<StoreItem>, StoreError> {
        let pages = self
            .db
            .query()
            .table_name(&self.resources.config_table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":pk", AttributeValue::S(item_names::group_partition(id)))
            .into_paginator()
            .items()
            .send();
        pages.collect::<Result<Vec<_>, _>>().await.map_err(Into::into)
    }
}
