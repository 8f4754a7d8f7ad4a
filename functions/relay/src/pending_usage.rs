//! What is known of a request before it ends: the model call and the account that got it.

use crate::authenticate::AuthenticatedKey;
use baton_domain::id::{AccountId, RequestId};
use baton_domain::protocol::{ClientProtocol, UpstreamOperation};
use baton_domain::record::TriedAccount;
use baton_runtime::observe::RequestTrace;
use jiff::Timestamp;
use std::sync::Arc;

/// Whether a request is billed. Token counts are free at the upstream, so they are not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metering {
    /// The request gets a usage record.
    Metered,
    /// The request gets no usage record.
    Free,
}

/// The model call, reduced to the fields that routing and the usage record need.
pub(crate) struct ModelCall {
    pub(crate) id: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) metering: Metering,
    pub(crate) protocol: ClientProtocol,
    pub(crate) trace: RequestTrace,
    pub(crate) caller: AuthenticatedKey,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Whether the client asks for fast speed.
    pub(crate) is_fast: bool,
    pub(crate) body_bytes: u64,
    pub(crate) session_id: Option<String>,
    pub(crate) agent_id: Option<String>,
}

impl ModelCall {
    /// Returns the operation that the request asks of an upstream.
    pub(crate) fn operation(&self) -> UpstreamOperation {
        match self.metering {
            Metering::Metered => UpstreamOperation::Answer(self.protocol),
            Metering::Free => UpstreamOperation::Count,
        }
    }
}

/// The result of asking an account for a concurrency slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConcurrencySlot {
    /// The account does not limit its concurrency, or the call is free. There is nothing to
    /// release.
    NotNeeded,
    /// A slot was taken and has to be released.
    Taken,
    /// No slot is free.
    Full,
}

/// What becomes the usage record of a request that was sent to an upstream.
#[derive(Clone)]
pub(crate) struct PendingUsage {
    pub(crate) model_call: Arc<ModelCall>,
    pub(crate) account: AccountId,
    pub(crate) provider: &'static str,
    pub(crate) upstream_model: String,
    pub(crate) attempts: u32,
    /// The accounts that were tried and failed before.
    pub(crate) failed_attempts: Vec<TriedAccount>,
    /// The slot at the account.
    pub(crate) slot: ConcurrencySlot,
    /// The status that the client gets.
    pub(crate) status: u16,
    pub(crate) first_byte_at: Option<Timestamp>,
}
