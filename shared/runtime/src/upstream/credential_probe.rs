//! Credential probe: finds out with free calls whether an upstream accepts an account's credential.
//!
//! A call that also accepts a random credential proves nothing: many gateways list their models for
//! everybody. So the probe also tries each upstream with a random credential, and the call that
//! gets different answers is remembered.
//!
//! Not every refusal is about the credential either: a restricted key can lack permission to list
//! models, and a firewall can refuse every request. A refusal counts against the credential only if
//! it names the credential, or if a random credential gets the same one.

use super::signer::{AwsAccess, RequestSigner};
use super::{ANSWER_BYTES_MAX, UpstreamAddress, UpstreamClient, error_message};
use baton_domain::account::Account;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{AccountHealth, KnownProbe, ProbeCall, after, after_refusal};
use baton_domain::request_tier::RequestTier;
use baton_domain::secret::Secret;
use baton_domain::verdict::{
    AccountEffect, AnnouncedLimit, CallFailure, ErrorFields, RequestFacts, UpstreamError, Verdict,
};
use baton_providers::classification::{classify, confirm_suspicion};
use baton_providers::headers::add_credential;
use baton_providers::probe::{Probe, ProbeRequest};
use baton_providers::{ProviderRules, rules};
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use quick_cache::sync::Cache;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The timeout for all calls of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the answer to a random credential is reused.
const RANDOM_ANSWER_LIFE: Duration = Duration::from_mins(10);
/// The number of such answers that are cached.
const RANDOM_ANSWERS_MAX: usize = 64;
const INCONCLUSIVE: &str = "the upstream refuses free calls without saying that the credential is \
     wrong; the credential can be restricted";

/// The current knowledge about a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialStatus {
    /// The upstream accepts it, and refuses a random credential.
    Accepted,
    /// The upstream refuses it, for this reason.
    Refused(CooldownReason),
    /// The upstream answers, but it would also accept a random credential.
    Unproven,
    /// The upstream does not answer or fails, so nothing is known.
    Unknown,
}

impl fmt::Display for CredentialStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => out.write_str("accepted"),
            Self::Refused(reason) => write!(out, "refused ({reason})"),
            Self::Unproven => out.write_str("unproven"),
            Self::Unknown => out.write_str("unknown"),
        }
    }
}

/// The result of a probe.
#[derive(Debug)]
pub struct ProbeOutcome {
    /// The status of the credential.
    pub credential_status: CredentialStatus,
    /// The HTTP status of the answer that decided the result.
    pub status: Option<StatusCode>,
    /// The message of the upstream, or why the probe could not ask; for operators.
    pub message: String,
    /// The effect of the answer on the account apart from the credential: no money, or a disabled
    /// organization.
    pub effect: Option<AccountEffect>,
    /// The probe call that works with this upstream, to remember in the account's health.
    pub known_probe: Option<KnownProbe>,
}

/// An account and what a probe of its credential needs.
pub struct CredentialProbe<'a> {
    /// The client, which uses the account's proxy.
    pub upstream: &'a UpstreamClient,
    /// Signs the calls if the credential is an AWS role.
    pub signer: &'a RequestSigner,
    /// The account to probe.
    pub account: &'a Account,
    /// The account's credential.
    pub credential: &'a Secret,
    /// Random bits for the random credential.
    pub bits: u128,
}

/// The answer to a free call.
#[derive(Clone)]
struct ProbeResponse {
    status: StatusCode,
    error: ErrorFields,
    message: String,
}

/// Answers to random credentials, which are requested only once in a while. Clones share them.
#[derive(Clone)]
pub(super) struct RandomCredentialAnswers(
    Arc<Cache<RandomCredentialCall, (Instant, ProbeResponse)>>,
);

/// The upstream's address, the proxy, and the call.
type RandomCredentialCall = (String, Option<String>, ProbeCall);

impl RandomCredentialAnswers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Cache::new(RANDOM_ANSWERS_MAX)))
    }
}

/// The evidence of one answer about the credential.
enum ProbeEvidence {
    /// The answer settles the result.
    Settled(ProbeOutcome),
    /// A refusal that does not name the credential.
    Unclear(CooldownReason),
    /// The answer is not a refusal.
    Passed,
}

