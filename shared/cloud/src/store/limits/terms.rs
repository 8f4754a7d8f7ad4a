//! The expressions of a reservation: what its update demands, names and sets.

use super::Refused;
use crate::store::item::inconsistent;
use crate::store::names::{self, DUE, DUE_AT, OPEN};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::RequestId;
use baton_domain::key::Limits;
use baton_domain::limit::{Period, minute};
use baton_domain::money::PicoUsd;
use baton_domain::reservation::Reservation;
use std::collections::HashMap;

pub(super) fn conditions(limits: &Limits) -> String {
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

pub(super) fn window_names(reservation: &Reservation) -> HashMap<String, String> {
    let windows = Period::ALL.into_iter().enumerate();
    windows.map(|(at, period)| (format!("#w{at}"), period.window(reservation.at).name)).collect()
}

pub(super) fn reserve_names(id: &RequestId, wanted: &Reservation) -> HashMap<String, String> {
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

pub(super) fn reserve_values(
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

pub(super) fn due() -> AttributeValue {
    AttributeValue::S(names::LIMIT.to_owned())
}

pub(super) fn number(value: impl Copy + std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn pico(amount: PicoUsd) -> AttributeValue {
    number(amount.pico())
}
