//! Alerts as items: changed limits, alerts already sent, and deliveries that wait. `domain::alert`
//! decides what is worth an alert.

use crate::StoreError;
use crate::config_editor::ConfigEdit;
use crate::connection::Table;
use crate::item::{StoreItem, inconsistent, key_of, text};
use crate::item_names::{
    self, ALERT, BLOCKED, BODY, ItemKey, LAST_ALERT, MARK, OUTBOX, PK, SK, TOUCHED,
};
use crate::permissions::{Action, Permission, READ, store_handle};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::alert::{Alert, AlertChannel, ReportedState};
use baton_domain::id::AccountId;
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use baton_domain::scope::LimitScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most changed limits that one check reads.
const LOOK_MAX: usize = 500;

/// The most models without a price of one batch of records that are noted.
const UNPRICED_MAX: usize = 20;

/// How long a sent alert is remembered, so that it is not sent again. It is longer than the longest
/// period.
const REMEMBERED_SECONDS: i64 = 70 * 24 * 3600;

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
    /// [`Self::capped_account`]): the requests for which it claimed too much usage. For a day (see
    /// [`Self::unpriced_day`]): the models.
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

    /// The day on which the models in [`Self::blocked`] were used without a price; `None` if this
    /// entry is about something else.
    pub fn unpriced_day(&self) -> Option<&str> {
        self.scope.strip_prefix(item_names::UNPRICED)
    }
}

store_handle! {
    /// Marks what the next alert check has to look at.
    AlertMarker, Permission::on_state(&[Action::UpdateItem], &[TOUCHED])
}

impl AlertMarker {
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
        if self.connection.already_marked.get(&key).is_some() {
            return;
        }
        self.connection.already_marked.insert(key.clone(), ());
        let update = self
            .touch(scope)
            .update_expression("SET #mark = :mark ADD #blocked :window")
            .expression_attribute_names("#blocked", BLOCKED)
            .expression_attribute_values(":window", AttributeValue::Ss(vec![window.to_owned()]));
        if let Err(error) = update.send().await {
            self.connection.already_marked.remove(&key);
            tracing::warn!(%scope, "an alert can be missing: {}", StoreError::from(error));
        }
    }

    /// Records that an upstream claimed more usage than a request permitted. This process writes it
    /// once for each account and day.
    pub async fn note_capped(&self, record: &UsageRecord) {
        let key = item_names::capped(&record.account_id, record.started_at);
        if self.connection.already_marked.get(&key).is_some() {
            return;
        }
        self.connection.already_marked.insert(key.clone(), ());
        let update = self
            .touch(&key)
            .update_expression("SET #mark = :mark ADD #blocked :request")
            .expression_attribute_names("#blocked", BLOCKED)
            .expression_attribute_values(
                ":request",
                AttributeValue::Ss(vec![record.id.to_string()]),
            );
        if let Err(error) = update.send().await {
            self.connection.already_marked.remove(&key);
            let account_id = &record.account_id;
            tracing::warn!(%account_id, "an alert can be missing: {}", StoreError::from(error));
        }
    }

    /// Records that models without a price were used. This process writes each model once a day.
    pub async fn note_unpriced<'a>(&self, records: impl Iterator<Item = &'a UsageRecord>) {
        let mut models: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for record in records.filter(|record| record.has_estimated_price()) {
            let day = format!("{}{}", item_names::UNPRICED, item_names::day(record.started_at));
            let key = format!("{day}#{}", record.upstream_model);
            let noted = models.entry(day).or_default();
            if noted.len() < UNPRICED_MAX && self.connection.already_marked.get(&key).is_none() {
                self.connection.already_marked.insert(key, ());
                noted.insert(&record.upstream_model);
            }
        }
        models.retain(|_, noted| !noted.is_empty());
        for (day, models) in models {
            let names = models.iter().map(ToString::to_string).collect();
            let update = self
                .touch(&day)
                .update_expression("SET #mark = :mark ADD #blocked :models")
                .expression_attribute_names("#blocked", BLOCKED)
                .expression_attribute_values(":models", AttributeValue::Ss(names));
            if let Err(error) = update.send().await {
                for model in models {
                    self.connection.already_marked.remove(&format!("{day}#{model}"));
                }
                tracing::warn!("an alert can be missing: {}", StoreError::from(error));
            }
        }
    }

    fn touch(&self, scope: &impl std::fmt::Display) -> UpdateItemFluentBuilder {
        self.connection
            .update_request(Table::State, ItemKey::new(item_names::TOUCHED, scope.to_string()))
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(
                ":mark",
                AttributeValue::S(self.connection.random.bits().to_string()),
            )
    }
}

