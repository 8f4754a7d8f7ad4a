//! A key's own view: what it may do. What it has spent joins with the limits that are counted.

use crate::authenticate::Caller;
use crate::body::Body;
use crate::reply;
use http::{Response, StatusCode};
use serde_json::json;

/// `GET /v1/usage`
pub(crate) fn own_usage(caller: &Caller) -> Response<Body> {
    let key = caller.key();
    let view = json!({
        "id": key.id, "name": key.name, "group_id": key.group_id, "models": key.models,
        "expires_at": key.expires_at, "limits": key.limits,
    });
    reply::json(StatusCode::OK, view.to_string())
}
