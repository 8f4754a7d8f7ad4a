//! Credentials in requests: the fields of each kind, how they are checked and sealed.

use crate::AdminState;
use crate::api_response::{ApiError, ApiResult};
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{
    AssertionSource, ClientAuth, TokenExchange, TokenGrant, TokenSecrets, TokenStatus,
};
use baton_runtime::upstream::{AwsAccess, check_url, trim_base_url};
use baton_store::{AccountToken, StoredEntity, token_binding};
use serde::Deserialize;

/// The default audience of identity tokens from AWS: Anthropic's API, as in its workload identity
/// documentation of 2026-08-22.
const AUDIENCE: &str = "https://api.anthropic.com";

/// A credential in a request.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NewCredential {
    /// An API key.
    ApiKey {
        /// The key.
        value: Secret,
        /// The header that carries the key; by default the provider's own.
        header: Option<CredentialHeader>,
    },
    /// A token that an OAuth 2.0 token endpoint renews: with the refresh token if there is one,
    /// else with the client credentials grant.
    Oauth2 {
        token_url: String,
        client_id: String,
        client_secret: Option<Secret>,
        refresh_token: Option<Secret>,
        scope: Option<String>,
        #[serde(default)]
        token_endpoint_auth_method: ClientAuth,
    },
    /// A token in exchange for a signed identity token. No secret is stored.
    WorkloadIdentity(WorkloadIdentity),
    /// An AWS role that signs requests: Baton's own, or one that it assumes.
    Aws(AwsAccess),
    /// A token that a sign-in has just issued.
    #[serde(skip)]
    Issued(Box<(TokenExchange, TokenSecrets, TokenStatus)>),
}

/// The fields for exchanging an identity token for an access token.
#[derive(Deserialize)]
pub(crate) struct WorkloadIdentity {
    federation_rule_id: String,
    organization_id: String,
    service_account_id: String,
    workspace_id: Option<String>,
    /// The token endpoint; by default `/v1/oauth/token` below the account's base URL.
    token_url: Option<String>,
    /// A file with the identity token. Without it AWS STS issues the token.
    identity_token_file: Option<String>,
    /// The audience of the token from AWS STS.
    audience: Option<String>,
}

/// The header that carries an API key.
#[derive(Deserialize, Clone, Copy)]
pub(crate) enum CredentialHeader {
    #[serde(rename = "x-api-key")]
    XApiKey,
    #[serde(rename = "authorization")]
    Authorization,
}

impl NewCredential {
    /// An API key in the provider's usual header.
    pub(crate) fn key(value: Secret) -> Self {
        Self::ApiKey { value, header: None }
    }
}

impl AdminState {
    /// Sets the account's credential. Returns its token if it has one.
    pub(crate) async fn seal(
        &self,
        stored: &mut StoredEntity<Account>,
        credential: NewCredential,
    ) -> ApiResult<Option<AccountToken>> {
        let (exchange, mut secrets, standing) = match credential {
            NewCredential::ApiKey { value, header } => {
                self.seal_key(stored, &value, header).await?;
                return Ok(None);
            }
            NewCredential::Aws(access) => {
                check_access(&access)?;
                let secret = access.to_secret();
                stored.value.credential = CredentialKind::Aws;
                stored.secret = Some(self.store.seal_credential(&stored.value, &secret).await?);
                return Ok(None);
            }
            NewCredential::Oauth2 {
                token_url,
                client_id,
                client_secret,
                refresh_token,
                scope,
                token_endpoint_auth_method: client_auth,
            } => {
                check_is_given("client_id", Some(&client_id))?;
                check_is_given("client_secret", client_secret.as_ref().map(Secret::expose))?;
                check_is_given("refresh_token", refresh_token.as_ref().map(Secret::expose))?;
                let grant = match refresh_token {
                    Some(_) => TokenGrant::RefreshToken { client_id, scope },
                    None if client_secret.is_none() => {
                        return Err(ApiError::bad(
                            "`credential` needs a `refresh_token`, or a `client_secret` for the \
                             client credentials grant; to sign in with a browser, use POST \
                             /oauth/start",
                        ));
                    }
                    None => TokenGrant::ClientCredentials { client_id, scope },
                };
                let secrets =
                    TokenSecrets { refresh_token, client_secret, ..TokenSecrets::default() };
                (TokenExchange { token_url, grant, client_auth }, secrets, TokenStatus::default())
            }
            NewCredential::WorkloadIdentity(identity) => {
                identity.check()?;
                let exchange = identity.exchange(&stored.value);
                (exchange, TokenSecrets::default(), TokenStatus::default())
            }
            NewCredential::Issued(issued) => *issued,
        };
        check_url(&exchange.token_url, self.allow_private_upstreams)
            .map_err(|why| ApiError::bad(format!("`credential.token_url`: {why}")))?;
        if let TokenGrant::JwtBearer { assertion: AssertionSource::File { path }, .. } =
            &exchange.grant
        {
            self.endpoint()?.identity_tokens().check(path).map_err(ApiError::bad)?;
        }
        secrets.bound_to = Some(token_binding(&stored.value, &exchange.token_url));
        stored.value.credential = match exchange.grant {
            TokenGrant::JwtBearer { .. } => CredentialKind::WorkloadIdentity,
            TokenGrant::RefreshToken { .. } | TokenGrant::ClientCredentials { .. } => {
                CredentialKind::Oauth2
            }
        };
        stored.secret = None;
        let account = stored.value.id.clone();
        let version = self.store.token(&account).await?.map_or(1, |token| token.version + 1);
        Ok(Some(AccountToken { account, exchange, token_status: standing, secrets, version }))
    }