impl CredentialProbe<'_> {
    /// Asks the upstream whether it accepts the credential. `health` holds the call that worked in
    /// an earlier probe.
    pub async fn probe_credential(&self, health: &AccountHealth, now: Timestamp) -> ProbeOutcome {
        let outcome = self.probe_in_order(health, now);
        let timeout_error =
            |_| ProbeOutcome::unknown(None, format!("no answer in {} s", PROBE_TIMEOUT.as_secs()));
        tokio::time::timeout(PROBE_TIMEOUT, outcome).await.unwrap_or_else(timeout_error)
    }

    async fn probe_in_order(&self, health: &AccountHealth, now: Timestamp) -> ProbeOutcome {
        let ProviderRules { probes, probes_prove_credential, .. } = rules(self.account.provider);
        let base_url = &self.account.base_url;
        let known_probe =
            health.proof.as_ref().filter(|known_probe| known_probe.base_url == *base_url);
        let proven_by = known_probe.and_then(|known_probe| known_probe.call);
        let is_first = |probe: &&Probe| proven_by == Some(probe.call);
        let in_turn =
            probes.iter().filter(is_first).chain(probes.iter().filter(|probe| !is_first(probe)));
        let mut last: Option<ProbeResponse> = None;
        let mut inconclusive: Vec<(CooldownReason, ProbeResponse, bool)> = Vec::new();
        for probe in in_turn {
            let response = match self.send_call(probe, self.credential).await {
                Ok(response) => response,
                Err(why) => return ProbeOutcome::unknown(None, why),
            };
            match self.read_evidence(&response, now) {
                ProbeEvidence::Settled(outcome) => {
                    return ProbeOutcome { known_probe: known_probe.cloned(), ..outcome };
                }
                ProbeEvidence::Unclear(reason) => {
                    let random_response = self.try_random_credential(probe).await;
                    let is_alike = random_response.is_some_and(|other| other.is_alike(&response));
                    inconclusive.push((reason, response, is_alike));
                    continue;
                }
                ProbeEvidence::Passed => {}
            }
            if proven_by == Some(probe.call) || *probes_prove_credential {
                return ProbeOutcome::from_answer(
                    CredentialStatus::Accepted,
                    response,
                    known_probe.cloned(),
                );
            }
            let is_open = known_probe.is_none() || proven_by.is_some();
            if is_open && self.is_random_credential_refused(probe, now).await {
                let known_probe = KnownProbe { base_url: base_url.clone(), call: Some(probe.call) };
                return ProbeOutcome::from_answer(
                    CredentialStatus::Accepted,
                    response,
                    Some(known_probe),
                );
            }
            // If the upstream has no list of models, the answer to another call says more about it.
            if last.as_ref().is_none_or(|last: &ProbeResponse| !last.status.is_success()) {
                last = Some(response);
            }
        }
        if !inconclusive.is_empty() {
            return ProbeOutcome {
                known_probe: known_probe.cloned(),
                ..combine_refusals(inconclusive, last)
            };
        }
        let known_probe = KnownProbe { base_url: base_url.clone(), call: None };
        match last {
            Some(response) => {
                ProbeOutcome::from_answer(CredentialStatus::Unproven, response, Some(known_probe))
            }
            None => {
                ProbeOutcome::unknown(None, "there is no free call for this account".to_owned())
            }
        }
    }

    /// Judges one answer: the credential is refused, the account has no money, or the upstream
    /// cannot answer at the moment.
    fn read_evidence(&self, response: &ProbeResponse, now: Timestamp) -> ProbeEvidence {
        let ProbeResponse { status, message, .. } = response;
        let outcome = |proof, effect| {
            let (status, message) = (Some(*status), message.clone());
            ProbeEvidence::Settled(ProbeOutcome {
                credential_status: proof,
                status,
                message,
                effect,
                known_probe: None,
            })
        };
        let Some(Verdict { account, names_credential, .. }) = self.verdict(response, now) else {
            return ProbeEvidence::Passed;
        };
        let reason = match &account {
            AccountEffect::Suspect { reason } => Some(*reason),
            AccountEffect::Cooldown { reason: CooldownReason::TokenRefused, .. } => {
                Some(CooldownReason::CredentialRefused)
            }
            _ => None,
        };
        match (reason, account) {
            (Some(reason), _) if names_credential => {
                outcome(CredentialStatus::Refused(reason), None)
            }
            (Some(reason), _) => ProbeEvidence::Unclear(reason),
            (None, effect @ AccountEffect::Cooldown { reason, .. }) if reason.needs_operator() => {
                outcome(CredentialStatus::Accepted, Some(effect))
            }
            _ if is_failing(*status) => outcome(CredentialStatus::Unknown, None),
            _ => ProbeEvidence::Passed,
        }
    }

    /// The verdict about an error; `None` for a successful answer.
    fn verdict(&self, response: &ProbeResponse, now: Timestamp) -> Option<Verdict> {
        if response.status.is_success() {
            return None;
        }
        let announced = AnnouncedLimit::default();
        let facts = RequestFacts {
            provider: self.account.provider,
            credential: self.account.credential,
            token_version: None,
            model: "",
            body_bytes: 0,
            is_fast: false,
            tier: RequestTier::Standard,
        };
        let status = response.status.as_u16();
        let error = UpstreamError {
            status,
            announced: &announced,
            error: &response.error,
            is_billed: false,
        };
        Some(classify(&CallFailure::Status(error), &facts, now, 0))
    }

    async fn is_random_credential_refused(&self, probe: &Probe, now: Timestamp) -> bool {
        let response = self.try_random_credential(probe).await;
        response.is_some_and(|response| match self.read_evidence(&response, now) {
            ProbeEvidence::Settled(outcome) => {
                matches!(outcome.credential_status, CredentialStatus::Refused(_))
            }
            ProbeEvidence::Unclear(_) => true,
            ProbeEvidence::Passed => false,
        })
    }

    /// The answer to a random credential, cached for a while. There is none for an AWS role.
    async fn try_random_credential(&self, probe: &Probe) -> Option<ProbeResponse> {
        let Account { base_url, proxy_url, credential, .. } = self.account;
        if credential.signs_requests() {
            return None;
        }
        let RandomCredentialAnswers(answers) = &self.upstream.random_credential_responses;
        let key = (base_url.clone(), proxy_url.clone(), probe.call);
        if let Some((at, response)) = answers.get(&key)
            && at.elapsed() < RANDOM_ANSWER_LIFE
        {
            return Some(response);
        }
        let random_credential = random_credential(self.credential.expose(), self.bits);
        let response = self.send_call(probe, &random_credential).await.ok()?;
        if !is_failing(response.status) {
            answers.insert(key, (Instant::now(), response.clone()));
        }
        Some(response)
    }

    async fn send_call(&self, probe: &Probe, credential: &Secret) -> Result<ProbeResponse, String> {
        let account = self.account;
        let ProbeRequest { method, path, mut headers, body } = (probe.request)(account);
        add_credential(account, credential, &mut headers)
            .map_err(|_| "the credential has characters that a header cannot contain".to_owned())?;
        let address = UpstreamAddress::new(&account.base_url, &path);
        if account.credential.signs_requests() {
            let access = AwsAccess::from_secret(credential).map_err(|error| error.to_string())?;
            let signed = self.signer.sign(&access, address.as_str(), &mut headers, &body).await;
            signed.map_err(|error| error.to_string())?;
        }
        let response = self.upstream.call(method, &address, headers, body).await;
        let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut error = ErrorFields::from_body(&body);
        let exception = head.headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
        if let Some(name) = exception.and_then(|name| name.split(':').next()) {
            error.code = Some(name.to_owned());
        }
        Ok(ProbeResponse { status: head.status, error, message: error_message(&body, credential) })
    }
}

