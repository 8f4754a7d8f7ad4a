//! Out to the upstream, over as many accounts as it takes.
//!
//! Each account is tried once (a renewed token earns one more try), three in all. One try is
//! [`crate::attempt`]'s; what a failure means is decided by `domain::verdict`; the loop here only acts
//! on it, and what it says of the account is noted by [`crate::health`] beside the next try.
//!
//! A request that two accounts refuse with 401 or 403 is not put to a third: it may be the request's
//! own fault, and only the first of them has anything held against it without a call of our own.

use crate::attempt::{Held, Miss};
use crate::authenticate::Caller;
use crate::body::Body;
use crate::choose::{Chooser, Nobody, Picked, Session};
use crate::health::Note;
use crate::receipt::{Bill, Question, Receipt, Seat};
use crate::reply::Refusal;
use crate::settle::Ending;
use crate::speak::Speech;
use crate::suspicion::Suspicion;
use crate::unserved::{Unserved, whole_seconds};
use crate::{Asked, Means};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::Proof;
use baton_domain::choose::Ineligible;
use baton_domain::reason::RestReason;
use baton_domain::record::{Outcome, Tried};
use baton_domain::relay_key::masked;
use baton_domain::verdict::{Effect, Next, RequestFacts, Verdict, classify};
use baton_wire::envelope::{Envelope, replace_model};
use baton_wire::session::session_seed;
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// Accounts tried for one request, at most.
const ACCOUNTS_MAX: usize = 3;
/// Accounts that may refuse one request with 401 or 403, at most.
const REFUSALS_MAX: usize = 2;

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
            is_fast: envelope.is_fast,
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
        let mut course = Course::default();
        while chooser.accounts_tried() < ACCOUNTS_MAX && course.refusals < REFUSALS_MAX {
            let picked = self.next_account(&mut chooser, question, deadline).await;
            let Picked { at, seat } = match picked {
                Ok(picked) => picked,
                Err(nobody) => return Err(self.give_up_on(asked, &chooser, course, nobody).await),
            };
            if let Some(missed) = course.last.take() {
                self.observer.failed_over(missed.miss.cause());
                self.leave_seat(&missed.receipt).await;
            }
            let pool = chooser.pool().clone();
            let member = &pool.members[at];
            let speech = Speech::between(asked, question.stream, &member.account);
            let upstream_model = speech.model(member, chooser.model());
            let mut receipt = course.receipt(question, member, &chooser, (upstream_model, seat));
            let model = &receipt.upstream_model;
            match self.attempt(asked, member, (speech, &call, model), deadline).await {
                Ok(held) => {
                    receipt.status = held.head.status.as_u16();
                    receipt.first_byte_at = Some(self.store.clock().now());
                    self.note_answer(&chooser, at, &held);
                    return Ok(Answer { receipt, held });
                }
                Err(miss) => {
                    if matches!(miss, Miss::BadRequest(_)) {
                        self.leave_seat(&receipt).await;
                        receipt.seat = Seat::NotNeeded;
                    } else {
                        course.was_asked = true;
                    }
                    let missed = self.judge(member, &mut chooser, &mut course, (receipt, miss));
                    let is_over = missed.verdict.request == Next::PassOn;
                    course.last = Some(missed);
                    if is_over || Instant::now() >= deadline {
                        break;
                    }
                }
            }
        }
        Err(self.give_up_on(asked, &chooser, course, None).await)
    }

    /// The next account to try; nobody where the process is being stopped.
    async fn next_account(
        &self,
        chooser: &mut Chooser,
        question: &Question,
        deadline: Instant,
    ) -> Result<Picked, Option<Nobody>> {
        tokio::select! {
            biased;
            () = self.stop.is_over.cancelled() => Err(None),
            picked = self.pick(chooser, question, deadline) => picked.map_err(Some),
        }
    }

    /// No account is tried any more: what the last one said, or why none was tried.
    async fn give_up_on(
        &self,
        asked: &Asked,
        chooser: &Chooser,
        mut course: Course,
        nobody: Option<Nobody>,
    ) -> Failure {
        match (course.last.take(), nobody) {
            // Boxed, so that requests that are served stay small.
            (Some(missed), nobody) => {
                Box::pin(self.end(asked, chooser, course, (missed, nobody))).await
            }
            (None, Some(nobody)) => {
                let now = self.store.clock().now();
                nobody.refusal(&unserved(asked, chooser), now).into()
            }
            (None, None) => Refusal::stopping().into(),
        }
    }

    /// Notes what a good answer says of the account, where it is a paid one.
    fn note_answer(&self, chooser: &Chooser, at: usize, held: &Held) {
        let account = &chooser.pool().members[at].account;
        if chooser.is_paid() {
            let model = account.upstream_name(chooser.model());
            self.note_served(&account.id, model, &held.head.headers);
            self.note_move(chooser, at);
        }
    }

    /// Decides what a miss means, for the request and (where it is a paid one) for the account.
    fn judge(
        &self,
        member: &PoolMember,
        chooser: &mut Chooser,
        course: &mut Course,
        (receipt, miss): (Receipt, Miss),
    ) -> Missed {
        let now = self.store.clock().now();
        let told = miss.told(now);
        let id = &member.account.id;
        let token_issue = member.token.as_ref().map(|token| token.standing.issue());
        let facts = RequestFacts {
            provider: member.account.provider,
            credential: member.account.credential,
            token_issue,
            model: member.account.upstream_name(chooser.model()),
            is_fast: receipt.question.is_fast,
        };
        let mut verdict = classify(&miss.failure(&told), &facts, now, self.store.dice().byte());
        let is_first = course.refusals == 0;
        let is_stale =
            verdict.asks_renewal && !self.checks.may_renew(id, token_issue.unwrap_or_default());
        if is_stale || (verdict.is_refusal && !is_first) {
            suspect_only(&mut verdict);
        }
        course.refusals += usize::from(verdict.is_refusal && !verdict.asks_renewal);
        tracing::warn!(
            request_id = %receipt.question.id, account_id = %id, model = %receipt.upstream_model,
            "upstream: {miss}; {}; {}", verdict.request, verdict.account
        );
        let note = match receipt.question.bill {
            Bill::Metered => self.note_verdict(member, course, &verdict, is_first),
            Bill::Free => Note::nothing(),
        };
        if verdict.asks_renewal {
            self.ask_renewal(member);
            let was_waited_for = course.tried.iter().any(|tried| tried.account_id == *id);
            if let Some(issue) = token_issue.filter(|_| !was_waited_for) {
                chooser.refused_tokens.push((id.clone(), issue));
            }
        }
        if let Some(why) = ineligible(&verdict.account) {
            chooser.learn(id, why);
        }
        course.tried.push(Tried { account_id: id.clone(), reason: miss.to_string() });
        let mut receipt = receipt;
        if verdict.request == Next::TryAnother {
            receipt.tried.clone_from(&course.tried);
        }
        Missed { receipt, miss, note, verdict }
    }

    /// Holds against the account what is its own.
    fn note_verdict(
        &self,
        member: &PoolMember,
        course: &mut Course,
        verdict: &Verdict,
        is_first: bool,
    ) -> Note {
        let Effect::Suspect { reason } = verdict.account else {
            return self.note_miss(&member.account.id, verdict.account.clone());
        };
        course.suspicions.push(self.check_credential(member));
        if is_first && reason == RestReason::CredentialRefused {
            self.note_unproven(member, self.check_credential(member))
        } else {
            Note::nothing()
        }
    }

    /// The end of a request that got no good answer: what the client is told, once the account's
    /// health is noted. Of the organization's credential and money it is told only that they fail.
    async fn end(
        &self,
        asked: &Asked,
        chooser: &Chooser,
        course: Course,
        (missed, nobody): (Missed, Option<Nobody>),
    ) -> Failure {
        let Missed { mut receipt, mut miss, note, verdict } = missed;
        let was_checked = !course.suspicions.is_empty();
        let mut is_accepted = was_checked;
        if matches!(verdict.account, Effect::Suspect { .. }) {
            for suspicion in course.suspicions {
                is_accepted &=
                    suspicion.outcome(Instant::now() + PATIENCE).await == Proof::Accepted;
            }
        }
        note.written().await;
        let ending = miss.ending(receipt.question.body_bytes);
        let now = self.store.clock().now();
        let nobody = || nobody.or_else(|| chooser.next(&self.store, now).err());
        let answer = if !verdict.is_private || (is_accepted && !verdict.names_credential) {
            let ready = [rest_until(&verdict.account), nobody().and_then(|it| it.ready_at(now))];
            let ready = ready.into_iter().flatten().min();
            miss.into_answer(asked, ready.map(|at| whole_seconds(at, now)))
        } else if is_accepted && matches!(verdict.account, Effect::Suspect { .. }) {
            Err(Refusal::contradictory())
        } else {
            let unserved = unserved(asked, chooser);
            Err(match nobody() {
                Some(nobody) => nobody.refusal(&unserved, now),
                None => Refusal::busy(),
            })
        };
        receipt.status = match &answer {
            Ok(answer) => answer.status().as_u16(),
            Err(refusal) => refusal.status().as_u16(),
        };
        Failure { receipt: course.was_asked.then_some(receipt), ending, answer }
    }
}

