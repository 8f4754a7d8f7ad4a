//! The relay: serves a request from its authentication to its usage record.
//!
//! Each file holds one step. [`Relay::handle`] runs them in this order: `authenticate` finds the
//! key, `request_body` reads the body, `admission` reserves the cost, `account_selection` selects
//! an account, `forward` calls upstreams until one answers, `response_stream` passes the answer on,
//! and `settle` sends the usage record.
//!
//! The crate `baton-protocol` knows the formats of requests and answers, `baton-domain` holds the
//! rules, and `baton-runtime` does all I/O.

mod account_health;
mod account_selection;
mod admission;
mod attempt;
mod attempt_error;
mod authenticate;
mod body;
mod body_facts;
mod body_transform;
mod body_workers;
mod chunk_list;
mod client_response;
mod content_coding;
mod cost_bound;
mod credential_mask;
mod cross_origin;
mod error_buffer;
mod exchange;
mod forward;
mod free_calls;
mod key_usage;
mod limit_owner;
mod limit_wait;
mod memory_budget;
mod metered_body;
mod model_call;
mod model_lists;
mod models;
mod output_clock;
mod request_body;
mod request_conversion;
mod request_decoding;
mod response_buffer;
mod response_conversion;
mod response_source;
mod response_stream;
mod settle;
mod unknown_keys;
mod unserved_request;

use authenticate::PendingKeyLookups;
pub use body::{RelayBody, ResponseAborted};
pub use chunk_list::ChunkList;
pub use exchange::PlatformDeadline;
pub use settle::UnsentRecords;

use account_health::CredentialChecks;
use authenticate::AuthenticatedKey;
use baton_domain::id::RequestId;
use baton_domain::metric::REFUSED;
use baton_domain::printable::escape_text;
use baton_domain::protocol::ClientProtocol;
use baton_domain::record::RequestOutcome;
use baton_protocol::bedrock::BedrockAction;
use baton_protocol::error::ApiFamily;
use baton_protocol::model_path::call_query;
use baton_protocol::route::{RelayRoute, RouteError, resolve_route, with_query};
use baton_runtime::client_address::AddressRanges;
use baton_runtime::live_secret::LiveSecret;
use baton_runtime::observe::{Observer, RequestTrace};
use baton_runtime::peer_connection::PeerConnection;
use baton_runtime::settings::{
    AllowedOrigins, InputBounds, LimitSettings, RelayTimeouts, Settings,
};
use baton_runtime::upstream::{RequestSigner, UpstreamCallError, UpstreamClient};
use baton_runtime::usage_queue::UsageQueue;
use baton_runtime::vault::Pepper;
use baton_store::RelayStores;
use body_workers::BodyWorkers;
use bytes::Bytes;
use client_response::RelayError;
use cross_origin::CrossOriginPermission;
use free_calls::{FreeCallLimiter, FreeCallPermit};
use futures_util::FutureExt as _;
use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::{Request, Response};
use jiff::Timestamp;
use limit_wait::LimitWaiters;
use memory_budget::{MemoryBudget, MemoryLimits};
use model_call::Metering;
use model_lists::ModelListCache;
use settle::UnsentCounts;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use unknown_keys::UnknownKeyLimiter;

/// The most characters of a refusal in the log. Refusals can repeat text of the client.
const REFUSAL_CHARACTERS_MAX: usize = 240;

/// The relay as a service. Clones share all state.
#[derive(Clone)]
pub struct Relay(Arc<RelayState>);

/// The state that all requests of this process share.
struct RelayState {
    store: RelayStores,
    queue: UsageQueue,
    upstream: UpstreamClient,
    signer: RequestSigner,
    credential_checks: CredentialChecks,
    pepper: Pepper,
    timeouts: RelayTimeouts,
    max_utilization: Option<u32>,
    /// Its message for a spent limit is used when the organization's settings have none.
    limit_settings: LimitSettings,
    /// Requests that wait because others have reserved what is left of a money limit.
    limit_waiters: LimitWaiters,
    free_calls: FreeCallLimiter,
    model_lists: ModelListCache,
    bounds: InputBounds,
    trusted_proxies: AddressRanges,
    cors_origins: AllowedOrigins,
    /// Memory for request bodies.
    request_memory: MemoryBudget,
    /// Memory for answers, or parts of them, that are buffered before the client gets any of it.
    response_memory: MemoryBudget,
    /// Memory for bodies in another form than the client's, until they are sent.
    conversion_memory: MemoryBudget,
    body_workers: BodyWorkers,
    unknown_key_limiter: UnknownKeyLimiter,
    /// Requests that are waiting for the store to return their key.
    pending_key_lookups: PendingKeyLookups,
    shutdown: ShutdownSignal,
    observer: Observer,
    /// Tasks that can outlive their connection, for example the draining of an answer whose client
    /// has left.
    background_tasks: TaskTracker,
    unsent: UnsentCounts,
}

