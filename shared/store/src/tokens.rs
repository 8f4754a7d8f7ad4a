//! Short-lived tokens of accounts. A token is a separate item from its account: operators create
//! it, refresh renews it, and the relay only reads it.

use crate::StoreError;
use crate::connection::{StoreConnection, Table};
use crate::item::{StoreItem, inconsistent, key_of, number, text};
use crate::item_names::{self, BODY, CREATED_AT, KIND, PK, SECRET, TOKEN, VERSION};
use crate::permissions::{
    Action, LIST_CONFIG, OPEN_VAULT, Permission, READ_CONFIG, Resource, store_handle,
};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use baton_domain::account::Account;
use baton_domain::id::AccountId;
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{TokenExchange, TokenGrant, TokenSecrets, TokenStatus};
use baton_runtime::vault::{Vault, VaultError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The token of an account: how to get it, its status, and its secrets.
#[derive(Clone)]
pub struct AccountToken {
    /// The account that the token belongs to.
    pub account: AccountId,
    /// How a new token is requested.
    pub exchange: TokenExchange,
    /// When the token expires and is due for renewal, and whether renewals have failed.
    pub token_status: TokenStatus,
    /// The secrets of the token.
    pub secrets: TokenSecrets,
    /// The number of the version, from 1; each change adds 1.
    pub version: u64,
}

/// A token as lists show it, without its secrets.
pub struct ListedToken {
    /// The account that the token belongs to.
    pub account: AccountId,
    /// The OAuth grant that new tokens are requested with.
    pub grant: TokenGrant,
    /// When the token expires and is due for renewal, and whether renewals have failed.
    pub token_status: TokenStatus,
    /// The number of the version.
    pub version: u64,
}

#[derive(Serialize, Deserialize)]
struct TokenBody {
    exchange: TokenExchange,
    standing: TokenStatus,
}

/// The attributes of the item that hold how to renew the token, and its encrypted secrets.
struct SealedToken {
    body: AttributeValue,
    secret: AttributeValue,
}

store_handle! {
    /// The tokens of accounts, and what renewing them takes.
    TokenStore,
    READ_CONFIG,
    LIST_CONFIG,
    OPEN_VAULT,
    Permission::on(Resource::ConfigTable, &[Action::UpdateItem], &["token#*"]),
    Permission::on_state(&[Action::UpdateItem, Action::DeleteItem], &["lease#*"]),
    Permission::on_state(&[Action::GetItem, Action::BatchGetItem, Action::PutItem], &["health#*"])
}

impl TokenStore {
    /// The account's token, read from the database now; `None` if it has none.
    pub async fn read(&self, id: &AccountId) -> Result<Option<AccountToken>, StoreError> {
        read_token(&self.connection, id).await
    }

    /// All tokens.
    pub async fn list(&self) -> Result<Vec<ListedToken>, StoreError> {
        let items = self
            .connection
            .query(Table::Config)
            .index_name(item_names::BY_KIND)
            .key_condition_expression("#kind = :kind")
            .expression_attribute_names("#kind", KIND)
            .expression_attribute_values(":kind", AttributeValue::S(TOKEN.to_owned()))
            .into_paginator()
            .items()
            .send();
        let items: Vec<StoreItem> = items.collect::<Result<_, _>>().await?;
        let read = |item: &StoreItem| {
            let (account, body) = parse_item(item)?;
            let version = number(item, VERSION)?;
            let TokenBody { exchange, standing: token_status } = body;
            Ok(ListedToken { account, grant: exchange.grant, token_status, version })
        };
        items.iter().map(read).collect()
    }

    /// Writes the next version of `token`, and drops the account's groups from the cache so that
    /// they are read again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the token has been changed or deleted since it was read.
    pub(crate) async fn put_renewed_token(
        &self,
        token: &AccountToken,
        account: &Account,
    ) -> Result<(), StoreError> {
        let SealedToken { body, secret } = token.seal(self.connection.open_vault().await?)?;
        let version = |version: u64| AttributeValue::N(version.to_string());
        let written = self
            .connection
            .update_request(Table::Config, item_names::token(&token.account))
            .update_expression("SET #body = :body, #secret = :secret, #version = :version")
            .condition_expression("#version = :before")
            .expression_attribute_names("#body", BODY)
            .expression_attribute_names("#secret", SECRET)
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":body", body)
            .expression_attribute_values(":secret", secret.clone())
            .expression_attribute_values(":version", version(token.version))
            .expression_attribute_values(":before", version(token.version.saturating_sub(1)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        if let Err(error) = written {
            // The answer to an earlier try of this write can get lost, and the SDK then repeats the
            // write. No two encryptions produce the same bytes, so the stored bytes show whether
            // this call wrote them.
            let there = error.as_service_error().and_then(|error| match error {
                UpdateItemError::ConditionalCheckFailedException(failed) => failed.item(),
                _ => None,
            });
            if there.and_then(|item| item.get(SECRET)) != Some(&secret) {
                return Err(error.into());
            }
        }
        account.groups.iter().for_each(|group| self.connection.pools.forget(group));
        Ok(())
    }
}

/// The account's token, read from the database now; `None` if it has none.
pub(crate) async fn read_token(
    connection: &StoreConnection,
    id: &AccountId,
) -> Result<Option<AccountToken>, StoreError> {
    match connection.get_item(Table::Config, item_names::token(id), true).await? {
        Some(item) => open_token(connection, &item).await.map(Some),
        None => Ok(None),
    }
}

/// The tokens of these accounts. Accounts without a token are left out.
pub(crate) async fn read_tokens(
    connection: &StoreConnection,
    ids: &[AccountId],
) -> Result<HashMap<AccountId, AccountToken>, StoreError> {
    let places = ids.iter().map(|id| (Table::Config, item_names::token(id))).collect();
    let mut by_id = HashMap::new();
    for (_, item) in connection.batch_get(places, false).await? {
        let token = open_token(connection, &item).await?;
        by_id.insert(token.account.clone(), token);
    }
    Ok(by_id)
}

async fn open_token(
    connection: &StoreConnection,
    item: &StoreItem,
) -> Result<AccountToken, StoreError> {
    let (account, body) = parse_item(item)?;
    let Some(AttributeValue::B(sealed)) = item.get(SECRET) else {
        return Err(VaultError.into());
    };
    let opened_secret = connection.open_at(sealed.as_ref(), &secret_context(&account)).await?;
    let secrets = serde_json::from_str(opened_secret.expose()).map_err(|_| VaultError)?;
    let version = number(item, VERSION)?;
    Ok(AccountToken {
        account,
        exchange: body.exchange,
        token_status: body.standing,
        secrets,
        version,
    })
}

impl AccountToken {
    /// The item of the token.
    pub(crate) async fn to_item(
        &self,
        connection: &StoreConnection,
    ) -> Result<StoreItem, StoreError> {
        let SealedToken { body, secret } = self.seal(connection.make_vault().await?)?;
        let mut item = key_of(item_names::token(&self.account));
        item.insert(KIND.to_owned(), AttributeValue::S(TOKEN.to_owned()));
        let now = AttributeValue::S(item_names::sortable_time(connection.clock.now()));
        item.insert(CREATED_AT.to_owned(), now);
        item.insert(VERSION.to_owned(), AttributeValue::N(self.version.to_string()));
        item.insert(BODY.to_owned(), body);
        item.insert(SECRET.to_owned(), secret);
        Ok(item)
    }

    fn seal(&self, vault: &Vault) -> Result<SealedToken, StoreError> {
        let key = item_names::token(&self.account);
        let body =
            TokenBody { exchange: self.exchange.clone(), standing: self.token_status.clone() };
        let body =
            serde_json::to_string(&body).map_err(|error| inconsistent(&key.pk, &key.sk, &error))?;
        let sealed = vault.seal(&self.secrets.to_text(), &secret_context(&self.account))?;
        Ok(SealedToken {
            body: AttributeValue::S(body),
            secret: AttributeValue::B(Blob::new(sealed)),
        })
    }

    /// The next version of the token, with the status `token_status`.
    #[must_use]
    pub(crate) fn with_status(&self, token_status: TokenStatus) -> Self {
        Self { token_status, version: self.version + 1, ..self.clone() }
    }

    /// The access token, if it is valid at `now`.
    pub fn access_token(&self, now: Timestamp) -> Option<&Secret> {
        self.secrets.access_token.as_ref().filter(|_| self.token_status.is_usable(now))
    }
}

/// The encryption context of a token's secrets: the table, item and attribute in which they are
/// stored.
fn secret_context(account: &AccountId) -> String {
    format!("config/{}{account}/{SECRET}", item_names::TOKEN_PREFIX)
}

fn parse_item(item: &StoreItem) -> Result<(AccountId, TokenBody), StoreError> {
    let pk = text(item, PK)?;
    let is_invalid_char = |item_name: &dyn std::fmt::Display| inconsistent(&pk, TOKEN, item_name);
    let id = pk.strip_prefix(item_names::TOKEN_PREFIX).unwrap_or_default();
    let account = id.parse().map_err(|error| is_invalid_char(&error))?;
    let body = serde_json::from_str(&text(item, BODY)?).map_err(|error| is_invalid_char(&error))?;
    Ok((account, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, open_handle, secret};
    use crate::{ConfigEdit, ConfigEditor, StoreError};
    use baton_domain::upstream_token::ClientAuth;

    #[tokio::test]
    async fn renewed_token_replaces_only_the_version_before_it() {
        let tables = TestTables::open().await;
        let (editor, tokens) =
            (open_handle!(tables, ConfigEditor), open_handle!(tables, TokenStore));
        let grant = TokenGrant::RefreshToken { client_id: "baton".to_owned(), scope: None };
        let token_url = "https://auth.example.com".to_owned();
        let refresh_token = Some(secret("rt"));
        let token = AccountToken {
            account: account().id,
            exchange: TokenExchange { token_url, grant, client_auth: ClientAuth::default() },
            token_status: TokenStatus::default(),
            secrets: TokenSecrets { refresh_token, ..TokenSecrets::default() },
            version: 1,
        };
        let mut edit = ConfigEdit::default();
        editor.add_token(&mut edit, &token).await.expect("an item");
        editor.apply(edit).await.expect("saved");
        let next = token.with_status(TokenStatus::default());
        tokens.put_renewed_token(&next, &account()).await.expect("written");
        let stale = tokens.put_renewed_token(&next, &account()).await;
        assert!(matches!(stale, Err(StoreError::Conflict)));
        let read = tokens.read(&account().id).await.expect("read").expect("there");
        assert_eq!((read.version, tokens.list().await.expect("read").len()), (2, 1));
        assert_eq!(read.secrets.refresh_token.expect("a secret").expose(), "rt");
    }
}