    async fn seal_key(
        &self,
        stored: &mut StoredEntity<Account>,
        value: &Secret,
        header: Option<CredentialHeader>,
    ) -> ApiResult<()> {
        let printable = |byte: u8| byte.is_ascii_graphic();
        if value.expose().is_empty() || !value.expose().bytes().all(printable) {
            return Err(ApiError::bad(
                "`credential.value`: expected a key of printable ASCII characters without spaces",
            ));
        }
        let header = header.unwrap_or(match stored.value.provider {
            Provider::Anthropic => CredentialHeader::XApiKey,
            Provider::OpenaiCompatible | Provider::Bedrock => CredentialHeader::Authorization,
        });
        stored.value.credential = match header {
            CredentialHeader::XApiKey => CredentialKind::ApiKey,
            CredentialHeader::Authorization => CredentialKind::Bearer,
        };
        stored.secret = Some(self.store.seal_credential(&stored.value, value).await?);
        Ok(())
    }
}

impl WorkloadIdentity {
    fn check(&self) -> ApiResult<()> {
        check_is_given("federation_rule_id", Some(&self.federation_rule_id))?;
        check_is_given("organization_id", Some(&self.organization_id))?;
        check_is_given("service_account_id", Some(&self.service_account_id))?;
        check_is_given("workspace_id", self.workspace_id.as_deref())?;
        check_is_given("identity_token_file", self.identity_token_file.as_deref())?;
        check_is_given("audience", self.audience.as_deref())
    }

    fn exchange(self, account: &Account) -> TokenExchange {
        let assertion = match self.identity_token_file {
            Some(path) => AssertionSource::File { path },
            None => AssertionSource::AwsSts {
                audience: self.audience.unwrap_or_else(|| AUDIENCE.to_owned()),
            },
        };
        let grant = TokenGrant::JwtBearer {
            federation_rule_id: self.federation_rule_id,
            organization_id: self.organization_id,
            service_account_id: self.service_account_id,
            workspace_id: self.workspace_id,
            assertion,
        };
        let own = || format!("{}/v1/oauth/token", trim_base_url(&account.base_url));
        let (token_url, client_auth) = (self.token_url.unwrap_or_else(own), ClientAuth::default());
        TokenExchange { token_url, grant, client_auth }
    }
}

/// Refuses a field of a credential that is there and empty: it would be stored, and fail when it is
/// used for the first time.
fn check_is_given(field: &str, text: Option<&str>) -> ApiResult<()> {
    match text {
        Some(text) if text.trim().is_empty() => Err(ApiError::bad(format!(
            "`credential.{field}` is empty; give it a value, or leave the field out if it is optional"
        ))),
        _ => Ok(()),
    }
}

/// Checks values that become part of a host name, a signature or a call of STS.
fn check_access(access: &AwsAccess) -> ApiResult<()> {
    let region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_role = |arn: &str| arn.starts_with("arn:") && arn.contains(":role/");
    if access.region.is_empty() || !access.region.bytes().all(region) {
        return Err(ApiError::bad(
            "`credential.region`: expected the name of an AWS region, such as us-east-1",
        ));
    }
    if access.role_arn.as_deref().is_some_and(|arn| !is_role(arn)) {
        return Err(ApiError::bad(
            "`credential.role_arn`: expected arn:aws:iam::ACCOUNT:role/NAME",
        ));
    }
    check_is_given("external_id", access.external_id.as_deref())
}
