//! Authentication of the admin API: by the admin token, or by a relay key of a user.

use crate::admin_request::AdminRequest;
use crate::api_response::{ApiError, ApiResult};
use crate::{AdminState, SharedAdminState, routes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_domain::actor::Actor;
use baton_domain::key::{Key, User};
use baton_domain::relay_key::RelayKey;
use baton_runtime::peer_connection::PeerConnection;
use baton_runtime::vault::is_equal_constant_time;
use baton_store::StoredEntity;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

/// Lets requests pass whose credential is valid for their route. Routes that are missing in the
/// table are for administrators.
pub(crate) async fn authorize_request(
    state: SharedAdminState,
    mut request: Request,
    next: Next,
) -> Response {
    let State(state) = state;
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let (method, path) = (request.method(), path.unwrap_or_default());
    let access = routes::access(method, path);
    let query = routes::check_query(method, path, request.uri().query().unwrap_or_default());
    // Only the console, which runs in this process, sets this extension after it has checked the
    // session.
    let known = request.extensions_mut().remove::<Actor>();
    let actor = if let Some(actor) = known {
        Ok(actor)
    } else {
        let from = state.trusted_proxies.counted_client_of(request.extensions(), request.headers());
        state.actor(request.headers(), from).await
    };
    let admin_request = match actor {
        Ok(actor) if access.allows(&actor) => AdminRequest::new(actor, request.headers()),
        Ok(actor) => return ApiError::forbidden(denial_reason(&actor)).into_response(),
        Err(error) => return error.into_response(),
    };
    if let Err(error) = query {
        return error.into_response();
    }
    // When connections become scarce, authenticated ones are kept and others are closed.
    if let Some(peer) = request.extensions().get::<PeerConnection>() {
        peer.mark_authenticated();
    }
    request.extensions_mut().insert(admin_request);
    next.run(request).await
}

/// Refuses unknown query parameters on routes without authentication.
pub(crate) async fn check_public_query(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let query = request.uri().query().unwrap_or_default();
    match routes::check_query(request.method(), path, query) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Says why the actor cannot use a route, and what to do.
fn denial_reason(actor: &Actor) -> &'static str {
    match actor.key() {
        Some(_) => {
            "this needs the role `admin`, and every relay key has the role `member`; use the \
             admin token, or sign in to the console"
        }
        None => "this needs the role `admin`",
    }
}

/// The credential of a request. Clients of Anthropic's Admin API send it in `x-api-key`.
pub(crate) fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}

/// The client address of a request, if it is known.
pub(crate) struct ClientAddress(pub(crate) Option<IpAddr>);

impl FromRequestParts<Arc<AdminState>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AdminState>,
    ) -> Result<Self, Infallible> {
        Ok(Self(state.trusted_proxies.counted_client_of(&parts.extensions, &parts.headers)))
    }
}

impl AdminState {
    /// Returns the caller for these headers and this client address.
    pub(crate) async fn actor(
        &self,
        headers: &HeaderMap,
        from: Option<IpAddr>,
    ) -> ApiResult<Actor> {
        let token = credential(headers).ok_or_else(ApiError::unauthenticated)?;
        let actor = if self.is_admin_token(token).await? {
            Some(Actor::Token)
        } else if let Ok(key) = RelayKey::parse(token) {
            self.user_actor(&key).await?
        } else {
            None
        };
        actor.ok_or_else(|| match self.count_failed_attempt(token, from) {
            Ok(()) => ApiError::unauthenticated(),
            Err(error) => error,
        })
    }

    /// Counts a wrong credential.
    ///
    /// # Errors
    /// When too many came before it.
    pub(crate) fn count_failed_attempt(
        &self,
        credential: &str,
        from: Option<IpAddr>,
    ) -> ApiResult<()> {
        let (hash, now) = (self.pepper.hash(credential), self.store.clock().now());
        if self.attempts.count_failure(from, credential, &hash, now) {
            return Err(ApiError::too_many_attempts());
        }
        Ok(())
    }

    pub(crate) async fn is_admin_token(&self, token: &str) -> ApiResult<bool> {
        if let Some(fixed) = &self.admin_token {
            return Ok(fixed
                .values()
                .texts()
                .any(|fixed| is_equal_constant_time(token, fixed.expose())));
        }
        let hash = self.store.secrets.admin_token_hash().await?;
        Ok(hash.is_some_and(|hash| self.pepper.verify_secret(token, &hash)))
    }

    async fn user_actor(&self, presented_key: &RelayKey<'_>) -> ApiResult<Option<Actor>> {
        let held = self.find_valid_key(presented_key).await?;
        Ok(held.map(|(key, user)| Actor::from_key(user.id, key.value.id)))
    }

    /// Returns the key and its user if the key is valid and the user exists and is enabled.
    pub(crate) async fn find_valid_key(
        &self,
        presented_key: &RelayKey<'_>,
    ) -> ApiResult<Option<(StoredEntity<Key>, User)>> {
        let Some(key) = self.store.config.read::<Key>(&presented_key.id).await? else {
            return Ok(None);
        };
        let hash = key.secret.as_deref().unwrap_or_default();
        let is_valid = self.pepper.verify_secret(presented_key.secret, hash)
            && key.value.usable(self.store.clock().now()).is_ok();
        let Some(id) = key.value.user_id.as_ref().filter(|_| is_valid) else { return Ok(None) };
        if !self.load_settings().await?.value.member_access {
            return Err(ApiError::forbidden(
                "the setting `member_access` keeps users out of the admin API",
            ));
        }
        let user = self.store.config.read::<User>(id).await?.map(|stored| stored.value);
        Ok(user.filter(|user| user.enabled).map(|user| (key, user)))
    }
}
