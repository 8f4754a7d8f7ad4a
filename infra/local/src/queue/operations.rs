//! The operations of the SQS JSON protocol that Baton calls, and their answers.
//!
//! Limits are in `requests.rs`, waiting is in `mod.rs`, and storage is in `store.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    requests::{
        BatchEntry, ReceiveRequest, SqsRequest, body_checksum, check_batch, queue_name, sqs,
    },
    store::{MessageCounts, MessageStore},
};
use crate::{
    definitions::{QUEUES, QueueDefinition},
    store_reply::{StoreRefusal, parse_request},
};

/// The result of one check for messages.
pub(super) struct ReceiveResult {
    pub(super) answer: Value,
    pub(super) is_empty: bool,
    /// How long the request is willing to wait.
    pub(super) wait: Duration,
    pub(super) next_visible_in: Option<Duration>,
}

type Operation =
    fn(&mut MessageStore, &QueueDefinition, SqsRequest, i64) -> Result<Value, StoreRefusal>;

/// Answers any request except `ReceiveMessage`.
pub(super) fn dispatch_operation(
    store: &mut MessageStore,
    operation: &str,
    body: &[u8],
    now: i64,
) -> Result<Value, StoreRefusal> {
    let operation: Operation = match operation {
        "SendMessage" => send_message,
        "SendMessageBatch" => send_batch,
        "DeleteMessage" => delete_message,
        "DeleteMessageBatch" => delete_batch,
        "GetQueueAttributes" => count_messages,
        _ => return Err(StoreRefusal::unknown_operation(operation)),
    };
    let request: SqsRequest = parse_request(body)?;
    let queue = find_queue(&request.queue_url)?;
    operation(store, queue, request, now)
}

/// Checks once for messages.
pub(super) fn receive_now(
    store: &mut MessageStore,
    request: &ReceiveRequest,
    now: i64,
) -> Result<ReceiveResult, StoreRefusal> {
    let queue = find_queue(&request.queue_url)?;
    let count = request.max_number_of_messages.unwrap_or(1);
    let visibility = request.visibility_timeout.unwrap_or(queue.visibility_seconds);
    let messages = store.receive_messages(queue, count, visibility, now)?;
    let next_visible_in =
        if messages.is_empty() { store.next_visible_at(queue.name, now)? } else { None };
    let messages: Vec<_> = messages.iter().map(|message| request.message_json(message)).collect();
    Ok(ReceiveResult {
        is_empty: messages.is_empty(),
        answer: if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) },
        wait: Duration::from_secs(request.wait_time_seconds.unwrap_or(0)),
        next_visible_in: next_visible_in
            .map(|at| Duration::from_millis(u64::try_from(at - now).unwrap_or(0))),
    })
}

fn send_message(
    store: &mut MessageStore,
    queue: &QueueDefinition,
    request: SqsRequest,
    now: i64,
) -> Result<Value, StoreRefusal> {
    let entry = request.into_single();
    entry.check_message()?;
    let ids = store.send_messages(queue.name, &[&entry.message_body], now)?;
    Ok(send_result(&entry, ids.first()))
}

/// Stores the valid messages of a batch in one transaction.
fn send_batch(
    store: &mut MessageStore,
    queue: &QueueDefinition,
    request: SqsRequest,
    now: i64,
) -> Result<Value, StoreRefusal> {
    let entries = check_batch(request.entries)?;
    let sound = entries.iter().filter(|entry| entry.check_message().is_ok());
    let bodies: Vec<_> = sound.map(|entry| &*entry.message_body).collect();
    let mut ids = store.send_messages(queue.name, &bodies, now)?.into_iter();
    Ok(run_batch(&entries, |entry| {
        entry.check_message()?;
        Ok(send_result(entry, ids.next().as_ref()))
    }))
}

fn send_result(entry: &BatchEntry, id: Option<&String>) -> Value {
    json!({ "MessageId": id, "MD5OfMessageBody": body_checksum(&entry.message_body) })
}

fn delete_message(
    store: &mut MessageStore,
    queue: &QueueDefinition,
    request: SqsRequest,
    _: i64,
) -> Result<Value, StoreRefusal> {
    store.delete(queue.name, &[request.into_single().receipt()?])?;
    Ok(json!({}))
}

fn delete_batch(
    store: &mut MessageStore,
    queue: &QueueDefinition,
    request: SqsRequest,
    _: i64,
) -> Result<Value, StoreRefusal> {
    let entries = check_batch(request.entries)?;
    let receipts: Vec<_> = entries.iter().filter_map(|entry| entry.receipt().ok()).collect();
    store.delete(queue.name, &receipts)?;
    Ok(run_batch(&entries, |entry| entry.receipt().map(|_| json!({}))))
}

/// Answers `GetQueueAttributes`, of whose attributes only the numbers of messages are known here.
fn count_messages(
    store: &mut MessageStore,
    queue: &QueueDefinition,
    request: SqsRequest,
    now: i64,
) -> Result<Value, StoreRefusal> {
    let MessageCounts { visible, in_flight } = store.count_messages(queue.name, now)?;
    let mut counts = json!({
        "ApproximateNumberOfMessages": visible.to_string(),
        "ApproximateNumberOfMessagesNotVisible": in_flight.to_string(),
    });
    if let Value::Object(counts) = &mut counts {
        let requested = request.attribute_names;
        counts.retain(|name, _| {
            requested.iter().any(|requested| requested == "All" || requested == name)
        });
    }
    Ok(json!({ "Attributes": counts }))
}

/// Runs `deed` for every entry and reports which entries failed.
fn run_batch(
    entries: &[BatchEntry],
    mut deed: impl FnMut(&BatchEntry) -> Result<Value, StoreRefusal>,
) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match deed(entry) {
            Ok(mut answer) => {
                answer["Id"] = json!(entry.id);
                successful.push(answer);
            }
            Err(refusal) => failed.push(json!({
                "Id": entry.id,
                "Code": refusal.code(),
                "Message": refusal.message(),
                "SenderFault": refusal.is_client_fault(),
            })),
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}

fn find_queue(url: &str) -> Result<&'static QueueDefinition, StoreRefusal> {
    let name = queue_name(url);
    QUEUES.iter().find(|queue| queue.name == name).ok_or_else(|| {
        let message = format!("there is no queue `{name}`");
        sqs("AWS.SimpleQueueService.NonExistentQueue", message)
    })
}