impl ProbeOutcome {
    fn from_answer(
        credential_status: CredentialStatus,
        response: ProbeResponse,
        known_probe: Option<KnownProbe>,
    ) -> Self {
        let ProbeResponse { status, message, .. } = response;
        Self { credential_status, status: Some(status), message, effect: None, known_probe }
    }

    /// The result if the upstream could not be asked, with the reason.
    pub fn not_asked(reason: String) -> Self {
        Self::unknown(None, reason)
    }

    fn unknown(status: Option<StatusCode>, message: String) -> Self {
        Self {
            credential_status: CredentialStatus::Unknown,
            status,
            message,
            effect: None,
            known_probe: None,
        }
    }

    /// The health with the probe call that works, if that is new.
    pub fn with_known_probe(&self, health: &AccountHealth) -> Option<AccountHealth> {
        let known_probe = self.known_probe.clone().filter(|_| self.known_probe != health.proof)?;
        Some(AccountHealth { proof: Some(known_probe), ..health.clone() })
    }

    /// The health after this probe: what the calls found against the account, and the probe call
    /// that works.
    pub fn apply_to_health(&self, health: &AccountHealth, now: Timestamp) -> Option<AccountHealth> {
        let known_health = self.with_known_probe(health);
        let base_health = known_health.as_ref().unwrap_or(health);
        let changed = match (self.credential_status, &self.effect) {
            (CredentialStatus::Refused(reason), _) => match confirm_suspicion(reason, now) {
                Some(effect) => after(base_health, &effect, now),
                None => after_refusal(base_health, reason, None, now),
            },
            (_, Some(effect)) => after(base_health, effect, now),
            _ => None,
        };
        changed.or(known_health)
    }
}

