//! Accepts connections and carries out answers step by step. Also the state that the test shares.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::prepared_answers::{PreparedAnswer, PreparedAnswers};
use super::recorded::{RecordedEnd, RecordedExchange, RecordedRequest};
use super::reply::{Body, LedgerEntry, Reply, ReplyStep};
use super::routes;
use super::wire::Connection;
use super::{Scenario, ScriptGate, UsageLedger};

/// The state that connections and the test share.
pub(super) struct Shared {
    record: bool,
    serial: AtomicU64,
    exchanges: Mutex<Vec<RecordedExchange>>,
    ledger: Mutex<UsageLedger>,
    queued: Mutex<VecDeque<Scenario>>,
    default: Mutex<Scenario>,
    shelf: PreparedAnswers,
    gates: Mutex<HashMap<String, Arc<ScriptGate>>>,
    settings: Mutex<ListenerSettings>,
}

/// The accepted credentials.
#[derive(Default)]
pub(super) struct ListenerSettings {
    /// The credentials that are accepted; `None` accepts all.
    pub(super) takes: Option<Vec<String>>,
    /// Whether the list of models is served without a valid credential.
    pub(super) lists_publicly: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(record: bool) -> Self {
        Self {
            record,
            serial: AtomicU64::new(1),
            exchanges: Mutex::default(),
            ledger: Mutex::default(),
            queued: Mutex::default(),
            default: Mutex::new(Scenario::text()),
            shelf: PreparedAnswers::default(),
            gates: Mutex::default(),
            settings: Mutex::default(),
        }
    }

    pub(super) fn exchanges(&self) -> Vec<RecordedExchange> {
        lock(&self.exchanges).clone()
    }

    pub(super) fn ledger(&self) -> UsageLedger {
        lock(&self.ledger).clone()
    }

    pub(super) fn update_ledger(&self, entry: impl FnOnce(&mut UsageLedger)) {
        entry(&mut lock(&self.ledger));
    }

    pub(super) fn queue(&self, scenario: Scenario) {
        lock(&self.queued).push_back(scenario);
    }

    pub(super) fn take_queued(&self) -> Option<Scenario> {
        lock(&self.queued).pop_front()
    }

    pub(super) fn default_scenario(&self) -> Scenario {
        lock(&self.default).clone()
    }

    pub(super) fn set_default(&self, scenario: Scenario) {
        *lock(&self.default) = scenario;
    }

    pub(super) fn change_settings(&self, change: impl FnOnce(&mut ListenerSettings)) {
        change(&mut lock(&self.settings));
    }

    /// Whether the request's credential is accepted for its path.
    pub(super) fn takes(&self, request: &RecordedRequest) -> bool {
        let settings = lock(&self.settings);
        let bearer = request.header("authorization").and_then(|it| it.strip_prefix("Bearer "));
        let credential = request.header("x-api-key").or(bearer).unwrap_or_default();
        let is_list = request.method == "GET" && request.path() == "/v1/models";
        (is_list && settings.lists_publicly)
            || settings.takes.as_ref().is_none_or(|takes| takes.iter().any(|one| one == credential))
    }

    pub(super) fn gate(&self, name: &str) -> Arc<ScriptGate> {
        let mut gates = lock(&self.gates);
        Arc::clone(gates.entry(name.to_owned()).or_insert_with(|| Arc::new(ScriptGate::new())))
    }

    /// The prepared answer to this request, if there is one.
    fn ready(&self, request: &RecordedRequest) -> Option<Arc<PreparedAnswer>> {
        let may = !self.record && lock(&self.queued).is_empty();
        let make = || routes::answer(self, request, 0);
        if may { self.shelf.find(request, make) } else { None }
    }

    fn begin(&self, request: RecordedRequest, reply: &Reply) -> Option<usize> {
        if let Some(bill) = &reply.bill {
            self.update_ledger(|ledger| ledger.row(&bill.model).begun += 1);
        }
        if !self.record {
            return None;
        }
        let mut exchanges = lock(&self.exchanges);
        exchanges.push(RecordedExchange {
            request,
            status: reply.status,
            headers: reply.headers.clone(),
            sent: Vec::new(),
            ending: RecordedEnd::Open,
        });
        Some(exchanges.len() - 1)
    }

