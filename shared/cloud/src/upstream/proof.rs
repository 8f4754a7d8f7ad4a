//! Whether an upstream takes an account's credential: found out by calls that cost nothing.
//!
//! A call that a made-up credential passes, too, proves nothing: many gateways list their models to
//! everybody. So each upstream is asked once with a made-up one, and what is known is remembered.

use super::signer::{AwsAccess, Signer};
use super::{ANSWER_BYTES_MAX, Address, OAUTH_BETA, Upstream, credential_header, said};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::health::{FreeCall, Health, KnownProof, after, refused};
use baton_domain::model::foundation_id;
use baton_domain::reason::RestReason;
use baton_domain::secret::Secret;
use baton_domain::verdict::{
    AnnouncedLimit, Effect, ErrorFields, Failure, RequestFacts, UpstreamError, classify, confirmed,
};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

/// For all calls of one proof.
const PATIENCE: Duration = Duration::from_secs(20);
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Models that every account of the vendor has.
const MODEL: &str = "claude-haiku-4-5";
const BEDROCK_MODEL: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

/// What is known of a credential now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It is taken, and a made-up one is not.
    Accepted,
    /// It is refused, for this reason.
    Refused(RestReason),
    /// The upstream answers, but it would answer anybody.
    Unproven,
    /// The upstream says nothing of it: it does not answer, or fails.
    Unknown,
}

/// What came of asking.
#[derive(Debug)]
pub struct Proved {
    /// What is known of the credential.
    pub proof: Proof,
    /// The status of the answer that it was learned from.
    pub status: Option<StatusCode>,
    /// What the upstream says, or why it could not be asked; for operators.
    pub message: String,
    /// What its words mean for the account besides: money, or a disabled organization.
    pub effect: Option<Effect>,
    /// What is known of the upstream's free calls from now on.
    pub known: Option<KnownProof>,
}

/// An account with what is needed to ask its upstream.
pub struct Subject<'a> {
    /// The way there, through the account's proxy.
    pub upstream: &'a Upstream,
    /// Signs where the credential is a role.
    pub signer: &'a Signer,
    /// The account.
    pub account: &'a Account,
    /// Its credential.
    pub credential: &'a Secret,
    /// Random bits, for a credential that is made up.
    pub bits: u128,
}

struct Answer {
    status: StatusCode,
    error: ErrorFields,
    message: String,
}

