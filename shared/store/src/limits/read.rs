//! Reads of the limit counters, and the query for reservations that are due.

use super::limit_update::{due, number};
use crate::item::{StoreItem, inconsistent, key_of, text};
use crate::item_names::{self, BY_DUE, DUE, DUE_AT, HELD, OPEN, PK, SK, TTL, UNDER_WAY};
use crate::state::BATCH_MAX;
use crate::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::KeyId;
use baton_domain::limit::is_long_ended;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::LimitCounters;
use baton_domain::scope::LimitScope;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// How many ended windows an item can hold before they are removed.
const BYGONE_MAX: usize = 16;

/// The most keys that one query of the index returns.
const DUE_MAX: i32 = 500;

impl Store {
    /// The counters of the key's own limits, read consistently.
    pub async fn read_key_counters(&self, key: &KeyId) -> Result<LimitCounters, StoreError> {
        let mut counters = self.read_counters(&[LimitScope::Key(key.clone())], true).await?;
        Ok(counters.pop().unwrap_or_default())
    }

    /// The counters of these scopes, in the same order.
    pub async fn read_counters(
        &self,
        scopes: &[LimitScope],
        is_consistent: bool,
    ) -> Result<Vec<LimitCounters>, StoreError> {
        let mut by_id = HashMap::new();
        for batch in scopes.chunks(BATCH_MAX) {
            let places = batch.iter().map(|scope| key_of(item_names::limit(scope))).collect();
            for item in self.batch_get_state(places, is_consistent).await? {
                by_id.insert(text(&item, PK)?, parse_counters(&item)?);
            }
        }
        let key_of_scope = |scope| item_names::limit(scope).0;
        Ok(scopes
            .iter()
            .map(|scope| by_id.remove(&key_of_scope(scope)).unwrap_or_default())
            .collect())
    }

    /// Reads the counters of all scopes of a request that was admitted to shared limits, eventually
    /// consistent. The request does not wait for this read. It also removes ended windows from an
    /// item that has collected many of them.
    pub async fn read_counters_after(
        &self,
        effective_limits: &EffectiveLimits,
        at: Timestamp,
    ) -> Result<Vec<LimitCounters>, StoreError> {
        let scopes = effective_limits.scopes();
        let counters = self.read_counters(&scopes, false).await?;
        for (scope, counters) in scopes.iter().zip(&counters) {
            self.forget_windows(scope, counters.windows.keys(), at).await;
        }
        Ok(counters)
    }

    /// The keys that have a reservation due by `second` (Unix time), longest overdue first.
    pub async fn due_limits(&self, second: i64) -> Result<Vec<KeyId>, StoreError> {
        let response = self
            .db
            .query()
            .table_name(&self.resources.state_table)
            .index_name(BY_DUE)
            .key_condition_expression("#due = :due AND #due_at <= :now")
            .expression_attribute_names("#due", DUE)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":due", due())
            .expression_attribute_values(":now", number(second))
            .limit(DUE_MAX)
            .send()
            .await?;
        let read = |item: &StoreItem| {
            let (pk, sk) = (text(item, PK)?, text(item, SK)?);
            let id = pk.strip_prefix(item_names::LIMIT_PREFIX).unwrap_or_default();
            id.parse().map_err(|error| inconsistent(&pk, &sk, &error))
        };
        response.items().iter().map(read).collect()
    }

    /// Sets the time of the next sweep of the key, or none if `second` is `None`. `seen` are the
    /// counters that the sweep read. If the number of open reservations differs by now, nothing is
    /// changed, and the next sweep looks at the key again.
    pub async fn schedule_next_sweep(
        &self,
        key: &KeyId,
        counters: &LimitCounters,
        second: Option<i64>,
    ) -> Result<(), StoreError> {
        let update = self
            .limit_update(&LimitScope::Key(key.clone()))
            .condition_expression("size(#open) = :seen")
            .expression_attribute_names("#open", OPEN)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":seen", number(counters.open_reservations.len()));
        let update = match second {
            Some(second) => update
                .update_expression("SET #due_at = :at")
                .expression_attribute_values(":at", number(second)),
            None => update
                .update_expression("REMOVE #due, #due_at")
                .expression_attribute_names("#due", DUE),
        };
        match update.send().await.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes ended windows once the item has collected many of them, to keep it small. If that
    /// fails, the next request tries again.
    pub(super) async fn forget_ended_windows(
        &self,
        scope: &LimitScope,
        item: &StoreItem,
        at: Timestamp,
    ) {
        self.forget_windows(scope, item.keys(), at).await;
    }

    async fn forget_windows(
        &self,
        scope: &LimitScope,
        windows: impl Iterator<Item = &String>,
        at: Timestamp,
    ) {
        let expired_windows: Vec<&String> =
            windows.filter(|name| is_long_ended(name, at)).collect();
        if expired_windows.len() < BYGONE_MAX {
            return;
        }
        let mut update = self.limit_update(scope);
        for (index, name) in expired_windows.iter().take(100).enumerate() {
            update = update.expression_attribute_names(format!("#b{index}"), *name);
        }
        let all: Vec<String> =
            (0..expired_windows.len().min(100)).map(|at| format!("#b{at}")).collect();
        let removal = format!("REMOVE {}", all.join(", "));
        if let Err(error) = update.update_expression(removal).send().await {
            tracing::debug!(
                %scope, "cannot remove past limit windows: {}", StoreError::from(error)
            );
        }
    }
}

pub(super) fn parse_counters(item: &StoreItem) -> Result<LimitCounters, StoreError> {
    let part = |name| text(item, name).unwrap_or_default();
    let is_invalid_char =
        |item_name: &dyn std::fmt::Display| inconsistent(&part(PK), &part(SK), item_name);
    let mut counters = LimitCounters::default();
    for (name, value) in item {
        if let AttributeValue::N(digits) = value
            && name != DUE_AT
            && name != TTL
        {
            let number = digits
                .parse()
                .map_err(|_| is_invalid_char(&format_args!("`{name}` has an unexpected value")))?;
            match name.as_str() {
                UNDER_WAY => {
                    counters.shared_totals.requests = u64::try_from(number).unwrap_or_default();
                }
                HELD => counters.shared_totals.estimates = PicoUsd::new(number),
                _ => drop(counters.windows.insert(name.clone(), number)),
            }
        }
    }
    if let Some(AttributeValue::M(open)) = item.get(OPEN) {
        let read = |(id, value): (&String, &AttributeValue)| {
            let id = id.parse().map_err(|error| is_invalid_char(&error))?;
            let one = serde_dynamo::from_attribute_value(value.clone());
            Ok((id, one.map_err(|error| is_invalid_char(&error))?))
        };
        counters.open_reservations =
            open.iter().map(read).collect::<Result<BTreeMap<_, _>, StoreError>>()?;
    }
    Ok(counters)
}
