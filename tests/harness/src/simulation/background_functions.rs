//! The other functions at work: consumers that receive messages repeatedly and in any order, the
//! refresh function, and the end of a run, when all faults are over and the remaining work is done.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use baton_domain::record::UsageRecord;
use baton_runtime::dead_letters::DeadLetters;
use baton_runtime::signed_record;
use baton_runtime::vault::Pepper;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::instance::process;
use super::instance_life::InstanceLife;
use super::record_log;
use super::simulated_world::{SimulatedWorld, locked};
use crate::system::InProcessSystem;
use crate::table_rights::TableRights;

/// Work that is not finished after this number of rounds never will be.
const ROUNDS_MAX: u32 = 12;
/// Longer than the queue hides a message, and longer than a reservation lives.
const ROUND: Duration = Duration::from_secs(400);

/// The background functions of a world.
pub(crate) struct BackgroundFunctions {
    world: Arc<SimulatedWorld>,
    bag: Arc<Mutex<RedeliveryQueue>>,
}

/// Messages that will be delivered again, with the number of further deliveries.
struct RedeliveryQueue {
    old: Vec<(u32, SqsMessage)>,
    rng: StdRng,
    delivered: usize,
}

impl BackgroundFunctions {
    pub(crate) fn new(world: &Arc<SimulatedWorld>) -> Self {
        let rng = StdRng::seed_from_u64(world.seed ^ 0xba6);
        let bag = RedeliveryQueue { old: Vec::new(), rng, delivered: 0 };
        Self { world: Arc::clone(world), bag: Arc::new(Mutex::new(bag)) }
    }

    fn process(&self, number: u64, rights: &TableRights) -> InProcessSystem {
        let life = InstanceLife::of(None);
        process(&self.world, self.world.seed ^ number, &life, rights)
    }

    /// A consumer processes the messages of the queue, mixed with earlier ones. If `polls` is
    /// given, it dies after this number of polls, and the batch is delivered again.
    pub(crate) async fn consume(&self, consumer: usize, polls: Option<u32>) {
        let process = self.process(consumer as u64 + 100, &self.world.rights.stats);
        let store = process.store.clone();
        let bag = Arc::clone(&self.bag);
        let now = CancellationToken::new();
        now.cancel();
        let handler = move |event: SqsEvent| {
            let (store, bag) = (store.clone(), Arc::clone(&bag));
            async move {
                let own: Vec<_> =
                    event.records.iter().filter_map(|one| one.message_id.clone()).collect();
                let mut mixed = SqsEvent::default();
                mixed.records = locked(&bag).mix(event.records);
                let handled = baton_stats::handle(&store.stats, mixed);
                let mut answer = SqsBatchResponse::default();
                match Box::pin(at_most(polls, handled)).await {
                    Some(handled_batch) => {
                        answer = handled_batch;
                        answer.batch_item_failures.retain(|one| own.contains(&one.item_identifier));
                    }
                    None => own.into_iter().for_each(|id| answer.add_failure(id)),
                }
                answer
            }
        };
        process.local.consume_usage(now, handler).await;
    }

    pub(crate) async fn tick(&self, polls: Option<u32>) {
        let InProcessSystem { store, queue, .. } = self.process(200, &self.world.rights.refresh);
        // Its result does not matter, because the next call tries again.
        drop(
            at_most(polls, baton_refresh::collect_usage(&store.refresh, &queue, "caretaker")).await,
        );
    }

    /// Whether the instance that wrote a record had died before: a dead process writes no log.
    fn died_before(&self, record: &UsageRecord, at: Instant) -> bool {
        let client_requests = locked(&self.world.client_requests);
        let mut mine = client_requests
            .iter()
            .filter(|one| one.key == record.key_id && one.at == record.started_at);
        mine.any(|one| one.died.is_some_and(|died| died <= at))
    }

    /// Processes the remaining work until nothing is left.
    pub(crate) async fn drain(&self) {
        let system = &self.world.system;
        let letters = DeadLetters::from_resources(&system.aws(), &system.settings.resources)
            .expect("dead letters");
        let queue = self.process(300, &self.world.rights.refresh).queue;
        let pepper = Pepper::new(&system.pepper);
        self.consume(0, None).await;
        for _ in 0..ROUNDS_MAX {
            let before = locked(&self.bag).delivered;
            tokio::time::sleep(ROUND).await;
            for record in record_log::records() {
                let at = record.at;
                let record = signed_record::verify(&pepper, &record.signed);
                let record = record.expect("a signed record");
                if self.died_before(&record, at) {
                    continue;
                }
                queue.send(&record).await.expect("the queue is up");
            }
            self.tick(None).await;
            letters.redrive(1000).await.expect("the queue is up");
            self.consume(0, None).await;
            if locked(&self.bag).delivered == before && self.is_over().await {
                return;
            }
        }
    }

    async fn is_over(&self) -> bool {
        let store = self.process(301, &self.world.rights.refresh).store;
        let mut open = store.refresh.pending.list().await.expect("the store is up").len();
        for key in &self.world.keys {
            open += store
                .admin
                .counters
                .read_key_counters(&key.id)
                .await
                .expect("the store is up")
                .open_reservations
                .len();
        }
        open == 0
    }
}

impl RedeliveryQueue {
    /// A batch with some of the earlier messages in it, in any order.
    fn mix(&mut self, fresh: Vec<SqsMessage>) -> Vec<SqsMessage> {
        self.delivered += fresh.len();
        let mut batch = Vec::new();
        for (left, message) in &mut self.old {
            if *left > 0 && self.rng.random_bool(0.5) {
                *left -= 1;
                let mut again = message.clone();
                again.message_id = again.message_id.map(|id| format!("again-{left}-{id}"));
                batch.push(again);
            }
        }
        for message in fresh {
            self.old.push((self.rng.random_range(0..5), message.clone()));
            batch.push(message);
        }
        batch.shuffle(&mut self.rng);
        batch
    }
}

/// Polls `future` at most this number of times, and then drops it.
async fn at_most<F: Future>(polls: Option<u32>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls.unwrap_or(u32::MAX);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
