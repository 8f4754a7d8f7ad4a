//! Console sessions: every page needs one. A session begins at sign-in and ends at sign-out, after
//! a time without use, at its maximum age, or when the credential or user behind it changes.
//! `sign_in` has the sign-in page.

use super::session_cookie::{Cookie, Front};
use super::session_csrf::{self, Foreign};
use super::sign_in::{Why, sign_in_at};
use super::{BASE, session_csrf::check};
use crate::actor::Actor;
use crate::answer::{Answer, Refused};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use askama::Template;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use baton_cloud::peer::Peer;
use baton_cloud::store::{Edit, SeenSession, SessionRow, StoreError};
use baton_domain::key::{Role, User};
use baton_domain::session::{LIFE, Session, Who};
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::{Value, json};
use std::sync::Arc;

/// The length of a session's random part: 256 bits in base64.
const RANDOM_CHARS: usize = 43;

/// The visitor of a page.
#[derive(Clone)]
pub(crate) struct Visitor {
    /// The caller with its current role.
    pub(crate) actor: Actor,
    /// The token that forms send in the hidden field `csrf`, and scripts in `x-csrf-token`.
    pub(crate) csrf: String,
    /// The name to display.
    pub(crate) name: String,
}

/// The data that a new session is based on.
pub(super) struct Founding {
    pub(super) who: Who,
    /// The session round of its user.
    pub(super) round: u64,
    /// A hash of the secret that was entered.
    pub(super) proof: Vec<u8>,
    /// Details for the audit trail.
    pub(super) said: Value,
}

/// The route that ends a session.
pub(super) fn routes() -> Router<Arc<Office>> {
    Router::new().route(&format!("{BASE}/sign-out"), post(sign_out))
}

