//! A fake upstream for the APIs of Anthropic and OpenAI: answers by scenario, records every
//! request, keeps a ledger.
//!
//! It runs on a separate thread with its own runtime, so a blocking test does not stop it.
//! [`scenario`], [`content`] and [`routes`] decide the answers. [`protocol`] implements HTTP/1.1
//! directly, because the tests measure header case, header order, chunk sizes and broken
//! connections, and an HTTP library hides all four.

mod bedrock;
mod content;
mod gate;
mod ledger;
mod openai;
mod pieces;
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
pub use pieces::send_pieces;
pub use recorded::{RecordedEnd, RecordedExchange, RecordedRequest};
pub use scenario::{Kind, Scenario};
pub use signature::{ACCESS_KEY, ROLE, SECRET_KEY};

use serve::Shared;

/// Options for starting a fake upstream.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether requests and answers are kept; benchmarks do not need them.
    pub record: bool,
    /// The number of threads of its runtime.
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
    /// Starts a fake upstream on a free port that records everything.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts a fake upstream. It accepts connections when this function returns.
    ///
    /// # Panics
    ///
    /// If the address cannot be bound.
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

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests and answers so far, oldest first.
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
    /// If there has been no request.
    pub fn last(&self) -> RecordedExchange {
        self.exchanges().pop().expect("an exchange")
    }

    /// The served usage by model.
    pub fn ledger(&self) -> UsageLedger {
        self.shared.ledger()
    }

    /// Answers the next message request with this scenario, whatever the request contains. Several
    /// calls queue their scenarios in order.
    pub fn next(&self, scenario: &str) {
        self.shared.queue(Scenario::parse(scenario));
    }

    /// Answers every message request with this scenario unless the request names one.
    pub fn always(&self, scenario: &str) {
        self.shared.set_default(Scenario::parse(scenario));
    }

    /// From now on accepts only these credentials.
    pub fn only_takes(&self, credentials: &[&str]) {
        let takes = credentials.iter().map(|one| (*one).to_owned()).collect();
        self.shared.change_settings(|settings| settings.takes = Some(takes));
    }

    /// Lists its models for any credential.
    pub fn lists_publicly(&self) {
        self.shared.change_settings(|settings| settings.lists_publicly = true);
    }

    /// The gate with that name. Scenarios with `gate=<name>` pass it once for each chunk.
    pub fn gate(&self, name: &str) -> Arc<ScriptGate> {
        self.shared.gate(name)
    }

    /// Waits until its thread ends, which happens only when the process is asked to stop.
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
            // The thread has already printed its panic.
            drop(thread.join());
        }
    }
}