/// An answer waits so long for what a call of our own finds out.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What has happened to a request so far.
#[derive(Default)]
struct Course {
    tried: Vec<Tried>,
    last: Option<Missed>,
    /// Whether any account was asked; what none was asked leaves no record.
    was_asked: bool,
    /// Accounts that have refused the request with 401 or 403.
    refusals: usize,
    /// What is being found out about their credentials.
    suspicions: Vec<Suspicion>,
}

impl Course {
    /// What will become the record of this try.
    fn receipt(
        &self,
        question: &Arc<Question>,
        member: &PoolMember,
        chooser: &Chooser,
        (upstream_model, seat): (String, Seat),
    ) -> Receipt {
        Receipt {
            question: Arc::clone(question),
            account: member.account.id.clone(),
            provider: member.account.provider.as_str(),
            upstream_model,
            attempts: u32::try_from(chooser.attempts()).unwrap_or(u32::MAX),
            tried: self.tried.clone(),
            seat,
            status: 0,
            first_byte_at: None,
        }
    }
}

/// One account that gave no good answer.
struct Missed {
    receipt: Receipt,
    miss: Miss,
    note: Note,
    verdict: Verdict,
}

/// What may be the request's own fault is held against nobody without a call of our own.
fn suspect_only(verdict: &mut Verdict) {
    verdict.asks_renewal = false;
    verdict.account = match &verdict.account {
        Effect::Rest { reason: RestReason::TokenRefused, .. } => {
            Effect::Suspect { reason: RestReason::CredentialRefused }
        }
        Effect::Rest { reason, .. } if reason.needs_operator() => verdict.account.clone(),
        Effect::Suspect { reason } => Effect::Suspect { reason: *reason },
        _ => Effect::Nothing,
    };
}

/// Why an account with this effect will not do for the same request.
fn ineligible(effect: &Effect) -> Option<Ineligible> {
    match effect {
        Effect::Rest { reason: RestReason::TokenRefused, .. } => Some(Ineligible::SignedOut),
        Effect::Rest { reason: RestReason::ModelUnavailable, .. } => Some(Ineligible::Model),
        Effect::Rest { until, reason, .. } => {
            Some(Ineligible::Cooling { until: *until, reason: *reason })
        }
        Effect::Suspect { reason } => Some(Ineligible::AuthFailed(*reason)),
        Effect::NotPermitted => Some(Ineligible::Protocol),
        Effect::Nothing | Effect::Strike { .. } => None,
    }
}

fn rest_until(effect: &Effect) -> Option<jiff::Timestamp> {
    match effect {
        Effect::Rest { until, .. } => Some(*until),
        _ => None,
    }
}

fn unserved<'a>(asked: &Asked, chooser: &'a Chooser) -> Unserved<'a> {
    Unserved { model: chooser.model(), want: chooser.want(), dialect: asked.dialect }
}