/// Lets requests pass that have a session and, if they change something, come from a page of the
/// console. Sign-in pages and assets are open to everybody.
pub(super) async fn guard(office: Shared, request: Request, next: Next) -> Response {
    let State(office) = office;
    let uri = request.uri().clone();
    let path = uri.path().strip_prefix(BASE).unwrap_or_default();
    if path == "/sign-in" || path.starts_with("/sign-in/") || path.starts_with("/assets/") {
        return next.run(request).await;
    }
    let Some(front) = Front::of(&office, request.headers(), &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let cookie = front.cookie(Cookie::Session, request.headers()).map(str::to_owned);
    let (cookie, visitor) = match office.visitor(cookie.as_deref()).await {
        Ok(Some(visitor)) => {
            if let Some(peer) = request.extensions().get::<Peer>() {
                peer.authenticate();
            }
            (cookie.unwrap_or_default(), visitor)
        }
        Ok(None) => {
            let wanted = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
            let next = wanted.filter(|_| request.method().is_safe());
            let stale = cookie.and_then(|_| front.remove(Cookie::Session));
            return redirect(&sign_in_at(next, None), stale);
        }
        Err(refused) => return refusal_of(&refused),
    };
    let checked = if request.method().is_safe() {
        Ok(request)
    } else {
        check(&office, &front, &cookie, request).await
    };
    match checked {
        Ok(mut request) => {
            if let Some(peer) = request.extensions().get::<Peer>() {
                peer.authenticate();
            }
            let visit = Visit::new(visitor.actor.clone(), request.headers());
            request.extensions_mut().insert(visit);
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(Foreign::Body) => refusal(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large."),
        Err(Foreign::Site | Foreign::Token) => refusal(
            StatusCode::FORBIDDEN,
            "This was not sent from a current page of the console, so nothing was changed. \
             Go back, reload the page and try again.",
        ),
    }
}

async fn sign_out(State(office): Shared, uri: Uri, visit: Visit, headers: HeaderMap) -> Response {
    let Some(front) = Front::of(&office, &headers, &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let cookie = front.cookie(Cookie::Session, &headers).unwrap_or_default();
    let mut edit = Edit::default();
    let note = Note::did("sign_out", &visit.actor.name(), (Value::Null, Value::Null));
    let ended = async {
        office.store.end_session(&mut edit, &office.session_key().await?.place(cookie));
        office.note(&visit, &mut edit, note)?;
        office.store.apply(edit).await.map_err(Refused::from)
    };
    match ended.await {
        Ok(()) => redirect(&sign_in_at(None, Some(Why::SignedOut)), front.remove(Cookie::Session)),
        Err(refused) => refusal_of(&refused),
    }
}

impl Office {
    /// Returns the visitor of a cookie's session if it is valid. Takes one read.
    async fn visitor(&self, cookie: Option<&str>) -> Answer<Option<Visitor>> {
        let Some((cookie, who)) = cookie.and_then(|it| Some((it, founder(it)?))) else {
            return Ok(None);
        };
        let key = self.session_key().await?;
        let hash = key.place(cookie);
        let Some(seen) = self.store.session(&hash, &who).await? else { return Ok(None) };
        if !key.has_written(&hash, &seen) {
            tracing::warn!(
                "a session was refused: its row in the state table was not written by the console"
            );
            return Ok(None);
        }
        let Some((actor, name)) = self.holder(&who, &seen) else { return Ok(None) };
        if let Some(used) = seen.session.used(self.store.clock().now()) {
            let (proof, proven) = (&*seen.proof, &*key.proven(&hash, &used, &seen.proof));
            let row = SessionRow { hash: &hash, session: &used, proof, proven };
            match self.store.use_session(&row).await {
                Ok(()) => {}
                Err(StoreError::Conflict) => return Ok(None),
                // The session may end too early, but it does not have to end now.
                Err(error) => {
                    tracing::warn!("the last use of a session could not be stored: {error}")
                }
            }
        }
        Ok(Some(Visitor { actor, csrf: session_csrf::token(self, cookie), name }))
    }

    /// Returns the caller and name of a session if everything that it is based on is still valid.
    fn holder(&self, who: &Who, seen: &SeenSession) -> Option<(Actor, String)> {
        let now = self.store.clock().now();
        let is_proven = |hash: &[u8]| verify_slices_are_equal(hash, &seen.proof).is_ok();
        let is_member = |user: &&User| user.enabled && user.session_round == seen.session.round;
        if !seen.session.is_alive(now) {
            return None;
        }
        let user = seen.user.as_ref().filter(is_member);
        let of = |user: &User, actor| (actor, user.name.clone());
        match who {
            Who::Token => {
                let is_good = match &self.admin_token {
                    Some(fixed) => fixed.values().texts().any(|fixed| {
                        self.pepper.hashes(fixed.expose()).iter().any(|hash| is_proven(hash))
                    }),
                    None => seen.admin_token_hash.as_deref().is_some_and(is_proven),
                };
                is_good.then(|| (Actor::Token, "Admin token".to_owned()))
            }
            Who::User(id) => {
                let may = |user: &&User| user.role == Role::Admin || seen.runtime.member_access;
                let actor = |role| Actor::User { id: id.clone(), role, key: None };
                user.filter(may).map(|user| of(user, actor(user.role)))
            }
            Who::Key { user: id, key: key_id } => {
                let key = seen.key.as_ref().filter(|_| seen.runtime.member_access)?;
                let is_good = key.value.usable(now).is_ok()
                    && key.value.user_id.as_ref() == Some(id)
                    && is_proven(key.secret.as_deref().unwrap_or_default());
                let actor = Actor::by_key(id.clone(), key_id.clone());
                user.filter(|_| is_good).map(|user| of(user, actor))
            }
        }
    }

    /// Replaces the browser's session by a new one, in one transaction with its audit row and the
    /// rest of `edit`. Returns the redirect to `next`.
    pub(super) async fn begin_session(
        &self,
        mut edit: Edit,
        founding: Founding,
        (front, headers): (&Front, &HeaderMap),
        next: &str,
    ) -> Answer<Response> {
        let Founding { who, round, proof, said } = founding;
        let cookie = format!("{}.{}", who.to_text(), self.random());
        let session = Session::begun(self.store.clock().now(), round);
        let key = self.session_key().await?;
        let hash = key.place(&cookie);
        let (proof, proven) = (&*proof, &*key.proven(&hash, &session, &proof));
        let row = SessionRow { hash: &hash, session: &session, proof, proven };
        self.store.begin_session(&mut edit, &row);
        if let Some(old) = front.cookie(Cookie::Session, headers) {
            self.store.end_session(&mut edit, &key.place(old));
        }
        let actor = match who.user() {
            // The audit trail stores only the id, so any role will do.
            Some(id) => Actor::User { id: id.clone(), role: Role::Member, key: None },
            None => Actor::Token,
        };
        let visit = Visit::new(actor, &HeaderMap::new());
        let note = Note::did("sign_in", &visit.actor.name(), (Value::Null, said));
        self.note(&visit, &mut edit, note)?;
        self.store.apply(edit).await?;
        Ok(redirect(next, front.set(Cookie::Session, &cookie, Some(LIFE))))
    }
}

/// The claimed owner of a session cookie. The lookup verifies it, because the stored hash covers
/// the whole cookie.
fn founder(cookie: &str) -> Option<Who> {
    let (who, random) = cookie.rsplit_once('.')?;
    if random.len() == RANDOM_CHARS { Who::from_text(who) } else { None }
}

/// Details of a sign-in for the audit trail.
pub(super) fn signed_in_by(by: &str) -> Value {
    json!({ "by": by })
}

/// A redirect with status 303 and a cookie.
pub(super) fn redirect(to: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static(BASE));
    response.headers_mut().insert(LOCATION, to);
    response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    response
}

#[derive(Template)]
#[template(path = "session_refused.html")]
struct RefusalPage<'a> {
    message: &'a str,
}

/// A page with an error.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response {
    page(status, &RefusalPage { message })
}

pub(super) fn refusal_of(refused: &Refused) -> Response {
    refusal(refused.status(), &refused.to_string())
}

/// Renders a template as an answer.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => Refused::broken(error).into_response(),
    }
}