    fn note_sent(&self, exchange: Option<usize>, bytes: &[u8]) {
        if let Some(index) = exchange {
            lock(&self.exchanges)[index].sent.extend_from_slice(bytes);
        }
    }

    fn end(&self, exchange: Option<usize>, ending: RecordedEnd, bill: Option<LedgerEntry>) {
        if let (RecordedEnd::Complete, Some(bill)) = (ending, bill) {
            self.update_ledger(|ledger| {
                let row = ledger.row(&bill.model);
                row.complete += 1;
                row.usage.add(bill.usage);
            });
        }
        if let Some(index) = exchange {
            lock(&self.exchanges)[index].ending = ending;
        }
    }
}

/// Serves connections until the future is dropped.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a tokio listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Ok(mut connection) = Connection::new(stream) {
                // A broken connection is a normal ending, and it is recorded.
                drop(converse(&mut connection, &shared).await);
            }
        });
    }
}

async fn converse(connection: &mut Connection, shared: &Shared) -> io::Result<()> {
    while let Some(request) = connection.read_request().await? {
        if let Some(ready) = shared.ready(&request) {
            ready.write(connection).await?;
            continue;
        }
        let side_door = request.path().starts_with("/_");
        let head_only = request.method == "HEAD";
        let close = request.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        let serial = if side_door { 0 } else { shared.serial.fetch_add(1, Ordering::Relaxed) };
        let mut reply = routes::answer(shared, &request, serial);
        let exchange = if side_door { None } else { shared.begin(request, &reply) };
        let mut answering =
            AnswerInProgress { connection, shared, exchange, bill: reply.bill.take() };
        let ending = answering.carry_out(reply, head_only).await.unwrap_or(RecordedEnd::PeerLeft);
        answering.end(ending);
        if ending != RecordedEnd::Complete || close {
            return Ok(());
        }
    }
    Ok(())
}

/// An answer that is being written. Everything is recorded before the bytes that show it are sent.
/// Therefore a test that has seen the end of an answer finds it in the ledger.
struct AnswerInProgress<'a> {
    connection: &'a mut Connection,
    shared: &'a Shared,
    exchange: Option<usize>,
    bill: Option<LedgerEntry>,
}

impl AnswerInProgress<'_> {
    async fn carry_out(&mut self, reply: Reply, head_only: bool) -> io::Result<RecordedEnd> {
        for step in reply.before {
            if let Some(ending) = self.take(step).await? {
                return Ok(ending);
            }
        }
        match reply.body {
            Body::Whole(bytes) => {
                let body = if head_only { &[][..] } else { &bytes };
                self.shared.note_sent(self.exchange, body);
                self.end(RecordedEnd::Complete);
                self.connection.write_whole(reply.status, &reply.headers, &bytes, body).await?;
            }
            Body::Steps(steps) => {
                self.connection.write_head(reply.status, &reply.headers).await?;
                for step in steps {
                    if let Some(ending) = self.take(step).await? {
                        return Ok(ending);
                    }
                }
                self.end(RecordedEnd::Complete);
                self.connection.write_chunk(&Bytes::new()).await?;
            }
        }
        Ok(RecordedEnd::Complete)
    }

    /// Runs one step. A returned ending means that it was the last one.
    async fn take(&mut self, step: ReplyStep) -> io::Result<Option<RecordedEnd>> {
        match step {
            ReplyStep::Write(bytes) => {
                self.shared.note_sent(self.exchange, &bytes);
                self.connection.write_chunk(&bytes).await?;
            }
            ReplyStep::Gate(gate) => {
                tokio::select! {
                    biased;
                    () = gate.pass() => {}
                    () = self.connection.peer_left() => return Ok(Some(RecordedEnd::PeerLeft)),
                }
            }
            ReplyStep::Pause(time) => tokio::time::sleep(time).await,
            ReplyStep::Cut => return Ok(Some(RecordedEnd::Cut)),
            ReplyStep::Hang => {
                self.connection.peer_left().await;
                return Ok(Some(RecordedEnd::PeerLeft));
            }
        }
        Ok(None)
    }

    /// Records the ending, once.
    fn end(&mut self, ending: RecordedEnd) {
        self.shared.end(self.exchange.take(), ending, self.bill.take());
    }
}
