//! What is known of an exchange before it is over: the question, and who it was put to.

use crate::authenticate::AuthenticatedKey;
use baton_cloud::observe::RequestTrace;
use baton_domain::id::{AccountId, RequestId};
use baton_domain::protocol::{ClientProtocol, UpstreamOperation};
use baton_domain::record::TriedAccount;
use jiff::Timestamp;
use std::sync::Arc;

/// Whether an exchange is billed. Counting tokens is free upstream, so it is no usage here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metering {
    /// It leaves a usage record.
    Metered,
    /// It leaves none.
    Free,
}

/// What the client asked, as far as the record needs it.
pub(crate) struct ModelCall {
    pub(crate) id: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) bill: Metering,
    pub(crate) protocol: ClientProtocol,
    pub(crate) trace: RequestTrace,
    pub(crate) caller: AuthenticatedKey,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Whether fast speed is asked for.
    pub(crate) is_fast: bool,
    pub(crate) body_bytes: u64,
    pub(crate) session_id: Option<String>,
    pub(crate) agent_id: Option<String>,
}

impl ModelCall {
    /// What an upstream is wanted for.
    pub(crate) fn operation(&self) -> UpstreamOperation {
        match self.bill {
            Metering::Metered => UpstreamOperation::Answer(self.protocol),
            Metering::Free => UpstreamOperation::Count,
        }
    }
}

/// What an account answers to a request for a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConcurrencySlot {
    /// It has as many as are asked for.
    NotNeeded,
    /// One was taken; it has to be left.
    Taken,
    /// There is none.
    Full,
}

/// A question that was put to an upstream: what will become its usage record.
#[derive(Clone)]
pub(crate) struct PendingUsage {
    pub(crate) question: Arc<ModelCall>,
    pub(crate) account: AccountId,
    pub(crate) provider: &'static str,
    pub(crate) upstream_model: String,
    pub(crate) attempts: u32,
    /// The accounts that were tried and left.
    pub(crate) tried: Vec<TriedAccount>,
    /// Its place at the account.
    pub(crate) seat: ConcurrencySlot,
    /// The status that the client gets.
    pub(crate) status: u16,
    pub(crate) first_byte_at: Option<Timestamp>,
}
