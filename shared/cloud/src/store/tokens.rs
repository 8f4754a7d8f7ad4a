//! Accounts' short-lived tokens, and who has asked for a new one. An account's token is an item of
//! its own beside it: operators make it, refresh renews it, the relay only reads.

use super::config_edit::put;
use super::item::{StoreItem, inconsistent, key_of, number, text};
use super::item_names::{self, BODY, CREATED_AT, KIND, PK, RENEW, SECRET, SK, TOKEN, VERSION};
use super::{ConfigEdit, Store, StoreError};
use crate::vault::VaultError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use baton_domain::account::Account;
use baton_domain::id::AccountId;
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{TokenExchange, TokenGrant, TokenStatus};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How an account's token is had, where it stands, and what is secret about it.
#[derive(Clone)]
pub struct AccountToken {
    /// Whose it is.
    pub account: AccountId,
    /// How it is had.
    pub exchange: TokenExchange,
    /// Where it stands.
    pub standing: TokenStatus,
    /// What is secret about it.
    pub secrets: TokenSecrets,
    /// Counts changes, from 1.
    pub version: u64,
}

/// What is secret about a token.
#[derive(Clone, Default, Deserialize)]
pub struct TokenSecrets {
    /// What goes upstream.
    pub access_token: Option<Secret>,
    /// What the next one is had for.
    pub refresh_token: Option<Secret>,
    /// Who we are to the token endpoint, if it wants that proven.
    pub client_secret: Option<Secret>,
    /// For which upstream and token endpoint they were given. It is sealed with them.
    pub bound_to: Option<String>,
}

/// A token as it is listed: nothing secret is opened.
pub struct ListedToken {
    /// Whose it is.
    pub account: AccountId,
    /// What it is had for.
    pub grant: TokenGrant,
    /// Where it stands.
    pub standing: TokenStatus,
    /// Counts changes.
    pub version: u64,
}

#[derive(Serialize, Deserialize)]
struct TokenBody {
    exchange: TokenExchange,
    standing: TokenStatus,
}

impl Store {
    /// The account's token, as it is now.
    pub async fn token(&self, id: &AccountId) -> Result<Option<AccountToken>, StoreError> {
        let answer = self
            .db
            .get_item()
            .table_name(&self.resources.config_table)
            .set_key(Some(key_of(item_names::token(id))))
            .consistent_read(true)
            .send()
            .await?;
        match answer.item {
            Some(item) => self.open_token(&item).await.map(Some),
            None => Ok(None),
        }
    }

