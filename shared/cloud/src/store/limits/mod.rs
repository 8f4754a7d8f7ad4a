//! What is counted against a key's limits: one item a limited key, changed by one conditional
//! update at admission and by the transaction that stores the record.
//!
//! The item has an attribute a window (`domain::limit`), and the map `open` of reservations. While
//! any may be open it is also in the index `by_due`, at the time when the first has to be over.

mod read;
mod settle;
mod terms;

use super::item::{Item, key_of};
use super::names::{self, OPEN};
use super::{Store, StoreError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use baton_domain::id::{KeyId, RequestId};
use baton_domain::key::Limits;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::{Blocked, Counted, Reservation};
use read::read_counted;
use std::collections::HashMap;
use std::time::Duration;
use terms::{conditions, pico, reserve_names, reserve_values, window_names};

/// Tries before an item that others keep changing counts as out of reach.
const TRIES_MAX: u32 = 8;

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

    fn limit_update(&self, key: &KeyId) -> UpdateItemFluentBuilder {
        self.db
            .update_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(names::limit(key))))
    }

    async fn wait_a_moment(&self, tries: u32) {
        let step = 5 * 2_u64.pow(tries.min(5));
        let chance = step * u64::from(self.dice.byte()) / 255;
        tokio::time::sleep(Duration::from_millis(step + chance)).await;
    }
}
