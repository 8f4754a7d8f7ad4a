//! The actions and faults of a run, as a function of the seed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The time in which clients send requests.
const MINUTES: u64 = 5;

/// All decisions that are made before a run starts.
#[derive(Debug)]
pub(crate) struct RunPlan {
    pub(crate) begins: Timestamp,
    pub(crate) requests: Arc<Vec<PlannedRequest>>,
    pub(crate) events: Vec<(Duration, PlannedEvent)>,
    pub(crate) outages: Vec<OutageWindow>,
    /// After how many calls and chunks each following instance dies; the last ones do not die.
    pub(crate) crash_points: Vec<u32>,
    /// Whether nothing goes wrong that would excuse a wrong number.
    pub(crate) is_calm: bool,
}

/// One request of a client.
#[derive(Debug)]
pub(crate) struct PlannedRequest {
    pub(crate) at: Duration,
    pub(crate) key: usize,
    pub(crate) slot: usize,
    pub(crate) stream: bool,
    pub(crate) max_tokens: u64,
    pub(crate) patience: ClientPatience,
    /// The behavior of its upstreams, in order of the calls.
    pub(crate) upstream_behaviors: Vec<UpstreamBehavior>,
    pub(crate) served: ServedUsage,
}

/// How long a client waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ClientPatience {
    ToTheEnd,
    /// Until the answer begins, but at most this long.
    For(Duration),
    /// Until this number of bytes has arrived.
    Bytes(usize),
}

/// The result of one upstream call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamBehavior {
    Whole,
    Refuse,
    Hang,
    Status(u16),
    ErrorFirst,
    /// The connection breaks after this many thousandths of the answer.
    CutAt(usize),
    /// The upstream is silent from this point on.
    StallAt(usize),
}

/// The billed tokens of a whole answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServedUsage {
    pub(crate) input: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) output: u64,
    pub(crate) chunk: usize,
    pub(crate) pace: Duration,
}

/// Events in addition to requests.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PlannedEvent {
    /// One of three queue consumers processes the available messages.
    Consume {
        consumer: usize,
        polls: Option<u32>,
    },
    Tick {
        polls: Option<u32>,
    },
    Jump(i64),
    Kill(usize),
}

/// A time in which the connection to the stores is faulty.
#[derive(Debug, Clone)]
pub(crate) struct OutageWindow {
    pub(crate) time: Range<Duration>,
    pub(crate) kind: OutageKind,
    /// The affected calls in percent.
    pub(crate) share: u8,
}

/// How the connection is faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutageKind {
    Throttled,
    Internal,
    Conflict,
    /// No call arrives.
    Lost,
    /// Each call arrives, but its answer is lost.
    Unanswered,
    QueueDown,
    /// The queue and the state table are unavailable.
    BothDown,
}

impl RunPlan {
    pub(crate) fn of(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let is_calm = rng.random_ratio(1, 8);
        let count = rng.random_range(3..14_u32);
        let requests =
            (0..count).map(|number| PlannedRequest::draw(rng, is_calm, number.into())).collect();
        let crash_count =
            if is_calm || rng.random_bool(0.4) { 0 } else { rng.random_range(1..4_u32) };
        Self {
            begins: begin(rng),
            requests: Arc::new(requests),
            events: events(rng, is_calm),
            outages: if is_calm { Vec::new() } else { outages(rng) },
            crash_points: (0..crash_count).map(|_| rng.random_range(3..80)).collect(),
            is_calm,
        }
    }
}

/// In most runs shortly before a midnight that also ends a week or a month.
fn begin(rng: &mut StdRng) -> Timestamp {
    let days = ["2027-03-14", "2027-02-28", "2027-12-31", "2027-06-16"];
    let day = days[rng.random_range(0..days.len())];
    let second = rng.random_range(0..360);
    let minute = if rng.random_bool(0.7) { "23:55" } else { "11:57" };
    let at: Timestamp = format!("{day}T{minute}:00Z").parse().expect("a time");
    at + jiff::SignedDuration::from_secs(second)
}

