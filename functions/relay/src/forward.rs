//! Out to the upstream, over as many accounts as it takes.
//!
//! Each account is tried once, three in all. One try is [`crate::attempt`]'s; what a failure
//! means is decided by `domain::verdict`; the loop here only acts on it, and what it says of the
//! account is noted by [`crate::health`] beside the next try.

use crate::attempt::{Held, Miss};
use crate::authenticate::Caller;
use crate::body::Body;
use crate::health::Note;
use crate::receipt::{Bill, Question, Receipt};
use crate::reply::Refusal;
use crate::{Asked, Means};
use baton_cloud::store::PoolMember;
use baton_domain::id::AccountId;
use baton_domain::model::map;
use baton_domain::verdict::{Next, classify};
use baton_wire::envelope::{Envelope, replace_model};
use baton_wire::session::session_seed;
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// Upstreams tried for one request, at most.
const ATTEMPTS_MAX: usize = 3;

/// A model call, ready to be sent to whichever account is chosen.
pub(crate) struct Call {
    pub(crate) question: Arc<Question>,
    body: Bytes,
    model_span: Range<usize>,
    session: u64,
}

/// An upstream's good answer, held at its first event.
pub(crate) struct Answer {
    pub(crate) receipt: Receipt,
    pub(crate) held: Held,
}

/// No good answer. The receipt is there if an upstream was tried.
pub(crate) struct Failure {
    pub(crate) receipt: Option<Receipt>,
    pub(crate) answer: Result<Response<Body>, Refusal>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { receipt: None, answer: Err(refusal) }
    }
}

impl Call {
    pub(crate) fn new(
        asked: &Asked,
        caller: Caller,
        envelope: &Envelope<'_>,
        body: Bytes,
        bill: Bill,
    ) -> Self {
        let session_id = session_id(&asked.head.headers, envelope);
        let session = session_seed(session_id.as_deref(), &body);
        let question = Question {
            id: asked.id.clone(),
            at: asked.at,
            bill,
            caller,
            model: envelope.model.to_string(),
            stream: envelope.stream,
            body_bytes: body.len() as u64,
            session_id,
            agent_id: header(&asked.head.headers, "x-claude-code-agent-id"),
        };
        let model_span = envelope.model_span.clone();
        Self { question: Arc::new(question), body, model_span, session }
    }

    /// The model and body for an account: only a mapped model changes bytes, and only its own.
    fn for_account(&self, member: &PoolMember) -> (String, Bytes) {
        match map(&member.account.model_map, &self.question.model) {
            Some(mapped) => {
                (mapped.to_owned(), replace_model(&self.body, self.model_span.clone(), mapped))
            }
            None => (self.question.model.clone(), self.body.clone()),
        }
    }
}

/// The client's own name for the conversation, in the order of how much it says.
fn session_id(headers: &HeaderMap, envelope: &Envelope<'_>) -> Option<String> {
    header(headers, "x-claude-code-session-id")
        .or_else(|| header(headers, "x-session-affinity"))
        .or_else(|| envelope.session.as_deref().map(str::to_owned))
        .map(|id| id.chars().take(200).collect())
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|text| text.chars().take(200).collect())
}

impl Means {
    /// Tries accounts until one answers, the client's own fault is told, or none is left.
    pub(crate) async fn forward(
        &self,
        asked: &Asked,
        call: Call,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let question = &call.question;
        let mut chooser = self.chooser(&question.caller, &question.model, call.session).await?;
        let mut trail = Trail::default();
        let mut last: Option<Missed> = None;
        while chooser.attempts() < ATTEMPTS_MAX {
            let picked = self.pick(&mut chooser, question.bill, deadline).await;
            let member = match (picked, last.take()) {
                (Ok(at), _) => &chooser.pool().members[at],
                (Err(refusal), None) => return Err(refusal.into()),
                (Err(_), Some(missed)) => return Err(missed.failure(asked).await),
            };
            let (model, body) = call.for_account(member);
            let mut receipt = Receipt {
                question: Arc::clone(question),
                account: member.account.id.clone(),
                provider: member.account.provider.as_str(),
                upstream_model: model,
                attempts: u32::try_from(chooser.attempts()).unwrap_or(u32::MAX),
                left: trail.to_string(),
                status: 0,
                first_byte_at: None,
            };
            match self.attempt(asked, member, (question.stream, body), deadline).await {
                Ok(held) => {
                    receipt.status = held.head.status.as_u16();
                    receipt.first_byte_at = Some(self.store.clock().now());
                    if question.bill == Bill::Metered {
                        self.note_served(&receipt.account, &held.head.headers);
                    }
                    return Ok(Answer { receipt, held });
                }
                Err(miss) => {
                    trail.add(&receipt.account, &miss);
                    receipt.left = trail.to_string();
                    let (next, missed) = self.judge(receipt, miss);
                    if next == Next::PassOn || Instant::now() >= deadline {
                        return Err(missed.failure(asked).await);
                    }
                    last = Some(missed);
                }
            }
        }
        match last {
            Some(missed) => Err(missed.failure(asked).await),
            None => Err(Refusal::no_account().into()),
        }
    }

    /// Decides what a miss means, for the request and (where it is a paid one) for the account.
    fn judge(&self, receipt: Receipt, miss: Miss) -> (Next, Missed) {
        let now = self.store.clock().now();
        let verdict = classify(&miss.failure(), now, self.store.dice().byte());
        tracing::warn!(
            request_id = %receipt.question.id, account_id = %receipt.account,
            model = %receipt.upstream_model, next = ?verdict.request, account = ?verdict.account,
            "upstream: {miss}"
        );
        let note = match receipt.question.bill {
            Bill::Metered => self.note_miss(&receipt.account, verdict.account),
            Bill::Free => Note::nothing(),
        };
        (verdict.request, Missed { receipt, miss, note })
    }
}

/// Which accounts were tried, and why each was left.
#[derive(Default)]
struct Trail(Vec<String>);

impl Trail {
    fn add(&mut self, account: &AccountId, miss: &Miss) {
        self.0.push(format!("{account} {miss}"));
    }
}

impl fmt::Display for Trail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join(", "))
    }
}

/// One account that gave no good answer.
struct Missed {
    receipt: Receipt,
    miss: Miss,
    note: Note,
}

impl Missed {
    /// The end of the request: what the client is told, once the account's health is noted.
    async fn failure(self, asked: &Asked) -> Failure {
        let Self { mut receipt, miss, note } = self;
        note.written().await;
        let answer = miss.into_answer(asked);
        receipt.status = match &answer {
            Ok(answer) => answer.status().as_u16(),
            Err(refusal) => refusal.status().as_u16(),
        };
        Failure { receipt: Some(receipt), answer }
    }
}