store_handle! {
    /// What an alert check works with: the marks, and the last alert about each account.
    AlertStore,
    Permission::on_state(READ, &[TOUCHED, LAST_ALERT]),
    Permission::on_state(&[Action::PutItem, Action::DeleteItem], &[TOUCHED, LAST_ALERT])
}

impl AlertStore {
    /// Some of the limits that have changed since the last check. They are ordered by their marks,
    /// which are random, so that every limit gets its turn even if there are many.
    pub async fn touched_limits(&self) -> Result<Vec<ChangedLimit>, StoreError> {
        let items = self.connection.partition(Table::State, TOUCHED).await?;
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
            .connection
            .db
            .delete_item()
            .table_name(self.connection.table(Table::State))
            .set_key(Some(key_of(ItemKey::new(item_names::TOUCHED, &touched.scope))))
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

    /// The last alert about each account, by account id.
    pub async fn last_alerts(&self) -> Result<HashMap<String, LastAlert>, StoreError> {
        let items = self.connection.partition(Table::State, LAST_ALERT).await?;
        items.iter().map(|item| Ok((text(item, SK)?, read_body(item)?))).collect()
    }

    /// Stores the last alert about an account.
    pub async fn put_last_alert(
        &self,
        id: &AccountId,
        last_alert: LastAlert,
    ) -> Result<(), StoreError> {
        let item = body_item(ItemKey::new(LAST_ALERT, id.to_string()), &last_alert)?;
        self.connection.put_item(Table::State, item).await
    }
}

store_handle! {
    /// Alerts that wait for their delivery, and the memory of those that were sent.
    AlertOutbox,
    Permission::on_state(READ, &[OUTBOX]),
    Permission::on_state(&[Action::PutItem, Action::DeleteItem], &["alert#*", OUTBOX])
}

impl AlertOutbox {
    /// Queues an alert for delivery, unless it was queued before. Returns whether it is new.
    pub async fn put_alert(&self, alert: &Alert, to: &[AlertChannel]) -> Result<bool, StoreError> {
        let mut edit = ConfigEdit::default();
        self.add_alert(&mut edit, alert, to)?;
        match edit.apply(&self.connection).await {
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
        let now = self.connection.clock.now().as_second();
        let mut guard = key_of(ItemKey::new(format!("{ALERT}#{}", alert.id), ALERT));
        let ttl = (now + REMEMBERED_SECONDS).to_string();
        guard.insert(item_names::TTL.to_owned(), AttributeValue::N(ttl));
        edit.actions.push(self.connection.put_new(Table::State, guard).into());
        for channel in to {
            let (alert, channel) = (alert.clone(), *channel);
            let delivery =
                AlertDelivery { alert, channel, tries: 0, next_at: now, last_error: None };
            let item = delivery_item(&delivery)?;
            edit.actions.push(self.connection.put_new(Table::State, item).into());
        }
        Ok(())
    }

    /// The deliveries that wait.
    pub async fn deliveries(&self) -> Result<Vec<AlertDelivery>, StoreError> {
        self.connection.partition(Table::State, OUTBOX).await?.iter().map(read_body).collect()
    }

    /// Stores when a delivery is tried again.
    pub async fn put_delivery(&self, delivery: &AlertDelivery) -> Result<(), StoreError> {
        let item = delivery_item(delivery)?;
        self.connection.put_item(Table::State, item).await
    }

    /// Deletes a delivery that has succeeded or was given up.
    pub async fn remove_delivery(&self, delivery: &AlertDelivery) -> Result<(), StoreError> {
        self.connection.delete_item(Table::State, delivery_key(delivery)).await
    }
}

fn delivery_item(delivery: &AlertDelivery) -> Result<StoreItem, StoreError> {
    body_item(delivery_key(delivery), delivery)
}

fn delivery_key(delivery: &AlertDelivery) -> ItemKey {
    ItemKey::new(OUTBOX, delivery.name())
}

fn body_item(key: ItemKey, value: &impl Serialize) -> Result<StoreItem, StoreError> {
    let body =
        serde_json::to_string(value).map_err(|error| inconsistent(&key.pk, &key.sk, &error))?;
    let mut item = key_of(key);
    item.insert(BODY.to_owned(), AttributeValue::S(body));
    Ok(item)
}

fn read_body<T: DeserializeOwned>(item: &StoreItem) -> Result<T, StoreError> {
    let (pk, sk) = (text(item, PK)?, text(item, SK)?);
    serde_json::from_str(&text(item, BODY)?).map_err(|error| inconsistent(&pk, &sk, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, at, open_handle, record};
    use baton_domain::alert::AlertEvent;

    #[tokio::test]
    async fn changed_limit_is_seen_until_it_is_checked_without_another_change() {
        let tables = TestTables::open().await;
        let (marker, alerts) =
            (open_handle!(tables, AlertMarker), open_handle!(tables, AlertStore));
        let scope = LimitScope::Organization;
        marker.touch_limits([&scope].into_iter()).await;
        let seen = alerts.touched_limits().await.expect("read");
        marker.note_blocked(&scope, "d#2026-11-22", PicoUsd::default()).await;
        alerts.remove_touched(&seen[0]).await.expect("kept, because it has changed again");
        let seen = alerts.touched_limits().await.expect("read");
        assert_eq!(seen[0].scope, scope.to_string());
        assert!(seen[0].blocked.contains("d#2026-11-22"));
        alerts.remove_touched(&seen[0]).await.expect("removed");
        assert!(alerts.touched_limits().await.expect("read").is_empty());
    }

    #[tokio::test]
    async fn model_without_a_price_is_noted_once_a_day() {
        let tables = TestTables::open().await;
        let (marker, alerts) =
            (open_handle!(tables, AlertMarker), open_handle!(tables, AlertStore));
        let mut unpriced = record(1);
        (unpriced.price_version, unpriced.cost_usd) = ("v?".to_owned(), PicoUsd::new(1));
        let priced = record(2);
        marker.note_unpriced([&unpriced, &priced, &unpriced].into_iter()).await;
        let seen = alerts.touched_limits().await.expect("read");
        assert_eq!((seen.len(), seen[0].unpriced_day()), (1, Some("2026-11-22")));
        assert_eq!(seen[0].blocked, BTreeSet::from([unpriced.upstream_model.clone()]));
        alerts.remove_touched(&seen[0]).await.expect("removed");
        marker.note_unpriced([&unpriced].into_iter()).await;
        assert!(alerts.touched_limits().await.expect("read").is_empty());
    }

    #[tokio::test]
    async fn last_alert_of_an_account_is_remembered() {
        let tables = TestTables::open().await;
        let alerts = open_handle!(tables, AlertStore);
        let last_alert = LastAlert { state: ReportedState::default(), count: 3 };
        alerts.put_last_alert(&account().id, last_alert).await.expect("stored");
        let all = alerts.last_alerts().await.expect("read");
        assert_eq!(all[&account().id.to_string()].count, 3);
    }

    #[tokio::test]
    async fn alert_is_queued_once_for_each_channel() {
        let tables = TestTables::open().await;
        let outbox = open_handle!(tables, AlertOutbox);
        let alert = Alert { id: "a".to_owned(), at: at(), event: AlertEvent::Test };
        let channels = [AlertChannel::Webhook, AlertChannel::Sns];
        assert!(outbox.put_alert(&alert, &channels).await.expect("stored"));
        assert!(!outbox.put_alert(&alert, &channels).await.expect("a second time"));
        let mut waiting = outbox.deliveries().await.expect("read");
        assert_eq!(waiting.len(), 2);
        waiting[0].tries = 1;
        outbox.put_delivery(&waiting[0]).await.expect("stored");
        outbox.remove_delivery(&waiting[1]).await.expect("removed");
        let left = outbox.deliveries().await.expect("read");
        assert_eq!((left.len(), left[0].tries), (1, 1));
    }
}
