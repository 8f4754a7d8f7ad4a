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
//! requests can share ([`queued_admission`]). With shared limits it is one transaction
//! ([`shared_admission`]).

pub(crate) mod admission_queue;
mod limit_update;
mod queued_admission;
mod read;
mod shared_admission;
mod sweep;

use crate::StoreError;
use crate::connection::{StoreConnection, Table};
use crate::item::StoreItem;
use crate::item_names::{self, OPEN, TTL};
use crate::permissions::{Action, Permission, store_handle};
use crate::transaction::{TransactionAction, is_item_too_large};
pub use admission_queue::Admission;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{KeyId, RequestId};
use baton_domain::limit::is_long_ended;
use baton_domain::reservation::{BlockReason, LimitCounters, Reservation, Settlement};
use baton_domain::scope::LimitScope;
use jiff::Timestamp;
use limit_update::{LimitUpdate, number};
pub use read::LimitReader;
use read::parse_counters;
use std::collections::HashMap;
use std::sync::Arc;
pub use sweep::LimitSweeper;

/// The most tries for an item that other writers keep changing. After them admission fails.
const TRIES_MAX: u32 = 8;

/// How many ended windows an item can hold before they are removed.
const BYGONE_MAX: usize = 16;

/// How long the item of a deleted scope is kept, so that open requests can settle in it.
const RETIRED_SECONDS: i64 = 7 * 24 * 3600;

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

store_handle! {
    /// Admission of requests: reserves what they can cost in the items of their limits.
    LimitStore, Permission::on_state(&[Action::BatchGetItem, Action::UpdateItem], &["limit#*"])
}

impl LimitStore {
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
            let counters = self.reader().read_counters(&effective_limits.scopes(), true).await?;
            let key = || (LimitScope::Key(effective_limits.key.clone()), BlockReason::Concurrency);
            let blocked = effective_limits.blocked(&counters, reservation.estimate, reservation.at);
            let (scope, reason) = blocked.unwrap_or_else(key);
            Ok(Admission::Blocked(scope, reason))
        } else if effective_limits.shared_limits.is_empty() {
            queued_admission::admit_queued(self, effective_limits, id, reservation).await
        } else {
            shared_admission::admit_together(self, effective_limits, id, reservation).await
        }
    }

    /// Releases the reservation of a request that was never sent to an upstream.
    pub async fn release(
        &self,
        key: &KeyId,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<(), StoreError> {
        if !reservation.shared_limits.is_empty() {
            return shared_admission::release_together(self, key, id, reservation).await;
        }
        let key = LimitScope::Key(key.clone());
        for attempt in 0..TRIES_MAX {
            match self.reserve(&key, limit_update::release_in_key(id, reservation)).await {
                // A failed condition means that the reservation is closed already.
                Ok(_) | Err(UpdateRefusal::Condition(_)) => return Ok(()),
                Err(UpdateRefusal::Busy | UpdateRefusal::Full) => {
                    self.connection.back_off(attempt).await;
                }
                Err(UpdateRefusal::Failed(error)) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
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
        let counters = self.reader().read_counters(&scopes, false).await?;
        for (scope, counters) in scopes.iter().zip(&counters) {
            self.forget_windows(scope, counters.windows.keys(), at).await;
        }
        Ok(counters)
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
                UpdateRefusal::Busy => self.connection.back_off(attempt).await,
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

    /// Lets the item of a deleted scope expire.
    pub(crate) async fn retire_limit(&self, scope: &LimitScope) -> Result<(), StoreError> {
        let until = self.connection.clock.now().as_second() + RETIRED_SECONDS;
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
        self.connection.update_request(Table::State, item_names::limit(scope))
    }

    fn reader(&self) -> LimitReader {
        LimitReader::new(&self.connection)
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

/// The action of a transaction that settles reservations in the item of `scope`.
pub(crate) fn settle_action(
    connection: &StoreConnection,
    scope: &LimitScope,
    settlement: &Settlement,
) -> TransactionAction {
    limit_update::settle(scope, settlement).into_action(connection, scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, at, key, open_handle, reservation};

    fn dollars(amount: &str) -> baton_domain::key::Limits {
        let usd_total = Some(amount.parse().expect("an amount"));
        baton_domain::key::Limits { usd_total, ..baton_domain::key::Limits::default() }
    }

    #[tokio::test]
    async fn request_is_admitted_while_the_limit_of_its_key_holds() {
        let tables = TestTables::open().await;
        let (limits, counters) =
            (open_handle!(tables, LimitStore), open_handle!(tables, LimitReader));
        let key = key(dollars("1.5")).id;
        let effective = EffectiveLimits::from_own_limits(key.clone(), dollars("1.5"));
        let [first, second] = [1, 2].map(RequestId::from_bits);
        let admitted = limits.admit(&effective, &first, &reservation()).await.expect("asked");
        assert!(matches!(admitted, Admission::Admitted(Some(_))), "{admitted:?}");
        let blocked = limits.admit(&effective, &second, &reservation()).await.expect("asked");
        assert!(matches!(blocked, Admission::Blocked(LimitScope::Key(_), _)), "{blocked:?}");
        let counted = counters.read_key_counters(&key).await.expect("read");
        assert!(counted.open_reservations.contains_key(&first));
        limits.release(&key, &first, &reservation()).await.expect("released");
        let admitted = limits.admit(&effective, &second, &reservation()).await.expect("asked");
        assert!(matches!(admitted, Admission::Admitted(_)), "{admitted:?}");
    }

    #[tokio::test]
    async fn request_counts_against_all_shared_limits_or_none() {
        let tables = TestTables::open().await;
        let limits = open_handle!(tables, LimitStore);
        let (key, organization) = (key(dollars("9")).id, LimitScope::Organization);
        let mut effective = EffectiveLimits::from_own_limits(key.clone(), dollars("9"));
        effective.shared_limits = vec![(organization.clone(), dollars("1.5"))];
        let wanted = Reservation { shared_limits: vec![organization.clone()], ..reservation() };
        let [first, second] = [1, 2].map(RequestId::from_bits);
        let admitted = limits.admit(&effective, &first, &wanted).await.expect("asked");
        assert_eq!(admitted, Admission::Admitted(None));
        let blocked = limits.admit(&effective, &second, &wanted).await.expect("asked");
        assert!(matches!(&blocked, Admission::Blocked(scope, _) if *scope == organization));
        let counted = limits.read_counters_after(&effective, at()).await.expect("read");
        assert_eq!(counted[0].open_reservations.len(), 1);
        assert_eq!(counted[1].shared_totals.requests, 1);
        limits.release(&key, &first, &wanted).await.expect("released");
        let counted = limits.read_counters_after(&effective, at()).await.expect("read");
        assert_eq!(counted[1].shared_totals.requests, 0);
    }
}
