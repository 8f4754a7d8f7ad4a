//! Who is asking: whoever has the admin token, or a user by one of its own relay keys.

use crate::actor::Actor;
use crate::answer::{Answer, Refused};
use crate::visit::Visit;
use crate::{Office, Shared, routes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_cloud::peer::Peer;
use baton_cloud::store::Stored;
use baton_cloud::vault::same;
use baton_domain::key::{Key, User};
use baton_domain::relay_key::RelayKey;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

/// Lets a request through whose credential is good for its route. A route that the table does not
/// know is for administrators.
pub(crate) async fn operator(office: Shared, mut request: Request, next: Next) -> Response {
    let State(office) = office;
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let access = routes::access(method, path.unwrap_or_default());
    // Only the console, which is in this process, puts an extension there; it knows who visits.
    let known = request.extensions_mut().remove::<Actor>();
    let actor = match known {
        Some(actor) => Ok(actor),
        None => office.actor(request.headers()).await,
    };
    let visit = match actor {
        Ok(actor) if actor.may(access) => Visit::new(actor, request.headers()),
        Ok(_) => return Refused::forbidden("this takes the role `admin`").into_response(),
        Err(refused) => return refused.into_response(),
    };
    if let Some(peer) = request.extensions().get::<Peer>() {
        peer.authenticate();
    }
    request.extensions_mut().insert(visit);
    next.run(request).await
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

impl Office {
    pub(crate) async fn actor(&self, headers: &HeaderMap) -> Answer<Actor> {
        let token = credential(headers).ok_or_else(Refused::unauthenticated)?;
        let hash = self.pepper.hash(token);
        if !self.attempts.may_try(&hash, self.store.clock().now()) {
            return Err(Refused::too_many_attempts());
        }
        let actor = if self.is_admin_token(token).await? {
            Some(Actor::Token)
        } else if let Ok(key) = RelayKey::parse(token) {
            self.user_of(&key).await?
        } else {
            None
        };
        self.attempts.note(hash, actor.is_some());
        actor.ok_or_else(Refused::unauthenticated)
    }

    pub(crate) async fn is_admin_token(&self, token: &str) -> Answer<bool> {
        if let Some(fixed) = &self.admin_token {
            return Ok(same(token, fixed.expose()));
        }
        let hash = self.store.admin_token_hash().await?;
        Ok(hash.is_some_and(|hash| self.pepper.matches(token, &hash)))
    }

    async fn user_of(&self, given: &RelayKey<'_>) -> Answer<Option<Actor>> {
        let held = self.held(given).await?;
        Ok(held.map(|(_, user)| Actor::User { id: user.id, role: user.role }))
    }

    /// The key that was shown, and the user that it opens the API and the console for: the key is
    /// good, and its user is there and enabled.
    pub(crate) async fn held(&self, given: &RelayKey<'_>) -> Answer<Option<(Stored<Key>, User)>> {
        let Some(key) = self.store.read::<Key>(&given.id).await? else { return Ok(None) };
        let hash = key.secret.as_deref().unwrap_or_default();
        let is_good = self.pepper.matches(given.secret, hash)
            && key.value.usable(self.store.clock().now()).is_ok();
        let Some(id) = key.value.user_id.as_ref().filter(|_| is_good) else { return Ok(None) };
        if !self.runtime().await?.value.member_access {
            return Err(Refused::forbidden(
                "users are locked out of the admin API by the setting `member_access`",
            ));
        }
        let user = self.store.read::<User>(id).await?.map(|stored| stored.value);
        Ok(user.filter(|user| user.enabled).map(|user| (key, user)))
    }
}
