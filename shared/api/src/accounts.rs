//! Accounts at upstreams: `/accounts`.

use crate::credentials::NewCredential;
use crate::fields::{FieldChange, HttpsAddress, ModelMap, Name};
use crate::list::ResourceMeta;
use crate::new::{Creatable, New};
use baton_domain::account::{CredentialKind, Provider};
use baton_domain::health::UpstreamUtilization;
use baton_domain::id::{AccountId, GroupId};
use baton_domain::model::ModelPattern;
use baton_domain::secret::Secret;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An account, with its state and without its credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Account")]
pub struct AccountResource {
    /// Id of the account.
    pub id: AccountId,
    /// Name for people, unique among accounts.
    pub name: String,
    /// API of the upstream; it cannot be changed without the credential.
    pub provider: Provider,
    /// Address of the upstream, without `/v1`.
    pub base_url: String,
    /// Groups that use the account.
    pub groups: Vec<GroupId>,
    /// Accounts with the smallest number are used first; 100 by default.
    pub priority: u32,
    /// Share of sessions among accounts with the same priority; 100 by default.
    pub weight: u32,
    /// Served models; empty means all.
    pub models: Vec<ModelPattern>,
    /// Names at the upstream by the name that is requested.
    pub model_map: ModelMap,
    /// Accounts with the same value share a prompt cache.
    pub cache_domain: Option<String>,
    /// Requests at the same time; null means unlimited.
    pub max_concurrency: Option<u32>,
    /// Proxy for all requests to the account; in answers its password is `***`.
    pub proxy_url: Option<String>,
    /// Whether an OpenAI-compatible upstream supports `/v1/responses`.
    pub speaks_responses: bool,
    /// Whether the account gets requests.
    pub enabled: bool,
    /// Kind of the credential, which is never returned.
    pub credential_type: CredentialKind,
    /// Whether Baton has a token for the account; null if its credential is not a token that Baton
    /// renews.
    pub has_token: Option<bool>,
    /// State of the account.
    pub status: AccountStatus,
    /// Why the account is not ready.
    pub status_reason: Option<String>,
    /// When the cooldown ends.
    pub cooling_until: Option<Timestamp>,
    /// Models in cooldown, with the reason and the end of each.
    pub cooling_models: BTreeMap<String, ModelCooldown>,
    /// Used share of the upstream's own limits, by window.
    pub utilization: UpstreamUtilization,
    /// The same as `utilization`, for programs written for 0.1.0. Removed in 0.3.0.
    pub utilisation: UpstreamUtilization,
    /// Time of the last request.
    pub last_used_at: Option<Timestamp>,
    /// Times and version.
    #[serde(flatten)]
    pub meta: ResourceMeta,
}

/// The states of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// The account gets requests.
    Ready,
    /// The upstream refused the account last, and only a request shows whether it still does.
    Unproven,
    /// The account is not used until the cooldown ends.
    Cooling,
    /// The upstream refused the credential.
    AuthFailed,
    /// An operator has disabled the account.
    Disabled,
}

/// The cooldown of a model or a model family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCooldown {
    /// End of the cooldown.
    pub until: Timestamp,
    /// Why the model is not used.
    pub reason: String,
    /// Whether Baton has estimated the end, because the upstream did not announce it.
    pub is_guess: bool,
}

/// Fields of an account that can be set. Absent fields stay unchanged.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountChange {
    /// Name for people, unique among accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Name>")]
    pub name: Option<String>,
    /// API of the upstream; it cannot be changed without the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Address of the upstream, without `/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HttpsAddress>")]
    pub base_url: Option<String>,
    /// The credential, which is never returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<NewCredential>,
    /// Groups that use the account; a new account without groups uses the default group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub groups: Option<Vec<GroupId>>,
    /// Accounts with the smallest number are used first; 100 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Share of sessions among accounts with the same priority; 100 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Served models; empty means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelPattern>>,
    /// Names at the upstream by the name that is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_map: Option<ModelMap>,
    /// Accounts with the same value share a prompt cache.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub cache_domain: FieldChange<String>,
    /// Requests at the same time; null means unlimited.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    #[schemars(range(min = 1))]
    pub max_concurrency: FieldChange<u32>,
    /// Proxy for all requests to the account; in answers its password is `***`.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    #[schemars(regex(
        pattern = r"^(http|https|socks5|socks5h)://([a-z0-9]{1,20}:[a-z0-9]{1,20}@)?[a-z][a-z0-9]{0,20}(\.[a-z][a-z0-9]{0,20}){1,3}:[1-9][0-9]{0,3}$"
    ))]
    pub proxy_url: FieldChange<String>,
    /// Whether an OpenAI-compatible upstream supports `/v1/responses`; by default only OpenAI's own
    /// does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks_responses: Option<bool>,
    /// Whether the account gets requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Creatable for AccountChange {
    const SCHEMA_NAME: &'static str = "NewAccount";
    const REQUIRED: &'static [&'static str] = &["name", "credential"];
}

impl New<AccountChange> {
    /// An account with an API key and defaults for everything else.
    pub fn with_api_key(name: &str, base_url: &str, key: Secret) -> Self {
        Self(AccountChange {
            name: Some(name.to_owned()),
            base_url: Some(base_url.to_owned()),
            credential: Some(NewCredential::api_key(key)),
            ..AccountChange::default()
        })
    }
}

/// Query parameters of the list of accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AccountFilter {
    /// Only resources of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<GroupId>,
    /// Only enabled resources (true) or disabled ones (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Only resources whose name contains this text; upper and lower case are equal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
}

/// The result of testing an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountTest {
    /// Id of the account.
    pub id: AccountId,
    /// Whether the account can be used; null if a made-up credential gets the same answer, so that
    /// nothing shows it.
    pub ok: Option<bool>,
    /// HTTP status of the upstream; null without an answer.
    pub upstream_status: Option<u16>,
    /// Result for people.
    pub message: String,
    /// Duration of the test in milliseconds.
    pub duration_ms: u64,
}
