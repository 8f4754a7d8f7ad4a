//! The accountant: usage events from the queue become stored events and rollups, once each.
//!
//! A message may come twice, late, or not be a usage event at all. Only the messages that were
//! not stored are reported as failed; the queue brings them back, and in the end to the
//! dead-letter queue. What a record adds to is `domain::rollup`'s business.

mod plan;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use baton_cloud::store::{ACTIONS_MAX, CommitError, Store, StoreError};
use baton_domain::id::RequestId;
use baton_domain::record::{UsageRecord, VERSION};
use plan::Transaction;
use std::collections::HashSet;
use std::time::Duration;

/// Tries before a busy table is left to the queue's redelivery.
const TRIES_MAX: u32 = 6;

/// Stores the batch and says which messages are to come again.
pub async fn handle(store: &Store, event: SqsEvent) -> SqsBatchResponse {
    let mut answer = SqsBatchResponse::default();
    let (mut messages, mut records) = (Vec::new(), Vec::new());
    for message in event.records {
        let id = message.message_id.unwrap_or_default();
        match read(message.body.as_deref().unwrap_or_default()) {
            Ok(record) => {
                messages.push((id, record.id.clone()));
                records.push(record);
            }
            Err(why) => {
                tracing::error!(message_id = %id, "not a usage event: {why}");
                answer.add_failure(id);
            }
        }
    }
    let failed = store_all(store, &records).await;
    for (message, _) in messages.into_iter().filter(|(_, record)| failed.contains(record)) {
        answer.add_failure(message);
    }
    answer
}

fn read(body: &str) -> Result<UsageRecord, String> {
    let record: UsageRecord = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if record.v > VERSION {
        return Err(format!("version {} is newer than this program", record.v));
    }
    Ok(record)
}

/// Stores what can be stored; returns the records that were not.
async fn store_all(store: &Store, records: &[UsageRecord]) -> HashSet<RequestId> {
    let mut failed = HashSet::new();
    for transaction in plan::transactions(records, ACTIONS_MAX) {
        let ids: Vec<RequestId> =
            transaction.records.iter().map(|record| record.id.clone()).collect();
        if let Err(error) = commit(store, transaction).await {
            tracing::error!(
                events = ids.len(),
                "not stored, the queue will bring them again: {error}"
            );
            failed.extend(ids);
        }
    }
    failed
}

/// Commits one transaction: without the records that turn out to be stored already, and again
/// when others were in the way.
async fn commit(store: &Store, mut transaction: Transaction<'_>) -> Result<(), StoreError> {
    let mut tries = 0;
    while !transaction.records.is_empty() {
        let Transaction { records, sums, settlements } = &transaction;
        match store.commit(records, sums, settlements).await {
            Ok(()) => {
                store.touch_limits(settlements.keys()).await;
                return Ok(());
            }
            Err(CommitError::Stored(at)) => transaction = without(transaction, &at),
            Err(CommitError::Unreserved) if !settlements.is_empty() => {
                tracing::error!("a limit item is gone: events are stored without settling");
                transaction.settlements.clear();
            }
            Err(CommitError::Busy) if tries < TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(backoff(tries, store.dice().byte())).await;
            }
            Err(CommitError::Busy | CommitError::Unreserved) => return Err(StoreError::Conflict),
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

fn without<'a>(transaction: Transaction<'a>, stored: &[usize]) -> Transaction<'a> {
    let rest = transaction.records.into_iter().enumerate();
    Transaction::of(rest.filter(|(at, _)| !stored.contains(at)).map(|(_, record)| record).collect())
}

/// 10, 20, 40, … ms, and up to as much again by chance, so that two consumers part.
fn backoff(tries: u32, die: u8) -> Duration {
    let step = Duration::from_millis(10) * 2_u32.pow(tries.min(8));
    step + step * u32::from(die) / 255
}
