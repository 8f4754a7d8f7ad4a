//! What stays in memory: `bench -- flat`. What an idle stream takes, what large bodies leave behind,
//! and whether it grows in minutes of mixed load. Each build meets the same load at the same time
//! as the others, so that each line is a comparison. Shown is what the kernel says is resident; its
//! own buffers for sockets are not in that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::options::Options;
use crate::relay::BenchedBaton;
use crate::request_path::RequestPath;
use crate::scenario::{hello, question};
use crate::wire::Connection;

/// Open for twenty seconds, silent but for an event every two and a half.
const IDLE: &str = "text;events=2;pace=2500";
/// One begins after the other, so that what many beginnings take at once is not in the figures.
const BETWEEN: Duration = Duration::from_millis(2);
/// Until connections that come and go have left things as they stay.
const CALM: Duration = Duration::from_secs(2);
/// How long what is freed may take to go back to the system.
const LATER: Duration = Duration::from_secs(10);
const MB: usize = 1_000_000;

/// Measures all of it and prints as it goes.
pub(crate) async fn run(options: &Options) -> Result<(), String> {
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned();
    println!("{} thread(s) of Baton; MiB resident; load average {}", options.threads, load());
    let (_upstream, upstream) = crate::upstream().await;
    let baton = BenchedBaton::prepare(upstream, options.threads).await?;
    let mut roads = vec![baton.open(&hello()).await?];
    for build in &options.builds {
        roads.push(baton.open_build(build, &hello()).await?);
    }
    let roads: Vec<_> = roads.into_iter().map(Arc::new).collect();
    print("", roads.iter().map(|road| format!("{:>14}", road.name)));
    resident("after the start", &roads);
    for count in &options.streams {
        let mut streams = Vec::new();
        for road in &roads {
            streams.push(idle(road, *count).await?);
        }
        let kib = |used: &IdleMemory| format!("{:>14.1}", used.kib_a_stream);
        print(&format!("{count} idle streams"), streams.iter().map(|used| mib(used.open_kib)));
        print(" KiB a stream", streams.iter().map(kib));
        print(" when they are over", streams.iter().map(|used| mib(used.over_kib)));
        sleep(LATER).await;
        resident(" and 10 s later", &roads);
    }
    finished(bodies(&roads)).await?;
    resident("after 5 MB bodies", &roads);
    sleep(LATER).await;
    resident(" and 10 s later", &roads);
    let mut mixed = mixed(&roads);
    for minute in 1..=options.minutes {
        let (cpu, begun) =
            (roads.iter().map(|road| road.cpu()).collect::<Vec<_>>(), Instant::now());
        sleep(Duration::from_mins(1)).await;
        if let Some(ended) = mixed.try_join_next() {
            return Err(format!("the load ended: {ended:?}"));
        }
        resident(&format!("minute {minute} of mixed load"), &roads);
        let percent = |(road, before): (&Arc<RequestPath>, &Duration)| {
            let used = road.cpu().saturating_sub(*before).as_secs_f64();
            format!("{:>13.1}%", used / begun.elapsed().as_secs_f64() * 100.0)
        };
        print(" CPU", roads.iter().zip(&cpu).map(percent));
    }
    mixed.shutdown().await;
    sleep(LATER).await;
    resident("10 s after it", &roads);
    println!("load average {}", load());
    Ok(())
}

fn print(what: &str, cells: impl Iterator<Item = String>) {
    println!("{what:<26}{}", cells.collect::<String>());
}

fn resident(what: &str, roads: &[Arc<RequestPath>]) {
    print(what, roads.iter().map(|road| mib(road.resident_kib())));
}

#[expect(clippy::cast_precision_loss, reason = "sizes in a table")]
fn mib(kib: u64) -> String {
    format!("{:>14.1}", kib as f64 / 1024.0)
}

/// What streams took that were open at once.
struct IdleMemory {
    open_kib: u64,
    kib_a_stream: f64,
    over_kib: u64,
}

