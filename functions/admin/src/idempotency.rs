//! `Idempotency-Key`: a POST that is repeated within a day gets the first answer again, including
//! secrets, and changes nothing. The same key from another caller is a different key.

use crate::admin_request::{AdminRequest, IdempotentRequest};
use crate::api_response::{ApiError, ApiResponse, ApiResult};
use crate::body_bounds::BODY_BYTES_MAX;
use crate::{AdminState, SharedAdminState};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_domain::actor::Actor;
use baton_domain::secret::Secret;
use baton_store::StoredResponse;
use http::header::HeaderName;
use http::request::Parts;
use http::{Method, StatusCode};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_BYTES_MAX: usize = 255;

impl IdempotentRequest {
    /// Converts an answer to its stored form.
    pub(crate) fn to_stored_response(&self, response: &ApiResponse) -> StoredResponse {
        StoredResponse {
            fingerprint: self.fingerprint.clone(),
            status: response.status.as_u16(),
            body: Secret::new(response.view.to_string()),
        }
    }
}

/// Returns the stored answer of a repeated request. Other requests pass.
pub(crate) async fn answer_repeated(
    state: SharedAdminState,
    request: Request,
    next: Next,
) -> Response {
    let State(state) = state;
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    let (mut head, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return ApiError::too_large(BODY_BYTES_MAX).into_response();
    };
    let answer = async {
        let replay = state.mark_idempotent(&mut head, &bytes)?;
        if let Some(response) = state.find_stored_response(&replay).await? {
            return Ok(response.into_response());
        }
        let answer = next.run(Request::from_parts(head, Body::from(bytes))).await;
        // If the same request arrives twice at once, the second can fail because the first has
        // taken the name. It gets the answer of the first.
        if answer.status() == StatusCode::CONFLICT
            && let Some(response) = state.find_stored_response(&replay).await?
        {
            return Ok(response.into_response());
        }
        Ok(answer)
    };
    answer.await.unwrap_or_else(|error: ApiError| error.into_response())
}

impl AdminState {
    /// Stores in the request's extensions how a repetition of it is recognized.
    fn mark_idempotent(&self, head: &mut Parts, body: &[u8]) -> ApiResult<IdempotentRequest> {
        if head.headers.get_all(IDEMPOTENCY_KEY).iter().count() > 1 {
            return Err(ApiError::bad("`Idempotency-Key` is given more than once; send it once"));
        }
        let key = head.headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok());
        let fits = |key: &&str| {
            (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
        };
        let key = key.filter(fits).ok_or_else(|| {
            ApiError::bad(
                "`Idempotency-Key`: expected 1 to 255 printable ASCII characters without spaces",
            )
        })?;
        let admin_request = head.extensions.get_mut::<AdminRequest>();
        let admin_request = admin_request.ok_or_else(|| {
            ApiError::internal_error("a request reached the idempotency check without an actor")
        })?;
        let request = format!("{} {}\n", head.method, head.uri);
        let request = [request.as_bytes(), body].concat();
        let replay = IdempotentRequest {
            name: self.stored_response_name(&admin_request.actor, key),
            fingerprint: self.pepper.hash(&String::from_utf8_lossy(&request)),
        };
        admin_request.replay = Some(replay.clone());
        Ok(replay)
    }

    fn stored_response_name(&self, actor: &Actor, key: &str) -> String {
        // A relay key must not see answers that another key of its owner got.
        let by = actor.key().map(ToString::to_string).unwrap_or_default();
        let hash = self.pepper.hash(&format!("{}\n{by}\n{key}", actor.name()));
        hex::encode(hash)
    }

    /// Returns the stored answer with this name.
    ///
    /// # Errors
    /// If it belongs to a different request.
    pub(crate) async fn find_stored_response(
        &self,
        replay: &IdempotentRequest,
    ) -> ApiResult<Option<ApiResponse>> {
        let Some(stored_response) = self.store.responses.stored_response(&replay.name).await?
        else {
            return Ok(None);
        };
        if stored_response.fingerprint != replay.fingerprint {
            return Err(ApiError::reused_idempotency_key());
        }
        let status = StatusCode::from_u16(stored_response.status).unwrap_or_default();
        let view = serde_json::from_str(stored_response.body.expose()).unwrap_or_default();
        Ok(Some(ApiResponse { status, view, is_repeated: true }))
    }
}
