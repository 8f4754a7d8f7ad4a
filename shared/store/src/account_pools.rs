//! Reads groups with the accounts that their keys can use: with decrypted credentials, and with the
//! health of the accounts.

use crate::account_pool::{AccountPool, PoolMember, TokenState};
use crate::config_reader::ConfigReader;
use crate::credentials::CredentialReader;
use crate::health::HealthStore;
use crate::item::{Entity as _, StoredEntity, text};
use crate::item_names::SK;
use crate::permissions::{Action, OPEN_VAULT, Permission, READ_CONFIG, store_handle};
use crate::{StoreError, tokens};
use baton_domain::account::Account;
use baton_domain::id::{AccountId, GroupId};
use baton_domain::key::Group;
use baton_domain::secret::Secret;
use std::sync::Arc;

store_handle! {
    /// Groups with their accounts.
    AccountPools,
    READ_CONFIG,
    OPEN_VAULT,
    Permission::on_state(&[Action::BatchGetItem], &["health#*"])
}

impl AccountPools {
    /// The group with its accounts, from the cache while the entry is fresh; `None` if it does not
    /// exist.
    pub async fn get(&self, id: &GroupId) -> Result<Option<Arc<AccountPool>>, StoreError> {
        let read = || {
            let (store, id) = (self.clone(), id.clone());
            async move { Ok(store.read_pool(&id).await?.map(Arc::new)) }
        };
        self.connection.pools.get(id, read).await
    }

    /// The group with its accounts, read from the database now.
    pub async fn reload(&self, id: &GroupId) -> Result<Option<Arc<AccountPool>>, StoreError> {
        self.connection.pools.forget(id);
        self.get(id).await
    }

    async fn read_pool(&self, id: &GroupId) -> Result<Option<AccountPool>, StoreError> {
        let (mut group, mut members) = (None, Vec::new());
        for item in ConfigReader::new(&self.connection).group_items(id).await? {
            let sk = text(&item, SK)?;
            if sk.starts_with("account#") {
                members.push(self.member_or_disabled(StoredEntity::from_item(item)?).await?);
            } else if sk == Group::KIND {
                group = Some(StoredEntity::<Group>::from_item(item)?.value);
            }
        }
        Box::pin(self.add_tokens(&mut members)).await?;
        let ids: Vec<AccountId> = members.iter().map(|member| member.account.id.clone()).collect();
        if let Err(error) = HealthStore::new(&self.connection).read_health(&ids).await {
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
        let credentials = CredentialReader::new(&self.connection);
        let credential = if account.credential.is_renewed() {
            Secret::new(String::new())
        } else {
            let sealed = stored.secret.unwrap_or_default();
            credentials.open_credential(&account, &sealed).await?
        };
        let proxy = credentials.open_proxy(&account).await?;
        Ok(PoolMember { account, credential, token: None, proxy })
    }

    /// Adds the stored tokens to those members that use one.
    async fn add_tokens(&self, members: &mut [PoolMember]) -> Result<(), StoreError> {
        let renewed = members.iter().filter(|member| member.account.credential.is_renewed());
        let ids: Vec<AccountId> = renewed.map(|member| member.account.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut tokens = tokens::read_tokens(&self.connection, &ids).await?;
        for member in members {
            let token = tokens.remove(&member.account.id);
            let Some(token) = token.filter(|token| token.is_for(&member.account)) else { continue };
            member.credential = token.secrets.access_token.unwrap_or(Secret::new(String::new()));
            let (token_status, version) = (token.token_status, token.version);
            member.token = Some(Arc::new(TokenState { token_status, version }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, open_handle, secret};
    use crate::{ConfigEdit, ConfigEditor};
    use baton_domain::key::Limits;

    #[tokio::test]
    async fn pool_has_accounts_with_credentials_and_disables_what_it_cannot_decrypt() {
        let tables = TestTables::open().await;
        let (_, group, account) = tables.store_key_group_and_account(Limits::default()).await;
        let pools = open_handle!(tables, AccountPools);
        let pool = pools.get(&group.id).await.expect("read").expect("there");
        assert_eq!(pool.members.len(), 1);
        assert!(pool.members[0].account.enabled);
        assert_eq!(pool.members[0].credential.expose(), "sk-upstream");
        assert!(pools.get(&GroupId::from_bits(9)).await.expect("read").is_none());

        let editor = open_handle!(tables, ConfigEditor);
        let sealed = editor.seal_credential(&account, &secret("sk")).await;
        let elsewhere = Account { base_url: "https://evil.example".to_owned(), ..account };
        let mut stored = editor.new_stored(elsewhere, Some(sealed.expect("sealed")));
        stored.version = 2;
        let mut edit = ConfigEdit::default();
        editor.save_account(&mut edit, &stored, &[]).expect("an item");
        editor.apply(edit).await.expect("saved");
        let pool = pools.reload(&group.id).await.expect("read").expect("there");
        assert!(!pool.members[0].account.enabled);
        assert_eq!(pool.members[0].credential.expose(), "");
    }
}
