//! `/oauth/start` and `/oauth/finish`: signs an account in with a browser, by the authorization
//! code grant of OAuth 2.0 with PKCE (RFC 7636), at endpoints that the operator names.

use crate::accounts::AccountEdit;
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, Created, TypedResponse, body};
use crate::credentials::CredentialInput;
use crate::request_parts::JsonBody;
use crate::resource::Resource as _;
use crate::{AdminState, SharedAdminState};
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use baton_api::accounts::AccountResource;
use baton_api::audit::AuditAction;
use baton_api::oauth::{NewSignIn, SignIn, SignInCode};
use baton_domain::account::Account;
use baton_domain::id::AccountId;
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{TokenExchange, TokenGrant, TokenSecrets, TokenStatus};
use baton_runtime::token_endpoint::{AuthorizationCode, IssuedToken, TokenEndpoint};
use baton_runtime::upstream::check_url;
use baton_store::{ConfigEdit, StoredEntity, credential_binding};
use form_urlencoded::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longer than any `state` that Baton creates.
const STATE_BYTES_MAX: usize = 256;
/// How long a sign-in can take.
const MINUTES: i64 = 10;

/// An unfinished sign-in. It is stored sealed, because it contains the verifier and the client
/// secret.
#[derive(Serialize, Deserialize)]
struct OauthSignIn {
    exchange: TokenExchange,
    redirect_uri: String,
    verifier: String,
    client_secret: Option<String>,
    account: Option<Box<RawValue>>,
    account_id: Option<AccountId>,
    /// The provider, address and proxy that the account had when the sign-in began.
    bound_to: Option<String>,
}

/// `POST /oauth/start`: returns the page to open in a browser.
pub(crate) async fn start_sign_in(
    State(admin_state): SharedAdminState,
    JsonBody(start): JsonBody<NewSignIn>,
) -> ApiResult<Created<SignIn>> {
    admin_state.check_start(&start).await?;
    let (state, verifier) = (admin_state.random(), admin_state.random());
    let url = authorization_url(&start, &state, &verifier);
    let grant = TokenGrant::RefreshToken { client_id: start.client_id, scope: None };
    let sign_in = OauthSignIn {
        exchange: TokenExchange {
            token_url: start.token_url,
            grant,
            client_auth: start.token_endpoint_auth_method,
        },
        redirect_uri: start.redirect_uri,
        verifier,
        client_secret: start.client_secret.map(|secret| secret.expose().to_owned()),
        account: start.account,
        bound_to: admin_state.current_binding(start.account_id.as_ref()).await?,
        account_id: start.account_id,
    };
    let text = serde_json::to_string(&sign_in).map_err(|error| ApiError::bad(error.to_string()))?;
    let expires_at =
        admin_state.store.sessions.put_sign_in(&state, &Secret::new(text), MINUTES).await?;
    Created::new(&SignIn { authorize_url: url, state, expires_at })
}

