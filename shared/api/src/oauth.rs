//! Browser sign-ins for accounts: `/oauth`.

use crate::exposed;
use crate::fields::HttpsAddress;
use baton_domain::id::AccountId;
use baton_domain::secret::Secret;
use baton_domain::upstream_token::ClientAuth;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The start of a sign-in. Send either `account_id` or the fields of a new `account` without
/// `credential`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSignIn {
    /// Page where a person signs in.
    #[schemars(with = "HttpsAddress")]
    pub authorization_url: String,
    /// Endpoint that exchanges the code for tokens.
    #[schemars(with = "HttpsAddress")]
    pub token_url: String,
    /// Client id at the provider.
    pub client_id: String,
    /// Client secret; absent for a public client.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "exposed::optional"
    )]
    #[schemars(extend("writeOnly" = true))]
    pub client_secret: Option<Secret>,
    /// Where the client secret is sent to the token endpoint.
    #[serde(default)]
    pub token_endpoint_auth_method: ClientAuth,
    /// OAuth scope to request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Redirect URI as registered with the provider.
    pub redirect_uri: String,
    /// Fields of the new account. They are kept as they are until the sign-in is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub account: Option<Box<RawValue>>,
    /// Account that gets a new credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
}

/// A sign-in that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignIn {
    /// Page to open in a browser.
    pub authorize_url: String,
    /// Value to send to `/oauth/finish`.
    pub state: String,
    /// Until when the sign-in can be finished.
    pub expires_at: Timestamp,
}

/// The parameters of the redirect from the authorization page.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInCode {
    /// `state` of the answer of `/oauth/start`.
    pub state: String,
    /// Code that the browser was sent back with.
    #[serde(serialize_with = "exposed::secret")]
    #[schemars(extend("writeOnly" = true))]
    pub code: Secret,
}
