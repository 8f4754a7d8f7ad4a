//! Which form of an API a client and an account speak, and what lies between the two: chosen once
//! an attempt, from the route and the account.
//!
//! Going out, [`Speech::outgoing`] makes address, headers and body; how the answer comes back is
//! `hear`'s business. Where both speak the same, bytes pass.
//!
//! There are two differences, and a pair may have both: the dialect (whose words these are), and
//! Bedrock's form of Anthropic's dialect (another address, other places, frames for events).

use crate::apart::LONG_BYTES;
use crate::attempt::Miss;
use crate::forward::Call;
use crate::hear::{Known, Meant};
use crate::receipt::Bill;
use crate::{Asked, attempt};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::Address;
use baton_domain::account::{Account, Provider};
use baton_domain::model::{anthropic_id, base_id, foundation_id, map};
use baton_domain::protocol::Protocol;
use baton_wire::bedrock::{
    Action, BadBody, EVENT_STREAM, Message, add_request_headers, guardrail, path, to_count,
    to_count_messages, to_invoke, to_messages,
};
use baton_wire::demand::Reads;
use baton_wire::envelope::Envelope;
use baton_wire::model_path::BadId;
use baton_wire::translate::{
    Client, MaxTokens, Options, Speaks, Translated, Translation, Untranslatable,
};
use baton_wire::usage_chunk::ask_for_usage;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const VERSION_KNOWN: HeaderValue = HeaderValue::from_static("2023-06-01");
const FRAMES: HeaderValue = HeaderValue::from_static(EVENT_STREAM);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The two forms: the client's and the account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Both speak the same.
    Same,
    /// The same, a streamed chat completion: its usage is asked for.
    Counted,
    /// The client speaks the Messages API, the account is Bedrock.
    IntoBedrock,
    /// The client speaks Bedrock, the account the Messages API.
    OutOfBedrock,
    /// Both speak Bedrock.
    Bedrock,
    /// They speak different dialects, one of them perhaps in Bedrock's form.
    Translated(Translation, Form),
}

/// Who has Anthropic's dialect in Bedrock's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nobody.
    Plain,
    /// The account.
    IntoBedrock,
    /// The client.
    OutOfBedrock,
}

/// A request as it goes to the account, but for its signature.
pub(crate) struct Outgoing {
    pub(crate) address: Address,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) meant: Meant,
}

impl Speech {
    /// What lies between the client and the account.
    pub(crate) fn between(asked: &Asked, is_stream: bool, account: &Account) -> Self {
        let upstream = match account.provider {
            Provider::Anthropic | Provider::Bedrock => Speaks::Messages,
            Provider::OpenaiCompatible => Speaks::Chat,
        };
        let client = match asked.protocol {
            Protocol::AnthropicMessages | Protocol::BedrockInvokeModel => Client::Messages,
            Protocol::OpenaiChat => Client::Chat,
            Protocol::OpenaiResponses if upstream == Speaks::Chat && account.speaks_responses => {
                return Self::Same;
            }
            Protocol::OpenaiResponses => Client::Responses,
        };
        let forms = (asked.bedrock.is_some(), account.takes_invoke_model());
        match (Translation::between(client, upstream), forms) {
            (Some(translation), (true, _)) => Self::Translated(translation, Form::OutOfBedrock),
            (Some(translation), (false, true)) => Self::Translated(translation, Form::IntoBedrock),
            (Some(translation), (false, false)) => Self::Translated(translation, Form::Plain),
            (None, (false, true)) => Self::IntoBedrock,
            (None, (true, false)) => Self::OutOfBedrock,
            (None, (true, true)) => Self::Bedrock,
            (None, (false, false)) if client == Client::Chat && is_stream => Self::Counted,
            (None, (false, false)) => Self::Same,
        }
    }

    /// What the account is asked for when the client asks for `model`.
    pub(crate) fn model(self, member: &PoolMember, model: &str) -> String {
        let mapped = map(&member.account.model_map, model);
        let is_renamed =
            matches!(self, Self::OutOfBedrock | Self::Translated(_, Form::OutOfBedrock));
        let own = if is_renamed { anthropic_id(model) } else { model };
        mapped.unwrap_or(own).to_owned()
    }

    /// What decides how an account that is asked for `model` reads the request.
    pub(crate) fn sent(self, asked: &Asked, member: &PoolMember, model: &str) -> Sent {
        let model = self.model(member, model);
        let options = options(asked, &member.account, &model);
        let form = (options.max_tokens, options.caches_prompts);
        let (translation, reads) = match self {
            Self::Translated(translation, from) => {
                let reads = match member.account.provider {
                    Provider::OpenaiCompatible => Reads::Chat,
                    Provider::Anthropic | Provider::Bedrock => Reads::Messages,
                };
                (Some((translation, from, form)), reads)
            }
            _ => (None, Self::reads_of(asked.protocol)),
        };
        Sent { translation, reads, model }
    }

