//! Alerts as items: which limits have changed, what was told already, what waits to be delivered,
//! and the operator's settings. What is worth telling is decided in `domain::alert`.

use super::config_edit::ConfigEdit;
use super::item::{Entity, StoreItem, StoredEntity, inconsistent, key_of, text};
use super::item_names::{self, ALERT, BLOCKED, BODY, MARK, OUTBOX, PK, SETTING, SK, TOLD};
use super::{Store, StoreError};
use crate::vault::VaultError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use baton_domain::alert::{Alert, AlertChannel, AlertPreferences, ReportedState};
use baton_domain::id::AccountId;
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use baton_domain::scope::LimitScope;
use baton_domain::secret::Secret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Limits that one look takes.
const LOOK_MAX: usize = 500;

/// For how long an alert that came once does not come again: longer than the longest period.
const REMEMBERED_SECONDS: i64 = 70 * 24 * 3600;

/// What the webhook's address and signing key are sealed for.
const PLACE: &str = "config/setting#alerts/secret";

impl Entity for AlertPreferences {
    type Id = &'static str;
    const KIND: &'static str = SETTING;
    fn id(&self) -> &&'static str {
        &"alerts"
    }
}

/// The settings with what is secret of them.
#[derive(Clone)]
pub struct AlertSettings {
    /// What may be shown.
    pub shown: StoredEntity<AlertPreferences>,
    /// The webhook's address, if there is one; often it is the only key to a chat room.
    pub url: Option<Secret>,
    /// What deliveries are signed with.
    pub signing_secret: Secret,
}

impl AlertSettings {
    /// Where alerts go.
    pub fn channels(&self) -> Vec<AlertChannel> {
        let webhook = self.url.as_ref().map(|_| AlertChannel::Webhook);
        let topic = self.shown.value.sns_topic_arn.as_ref().map(|_| AlertChannel::Sns);
        webhook.into_iter().chain(topic).collect()
    }
}

/// The secret part, as it is sealed.
#[derive(Deserialize)]
struct AlertSecrets {
    url: Option<Secret>,
    signing_secret: Secret,
}

/// An alert on its way through one channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertDelivery {
    /// What to tell.
    pub alert: Alert,
    /// Through which channel.
    pub channel: AlertChannel,
    /// How often that has failed.
    pub tries: u32,
    /// When it is tried next, in unix seconds.
    pub next_at: i64,
    /// Why it failed last.
    pub last_error: Option<String>,
}

impl AlertDelivery {
    fn name(&self) -> String {
        let channel = match self.channel {
            AlertChannel::Webhook => "webhook",
            AlertChannel::Sns => "sns",
        };
        format!("{}#{channel}", self.alert.id)
    }
}

/// What was told of an account last, and how often it was told anything.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct LastAlert {
    /// How it was.
    pub state: ReportedState,
    /// Counts what was told.
    pub count: u64,
}

/// A limit whose count has changed.
pub struct ChangedLimit {
    /// Whose limit: an id.
    pub scope: String,
    /// The windows in which it has turned a request away for want of money; of an account, requests
    /// for which it claimed too much.
    pub blocked: BTreeSet<String>,
    mark: String,
}

impl ChangedLimit {
    /// The account that claimed more usage than a request permitted, and the day, if this is no
    /// limit.
    pub fn capped_account(&self) -> Option<(AccountId, &str)> {
        let (account, day) = self.scope.strip_prefix(item_names::CAPPED)?.split_once('#')?;
        Some((account.parse().ok()?, day))
    }
}

impl Store {
    /// Notes that what is counted against these limits has changed, so that somebody looks at
    /// them. It is no part of any promise: the next change notes it again.
    pub async fn touch_limits(&self, scopes: impl Iterator<Item = impl std::fmt::Display>) {
        for scope in scopes {
            let update = self.touch(&scope).update_expression("SET #mark = :mark");
            if let Err(error) = update.send().await {
                tracing::warn!(%scope, "an alert may be late: {}", StoreError::from(error));
            }
        }
    }