    /// The tokens of these accounts, those that there are.
    pub(super) async fn read_tokens(
        &self,
        ids: &[AccountId],
    ) -> Result<HashMap<AccountId, AccountToken>, StoreError> {
        let mut found = HashMap::new();
        for ids in ids.chunks(super::state::BATCH_MAX) {
            let places = ids.iter().map(|id| key_of(item_names::token(id))).collect();
            for item in self.batch_get(&self.resources.config_table, places, false).await? {
                let token = self.open_token(&item).await?;
                found.insert(token.account.clone(), token);
            }
        }
        Ok(found)
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
            let TokenBody { exchange, standing } = body;
            Ok(ListedToken { account, grant: exchange.grant, standing, version })
        };
        items.iter().map(read).collect()
    }

    /// Puts a token beside the account in `edit`, in place of whatever was there.
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

    /// Removes the account's token, if it has one.
    pub fn remove_token(&self, edit: &mut ConfigEdit, id: &AccountId) {
        edit.actions.push(self.delete(item_names::token(id), None));
    }

    /// Writes the next version of `token`, and lets the account's groups be read anew.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has been changed meanwhile, or is gone.
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
            // The answer to our own write may have been lost, and the client has tried again. No
            // two sealings are alike, so what is there shows whose it is.
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

    /// Keeps a browser's sign-in under way for so many minutes; answers until when.
    pub async fn put_sign_in(
        &self,
        state: &str,
        text: &Secret,
        minutes: i64,
    ) -> Result<Timestamp, StoreError> {
        let place = item_names::sign_in(state);
        let sealed = self.seal_at(text, &place.0, true).await?;
        let until = self.clock.now().saturating_add(SignedDuration::from_mins(minutes));
        let until = until.unwrap_or(Timestamp::MAX);
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(place)))
            .item(SECRET, AttributeValue::B(Blob::new(sealed)))
            .item(item_names::TTL, AttributeValue::N(until.as_second().to_string()))
            .send()
            .await?;
        Ok(until)
    }

    /// Takes a sign-in under way, once; `None` where there is none, or its time is over.
    pub async fn take_sign_in(&self, state: &str) -> Result<Option<Secret>, StoreError> {
        let place = item_names::sign_in(state);
        let answer = self
            .db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(place.clone())))
            .return_values(ReturnValue::AllOld)
            .send()
            .await?;
        let Some(item) = answer.attributes else { return Ok(None) };
        let Some(AttributeValue::B(sealed)) = item.get(SECRET) else { return Ok(None) };
        if number::<i64>(&item, item_names::TTL)? <= self.clock.now().as_second() {
            return Ok(None);
        }
        self.open_at(sealed.as_ref(), &place.0).await.map(Some)
    }

    /// Notes a sign-in as used, for so many minutes.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was used before.
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

    /// Asks refresh for a new token of the account, once for each version of it and process.
    pub async fn request_renewal(&self, id: &AccountId, version: u64) -> Result<(), StoreError> {
        if self.asked.get(id).is_some_and(|asked| asked >= version) {
            return Ok(());
        }
        self.asked.insert(id.clone(), version);
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(item_names::renew(id))))
            .item(VERSION, AttributeValue::N(version.to_string()))
            .send()
            .await?;
        self.renewal_asked.notify_one();
        Ok(())
    }

    /// Returns when somebody in this process has asked for a new token.
    pub async fn wait_for_renewal_request(&self) {
        self.renewal_asked.notified().await;
    }

    /// Who has asked for a new token, and what version does not serve.
    pub async fn requested_renewals(&self) -> Result<HashMap<AccountId, u64>, StoreError> {
        let answer = self
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
        answer.items().iter().map(read).collect()
    }

    /// The question has been dealt with.
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
        let body = TokenBody { exchange: token.exchange.clone(), standing: token.standing.clone() };
        let body = serde_json::to_string(&body).map_err(|error| inconsistent(&pk, &sk, &error))?;
        let (text, place) = (token.secrets.to_text(), place(&token.account));
        let sealed = self.seal_at(&text, &place, may_create).await?;
        Ok((AttributeValue::S(body), AttributeValue::B(Blob::new(sealed))))
    }

    async fn open_token(&self, item: &StoreItem) -> Result<AccountToken, StoreError> {
        let (account, body) = parse_item(item)?;
        let Some(AttributeValue::B(sealed)) = item.get(SECRET) else {
            return Err(VaultError.into());
        };
        let open = self.open_at(sealed.as_ref(), &place(&account)).await?;
        let secrets = serde_json::from_str(open.expose()).map_err(|_| VaultError)?;
        let version = number(item, VERSION)?;
        Ok(AccountToken {
            account,
            exchange: body.exchange,
            standing: body.standing,
            secrets,
            version,
        })
    }
}

impl AccountToken {
    /// The next version, standing so.
    #[must_use]
    pub fn with_status(&self, standing: TokenStatus) -> Self {
        Self { standing, version: self.version + 1, ..self.clone() }
    }

    /// What goes upstream at `now`, if it is good.
    pub fn access_token(&self, now: Timestamp) -> Option<&Secret> {
        self.secrets.access_token.as_ref().filter(|_| self.standing.is_usable(now))
    }
}

impl TokenSecrets {
    /// The secrets as the text that is sealed; `Secret` itself does not serialise.
    fn to_text(&self) -> Secret {
        let part = |secret: &Option<Secret>| secret.as_ref().map(|it| it.expose().to_owned());
        let text = serde_json::json!({
            "access_token": part(&self.access_token), "refresh_token": part(&self.refresh_token),
            "client_secret": part(&self.client_secret), "bound_to": self.bound_to,
        });
        Secret::new(text.to_string())
    }
}

/// What a token's secrets are bound to.
fn place(account: &AccountId) -> String {
    format!("config/{}{account}/{SECRET}", item_names::TOKEN_PREFIX)
}

fn parse_item(item: &StoreItem) -> Result<(AccountId, TokenBody), StoreError> {
    let pk = text(item, PK)?;
    let odd = |what: &dyn std::fmt::Display| inconsistent(&pk, TOKEN, what);
    let id = pk.strip_prefix(item_names::TOKEN_PREFIX).unwrap_or_default();
    let account = id.parse().map_err(|error| odd(&error))?;
    let body = serde_json::from_str(&text(item, BODY)?).map_err(|error| odd(&error))?;
    Ok((account, body))
}
