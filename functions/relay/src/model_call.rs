//! The model call: what routing, conversion and the usage record need to know about a request.

use crate::RequestContext;
use crate::authenticate::AuthenticatedKey;
use crate::body_facts::{BodyFacts, header_text};
use baton_domain::id::RequestId;
use baton_domain::money::PicoUsd;
use baton_domain::protocol::{ClientProtocol, UpstreamOperation};
use baton_domain::request_tier::RequestTier;
use baton_domain::scope::LimitScope;
use baton_providers::conversion::RequestShape;
use baton_runtime::observe::RequestTrace;
use bytes::Bytes;
use jiff::Timestamp;
use std::ops::Range;
use std::sync::Arc;

/// Whether a request is billed. Token counts are free at the upstream, so they are not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metering {
    /// The request gets a usage record.
    Metered,
    /// The request gets no usage record.
    Free,
}

/// What was reserved for a request against its limits. The default is nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReservedCost {
    /// The reserved amount.
    pub(crate) reserved_usd: Option<PicoUsd>,
    /// The highest cost that the request can have, if it was computed. An answer that claims more
    /// is settled at this amount.
    pub(crate) permitted_usd: Option<PicoUsd>,
    /// Whether a money limit applies to the request.
    pub(crate) has_money_limit: bool,
    /// Whether the upstream can read more than the request's body: results of searches and of its
    /// own tools, files, or the prompt once more.
    pub(crate) can_read_more: bool,
    /// Prompt tokens that do not depend on the length of the body, such as those of images.
    pub(crate) prompt_tokens: u64,
    /// The most output tokens that the answer can have besides its text: a prediction that the model
    /// rejects is billed.
    pub(crate) predicted_tokens: u64,
    /// The shared limits that count the reservation, besides the key's own.
    pub(crate) shared_limits: Vec<LimitScope>,
}

/// The model call, reduced to the fields that routing and the usage record need.
pub(crate) struct ModelCall {
    pub(crate) id: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) metering: Metering,
    pub(crate) protocol: ClientProtocol,
    pub(crate) shape: RequestShape,
    pub(crate) trace: RequestTrace,
    pub(crate) caller: AuthenticatedKey,
    pub(crate) reserved_cost: ReservedCost,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Whether the client asks for fast speed.
    pub(crate) is_fast: bool,
    /// The tier that the client asks for.
    pub(crate) tier: RequestTier,
    /// The number of answers that the request asks for.
    pub(crate) choices: u32,
    pub(crate) body_bytes: u64,
    pub(crate) session_id: Option<String>,
    pub(crate) agent_id: Option<String>,
    /// See [`BodyFacts`].
    pub(crate) state_id: Option<String>,
    pub(crate) keeps_state: bool,
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

/// The number that ties a request to an account: the same for all requests of one conversation.
#[derive(Clone, Copy)]
pub(crate) enum SessionAffinity {
    /// The conversation is known, and more of its requests can follow.
    Stable(u64),
    /// No conversation is known. The number is random.
    Random(u64),
}

impl SessionAffinity {
    pub(crate) fn new(seed: Option<u64>, random: u64) -> Self {
        seed.map_or(Self::Random(random), Self::Stable)
    }

    /// Returns the number if more requests can follow with it.
    pub(crate) fn stable_number(self) -> Option<u64> {
        match self {
            Self::Stable(number) => Some(number),
            Self::Random(_) => None,
        }
    }

    /// Returns the number.
    pub(crate) fn number(self) -> u64 {
        let (Self::Stable(number) | Self::Random(number)) = self;
        number
    }
}

/// A model call with its body, ready for any account.
#[derive(Clone)]
pub(crate) struct OutboundCall {
    pub(crate) model_call: Arc<ModelCall>,
    pub(crate) body: Bytes,
    pub(crate) model_span: Range<usize>,
    pub(crate) session: SessionAffinity,
}

impl OutboundCall {
    pub(crate) fn new(
        request: &RequestContext,
        caller: AuthenticatedKey,
        facts: BodyFacts,
        body: Bytes,
        metering: Metering,
        random: u64,
        reserved_cost: ReservedCost,
    ) -> Self {
        let BodyFacts { model, model_span, shape, is_fast, tier, session_id, session_seed, .. } =
            facts;
        let (state_id, keeps_state) = (facts.state_id, facts.keeps_state);
        let choices = facts.choices;
        let model_call = ModelCall {
            id: request.id.clone(),
            at: request.at,
            metering,
            protocol: request.protocol,
            shape,
            trace: request.trace.clone(),
            caller,
            reserved_cost,
            model,
            stream: shape.is_stream,
            is_fast,
            tier,
            choices,
            body_bytes: body.len() as u64,
            session_id,
            agent_id: header_text(&request.head.headers, "x-claude-code-agent-id"),
            state_id,
            keeps_state,
        };
        let session = SessionAffinity::new(session_seed, random);
        Self { model_call: Arc::new(model_call), body, model_span, session }
    }
}