    /// Notes that the limit has turned a request away in this window: once for each amount of it
    /// that this process sees, however many requests come.
    pub async fn note_blocked(&self, scope: &LimitScope, window: &str, limit: PicoUsd) {
        let place = format!("{scope}#{window}#{limit}");
        if self.blocked.get(&place).is_some() {
            return;
        }
        self.blocked.insert(place.clone(), ());
        let update = self
            .touch(scope)
            .update_expression("SET #mark = :mark ADD #blocked :window")
            .expression_attribute_names("#blocked", BLOCKED)
            .expression_attribute_values(":window", AttributeValue::Ss(vec![window.to_owned()]));
        if let Err(error) = update.send().await {
            self.blocked.remove(&place);
            tracing::warn!(%scope, "an alert may be missing: {}", StoreError::from(error));
        }
    }

    /// Notes that an upstream claimed more usage than a request permitted: once for each account and
    /// day that this process sees.
    pub async fn note_capped(&self, record: &UsageRecord) {
        let place = item_names::capped(&record.account_id, record.started_at);
        if self.blocked.get(&place).is_some() {
            return;
        }
        self.blocked.insert(place.clone(), ());
        let update = self
            .touch(&place)
            .update_expression("SET #mark = :mark ADD #blocked :request")
            .expression_attribute_names("#blocked", BLOCKED)
            .expression_attribute_values(
                ":request",
                AttributeValue::Ss(vec![record.id.to_string()]),
            );
        if let Err(error) = update.send().await {
            self.blocked.remove(&place);
            let account_id = &record.account_id;
            tracing::warn!(%account_id, "an alert may be missing: {}", StoreError::from(error));
        }
    }