/// `POST /oauth/finish`: redeems the code and returns the account, signed in.
pub(crate) async fn finish_sign_in(
    State(admin_state): SharedAdminState,
    request: AdminRequest,
    JsonBody(finish): JsonBody<SignInCode>,
) -> ApiResult<TypedResponse<AccountResource>> {
    let not_found = || {
        ApiError::bad(format!(
            "`state`: this sign-in is unknown, older than {MINUTES} minutes or already finished; \
             start again with POST /oauth/start"
        ))
    };
    // States have 43 characters, and DynamoDB accepts keys of at most 2,048 bytes.
    if finish.state.len() > STATE_BYTES_MAX {
        return Err(not_found());
    }
    let text =
        admin_state.store.sessions.take_sign_in(&finish.state).await?.ok_or_else(not_found)?;
    let sign_in: OauthSignIn = serde_json::from_str(text.expose()).map_err(|_| not_found())?;
    let mut secrets = TokenSecrets {
        client_secret: sign_in.client_secret.map(Secret::new),
        ..TokenSecrets::default()
    };
    let code = AuthorizationCode {
        code: finish.code,
        verifier: Secret::new(sign_in.verifier),
        redirect_uri: sign_in.redirect_uri,
    };
    let issued = admin_state.endpoint()?.redeem(&sign_in.exchange, &secrets, &code).await;
    let IssuedToken { access_token, refresh_token, lifetime } = issued
        .map_err(|error| ApiError::bad(format!("the token endpoint issued no token: {error}")))?;
    (secrets.access_token, secrets.refresh_token) = (Some(access_token), refresh_token);
    let token_status = TokenStatus::after_success(
        lifetime,
        admin_state.store.random_source().byte(),
        admin_state.store.clock().now(),
    );
    let credential = CredentialInput::Issued(Box::new((sign_in.exchange, secrets, token_status)));
    let (stored, edit, before) = match (sign_in.account_id, sign_in.account) {
        (Some(id), _) => {
            let before = admin_state.find_account(&id).await?;
            if sign_in.bound_to.is_some_and(|bound| bound != credential_binding(&before.value)) {
                return Err(ApiError::bad(
                    "the account's provider, base URL or proxy has changed since the sign-in began; \
                     start again with POST /oauth/start",
                ));
            }
            let mut stored = admin_state.store.editor.next_version(&before);
            let token = admin_state.seal(&mut stored, credential).await?;
            let (mut edit, extra) = (ConfigEdit::default(), AccountEdit::with_token(token));
            Account::save(&admin_state, &mut edit, Some(&before), &stored, &extra).await?;
            (stored, edit, Some(Account::to_resource(&admin_state, &before)))
        }
        (None, fields) => {
            let fields = fields.as_deref().map_or("{}", RawValue::get);
            let draft = admin_state.new_account(body(fields.as_bytes())?, Some(credential)).await?;
            let edit = admin_state.edit_for_new(&draft.stored, &draft.extra).await?;
            (draft.stored, edit, None)
        }
    };
    let resource = Account::to_resource(&admin_state, &stored);
    let note = AuditNote::other_action(AuditAction::SignIn, &stored.value.id, &before, &resource);
    let response =
        admin_state.commit_change(&request, edit, note, TypedResponse::new(&resource)?).await?;
    if response.is_repeated() {
        return Ok(response);
    }
    // The stored health belongs to the previous credential.
    admin_state.reset_health(&stored.value.id).await?;
    TypedResponse::new(&admin_state.load_resource(stored).await?)
}

/// The page to open in a browser (RFC 6749 §4.1.1, RFC 7636 §4.3).
fn authorization_url(start: &NewSignIn, state: &str, verifier: &str) -> String {
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let mut query = Serializer::new(String::new());
    query.append_pair("response_type", "code").append_pair("client_id", &start.client_id);
    query.append_pair("redirect_uri", &start.redirect_uri).append_pair("state", state);
    query.append_pair("code_challenge", &challenge);
    query.append_pair("code_challenge_method", "S256");
    query.extend_pairs(start.scope.iter().map(|scope| ("scope", scope)));
    let mark = if start.authorization_url.contains('?') { '&' } else { '?' };
    format!("{}{mark}{}", start.authorization_url, query.finish())
}

impl AdminState {
    /// Checks everything that can be checked before a person signs in.
    async fn check_start(&self, start: &NewSignIn) -> ApiResult<()> {
        for (name, url) in
            [("authorization_url", &start.authorization_url), ("token_url", &start.token_url)]
        {
            check_url(url, self.allow_private_upstreams)
                .map_err(|error| ApiError::bad(format!("`{name}`: {error}")))?;
        }
        match (&start.account_id, &start.account) {
            (Some(id), None) => self.find_account(id).await.map(drop),
            (None, Some(fields)) => self.check_account(body(fields.get().as_bytes())?).await,
            _ => Err(ApiError::bad("send either `account_id` or the fields of a new `account`")),
        }
    }

    /// The current provider, address and proxy of the account that is to be signed in.
    async fn current_binding(&self, id: Option<&AccountId>) -> ApiResult<Option<String>> {
        match id {
            Some(id) => Ok(Some(credential_binding(&self.find_account(id).await?.value))),
            None => Ok(None),
        }
    }

    /// Returns the account that a body names.
    async fn find_account(&self, id: &AccountId) -> ApiResult<StoredEntity<Account>> {
        let found = self.store.config.read::<Account>(id).await?;
        found.ok_or_else(|| ApiError::bad(format!("account {id} does not exist")))
    }

    /// The client for token endpoints.
    pub(crate) fn endpoint(&self) -> ApiResult<&TokenEndpoint> {
        self.endpoint
            .as_ref()
            .ok_or_else(|| ApiError::bad("sign-ins are not available during the first start"))
    }

    /// A random text of 43 characters (256 bits).
    pub(crate) fn random(&self) -> String {
        let mut bytes = [0; 32];
        self.store.random_source().fill(&mut bytes);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }
}
