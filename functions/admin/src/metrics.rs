//! `GET /metrics`: counters of this process and gauges in the text format of Prometheus.
//!
//! It needs the admin token, or a token that gives access to nothing else (`BATON_METRICS_TOKEN`).
//! The route does not exist where nothing is counted (on Lambda).

use crate::AdminState;
use crate::actor::RouteAccess;
use crate::api_response::{ApiError, no_such_route};
use crate::authorize::credential;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use baton_domain::secret::Secret;
use baton_runtime::aws::AwsClients;
use baton_runtime::observe::Observer;
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
    office: Arc<AdminState>,
}

impl MetricsState {
    pub(crate) fn new(settings: &Settings, aws: &AwsClients, office: Arc<AdminState>) -> Self {
        Self {
            observer: Observer::installed(),
            queue: UsageQueue::new(aws, &settings.resources.usage_queue_url),
            token: settings.metrics_token.clone(),
            office,
        }
    }
}

pub(crate) async fn get_metrics(
    State(gauges): State<Arc<MetricsState>>,
    request: Request,
) -> Response {
    if !gauges.observer.is_enabled() {
        return no_such_route().await.into_response();
    }
    let office = &gauges.office;
    let own = gauges.token.as_ref().zip(credential(request.headers()));
    if !own.is_some_and(|(own, token)| is_equal_constant_time(token, own.expose())) {
        let from =
            office.trusted_proxies.counted_client_of(request.extensions(), request.headers());
        let actor = office.actor(request.headers(), from);
        match actor.await {
            Ok(actor) if actor.may(RouteAccess::Admin) => {}
            Ok(_) => return ApiError::forbidden("this needs the role `admin`").into_response(),
            Err(refused) => return refused.into_response(),
        }
    }
    let levels = office.store.gauges.read_gauges(&gauges.queue, office.letters.as_ref()).await;
    gauges.observer.set_gauges(&levels);
    ([(CONTENT_TYPE, TEXT)], gauges.observer.page()).into_response()
}
