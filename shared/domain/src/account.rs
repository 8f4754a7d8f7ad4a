//! Upstream accounts: where requests may go, and with which credential. How an account is doing
//! is [`crate::health`]'s business.

use crate::id::{AccountId, GroupId};
use crate::model::{ModelPattern, allows, map};
use serde::{Deserialize, Serialize};

/// An upstream account's settings. Its credential is not part of it; see `cloud::vault`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Identity.
    pub id: AccountId,
    /// What people call it.
    pub name: String,
    /// What kind of upstream it is.
    pub provider: Provider,
    /// Where it is; paths like `/v1/messages` are appended.
    pub base_url: String,
    /// What its credential is made of.
    pub credential: CredentialKind,
    /// The groups whose keys may use it.
    pub groups: Vec<GroupId>,
    /// Smaller is used first.
    pub priority: u32,
    /// Share of sessions among accounts of the same priority; 0 takes none.
    pub weight: u32,
    /// Models it serves; empty means all.
    pub models: Vec<ModelPattern>,
    /// Models it knows under another name: asked, served.
    pub model_map: Vec<(ModelPattern, String)>,
    /// Accounts of one domain share the upstream's prompt cache (one organisation's workspace).
    pub cache_domain: Option<String>,
    /// Requests at the same time, if bounded.
    pub max_concurrency: Option<u32>,
    /// The proxy to reach it through, if any, as it is shown: its password is masked.
    pub proxy_url: Option<String>,
    /// The same as it is used, sealed and in base64.
    #[serde(default)]
    pub proxy_sealed: Option<String>,
    /// Whether an OpenAI-compatible upstream has the Responses API, too. Where it has not, it is
    /// asked by Chat Completions.
    #[serde(default)]
    pub speaks_responses: bool,
    /// Whether it is used at all.
    pub enabled: bool,
}

impl AsRef<Self> for Account {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Account {
    /// Whether it serves a model that is asked for as `model`. Bedrock knows none by the name that
    /// the Messages API has for it: there it must be mapped, or asked for by Bedrock's own name.
    pub fn serves(&self, model: &str) -> bool {
        let is_named = self.provider != Provider::Bedrock
            || model.contains("anthropic.")
            || model.starts_with("arn:")
            || map(&self.model_map, model).is_some();
        is_named && allows(&self.models, model)
    }

    /// What its upstream is asked for when a client asks for `model`.
    pub fn upstream_name<'a>(&'a self, model: &'a str) -> &'a str {
        map(&self.model_map, model).unwrap_or(model)
    }

    /// Whether it is asked by `InvokeModel`. Bedrock also speaks the Messages API itself, for newer
    /// models, under `/anthropic` (Bedrock user guide, "Inference using Anthropic Messages API",
    /// 2026-10): then only the signature is Amazon's.
    pub fn takes_invoke_model(&self) -> bool {
        let base = self.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        self.provider == Provider::Bedrock && !base.ends_with("/anthropic")
    }
}

/// The kinds of upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Speaks Anthropic Messages.
    Anthropic,
    /// Speaks OpenAI Chat Completions, perhaps Responses.
    OpenaiCompatible,
    /// Amazon Bedrock.
    Bedrock,
}

impl Provider {
    /// The name in the API and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenaiCompatible => "openai_compatible",
            Self::Bedrock => "bedrock",
        }
    }
}

/// What a credential is made of (design §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A static key, sent in `x-api-key`.
    ApiKey,
    /// A static token, sent as `Authorization: Bearer`.
    Bearer,
    /// A short-lived token, renewed through an OAuth 2.0 token endpoint; see [`crate::token`].
    Oauth2,
    /// A short-lived token, had for a signed statement of who we are; see [`crate::token`].
    WorkloadIdentity,
    /// An AWS role that signs each request (Signature Version 4): our own, or an assumed one.
    Aws,
}

impl CredentialKind {
    /// Whether it is a token that runs out and is renewed.
    pub fn is_renewed(self) -> bool {
        matches!(self, Self::Oauth2 | Self::WorkloadIdentity)
    }
}