/// Opens so many streams, looks while all of them wait, and reads them to their end.
#[expect(clippy::cast_precision_loss, reason = "sizes in a table")]
async fn idle(road: &RequestPath, count: u32) -> Result<IdleMemory, String> {
    let request: Arc<[u8]> = road.request(&question(IDLE, true, 0), false).into();
    let (mut streams, begun) = (JoinSet::new(), Arc::<AtomicU32>::default());
    let before = road.resident_kib();
    for _ in 0..count {
        let (address, request, begun) = (road.address, Arc::clone(&request), Arc::clone(&begun));
        streams.spawn(async move {
            let mut connection = Connection::to(address).await?;
            let rest = connection.begin(&request).await?;
            begun.fetch_add(1, Ordering::Relaxed);
            connection.end(rest).await
        });
        sleep(BETWEEN).await;
    }
    while begun.load(Ordering::Relaxed) < count {
        if let Some(ended) = streams.try_join_next() {
            return Err(format!("a stream ended before the last had begun: {ended:?}"));
        }
        sleep(Duration::from_millis(10)).await;
    }
    sleep(CALM).await;
    let open_kib = road.resident_kib();
    let kib_a_stream = open_kib.saturating_sub(before) as f64 / f64::from(count);
    finished(streams).await?;
    Ok(IdleMemory { open_kib, kib_a_stream, over_kib: road.resident_kib() })
}

/// Four clients, each with five bodies of 5 MB.
fn bodies(roads: &[Arc<RequestPath>]) -> JoinSet<io::Result<()>> {
    let mut clients = JoinSet::new();
    for road in roads {
        let request: Arc<[u8]> = road.request(&question("text", false, 5 * MB), false).into();
        for _ in 0..4 {
            let (address, request) = (road.address, Arc::clone(&request));
            clients.spawn(async move {
                let mut connection = Connection::to(address).await?;
                for _ in 0..5 {
                    let rest = connection.begin(&request).await?;
                    connection.end(rest).await?;
                }
                Ok(())
            });
        }
    }
    clients
}

async fn finished(mut clients: JoinSet<io::Result<()>>) -> Result<(), String> {
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// One kind of client in the mixed load.
#[derive(Clone)]
struct MixedClient {
    road: Arc<RequestPath>,
    request: Arc<[u8]>,
    pause: Duration,
    ending: ClientEnding,
}

/// What a client does once an answer has begun.
#[derive(Clone, Copy)]
enum ClientEnding {
    Read,
    /// The client leaves.
    Left,
}

/// Small calls, streams of a second, 1 MB bodies and streams that are left, for ever.
fn mixed(roads: &[Arc<RequestPath>]) -> JoinSet<io::Result<()>> {
    let stream = "text;events=50;pace=20";
    let kinds = [
        (4, 100, ClientEnding::Read, question("text", false, 0)),
        (20, 100, ClientEnding::Read, question(stream, true, 20_000)),
        (2, 500, ClientEnding::Read, question("text", false, MB)),
        (4, 200, ClientEnding::Left, question(stream, true, 20_000)),
    ];
    let mut clients = JoinSet::new();
    for road in roads {
        for (count, millis, ending, body) in &kinds {
            let request: Arc<[u8]> = road.request(body, false).into();
            let (road, pause) = (Arc::clone(road), Duration::from_millis(*millis));
            let client = MixedClient { road, request, pause, ending: *ending };
            for _ in 0..*count {
                clients.spawn(ask(client.clone()));
            }
        }
    }
    clients
}

/// Asks for ever. A new connection for every ten answers, since clients come and go.
async fn ask(client: MixedClient) -> io::Result<()> {
    loop {
        let mut connection = Connection::to(client.road.address).await?;
        for _ in 0..10 {
            let rest = connection.begin(&client.request).await?;
            match client.ending {
                ClientEnding::Read => connection.end(rest).await?,
                ClientEnding::Left => break,
            }
            sleep(client.pause).await;
        }
        sleep(client.pause).await;
    }
}
