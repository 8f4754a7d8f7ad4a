//! The updates of limit items: their conditions, expressions, names and values. The callers send
//! them.

use crate::StoreError;
use crate::connection::{StoreConnection, Table};
use crate::item::inconsistent;
use crate::item_names::{self, DUE, DUE_AT, HELD, OPEN, UNDER_WAY};
use crate::transaction::TransactionAction;
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::RequestId;
use baton_domain::key::Limits;
use baton_domain::limit::{LimitPeriod, minute};
use baton_domain::money::PicoUsd;
use baton_domain::reservation::{Reservation, Settlement};
use baton_domain::scope::LimitScope;
use std::collections::HashMap;

/// One update of a limit item.
pub(super) struct LimitUpdate {
    pub(super) condition: String,
    pub(super) update: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl LimitUpdate {
    /// The update as an action of a transaction.
    pub(super) fn into_action(
        self,
        connection: &StoreConnection,
        scope: &LimitScope,
    ) -> TransactionAction {
        connection
            .update(Table::State, item_names::limit(scope))
            .condition_expression(self.condition)
            .update_expression(self.update)
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
            .into()
    }
}

/// Counts requests of one minute against their key and opens their reservations in its item, all or
/// none of them.
pub(super) fn reserve_in_key<'a>(
    limits: &Limits,
    each: impl Iterator<Item = (&'a RequestId, &'a Reservation)> + Clone,
) -> Result<LimitUpdate, StoreError> {
    let sum = each.clone().map(|(_, reservation)| reservation.estimate).sum();
    let expires =
        each.clone().map(|(_, reservation)| reservation.expires).min().unwrap_or_default();
    let count = each.clone().count();
    let (money, mut values) = limit_conditions(limits, sum, count);
    let mut conditions = vec!["attribute_exists(#open)".to_owned()];
    let mut assignments =
        vec!["#due = :due, #due_at = if_not_exists(#due_at, :expires)".to_owned()];
    let mut names =
        HashMap::from(to_name_pairs([("#open", OPEN), ("#due", DUE), ("#due_at", DUE_AT)]));
    for (at, (id, reservation)) in each.enumerate() {
        let open = serde_dynamo::to_attribute_value(reservation)
            .map_err(|error| inconsistent("limit", OPEN, &error))?;
        conditions.push(format!("attribute_not_exists(#open.#r{at})"));
        assignments.push(format!("#open.#r{at} = :r{at}"));
        values.insert(format!(":r{at}"), open);
        names.insert(format!("#r{at}"), id.to_string());
        if at == 0 {
            names.extend(window_names(reservation));
            names.extend(to_name_pairs([("#minute", &minute(reservation.at).name)]));
        }
    }
    conditions.extend(money);
    if let Some(max) = limits.concurrency {
        conditions.push("size(#open) < :concurrency".to_owned());
        values.insert(":concurrency".to_owned(), number(exclusive_bound(max, count)));
    }
    values.extend([(":due".to_owned(), due_value()), (":expires".to_owned(), number(expires))]);
    let added = "#w0 :e, #w1 :e, #w2 :e, #w3 :e, #minute :count";
    let update = format!("SET {} ADD {added}", assignments.join(", "));
    Ok(LimitUpdate { condition: conditions.join(" AND "), update, names, values })
}

/// Counts a request against a shared limit.
pub(super) fn reserve_in_shared_limit(limits: &Limits, reservation: &Reservation) -> LimitUpdate {
    let (mut conditions, mut values) = limit_conditions(limits, reservation.estimate, 1);
    if let Some(max) = limits.concurrency {
        conditions.push(below("#under_way", ":concurrency"));
        values.extend([(":concurrency".to_owned(), number(max)), zero()]);
    }
    let mut names = shared_limit_names(reservation);
    names.extend(to_name_pairs([("#minute", &minute(reservation.at).name)]));
    let update = "ADD #w0 :e, #w1 :e, #w2 :e, #w3 :e, #held :e, #under_way :count, #minute :count";
    // There is at least one condition: the item of a scope without limits is not updated.
    LimitUpdate { condition: conditions.join(" AND "), update: update.to_owned(), names, values }
}

/// Releases a reservation in its key's item.
pub(super) fn release_in_key(id: &RequestId, reservation: &Reservation) -> LimitUpdate {
    LimitUpdate {
        condition: "attribute_exists(#open.#id)".to_owned(),
        update: "ADD #w0 :e, #w1 :e, #w2 :e, #w3 :e REMOVE #open.#id".to_owned(),
        names: open_names(id, reservation),
        values: HashMap::from([refund_value(reservation.estimate)]),
    }
}

