//! Upstream accounts: where requests can be sent, and with which credential. The state of an
//! account is in [`crate::health`].

use crate::id::{AccountId, GroupId};
use crate::model::{ModelPattern, find_mapped_model, is_model_allowed};
use crate::protocol::UpstreamOperation;
use serde::{Deserialize, Serialize};

/// The settings of an upstream account. They do not include the credential, which `runtime::vault`
/// encrypts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The id.
    pub id: AccountId,
    /// The name for people.
    pub name: String,
    /// The kind of the upstream.
    pub provider: Provider,
    /// The base URL, to which paths such as `/v1/messages` are appended.
    pub base_url: String,
    /// The kind of its credential.
    pub credential: CredentialKind,
    /// The groups whose keys can use the account.
    pub groups: Vec<GroupId>,
    /// Accounts with a smaller number are used first.
    pub priority: u32,
    /// The account's share of sessions among accounts of the same priority; 0 means none.
    pub weight: u32,
    /// The models that the account serves; empty means all.
    pub models: Vec<ModelPattern>,
    /// Models that have another name at the upstream: pairs of the requested and the upstream's
    /// name.
    pub model_map: Vec<(ModelPattern, String)>,
    /// Accounts of one domain share the upstream's prompt cache (one organization's workspace).
    pub cache_domain: Option<String>,
    /// The most requests at the same time, if limited.
    pub max_concurrency: Option<u32>,
    /// The URL of the proxy for this account, if any, for display: its password is masked.
    pub proxy_url: Option<String>,
    /// The same URL for use: encrypted and in base64.
    #[serde(default)]
    pub proxy_sealed: Option<String>,
    /// Whether an OpenAI-compatible upstream has the Responses API. If not, Baton calls it through
    /// Chat Completions.
    #[serde(default)]
    pub speaks_responses: bool,
    /// Whether the account is used at all.
    pub enabled: bool,
}

impl AsRef<Self> for Account {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Account {
    /// An enabled account with the usual priority and weight. It has no name, groups or own models.
    pub fn new(
        id: AccountId,
        provider: Provider,
        base_url: &str,
        credential: CredentialKind,
    ) -> Self {
        Self {
            id,
            name: String::new(),
            provider,
            base_url: base_url.to_owned(),
            credential,
            groups: Vec::new(),
            priority: 100,
            weight: 100,
            models: Vec::new(),
            model_map: Vec::new(),
            cache_domain: None,
            max_concurrency: None,
            proxy_url: None,
            proxy_sealed: None,
            speaks_responses: false,
            enabled: true,
        }
    }

    /// Whether the account serves a request for `model`. A name that the provider does not know must
    /// be mapped.
    pub fn serves_model(&self, model: &str) -> bool {
        let is_known = self.provider.knows_model_name(model)
            || find_mapped_model(&self.model_map, model).is_some();
        is_known && is_model_allowed(&self.models, model)
    }

    /// Whether the list or the map names single models, and not only patterns.
    pub(crate) fn names_models(&self) -> bool {
        self.named_models().next().is_some()
    }

    /// Whether the list or the map names this model.
    pub fn names_model(&self, model: &str) -> bool {
        self.named_models().any(|pattern| pattern.covers(model))
    }

    fn named_models(&self) -> impl Iterator<Item = &ModelPattern> {
        let mapped = self.model_map.iter().map(|(pattern, _)| pattern);
        self.models.iter().chain(mapped).filter(|pattern| pattern.is_literal())
    }

    /// The upstream's name for `model`, as the client requested it.
    pub fn upstream_model<'a>(&'a self, model: &'a str) -> &'a str {
        find_mapped_model(&self.model_map, model).unwrap_or(model)
    }
}

/// The kinds of upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// An API that speaks Anthropic Messages.
    Anthropic,
    /// An API that speaks OpenAI Chat Completions, and possibly Responses.
    OpenaiCompatible,
    /// Amazon Bedrock.
    Bedrock,
}

impl Provider {
    /// All kinds, in the order in which operators see them.
    pub const ALL: [Self; 3] = [Self::Anthropic, Self::OpenaiCompatible, Self::Bedrock];

    /// The name in the API and in usage records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenaiCompatible => "openai_compatible",
            Self::Bedrock => "bedrock",
        }
    }

    /// The provider of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name)
    }

    /// Whether upstreams of this kind can serve the operation, directly or by translation. This and
    /// [`Self::knows_model_name`] are what account selection needs to know about a provider; the
    /// crate `baton-providers` knows the rest.
    pub fn serves(self, operation: UpstreamOperation) -> bool {
        match operation {
            UpstreamOperation::Answer(_) | UpstreamOperation::Models => true,
            UpstreamOperation::Count => match self {
                Self::Anthropic | Self::Bedrock => true,
                Self::OpenaiCompatible => false,
            },
        }
    }

    /// Whether `model` is, or can be, a name of this kind of upstream. Bedrock does not know the
    /// names of the Messages API.
    pub(crate) fn knows_model_name(self, model: &str) -> bool {
        match self {
            Self::Anthropic | Self::OpenaiCompatible => true,
            Self::Bedrock => model.contains("anthropic.") || model.starts_with("arn:"),
        }
    }

    /// Whether every name can be one of this kind of upstream.
    pub(crate) fn knows_any_model_name(self) -> bool {
        match self {
            Self::Anthropic | Self::OpenaiCompatible => true,
            Self::Bedrock => false,
        }
    }
}

/// The kind of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A static key, sent in `x-api-key`.
    ApiKey,
    /// A static token, sent as `Authorization: Bearer`.
    Bearer,
    /// A short-lived token, renewed at an OAuth 2.0 token endpoint; see [`crate::upstream_token`].
    Oauth2,
    /// A short-lived token, issued for a signed statement of identity; see [`crate::upstream_token`].
    WorkloadIdentity,
    /// An AWS role that signs each request (Signature Version 4): the process's own or an assumed
    /// one.
    Aws,
}

impl CredentialKind {
    /// Whether it is a token that expires and is renewed.
    pub fn is_renewed(self) -> bool {
        match self {
            Self::Oauth2 | Self::WorkloadIdentity => true,
            Self::ApiKey | Self::Bearer | Self::Aws => false,
        }
    }

    /// Whether it signs each request instead of being sent with it.
    pub fn signs_requests(self) -> bool {
        match self {
            Self::Aws => true,
            Self::ApiKey | Self::Bearer | Self::Oauth2 | Self::WorkloadIdentity => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientProtocol;

    #[test]
    fn every_provider_is_listed() {
        // The message of serde lists all variants.
        let message = serde_json::from_str::<Provider>("\"?\"").unwrap_err().to_string();
        let names: Vec<_> = message.split('`').skip(3).step_by(2).collect();
        assert_eq!(Provider::ALL.map(Provider::as_str).to_vec(), names, "{message}");
    }

    #[test]
    fn only_openai_compatible_upstreams_cannot_count_tokens() {
        use ClientProtocol::{AnthropicMessages, BedrockInvokeModel, OpenaiChat, OpenaiResponses};
        let answers = [AnthropicMessages, OpenaiChat, OpenaiResponses, BedrockInvokeModel];
        let answers = answers.map(UpstreamOperation::Answer);
        for operation in answers.into_iter().chain([UpstreamOperation::Models]) {
            assert!(Provider::ALL.iter().all(|one| one.serves(operation)), "{operation:?}");
        }
        let counts = Provider::ALL.map(|provider| provider.serves(UpstreamOperation::Count));
        assert_eq!(counts, [true, false, true]);
    }
}
