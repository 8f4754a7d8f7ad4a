//! Alerts as items: changed limits, alerts already sent, deliveries that wait, and the alert
//! settings. `domain::alert` decides what is worth an alert.

use super::config_edit::ConfigEdit;
use super::item::{Entity, StoreItem, StoredEntity, inconsistent, key_of, text};
use super::item_names::{self, ALERT, BLOCKED, BODY, MARK, OUTBOX, PK, SETTING, SK, TOLD};
use super::{Store, StoreError};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use baton_domain::alert::{Alert, AlertChannel, AlertPreferences, ReportedState};
use baton_domain::id::AccountId;
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use baton_domain::scope::LimitScope;
use baton_domain::secret::Secret;
use baton_runtime::vault::VaultError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// The most changed limits that one check reads.
const LOOK_MAX: usize = 500;

/// How long a sent alert is remembered, so that it is not sent again. It is longer than the longest
/// period.
const REMEMBERED_SECONDS: i64 = 70 * 24 * 3600;

/// The place that the webhook's address and signing key are encrypted for.
const PLACE: &str = "config/setting#alerts/secret";

impl Entity for AlertPreferences {
    type Id = &'static str;
    const KIND: &'static str = SETTING;
    fn id(&self) -> &&'static str {
        &"alerts"
    }
}

/// The alert settings with their secrets.
#[derive(Clone)]
pub struct AlertSettings {
    /// The part that can be shown.
    pub preferences: StoredEntity<AlertPreferences>,
    /// The webhook's address, if there is one. It is a secret because it is often the only key to a
    /// chat room.
    pub url: Option<Secret>,
    /// The secret that deliveries are signed with.
    pub signing_secret: Secret,
}

impl AlertSettings {
    /// The channels that alerts go to.
    pub fn channels(&self) -> Vec<AlertChannel> {
        let webhook = self.url.as_ref().map(|_| AlertChannel::Webhook);
        let topic = self.preferences.value.sns_topic_arn.as_ref().map(|_| AlertChannel::Sns);
        webhook.into_iter().chain(topic).collect()
    }
}

/// The secret part of the settings, in the form that is encrypted.
#[derive(Deserialize)]
struct AlertSecrets {
    url: Option<Secret>,
    signing_secret: Secret,
}

/// The delivery of an alert through one channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertDelivery {
    /// The alert to deliver.
    pub alert: Alert,
    /// The channel to deliver it through.
    pub channel: AlertChannel,
    /// The number of failed tries.
    pub tries: u32,
    /// The time of the next try, in Unix seconds.
    pub next_at: i64,
    /// Why the last try failed.
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

/// The last alert about an account's state, and the number of such alerts.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct LastAlert {
    /// The state that was reported.
    pub state: ReportedState,
    /// The number of alerts about this account.
    pub count: u64,
}

/// A limit whose counters have changed.
pub struct ChangedLimit {
    /// The id of the scope that the limit belongs to.
    pub scope: String,
    /// The windows in which a money limit has blocked a request. For an account (see
    /// [`Self::capped_account`]): the requests for which it claimed too much usage.
    pub blocked: BTreeSet<String>,
    mark: String,
}

impl ChangedLimit {
    /// The account that claimed more usage than a request permitted, and the day; `None` if this
    /// entry is about a limit.
    pub fn capped_account(&self) -> Option<(AccountId, &str)> {
        let (account, day) = self.scope.strip_prefix(item_names::CAPPED)?.split_once('#')?;
        Some((account.parse().ok()?, day))
    }
}

impl Store {
    /// Marks limits as changed, so that the next check looks at them. A failure is only logged,
    /// because the next change marks the limit again.
    pub async fn touch_limits(&self, scopes: impl Iterator<Item = impl std::fmt::Display>) {
        for scope in scopes {
            let update = self.touch(&scope).update_expression("SET #mark = :mark");
            if let Err(error) = update.send().await {
                tracing::warn!(%scope, "an alert can be late: {}", StoreError::from(error));
            }
        }
    }

    /// Records that the limit has blocked a request in this window. This process writes it once for
    /// each amount of the limit, regardless of the number of requests.
    pub async fn note_blocked(&self, scope: &LimitScope, window: &str, limit: PicoUsd) {
        let key = format!("{scope}#{window}#{limit}");
        if self.blocked.get(&key).is_some() {
            return;
        }
        self.blocked.insert(key.clone(), ());
        let update = self
            .touch(scope)
            .update_expression("SET #mark = :mark ADD #blocked :window")
            .expression_attribute_names("#blocked", BLOCKED)
            .expression_attribute_values(":window", AttributeValue::Ss(vec![window.to_owned()]));
        if let Err(error) = update.send().await {
            self.blocked.remove(&key);
            tracing::warn!(%scope, "an alert can be missing: {}", StoreError::from(error));
        }
    }