/// Combines refusals that do not name the credential; each comes with whether a random credential
/// got the same answer. `success` is an answer to another call that proves nothing either. A
/// gateway can forbid one call to everybody, so a "forbidden" counts only if every call got it.
fn combine_refusals(
    inconclusive: Vec<(CooldownReason, ProbeResponse, bool)>,
    success: Option<ProbeResponse>,
) -> ProbeOutcome {
    let are_alike = inconclusive.iter().all(|(.., is_alike)| *is_alike);
    let is_refused = |reason| match reason {
        CooldownReason::CredentialRefused => are_alike,
        _ => are_alike && success.is_none(),
    };
    let worst = inconclusive.iter().position(|(reason, ..)| is_refused(*reason));
    match worst.and_then(|at| inconclusive.into_iter().nth(at)) {
        Some((reason, response, _)) => {
            ProbeOutcome::from_answer(CredentialStatus::Refused(reason), response, None)
        }
        None => match success {
            Some(response) => ProbeOutcome::from_answer(CredentialStatus::Unproven, response, None),
            None => ProbeOutcome {
                credential_status: CredentialStatus::Unproven,
                ..ProbeOutcome::unknown(None, INCONCLUSIVE.to_owned())
            },
        },
    }
}

/// Whether the upstream cannot answer at the moment. An upstream without the route can answer 501,
/// so 501 does not count.
fn is_failing(status: StatusCode) -> bool {
    let is_busy = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    );
    is_busy || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

impl ProbeResponse {
    /// Whether both answers are the same, apart from ids, times and credentials in their messages.
    fn is_alike(&self, other: &Self) -> bool {
        let names = |error: &ErrorFields| ErrorFields { message: String::new(), ..error.clone() };
        let is_id = |word: &str| word.contains(|c: char| c.is_ascii_digit() || c == '*');
        let (own, others) = (self.message.split_whitespace(), other.message.split_whitespace());
        let is_same = |(own, other)| own == other || (is_id(own) && is_id(other));
        self.status == other.status
            && names(&self.error) == names(&other.error)
            && own.clone().count() == others.clone().count()
            && own.zip(others).all(is_same)
    }
}

