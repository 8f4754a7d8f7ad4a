//! The usage record: what one upstream request was and cost (contract §4, version 1).
//!
//! The queue carries it as JSON and the store keeps every field. It never holds prompt or
//! completion text.

use crate::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use crate::money::PicoUsd;
use crate::usage::{Iteration, Tokens, Usage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version written into `v`.
pub const VERSION: u32 = 1;

/// One upstream request, after it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Version of this form.
    pub v: u32,
    /// Identity, fixed before the upstream was called.
    pub id: RequestId,
    /// When the relay accepted the request.
    pub started_at: Timestamp,
    /// Who asked.
    pub key_id: KeyId,
    /// Whose key it was then.
    pub user_id: Option<UserId>,
    /// The group the key drew on then.
    pub group_id: GroupId,
    /// Who answered.
    pub account_id: AccountId,
    /// The account's provider.
    pub provider: String,
    /// What the client spoke: `anthropic_messages`, ….
    pub protocol: String,
    /// The model asked for.
    pub model: String,
    /// The model that the upstream says it served, or the one it was asked for.
    pub upstream_model: String,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The HTTP status that the client got.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether any number below is an estimate.
    pub estimated: bool,
    /// Tokens as billed.
    pub tokens: Tokens,
    /// Web searches as billed.
    pub web_searches: u64,
    /// What the upstream said of the tier.
    pub service_tier: Option<String>,
    /// Where the upstream says it computed.
    pub inference_geo: Option<String>,
    /// `fast` or absent.
    pub speed: Option<String>,
    /// List price, exactly.
    pub cost_usd: PicoUsd,
    /// Which price table; a trailing `?` marks a model that the table does not know.
    pub price_version: String,
    /// Milliseconds from acceptance to the first upstream byte of the body.
    pub ttft_ms: Option<u64>,
    /// Milliseconds from acceptance to the end.
    pub duration_ms: u64,
    /// How many upstream calls it took.
    pub attempts: u32,
    /// The client's session, if it told one.
    pub session_id: Option<String>,
    /// The client's subagent, if it told one.
    pub agent_id: Option<String>,
    /// The passes inside the request, where the upstream lists them: each was billed at its own
    /// model's price, so the cost cannot be computed anew without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iterations: Vec<Iteration>,
    /// What was reserved for it against its key's limits, if anything. Only on its way to the
    /// store: the transaction that stores the record settles the reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_usd: Option<PicoUsd>,
}

impl UsageRecord {
    /// What is billed, as the price table takes it.
    pub fn usage(&self) -> Usage {
        Usage {
            tokens: self.tokens,
            web_searches: self.web_searches,
            service_tier: self.service_tier.clone(),
            inference_geo: self.inference_geo.clone(),
            speed: self.speed.clone(),
            iterations: self.iterations.clone(),
            estimated: self.estimated,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The upstream said everything it had to say.
    Complete,
    /// The client left before the end.
    ClientDisconnected,
    /// The upstream refused, failed or broke off.
    UpstreamError,
    /// A timer of the relay or its platform ended it.
    Deadline,
}

impl Outcome {
    /// The name in the API and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientDisconnected => "client_disconnected",
            Self::UpstreamError => "upstream_error",
            Self::Deadline => "deadline",
        }
    }

    /// Whether it counts among the errors of a summary.
    pub fn is_error(self) -> bool {
        matches!(self, Self::UpstreamError | Self::Deadline)
    }
}