/// The two steps of a shutdown.
#[derive(Default)]
struct ShutdownSignal {
    /// First step: new requests are refused, and running ones continue.
    is_draining: AtomicBool,
    /// Second step: running requests are ended and recorded.
    cancel_responses: CancellationToken,
}

/// The request context: what is known when the head of a request has arrived.
struct RequestContext {
    id: RequestId,
    at: Timestamp,
    api_family: ApiFamily,
    protocol: ClientProtocol,
    head: Parts,
    /// The path without aliases, as upstreams know it.
    path: String,
    /// The model and the action from the path of a Bedrock request.
    bedrock: Option<(String, BedrockAction)>,
    /// The span of a model call, if traces are recorded.
    trace: RequestTrace,
}

impl RequestContext {
    /// Returns what to append to an upstream's base URL: the path without aliases, and those query
    /// parameters that vendors document.
    fn path_and_query(&self) -> String {
        with_query(&self.path, &call_query(self.head.uri.query().unwrap_or_default()))
    }

    fn accepts_gzip(&self) -> bool {
        let encodings = self.head.headers.get_all(ACCEPT_ENCODING).iter();
        encodings.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
            |encoding| {
                let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
                matches!(name.trim(), "gzip" | "*") && !matches!(weight.trim(), "q=0" | "q=0.0")
            },
        )
    }
}

impl Relay {
    /// Creates a relay over `store` and `queue`. Does no I/O.
    ///
    /// # Errors
    /// Fails if the TLS library cannot be set up.
    pub fn new(
        settings: &Settings,
        pepper: impl Into<LiveSecret>,
        store: RelayStores,
        queue: UsageQueue,
    ) -> Result<Self, UpstreamCallError> {
        let upstream = UpstreamClient::new(&settings.timers, settings.upstreams.allow_private)?;
        Ok(Self::with_upstream(upstream, settings, pepper, store, queue))
    }

    /// Creates a relay that calls `upstream`, over `store` and `queue`. Does no I/O.
    pub fn with_upstream(
        upstream: UpstreamClient,
        settings: &Settings,
        pepper: impl Into<LiveSecret>,
        store: RelayStores,
        queue: UsageQueue,
    ) -> Self {
        let signer = RequestSigner::new(store.clock().clone());
        let bounds = settings.bounds.clone();
        Self(Arc::new(RelayState {
            store,
            queue,
            upstream,
            signer,
            credential_checks: CredentialChecks::default(),
            pepper: Pepper::new(pepper),
            timeouts: settings.timers,
            max_utilization: settings.upstreams.max_utilization,
            limit_settings: settings.limits.clone(),
            limit_waiters: LimitWaiters::default(),
            free_calls: FreeCallLimiter::new(
                settings.limits.free_calls_per_minute,
                settings.limits.free_calls_concurrency,
            ),
            model_lists: ModelListCache::default(),
            request_memory: MemoryBudget::new(MemoryLimits::new(
                bounds.held_bytes,
                bounds.held_bytes_per_key,
            )),
            response_memory: MemoryBudget::new(MemoryLimits::new(
                bounds.answer_bytes.saturating_mul(2),
                bounds.answer_bytes,
            )),
            // A quarter of the memory for bodies as they came. The longest body takes all of it, but
            // several of one key must not keep the bodies of other keys waiting.
            conversion_memory: MemoryBudget::new(MemoryLimits {
                total: bounds.held_bytes / 4,
                per_request: bounds.held_bytes / 4,
                per_key: bounds.held_bytes / 8,
            }),
            body_workers: BodyWorkers::new(),
            unknown_key_limiter: UnknownKeyLimiter::new(bounds.wrong_keys_per_minute),
            pending_key_lookups: PendingKeyLookups::default(),
            shutdown: ShutdownSignal::default(),
            trusted_proxies: settings.addresses.trusted_proxies.clone(),
            cors_origins: settings.addresses.cors_origins.clone(),
            bounds,
            observer: Observer::installed(),
            background_tasks: TaskTracker::new(),
            unsent: UnsentCounts::default(),
        }))
    }

