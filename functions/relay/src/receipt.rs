//! What is known of an exchange before it is over: the question, and who it was put to.

use crate::authenticate::Caller;
use baton_cloud::observe::Trace;
use baton_domain::id::{AccountId, RequestId};
use baton_domain::protocol::{Protocol, Want};
use baton_domain::record::Tried;
use jiff::Timestamp;
use std::sync::Arc;

/// Whether an exchange is billed. Counting tokens is free upstream, so it is no usage here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bill {
    /// It leaves a usage record.
    Metered,
    /// It leaves none.
    Free,
}

/// What the client asked, as far as the record needs it.
pub(crate) struct Question {
    pub(crate) id: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) bill: Bill,
    pub(crate) protocol: Protocol,
    pub(crate) trace: Trace,
    pub(crate) caller: Caller,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Whether fast speed is asked for.
    pub(crate) is_fast: bool,
    pub(crate) body_bytes: u64,
    pub(crate) session_id: Option<String>,
    pub(crate) agent_id: Option<String>,
}

impl Question {
    /// What an upstream is wanted for.
    pub(crate) fn want(&self) -> Want {
        match self.bill {
            Bill::Metered => Want::Answer(self.protocol),
            Bill::Free => Want::Count,
        }
    }
}

/// What an account answers to a request for a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// It has as many as are asked for.
    NotNeeded,
    /// One was taken; it has to be left.
    Taken,
    /// There is none.
    Full,
}

/// A question that was put to an upstream: what will become its usage record.
#[derive(Clone)]
pub(crate) struct Receipt {
    pub(crate) question: Arc<Question>,
    pub(crate) account: AccountId,
    pub(crate) provider: &'static str,
    pub(crate) upstream_model: String,
    pub(crate) attempts: u32,
    /// The accounts that were tried and left.
    pub(crate) tried: Vec<Tried>,
    /// Its place at the account.
    pub(crate) seat: Seat,
    /// The status that the client gets.
    pub(crate) status: u16,
    pub(crate) first_byte_at: Option<Timestamp>,
}