/// A random credential of the same shape. It keeps the beginning, which often names the kind of
/// credential, and replaces every letter and digit after it.
fn random_credential(credential: &str, mut bits: u128) -> Secret {
    let middle = credential.len() / 2;
    let start = credential
        .char_indices()
        .rfind(|(at, c)| *at < middle && matches!(c, '-' | '_' | '.'))
        .map_or(0, |(at, _)| at);
    let mut other = |from: u8, count: u8| {
        // The multiplier of Knuth's MMIX generator.
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let step = u8::try_from((bits >> 64) % u128::from(count)).unwrap_or_default();
        char::from(from + step)
    };
    let changed = credential.char_indices().map(|(at, c)| match c {
        _ if at <= start && start > 0 => c,
        'a'..='z' => other(b'a', 26),
        'A'..='Z' => other(b'A', 26),
        '0'..='9' => other(b'0', 10),
        _ => c,
    });
    Secret::new(changed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> ProbeResponse {
        let error = ErrorFields::from_body(body.as_bytes());
        let status = StatusCode::from_u16(status).unwrap();
        ProbeResponse {
            status,
            error,
            message: error_message(body.as_bytes(), &Secret::new("none".to_owned())),
        }
    }

    #[test]
    fn answers_that_differ_in_ids_are_alike() {
        let alike = [
            (r#"{"detail":"Unauthorized"}"#, r#"{"detail":"Unauthorized"}"#),
            (
                r#"{"error":{"message":"Incorrect key: sk-ab**9.","code":401}}"#,
                r#"{"error":{"message":"Incorrect key: sk-xy**4.","code":401}}"#,
            ),
            ("<b>403</b> Ray ID: 8f3ab17c", "<b>403</b> Ray ID: 91c2d0aa"),
            ("", ""),
        ];
        for (own, other) in alike {
            assert!(answer(401, own).is_alike(&answer(401, other)), "{own}");
            assert!(!answer(401, own).is_alike(&answer(403, other)), "{own}");
        }
        let scopes = "You have insufficient permissions for this operation. Missing scopes: api.x.";
        let different = [
            (scopes.to_owned(), "Unauthorized".to_owned()),
            (
                format!(r#"{{"error":"{scopes}"}}"#),
                r#"{"error":{"message":"Bad key","code":"invalid_api_key"}}"#.to_owned(),
            ),
            (
                r#"{"error":{"message":"m","code":"a"}}"#.to_owned(),
                r#"{"error":{"message":"m","code":"b"}}"#.to_owned(),
            ),
        ];
        for (own, other) in different {
            assert!(!answer(403, &own).is_alike(&answer(403, &other)), "{own}");
        }
    }

    #[test]
    fn unclear_refusal_counts_if_random_credentials_get_it_too() {
        use CooldownReason::{CredentialRefused, Forbidden};
        let given = |rows: &[(CooldownReason, bool)], passed: bool| {
            let rows = rows.iter().map(|(reason, alike)| (*reason, answer(403, ""), *alike));
            combine_refusals(rows.collect(), passed.then(|| answer(200, "{}"))).credential_status
        };
        let check = |rows: &[(CooldownReason, bool)], passed, expect| {
            assert_eq!(given(rows, passed), expect, "{rows:?} {passed}");
        };
        check(&[(CredentialRefused, true)], false, CredentialStatus::Refused(CredentialRefused));
        check(&[(CredentialRefused, true)], true, CredentialStatus::Refused(CredentialRefused));
        check(&[(CredentialRefused, false)], false, CredentialStatus::Unproven);
        check(&[(CredentialRefused, true), (Forbidden, false)], false, CredentialStatus::Unproven);
        check(&[(Forbidden, true); 2], false, CredentialStatus::Refused(Forbidden));
        check(&[(Forbidden, true)], true, CredentialStatus::Unproven);
    }

    #[test]
    fn random_credential_has_the_shape_of_the_real_one() {
        for real in
            ["sk-ant-api03-AbC123_xyz-Q9", "sk-proj-abcdefgh12345678", "0123456789abcdef", ""]
        {
            let generated = random_credential(real, 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
            assert_eq!(generated.expose().len(), real.len());
            assert!(real.is_empty() || generated.expose() != real);
            let kind = |c: char| (c.is_ascii_lowercase(), c.is_ascii_digit(), c.is_alphanumeric());
            assert!(generated.expose().chars().map(kind).eq(real.chars().map(kind)), "{real}");
        }
        assert!(random_credential("sk-ant-api03-AbC123", 7).expose().starts_with("sk-ant-"));
    }
}