    /// Answers one request. The body of the answer ends only after the usage record is in the
    /// queue (or, if the queue fails, in the store or the log), because Lambda can freeze the
    /// process after that. While the process stops, the body does not wait for the record.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<RelayBody>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display + Send,
    {
        let (head, body) = request.into_parts();
        let at = self.0.store.clock().now();
        let id = RequestId::at(at, self.0.store.random_source().bits());
        let route = resolve_route(&head.method, head.uri.path()).and_then(|route| {
            let path = route.upstream_path().map_err(RouteError::BadId)?.into_owned();
            Ok((route, path))
        });
        let (route, path) = match route {
            Ok((route, path)) => (Ok(route), path),
            Err(error) => (Err(error), String::new()),
        };
        let permission = CrossOriginPermission::new(&self.0.cors_origins, &head.headers);
        if let Err(RouteError::Method { allow }) = &route
            && let Some(response) = permission.answer_preflight(&head, allow)
        {
            return response;
        }
        let api_family = ApiFamily::from_path(head.uri.path());
        let protocol = route.as_ref().map(RelayRoute::client_protocol);
        let protocol = protocol.unwrap_or(ClientProtocol::AnthropicMessages);
        let bedrock = match &route {
            Ok(RelayRoute::Bedrock(model, action)) => Some((model.clone(), *action)),
            _ => None,
        };
        let trace = match &route {
            Ok(
                RelayRoute::Messages
                | RelayRoute::CountTokens
                | RelayRoute::ChatCompletions
                | RelayRoute::Responses
                | RelayRoute::Bedrock(..),
            ) => self.0.observer.trace(&head.headers, &id),
            _ => RequestTrace::default(),
        };
        // Every log line of this request carries its id, including the line of a panic.
        let span = tracing::error_span!("request", request_id = %id);
        let context =
            Arc::new(RequestContext { id, at, api_family, protocol, head, path, bedrock, trace });
        let route = route.map_err(|error| RelayError::from_route(error, context.head.uri.path()));
        let response = self.0.answer_request(&context, route, body).instrument(span.clone());
        // A panic ends only this request. State that it left incomplete belongs to this request
        // alone.
        let response = AssertUnwindSafe(response).catch_unwind().await;
        let response = response.unwrap_or_else(|_| Err(RelayError::internal_error()));
        let mut response = response
            .unwrap_or_else(|refusal| span.in_scope(|| self.0.refuse_request(&context, refusal)));
        permission.permit_reading(response.headers_mut());
        response
    }

    /// Refuses new requests from now on. Requests that are already running continue.
    pub fn begin_stop(&self) {
        self.0.shutdown.is_draining.store(true, Ordering::Relaxed);
    }

    /// Ends all running requests: streams get an error event, and calls that no upstream has
    /// answered yet are given up. All of them are still recorded.
    pub fn cancel_responses(&self) {
        self.begin_stop();
        self.0.shutdown.cancel_responses.cancel();
    }

    /// Counts the records of this process that the usage queue did not accept.
    pub fn unsent_records(&self) -> UnsentRecords {
        self.0.unsent.read()
    }

    /// Returns when every answer that outlived its client has been drained and recorded. Call it
    /// after the last connection is closed.
    pub async fn drain(&self) {
        self.0.background_tasks.close();
        self.0.background_tasks.wait().await;
    }
}

impl RelayState {
    fn refuse_request(&self, request: &RequestContext, refusal: RelayError) -> Response<RelayBody> {
        let status = refusal.status().as_u16();
        let reason = refusal.to_string();
        let reason = escape_text(&reason, REFUSAL_CHARACTERS_MAX);
        tracing::info!(status, "{reason}");
        if !refusal.is_recorded {
            self.observer.record_request_end(request.protocol.as_str(), status, REFUSED);
            request.trace.end_with_status(status);
        }
        refusal.into_response(request)
    }

