//! What is counted against limits, read back, and the look at what is due.

use super::limit_update::{due, number};
use crate::store::item::{StoreItem, inconsistent, key_of, text};
use crate::store::item_names::{self, BY_DUE, DUE, DUE_AT, HELD, OPEN, PK, SK, TTL, UNDER_WAY};
use crate::store::state::BATCH_MAX;
use crate::store::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::KeyId;
use baton_domain::limit::is_long_ended;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::LimitCounters;
use baton_domain::scope::LimitScope;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Bygone windows that an item may hold before they are removed.
const BYGONE_MAX: usize = 16;

/// Limited keys that one look at the index returns.
const DUE_MAX: i32 = 500;

impl Store {
    /// What is counted against the key's own limits.
    pub async fn read_key_counters(&self, key: &KeyId) -> Result<LimitCounters, StoreError> {
        let mut all = self.read_counters(&[LimitScope::Key(key.clone())], true).await?;
        Ok(all.pop().unwrap_or_default())
    }

    /// What is counted of each of these scopes, in their order.
    pub async fn read_counters(
        &self,
        scopes: &[LimitScope],
        is_consistent: bool,
    ) -> Result<Vec<LimitCounters>, StoreError> {
        let mut found = HashMap::new();
        for some in scopes.chunks(BATCH_MAX) {
            let places = some.iter().map(|scope| key_of(item_names::limit(scope))).collect();
            for item in self.batch_get_state(places, is_consistent).await? {
                found.insert(text(&item, PK)?, parse_counters(&item)?);
            }
        }
        let place = |scope| item_names::limit(scope).0;
        Ok(scopes.iter().map(|scope| found.remove(&place(scope)).unwrap_or_default()).collect())
    }

    /// The same for a request that was admitted to pools, which it does not wait for. Once in a
    /// while windows are removed from the items on this occasion.
    pub async fn read_counters_after(
        &self,
        bounds: &EffectiveLimits,
        at: Timestamp,
    ) -> Result<Vec<LimitCounters>, StoreError> {
        let scopes = bounds.scopes();
        let counted = self.read_counters(&scopes, false).await?;
        for (scope, counted) in scopes.iter().zip(&counted) {
            self.forget_windows(scope, counted.windows.keys(), at).await;
        }
        Ok(counted)
    }

    /// The keys with a reservation that has to be over by `second`, the longest due first.
    pub async fn due_limits(&self, second: i64) -> Result<Vec<KeyId>, StoreError> {
        let answer = self
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
        answer.items().iter().map(read).collect()
    }

    /// Notes when the key's reservations, which were `seen`, have to be looked at again; never if
    /// there are none. One that has come meanwhile leaves everything to the next look.
    pub async fn schedule_next_sweep(
        &self,
        key: &KeyId,
        seen: &LimitCounters,
        second: Option<i64>,
    ) -> Result<(), StoreError> {
        let update = self
            .limit_update(&LimitScope::Key(key.clone()))
            .condition_expression("size(#open) = :seen")
            .expression_attribute_names("#open", OPEN)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":seen", number(seen.open.len()));
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

    /// Keeps the item small: once in a while the windows that nobody counts in are removed. If
    /// that fails, the next request tries again.
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
        let bygone: Vec<&String> = windows.filter(|name| is_long_ended(name, at)).collect();
        if bygone.len() < BYGONE_MAX {
            return;
        }
        let mut update = self.limit_update(scope);
        for (at, name) in bygone.iter().take(100).enumerate() {
            update = update.expression_attribute_names(format!("#b{at}"), *name);
        }
        let all: Vec<String> = (0..bygone.len().min(100)).map(|at| format!("#b{at}")).collect();
        let removal = format!("REMOVE {}", all.join(", "));
        if let Err(error) = update.update_expression(removal).send().await {
            tracing::debug!(%scope, "bygone windows stay: {}", StoreError::from(error));
        }
    }
}

pub(super) fn parse_counters(item: &StoreItem) -> Result<LimitCounters, StoreError> {
    let part = |name| text(item, name).unwrap_or_default();
    let odd = |what: &dyn std::fmt::Display| inconsistent(&part(PK), &part(SK), what);
    let mut counted = LimitCounters::default();
    for (name, value) in item {
        if let AttributeValue::N(digits) = value
            && name != DUE_AT
            && name != TTL
        {
            let number = digits.parse().map_err(|_| odd(&format_args!("`{name}` is odd")))?;
            match name.as_str() {
                UNDER_WAY => counted.pooled.requests = u64::try_from(number).unwrap_or_default(),
                HELD => counted.pooled.estimates = PicoUsd::new(number),
                _ => drop(counted.windows.insert(name.clone(), number)),
            }
        }
    }
    if let Some(AttributeValue::M(open)) = item.get(OPEN) {
        let read = |(id, value): (&String, &AttributeValue)| {
            let id = id.parse().map_err(|error| odd(&error))?;
            let one = serde_dynamo::from_attribute_value(value.clone());
            Ok((id, one.map_err(|error| odd(&error))?))
        };
        counted.open = open.iter().map(read).collect::<Result<BTreeMap<_, _>, StoreError>>()?;
    }
    Ok(counted)
}
