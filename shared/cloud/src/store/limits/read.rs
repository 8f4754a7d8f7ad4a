//! What is counted against limits, read back, and the look at what is due.

use super::terms::{due, number};
use crate::store::item::{Item, inconsistent, key_of, text};
use crate::store::names::{self, BY_DUE, DUE, DUE_AT, OPEN, PK, SK};
use crate::store::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::KeyId;
use baton_domain::limit::is_bygone;
use baton_domain::reservation::{Counted, Reservation};
use std::collections::BTreeMap;

/// Bygone windows that an item may hold before they are removed.
const BYGONE_MAX: usize = 16;

/// Limited keys that one look at the index returns.
const DUE_MAX: i32 = 500;

impl Store {
    /// What is counted against the key's limits.
    pub async fn counted(&self, key: &KeyId) -> Result<Counted, StoreError> {
        let answer = self
            .db
            .get_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(names::limit(key))))
            .consistent_read(true)
            .send()
            .await?;
        answer.item.as_ref().map_or_else(|| Ok(Counted::default()), read_counted)
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
        let read = |item: &Item| {
            let (pk, sk) = (text(item, PK)?, text(item, SK)?);
            let id = pk.strip_prefix(names::LIMIT_PREFIX).unwrap_or_default();
            id.parse().map_err(|error| inconsistent(&pk, &sk, &error))
        };
        answer.items().iter().map(read).collect()
    }

    /// Notes when the key's reservations, which were `seen`, have to be looked at again; never if
    /// there are none. One that has come meanwhile leaves everything to the next look.
    pub async fn look_again(
        &self,
        key: &KeyId,
        seen: &Counted,
        second: Option<i64>,
    ) -> Result<(), StoreError> {
        let update = self
            .limit_update(key)
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
    pub(super) async fn forget_bygone(&self, key: &KeyId, item: &Item, wanted: &Reservation) {
        let bygone: Vec<&String> = item.keys().filter(|name| is_bygone(name, wanted.at)).collect();
        if bygone.len() < BYGONE_MAX {
            return;
        }
        let mut update = self.limit_update(key);
        for (at, name) in bygone.iter().take(100).enumerate() {
            update = update.expression_attribute_names(format!("#b{at}"), *name);
        }
        let all: Vec<String> = (0..bygone.len().min(100)).map(|at| format!("#b{at}")).collect();
        let removal = format!("REMOVE {}", all.join(", "));
        if let Err(error) = update.update_expression(removal).send().await {
            tracing::debug!(key_id = %key, "bygone windows stay: {}", StoreError::from(error));
        }
    }
}

pub(super) fn read_counted(item: &Item) -> Result<Counted, StoreError> {
    let part = |name| text(item, name).unwrap_or_default();
    let odd = |what: &dyn std::fmt::Display| inconsistent(&part(PK), &part(SK), what);
    let mut counted = Counted::default();
    for (name, value) in item {
        if let AttributeValue::N(digits) = value
            && name != DUE_AT
        {
            let number = digits.parse().map_err(|_| odd(&format_args!("`{name}` is odd")))?;
            counted.windows.insert(name.clone(), number);
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
