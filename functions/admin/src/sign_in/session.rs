//! Console sessions: every page needs one. A session begins at sign-in and ends at sign-out, after
//! a time without use, at its maximum age, or when the credential or user behind it changes.
//! `sign_in` has the sign-in page.

use super::session_cookie::{ConsoleOrigin, CookieKind};
use super::session_csrf::check;
use super::session_csrf::{self, CsrfError};
use super::{SignInNotice, sign_in_url};
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult};
use crate::{AdminState, SharedAdminState};
use askama::Template;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use baton_api::audit::AuditAction;
use baton_console::{CONSOLE_PATH, ConsoleUser};
use baton_domain::actor::Actor;
use baton_domain::console_session::{ConsoleSession, SESSION_LIFETIME, SessionSubject};
use baton_domain::key::{Role, User};
use baton_runtime::peer_connection::PeerConnection;
use baton_store::{ConfigEdit, SessionContext, SessionRow, StoreError};
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::{Value, json};
use std::sync::Arc;

/// The length of a session's random part: 256 bits in base64.
const RANDOM_CHARS: usize = 43;

/// The data that a new session is based on.
pub(super) struct SessionBasis {
    pub(super) subject: SessionSubject,
    /// The session round of its user.
    pub(super) round: u64,
    /// A hash of the secret that was entered.
    pub(super) proof: Vec<u8>,
    /// Details for the audit trail.
    pub(super) message: Value,
}

/// The route that ends a session.
pub(super) fn routes() -> Router<Arc<AdminState>> {
    Router::new().route(&format!("{CONSOLE_PATH}/sign-out"), post(sign_out))
}

