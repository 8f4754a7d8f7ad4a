//! Finds changes of limits and accounts that operators are notified of, stores the alerts, and
//! delivers them. `domain::alert` decides which changes cause an alert.

use baton_domain::account::Account;
use baton_domain::alert::{
    Alert, AlertChannel, AlertEvent, LimitSnapshot, account_news, limit_alerts,
};
use baton_domain::key::{Group, Key, Limits, User};
use baton_domain::scope::LimitScope;
use baton_runtime::notifier::{Notifier, WebhookTarget};
use baton_store::{AlertDelivery, AlertSettings, LastAlert, RefreshStores, StoreError};
use std::time::Duration;

/// Two of these runs must not overlap.
const LEASE: Duration = Duration::from_secs(50);

/// The time for all deliveries of a tick. The rest is delivered in the next tick.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The most alerts about models without a price in one run. Callers choose the names of models, and
/// some upstreams serve any name.
const UNPRICED_MAX: usize = 10;

/// The wait after the first failure; each further failure doubles it.
const BACKOFF_SECONDS: i64 = 30;
const BACKOFF_SECONDS_MAX: i64 = 3600;

/// About one day of tries. After that the alert is only in the log.
const TRIES_MAX: u32 = 30;

/// The result of a run.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AlertRun {
    /// New alerts.
    pub noticed: usize,
    /// Successful deliveries.
    pub delivered: usize,
    /// Failed deliveries, which will be tried again.
    pub failed: usize,
}

/// Notifies operators of changes.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub async fn send_alerts(
    store: &RefreshStores,
    notifier: &Notifier,
    owner: &str,
) -> Result<AlertRun, StoreError> {
    let mut run = AlertRun::default();
    if !store.leases.acquire("alerts", owner, LEASE).await? {
        return Ok(run);
    }
    let Some(settings) = store.alert_settings.read().await? else { return Ok(run) };
    if settings.channels().is_empty() {
        return Ok(run);
    }
    run.noticed = check_limits(store, &settings).await? + check_accounts(store, &settings).await?;
    let delivering = deliver_due(store, notifier, &settings, &mut run);
    if let Ok(delivery_result) = tokio::time::timeout(DELIVERY_TIMEOUT, delivering).await {
        delivery_result?;
    } else {
        tracing::warn!("alert receivers are slow; the next tick sends the remaining alerts");
    }
    Ok(run)
}

/// Checks the limits that have changed since the last run.
async fn check_limits(
    store: &RefreshStores,
    settings: &AlertSettings,
) -> Result<usize, StoreError> {
    let (now, mut noticed) = (store.clock().now(), 0);
    for touched in store.alerts.touched_limits().await? {
        if let Some((account_id, day)) = touched.capped_account() {
            let name =
                store.config.read::<Account>(&account_id).await?.map(|found| found.value.name);
            let request_id = touched.blocked.first().cloned().unwrap_or_default();
            let alert = Alert {
                id: format!("capped#{account_id}#{day}"),
                at: now,
                event: AlertEvent::UsageCapped {
                    name: name.unwrap_or_default(),
                    account_id,
                    request_id,
                },
            };
            noticed += usize::from(store.outbox.put_alert(&alert, &settings.channels()).await?);
        } else if let Some(day) = touched.unpriced_day() {
            for model in touched.blocked.iter().take(UNPRICED_MAX) {
                let (model, day) = (model.clone(), day.to_owned());
                let id = format!("unpriced#{day}#{model}");
                let alert = Alert { id, at: now, event: AlertEvent::Unpriced { model, day } };
                noticed += usize::from(store.outbox.put_alert(&alert, &settings.channels()).await?);
            }
        } else if let Ok(scope) = touched.scope.parse::<LimitScope>()
            && let Some((name, limits)) = load_limits(store, &scope).await?
        {
            let counters = store
                .counters
                .read_counters(std::slice::from_ref(&scope), true)
                .await?
                .pop()
                .unwrap_or_default();
            let (limits, counters, blocked) = (&limits, &counters, &touched.blocked);
            let snapshot = LimitSnapshot { scope: &scope, name: &name, limits, counters, blocked };
            for alert in limit_alerts(&snapshot, &settings.preferences.value.thresholds, now) {
                noticed += usize::from(store.outbox.put_alert(&alert, &settings.channels()).await?);
            }
        }
        store.alerts.remove_touched(&touched).await?;
    }
    Ok(noticed)
}

