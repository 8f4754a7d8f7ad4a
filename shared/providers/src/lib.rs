//! The providers: everything that Baton knows about each kind of upstream, as pure functions and
//! data.
//!
//! Each provider has a module with one constant of type [`ProviderRules`]. [`rules`] is the only
//! place that chooses among them, so a new provider is a new module and a new row there. The other
//! modules hold what works the same at every provider and ask the rules for the rest.

pub mod address;
mod anthropic;
mod bedrock;
pub mod classification;
pub mod conversion;
pub mod headers;
mod openai;
pub mod probe;

pub use bedrock::{SIGNING_SERVICE, regional_base_url};

use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::model_capabilities::{ChatSupport, OwnCapabilities};
use baton_domain::protocol::{Framing, UpstreamProtocol};
use baton_domain::verdict::{CooldownScope, ErrorFields};
use baton_protocol::error::ApiFamily;
use classification::ErrorRule;
use conversion::{RequestShape, TargetCapabilities};
use probe::Probe;

/// The rules of the provider.
pub const fn rules(provider: Provider) -> &'static ProviderRules {
    match provider {
        Provider::Anthropic => &anthropic::RULES,
        Provider::OpenaiCompatible => &openai::RULES,
        Provider::Bedrock => &bedrock::RULES,
    }
}

/// What Baton knows about one provider.
pub struct ProviderRules {
    /// The name for people.
    pub label: &'static str,
    /// The base URL of an account that names none, if the provider has a single address.
    pub default_base_url: Option<&'static str>,
    /// The form of the provider's base URLs, for messages.
    pub base_url_form: &'static str,

    /// The kind of credential that an API key becomes unless the operator chooses its header.
    pub api_key_kind: CredentialKind,
    /// Checks whether the provider takes credentials of this kind. The error is for the operator.
    pub check_credential: fn(CredentialKind) -> Result<(), &'static str>,
    /// The value of `anthropic-beta` that renewed tokens need, if there is one.
    pub(crate) token_beta: Option<&'static str>,
    /// The prefix of the client's headers that only upstreams of other vendors understand.
    pub(crate) foreign_header_prefix: &'static str,

    /// Whether the upstream at this base URL is known to have the Responses API, so that a new
    /// account speaks it unless told otherwise.
    pub has_responses: fn(&str) -> bool,
    /// The protocol in which Baton calls the account, from its settings, the shape of the client's
    /// request and what the upstream's model accepts on Chat Completions.
    pub(crate) upstream_protocol: fn(&Account, RequestShape, ChatSupport) -> UpstreamProtocol,
    /// The framing of the account's requests and answers.
    pub(crate) framing: fn(&Account) -> Framing,
    /// Returns what the account and the model accept. What an operator has set for the model
    /// overrides its name. The translation writes requests that stay within it.
    pub target_capabilities: fn(&Account, &str, OwnCapabilities) -> TargetCapabilities,

    /// The errors that the provider names, in the order in which they are looked for.
    pub(crate) error_rules: &'static [ErrorRule],
    /// Whether the error has a name in the field in which the provider puts it.
    pub(crate) names_error: fn(&ErrorFields) -> bool,
    /// The longest time in seconds until the reset of a rate limit with this scope.
    pub(crate) rate_reset_seconds_max: fn(&CooldownScope) -> i64,
    /// The longest time in seconds until the reset of a limit of money.
    pub(crate) spend_reset_seconds_max: i64,

    /// The free calls that check a credential, in the order in which they are tried.
    pub probes: &'static [Probe],
    /// Whether an answer to one of these calls that is not a refusal proves the credential. If not,
    /// a random credential has to be refused as well.
    pub probes_prove_credential: bool,
    /// The form of the provider's list of models. A provider without a list has `None`, and the
    /// models of the price table are listed.
    pub model_list_form: Option<ApiFamily>,
}
