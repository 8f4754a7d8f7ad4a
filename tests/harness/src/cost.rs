//! The cost of a million requests on AWS: the model behind `docs/operate/aws-costs.md`.
//!
//! The units that a request uses in the stores are assumed here, and `tests/it/cost_model.rs`
//! compares them with the local stack. The prices are facts about AWS.

use serde_json::Value;

/// The DynamoDB and SQS usage of a request, in thousandths of billed units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BilledUnits {
    /// Read units. Each item or page counts as one. A small, eventually consistent read is billed
    /// as half of that.
    pub reads: u64,
    /// Write units.
    pub writes: u64,
    /// SQS requests for sending only.
    pub sends: u64,
}

/// A traffic profile for which requests are counted.
#[derive(Clone, Copy, Debug)]
pub struct TrafficProfile {
    /// The description.
    pub name: &'static str,
    /// The usage of the stores by one request.
    pub units: BilledUnits,
    /// The number of requests in a batch of stats.
    pub batch: u64,
}

/// Each request finds empty caches and forms a batch by itself. This is the most expensive case.
pub const ALONE: TrafficProfile = TrafficProfile {
    name: "one now and then",
    units: BilledUnits { reads: 7_000, writes: 15_000, sends: 1_000 },
    batch: 1,
};

/// Requests follow each other within seconds, and ten of them form a batch.
pub const STEADY: TrafficProfile = TrafficProfile {
    name: "ten in a batch",
    units: BilledUnits { reads: 700, writes: 5_100, sends: 1_000 },
    batch: 10,
};

/// Dollars in us-east-1 (list prices, read between August and November 2026).
pub mod price {
    /// A GB-second of Lambda on arm64.
    pub const GB_SECOND: f64 = 0.000_013_333_4;
    /// A million invocations.
    pub const INVOCATIONS: f64 = 0.20;
    /// A million read units of DynamoDB, on demand.
    pub const READS: f64 = 0.125;
    /// A million write units.
    pub const WRITES: f64 = 0.625;
    /// A million SQS requests of up to 64 KB.
    pub const SQS: f64 = 0.40;
    /// A GB of logs.
    pub const LOGS: f64 = 0.50;
}

/// The duration of a batch in stats at 128 MB; not measured on AWS.
const BATCH_SECONDS: f64 = 0.1;
/// The log lines of Baton and of the platform, for relay and stats together.
const LOG_KB: f64 = 1.5;

impl TrafficProfile {
    /// The cost in dollars of a million requests whose streams last `seconds`, with this memory for
    /// the relay.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    pub fn dollars_per_million(&self, memory_mb: u32, seconds: u32) -> f64 {
        let batches = 1.0 / self.batch as f64;
        let per = |thousandths: u64| thousandths as f64 / 1000.0;
        let million = 1_000_000.0;
        let relay = f64::from(seconds) * f64::from(memory_mb) / 1024.0 * price::GB_SECOND * million;
        let stats = batches * BATCH_SECONDS * 128.0 / 1024.0 * price::GB_SECOND * million;
        let invocations = (1.0 + batches) * price::INVOCATIONS;
        let stores = per(self.units.reads) * price::READS + per(self.units.writes) * price::WRITES;
        // The event source receives and deletes each batch.
        let queue = (per(self.units.sends) + 2.0 * batches) * price::SQS;
        relay + stats + invocations + stores + queue + LOG_KB * price::LOGS
    }

    /// A row of the table in `docs/operate/aws-costs.md`.
    pub fn row(&self, seconds: u32) -> String {
        let cells =
            [128, 256, 512].map(|mb| format!("{:.1}", self.dollars_per_million(mb, seconds)));
        format!("| {} | {seconds} s | {} |", self.name, cells.join(" | "))
    }
}

impl BilledUnits {
    /// The billed units of one call to the stores.
    pub fn of(target: &str, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (mut reads, mut writes, mut sends) = (0, 0, 0);
        match target.rsplit('.').next().unwrap_or_default() {
            "GetItem" | "Query" => reads = 1,
            "BatchGetItem" => {
                let tables = body["RequestItems"].as_object().into_iter().flatten();
                reads = tables.filter_map(|(_, one)| one["Keys"].as_array()).map(Vec::len).sum();
            }
            "PutItem" | "UpdateItem" | "DeleteItem" => writes = 1,
            "TransactWriteItems" => {
                // A transaction costs twice the units, and an event is also in two indexes.
                let items = body["TransactItems"].as_array().into_iter().flatten();
                writes = items
                    .map(|item| if item["Put"]["Item"]["day"].is_object() { 4 } else { 2 })
                    .sum();
            }
            "SendMessage" | "SendMessageBatch" => sends = 1,
            _ => {}
        }
        let [reads, writes, sends] = [reads, writes, sends].map(|count| count as u64 * 1000);
        Self { reads, writes, sends }
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Self {
        Self {
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            sends: self.sends + other.sends,
        }
    }

    /// The share of one request among `count`.
    pub fn each_of(self, count: u64) -> Self {
        Self { reads: self.reads / count, writes: self.writes / count, sends: self.sends / count }
    }
}