impl Subject<'_> {
    /// Asks the upstream whether it takes the credential. `health` tells what is known of its calls.
    pub async fn prove(&self, health: &Health, now: Timestamp) -> Proved {
        let proving = self.ask_in_turn(health, now);
        let late = |_| Proved::unknown(None, format!("no answer in {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, proving).await.unwrap_or_else(late)
    }

    async fn ask_in_turn(&self, health: &Health, now: Timestamp) -> Proved {
        let calls: &[FreeCall] = match self.account.provider {
            Provider::Anthropic => &[FreeCall::ListModels, FreeCall::CountTokens],
            Provider::OpenaiCompatible => &[FreeCall::ListModels, FreeCall::EmptyChat],
            Provider::Bedrock => &[FreeCall::CountTokens],
        };
        let base_url = &self.account.base_url;
        let known = health.proof.as_ref().filter(|known| known.base_url == *base_url);
        let proven_by = known.and_then(|known| known.call);
        let mut last = None;
        for call in calls.iter().filter(|call| proven_by.is_none_or(|known| known == **call)) {
            let answer = match self.ask(*call, self.credential).await {
                Ok(answer) => answer,
                Err(why) => return Proved::unknown(None, why),
            };
            if let Some(proved) = self.settled(&answer, now) {
                return Proved { known: known.cloned(), ..proved };
            }
            if proven_by.is_some() || self.account.provider == Provider::Bedrock {
                return Proved::of(Proof::Accepted, answer, known.cloned());
            }
            if known.is_none() && self.is_made_up_one_refused(*call, now).await {
                let known = KnownProof { base_url: base_url.clone(), call: Some(*call) };
                return Proved::of(Proof::Accepted, answer, Some(known));
            }
            // Where a list is missing, another call tells more of the upstream.
            if last.as_ref().is_none_or(|last: &Answer| !last.status.is_success()) {
                last = Some(answer);
            }
        }
        let known = KnownProof { base_url: base_url.clone(), call: None };
        match last {
            Some(answer) => Proved::of(Proof::Unproven, answer, Some(known)),
            None => Proved::unknown(None, "there is nothing to ask it".to_owned()),
        }
    }

    /// What an answer says by itself: that the credential is refused, that there is no money, or
    /// that the upstream is in no state to answer.
    fn settled(&self, answer: &Answer, now: Timestamp) -> Option<Proved> {
        let Answer { status, message, .. } = answer;
        let told = |proof, effect| Proved {
            proof,
            status: Some(*status),
            message: message.clone(),
            effect,
            known: None,
        };
        match self.meaning(answer, now) {
            Effect::Suspect { reason } => Some(told(Proof::Refused(reason), None)),
            Effect::Rest { reason: RestReason::TokenRefused, .. } => {
                Some(told(Proof::Refused(RestReason::CredentialRefused), None))
            }
            effect @ Effect::Rest { reason, .. } if reason.needs_operator() => {
                Some(told(Proof::Accepted, Some(effect)))
            }
            _ if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                Some(told(Proof::Unknown, None))
            }
            _ => None,
        }
    }

    fn meaning(&self, answer: &Answer, now: Timestamp) -> Effect {
        if answer.status.is_success() {
            return Effect::Nothing;
        }
        let announced = AnnouncedLimit::default();
        let facts = RequestFacts {
            provider: self.account.provider,
            credential: self.account.credential,
            token_issue: None,
            model: "",
            is_fast: false,
        };
        let status = answer.status.as_u16();
        let error = UpstreamError { status, announced: &announced, error: &answer.error };
        classify(&Failure::Status(error), &facts, now, 0).account
    }

    async fn is_made_up_one_refused(&self, call: FreeCall, now: Timestamp) -> bool {
        let made_up = made_up(self.credential.expose(), self.bits);
        let answer = self.ask(call, &made_up).await;
        answer.is_ok_and(|answer| {
            let settled = self.settled(&answer, now);
            settled.is_some_and(|proved| matches!(proved.proof, Proof::Refused(_)))
        })
    }

    async fn ask(&self, call: FreeCall, credential: &Secret) -> Result<Answer, String> {
        let account = self.account;
        let mut headers = HeaderMap::from_iter([(VERSION, HeaderValue::from_static("2023-06-01"))]);
        let own = credential_header(account.credential, credential);
        headers.extend(own.map_err(|_| "its credential is no header value".to_owned())?);
        if account.credential.is_renewed() {
            let beta = HeaderName::from_static("anthropic-beta");
            headers.insert(beta, HeaderValue::from_static(OAUTH_BETA));
        }
        let (method, path, body) = question(account, call);
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, JSON);
        }
        let address = Address::new(&account.base_url, &path);
        if account.credential == CredentialKind::Aws {
            let access = AwsAccess::of_secret(credential).map_err(|error| error.to_string())?;
            let signed = self.signer.sign(&access, address.as_str(), &mut headers, &body).await;
            signed.map_err(|error| error.to_string())?;
        }
        let answer = self.upstream.call(method, &address, headers, body).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut error = ErrorFields::read(&body);
        let exception = head.headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
        if let Some(name) = exception.and_then(|name| name.split(':').next()) {
            error.code = Some(name.to_owned());
        }
        Ok(Answer { status: head.status, error, message: said(&body, credential) })
    }
}

impl Proved {
    fn of(proof: Proof, answer: Answer, known: Option<KnownProof>) -> Self {
        let Answer { status, message, .. } = answer;
        Self { proof, status: Some(status), message, effect: None, known }
    }

