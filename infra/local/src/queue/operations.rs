//! The operations of the SQS JSON protocol and their answers.
//!
//! Limits are in `requests.rs`, waiting is in `mod.rs`, and storage is in `store.rs`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    ARN_PREFIX, checksum, queue_arn,
    requests::{
        BatchEntry, MESSAGE_BYTES_MAX, ReceiveRequest, SqsRequest, batch, check_visibility,
        invalid, queue_name, sqs,
    },
    store::{MessageStore, NewMessage, QueueSettings},
    url,
};
use crate::store_reply::{StoreRefusal, parse_request};

/// The result of one check for messages.
pub(super) struct ReceiveResult {
    pub(super) response: Value,
    pub(super) is_empty: bool,
    /// How long the request is willing to wait.
    pub(super) wait: Duration,
    pub(super) next_visible_in: Option<Duration>,
}

/// Answers any request except `ReceiveMessage`.
pub(super) fn dispatch_operation(
    store: &mut MessageStore,
    operation: &str,
    body: &[u8],
    now: i64,
) -> Result<Value, StoreRefusal> {
    let request: SqsRequest = parse_request(body)?;
    match operation {
        "CreateQueue" => return create(store, &request, now),
        "GetQueueUrl" => {
            let queue = find(store, &request.queue_name)?;
            return Ok(json!({ "QueueUrl": url(&queue.name) }));
        }
        "StartMessageMoveTask" => return start_move(store, &request, now),
        _ => {}
    }
    let queue = find(store, queue_name(&request.queue_url))?;
    match operation {
        "SendMessage" => send_message(store, &queue, &request.single, now),
        "DeleteMessage" => {
            store.delete(&queue.name, &[request.single.receipt()?])?;
            Ok(json!({}))
        }
        "ChangeMessageVisibility" => change_visibility(store, &queue, &request.single, now),
        "GetQueueAttributes" => attributes(store, &queue, &request.attribute_names, now),
        "PurgeQueue" => Ok(store.purge(&queue.name).map(|()| json!({}))?),
        "SendMessageBatch" => send_batch(store, &queue, &batch(request.entries)?, now),
        "DeleteMessageBatch" => Ok(delete_batch(store, &queue, &batch(request.entries)?)?),
        "ChangeMessageVisibilityBatch" => Ok(run_batch(&batch(request.entries)?, |entry| {
            change_visibility(store, &queue, entry, now)
        })),
        _ => Err(StoreRefusal::unknown_operation(operation)),
    }
}

/// Checks once for messages.
pub(super) fn receive_now(
    store: &mut MessageStore,
    request: &ReceiveRequest,
    now: i64,
) -> Result<ReceiveResult, StoreRefusal> {
    let queue = find(store, queue_name(&request.queue_url))?;
    let count = request.max_number_of_messages.unwrap_or(1);
    let visibility = request.visibility_timeout.unwrap_or(queue.visibility_seconds);
    let messages = store.receive_messages(&queue, count, visibility, now)?;
    let next_visible_in =
        if messages.is_empty() { store.next_visible_at(&queue.name, now)? } else { None };
    let messages: Vec<_> = messages.iter().map(|message| request.message_json(message)).collect();
    Ok(ReceiveResult {
        is_empty: messages.is_empty(),
        response: if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) },
        wait: Duration::from_secs(request.wait_time_seconds.unwrap_or(0)),
        next_visible_in: next_visible_in
            .map(|timestamp| Duration::from_millis(u64::try_from(timestamp - now).unwrap_or(0))),
    })
}

fn create(store: &MessageStore, request: &SqsRequest, now: i64) -> Result<Value, StoreRefusal> {
    let number = |name: &str, default: i64| match request.attributes.get(name) {
        Some(value) => value
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid(format!("{name} is not a number"))),
        None => Ok(default),
    };
    let redrive = match request.attributes.get("RedrivePolicy").and_then(Value::as_str) {
        Some(policy) => serde_json::from_str::<Value>(policy)
            .map_err(|cause| invalid(format!("RedrivePolicy: {cause}")))?,
        None => Value::Null,
    };
    let target = redrive["deadLetterTargetArn"].as_str();
    let max = &redrive["maxReceiveCount"];
    let max = max.as_i64().or_else(|| max.as_str().and_then(|text| text.parse().ok()));
    let settings = QueueSettings {
        name: request.queue_name.clone(),
        visibility_seconds: number("VisibilityTimeout", 30)?,
        delay_seconds: number("DelaySeconds", 0)?,
        retention_seconds: number("MessageRetentionPeriod", 345_600)?,
        dead_letter_queue: target.map(|arn| arn.trim_start_matches(ARN_PREFIX).to_owned()),
        receive_count_max: max.unwrap_or(0),
        created_at: now,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !(1..=80).contains(&settings.name.len()) || !settings.name.chars().all(is_name) {
        return Err(invalid("a queue's name has 1 to 80 letters, digits, - and _".to_owned()));
    }
    store.put_queue(&settings)?;
    Ok(json!({ "QueueUrl": url(&settings.name) }))
}

