//! SQS in this process: runs the protocol's operations on durable queues, with long polling.
//!
//! `requests` has the protocol's requests, `operations` executes them, and `store` keeps the
//! messages. The consumer of a queue is in `event_source.rs`, the queues are in `definitions.rs`.

mod operations;
mod requests;
mod store;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use crate::{
    LocalError, MillisecondClock,
    definitions::QUEUES,
    executor::StoreExecutor,
    store_reply::{StoreRefusal, StoreReply, parse_request},
};
use requests::ReceiveRequest;
use store::MessageStore;

const ARN_PREFIX: &str = "arn:aws:sqs:us-east-1:000000000000:";
const URL_PREFIX: &str = "http://127.0.0.1/000000000000/";

/// All queues of one store.
#[derive(Clone)]
pub(crate) struct QueueService {
    store: Arc<Mutex<MessageStore>>,
    clock: MillisecondClock,
    executor: StoreExecutor,
    arrival: Arc<ArrivalSignal>,
}

/// Wakes the long polls.
#[derive(Default)]
struct ArrivalSignal {
    arrived: Notify,
    /// Counts how often all long polls were ended early.
    interruptions: AtomicU64,
}

/// The URL of a queue. The local stack uses only its last part.
pub(crate) fn url(name: &str) -> String {
    format!("{URL_PREFIX}{name}")
}

/// The ARN of a queue.
pub(crate) fn queue_arn(name: &str) -> String {
    format!("{ARN_PREFIX}{name}")
}

impl QueueService {
    /// Opens the file, or an empty store in memory. Blocks.
    pub(crate) fn open(
        file: Option<&Path>,
        clock: MillisecondClock,
        executor: StoreExecutor,
    ) -> Result<Self, LocalError> {
        let failed = |cause: rusqlite::Error| LocalError::database("queue", file, &cause);
        let store = MessageStore::open(file).map_err(failed)?;
        store.release_in_flight(clock.now_ms()).map_err(failed)?;
        Ok(Self { store: Arc::new(Mutex::new(store)), clock, executor, arrival: Arc::default() })
    }

    /// Answers one request.
    pub(crate) async fn call_operation(&self, operation: &str, body: Bytes) -> StoreReply {
        if operation == "ReceiveMessage" {
            return self.receive_messages(&body).await.into();
        }
        let operation = operation.to_owned();
        let outcome = self.with_store(move |store, now| {
            operations::dispatch_operation(store, &operation, &body, now)
        });
        let outcome = outcome.await;
        // A send makes messages visible, so all long polls check again.
        self.arrival.arrived.notify_waiters();
        outcome.into()
    }

    /// Makes all open long polls return at once, with the messages that are there.
    pub(crate) fn interrupt(&self) {
        self.arrival.interruptions.fetch_add(1, Ordering::AcqRel);
        self.arrival.arrived.notify_waiters();
    }

    /// Deletes messages whose retention time is over.
    pub(crate) async fn delete_expired(&self) -> Result<usize, StoreRefusal> {
        self.with_store(|store, now| {
            QUEUES.iter().try_fold(0, |count, queue| Ok(count + store.delete_expired(queue, now)?))
        })
        .await
    }

    async fn receive_messages(&self, body: &[u8]) -> Result<Value, StoreRefusal> {
        let request: ReceiveRequest = parse_request(body)?;
        request.check()?;
        let request = Arc::new(request);
        let interruptions = self.arrival.interruptions.load(Ordering::Acquire);
        let mut deadline = None;
        loop {
            // Registered before the check, so that a message sent after the check wakes this poll.
            let mut notified = std::pin::pin!(self.arrival.arrived.notified());
            notified.as_mut().enable();
            let found = {
                let request = Arc::clone(&request);
                self.with_store(move |store, now| operations::receive_now(store, &request, now))
                    .await?
            };
            let deadline = *deadline.get_or_insert(Instant::now() + found.wait);
            let is_interrupted =
                self.arrival.interruptions.load(Ordering::Acquire) != interruptions;
            if !found.is_empty || is_interrupted || Instant::now() >= deadline {
                return Ok(found.answer);
            }
            let until_visible = found.next_visible_in.unwrap_or(Duration::MAX);
            let next_look = Instant::now().checked_add(until_visible).unwrap_or(deadline);
            tokio::select! {
                () = notified => {}
                () = tokio::time::sleep_until(next_look.min(deadline)) => {}
            }
        }
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut MessageStore, i64) -> Result<T, StoreRefusal> + Send + 'static,
    ) -> Result<T, StoreRefusal> {
        let this = self.clone();
        let work = move || {
            let mut store = this.store.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut store, this.clock.now_ms())
        };
        self.executor.run_work(work).await?
    }
}

impl From<rusqlite::Error> for StoreRefusal {
    fn from(cause: rusqlite::Error) -> Self {
        Self::server(cause)
    }
}
