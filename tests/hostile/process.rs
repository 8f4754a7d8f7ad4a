//! What the operating system reports about a running Baton, and bytes that no HTTP client would
//! send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_test_harness::system::TestSystem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most resident memory in MB that any input may cause.
pub(crate) const RESIDENT_MB_MAX: u64 = 256;

/// A line of `/proc/<id>/status` in MB. `VmRSS` is the resident memory, `VmHWM` its peak.
pub(crate) fn memory_mb(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(u64::MAX) / 1024
}

/// Lets `VmHWM` begin again at the present memory. Returns the present memory in MB.
pub(crate) fn reset_peak(process: u32) -> u64 {
    // Without the right to do so, the peak of the whole run counts.
    let _reset = std::fs::write(format!("/proc/{process}/clear_refs"), "5");
    memory_mb(process, "VmRSS")
}

/// The longest time for `GET /health`, in a debug build on a machine that runs other tests too.
pub(crate) const HEALTH_MAX: Duration = Duration::from_secs(2);

/// Asks `GET /health` until it is stopped.
pub(crate) struct HealthWatch {
    is_over: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<(Duration, bool)>,
}

impl HealthWatch {
    /// Starts to ask, with a pause after each answer.
    pub(crate) fn start(relay: SocketAddr, pause: Duration) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let asking = tokio::spawn(async move {
            let (mut longest, mut is_served) = (Duration::ZERO, true);
            while !flag.load(Ordering::Relaxed) {
                let began = Instant::now();
                is_served &= health(relay).await == "200";
                longest = longest.max(began.elapsed());
                tokio::time::sleep(pause).await;
            }
            (longest, is_served)
        });
        Self { is_over, asking }
    }

    /// Stops. Returns the longest time for an answer, or an observation if one took longer than
    /// `most` or was not an answer.
    pub(crate) async fn finish(self, most: Duration) -> Result<Duration, String> {
        self.is_over.store(true, Ordering::Relaxed);
        match self.asking.await {
            Ok((longest, true)) if longest < most => Ok(longest),
            Ok((longest, is_served)) => Err(format!("{longest:?}, all answered: {is_served}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Opens a connection and sends `bytes`.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    Ok(stream)
}

/// Reads for this time or until the other end closes. Returns the bytes, and whether the other end
/// closed.
pub(crate) async fn read_to_end(stream: &mut TcpStream, patience: Duration) -> (String, bool) {
    let mut said = Vec::new();
    let reading = async { while let Ok(1..) = stream.read_buf(&mut said).await {} };
    let is_closed = tokio::time::timeout(patience, reading).await.is_ok();
    (String::from_utf8_lossy(&said).into_owned(), is_closed)
}

/// The status of `GET /health`, within a few seconds.
pub(crate) async fn health(address: SocketAddr) -> String {
    let ask = async {
        let request = b"GET /health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
        let mut stream = send(address, request).await.map_err(|error| error.to_string())?;
        let (said, _) = read_to_end(&mut stream, Duration::from_secs(5)).await;
        Ok::<_, String>(said.get(9..12).unwrap_or("nothing").to_owned())
    };
    let asked = tokio::time::timeout(Duration::from_secs(6), ask).await;
    asked.unwrap_or_else(|_| Err("no answer in time".to_owned())).unwrap_or_else(|error| error)
}

/// A well-formed key that does not exist.
pub(crate) fn unknown_key(number: u64) -> String {
    let id = baton_domain::id::KeyId::from_bits(u128::from(number) << 32 | 7);
    let secret = baton_domain::relay_key::new_secret([u128::from(number), 5]);
    baton_domain::relay_key::compose(&id, &secret).expose().to_owned()
}

/// The address in a base URL.
pub(crate) fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

/// The CPU seconds that a process has used so far.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The fields after the program's name, which can contain spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

/// A running Baton with one account. Its keys can count tokens and list models without a limit.
pub(crate) async fn open_for_counts() -> TestSystem {
    let launch = TestSystem::builder()
        .env("BATON_FREE_CALLS_PER_MINUTE", "1000000")
        .env("BATON_FREE_CALLS_CONCURRENCY", "1000");
    launch.with_account("main").start().await
}
