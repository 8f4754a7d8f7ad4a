//! Limit counters: one item for each limited scope. Admission changes it, and so does the
//! transaction that stores the usage record.
//!
//! An item has one attribute for each window (`domain::limit`). A key's item also has the map
//! `open` of reservations. While it can hold any, the item is in the index `by_due` with the time
//! at which the first reservation is due. The item of a shared limit has two sums instead of the
//! map, so that it stays small with any number of open requests; the reservation of each request is
//! in its key's item.
//!
//! If only a key's own limits apply, admission is one conditional update, which several concurrent
//! requests can share ([`admission_queue`]). With shared limits it is one transaction
//! ([`shared_admission`]).

mod admission_queue;
mod limit_update;
mod read;
mod shared_admission;

use super::item::{StoreItem, key_of};
use super::item_names::{self, OPEN, TTL};
use super::transaction::is_item_too_large;
use super::{Store, StoreError};
pub(super) use admission_queue::AdmissionQueues;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{KeyId, RequestId};
use baton_domain::reservation::{BlockReason, LimitCounters, Reservation, Settlement};
use baton_domain::scope::LimitScope;
use limit_update::{LimitUpdate, number};
use read::parse_counters;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The most tries for an item that other writers keep changing. After them admission fails.
const TRIES_MAX: u32 = 8;

/// How long the item of a deleted scope is kept, so that open requests can settle in it.
const RETIRED_SECONDS: i64 = 7 * 24 * 3600;

/// Whether a request is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The request is admitted. If only the key's item was involved, these are its counters,
    /// including this request.
    Admitted(Option<Arc<LimitCounters>>),
    /// A limit of this scope blocks the request.
    Blocked(LimitScope, BlockReason),
}

/// The reason why an update of a limit item changed nothing.
enum UpdateRefusal {
    /// A condition did not hold. Holds the existing item, empty if there is none.
    Condition(StoreItem),
    /// A transaction held the item.
    Busy,
    /// The item has no room for the reservation.
    Full,
    Failed(StoreError),
}

