//! The load on one road: so many clients with kept connections, each answer read whole.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;

use crate::process::ProcessFigures;
use crate::request_path::RequestPath;
use crate::scenario::{Load, Scenario};
use crate::times::{Times, histogram};
use crate::wire::{Connection, Stopwatch};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What came of it.
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) took: Duration,
    /// Of the road's processes, of the stores behind it, and of this process.
    pub(crate) cpu: [Duration; 3],
    pub(crate) seen: ClientTimes,
    /// The most resident memory above that after the start.
    pub(crate) grown_kib: u64,
}

/// The times that clients saw.
pub(crate) struct ClientTimes {
    pub(crate) first: Times,
    whole: Times,
    pub(crate) events: Times,
}

impl ClientTimes {
    fn new() -> Self {
        Self { first: histogram(), whole: histogram(), events: histogram() }
    }

    fn add(&mut self, other: &Self) {
        for (all, one) in [
            (&mut self.first, &other.first),
            (&mut self.whole, &other.whole),
            (&mut self.events, &other.events),
        ] {
            all.add(one).expect("the same bounds");
        }
    }
}

/// What each client is told.
#[derive(Clone)]
struct ClientOrder {
    road: Arc<RequestPath>,
    request: Arc<[u8]>,
    load: Load,
    stamped: bool,
    begin: Arc<Barrier>,
}

/// Puts the scenario's load on the road.
pub(crate) async fn run(
    road: &Arc<RequestPath>,
    scenario: &Scenario,
    limited: bool,
) -> io::Result<Measured> {
    let order = ClientOrder {
        road: Arc::clone(road),
        request: road.request(&scenario.body, limited).into(),
        load: scenario.load,
        stamped: scenario.stamped,
        begin: Arc::new(Barrier::new(scenario.at_once as usize + 1)),
    };
    let clients: Vec<_> = (0..scenario.at_once)
        .map(|serial| {
            let share = f64::from(serial) / f64::from(scenario.at_once);
            tokio::spawn(client(order.clone(), share))
        })
        .collect();
    order.begin.wait().await;
    let cpu = || [road.cpu(), road.stores_cpu(), ProcessFigures::own().cpu()];
    let (start, before) = (Instant::now(), cpu());
    order.begin.wait().await;
    let most = Arc::new(AtomicU64::new(0));
    let watching = tokio::spawn(watch(Arc::clone(road), Arc::clone(&most)));
    let mut seen = ClientTimes::new();
    for client in clients {
        seen.add(&client.await.expect("a client of the load")?);
    }
    let (took, after) = (start.elapsed(), cpu());
    watching.abort();
    Ok(Measured {
        requests: seen.whole.len(),
        took,
        cpu: std::array::from_fn(|at| after[at].saturating_sub(before[at])),
        seen,
        grown_kib: most.load(Ordering::Relaxed),
    })
}

/// Keeps `most` at the most memory seen.
async fn watch(road: Arc<RequestPath>, most: Arc<AtomicU64>) {
    loop {
        most.fetch_max(road.grown_kib(), Ordering::Relaxed);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `share` is this client's place among all, from 0 to 1.
async fn client(order: ClientOrder, share: f64) -> io::Result<ClientTimes> {
    let ready = warmed(&order).await;
    order.begin.wait().await;
    order.begin.wait().await;
    let mut connection = ready?;
    let start = Instant::now();
    let mut seen = ClientTimes::new();
    match order.load {
        Load::Loop(length) => {
            while start.elapsed() < length {
                ask(&mut connection, &order, &mut seen).await?;
            }
        }
        Load::Spread(time) => {
            tokio::time::sleep(time.mul_f64(share)).await;
            ask(&mut connection, &order, &mut seen).await?;
        }
    }
    Ok(seen)
}

/// A connection that was used once already, if it will be used often.
async fn warmed(order: &ClientOrder) -> io::Result<Connection> {
    let mut connection = Connection::to(order.road.address).await?;
    if matches!(order.load, Load::Loop(_)) {
        ask(&mut connection, order, &mut ClientTimes::new()).await?;
    }
    Ok(connection)
}

async fn ask(
    connection: &mut Connection,
    order: &ClientOrder,
    seen: &mut ClientTimes,
) -> io::Result<()> {
    let mut watch = Stopwatch {
        first: &mut seen.first,
        whole: &mut seen.whole,
        events: &mut seen.events,
        stamped: order.stamped,
    };
    loop {
        match connection.ask(&order.request, &mut watch).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                *connection = Connection::to(order.road.address).await?;
            }
            asked => return asked,
        }
    }
}