/// The name of the scope and all limits that are counted there; `None` if the scope does not exist
/// any more.
async fn load_limits(
    store: &RefreshStores,
    scope: &LimitScope,
) -> Result<Option<(String, Limits)>, StoreError> {
    Ok(match scope {
        LimitScope::Key(id) => match store.config.read::<Key>(id).await? {
            Some(key) => {
                let own_limits =
                    store.limit_settings.effective_limits(&key.value).await?.own_limits;
                Some((key.value.name, own_limits))
            }
            None => None,
        },
        LimitScope::User(id) => match store.config.read::<User>(id).await? {
            Some(user) => {
                let sources = store.limit_settings.sources(Some(id), None).await?;
                let limits = sources.with_caps(scope, sources.user_limits());
                Some((user.value.name, limits))
            }
            None => None,
        },
        LimitScope::Group(id) => match store.config.read::<Group>(id).await? {
            Some(group) => {
                let limits = store.limit_settings.scope_settings(scope).await?.limits.clone();
                Some((group.value.name, limits))
            }
            None => None,
        },
        LimitScope::Organization => {
            let limits = store.limit_settings.scope_settings(scope).await?.limits.clone();
            Some(("organization".to_owned(), limits))
        }
    })
}

/// Compares the accounts' states with those in the last alerts.
async fn check_accounts(
    store: &RefreshStores,
    settings: &AlertSettings,
) -> Result<usize, StoreError> {
    let (now, last_alerts) = (store.clock().now(), store.alerts.last_alerts().await?);
    let (mut noticed, mut cursor) = (0, None);
    loop {
        let page = store.config.list::<Account>(500, cursor.as_deref()).await?;
        let accounts = page.data.into_iter().map(|stored| stored.value);
        let accounts: Vec<Account> = accounts.filter(|account| account.enabled).collect();
        let ids: Vec<_> = accounts.iter().map(|account| account.id.clone()).collect();
        store.health.read_health(&ids).await?;
        for account in accounts {
            let last = last_alerts.get(account.id.as_str()).copied().unwrap_or_default();
            let Some(change) = account_news(last.state, &store.health.get(&account.id), now) else {
                continue;
            };
            let last_alert = LastAlert { state: change.state, count: last.count + 1 };
            let alert = Alert {
                id: format!("account#{}#{}", account.id, last_alert.count),
                at: now,
                event: AlertEvent::Account {
                    account_id: account.id.clone(),
                    name: account.name,
                    state: change.state,
                    reason: change.reason,
                    until: change.until,
                },
            };
            noticed += usize::from(store.outbox.put_alert(&alert, &settings.channels()).await?);
            store.alerts.put_last_alert(&account.id, last_alert).await?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(noticed);
        }
    }
}

/// Delivers the alerts that are due. After a failure a channel is not used again until the next
/// tick.
async fn deliver_due(
    store: &RefreshStores,
    notifier: &Notifier,
    settings: &AlertSettings,
    run: &mut AlertRun,
) -> Result<(), StoreError> {
    let now = store.clock().now().as_second();
    let mut broken = Vec::new();
    for mut delivery in store.outbox.deliveries().await? {
        if delivery.next_at > now || broken.contains(&delivery.channel) {
            continue;
        }
        let Err(error) = send(store, notifier, settings, &delivery).await else {
            store.outbox.remove_delivery(&delivery).await?;
            run.delivered += 1;
            continue;
        };
        run.failed += 1;
        broken.push(delivery.channel);
        delivery.tries += 1;
        tracing::warn!(alert_id = %delivery.alert.id, tries = delivery.tries, "cannot deliver an alert: {error}");
        if delivery.tries >= TRIES_MAX {
            tracing::error!(
                "an alert is given up after {TRIES_MAX} failed deliveries: {}",
                delivery.alert.to_text()
            );
            store.outbox.remove_delivery(&delivery).await?;
            continue;
        }
        let doubled = BACKOFF_SECONDS << (delivery.tries - 1).min(10);
        delivery.next_at = now + doubled.min(BACKOFF_SECONDS_MAX);
        delivery.last_error = Some(error);
        store.outbox.put_delivery(&delivery).await?;
    }
    Ok(())
}

async fn send(
    store: &RefreshStores,
    notifier: &Notifier,
    settings: &AlertSettings,
    AlertDelivery { alert, channel, .. }: &AlertDelivery,
) -> Result<(), String> {
    let result = match (channel, &settings.url, &settings.preferences.value.sns_topic_arn) {
        (AlertChannel::Webhook, Some(url), _) => {
            let signing_secret = &settings.signing_secret;
            let hook =
                WebhookTarget { url, signing_secret, format: settings.preferences.value.form };
            notifier.call(&hook, alert, store.clock().now()).await
        }
        (AlertChannel::Sns, _, Some(topic)) => notifier.publish(topic, alert).await,
        // The operator has removed the channel.
        (AlertChannel::Webhook, None, _) | (AlertChannel::Sns, _, None) => Ok(()),
    };
    result.map_err(|error| error.to_string())
}
