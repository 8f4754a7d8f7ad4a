//! `GET /metrics`: counters of this process and gauges in the text format of Prometheus.
//!
//! It needs the admin token, or a token that gives access to nothing else (`BATON_METRICS_TOKEN`).
//! The route does not exist where nothing is counted (on Lambda).

use crate::AdminState;
use crate::api_response::{ApiError, no_such_route};
use crate::api_route::RouteAccess;
use crate::authorize::credential;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use baton_domain::secret::Secret;
use baton_runtime::aws::AwsClients;
use baton_runtime::observe::{Observer, has_metrics_page, write_metrics_page};
use baton_runtime::settings::Settings;
use baton_runtime::usage_queue::UsageQueue;
use baton_runtime::vault::is_equal_constant_time;
use http::header::CONTENT_TYPE;
use std::sync::Arc;

/// The media type, from Prometheus, "Exposition formats" (2026-11).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The sources of the gauges.
pub(crate) struct MetricsState {
    observer: Observer,
    queue: UsageQueue,
    token: Option<Secret>,
    state: Arc<AdminState>,
}

impl MetricsState {
    pub(crate) fn new(settings: &Settings, aws: &AwsClients, state: Arc<AdminState>) -> Self {
        Self {
            observer: Observer::installed(),
            queue: UsageQueue::new(aws, &settings.resources.usage_queue_url),
            token: settings.secrets.metrics_token.clone(),
            state,
        }
    }
}

pub(crate) async fn get_metrics(
    State(gauges): State<Arc<MetricsState>>,
    request: Request,
) -> Response {
    if !has_metrics_page() {
        return no_such_route().await.into_response();
    }
    let state = &gauges.state;
    let own = gauges.token.as_ref().zip(credential(request.headers()));
    if !own.is_some_and(|(own, token)| is_equal_constant_time(token, own.expose())) {
        let from = state.trusted_proxies.counted_client_of(request.extensions(), request.headers());
        let actor = state.actor(request.headers(), from);
        match actor.await {
            Ok(actor) if RouteAccess::Admin.allows(&actor) => {}
            Ok(_) => return ApiError::forbidden("this needs the role `admin`").into_response(),
            Err(error) => return error.into_response(),
        }
    }
    let levels = state.store.gauges.read_gauges(&gauges.queue, state.dead_letters.as_ref()).await;
    gauges.observer.set_gauges(&levels);
    ([(CONTENT_TYPE, TEXT)], write_metrics_page().unwrap_or_default()).into_response()
}
