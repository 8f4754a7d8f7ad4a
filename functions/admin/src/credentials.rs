//! Credentials in requests: the fields of each kind, how they are checked and sealed.

use crate::AdminState;
use crate::api_response::{ApiError, ApiResult};
use baton_api::credentials::{
    ApiKeyCredential, AwsCredential, CredentialHeader, NewCredential, OauthCredential,
    WorkloadIdentityCredential,
};
use baton_domain::account::{Account, CredentialKind};
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{
    AssertionSource, ClientAuth, TokenExchange, TokenGrant, TokenSecrets, TokenStatus,
};
use baton_providers::address::trim_base_url;
use baton_providers::{regional_base_url, rules};
use baton_runtime::upstream::{AwsAccess, check_url};
use baton_store::{AccountToken, StoredEntity, token_binding};

/// The default audience of identity tokens from AWS: Anthropic's API, as in its workload identity
/// documentation of 2026-08-22.
const AUDIENCE: &str = "https://api.anthropic.com";

/// A credential that an account gets.
pub(crate) enum CredentialInput {
    /// A credential in a request.
    Submitted(NewCredential),
    /// A token that a sign-in has just issued.
    Issued(Box<(TokenExchange, TokenSecrets, TokenStatus)>),
}

impl CredentialInput {
    /// The address of the upstream, if the credential determines it.
    pub(crate) fn own_address(&self) -> Option<String> {
        match self {
            Self::Submitted(NewCredential::Aws(role)) => Some(regional_base_url(&role.region)),
            Self::Submitted(_) | Self::Issued(_) => None,
        }
    }
}

impl AdminState {
    /// Sets the account's credential. Returns its token if it has one.
    pub(crate) async fn seal(
        &self,
        stored: &mut StoredEntity<Account>,
        credential: CredentialInput,
    ) -> ApiResult<Option<AccountToken>> {
        let (exchange, mut secrets, token_status) = match credential {
            CredentialInput::Submitted(NewCredential::ApiKey(key)) => {
                self.seal_key(stored, &key).await?;
                return Ok(None);
            }
            CredentialInput::Submitted(NewCredential::Aws(role)) => {
                let access = aws_access(role);
                check_access(&access)?;
                let secret = access.to_secret();
                stored.value.credential = CredentialKind::Aws;
                stored.secret =
                    Some(self.store.editor.seal_credential(&stored.value, &secret).await?);
                return Ok(None);
            }
            CredentialInput::Submitted(NewCredential::Oauth2(oauth)) => {
                let (exchange, secrets) = oauth_exchange(oauth)?;
                (exchange, secrets, TokenStatus::default())
            }
            CredentialInput::Submitted(NewCredential::WorkloadIdentity(identity)) => {
                check_identity(&identity)?;
                let exchange = identity_exchange(identity, &stored.value);
                (exchange, TokenSecrets::default(), TokenStatus::default())
            }
            CredentialInput::Issued(issued) => *issued,
        };
        check_url(&exchange.token_url, self.allow_private_upstreams)
            .map_err(|error| ApiError::bad(format!("`credential.token_url`: {error}")))?;
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
        let version = self.store.tokens.read(&account).await?.map_or(1, |token| token.version + 1);
        Ok(Some(AccountToken { account, exchange, token_status, secrets, version }))
    }

    async fn seal_key(
        &self,
        stored: &mut StoredEntity<Account>,
        ApiKeyCredential { value, header }: &ApiKeyCredential,
    ) -> ApiResult<()> {
        let printable = |byte: u8| byte.is_ascii_graphic();
        if value.expose().is_empty() || !value.expose().bytes().all(printable) {
            return Err(ApiError::bad(
                "`credential.value`: expected a key of printable ASCII characters without spaces",
            ));
        }
        stored.value.credential = match header {
            Some(CredentialHeader::XApiKey) => CredentialKind::ApiKey,
            Some(CredentialHeader::Authorization) => CredentialKind::Bearer,
            None => rules(stored.value.provider).api_key_kind,
        };
        stored.secret = Some(self.store.editor.seal_credential(&stored.value, value).await?);
        Ok(())
    }
}

/// The exchange of an OAuth 2.0 credential and its secrets.
fn oauth_exchange(oauth: OauthCredential) -> ApiResult<(TokenExchange, TokenSecrets)> {
    let OauthCredential { token_url, client_id, client_secret, refresh_token, scope, .. } = oauth;
    let client_auth = oauth.token_endpoint_auth_method;
    check_is_given("client_id", Some(&client_id))?;
    check_is_given("client_secret", client_secret.as_ref().map(Secret::expose))?;
    check_is_given("refresh_token", refresh_token.as_ref().map(Secret::expose))?;
    let grant = match refresh_token {
        Some(_) => TokenGrant::RefreshToken { client_id, scope },
        None if client_secret.is_none() => {
            return Err(ApiError::bad(
                "`credential` needs a `refresh_token`, or a `client_secret` for the client \
                 credentials grant; to sign in with a browser, use POST /oauth/start",
            ));
        }
        None => TokenGrant::ClientCredentials { client_id, scope },
    };
    let secrets = TokenSecrets { refresh_token, client_secret, ..TokenSecrets::default() };
    Ok((TokenExchange { token_url, grant, client_auth }, secrets))
}

fn check_identity(identity: &WorkloadIdentityCredential) -> ApiResult<()> {
    check_is_given("federation_rule_id", Some(&identity.federation_rule_id))?;
    check_is_given("organization_id", Some(&identity.organization_id))?;
    check_is_given("service_account_id", Some(&identity.service_account_id))?;
    check_is_given("workspace_id", identity.workspace_id.as_deref())?;
    check_is_given("identity_token_file", identity.identity_token_file.as_deref())?;
    check_is_given("audience", identity.audience.as_deref())
}

fn identity_exchange(identity: WorkloadIdentityCredential, account: &Account) -> TokenExchange {
    let assertion = match identity.identity_token_file {
        Some(path) => AssertionSource::File { path },
        None => AssertionSource::AwsSts {
            audience: identity.audience.unwrap_or_else(|| AUDIENCE.to_owned()),
        },
    };
    let grant = TokenGrant::JwtBearer {
        federation_rule_id: identity.federation_rule_id,
        organization_id: identity.organization_id,
        service_account_id: identity.service_account_id,
        workspace_id: identity.workspace_id,
        assertion,
    };
    let own = || format!("{}/v1/oauth/token", trim_base_url(&account.base_url));
    let token_url = identity.token_url.unwrap_or_else(own);
    TokenExchange { token_url, grant, client_auth: ClientAuth::default() }
}

fn aws_access(role: AwsCredential) -> AwsAccess {
    let AwsCredential { region, role_arn, external_id } = role;
    AwsAccess { region, role_arn, external_id }
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
