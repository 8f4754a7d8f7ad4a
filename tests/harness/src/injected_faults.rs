//! Failures that a test injects between the AWS clients and the local stores. They stand for things
//! that only AWS does, such as throttling, transaction conflicts and lost connections.
//!
//! The test decides when each failure happens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use baton_local::LocalAws;
use serde_json::{Value, json};

/// Decides from the `x-amz-target` and the body of a request whether the request fails.
type FaultInjector = Arc<dyn Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync>;

/// Adds failures to the local stack.
pub trait WithFaults {
    /// The same stack with injected failures: `faults` decides for each request, from its
    /// `x-amz-target` and body. Only clients of the returned value are affected.
    #[must_use]
    fn with_faults(
        &self,
        faults: impl Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync + 'static,
    ) -> Self;
}

/// One failure. By default the operation is not executed.
#[derive(Clone, Debug)]
pub struct InjectedFault {
    is_executed: bool,
    outcome: FaultOutcome,
    /// Delays before and after the operation.
    before: Duration,
    after: Duration,
}

/// The answer that the client gets.
#[derive(Clone, Debug)]
enum FaultOutcome {
    /// An HTTP status and a JSON body.
    Answer(u16, String),
    /// The connection breaks, and the client cannot know the result of its request.
    Disconnected,
    /// The store's own answer.
    Unchanged,
    /// No answer, ever.
    Silence,
}

/// The client's HTTP client, and each of its connections.
#[derive(Clone)]
struct FaultyConnection<C> {
    inner: C,
    faults: FaultInjector,
}

impl WithFaults for LocalAws {
    fn with_faults(
        &self,
        faults: impl Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync + 'static,
    ) -> Self {
        let config = self.sdk_config();
        let inner = config.http_client().expect("the way to the local stores");
        let client = FaultyConnection { inner, faults: Arc::new(faults) };
        self.with_sdk_config(config.into_builder().http_client(client).build())
    }
}

impl InjectedFault {
    fn new(outcome: FaultOutcome) -> Self {
        let none = Duration::ZERO;
        Self { is_executed: false, outcome, before: none, after: none }
    }

    /// Executes the operation and returns its answer, with a delay before and after it.
    pub fn slow(before: Duration, after: Duration) -> Self {
        Self { is_executed: true, before, after, ..Self::new(FaultOutcome::Unchanged) }
    }

    /// Never answers, as after a crash of the client or on a dead connection.
    pub fn no_answer() -> Self {
        Self::new(FaultOutcome::Silence)
    }

    /// An error with the given HTTP status and JSON body (`__type`, `message`, …).
    pub fn error_answer(status: u16, body: &Value) -> Self {
        Self::new(FaultOutcome::Answer(status, body.to_string()))
    }

    /// `ThrottlingException`, which the SDKs retry.
    pub fn throttled() -> Self {
        Self::error_answer(
            400,
            &json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }),
        )
    }

    /// A 500 of the service, which the SDKs retry.
    pub fn internal() -> Self {
        Self::error_answer(
            500,
            &json!({ "__type": "InternalServerError", "message": "Internal error" }),
        )
    }

    /// `TransactionConflictException`: a transaction uses the item that a single write needs.
    pub fn conflict() -> Self {
        let message = "Transaction is ongoing for the item";
        Self::error_answer(
            400,
            &json!({ "__type": "TransactionConflictException", "message": message }),
        )
    }

    /// `TransactionCanceledException` with one reason per action, such as `["None",
    /// "TransactionConflict"]`.
    pub fn cancelled(reasons: &[&str]) -> Self {
        let all = reasons.join(", ");
        let reasons: Vec<_> = reasons.iter().map(|code| json!({ "Code": code })).collect();
        let message = format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{all}]"
        );
        let body = json!({
            "__type": "TransactionCanceledException",
            "Message": message,
            "CancellationReasons": reasons,
        });
        Self::error_answer(400, &body)
    }

    /// The connection breaks.
    pub fn connection_lost() -> Self {
        Self::new(FaultOutcome::Disconnected)
    }

    /// Executes the operation before the failure, so that only its answer is lost.
    pub fn after(self) -> Self {
        Self { is_executed: true, ..self }
    }
}

impl HttpConnector for FaultyConnection<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { inner, faults } = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let body = request.body().bytes().expect("the AWS clients send no streams");
            let Some(fault) = faults(target, body) else { return inner.call(request).await };
            sleep_for(fault.before).await;
            let answer = if fault.is_executed { Some(inner.call(request).await) } else { None };
            sleep_for(fault.after).await;
            match (fault.outcome, answer) {
                (FaultOutcome::Answer(status, body), _) => {
                    let status = status.try_into().expect("an HTTP status");
                    Ok(HttpResponse::new(status, SdkBody::from(body)))
                }
                (FaultOutcome::Disconnected, _) => {
                    Err(ConnectorError::io("the connection broke".into()))
                }
                (FaultOutcome::Unchanged, Some(answer)) => answer,
                (FaultOutcome::Silence, _) | (FaultOutcome::Unchanged, None) => {
                    std::future::pending().await
                }
            }
        })
    }
}

impl HttpClient for FaultyConnection<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(FaultyConnection { inner, faults: Arc::clone(&self.faults) })
    }
}

impl<C> fmt::Debug for FaultyConnection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyConnection")
    }
}

async fn sleep_for(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
