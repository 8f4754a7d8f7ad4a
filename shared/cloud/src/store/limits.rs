//! What is counted against a key's limits: one item a limited key, changed by one conditional
//! update at admission and by the transaction that stores the record.
//!
//! The item has an attribute a window (`domain::limit`), and the map `open` of reservations. While
//! any may be open it is also in the index `by_due`, at the time when the first has to be over.

use super::item::{Item, inconsistent, key_of, text};
use super::names::{self, BY_DUE, DUE, DUE_AT, OPEN, PK, SK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use baton_domain::id::{KeyId, RequestId};
use baton_domain::key::Limits;
use baton_domain::limit::{Period, is_bygone, minute};
use baton_domain::money::PicoUsd;
use baton_domain::reservation::{Blocked, Counted, Reservation, Settlement};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Tries before an item that others keep changing counts as out of reach.
const TRIES_MAX: u32 = 8;

/// Bygone windows that an item may hold before they are removed.
const BYGONE_MAX: usize = 16;

/// Limited keys that one look at the index returns.
const DUE_MAX: i32 = 500;

/// Whether a request may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may; this is what is counted now, the request included.
    Admitted(Counted),
    /// It has to wait.
    Blocked(Blocked),
}

/// Why an admission's update changed nothing.
enum Refused {
    /// A condition did not hold; the item as it was, if there is one.
    Condition(Item),
    /// A transaction held the item.
    Busy,
    Failed(StoreError),
}

impl Store {
    /// Reserves `wanted.estimate` for request `id` of `key`, unless a limit stands against it.
    ///
    /// Steadily this is one update. The first request of a key makes the item; one that DynamoDB
    /// has executed although its answer was lost is recognized by its open reservation.
    pub async fn admit(
        &self,
        key: &KeyId,
        limits: &Limits,
        id: &RequestId,
        wanted: &Reservation,
    ) -> Result<Admission, StoreError> {
        if limits.monies().any(|(_, limit)| wanted.estimate > limit) {
            let counted = self.counted(key).await?;
            let blocked = counted.blocked(limits, wanted.estimate, wanted.at);
            return Ok(Admission::Blocked(blocked.unwrap_or(Blocked::Concurrency)));
        }
        for tries in 0..TRIES_MAX {
            let refused = match self.reserve(key, limits, id, wanted).await {
                Ok(item) => {
                    self.forget_bygone(key, &item, wanted).await;
                    return Ok(Admission::Admitted(read_counted(&item)?));
                }
                Err(refused) => refused,
            };
            match refused {
                Refused::Failed(error) => return Err(error),
                Refused::Busy => self.wait_a_moment(tries).await,
                Refused::Condition(item) if !item.contains_key(OPEN) => {
                    self.make_limit_item(key).await?;
                }
                Refused::Condition(item) => {
                    let counted = read_counted(&item)?;
                    if counted.open.contains_key(id) {
                        return Ok(Admission::Admitted(counted));
                    }
                    if let Some(why) = counted.blocked(limits, wanted.estimate, wanted.at) {
                        return Ok(Admission::Blocked(why));
                    }
                }
            }
        }
        Err(StoreError::Conflict)
    }

