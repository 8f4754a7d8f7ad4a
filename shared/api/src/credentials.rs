//! Credentials of accounts. They can be written but are never returned.

use crate::exposed;
use crate::fields::{HeaderSecret, HttpsAddress};
use baton_domain::secret::Secret;
use baton_domain::upstream_token::ClientAuth;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A credential in a request.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "Credential")]
pub enum NewCredential {
    /// An API key.
    ApiKey(ApiKeyCredential),
    /// A token that Baton renews: with the `refresh_token`, or, if there is none, with the client
    /// credentials, which need a `client_secret`.
    Oauth2(OauthCredential),
    /// A token in exchange for a signed identity token. No secret is stored.
    WorkloadIdentity(WorkloadIdentityCredential),
    /// A role that signs requests to Amazon Bedrock: Baton's own, or one that it assumes.
    Aws(AwsCredential),
}

/// An API key.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyCredential {
    /// The API key.
    #[serde(serialize_with = "exposed::secret")]
    #[schemars(with = "HeaderSecret")]
    pub value: Secret,
    /// Header that carries the key; by default the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<CredentialHeader>,
}

/// The header that carries an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialHeader {
    /// `x-api-key`
    #[serde(rename = "x-api-key")]
    XApiKey,
    /// `Authorization: Bearer`
    #[serde(rename = "authorization")]
    Authorization,
}

/// A token that an OAuth 2.0 token endpoint renews.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OauthCredential {
    /// Address of the token endpoint.
    #[schemars(with = "HttpsAddress")]
    pub token_url: String,
    /// Client id at the token endpoint.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// Client secret; absent for a public client.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "exposed::optional"
    )]
    #[schemars(length(min = 1), extend("writeOnly" = true))]
    pub client_secret: Option<Secret>,
    /// Refresh token; without it the client credentials grant is used.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "exposed::optional"
    )]
    #[schemars(length(min = 1), extend("writeOnly" = true))]
    pub refresh_token: Option<Secret>,
    /// OAuth scope to request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Where the client secret is sent to the token endpoint.
    #[serde(default)]
    pub token_endpoint_auth_method: ClientAuth,
}

/// The fields for exchanging an identity token for an access token.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct WorkloadIdentityCredential {
    /// Id of the federation rule at the provider.
    #[schemars(length(min = 1))]
    pub federation_rule_id: String,
    /// Id of the organization at the provider.
    #[schemars(length(min = 1))]
    pub organization_id: String,
    /// Id of the service account at the provider.
    #[schemars(length(min = 1))]
    pub service_account_id: String,
    /// Id of the workspace at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub workspace_id: Option<String>,
    /// Address of the token endpoint; by default `/v1/oauth/token` below the account's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HttpsAddress>")]
    pub token_url: Option<String>,
    /// File with the identity token; absent gets one from AWS STS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub identity_token_file: Option<String>,
    /// Audience of the token from AWS STS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub audience: Option<String>,
}

/// An AWS role.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsCredential {
    /// AWS region of Bedrock.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,32}$"))]
    pub region: String,
    /// Role to assume; absent uses Baton's own role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^arn:aws:iam::[0-9]{12}:role/[a-z]{1,20}$"))]
    pub role_arn: Option<String>,
    /// External id for assuming the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub external_id: Option<String>,
}

impl NewCredential {
    /// An API key in the provider's usual header.
    pub fn api_key(value: Secret) -> Self {
        Self::ApiKey(ApiKeyCredential { value, header: None })
    }
}