    /// What an upstream reads that is sent a client's own words.
    pub(crate) fn reads_of(protocol: Protocol) -> Reads {
        match protocol {
            Protocol::AnthropicMessages | Protocol::BedrockInvokeModel => Reads::Messages,
            Protocol::OpenaiChat => Reads::Chat,
            Protocol::OpenaiResponses => Reads::Responses,
        }
    }

    /// The request to `member` for `model`.
    pub(crate) async fn outgoing(
        self,
        asked: &Asked,
        member: &PoolMember,
        call: &Call,
        model: &str,
    ) -> Result<Outgoing, Miss> {
        let stream = call.question.stream;
        // Where the answer is read, too, it is not worth compressing.
        let encodes = matches!(self, Self::Same | Self::Counted | Self::OutOfBedrock);
        let mut headers = attempt::headers(asked, member, stream || !encodes)
            .map_err(|_| Miss::Misconfigured("its credential is no header value".to_owned()))?;
        // Whatever the client calls it: this is how the relay has read the body.
        headers.insert(CONTENT_TYPE, JSON);
        self.check_guardrail(asked)?;
        let mut known = Known::Nothing;
        let (path, body) = match self {
            Self::Same => (asked.path_and_query(), call.body_for(model)),
            Self::Counted => {
                let mut body = call.body_for(model);
                if let Some(asking) = ask_for_usage(&body) {
                    (body, known) = (asking, Known::NoUsage);
                }
                (asked.path_and_query(), body)
            }
            Self::IntoBedrock => into_bedrock(asked, call, (model, &call.body), &mut headers)?,
            Self::OutOfBedrock => {
                let (path, message) = out_of_bedrock(call, model)?;
                let betas = message.betas.and_then(|betas| HeaderValue::try_from(betas).ok());
                if let Some(betas) = betas {
                    headers.append(BETA, betas);
                }
                headers.entry(VERSION).or_insert(VERSION_KNOWN);
                (path.to_owned(), message.body)
            }
            Self::Bedrock => {
                add_request_headers(&mut headers, &asked.head.headers);
                let action = asked.bedrock.as_ref().map_or(Action::Invoke, |(_, action)| *action);
                (path(model, action)?, call.body.clone())
            }
            Self::Translated(translation, form) => {
                let own = (&call.body, call.question.model.as_str(), stream);
                let body = in_dialect(form, own)?;
                let options = options(asked, &member.account, model);
                let translated = if body.len() < LONG_BYTES {
                    translation.request(&body, &options)?
                } else {
                    Box::pin(translated_apart(translation, body, options)).await?
                };
                tracing::debug!(
                    request_id = %asked.id, dropped = translated.dropped.join(", "),
                    "translated for {}", translated.path
                );
                if member.account.provider != Provider::OpenaiCompatible {
                    headers.entry(VERSION).or_insert(VERSION_KNOWN);
                }
                known = Known::Asked(Box::new(translated.asked));
                match form {
                    Form::IntoBedrock => {
                        into_bedrock(asked, call, (model, &translated.body), &mut headers)?
                    }
                    Form::Plain | Form::OutOfBedrock => {
                        (translated.path.to_owned(), translated.body.into())
                    }
                }
            }
        };
        let meant = Meant { speech: self, bill: call.question.bill, known };
        let address = Address::new(&member.account.base_url, &path);
        Ok(Outgoing { address, headers, body, meant })
    }
}

impl Speech {
    /// An answer that nothing watches is another one than the client asked for.
    fn check_guardrail(self, asked: &Asked) -> Result<(), Miss> {
        let leaves_bedrock =
            matches!(self, Self::OutOfBedrock | Self::Translated(_, Form::OutOfBedrock));
        match guardrail(&asked.head.headers).filter(|_| leaves_bedrock) {
            Some(name) => Err(Miss::BadRequest(format!(
                "{name}: the account that serves this model has no guardrails; ask without it"
            ))),
            None => Ok(()),
        }
    }
}

/// The translation of a long body, on a thread that serves nobody else meanwhile.
async fn translated_apart(
    translation: Translation,
    body: Bytes,
    options: Options<'_>,
) -> Result<Translated, Miss> {
    let Options { model, id, created, max_tokens, output_tokens_max, .. } = options;
    let Options { takes_effort, takes_reasoning, caches_prompts, .. } = options;
    let (model, id) = (model.to_owned(), id.to_owned());
    let translate = move || {
        let (model, id) = (&*model, &*id);
        let options = Options {
            model,
            id,
            created,
            max_tokens,
            output_tokens_max,
            takes_effort,
            takes_reasoning,
            caches_prompts,
        };
        translation.request(&body, &options)
    };
    match tokio::task::spawn_blocking(translate).await {
        Ok(translated) => Ok(translated?),
        // A panic is this request's, as if it had been translated here.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Miss::Unreachable("the relay is stopping".to_owned())),
        },
    }
}