fn moment(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(0..MINUTES * 60_000))
}

fn events(rng: &mut StdRng, is_calm: bool) -> Vec<(Duration, PlannedEvent)> {
    let mut events = Vec::new();
    let polls =
        |rng: &mut StdRng| (!is_calm && rng.random_ratio(1, 4)).then(|| rng.random_range(1..40));
    for _ in 0..rng.random_range(2..7_u32) {
        let consumer = rng.random_range(0..3);
        let polls = polls(rng);
        events.push((moment(rng), PlannedEvent::Consume { consumer, polls }));
    }
    // Since the consumers are this slow, refresh would correctly give up on requests.
    let ticks = if is_calm { 0 } else { rng.random_range(1..4_u32) };
    for _ in 0..ticks {
        let polls = polls(rng);
        events.push((moment(rng), PlannedEvent::Tick { polls }));
    }
    if !is_calm && rng.random_ratio(1, 3) {
        let seconds = [61, 300, 3600, 86_400][rng.random_range(0..4)];
        events.push((moment(rng), PlannedEvent::Jump(seconds)));
    }
    if !is_calm && rng.random_ratio(1, 4) {
        events.push((moment(rng), PlannedEvent::Kill(rng.random_range(0..2))));
    }
    events
}

fn outages(rng: &mut StdRng) -> Vec<OutageWindow> {
    const KINDS: [OutageKind; 7] = [
        OutageKind::Throttled,
        OutageKind::Internal,
        OutageKind::Conflict,
        OutageKind::Lost,
        OutageKind::Unanswered,
        OutageKind::QueueDown,
        OutageKind::BothDown,
    ];
    let mut draw = || {
        let from = moment(rng);
        let length = Duration::from_secs(rng.random_range(5..240));
        let kind = KINDS[rng.random_range(0..KINDS.len())];
        OutageWindow { time: from..from + length, kind, share: rng.random_range(5..90) }
    };
    (0..3).map(|_| draw()).collect()
}

impl PlannedRequest {
    fn draw(rng: &mut StdRng, is_calm: bool, number: u64) -> Self {
        let max_tokens = rng.random_range(16..600);
        let patience = match rng.random_range(0..10) {
            0 if !is_calm => ClientPatience::For(Duration::from_millis(rng.random_range(0..3000))),
            1 | 2 if !is_calm => ClientPatience::Bytes(rng.random_range(1..1500)),
            _ => ClientPatience::ToTheEnd,
        };
        Self {
            // No two requests start in the same millisecond, because the start identifies a record.
            at: Duration::from_millis(rng.random_range(0..MINUTES * 3_000) * 20 + number),
            key: rng.random_range(0..4),
            slot: rng.random_range(0..2),
            stream: rng.random_bool(0.75),
            max_tokens,
            patience,
            upstream_behaviors: (0..3).map(|_| UpstreamBehavior::draw(rng, is_calm)).collect(),
            served: ServedUsage {
                input: rng.random_range(1..400),
                cache_read: rng.random_range(0..300),
                cache_write: rng.random_range(0..300),
                output: rng.random_range(1..=max_tokens),
                chunk: rng.random_range(20..900),
                pace: Duration::from_millis(rng.random_range(0..400)),
            },
        }
    }
}

impl UpstreamBehavior {
    fn draw(rng: &mut StdRng, is_calm: bool) -> Self {
        let place = rng.random_range(0..1000);
        match rng.random_range(0..24) {
            0 => Self::Status([429, 529, 500, 400][rng.random_range(0..4)]),
            1 if !is_calm => Self::Refuse,
            2 if !is_calm => Self::Hang,
            3 if !is_calm => Self::ErrorFirst,
            4..=6 if !is_calm => Self::CutAt(place),
            7 if !is_calm => Self::StallAt(place),
            _ => Self::Whole,
        }
    }
}
