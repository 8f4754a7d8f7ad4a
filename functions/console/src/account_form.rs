//! The form fields of an account, and of each kind of credential.

use crate::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm, collect_new_values};
use crate::name_lookup::NameLookup;
use crate::page_blocks::PageBlock;
use crate::page_request::PageRequest;
use crate::resource_pages::{self, RejectedInput, ResourcePages as _};
use baton_api::accounts::AccountResource;
use baton_domain::account::Provider;
use baton_providers::rules;
use serde_json::{Value, json};

/// The fields of an account other than its credential.
pub(crate) fn account_fields(groups: &NameLookup) -> Vec<FieldSpec> {
    vec![
        FieldSpec::new("name", "Name", "", FieldKind::Text),
        provider_field(),
        base_url_field("Address of the upstream. Empty uses the provider's own."),
        FieldSpec::new(
            "groups",
            "Groups",
            "If none is selected, the default group is used.",
            FieldKind::MultipleChoice(groups.choices_only()),
        ),
        FieldSpec::new(
            "enabled",
            "Enabled",
            "A disabled account gets no requests.",
            FieldKind::Flag,
        ),
        FieldSpec::new(
            "priority",
            "Priority",
            "Smaller numbers are used first. Default: 100.",
            FieldKind::Number,
        ),
        FieldSpec::new(
            "weight",
            "Weight",
            "Share of sessions among accounts with the same priority.",
            FieldKind::Number,
        ),
        FieldSpec::new(
            "max_concurrency",
            "Concurrent requests",
            "Empty means no limit.",
            FieldKind::Count,
        ),
        FieldSpec::new(
            "models",
            "Served models",
            "One per line, * for any characters. Empty means all models.",
            FieldKind::Lines,
        ),
        FieldSpec::new(
            "model_map",
            "Model mapping",
            "One per line: requested = served.",
            FieldKind::Pairs,
        ),
        FieldSpec::new(
            "speaks_responses",
            "Supports the Responses API",
            "Only for OpenAI-compatible upstreams.",
            FieldKind::Flag,
        ),
        FieldSpec::new(
            "cache_domain",
            "Cache domain",
            "The same name for all accounts that share a prompt cache, such as those of one workspace.",
            FieldKind::OptionalText,
        ),
        proxy_field(),
    ]
}

fn provider_field() -> FieldSpec {
    FieldSpec::new("provider", "Provider", "", FieldKind::Choice(provider_choices()))
}

fn base_url_field(hint: &'static str) -> FieldSpec {
    FieldSpec::new("base_url", "Base URL", hint, FieldKind::Text)
}

fn proxy_field() -> FieldSpec {
    FieldSpec::new(
        "proxy_url",
        "Proxy",
        "A URL with http, https, socks5 or socks5h. All requests to this account use it.",
        FieldKind::OptionalText,
    )
}

/// The fields that decide where a credential is sent. The API changes them only together with the
/// credential, so the forms that replace it have them, too.
pub(crate) fn destination_fields() -> Vec<FieldSpec> {
    vec![provider_field(), base_url_field("Address of the upstream."), proxy_field()]
}

fn provider_choices() -> Vec<(String, String)> {
    let choice =
        |provider: Provider| (provider.as_str().to_owned(), rules(provider).label.to_owned());
    Provider::ALL.map(choice).to_vec()
}

/// A kind of credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialChoice {
    ApiKey,
    Oauth2,
    WorkloadIdentity,
    Aws,
}

impl CredentialChoice {
    pub(crate) const ALL: [Self; 4] =
        [Self::ApiKey, Self::Oauth2, Self::WorkloadIdentity, Self::Aws];

