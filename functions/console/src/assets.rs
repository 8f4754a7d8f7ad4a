//! The stylesheet and the script of the console. Their addresses contain a hash of their content,
//! so browsers can cache them until they change.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use std::sync::LazyLock;

/// A file in the binary.
pub(crate) struct StaticAsset {
    /// Its address.
    pub(crate) href: String,
    text: &'static str,
    kind: &'static str,
}

pub(crate) static CSS: LazyLock<StaticAsset> = LazyLock::new(|| {
    StaticAsset::new("css", include_str!("../assets/console.css"), "text/css; charset=utf-8")
});
pub(crate) static JS: LazyLock<StaticAsset> = LazyLock::new(|| {
    StaticAsset::new("js", include_str!("../assets/console.js"), "text/javascript; charset=utf-8")
});

impl StaticAsset {
    fn new(ending: &str, text: &'static str, kind: &'static str) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let name = hex::encode(hash.as_ref().get(..8).unwrap_or_default());
        Self { href: format!("/console/assets/{name}.{ending}"), text, kind }
    }
}

/// `GET /console/assets/{name}`, for everybody.
pub(crate) async fn serve_asset(Path(name): Path<String>) -> Response {
    let path = format!("/console/assets/{name}");
    let Some(asset) = [&*CSS, &*JS].into_iter().find(|asset| asset.href == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, asset.kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.text).into_response()
}
