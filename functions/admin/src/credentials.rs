//! Credentials as an operator gives them: what each kind is made of, checked and sealed.

use crate::Office;
use crate::answer::{Answer, Refused};
use baton_cloud::store::{Stored, Token, TokenSecrets, of_token};
use baton_cloud::upstream::{AwsAccess, check_url, trimmed};
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::secret::Secret;
use baton_domain::token::{Assertion, ClientAuth, Exchange, Grant, Standing};
use serde::Deserialize;

/// For whom AWS makes out an identity, unless the operator says otherwise: Anthropic's API, of its
/// workload identity documentation of 2026-08-22.
const AUDIENCE: &str = "https://api.anthropic.com";

/// A credential as an operator gives it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NewCredential {
    /// A static key.
    ApiKey {
        /// The key itself.
        value: Secret,
        /// Which header it goes into; the provider's own unless it is named.
        header: Option<CredentialHeader>,
    },
    /// A token that an OAuth 2.0 token endpoint renews. With a refresh token that is what it is
    /// renewed for, without one it is the client's own credentials.
    Oauth2 {
        token_url: String,
        client_id: String,
        client_secret: Option<Secret>,
        refresh_token: Option<Secret>,
        scope: Option<String>,
        #[serde(default)]
        token_endpoint_auth_method: ClientAuth,
    },
    /// A token for a signed statement of who we are; no secret is stored.
    WorkloadIdentity(WorkloadIdentity),
    /// A role that signs: Baton's own, or one that it assumes.
    Aws(AwsAccess),
    /// A token that a sign-in has just brought.
    #[serde(skip)]
    Issued(Box<(Exchange, TokenSecrets, Standing)>),
}

/// What a federated token is had with.
#[derive(Deserialize)]
pub(crate) struct WorkloadIdentity {
    federation_rule_id: String,
    organization_id: String,
    service_account_id: String,
    workspace_id: Option<String>,
    /// The account's base and `/v1/oauth/token`, unless it is elsewhere.
    token_url: Option<String>,
    /// A file that holds the statement; AWS STS is asked for one without it.
    identity_token_file: Option<String>,
    /// For whom AWS STS makes it out.
    audience: Option<String>,
}

/// Where a static key goes.
#[derive(Deserialize, Clone, Copy)]
pub(crate) enum CredentialHeader {
    #[serde(rename = "x-api-key")]
    XApiKey,
    #[serde(rename = "authorization")]
    Authorization,
}

impl NewCredential {
    /// A static key in its usual header.
    pub(crate) fn key(value: Secret) -> Self {
        Self::ApiKey { value, header: None }
    }
}

impl Office {
    /// Makes `credential` the account's; answers the token, if it is one.
    pub(crate) async fn seal(
        &self,
        stored: &mut Stored<Account>,
        credential: NewCredential,
    ) -> Answer<Option<Token>> {
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
                let grant = match refresh_token {
                    Some(_) => Grant::RefreshToken { client_id, scope },
                    None if client_secret.is_none() => {
                        return Err(Refused::bad(
                            "`credential` needs a `refresh_token`, or a `client_secret` for the \
                             client credentials grant; to sign in with a browser, use POST \
                             /oauth/start",
                        ));
                    }
                    None => Grant::ClientCredentials { client_id, scope },
                };
                let secrets =
                    TokenSecrets { refresh_token, client_secret, ..TokenSecrets::default() };
                (Exchange { token_url, grant, client_auth }, secrets, Standing::default())
            }
            NewCredential::WorkloadIdentity(identity) => {
                let exchange = identity.exchange(&stored.value);
                (exchange, TokenSecrets::default(), Standing::default())
            }
            NewCredential::Issued(issued) => *issued,
        };
        check_url(&exchange.token_url, self.allow_private_upstreams)
            .map_err(|why| Refused::bad(format!("`credential.token_url`: {why}")))?;
        if let Grant::JwtBearer { assertion: Assertion::File { path }, .. } = &exchange.grant {
            self.endpoint()?.identity_tokens().check(path).map_err(Refused::bad)?;
        }
        secrets.bound_to = Some(of_token(&stored.value, &exchange.token_url));
        stored.value.credential = match exchange.grant {
            Grant::JwtBearer { .. } => CredentialKind::WorkloadIdentity,
            Grant::RefreshToken { .. } | Grant::ClientCredentials { .. } => CredentialKind::Oauth2,
        };
        stored.secret = None;
        let account = stored.value.id.clone();
        let version = self.store.token(&account).await?.map_or(1, |token| token.version + 1);
        Ok(Some(Token { account, exchange, standing, secrets, version }))
    }

    async fn seal_key(
        &self,
        stored: &mut Stored<Account>,
        value: &Secret,
        header: Option<CredentialHeader>,
    ) -> Answer<()> {
        let printable = |byte: u8| byte.is_ascii_graphic();
        if value.expose().is_empty() || !value.expose().bytes().all(printable) {
            return Err(Refused::bad(
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
    fn exchange(self, account: &Account) -> Exchange {
        let assertion = match self.identity_token_file {
            Some(path) => Assertion::File { path },
            None => {
                Assertion::AwsSts { audience: self.audience.unwrap_or_else(|| AUDIENCE.to_owned()) }
            }
        };
        let grant = Grant::JwtBearer {
            federation_rule_id: self.federation_rule_id,
            organization_id: self.organization_id,
            service_account_id: self.service_account_id,
            workspace_id: self.workspace_id,
            assertion,
        };
        let own = || format!("{}/v1/oauth/token", trimmed(&account.base_url));
        let (token_url, client_auth) = (self.token_url.unwrap_or_else(own), ClientAuth::default());
        Exchange { token_url, grant, client_auth }
    }
}

/// What would end up in a host name, a signature or a call of STS.
fn check_access(access: &AwsAccess) -> Answer<()> {
    let region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_role = |arn: &str| arn.starts_with("arn:") && arn.contains(":role/");
    if access.region.is_empty() || !access.region.bytes().all(region) {
        return Err(Refused::bad(
            "`credential.region`: expected the name of an AWS region, such as us-east-1",
        ));
    }
    if access.role_arn.as_deref().is_some_and(|arn| !is_role(arn)) {
        return Err(Refused::bad("`credential.role_arn`: expected arn:aws:iam::ACCOUNT:role/NAME"));
    }
    Ok(())
}
