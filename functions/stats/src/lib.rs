//! Stores usage events from the queue and adds them to the rollups, each exactly once.
//!
//! A message can come twice, late, or with a body that is not a usage event. Only the messages that
//! were not stored are reported as failed: the queue delivers them again, and in the end moves them
//! to the dead-letter queue. `domain::rollup` decides which rollups a record adds to.

mod transaction_plan;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use baton_domain::id::{AccountId, RequestId};
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use baton_domain::reservation::Settlement;
use baton_domain::scope::LimitScope;
use baton_store::{ACTIONS_MAX, CommitError, StatsStores, StoreError};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;
use transaction_plan::UsageTransaction;

/// The number of tries before a busy table is left to the queue's redelivery.
const TRIES_MAX: u32 = 6;

/// The result of a batch.
#[derive(Debug)]
pub struct BatchOutcome {
    /// The answer to Lambda, with the messages that must be delivered again.
    pub response: SqsBatchResponse,
    /// The cost of the events that this batch stored; events that were stored before do not count.
    pub spent: PicoUsd,
}

/// Stores the batch and returns the messages that must be delivered again.
pub async fn handle(store: &StatsStores, event: SqsEvent) -> SqsBatchResponse {
    store_event(store, event).await.response
}

/// Stores the batch and returns the complete result.
pub async fn store_event(store: &StatsStores, event: SqsEvent) -> BatchOutcome {
    let mut response = SqsBatchResponse::default();
    let (mut messages, mut records) = (Vec::new(), Vec::new());
    for message in event.records {
        let id = message.message_id.unwrap_or_default();
        match UsageRecord::parse(message.body.as_deref().unwrap_or_default()) {
            Ok(record) => {
                messages.push((id, record.id.clone()));
                records.push(record);
            }
            Err(error) => {
                tracing::error!(message_id = %id, "a queue message cannot be stored: {error}");
                response.add_failure(id);
            }
        }
    }
    let StoredBatch { failed, spent } = store_records(store, &records).await;
    let stored = || records.iter().filter(|record| !failed.contains(&record.id));
    note_used(store, stored()).await;
    // Includes records that an earlier delivery stored, because a crash can have come before this
    // step.
    let settled: BTreeSet<LimitScope> = stored().flat_map(Settlement::settled_scopes).collect();
    store.alerts.touch_limits(settled.iter()).await;
    store.alerts.note_unpriced(stored()).await;
    for (message, _) in messages.into_iter().filter(|(_, record)| failed.contains(record)) {
        response.add_failure(message);
    }
    BatchOutcome { response, spent }
}

/// The records that failed, and the cost of those that were stored.
#[derive(Default)]
struct StoredBatch {
    failed: HashSet<RequestId>,
    spent: PicoUsd,
}

/// Stores as many records as possible.
async fn store_records(store: &StatsStores, records: &[UsageRecord]) -> StoredBatch {
    let mut result = StoredBatch::default();
    for transaction in transaction_plan::transactions(records, ACTIONS_MAX) {
        let batch = transaction.records.clone();
        let error = match commit(store, transaction).await {
            Ok(spent) => {
                result.spent = result.spent.saturating_add(spent);
                continue;
            }
            Err(error) => error,
        };
        if batch.len() == 1 || !matches!(error, CommitError::Refused(_)) {
            mark_failed(&mut result.failed, &batch, &error);
            continue;
        }
        // One record that the table refuses must not keep the others from being stored.
        for record in batch {
            match commit(store, UsageTransaction::from_records(vec![record])).await {
                Ok(spent) => result.spent = result.spent.saturating_add(spent),
                Err(error) => mark_failed(&mut result.failed, &[record], &error),
            }
        }
    }
    result
}

/// Stores when each account was last used, with one update per account. The time is only for
/// display, so a failure is logged and ignored.
async fn note_used(store: &StatsStores, records: impl Iterator<Item = &UsageRecord>) {
    let mut latest: HashMap<&AccountId, Timestamp> = HashMap::new();
    for record in records {
        let at = latest.entry(&record.account_id).or_insert(record.started_at);
        *at = record.started_at.max(*at);
    }
    for (account, at) in latest {
        if let Err(error) = store.usage.note_used(account, at).await {
            tracing::warn!(account_id = %account, "cannot store when the account was last used: {error}");
        }
    }
}

fn mark_failed(failed: &mut HashSet<RequestId>, records: &[&UsageRecord], error: &CommitError) {
    for record in records {
        tracing::error!(request_id = %record.id, "cannot store a usage record, the queue will deliver it again: {error}");
        failed.insert(record.id.clone());
    }
}

/// Commits one transaction. Records that are already stored are removed from it, and conflicts are
/// tried again. Returns the cost of the records that this call stored.
async fn commit(
    store: &StatsStores,
    mut transaction: UsageTransaction<'_>,
) -> Result<PicoUsd, CommitError> {
    let mut attempts = 0;
    while !transaction.records.is_empty() {
        let UsageTransaction { records, sums, settlements } = &transaction;
        match store.usage.commit(records, sums, settlements).await {
            Ok(()) => return Ok(records.iter().map(|record| record.cost_usd).sum()),
            Err(CommitError::AlreadyStored(indices)) => {
                settle_late(store, records, &indices).await?;
                transaction = remove_stored(transaction, &indices);
            }
            Err(CommitError::LimitItemMissing(missing)) if !missing.is_empty() => {
                let scopes: Vec<String> = missing.iter().map(ToString::to_string).collect();
                tracing::error!(
                    gone = %scopes.join(", "),
                    "limit items are missing: usage events are stored without settling their reservations"
                );
                transaction.settlements.retain(|scope, _| !missing.contains(scope));
            }
            Err(CommitError::Busy) if attempts < TRIES_MAX => {
                attempts += 1;
                tokio::time::sleep(backoff(attempts, store.random_source().byte())).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(PicoUsd::ZERO)
}

/// Settles reservations that are still open although the record of their request is stored. That
/// happens if a relay got no answer to its reservation and continued without it
/// (`BATON_LIMITS_FAIL_…=open`), while the reservation had been stored. Only the records of expired
/// reservations are handled here; others were settled when they were stored.
async fn settle_late(
    store: &StatsStores,
    records: &[&UsageRecord],
    stored: &[usize],
) -> Result<(), StoreError> {
    let late = stored.iter().filter_map(|index| records.get(*index));
    for record in late.filter(|record| record.is_expired_reservation()) {
        store.usage.settle_expired_reservation(record).await?;
    }
    Ok(())
}

fn remove_stored<'a>(transaction: UsageTransaction<'a>, stored: &[usize]) -> UsageTransaction<'a> {
    let rest = transaction.records.into_iter().enumerate();
    UsageTransaction::from_records(
        rest.filter(|(index, _)| !stored.contains(index)).map(|(_, record)| record).collect(),
    )
}

/// 10, 20, 40, … ms plus a random part of up to the same length, so that two consumers do not
/// collide again.
fn backoff(attempts: u32, random: u8) -> Duration {
    let step = Duration::from_millis(10) * 2_u32.pow(attempts.min(8));
    step + step * u32::from(random) / 255
}