    fn touch(&self, scope: &impl std::fmt::Display) -> UpdateItemFluentBuilder {
        self.db
            .update_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of((item_names::TOUCHED.to_owned(), scope.to_string()))))
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(":mark", AttributeValue::S(self.dice.bits().to_string()))
    }

    /// Some of the limits that were touched since they were looked at: chosen by their marks, which
    /// are random, so that each has its turn where there are many.
    pub async fn touched_limits(&self) -> Result<Vec<ChangedLimit>, StoreError> {
        let items = self.state_items(item_names::TOUCHED).await?;
        let read = |item: &StoreItem| {
            let blocked = match item.get(BLOCKED) {
                Some(AttributeValue::Ss(windows)) => windows.iter().cloned().collect(),
                _ => BTreeSet::new(),
            };
            Ok(ChangedLimit { scope: text(item, SK)?, blocked, mark: text(item, MARK)? })
        };
        let mut touched =
            items.iter().map(read).collect::<Result<Vec<ChangedLimit>, StoreError>>()?;
        touched.sort_unstable_by(|one, other| one.mark.cmp(&other.mark));
        touched.truncate(LOOK_MAX);
        Ok(touched)
    }

    /// Notes that a limit was looked at, unless it was touched meanwhile.
    pub async fn remove_touched(&self, touched: &ChangedLimit) -> Result<(), StoreError> {
        let removed = self
            .db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of((item_names::TOUCHED.to_owned(), touched.scope.clone()))))
            .condition_expression("#mark = :mark")
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(":mark", AttributeValue::S(touched.mark.clone()))
            .send()
            .await;
        match removed.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends an alert on its way, unless it was before. Returns whether it is new.
    pub async fn put_alert(&self, alert: &Alert, to: &[AlertChannel]) -> Result<bool, StoreError> {
        let mut edit = ConfigEdit::default();
        self.add_alert(&mut edit, alert, to)?;
        match self.apply(edit).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same as a part of `edit`, which conflicts where the alert is not new.
    pub fn add_alert(
        &self,
        edit: &mut ConfigEdit,
        alert: &Alert,
        to: &[AlertChannel],
    ) -> Result<(), StoreError> {
        let now = self.clock.now().as_second();
        let mut guard = key_of((format!("{ALERT}#{}", alert.id), ALERT.to_owned()));
        let forget = (now + REMEMBERED_SECONDS).to_string();
        guard.insert(item_names::TTL.to_owned(), AttributeValue::N(forget));
        edit.actions.push(self.put_state(guard));
        for channel in to {
            let (alert, channel) = (alert.clone(), *channel);
            let delivery =
                AlertDelivery { alert, channel, tries: 0, next_at: now, last_error: None };
            edit.actions.push(self.put_state(delivery_item(&delivery)?));
        }
        Ok(())
    }

    fn put_state(&self, item: StoreItem) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.resources.state_table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK);
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }

    /// What waits to be delivered.
    pub async fn deliveries(&self) -> Result<Vec<AlertDelivery>, StoreError> {
        self.state_items(OUTBOX).await?.iter().map(read_body).collect()
    }

    /// Notes when a delivery is tried again.
    pub async fn put_delivery(&self, delivery: &AlertDelivery) -> Result<(), StoreError> {
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(delivery_item(delivery)?))
            .send()
            .await?;
        Ok(())
    }

    /// Forgets what was delivered, or never will be.
    pub async fn remove_delivery(&self, delivery: &AlertDelivery) -> Result<(), StoreError> {
        self.db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of((OUTBOX.to_owned(), delivery.name()))))
            .send()
            .await?;
        Ok(())
    }

    /// What was told of accounts last, by their id.
    pub async fn last_alerts(&self) -> Result<HashMap<String, LastAlert>, StoreError> {
        let items = self.state_items(TOLD).await?;
        items.iter().map(|item| Ok((text(item, SK)?, read_body(item)?))).collect()
    }

    /// Notes what was told of an account.
    pub async fn put_last_alert(&self, id: &AccountId, told: LastAlert) -> Result<(), StoreError> {
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(body_item((TOLD, &id.to_string()), &told)?))
            .send()
            .await?;
        Ok(())
    }

    /// The operator's settings, if there are any.
    pub async fn alert_settings(&self) -> Result<Option<AlertSettings>, StoreError> {
        let Some(mut shown) = self.read::<AlertPreferences>(&"alerts").await? else {
            return Ok(None);
        };
        let opened = self.open_at(&shown.secret.take().ok_or(VaultError)?, PLACE).await?;
        let AlertSecrets { url, signing_secret } =
            serde_json::from_str(opened.expose()).map_err(|_| VaultError)?;
        Ok(Some(AlertSettings { shown, url, signing_secret }))
    }

    /// Keeps the operator's settings.
    pub async fn save_alert_settings(
        &self,
        edit: &mut ConfigEdit,
        settings: &AlertSettings,
    ) -> Result<(), StoreError> {
        let secrets = Secret::new(
            serde_json::json!({
                "url": settings.url.as_ref().map(Secret::expose),
                "signing_secret": settings.signing_secret.expose(),
            })
            .to_string(),
        );
        let secret = Some(self.seal_at(&secrets, PLACE, true).await?);
        self.save(edit, &StoredEntity { secret, ..settings.shown.clone() })
    }

    /// The items of a partition of the state table.
    async fn state_items(&self, pk: &str) -> Result<Vec<StoreItem>, StoreError> {
        let items = self
            .db
            .query()
            .table_name(&self.resources.state_table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .into_paginator()
            .items()
            .send();
        items.collect::<Result<Vec<_>, _>>().await.map_err(Into::into)
    }
}

fn delivery_item(delivery: &AlertDelivery) -> Result<StoreItem, StoreError> {
    body_item((OUTBOX, &delivery.name()), delivery)
}

fn body_item((pk, sk): (&str, &str), value: &impl Serialize) -> Result<StoreItem, StoreError> {
    let body = serde_json::to_string(value).map_err(|error| inconsistent(pk, sk, &error))?;
    let mut item = key_of((pk.to_owned(), sk.to_owned()));
    item.insert(BODY.to_owned(), AttributeValue::S(body));
    Ok(item)
}

fn read_body<T: DeserializeOwned>(item: &StoreItem) -> Result<T, StoreError> {
    let (pk, sk) = (text(item, PK)?, text(item, SK)?);
    serde_json::from_str(&text(item, BODY)?).map_err(|error| inconsistent(&pk, &sk, &error))
}