    /// Records that an upstream claimed more usage than a request permitted. This process writes it
    /// once for each account and day.
    pub async fn note_capped(&self, record: &UsageRecord) {
        let key = item_names::capped(&record.account_id, record.started_at);
        if self.blocked.get(&key).is_some() {
            return;
        }
        self.blocked.insert(key.clone(), ());
        let update = self
            .touch(&key)
            .update_expression("SET #mark = :mark ADD #blocked :request")
            .expression_attribute_names("#blocked", BLOCKED)
            .expression_attribute_values(
                ":request",
                AttributeValue::Ss(vec![record.id.to_string()]),
            );
        if let Err(error) = update.send().await {
            self.blocked.remove(&key);
            let account_id = &record.account_id;
            tracing::warn!(%account_id, "an alert can be missing: {}", StoreError::from(error));
        }
    }

    fn touch(&self, scope: &impl std::fmt::Display) -> UpdateItemFluentBuilder {
        self.db
            .update_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of((item_names::TOUCHED.to_owned(), scope.to_string()))))
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(":mark", AttributeValue::S(self.random.bits().to_string()))
    }

    /// Some of the limits that have changed since the last check. They are ordered by their marks,
    /// which are random, so that every limit gets its turn even if there are many.
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

    /// Removes the mark of a limit that was checked, unless the limit has changed again.
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

    /// Queues an alert for delivery, unless it was queued before. Returns whether it is new.
    pub async fn put_alert(&self, alert: &Alert, to: &[AlertChannel]) -> Result<bool, StoreError> {
        let mut edit = ConfigEdit::default();
        self.add_alert(&mut edit, alert, to)?;
        match self.apply(edit).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds the alert to `edit`, which then conflicts if the alert is not new.
    pub fn add_alert(
        &self,
        edit: &mut ConfigEdit,
        alert: &Alert,
        to: &[AlertChannel],
    ) -> Result<(), StoreError> {
        let now = self.clock.now().as_second();
        let mut guard = key_of((format!("{ALERT}#{}", alert.id), ALERT.to_owned()));
        let ttl = (now + REMEMBERED_SECONDS).to_string();
        guard.insert(item_names::TTL.to_owned(), AttributeValue::N(ttl));
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

    /// The deliveries that wait.
    pub async fn deliveries(&self) -> Result<Vec<AlertDelivery>, StoreError> {
        self.state_items(OUTBOX).await?.iter().map(read_body).collect()
    }

    /// Stores when a delivery is tried again.
    pub async fn put_delivery(&self, delivery: &AlertDelivery) -> Result<(), StoreError> {
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(delivery_item(delivery)?))
            .send()
            .await?;
        Ok(())
    }

    /// Deletes a delivery that has succeeded or was given up.
    pub async fn remove_delivery(&self, delivery: &AlertDelivery) -> Result<(), StoreError> {
        self.db
            .delete_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of((OUTBOX.to_owned(), delivery.name()))))
            .send()
            .await?;
        Ok(())
    }

    /// The last alert about each account, by account id.
    pub async fn last_alerts(&self) -> Result<HashMap<String, LastAlert>, StoreError> {
        let items = self.state_items(TOLD).await?;
        items.iter().map(|item| Ok((text(item, SK)?, read_body(item)?))).collect()
    }

    /// Stores the last alert about an account.
    pub async fn put_last_alert(
        &self,
        id: &AccountId,
        last_alert: LastAlert,
    ) -> Result<(), StoreError> {
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(body_item((TOLD, &id.to_string()), &last_alert)?))
            .send()
            .await?;
        Ok(())
    }

    /// The alert settings, if the operator has set any.
    pub async fn alert_settings(&self) -> Result<Option<AlertSettings>, StoreError> {
        let Some(mut shown) = self.read::<AlertPreferences>(&"alerts").await? else {
            return Ok(None);
        };
        let opened = self.open_at(&shown.secret.take().ok_or(VaultError)?, PLACE).await?;
        let AlertSecrets { url, signing_secret } =
            serde_json::from_str(opened.expose()).map_err(|_| VaultError)?;
        Ok(Some(AlertSettings { preferences: shown, url, signing_secret }))
    }

    /// Adds the alert settings to `edit`.
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
        self.save(edit, &StoredEntity { secret, ..settings.preferences.clone() })
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