    async fn answer_request<B>(
        self: &Arc<Self>,
        request: &Arc<RequestContext>,
        route: Result<RelayRoute, RelayError>,
        body: B,
    ) -> Result<Response<RelayBody>, RelayError>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display + Send,
    {
        let mut body = std::pin::pin!(body);
        let caller = match route {
            Ok(RelayRoute::Alive) => return Ok(client_response::health_response()),
            Ok(_) if self.shutdown.is_draining.load(Ordering::Relaxed) => {
                Err(RelayError::shutting_down())
            }
            Ok(route) => self.authenticate_request(request).await.map(|caller| (route, caller)),
            Err(refusal) => Err(refusal),
        };
        let (route, caller) = match caller {
            Ok(authenticated) => authenticated,
            Err(refusal) => {
                // Read the rest of the body. Otherwise a client that is still sending would see a
                // broken connection instead of the error.
                self.discard_body(body.as_mut(), self.bounds.body_bytes).await;
                return Err(refusal);
            }
        };
        if let Some(peer) = request.head.extensions.get::<PeerConnection>() {
            peer.mark_authenticated();
        }
        let free_call = match self.admit_free_call(request, &route, &caller).await {
            Ok(free_call) => free_call,
            Err(refusal) => {
                self.discard_body(body.as_mut(), self.bounds.body_bytes).await;
                return Err(refusal);
            }
        };
        match route {
            RelayRoute::CountTokens | RelayRoute::Bedrock(_, BedrockAction::CountTokens) => {
                self.handle_model_call(request, caller, body, Metering::Free, free_call).await
            }
            RelayRoute::Messages
            | RelayRoute::ChatCompletions
            | RelayRoute::Responses
            | RelayRoute::Bedrock(..) => {
                self.handle_model_call(request, caller, body, Metering::Metered, None).await
            }
            // Boxed, so that the future of a model call stays small.
            RelayRoute::InferenceProfiles => {
                self.count_free_call(request, Box::pin(self.list_inference_profiles(&caller))).await
            }
            RelayRoute::Models => {
                self.count_free_call(request, Box::pin(self.list_models(request, &caller))).await
            }
            RelayRoute::Model(id) => {
                self.count_free_call(request, Box::pin(self.get_model(request, &caller, &id))).await
            }
            RelayRoute::Usage => Box::pin(self.get_key_usage(request, &caller)).await,
            RelayRoute::Alive => Ok(client_response::health_response()),
        }
    }
}

impl RelayState {
    /// Applies the limits of free calls. Returns a permit for a free call and `None` for other
    /// calls.
    async fn admit_free_call(
        &self,
        request: &RequestContext,
        route: &RelayRoute,
        caller: &AuthenticatedKey,
    ) -> Result<Option<FreeCallPermit>, RelayError> {
        let is_free = matches!(
            route,
            RelayRoute::CountTokens
                | RelayRoute::Bedrock(_, BedrockAction::CountTokens)
                | RelayRoute::InferenceProfiles
                | RelayRoute::Models
                | RelayRoute::Model(_)
        );
        if !is_free {
            return Ok(None);
        }
        self.free_calls.admit_call(&caller.key().id, request.at).await.map(Some)
    }

    /// Adds the request id to a successful answer, and records it in the metrics. Refusals are recorded
    /// in `refuse_request`.
    async fn count_free_call(
        &self,
        request: &RequestContext,
        call: impl Future<Output = Result<Response<RelayBody>, RelayError>>,
    ) -> Result<Response<RelayBody>, RelayError> {
        let mut response = call.await?;
        client_response::add_request_id(response.headers_mut(), request);
        self.observer.record_request_end(
            "models",
            response.status().as_u16(),
            RequestOutcome::Complete.as_str(),
        );
        Ok(response)
    }
}

impl<B> tower::Service<Request<B>> for Relay
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send,
{
    type Response = Response<RelayBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<RelayBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let relay = self.clone();
        Box::pin(async move { Ok(relay.handle(request).await) })
    }
}