    /// The name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Oauth2 => "oauth2",
            Self::WorkloadIdentity => "workload_identity",
            Self::Aws => "aws",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            Self::Oauth2 => "OAuth 2.0, renewed by Baton",
            Self::WorkloadIdentity => "workload identity, no secret stored",
            Self::Aws => "AWS role, for Bedrock",
        }
    }

    /// The kind of credential in a submitted form; an API key by default.
    fn from_form(values: &FormValues) -> Self {
        let named = |kind: &Self| kind.name() == values.get("credential.type");
        Self::ALL.into_iter().find(named).unwrap_or(Self::ApiKey)
    }

    /// Whether the submitted form has this kind of credential.
    pub(crate) fn is_chosen_in(self, values: &FormValues) -> bool {
        Self::from_form(values) == self
    }

    #[expect(clippy::too_many_lines, reason = "a table of fields")]
    fn credential_fields(self) -> Vec<FieldSpec> {
        match self {
            Self::ApiKey => vec![
                FieldSpec::new(
                    "credential.value",
                    "API key",
                    "Stored encrypted and never shown again.",
                    FieldKind::Secret,
                ),
                FieldSpec::new(
                    "credential.header",
                    "Header for the API key",
                    "",
                    FieldKind::Choice(vec![
                        ("x-api-key".into(), "x-api-key".into()),
                        ("authorization".into(), "authorization (bearer)".into()),
                    ]),
                ),
            ],
            Self::Oauth2 => vec![
                FieldSpec::new("credential.token_url", "Token endpoint", "", FieldKind::Text),
                FieldSpec::new("credential.client_id", "Client id", "", FieldKind::Text),
                FieldSpec::new("credential.client_secret", "Client secret", "", FieldKind::Secret),
                FieldSpec::new(
                    "credential.refresh_token",
                    "Refresh token",
                    "Empty uses the client credentials grant.",
                    FieldKind::Secret,
                ),
                FieldSpec::new("credential.scope", "Scope", "", FieldKind::OptionalText),
            ],
            Self::WorkloadIdentity => vec![
                FieldSpec::new(
                    "credential.federation_rule_id",
                    "Federation rule",
                    "",
                    FieldKind::Text,
                ),
                FieldSpec::new(
                    "credential.organization_id",
                    "Organization",
                    "Id of the organization at the provider.",
                    FieldKind::Text,
                ),
                FieldSpec::new(
                    "credential.service_account_id",
                    "Service account",
                    "",
                    FieldKind::Text,
                ),
                FieldSpec::new(
                    "credential.workspace_id",
                    "Workspace",
                    "Id of the workspace at the provider. Empty sends none.",
                    FieldKind::OptionalText,
                ),
                FieldSpec::new(
                    "credential.identity_token_file",
                    "Token file",
                    "Name of a file with the identity token in the folder BATON_IDENTITY_TOKEN_DIR. Empty gets the token from AWS STS.",
                    FieldKind::OptionalText,
                ),
                FieldSpec::new(
                    "credential.audience",
                    "Audience",
                    "Audience of the token from AWS STS. Empty uses https://api.anthropic.com.",
                    FieldKind::OptionalText,
                ),
            ],
            Self::Aws => vec![
                FieldSpec::new(
                    "credential.region",
                    "Region",
                    "Such as us-east-1.",
                    FieldKind::Text,
                ),
                FieldSpec::new(
                    "credential.role_arn",
                    "Role",
                    "Empty uses Baton's own role.",
                    FieldKind::OptionalText,
                ),
                FieldSpec::new(
                    "credential.external_id",
                    "External id",
                    "",
                    FieldKind::OptionalText,
                ),
            ],
        }
    }
}

/// Converts the credential in a submitted form to JSON for the API.
pub(crate) fn read_credential(values: &FormValues) -> Value {
    let kind = CredentialChoice::from_form(values);
    let mut credential = collect_new_values(&kind.credential_fields(), values)["credential"].take();
    if !credential.is_object() {
        credential = json!({});
    }
    credential["type"] = json!(kind.name());
    credential
}

/// The form that replaces the credential of an account.
pub(crate) fn credential_form(
    kind: CredentialChoice,
    action: &str,
    account: &AccountResource,
    rejected: Option<&RejectedInput>,
) -> HtmlForm {
    let mut specs = kind.credential_fields();
    specs.extend(destination_fields());
    HtmlForm::post(format!("replace-{}", kind.name()), action, "Replace")
        .hidden("credential.type", kind.name())
        .hidden("version", account.meta.version.to_string())
        .fields(resource_pages::fields(&specs, &json!(account), rejected))
        .error(resource_pages::rejection_text(&specs, rejected))
}

/// The forms of a new account, one for each kind of credential. The first form is open.
pub(crate) fn new_account_forms(
    page_request: &PageRequest,
    groups: &NameLookup,
    rejected: Option<&RejectedInput>,
) -> Vec<PageBlock> {
    let start = AccountResource::start_values(&page_request.query);
    let form = |kind: CredentialChoice| {
        let rejected = rejected.filter(|rejected| kind.is_chosen_in(&rejected.values));
        let mut specs = account_fields(groups);
        let rest = specs.split_off(3);
        specs.extend(kind.credential_fields());
        specs.extend(rest);
        let form =
            resource_pages::create_form::<AccountResource>(page_request, &specs, &start, rejected);
        HtmlForm { id: format!("create-{}", kind.name()), ..form }
            .hidden("credential.type", kind.name())
    };
    let mut blocks = vec![PageBlock::Form(form(CredentialChoice::ApiKey))];
    for kind in CredentialChoice::ALL.into_iter().skip(1) {
        let title = format!("Use another credential: {}", kind.title());
        blocks.push(PageBlock::Fold(format!("new-{}", kind.name()), title, form(kind)));
    }
    blocks
}
