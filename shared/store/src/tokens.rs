//! Short-lived tokens of accounts, and requests to renew them. A token is a separate item from its
//! account: operators create it, refresh renews it, and the relay only reads it.

use super::config_edit::put;
use super::item::{StoreItem, inconsistent, key_of, number, text};
use super::item_names::{self, BODY, CREATED_AT, KIND, PK, RENEW, SECRET, SK, TOKEN, VERSION};
use super::{ConfigEdit, Store, StoreError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use baton_domain::account::Account;
use baton_domain::id::AccountId;
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{TokenExchange, TokenGrant, TokenSecrets, TokenStatus};
use baton_runtime::vault::VaultError;
use jiff::{SignedDuration, Timestamp};
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

impl Store {
    /// The account's token, read from the database now; `None` if it has none.
    pub async fn token(&self, id: &AccountId) -> Result<Option<AccountToken>, StoreError> {
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.config_table)
            .set_key(Some(key_of(item_names::token(id))))
            .consistent_read(true)
            .send()
            .await?;
        match response.item {
            Some(item) => self.open_token(&item).await.map(Some),
            None => Ok(None),
        }
    }

    /// The tokens of these accounts. Accounts without a token are left out.
    pub(super) async fn read_tokens(
        &self,
        ids: &[AccountId],
    ) -> Result<HashMap<AccountId, AccountToken>, StoreError> {
        let mut by_id = HashMap::new();
        for ids in ids.chunks(super::state::BATCH_MAX) {
            let places = ids.iter().map(|id| key_of(item_names::token(id))).collect();
            for item in self.batch_get(&self.resources.config_table, places, false).await? {
                let token = self.open_token(&item).await?;
                by_id.insert(token.account.clone(), token);
            }
        }
        Ok(by_id)
    }

    /// All tokens.
    pub async fn tokens(&self) -> Result<Vec<ListedToken>, StoreError> {
        let items = self
            .db
            .query()
            .table_name(&self.resources.config_table)
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

    /// Adds a token for the account to `edit`. It replaces the account's existing token.
    pub async fn add_token(
        &self,
        edit: &mut ConfigEdit,
        token: &AccountToken,
    ) -> Result<(), StoreError> {
        let (body, secret) = self.seal_token(token, true).await?;
        let mut item = key_of(item_names::token(&token.account));
        item.insert(KIND.to_owned(), AttributeValue::S(TOKEN.to_owned()));
        let now = AttributeValue::S(item_names::sortable_time(self.clock.now()));
        item.insert(CREATED_AT.to_owned(), now);
        item.insert(VERSION.to_owned(), AttributeValue::N(token.version.to_string()));
        item.insert(BODY.to_owned(), body);
        item.insert(SECRET.to_owned(), secret);
        edit.actions.push(put(self.config_put(item)));
        Ok(())
    }

    /// Deletes the account's token, if it has one.
    pub fn remove_token(&self, edit: &mut ConfigEdit, id: &AccountId) {
        edit.actions.push(self.delete(item_names::token(id), None));
    }

    /// Writes the next version of `token`, and drops the account's groups from the cache so that
    /// they are read again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the token has been changed or deleted since it was read.
    pub async fn put_renewed_token(
        &self,
        token: &AccountToken,
        account: &Account,
    ) -> Result<(), StoreError> {
        let (body, secret) = self.seal_token(token, false).await?;
        let version = |version: u64| AttributeValue::N(version.to_string());
        let written = self
            .db
            .update_item()
            .table_name(&self.resources.config_table)
            .set_key(Some(key_of(item_names::token(&token.account))))
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
        account.groups.iter().for_each(|group| self.pools.forget(group));
        Ok(())
    }

    /// Stores the state of an unfinished sign-in for the given number of minutes. Returns when it
    /// expires.
    pub async fn put_sign_in(
        &self,
        state: &str,
        text: &Secret,
        minutes: i64,
    ) -> Result<Timestamp, StoreError> {
        let key = item_names::sign_in(state);
        let sealed = self.seal_at(text, &key.0, true).await?;
        let until = self.clock.now().saturating_add(SignedDuration::from_mins(minutes));
        let until = until.unwrap_or(Timestamp::MAX);
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(key)))
            .item(SECRET, AttributeValue::B(Blob::new(sealed)))
            .item(item_names::TTL, AttributeValue::N(until.as_second().to_string()))
            .send()
            .await?;
        Ok(until)
    }

    /// Takes the state of a sign-in and deletes it, so that it can be used only once. `None` if it
    /// does not exist or has expired.
    pub async fn take_sign_in(&self, state: &str) -> Result<Option<Secret>, StoreError> {
        let key = item_names::sign_in(state);
        let response = self
            .db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(key.clone())))
            .return_values(ReturnValue::AllOld)
            .send()
            .await?;
        let Some(item) = response.attributes else { return Ok(None) };
        let Some(AttributeValue::B(sealed)) = item.get(SECRET) else { return Ok(None) };
        if number::<i64>(&item, item_names::TTL)? <= self.clock.now().as_second() {
            return Ok(None);
        }
        self.open_at(sealed.as_ref(), &key.0).await.map(Some)
    }

    /// Records a sign-in as used, for the given number of minutes.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it was used before.
    pub async fn use_sign_in(&self, name: &str, minutes: i64) -> Result<(), StoreError> {
        let until = self.clock.now().saturating_add(SignedDuration::from_mins(minutes));
        let until = until.unwrap_or(Timestamp::MAX).as_second().to_string();
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(item_names::sign_in(name))))
            .item(item_names::TTL, AttributeValue::N(until))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .send()
            .await?;
        Ok(())
    }

    /// Requests a new token of the account from refresh. Each process does this once for each
    /// version of the token.
    pub async fn request_renewal(&self, id: &AccountId, version: u64) -> Result<(), StoreError> {
        if self.renewal_requests.get(id).is_some_and(|requested| requested >= version) {
            return Ok(());
        }
        self.renewal_requests.insert(id.clone(), version);
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(item_names::renew(id))))
            .item(VERSION, AttributeValue::N(version.to_string()))
            .send()
            .await?;
        self.renewal_requested.notify_one();
        Ok(())
    }

    /// Waits until something in this process has requested a new token.
    pub async fn wait_for_renewal_request(&self) {
        self.renewal_requested.notified().await;
    }

    /// The accounts for which a new token was requested, each with the version that does not work.
    pub async fn requested_renewals(&self) -> Result<HashMap<AccountId, u64>, StoreError> {
        let response = self
            .db
            .query()
            .table_name(&self.resources.state_table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":pk", AttributeValue::S(RENEW.to_owned()))
            .send()
            .await?;
        let read = |item: &StoreItem| {
            let id = text(item, SK)?;
            let id = id.parse().map_err(|error| inconsistent(RENEW, &id, &error))?;
            Ok((id, number(item, VERSION)?))
        };
        response.items().iter().map(read).collect()
    }

    /// Deletes the request for a new token after it has been handled.
    pub async fn forget_renewal(&self, id: &AccountId) -> Result<(), StoreError> {
        self.db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::renew(id))))
            .send()
            .await?;
        Ok(())
    }

    async fn seal_token(
        &self,
        token: &AccountToken,
        may_create: bool,
    ) -> Result<(AttributeValue, AttributeValue), StoreError> {
        let (pk, sk) = item_names::token(&token.account);
        let body =
            TokenBody { exchange: token.exchange.clone(), standing: token.token_status.clone() };
        let body = serde_json::to_string(&body).map_err(|error| inconsistent(&pk, &sk, &error))?;
        let (text, key) = (token.secrets.to_text(), place(&token.account));
        let sealed = self.seal_at(&text, &key, may_create).await?;
        Ok((AttributeValue::S(body), AttributeValue::B(Blob::new(sealed))))
    }

    async fn open_token(&self, item: &StoreItem) -> Result<AccountToken, StoreError> {
        let (account, body) = parse_item(item)?;
        let Some(AttributeValue::B(sealed)) = item.get(SECRET) else {
            return Err(VaultError.into());
        };
        let opened_secret = self.open_at(sealed.as_ref(), &place(&account)).await?;
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
}

impl AccountToken {
    /// The next version of the token, with the status `standing`.
    #[must_use]
    pub fn with_status(&self, token_status: TokenStatus) -> Self {
        Self { token_status, version: self.version + 1, ..self.clone() }
    }

    /// The access token, if it is valid at `now`.
    pub fn access_token(&self, now: Timestamp) -> Option<&Secret> {
        self.secrets.access_token.as_ref().filter(|_| self.token_status.is_usable(now))
    }
}

/// The place that a token's secrets are encrypted for.
fn place(account: &AccountId) -> String {
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