/// Releases a reservation in the item of a shared limit.
pub(super) fn release_in_shared_limit(reservation: &Reservation) -> LimitUpdate {
    LimitUpdate {
        condition: "attribute_exists(#under_way)".to_owned(),
        update: "ADD #w0 :e, #w1 :e, #w2 :e, #w3 :e, #held :e, #under_way :less".to_owned(),
        names: shared_limit_names(reservation),
        values: HashMap::from([
            refund_value(reservation.estimate),
            (":less".to_owned(), number(-1)),
        ]),
    }
}

/// Settles reservations in the item of a key or of a shared limit. The condition is that the item
/// exists: without it there is nothing to settle.
pub(super) fn settle(scope: &LimitScope, settlement: &Settlement) -> LimitUpdate {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let (mut names, mut values) = (HashMap::new(), HashMap::new());
    for (index, (window, change)) in settlement.changes.iter().enumerate() {
        added.push(format!("#w{index} :c{index}"));
        names.insert(format!("#w{index}"), window.clone());
        values.insert(format!(":c{index}"), pico(*change));
    }
    if matches!(scope, LimitScope::Key(_)) {
        names.extend(to_name_pairs([("#open", OPEN)]));
        for (index, id) in settlement.closed.iter().enumerate() {
            removed.push(format!("#open.#r{index}"));
            names.insert(format!("#r{index}"), id.to_string());
        }
        let update = format!("ADD {} REMOVE {}", added.join(", "), removed.join(", "));
        return LimitUpdate {
            condition: "attribute_exists(#open)".to_owned(),
            update,
            names,
            values,
        };
    }
    names.extend(to_name_pairs([("#under_way", UNDER_WAY), ("#held", HELD)]));
    let count = i64::try_from(settlement.closed.len()).unwrap_or(i64::MAX);
    values.extend([refund_value(settlement.estimates), (":less".to_owned(), number(-count))]);
    let update = format!("ADD {}, #held :e, #under_way :less", added.join(", "));
    LimitUpdate { condition: "attribute_exists(#under_way)".to_owned(), update, names, values }
}

/// The conditions of money and rate limits for `count` requests with the total cost `sum`, and the
/// values in these conditions.
fn limit_conditions(
    limits: &Limits,
    sum: PicoUsd,
    count: usize,
) -> (Vec<String>, HashMap<String, AttributeValue>) {
    let mut values =
        HashMap::from([(":e".to_owned(), pico(sum)), (":count".to_owned(), number(count))]);
    let mut all = Vec::new();
    for (at, period) in LimitPeriod::ALL.into_iter().enumerate() {
        if let Some(limit) = limits.money(period) {
            all.push(format!("(attribute_not_exists(#w{at}) OR #w{at} <= :m{at})"));
            values.insert(format!(":m{at}"), pico(limit - sum));
        }
    }
    if let Some(max) = limits.requests_per_minute {
        all.push(below("#minute", ":rpm"));
        values.extend([(":rpm".to_owned(), number(exclusive_bound(max, count))), zero()]);
    }
    (all, values)
}

/// A counter must be below this bound so that `count` more do not exceed the limit.
fn exclusive_bound(max: u32, count: usize) -> i64 {
    i64::from(max).saturating_add(1).saturating_sub_unsigned(count as u64)
}

/// The condition that a counter is below the limit. A missing counter counts as 0.
fn below(counter: &str, most: &str) -> String {
    format!("((attribute_not_exists({counter}) AND {most} > :zero) OR {counter} < {most})")
}

fn window_names(reservation: &Reservation) -> HashMap<String, String> {
    let windows = LimitPeriod::ALL.into_iter().enumerate();
    windows.map(|(at, period)| (format!("#w{at}"), period.window(reservation.at).name)).collect()
}

fn open_names(id: &RequestId, reservation: &Reservation) -> HashMap<String, String> {
    let mut names = window_names(reservation);
    names.extend(to_name_pairs([("#open", OPEN), ("#id", id.as_str())]));
    names
}

fn shared_limit_names(reservation: &Reservation) -> HashMap<String, String> {
    let mut names = window_names(reservation);
    names.extend(to_name_pairs([("#under_way", UNDER_WAY), ("#held", HELD)]));
    names
}

fn to_name_pairs<const N: usize>(names: [(&str, &str); N]) -> [(String, String); N] {
    names.map(|(short, name)| (short.to_owned(), name.to_owned()))
}

fn zero() -> (String, AttributeValue) {
    (":zero".to_owned(), number(0))
}

fn refund_value(estimate: PicoUsd) -> (String, AttributeValue) {
    (":e".to_owned(), pico(PicoUsd::ZERO - estimate))
}

pub(super) fn due_value() -> AttributeValue {
    AttributeValue::S(item_names::LIMIT.to_owned())
}

pub(super) fn number(value: impl Copy + std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn pico(amount: PicoUsd) -> AttributeValue {
    number(amount.pico())
}
