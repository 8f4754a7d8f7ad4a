//! Reads of the limit counters.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{StoreItem, inconsistent, text};
use crate::item_names::{self, DUE_AT, HELD, OPEN, PK, SK, TTL, UNDER_WAY};
use crate::permissions::{Action, Permission, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::KeyId;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::LimitCounters;
use baton_domain::scope::LimitScope;
use std::collections::{BTreeMap, HashMap};

store_handle! {
    /// Reads limit counters.
    LimitReader, Permission::on_state(&[Action::BatchGetItem], &["limit#*"])
}

impl LimitReader {
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
        let places = scopes.iter().map(|scope| (Table::State, item_names::limit(scope))).collect();
        let mut by_id = HashMap::new();
        for (_, item) in self.connection.batch_get(places, is_consistent).await? {
            by_id.insert(text(&item, PK)?, parse_counters(&item)?);
        }
        let key_of_scope = |scope| item_names::limit(scope).pk;
        Ok(scopes
            .iter()
            .map(|scope| by_id.remove(&key_of_scope(scope)).unwrap_or_default())
            .collect())
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