fn send_message(
    store: &mut MessageStore,
    queue: &QueueSettings,
    entry: &BatchEntry,
    now: i64,
) -> Result<Value, StoreRefusal> {
    entry.check_message()?;
    let ids = store.send_messages(queue, &[to_new_message(entry)?], now)?;
    Ok(send_result(entry, ids.first()))
}

/// Stores the valid messages of a batch in one transaction.
fn send_batch(
    store: &mut MessageStore,
    queue: &QueueSettings,
    entries: &[BatchEntry],
    now: i64,
) -> Result<Value, StoreRefusal> {
    let valid = entries.iter().filter(|entry| entry.check_message().is_ok());
    let messages: Vec<_> = valid.map(to_new_message).collect::<Result<_, _>>()?;
    let mut ids = store.send_messages(queue, &messages, now)?.into_iter();
    Ok(run_batch(entries, |entry| {
        entry.check_message()?;
        Ok(send_result(entry, ids.next().as_ref()))
    }))
}

fn to_new_message(entry: &BatchEntry) -> Result<NewMessage, StoreRefusal> {
    Ok(NewMessage {
        body: entry.message_body.clone(),
        attributes: serde_json::to_string(&entry.message_attributes)
            .map_err(StoreRefusal::server)?,
        delay_seconds: entry.delay_seconds,
    })
}

fn send_result(entry: &BatchEntry, id: Option<&String>) -> Value {
    let mut response = json!({
        "MessageId": id,
        "MD5OfMessageBody": checksum::checksum_body(&entry.message_body),
    });
    if let Some(sum) = checksum::checksum_attributes(&entry.message_attributes) {
        response["MD5OfMessageAttributes"] = json!(sum);
    }
    response
}

fn change_visibility(
    store: &MessageStore,
    queue: &QueueSettings,
    entry: &BatchEntry,
    now: i64,
) -> Result<Value, StoreRefusal> {
    check_visibility(entry.visibility_timeout)?;
    let until = now + entry.visibility_timeout * 1000;
    if store.hide_until(&queue.name, entry.receipt()?, until, now)? {
        return Ok(json!({}));
    }
    let message = "the message is not in flight under this receipt handle";
    Err(sqs("AWS.SimpleQueueService.MessageNotInflight", message.to_owned()))
}

fn delete_batch(
    store: &mut MessageStore,
    queue: &QueueSettings,
    entries: &[BatchEntry],
) -> Result<Value, StoreRefusal> {
    let receipts: Vec<_> = entries.iter().filter_map(|entry| entry.receipt().ok()).collect();
    store.delete(&queue.name, &receipts)?;
    Ok(run_batch(entries, |entry| entry.receipt().map(|_| json!({}))))
}

/// Moves the messages at once; the task handle in the answer has no further use.
fn start_move(store: &MessageStore, request: &SqsRequest, now: i64) -> Result<Value, StoreRefusal> {
    let source = find(store, queue_name(&request.source_arn))?;
    let target = match &request.destination_arn {
        Some(arn) => Some(find(store, queue_name(arn))?.name),
        None => None,
    };
    let moved = store.move_all(&source.name, target.as_deref(), now)?;
    Ok(json!({ "TaskHandle": format!("moved-{moved}") }))
}

fn attributes(
    store: &MessageStore,
    queue: &QueueSettings,
    requested: &[String],
    now: i64,
) -> Result<Value, StoreRefusal> {
    let counts = store.count_messages(&queue.name, now)?;
    let mut all = Map::new();
    for (name, number) in [
        ("ApproximateNumberOfMessages", counts.visible),
        ("ApproximateNumberOfMessagesNotVisible", counts.in_flight),
        ("ApproximateNumberOfMessagesDelayed", counts.delayed),
        ("VisibilityTimeout", queue.visibility_seconds),
        ("DelaySeconds", queue.delay_seconds),
        ("MessageRetentionPeriod", queue.retention_seconds),
        ("CreatedTimestamp", queue.created_at / 1000),
        ("ReceiveMessageWaitTimeSeconds", 0),
        ("MaximumMessageSize", i64::try_from(MESSAGE_BYTES_MAX).unwrap_or(i64::MAX)),
    ] {
        all.insert(name.to_owned(), Value::String(number.to_string()));
    }
    all.insert("QueueArn".to_owned(), json!(queue_arn(&queue.name)));
    if let Some(target) = &queue.dead_letter_queue {
        let max = queue.receive_count_max;
        let policy = json!({ "deadLetterTargetArn": queue_arn(target), "maxReceiveCount": max });
        all.insert("RedrivePolicy".to_owned(), json!(policy.to_string()));
    }
    all.retain(|name, _| requested.iter().any(|requested| requested == "All" || requested == name));
    Ok(json!({ "Attributes": all }))
}

/// Runs `deed` for every entry and reports which entries failed.
fn run_batch(
    entries: &[BatchEntry],
    mut operation: impl FnMut(&BatchEntry) -> Result<Value, StoreRefusal>,
) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match operation(entry) {
            Ok(mut response) => {
                response["Id"] = json!(entry.id);
                successful.push(response);
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

fn find(store: &MessageStore, name: &str) -> Result<QueueSettings, StoreRefusal> {
    store.queue(name)?.ok_or_else(|| {
        let message = format!("there is no queue `{name}`");
        sqs("AWS.SimpleQueueService.NonExistentQueue", message)
    })
}
