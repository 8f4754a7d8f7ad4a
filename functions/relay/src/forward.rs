//! Out to the upstream, over as many accounts as it takes.
//!
//! Each account is tried once, three in all. One try is [`crate::attempt`]'s; what a failure
//! means is decided by `domain::verdict`; the loop here only acts on it, and what it says of the
//! account is noted by [`crate::health`] beside the next try.

use crate::attempt::{Held, Miss};
use crate::authenticate::Caller;
use crate::body::Body;
use crate::choose::{Picked, Session};
use crate::health::Note;
use crate::receipt::{Bill, Question, Receipt, Seat};
use crate::reply::Refusal;
use crate::settle::Ending;
use crate::speak::Speech;
use crate::{Asked, Means};
use baton_cloud::store::PoolMember;
use baton_domain::metric::cause;
use baton_domain::record::{Outcome, Tried};
use baton_domain::relay_key::masked;
use baton_domain::verdict::{Next, classify};
use baton_wire::envelope::{Envelope, replace_model};
use baton_wire::session::session_seed;
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// Upstreams tried for one request, at most.
const ATTEMPTS_MAX: usize = 3;

/// A model call, ready to be sent to whichever account is chosen.
pub(crate) struct Call {
    pub(crate) question: Arc<Question>,
    pub(crate) body: Bytes,
    model_span: Range<usize>,
    session: Session,
}

/// An upstream's good answer, held at its first event.
pub(crate) struct Answer {
    pub(crate) receipt: Receipt,
    pub(crate) held: Held,
}

/// No good answer. The receipt is there if an upstream was tried.
pub(crate) struct Failure {
    pub(crate) receipt: Option<Receipt>,
    /// How the last try ended.
    pub(crate) ending: Ending,
    pub(crate) answer: Result<Response<Body>, Refusal>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let ending = Ending::without_answer(Outcome::UpstreamError);
        Self { receipt: None, ending, answer: Err(refusal) }
    }
}

impl Call {
    pub(crate) fn new(
        asked: &Asked,
        caller: Caller,
        envelope: &Envelope<'_>,
        body: Bytes,
        (bill, die): (Bill, u64),
    ) -> Self {
        let session_id = session_id(&asked.head.headers, envelope);
        let session = Session::new(session_seed(session_id.as_deref(), &envelope.prefix), die);
        let question = Question {
            id: asked.id.clone(),
            at: asked.at,
            bill,
            protocol: asked.protocol,
            trace: asked.trace.clone(),
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

    /// The body for an account that knows the model as `model`: only another name changes bytes,
    /// and only its own.
    pub(crate) fn body_for(&self, model: &str) -> Bytes {
        if model == self.question.model {
            return self.body.clone();
        }
        replace_model(&self.body, self.model_span.clone(), model)
    }
}

/// Stands for a relay key in a text of the client's.
const KEY_MASK: &str = "bt_***";
/// Of the client's texts records keep so much.
const TEXT_CHARACTERS_MAX: usize = 200;

/// The client's own name for the conversation, in the order of how much it says.
fn session_id(headers: &HeaderMap, envelope: &Envelope<'_>) -> Option<String> {
    header(headers, "x-claude-code-session-id")
        .or_else(|| header(headers, "x-session-affinity"))
        .or_else(|| envelope.session.as_deref().map(kept))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(kept)
}

/// A client's text as records keep it: without relay keys, and not too long.
fn kept(text: &str) -> String {
    masked(text, KEY_MASK).chars().take(TEXT_CHARACTERS_MAX).collect()
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
        let mut chooser =
            self.chooser(&question.caller, question.want(), &question.model, call.session).await?;
        let (mut tried, mut was_asked) = (Vec::new(), false);
        let mut last: Option<Missed> = None;
        while chooser.attempts() < ATTEMPTS_MAX {
            let picked = tokio::select! {
                biased;
                () = self.stop.is_over.cancelled() => Err(Refusal::stopping()),
                picked = self.pick(&mut chooser, question, deadline) => picked,
            };
            let Picked { at, seat } = match (picked, last.take()) {
                (Ok(picked), None) => picked,
                (Ok(picked), Some(missed)) => {
                    self.observer.failed_over(cause(&missed.miss.failure()));
                    self.leave_seat(&missed.receipt).await;
                    picked
                }
                (Err(refusal), None) => return Err(refusal.into()),
                (Err(_), Some(missed)) => return Err(missed.failure(asked).await),
            };
            let member = &chooser.pool().members[at];
            let speech = Speech::between(asked, &call, &member.account);
            let mut receipt = Receipt {
                question: Arc::clone(question),
                account: member.account.id.clone(),
                provider: member.account.provider.as_str(),
                upstream_model: speech.model(member, chooser.model()),
                attempts: u32::try_from(chooser.attempts()).unwrap_or(u32::MAX),
                tried: tried.clone(),
                seat,
                status: 0,
                first_byte_at: None,
            };
            let model = &receipt.upstream_model;
            match self.attempt(asked, member, (speech, &call, model), deadline).await {
                Ok(held) => {
                    receipt.status = held.head.status.as_u16();
                    receipt.first_byte_at = Some(self.store.clock().now());
                    if question.bill == Bill::Metered {
                        self.note_served(&receipt.account, &held.head.headers);
                        self.note_move(&chooser, at);
                    }
                    return Ok(Answer { receipt, held });
                }
                Err(miss) => {
                    let account_id = receipt.account.clone();
                    if matches!(miss, Miss::BadRequest(_)) {
                        self.leave_seat(&receipt).await;
                        receipt.seat = Seat::NotNeeded;
                    } else {
                        was_asked = true;
                    }
                    let (next, mut missed) = self.judge(member, receipt, miss);
                    missed.was_asked = was_asked;
                    if next == Next::PassOn {
                        return Err(missed.failure(asked).await);
                    }
                    tried.push(Tried { account_id, reason: missed.miss.to_string() });
                    missed.receipt.tried.clone_from(&tried);
                    if Instant::now() >= deadline {
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
    fn judge(&self, member: &PoolMember, receipt: Receipt, miss: Miss) -> (Next, Missed) {
        let now = self.store.clock().now();
        let (credential, die) = (member.account.credential, self.store.dice().byte());
        let verdict = classify(&miss.failure(), credential, now, die);
        if verdict.asks_renewal {
            self.ask_renewal(member);
        }
        tracing::warn!(
            request_id = %receipt.question.id, account_id = %receipt.account,
            model = %receipt.upstream_model, next = ?verdict.request, account = ?verdict.account,
            "upstream: {miss}"
        );
        let note = match receipt.question.bill {
            Bill::Metered => self.note_miss(&receipt.account, verdict.account),
            Bill::Free => Note::nothing(),
        };
        (verdict.request, Missed { receipt, miss, note, was_asked: true })
    }
}

/// One account that gave no good answer.
struct Missed {
    receipt: Receipt,
    miss: Miss,
    note: Note,
    /// Whether any account was asked; what none was asked leaves no record.
    was_asked: bool,
}

impl Missed {
    /// The end of the request: what the client is told, once the account's health is noted.
    async fn failure(self, asked: &Asked) -> Failure {
        let Self { mut receipt, miss, note, was_asked } = self;
        note.written().await;
        let mut miss = miss;
        let ending = miss.ending();
        let answer = miss.into_answer(asked);
        receipt.status = match &answer {
            Ok(answer) => answer.status().as_u16(),
            Err(refusal) => refusal.status().as_u16(),
        };
        Failure { receipt: was_asked.then_some(receipt), ending, answer }
    }
}
