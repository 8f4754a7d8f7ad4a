//! The data plane: one request through authenticate, read, admit, choose, forward, stream, settle.
//!
//! The files are the life of a request, and [`Relay::handle`] calls them in that order. What a
//! byte means is `wire`'s business, what a fact implies is `domain`'s, and every side effect goes
//! through a door of `cloud`.

mod admit;
mod apart;
mod attempt;
mod authenticate;
mod body;
mod bound;
mod burst;
mod choose;
mod deadline;
mod exchange;
mod forward;
mod free_calls;
mod health;
mod hear;
mod held_bytes;
mod limit_wait;
mod model_lists;
mod models;
mod moves;
mod own_usage;
mod read;
mod receipt;
mod reply;
mod seats;
mod settle;
mod source;
mod speak;
mod stop;
mod stream;
mod suspicion;
mod tokens;
mod turn;
mod unserved;
mod watch;
mod wrong_keys;

use authenticate::WaitingRequests;
pub use body::{Body, Broken};
pub use burst::Burst;
pub use deadline::PlatformDeadline;
pub use settle::UnsentRecords;

use authenticate::Caller;
use baton_cloud::client_address::AddressRanges;
use baton_cloud::live_secret::LiveSecret;
use baton_cloud::observe::{Observer, Trace};
use baton_cloud::peer::Peer;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::{InputBounds, LimitsOnOutage, Settings, Timers};
use baton_cloud::store::Store;
use baton_cloud::upstream::{NoAnswer, Signer, Upstream};
use baton_cloud::vault::Pepper;
use baton_domain::id::RequestId;
use baton_domain::metric::REFUSED;
use baton_domain::printable::escaped;
use baton_domain::protocol::Protocol;
use baton_domain::record::Outcome;
use baton_wire::bedrock::Action;
use baton_wire::error::Dialect;
use baton_wire::model_path::call_query;
use baton_wire::route::{NoRoute, Route, resolve, with_query};
use bytes::Bytes;
use free_calls::{FreeCall, FreeCalls};
use futures_util::FutureExt as _;
use held_bytes::{HeldBytes, Most};
use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::{Request, Response};
use jiff::Timestamp;
use limit_wait::LimitWaiters;
use model_lists::ModelLists;
use receipt::Bill;
use reply::Refusal;
use settle::UnsentCounts;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use stop::Stop;
use suspicion::CredentialChecks;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use wrong_keys::WrongKeys;

/// Characters of a refusal in the log: it may repeat words of the client.
const REFUSAL_CHARACTERS_MAX: usize = 240;

/// The relay, as a service. Cloning shares everything.
#[derive(Clone)]
pub struct Relay(Arc<Means>);

/// What the relay works with.
struct Means {
    store: Store,
    queue: UsageQueue,
    upstream: Upstream,
    signer: Signer,
    checks: CredentialChecks,
    pepper: Pepper,
    timers: Timers,
    utilisation_max: Option<u32>,
    on_outage: LimitsOnOutage,
    /// What a client is told beside a spent limit, unless the organisation's terms say something.
    spend_limit_message: Option<String>,
    /// Requests that wait for what others have reserved.
    limit_waiters: LimitWaiters,
    /// For how long they do.
    limit_wait: Duration,
    free_calls: FreeCalls,
    model_lists: ModelLists,
    /// How long a reservation outlives its request's deadline.
    reservation_margin: Duration,
    body_bytes_max: usize,
    bounds: InputBounds,
    trusted_proxies: AddressRanges,
    /// Of requests' bodies.
    held: HeldBytes,
    /// Of answers that are gathered before any of it leaves.
    gathered: HeldBytes,
    wrong_keys: WrongKeys,
    /// Requests that wait for the store to tell their key.
    waiting: WaitingRequests,
    stop: Stop,
    observer: Observer,
    /// Exchanges that outlive their connection: answers whose client has left.
    leftovers: TaskTracker,
    unsent: UnsentCounts,
}

/// A request as it came in: when, as what, and its head.
struct Asked {
    id: RequestId,
    at: Timestamp,
    dialect: Dialect,
    protocol: Protocol,
    head: Parts,
    /// The path without aliases; what an upstream is asked for.
    path: String,
    /// The model and the action that a client of Bedrock names in the path.
    bedrock: Option<(String, Action)>,
    /// Its span, where it is a model call and somebody records them.
    trace: Trace,
}

impl Asked {
    /// What to append to an upstream's base: the path without aliases, and of the query the
    /// parameters that vendors document.
    fn path_and_query(&self) -> String {
        with_query(&self.path, &call_query(self.head.uri.query().unwrap_or_default()))
    }