    /// Nobody could be asked, for this reason.
    pub fn not_asked(why: String) -> Self {
        Self::unknown(None, why)
    }

    fn unknown(status: Option<StatusCode>, message: String) -> Self {
        Self { proof: Proof::Unknown, status, message, effect: None, known: None }
    }

    /// Health with what is known of the upstream's calls, if that is new.
    pub fn remembered(&self, health: &Health) -> Option<Health> {
        let known = self.known.clone().filter(|_| self.known != health.proof)?;
        Some(Health { proof: Some(known), ..health.clone() })
    }

    /// Health after what the calls have found against the account, and what is known of them.
    pub fn judged(&self, health: &Health, now: Timestamp) -> Option<Health> {
        let known = self.remembered(health);
        let base = known.as_ref().unwrap_or(health);
        let changed = match (self.proof, &self.effect) {
            (Proof::Refused(reason), _) => match confirmed(reason, now) {
                Some(effect) => after(base, &effect, now),
                None => refused(base, reason, None, now),
            },
            (_, Some(effect)) => after(base, effect, now),
            _ => None,
        };
        changed.or(known)
    }
}

/// A call that costs nothing. An empty chat completion is refused whoever asks, but by most upstreams
/// only after they have looked at the credential.
fn question(account: &Account, call: FreeCall) -> (Method, String, Bytes) {
    let mut mapped = account.model_map.iter().map(|(_, id)| id.as_str());
    let messages = json!([{"role": "user", "content": "hi"}]);
    match call {
        FreeCall::ListModels => (Method::GET, "/v1/models?limit=1".to_owned(), Bytes::new()),
        FreeCall::EmptyChat => {
            (Method::POST, "/v1/chat/completions".to_owned(), Bytes::from_static(b"{}"))
        }
        FreeCall::CountTokens if account.takes_invoke_model() => {
            let own = mapped.map(foundation_id).find(|id| id.starts_with("anthropic."));
            let model = own.unwrap_or(BEDROCK_MODEL);
            // Bedrock user guide, "CountTokens", 2026-10.
            let inner = json!({
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": messages,
            });
            let inner = BASE64_STANDARD.encode(inner.to_string());
            let body = json!({"input": {"invokeModel": {"body": inner}}});
            let model = model.replace(':', "%3A");
            (Method::POST, format!("/model/{model}/count-tokens"), body.to_string().into())
        }
        FreeCall::CountTokens => {
            let own = match account.provider {
                Provider::Bedrock => {
                    mapped.map(foundation_id).find(|id| id.starts_with("anthropic."))
                }
                _ => mapped.next(),
            };
            let fallback =
                if account.provider == Provider::Bedrock { BEDROCK_MODEL } else { MODEL };
            let body = json!({"model": own.unwrap_or(fallback), "messages": messages});
            (Method::POST, "/v1/messages/count_tokens".to_owned(), body.to_string().into())
        }
    }
}

/// A credential of the same shape that nobody has: its beginning stays, which often names its kind;
/// every letter and digit after it is another one.
fn made_up(credential: &str, mut bits: u128) -> Secret {
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

    #[test]
    fn a_made_up_credential_has_the_shape_of_a_real_one() {
        for real in
            ["sk-ant-api03-AbC123_xyz-Q9", "sk-proj-abcdefgh12345678", "0123456789abcdef", ""]
        {
            let made = made_up(real, 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
            assert_eq!(made.expose().len(), real.len());
            assert!(real.is_empty() || made.expose() != real);
            let kind = |c: char| (c.is_ascii_lowercase(), c.is_ascii_digit(), c.is_alphanumeric());
            assert!(made.expose().chars().map(kind).eq(real.chars().map(kind)), "{real}");
        }
        assert!(made_up("sk-ant-api03-AbC123", 7).expose().starts_with("sk-ant-"));
    }
}
