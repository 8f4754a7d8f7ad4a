//! Authentication of the admin API: by the admin token, or by a relay key of a user.

use crate::actor::Actor;
use crate::answer::{Answer, Refused};
use crate::visit::Visit;
use crate::{Office, Shared, routes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_cloud::peer::Peer;
use baton_cloud::store::Stored;
use baton_cloud::vault::same;
use baton_domain::key::{Key, User};
use baton_domain::relay_key::RelayKey;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

/// Lets requests pass whose credential is valid for their route. Routes that are missing in the
/// table are for administrators.
pub(crate) async fn operator(office: Shared, mut request: Request, next: Next) -> Response {
    let State(office) = office;
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
        let from =
            office.trusted_proxies.counted_client_of(request.extensions(), request.headers());
        office.actor(request.headers(), from).await
    };
    let visit = match actor {
        Ok(actor) if actor.may(access) => Visit::new(actor, request.headers()),
        Ok(actor) => return Refused::forbidden(not_for(&actor)).into_response(),
        Err(refused) => return refused.into_response(),
    };
    if let Err(refused) = query {
        return refused.into_response();
    }
    // When connections become scarce, authenticated ones are kept and others are closed.
    if let Some(peer) = request.extensions().get::<Peer>() {
        peer.authenticate();
    }
    request.extensions_mut().insert(visit);
    next.run(request).await
}

/// Refuses unknown query parameters on routes without authentication.
pub(crate) async fn anybody(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let query = request.uri().query().unwrap_or_default();
    match routes::check_query(request.method(), path, query) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Says why the actor cannot use a route, and what to do.
fn not_for(actor: &Actor) -> &'static str {
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

impl FromRequestParts<Arc<Office>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        office: &Arc<Office>,
    ) -> Result<Self, Infallible> {
        Ok(Self(office.trusted_proxies.counted_client_of(&parts.extensions, &parts.headers)))
    }
}

impl Office {
    /// Returns the caller for these headers and this client address.
    pub(crate) async fn actor(&self, headers: &HeaderMap, from: Option<IpAddr>) -> Answer<Actor> {
        let token = credential(headers).ok_or_else(Refused::unauthenticated)?;
        let actor = if self.is_admin_token(token).await? {
            Some(Actor::Token)
        } else if let Ok(key) = RelayKey::parse(token) {
            self.user_of(&key).await?
        } else {
            None
        };
        actor.ok_or_else(|| match self.failed_too_often(token, from) {
            Ok(()) => Refused::unauthenticated(),
            Err(refused) => refused,
        })
    }

    /// Counts a wrong credential.
    ///
    /// # Errors
    /// When too many came before it.
    pub(crate) fn failed_too_often(&self, credential: &str, from: Option<IpAddr>) -> Answer<()> {
        let (hash, now) = (self.pepper.hash(credential), self.store.clock().now());
        if self.attempts.are_too_many(from, (credential, &hash), now) {
            return Err(Refused::too_many_attempts());
        }
        Ok(())
    }

    pub(crate) async fn is_admin_token(&self, token: &str) -> Answer<bool> {
        if let Some(fixed) = &self.admin_token {
            return Ok(fixed.values().texts().any(|fixed| same(token, fixed.expose())));
        }
        let hash = self.store.admin_token_hash().await?;
        Ok(hash.is_some_and(|hash| self.pepper.matches(token, &hash)))
    }

    async fn user_of(&self, given: &RelayKey<'_>) -> Answer<Option<Actor>> {
        let held = self.held(given).await?;
        Ok(held.map(|(key, user)| Actor::by_key(user.id, key.value.id)))
    }

    /// Returns the key and its user if the key is valid and the user exists and is enabled.
    pub(crate) async fn held(&self, given: &RelayKey<'_>) -> Answer<Option<(Stored<Key>, User)>> {
        let Some(key) = self.store.read::<Key>(&given.id).await? else { return Ok(None) };
        let hash = key.secret.as_deref().unwrap_or_default();
        let is_good = self.pepper.matches(given.secret, hash)
            && key.value.usable(self.store.clock().now()).is_ok();
        let Some(id) = key.value.user_id.as_ref().filter(|_| is_good) else { return Ok(None) };
        if !self.runtime().await?.value.member_access {
            return Err(Refused::forbidden(
                "the setting `member_access` keeps users out of the admin API",
            ));
        }
        let user = self.store.read::<User>(id).await?.map(|stored| stored.value);
        Ok(user.filter(|user| user.enabled).map(|user| (key, user)))
    }
}