    fn accepts_gzip(&self) -> bool {
        let encodings = self.head.headers.get_all(ACCEPT_ENCODING).iter();
        encodings.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
            |one| {
                let (name, weight) = one.split_once(';').unwrap_or((one, ""));
                matches!(name.trim(), "gzip" | "*") && !matches!(weight.trim(), "q=0" | "q=0.0")
            },
        )
    }
}

impl Relay {
    /// A relay over `store` and `queue`. No I/O.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(
        settings: &Settings,
        pepper: impl Into<LiveSecret>,
        store: Store,
        queue: UsageQueue,
    ) -> Result<Self, NoAnswer> {
        let upstream = Upstream::new(&settings.timers, settings.allow_private_upstreams)?;
        Ok(Self::to(upstream, settings, pepper, (store, queue)))
    }

    /// A relay to `upstream`, over `store` and `queue`. No I/O.
    pub fn to(
        upstream: Upstream,
        settings: &Settings,
        pepper: impl Into<LiveSecret>,
        (store, queue): (Store, UsageQueue),
    ) -> Self {
        let signer = Signer::new(store.clock().clone());
        let bounds = settings.bounds.clone();
        Self(Arc::new(Means {
            store,
            queue,
            upstream,
            signer,
            checks: CredentialChecks::default(),
            pepper: Pepper::new(pepper),
            timers: settings.timers,
            utilisation_max: settings.utilisation_max.0,
            on_outage: settings.limits_on_outage,
            spend_limit_message: settings.spend_limit_message.clone(),
            limit_waiters: LimitWaiters::default(),
            limit_wait: settings.limit_wait,
            free_calls: FreeCalls::new(
                settings.free_calls.per_minute,
                settings.free_calls.concurrency,
            ),
            model_lists: ModelLists::default(),
            reservation_margin: settings.reservation_margin,
            body_bytes_max: settings.body_bytes_max,
            held: HeldBytes::new(Most {
                in_all: bounds.held_bytes,
                per_key: bounds.held_bytes_per_key,
                least: 16 * 1024,
            }),
            gathered: HeldBytes::new(Most {
                in_all: bounds.answer_bytes.saturating_mul(2),
                per_key: bounds.answer_bytes,
                least: 0,
            }),
            wrong_keys: WrongKeys::new(bounds.wrong_keys_per_minute),
            waiting: WaitingRequests::default(),
            stop: Stop::default(),
            trusted_proxies: settings.trusted_proxies.clone(),
            bounds,
            observer: Observer::installed(),
            leftovers: TaskTracker::new(),
            unsent: UnsentCounts::default(),
        }))
    }

    /// Answers one request. The answer's body ends after its usage record is with the queue.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display + Send,
    {
        let (head, body) = request.into_parts();
        let at = self.0.store.clock().now();
        let id = RequestId::at(at, self.0.store.dice().bits());
        let route = resolve(&head.method, head.uri.path()).and_then(|route| {
            let path = route.upstream_path().map_err(NoRoute::BadId)?.into_owned();
            Ok((route, path))
        });
        let (route, path) = match route {
            Ok((route, path)) => (Ok(route), path),
            Err(none) => (Err(none), String::new()),
        };
        let dialect = Dialect::of_path(head.uri.path());
        let protocol = match &route {
            Ok(Route::ChatCompletions) => Protocol::OpenaiChat,
            Ok(Route::Responses) => Protocol::OpenaiResponses,
            Ok(Route::Bedrock(..)) => Protocol::BedrockInvokeModel,
            _ => Protocol::AnthropicMessages,
        };
        let bedrock = match &route {
            Ok(Route::Bedrock(model, action)) => Some((model.clone(), *action)),
            _ => None,
        };
        let trace = match &route {
            Ok(
                Route::Messages
                | Route::CountTokens
                | Route::ChatCompletions
                | Route::Responses
                | Route::Bedrock(..),
            ) => self.0.observer.trace(&head.headers, &id),
            _ => Trace::default(),
        };
        // Every line that is logged on the way names the request, that of a panic, too.
        let span = tracing::error_span!("request", request_id = %id);
        let asked = Arc::new(Asked { id, at, dialect, protocol, head, path, bedrock, trace });
        let answer = self.0.answer(&asked, route.map_err(Refusal::from), body).instrument(span);
        // A panic is one request's end: what it left half done is that request's own.
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        match answer.unwrap_or_else(|_| Err(Refusal::broken())) {
            Ok(answer) => answer,
            Err(refusal) => self.0.refuse(&asked, refusal),
        }
    }

    /// From now on new requests are refused; those that are under way go on.
    pub fn begin_stop(&self) {
        self.0.stop.is_asked.store(true, Ordering::Relaxed);
    }

    /// Ends what is still under way: streams with an error event, calls that no upstream has
    /// answered by giving them up. All of it is recorded.
    pub fn end_answers(&self) {
        self.begin_stop();
        self.0.stop.is_over.cancel();
    }

    /// The records of this process that the usage queue did not take.
    pub fn unsent_records(&self) -> UnsentRecords {
        self.0.unsent.read()
    }

    /// Returns once every answer that outlived its client has been read and recorded. Call it
    /// after the last connection is closed.
    pub async fn drain(&self) {
        self.0.leftovers.close();
        self.0.leftovers.wait().await;
    }
}