/// Lets requests pass that have a session and, if they change something, come from a page of the
/// console. Sign-in pages and assets are open to everybody.
pub(super) async fn require_session(
    state: SharedAdminState,
    request: Request,
    next: Next,
) -> Response {
    let State(state) = state;
    let uri = request.uri().clone();
    let path = uri.path().strip_prefix(CONSOLE_PATH).unwrap_or_default();
    if path == "/sign-in" || path.starts_with("/sign-in/") || path.starts_with("/assets/") {
        return next.run(request).await;
    }
    let Some(origin) = ConsoleOrigin::from_request(&state, request.headers(), &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let cookie = origin.cookie(CookieKind::Session, request.headers()).map(str::to_owned);
    let (cookie, visitor) = match state.load_user(cookie.as_deref()).await {
        Ok(Some(visitor)) => {
            if let Some(peer) = request.extensions().get::<PeerConnection>() {
                peer.mark_authenticated();
            }
            (cookie.unwrap_or_default(), visitor)
        }
        Ok(None) => {
            let wanted = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
            let next = wanted.filter(|_| request.method().is_safe());
            let removed_cookie = cookie.and_then(|_| origin.remove_cookie(CookieKind::Session));
            return redirect(&sign_in_url(next, None), removed_cookie);
        }
        Err(error) => return error_page(&error),
    };
    let checked = if request.method().is_safe() {
        Ok(request)
    } else {
        check(&state, &origin, &cookie, request).await
    };
    match checked {
        Ok(mut request) => {
            let admin_request = AdminRequest::new(visitor.actor.clone(), request.headers());
            request.extensions_mut().insert(admin_request);
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(CsrfError::Body) => refusal(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large."),
        Err(CsrfError::Site | CsrfError::Token) => refusal(
            StatusCode::FORBIDDEN,
            "This was not sent from a current page of the console, so nothing was changed. \
             Go back, reload the page and try again.",
        ),
    }
}

async fn sign_out(
    State(state): SharedAdminState,
    uri: Uri,
    admin_request: AdminRequest,
    headers: HeaderMap,
) -> Response {
    let Some(origin) = ConsoleOrigin::from_request(&state, &headers, &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let cookie = origin.cookie(CookieKind::Session, &headers).unwrap_or_default();
    let mut edit = ConfigEdit::default();
    let note = AuditNote::other_action(
        AuditAction::SignOut,
        &admin_request.actor.name(),
        &Value::Null,
        &Value::Null,
    );
    let ended = async {
        state
            .store
            .sessions
            .end_session(&mut edit, &state.session_key().await?.storage_key(cookie));
        state.add_audit_row(&admin_request, &mut edit, note)?;
        state.store.editor.apply(edit).await.map_err(ApiError::from)
    };
    match ended.await {
        Ok(()) => redirect(
            &sign_in_url(None, Some(SignInNotice::SignedOut)),
            origin.remove_cookie(CookieKind::Session),
        ),
        Err(error) => error_page(&error),
    }
}

impl AdminState {
    /// Returns the visitor of a cookie's session if it is valid. Takes one read.
    async fn load_user(&self, cookie: Option<&str>) -> ApiResult<Option<ConsoleUser>> {
        let Some((cookie, subject)) = cookie.and_then(|it| Some((it, subject_of_cookie(it)?)))
        else {
            return Ok(None);
        };
        let key = self.session_key().await?;
        let hash = key.storage_key(cookie);
        let Some(session_context) = self.store.sessions.read_session(&hash, &subject).await? else {
            return Ok(None);
        };
        if !key.is_session_proven(&hash, &session_context) {
            tracing::warn!(
                "a session was refused: its row in the state table was not written by the console"
            );
            return Ok(None);
        }
        let Some((actor, name)) = self.verify_session(&subject, &session_context) else {
            return Ok(None);
        };
        if let Some(used) = session_context.session.after_use(self.store.clock().now()) {
            let (proof, proven) = (
                &*session_context.proof,
                &*key.session_proof(&hash, &used, &session_context.proof),
            );
            let row = SessionRow { hash: &hash, session: &used, proof, proven };
            match self.store.sessions.use_session(&row).await {
                Ok(()) => {}
                Err(StoreError::Conflict) => return Ok(None),
                // The session may end too early, but it does not have to end now.
                Err(error) => {
                    tracing::warn!("the last use of a session could not be stored: {error}");
                }
            }
        }
        Ok(Some(ConsoleUser { actor, csrf: session_csrf::token(self, cookie), name }))
    }

    /// Returns the caller and name of a session if everything that it is based on is still valid.
    fn verify_session(
        &self,
        subject: &SessionSubject,
        session_context: &SessionContext,
    ) -> Option<(Actor, String)> {
        let now = self.store.clock().now();
        let is_proven = |hash: &[u8]| verify_slices_are_equal(hash, &session_context.proof).is_ok();
        let is_member = |user: &&User| {
            user.enabled && user.session_round == session_context.session.session_generation
        };
        if !session_context.session.is_alive(now) {
            return None;
        }
        let user = session_context.user.as_ref().filter(is_member);
        let of = |user: &User, actor| (actor, user.name.clone());
        match subject {
            SessionSubject::Token => {
                let is_valid = match &self.admin_token {
                    Some(fixed) => fixed.values().texts().any(|fixed| {
                        self.pepper.hashes(fixed.expose()).iter().any(|hash| is_proven(hash))
                    }),
                    None => session_context.admin_token_hash.as_deref().is_some_and(is_proven),
                };
                is_valid.then(|| (Actor::Token, "Admin token".to_owned()))
            }
            SessionSubject::User(id) => {
                let may = |user: &&User| {
                    user.role == Role::Admin || session_context.runtime.member_access
                };
                let actor = |role| Actor::User { id: id.clone(), role, key: None };
                user.filter(may).map(|user| of(user, actor(user.role)))
            }
            SessionSubject::Key { user: id, key: key_id } => {
                let key = session_context
                    .key
                    .as_ref()
                    .filter(|_| session_context.runtime.member_access)?;
                let is_valid = key.value.usable(now).is_ok()
                    && key.value.user_id.as_ref() == Some(id)
                    && is_proven(key.secret.as_deref().unwrap_or_default());
                let actor = Actor::from_key(id.clone(), key_id.clone());
                user.filter(|_| is_valid).map(|user| of(user, actor))
            }
        }
    }

    /// Replaces the browser's session by a new one, in one transaction with its audit row and the
    /// rest of `edit`. Returns the redirect to `next`.
    pub(super) async fn begin_session(
        &self,
        mut edit: ConfigEdit,
        basis: SessionBasis,
        origin: &ConsoleOrigin,
        headers: &HeaderMap,
        next: &str,
    ) -> ApiResult<Response> {
        let SessionBasis { subject, round, proof, message } = basis;
        let cookie = format!("{}.{}", subject.to_text(), self.random());
        let session = ConsoleSession::new(self.store.clock().now(), round);
        let key = self.session_key().await?;
        let hash = key.storage_key(&cookie);
        let (proof, proven) = (&*proof, &*key.session_proof(&hash, &session, &proof));
        let row = SessionRow { hash: &hash, session: &session, proof, proven };
        self.store.sessions.begin_session(&mut edit, &row);
        if let Some(old) = origin.cookie(CookieKind::Session, headers) {
            self.store.sessions.end_session(&mut edit, &key.storage_key(old));
        }
        let actor = match subject.user() {
            // The audit trail stores only the id, so any role will do.
            Some(id) => Actor::User { id: id.clone(), role: Role::Member, key: None },
            None => Actor::Token,
        };
        let admin_request = AdminRequest::new(actor, &HeaderMap::new());
        let note = AuditNote::other_action(
            AuditAction::SignIn,
            &admin_request.actor.name(),
            &Value::Null,
            &message,
        );
        self.add_audit_row(&admin_request, &mut edit, note)?;
        self.store.editor.apply(edit).await?;
        Ok(redirect(next, origin.set(CookieKind::Session, &cookie, Some(SESSION_LIFETIME))))
    }
}

/// The claimed owner of a session cookie. The lookup verifies it, because the stored hash covers
/// the whole cookie.
fn subject_of_cookie(cookie: &str) -> Option<SessionSubject> {
    let (subject, random) = cookie.rsplit_once('.')?;
    if random.len() == RANDOM_CHARS { SessionSubject::from_text(subject) } else { None }
}

/// Details of a sign-in for the audit trail.
pub(super) fn sign_in_audit_json(by: &str) -> Value {
    json!({ "by": by })
}

/// A redirect with status 303 and a cookie.
pub(super) fn redirect(to: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static(CONSOLE_PATH));
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
    render_template(status, &RefusalPage { message })
}

pub(super) fn error_page(error: &ApiError) -> Response {
    refusal(error.status(), &error.to_string())
}

/// Renders a template as an answer.
pub(super) fn render_template(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => ApiError::internal_error(error).into_response(),
    }
}
