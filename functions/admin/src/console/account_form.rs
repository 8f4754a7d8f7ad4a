//! The form fields of an account, and of each kind of credential.

use super::accounts::HERE;
use super::block::Block;
use super::form::{Form, Kind, Spec, Typed, created};
use super::guest::Guest;
use super::lookup::Names;
use super::show::said;
use super::thing::{self, Tried};
use serde_json::{Value, json};

/// The fields of an account other than its credential.
pub(super) fn specs(groups: &Names) -> Vec<Spec> {
    vec![
        Spec::new("name", "Name", "", Kind::Text),
        Spec::new("provider", "Provider", "", Kind::Choice(providers())),
        Spec::new(
            "base_url",
            "Base URL",
            "Address of the upstream. Empty uses the provider's own.",
            Kind::Text,
        ),
        Spec::new(
            "groups",
            "Groups",
            "If none is selected, the default group is used.",
            Kind::Many(groups.some()),
        ),
        Spec::new("enabled", "On", "An account that is off gets no requests.", Kind::Flag),
        Spec::new(
            "priority",
            "Priority",
            "Smaller numbers are used first. Default: 100.",
            Kind::Number,
        ),
        Spec::new(
            "weight",
            "Weight",
            "Share of requests among accounts with the same priority.",
            Kind::Number,
        ),
        Spec::new("max_concurrency", "Concurrent requests", "Empty means no limit.", Kind::Count),
        Spec::new(
            "models",
            "Served models",
            "One per line, * for any characters. Empty means all models.",
            Kind::Lines,
        ),
        Spec::new("model_map", "Model mapping", "One per line: requested = served.", Kind::Pairs),
        Spec::new(
            "speaks_responses",
            "Supports the Responses API",
            "Only for OpenAI-compatible upstreams.",
            Kind::Flag,
        ),
        Spec::new(
            "cache_domain",
            "Cache domain",
            "The same name for all accounts that share a prompt cache, such as those of one workspace.",
            Kind::Maybe,
        ),
        Spec::new(
            "proxy_url",
            "Proxy",
            "A URL with http, https, socks5 or socks5h. All requests to this account use it.",
            Kind::Maybe,
        ),
    ]
}

fn providers() -> Vec<(String, String)> {
    [
        ("anthropic", "Anthropic"),
        ("openai_compatible", "OpenAI-compatible"),
        ("bedrock", "Amazon Bedrock"),
    ]
    .map(|(value, name)| (value.to_owned(), name.to_owned()))
    .to_vec()
}

/// A kind of credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential {
    ApiKey,
    Oauth2,
    WorkloadIdentity,
    Aws,
}

impl Credential {
    pub(super) const ALL: [Self; 4] =
        [Self::ApiKey, Self::Oauth2, Self::WorkloadIdentity, Self::Aws];

    /// The name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Oauth2 => "oauth2",
            Self::WorkloadIdentity => "workload_identity",
            Self::Aws => "aws",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            Self::Oauth2 => "OAuth 2.0, renewed by Baton",
            Self::WorkloadIdentity => "workload identity, no secret stored",
            Self::Aws => "AWS role, for Bedrock",
        }
    }

    /// The kind of credential in a submitted form; an API key by default.
    fn of(typed: &Typed) -> Self {
        let named = |kind: &Self| kind.name() == typed.get("credential.type");
        Self::ALL.into_iter().find(named).unwrap_or(Self::ApiKey)
    }

    /// Whether the submitted form has this kind of credential.
    pub(super) fn is_of(self, typed: &Typed) -> bool {
        Self::of(typed) == self
    }

    fn specs(self) -> Vec<Spec> {
        match self {
            Self::ApiKey => vec![
                Spec::new(
                    "credential.value",
                    "API key",
                    "Stored encrypted and never shown again.",
                    Kind::Secret,
                ),
                Spec::new(
                    "credential.header",
                    "Header",
                    "",
                    Kind::Choice(vec![
                        ("x-api-key".into(), "x-api-key".into()),
                        ("authorization".into(), "authorization (bearer)".into()),
                    ]),
                ),
            ],
            Self::Oauth2 => vec![
                Spec::new("credential.token_url", "Token endpoint", "", Kind::Text),
                Spec::new("credential.client_id", "Client id", "", Kind::Text),
                Spec::new("credential.client_secret", "Client secret", "", Kind::Secret),
                Spec::new(
                    "credential.refresh_token",
                    "Refresh token",
                    "Empty uses the client credentials grant.",
                    Kind::Secret,
                ),
                Spec::new("credential.scope", "Scope", "", Kind::Maybe),
            ],
            Self::WorkloadIdentity => vec![
                Spec::new("credential.federation_rule_id", "Federation rule", "", Kind::Text),
                Spec::new("credential.organization_id", "Organization", "", Kind::Text),
                Spec::new("credential.service_account_id", "Service account", "", Kind::Text),
                Spec::new("credential.workspace_id", "Workspace", "", Kind::Maybe),
                Spec::new(
                    "credential.identity_token_file",
                    "Token file",
                    "Empty gets the token from AWS STS.",
                    Kind::Maybe,
                ),
                Spec::new("credential.audience", "Audience", "", Kind::Maybe),
            ],
            Self::Aws => vec![
                Spec::new("credential.region", "Region", "Such as us-east-1.", Kind::Text),
                Spec::new(
                    "credential.role_arn",
                    "Role",
                    "Empty uses Baton's own role.",
                    Kind::Maybe,
                ),
                Spec::new("credential.external_id", "External id", "", Kind::Maybe),
            ],
        }
    }
}

/// Converts the credential in a submitted form to JSON for the API.
pub(super) fn read_credential(typed: &Typed) -> Value {
    let kind = Credential::of(typed);
    let mut credential = created(&kind.specs(), typed)["credential"].take();
    if !credential.is_object() {
        credential = json!({});
    }
    credential["type"] = json!(kind.name());
    credential
}

/// The form that replaces the credential of an account.
pub(super) fn credential_form(
    kind: Credential,
    action: &str,
    view: &Value,
    tried: Option<&Tried>,
) -> Form {
    Form::post(format!("replace-{}", kind.name()), action, "Replace")
        .hidden("credential.type", kind.name())
        .hidden("version", said(&view["version"]))
        .fields(thing::fields(&kind.specs(), &Value::Null, tried))
        .error(thing::error(&kind.specs(), tried))
}

/// The page of a new account with a form for each kind of credential. The first form is open.
pub(super) fn new_blocks(guest: &Guest, groups: &Names, tried: Option<&Tried>) -> Vec<Block> {
    let start = json!({ "enabled": true, "provider": "anthropic" });
    let form = |kind: Credential| {
        let tried = tried.filter(|tried| kind.is_of(&tried.typed));
        let mut specs = specs(groups);
        let rest = specs.split_off(3);
        specs.extend(kind.specs());
        specs.extend(rest);
        let form = thing::create_form(guest, HERE, "Add account", (&specs, &start), tried);
        Form { id: format!("create-{}", kind.name()), ..form }
            .hidden("credential.type", kind.name())
    };
    let mut blocks = vec![Block::Form(form(Credential::ApiKey))];
    for kind in Credential::ALL.into_iter().skip(1) {
        let title = format!("Use another credential: {}", kind.title());
        blocks.push(Block::Fold(format!("new-{}", kind.name()), title, form(kind)));
    }
    blocks
}