    async fn reserve(
        &self,
        key: &KeyId,
        limits: &Limits,
        id: &RequestId,
        wanted: &Reservation,
    ) -> Result<Item, Refused> {
        let sent = self
            .limit_update(key)
            .condition_expression(conditions(limits))
            .update_expression(
                "SET #open.#id = :open, #due = :due, #due_at = if_not_exists(#due_at, :expires) \
                 ADD #w0 :e, #w1 :e, #w2 :e, #w3 :e, #minute :one",
            )
            .set_expression_attribute_names(Some(reserve_names(id, wanted)))
            .set_expression_attribute_values(Some(reserve_values(limits, wanted)?))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match sent {
            Ok(done) => return Ok(done.attributes.unwrap_or_default()),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Err(Refused::Condition(failed.item.clone().unwrap_or_default()))
            }
            Some(UpdateItemError::TransactionConflictException(_)) => Err(Refused::Busy),
            _ => Err(Refused::Failed(error.into())),
        }
    }

    async fn make_limit_item(&self, key: &KeyId) -> Result<(), StoreError> {
        let made = self
            .limit_update(key)
            .condition_expression("attribute_not_exists(#open)")
            .update_expression("SET #open = :none")
            .expression_attribute_names("#open", OPEN)
            .expression_attribute_values(":none", AttributeValue::M(HashMap::new()))
            .send()
            .await;
        match made.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes a reservation back, of a request that never went to an upstream.
    pub async fn release(
        &self,
        key: &KeyId,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<(), StoreError> {
        let mut names = window_names(reservation);
        names.insert("#open".to_owned(), OPEN.to_owned());
        names.insert("#id".to_owned(), id.to_string());
        for tries in 0..TRIES_MAX {
            let sent = self
                .limit_update(key)
                .condition_expression("attribute_exists(#open.#id)")
                .update_expression("ADD #w0 :e, #w1 :e, #w2 :e, #w3 :e REMOVE #open.#id")
                .set_expression_attribute_names(Some(names.clone()))
                .expression_attribute_values(":e", pico(PicoUsd::ZERO - reservation.estimate))
                .send()
                .await;
            match sent {
                Ok(_) => return Ok(()),
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(UpdateItemError::is_transaction_conflict_exception) =>
                {
                    self.wait_a_moment(tries).await;
                }
                Err(error) => {
                    return match StoreError::from(error) {
                        StoreError::Conflict => Ok(()), // it is over already
                        other => Err(other),
                    };
                }
            }
        }
        Err(StoreError::Conflict)
    }

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

    /// The part of a transaction that settles reservations of `key`. Demands that the item is
    /// there: without it there is nothing to settle.
    pub(super) fn settle_action(&self, key: &KeyId, settlement: &Settlement) -> TransactWriteItem {
        let mut names = HashMap::from([("#open".to_owned(), OPEN.to_owned())]);
        let mut values = HashMap::new();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (at, (window, change)) in settlement.changes.iter().enumerate() {
            added.push(format!("#w{at} :c{at}"));
            names.insert(format!("#w{at}"), window.clone());
            values.insert(format!(":c{at}"), pico(*change));
        }
        for (at, id) in settlement.closed.iter().enumerate() {
            removed.push(format!("#open.#r{at}"));
            names.insert(format!("#r{at}"), id.to_string());
        }
        let update = Update::builder()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(names::limit(key))))
            .condition_expression("attribute_exists(#open)")
            .update_expression(format!("ADD {} REMOVE {}", added.join(", "), removed.join(", ")))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        TransactWriteItem::builder().set_update(update.build().ok()).build()
    }

    /// Keeps the item small: once in a while the windows that nobody counts in are removed. If
    /// that fails, the next request tries again.
    async fn forget_bygone(&self, key: &KeyId, item: &Item, wanted: &Reservation) {
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

    fn limit_update(&self, key: &KeyId) -> UpdateItemFluentBuilder {
        self.db
            .update_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(names::limit(key))))
    }

    pub(super) async fn wait_a_moment(&self, tries: u32) {
        let step = 5 * 2_u64.pow(tries.min(5));
        let chance = step * u64::from(self.dice.byte()) / 255;
        tokio::time::sleep(Duration::from_millis(step + chance)).await;
    }
}

fn conditions(limits: &Limits) -> String {
    let mut all =
        vec!["attribute_exists(#open)".to_owned(), "attribute_not_exists(#open.#id)".to_owned()];
    for (at, period) in Period::ALL.into_iter().enumerate() {
        if limits.money(period).is_some() {
            all.push(format!("(attribute_not_exists(#w{at}) OR #w{at} <= :m{at})"));
        }
    }
    if limits.requests_per_minute.is_some() {
        all.push("((attribute_not_exists(#minute) AND :rpm > :zero) OR #minute < :rpm)".to_owned());
    }
    if limits.concurrency.is_some() {
        all.push("size(#open) < :concurrency".to_owned());
    }
    all.join(" AND ")
}

fn window_names(reservation: &Reservation) -> HashMap<String, String> {
    let windows = Period::ALL.into_iter().enumerate();
    windows.map(|(at, period)| (format!("#w{at}"), period.window(reservation.at).name)).collect()
}

fn reserve_names(id: &RequestId, wanted: &Reservation) -> HashMap<String, String> {
    let mut names = window_names(wanted);
    names.extend([
        ("#open".to_owned(), OPEN.to_owned()),
        ("#id".to_owned(), id.to_string()),
        ("#due".to_owned(), DUE.to_owned()),
        ("#due_at".to_owned(), DUE_AT.to_owned()),
        ("#minute".to_owned(), minute(wanted.at).name),
    ]);
    names
}

fn reserve_values(
    limits: &Limits,
    wanted: &Reservation,
) -> Result<HashMap<String, AttributeValue>, Refused> {
    let open = serde_dynamo::to_attribute_value(wanted)
        .map_err(|error| Refused::Failed(inconsistent("limit", OPEN, &error)))?;
    let mut values = HashMap::from([
        (":open".to_owned(), open),
        (":due".to_owned(), due()),
        (":expires".to_owned(), number(wanted.expires)),
        (":e".to_owned(), pico(wanted.estimate)),
        (":one".to_owned(), number(1)),
    ]);
    for (at, period) in Period::ALL.into_iter().enumerate() {
        if let Some(limit) = limits.money(period) {
            values.insert(format!(":m{at}"), pico(limit - wanted.estimate));
        }
    }
    if let Some(most) = limits.requests_per_minute {
        values.extend([(":rpm".to_owned(), number(most)), (":zero".to_owned(), number(0))]);
    }
    if let Some(most) = limits.concurrency {
        values.insert(":concurrency".to_owned(), number(most));
    }
    Ok(values)
}

fn due() -> AttributeValue {
    AttributeValue::S(names::LIMIT.to_owned())
}

fn number(value: impl Copy + std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn pico(amount: PicoUsd) -> AttributeValue {
    number(amount.pico())
}

fn read_counted(item: &Item) -> Result<Counted, StoreError> {
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