impl Store {
    /// Reserves `wanted.estimate` for request `id`, unless a limit blocks it.
    ///
    /// The first request of a key creates its item. If DynamoDB has executed an earlier try whose
    /// answer got lost, the open reservation of the request shows that.
    pub async fn admit(
        &self,
        effective_limits: &EffectiveLimits,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<Admission, StoreError> {
        if effective_limits.exceeds_every_window(reservation.estimate) {
            let counters = self.read_counters(&effective_limits.scopes(), true).await?;
            let key = || (LimitScope::Key(effective_limits.key.clone()), BlockReason::Concurrency);
            let blocked = effective_limits.blocked(&counters, reservation.estimate, reservation.at);
            let (scope, reason) = blocked.unwrap_or_else(key);
            Ok(Admission::Blocked(scope, reason))
        } else if effective_limits.shared_limits.is_empty() {
            self.admit_queued(effective_limits, id, reservation).await
        } else {
            self.admit_together(effective_limits, id, reservation).await
        }
    }

    async fn admit_alone(
        &self,
        effective_limits: &EffectiveLimits,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<Admission, StoreError> {
        let key = LimitScope::Key(effective_limits.key.clone());
        for attempt in 0..TRIES_MAX {
            let change = limit_update::reserve_in_key(
                &effective_limits.own_limits,
                std::iter::once((id, reservation)),
            )?;
            let refused = match self.reserve(&key, change).await {
                Ok(item) => {
                    self.forget_ended_windows(&key, &item, reservation.at).await;
                    return Ok(Admission::Admitted(Some(Arc::new(parse_counters(&item)?))));
                }
                Err(refusal) => refusal,
            };
            match refused {
                UpdateRefusal::Failed(error) => return Err(error),
                UpdateRefusal::Busy => self.back_off(attempt).await,
                UpdateRefusal::Full => return Ok(Admission::Blocked(key, BlockReason::Backlog)),
                UpdateRefusal::Condition(item) if !item.contains_key(OPEN) => {
                    self.make_limit_item(&key).await?;
                }
                UpdateRefusal::Condition(item) => {
                    let counters = parse_counters(&item)?;
                    if counters.open_reservations.contains_key(id) {
                        return Ok(Admission::Admitted(Some(Arc::new(counters))));
                    }
                    let counters = std::slice::from_ref(&counters);
                    let blocked =
                        effective_limits.blocked(counters, reservation.estimate, reservation.at);
                    if let Some((scope, reason)) = blocked {
                        return Ok(Admission::Blocked(scope, reason));
                    }
                }
            }
        }
        Err(StoreError::Conflict)
    }

    async fn reserve(
        &self,
        scope: &LimitScope,
        change: LimitUpdate,
    ) -> Result<StoreItem, UpdateRefusal> {
        let result = self
            .limit_change(scope, change)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match result {
            Ok(result_sender) => return Ok(result_sender.attributes.unwrap_or_default()),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Err(UpdateRefusal::Condition(failed.item.clone().unwrap_or_default()))
            }
            Some(UpdateItemError::TransactionConflictException(_)) => Err(UpdateRefusal::Busy),
            Some(other) if is_item_too_large(other.message()) => Err(UpdateRefusal::Full),
            _ => Err(UpdateRefusal::Failed(error.into())),
        }
    }

    async fn make_limit_item(&self, scope: &LimitScope) -> Result<(), StoreError> {
        let change = LimitUpdate {
            condition: "attribute_not_exists(#open)".to_owned(),
            update: "SET #open = :none".to_owned(),
            names: HashMap::from([("#open".to_owned(), OPEN.to_owned())]),
            values: HashMap::from([(":none".to_owned(), AttributeValue::M(HashMap::new()))]),
        };
        self.change_if(scope, change).await
    }

    /// Releases the reservation of a request that was never sent to an upstream.
    pub async fn release(
        &self,
        key: &KeyId,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<(), StoreError> {
        if !reservation.shared_limits.is_empty() {
            return self.release_together(key, id, reservation).await;
        }
        let key = LimitScope::Key(key.clone());
        for attempt in 0..TRIES_MAX {
            match self.reserve(&key, limit_update::release_in_key(id, reservation)).await {
                // A failed condition means that the reservation is closed already.
                Ok(_) | Err(UpdateRefusal::Condition(_)) => return Ok(()),
                Err(UpdateRefusal::Busy | UpdateRefusal::Full) => self.back_off(attempt).await,
                Err(UpdateRefusal::Failed(error)) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }

    /// The action of a transaction that settles reservations in the item of `scope`.
    pub(super) fn settle_action(
        &self,
        scope: &LimitScope,
        settlement: &Settlement,
    ) -> TransactWriteItem {
        limit_update::settle(scope, settlement).into_action(&self.resources.state_table, scope)
    }

    /// Lets the item of a deleted scope expire after its open requests must have ended.
    pub async fn retire_limit(&self, scope: &LimitScope) -> Result<(), StoreError> {
        let until = self.clock.now().as_second() + RETIRED_SECONDS;
        let change = LimitUpdate {
            condition: "attribute_exists(#pk)".to_owned(),
            update: "SET #ttl = :until".to_owned(),
            names: HashMap::from([
                ("#pk".to_owned(), item_names::PK.to_owned()),
                ("#ttl".to_owned(), TTL.to_owned()),
            ]),
            values: HashMap::from([(":until".to_owned(), number(until))]),
        };
        self.change_if(scope, change).await
    }

    /// Makes the change if its condition holds, and otherwise does nothing.
    async fn change_if(&self, scope: &LimitScope, change: LimitUpdate) -> Result<(), StoreError> {
        match self.limit_change(scope, change).send().await.map_err(StoreError::from) {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn limit_change(&self, scope: &LimitScope, change: LimitUpdate) -> UpdateItemFluentBuilder {
        self.limit_update(scope)
            .condition_expression(change.condition)
            .update_expression(change.update)
            .set_expression_attribute_names(Some(change.names))
            .set_expression_attribute_values(Some(change.values))
    }

    fn limit_update(&self, scope: &LimitScope) -> UpdateItemFluentBuilder {
        self.db
            .update_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::limit(scope))))
    }

    pub(crate) async fn back_off(&self, tries: u32) {
        let step = 5 * 2_u64.pow(tries.min(5));
        let chance = step * u64::from(self.random.byte()) / 255;
        tokio::time::sleep(Duration::from_millis(step + chance)).await;
    }
}