impl Means {
    fn refuse(&self, asked: &Asked, refusal: Refusal) -> Response<Body> {
        let status = refusal.status().as_u16();
        let reason = refusal.to_string();
        let reason = escaped(&reason, REFUSAL_CHARACTERS_MAX);
        tracing::info!(request_id = %asked.id, status, "{reason}");
        if !refusal.is_settled {
            self.observer.over(asked.protocol.as_str(), status, REFUSED);
            asked.trace.ended(status);
        }
        refusal.into_response(asked)
    }

    async fn answer<B>(
        self: &Arc<Self>,
        asked: &Arc<Asked>,
        route: Result<Route, Refusal>,
        body: B,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display + Send,
    {
        let mut body = std::pin::pin!(body);
        let caller = match route {
            Ok(Route::Alive) => return Ok(reply::alive()),
            Ok(_) if self.stop.is_asked.load(Ordering::Relaxed) => Err(Refusal::stopping()),
            Ok(route) => self.authenticate(asked).await.map(|caller| (route, caller)),
            Err(refusal) => Err(refusal),
        };
        let (route, caller) = match caller {
            Ok(known) => known,
            Err(refusal) => {
                // A client that is still sending would see a broken connection, not the reason.
                self.discard(body.as_mut(), self.body_bytes_max).await;
                return Err(refusal);
            }
        };
        if let Some(peer) = asked.head.extensions.get::<Peer>() {
            peer.authenticate();
        }
        let free_call = match self.enter_free(asked, &route, &caller).await {
            Ok(free_call) => free_call,
            Err(refusal) => {
                self.discard(body.as_mut(), self.body_bytes_max).await;
                return Err(refusal);
            }
        };
        match route {
            Route::CountTokens | Route::Bedrock(_, Action::CountTokens) => {
                self.exchange(asked, caller, body, (Bill::Free, free_call)).await
            }
            Route::Messages | Route::ChatCompletions | Route::Responses | Route::Bedrock(..) => {
                self.exchange(asked, caller, body, (Bill::Metered, None)).await
            }
            // Boxed, so that model calls stay small.
            Route::InferenceProfiles => {
                self.counted_as_free(Box::pin(self.inference_profiles(&caller))).await
            }
            Route::Models => self.counted_as_free(Box::pin(self.models(asked, &caller))).await,
            Route::Model(id) => {
                self.counted_as_free(Box::pin(self.model(asked, &caller, &id))).await
            }
            Route::Usage => Box::pin(self.own_usage(asked, &caller)).await,
            Route::Alive => Ok(reply::alive()),
        }
    }
}

impl Means {
    /// Holds a call that is free upstream to the limits of such calls.
    async fn enter_free(
        &self,
        asked: &Asked,
        route: &Route,
        caller: &Caller,
    ) -> Result<Option<FreeCall>, Refusal> {
        let is_free = matches!(
            route,
            Route::CountTokens
                | Route::Bedrock(_, Action::CountTokens)
                | Route::InferenceProfiles
                | Route::Models
                | Route::Model(_)
        );
        if !is_free {
            return Ok(None);
        }
        self.free_calls.enter(&caller.key().id, asked.at).await.map(Some)
    }

    /// Counts a good answer about models in the metrics; a refusal is counted where it is told.
    async fn counted_as_free(
        &self,
        answering: impl Future<Output = Result<Response<Body>, Refusal>>,
    ) -> Result<Response<Body>, Refusal> {
        let answer = answering.await?;
        self.observer.over("models", answer.status().as_u16(), Outcome::Complete.as_str());
        Ok(answer)
    }
}

impl<B> tower::Service<Request<B>> for Relay
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let relay = self.clone();
        Box::pin(async move { Ok(relay.handle(request).await) })
    }
}
