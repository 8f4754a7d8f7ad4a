//! The fake upstream, Anthropic's and OpenAI's: answers by scenario, records every request, keeps a ledger.
//!
//! It runs on a thread of its own with its own runtime, so a test may block without starving it.
//! What it says is decided in [`scenario`], [`content`] and [`routes`]; [`wire`] knows HTTP/1.1 by
//! hand, because header case, header order, chunk sizes and torn connections are what is measured
//! here and an HTTP library hides all four.

mod bedrock;
mod content;
mod gate;
mod ledger;
mod openai;
mod prepared_answers;
mod recorded;
mod reply;
mod routes;
mod scenario;
mod serve;
mod signature;
mod sts;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use bedrock::API_KEY as BEDROCK_KEY;
pub use gate::ScriptGate;
pub use ledger::{LedgerRow, ServedTokens, UsageLedger};
pub use recorded::{RecordedEnd, RecordedExchange, RecordedRequest};
pub use scenario::{Kind, Scenario};
pub use signature::{ACCESS_KEY, ROLE, SECRET_KEY};

use serve::Shared;

/// How a fake upstream is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether requests and answers are kept (a benchmark does not want them).
    pub record: bool,
    /// Threads of its runtime.
    pub workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), record: true, workers: 1 }
    }
}

/// A running fake upstream; it stops when dropped.
pub struct FakeUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeUpstream {
    /// Starts one on a free port that records everything.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts one; it accepts connections when this returns.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    pub fn start_with(options: Options) -> Self {
        let listener = TcpListener::bind(options.listen).expect("bind the fake upstream");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("the fake upstream's address");
        let shared = Arc::new(Shared::new(options.record));
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(options.workers)
                .enable_all()
                .build()
                .expect("a runtime for the fake upstream");
            runtime.block_on(async move {
                tokio::select! {
                    () = serve::accept(listener, serving) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked and answered so far, oldest first.
    pub fn exchanges(&self) -> Vec<RecordedExchange> {
        self.shared.exchanges()
    }

    /// The exchanges on a path (without the query).
    pub fn exchanges_on(&self, path: &str) -> Vec<RecordedExchange> {
        self.exchanges().into_iter().filter(|exchange| exchange.request.path() == path).collect()
    }

    /// The newest exchange.
    ///
    /// # Panics
    ///
    /// When nothing was asked yet.
    pub fn last(&self) -> RecordedExchange {
        self.exchanges().pop().expect("the upstream was asked")
    }

    /// What it served, by model.
    pub fn ledger(&self) -> UsageLedger {
        self.shared.ledger()
    }

    /// Answers the next message request with this scenario, whatever the request says; may be
    /// called several times, the answers are given in that order.
    pub fn next(&self, scenario: &str) {
        self.shared.queue(Scenario::parse(scenario));
    }

    /// Answers every message request with this scenario unless the request names one.
    pub fn always(&self, scenario: &str) {
        self.shared.set_default(Scenario::parse(scenario));
    }

    /// Takes these credentials and no others from now on.
    pub fn only_takes(&self, credentials: &[&str]) {
        let takes = credentials.iter().map(|one| (*one).to_owned()).collect();
        self.shared.set_doors(|doors| doors.takes = Some(takes));
    }

    /// Lists its models to everybody, whatever credential they show.
    pub fn lists_publicly(&self) {
        self.shared.set_doors(|doors| doors.lists_publicly = true);
    }

    /// The gate of that name; scenarios with `gate=<name>` pass it once per chunk.
    pub fn gate(&self, name: &str) -> Arc<ScriptGate> {
        self.shared.gate(name)
    }

    /// Waits until its thread ends, which happens only when the process is told to.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the fake upstream's thread");
        }
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was already printed by that thread.
            drop(thread.join());
        }
    }
}