/// A request as an account is sent it, as far as that decides what it may cost. Two that are equal
/// are sent the same but for addresses and ids.
#[derive(PartialEq, Eq)]
pub(crate) struct Sent {
    translation: Option<(Translation, Form, (MaxTokens, bool))>,
    /// What the account's upstream speaks.
    pub(crate) reads: Reads,
    /// The model that it is asked for.
    pub(crate) model: String,
}

impl Sent {
    /// What translates the body; `None` where the client's own is sent. It borrows nothing, so that
    /// a long body can be translated on another thread.
    pub(crate) fn translation(
        &self,
        asked: &Asked,
        account: &Account,
        body: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Option<impl FnOnce() -> Result<Vec<u8>, Miss> + Send + 'static> {
        let (translation, form, _) = self.translation?;
        let (body, asked_model) = (body.clone(), envelope.model.to_string());
        let (stream, model, id) = (envelope.stream, self.model.clone(), asked.id.to_string());
        let options = options(asked, account, &self.model);
        let Options { created, max_tokens, output_tokens_max, .. } = options;
        let Options { takes_effort, takes_reasoning, caches_prompts, .. } = options;
        Some(move || {
            let body = in_dialect(form, (&body, &asked_model, stream))?;
            let (model, id) = (&*model, &*id);
            let options = Options {
                model,
                id,
                created,
                max_tokens,
                output_tokens_max,
                takes_effort,
                takes_reasoning,
                caches_prompts,
            };
            Ok(translation.request(&body, &options)?.body)
        })
    }
}

/// The client's body in its dialect's own form.
fn in_dialect(form: Form, (body, model, stream): (&Bytes, &str, bool)) -> Result<Bytes, BadBody> {
    Ok(match form {
        Form::OutOfBedrock => to_messages(body, model, stream)?.body,
        Form::Plain | Form::IntoBedrock => body.clone(),
    })
}

/// A request of the Messages API as Bedrock takes it.
fn into_bedrock(
    asked: &Asked,
    call: &Call,
    (model, body): (&str, &[u8]),
    headers: &mut HeaderMap,
) -> Result<(String, Bytes), Miss> {
    let betas = asked.head.headers.get_all(BETA).iter();
    let betas = betas.filter_map(|value| value.to_str().ok());
    let stream = call.question.stream;
    let action = match (call.question.bill, stream) {
        (Bill::Free, _) => Action::CountTokens,
        (Bill::Metered, true) => Action::Stream,
        (Bill::Metered, false) => Action::Invoke,
    };
    let (model, body) = match action {
        Action::CountTokens => (foundation_id(model), to_count(body, betas)),
        Action::Invoke | Action::Stream => (model, to_invoke(body, betas)),
    };
    headers.remove(BETA);
    headers.remove(VERSION);
    headers.insert(ACCEPT, if stream { FRAMES } else { JSON });
    Ok((path(model, action)?, body?))
}

/// A request of a Bedrock client in the Messages API's form, and its path there.
fn out_of_bedrock(call: &Call, model: &str) -> Result<(&'static str, Message), BadBody> {
    Ok(match call.question.bill {
        Bill::Free => ("/v1/messages/count_tokens", to_count_messages(&call.body, model)?),
        Bill::Metered => ("/v1/messages", to_messages(&call.body, model, call.question.stream)?),
    })
}

/// What the account and the moment add to a translated request. OpenAI's reasoning models refuse
/// `max_tokens` (platform.openai.com, "Reasoning models", 2026-11); many other vendors know
/// nothing else. Bedrock's form has no top-level cache control.
fn options<'a>(asked: &'a Asked, account: &Account, model: &'a str) -> Options<'a> {
    let name = base_id(model);
    let reasons = ["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|start| name.starts_with(start));
    let is_openai = account.base_url.contains("//api.openai.com");
    let max_tokens = if reasons || is_openai { MaxTokens::Completion } else { MaxTokens::Plain };
    let created = u64::try_from(asked.at.as_second()).unwrap_or_default();
    let caches_prompts = !account.takes_invoke_model();
    let plain = Options::new(model, asked.id.as_str());
    Options { created, max_tokens, caches_prompts, ..plain }
}

impl From<BadBody> for Miss {
    fn from(error: BadBody) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<BadId> for Miss {
    fn from(error: BadId) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<Untranslatable> for Miss {
    fn from(error: Untranslatable) -> Self {
        Self::BadRequest(error.to_string())
    }
}
