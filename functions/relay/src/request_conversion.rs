//! Request conversion: makes the request for an account, in the form that its upstream reads.
//!
//! `baton_providers::conversion` chooses the plan and converts. Here, a long body waits for its
//! permit and its memory. `response_conversion` follows the same plan for the answer.

use crate::attempt_error::AttemptError;
use crate::body_workers::{
    COPY_MEMORY_FACTOR, JobSize, LONG_BYTES, READ_MEMORY_FACTOR, TRANSLATION_MEMORY_FACTOR,
};
use crate::memory_budget::MemoryRequest;
use crate::model_call::{Metering, ModelCall, OutboundCall};
use crate::response_conversion::ResponsePlan;
use crate::{RelayState, RequestContext};
use baton_domain::account::Account;
use baton_domain::id::KeyId;
use baton_domain::sold_price::SoldPrices;
use baton_providers::conversion::{
    ConversionPlan, ConvertedRequest, RequestConversion, RequestIdentity, RequestShape,
    ScannedConversion,
};
use baton_providers::headers::build_request_headers;
use baton_runtime::upstream::UpstreamAddress;
use baton_store::PoolMember;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::Timestamp;
use std::time::Duration;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BAD_CREDENTIAL: &str = "the credential has characters that a header cannot contain";

/// How long a request waits for memory for its converted body. Others release it when they have
/// been converted and sent.
const CONVERSION_MEMORY_TIMEOUT: Duration = Duration::from_secs(30);

/// A request for the account, before it is signed.
pub(crate) struct UpstreamRequest {
    pub(crate) address: UpstreamAddress,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) response_plan: ResponsePlan,
}

impl RelayState {
    /// Converts the request for `member` and `model`, on another thread if its body is long.
    ///
    /// # Errors
    /// The account's credential is not a valid header value, its protocol cannot express the
    /// request, or there is no memory for the converted body.
    pub(crate) async fn convert_request(
        &self,
        request: &RequestContext,
        member: &PoolMember,
        plan: ConversionPlan,
        call: &OutboundCall,
        model: &str,
    ) -> Result<UpstreamRequest, AttemptError> {
        let (account, client_headers) = (&member.account, &request.head.headers);
        let is_stream = call.model_call.stream;
        // Streams are not compressed. For other answers gzip is the only encoding that the meter
        // can read.
        let encodes = plan.allows_compression() && !is_stream && request.accepts_gzip();
        let encoding = if encodes { "gzip" } else { "identity" };
        let headers = build_request_headers(account, &member.credential, client_headers, encoding);
        let mut headers =
            headers.map_err(|_| AttemptError::Misconfigured(BAD_CREDENTIAL.to_owned()))?;
        // The relay has read the body as JSON, whatever content type the client gave.
        headers.insert(CONTENT_TYPE, JSON);
        plan.check_guardrail(client_headers)?;
        let conversion = new_conversion(request, plan, call, model);
        let key = &call.model_call.caller.key().id;
        let ConvertedRequest { path, body, hint, betas, dropped } =
            Box::pin(self.convert_body(key, conversion)).await?;
        if !dropped.is_empty() {
            let dropped = dropped.join(", ");
            tracing::debug!(dropped, "translated the request for {path}");
        }
        plan.add_protocol_headers(client_headers, is_stream, betas, &mut headers);
        let permit = self.response_memory.acquire_kept_bytes(key, hint.held_bytes()).await?;
        let response_plan = ResponsePlan { plan, metering: call.model_call.metering, hint, permit };
        let address = UpstreamAddress::new(&account.base_url, &path);
        Ok(UpstreamRequest { address, headers, body, response_plan })
    }

    /// Chooses the plan for a request to `model` at the account, with what the operator has set for
    /// the model.
    pub(crate) fn conversion_plan(
        &self,
        model_call: &ModelCall,
        account: &Account,
        model: &str,
    ) -> ConversionPlan {
        let ModelCall { shape, at, .. } = *model_call;
        let prices = self.store.prices.cached();
        plan_conversion(prices.sold_by(&prices.seller_of(account)), shape, account, model, at)
    }

    /// Converts the body of a call. A long one is converted on another thread. Its converted form
    /// counts as held by its key until it is sent.
    async fn convert_body(
        &self,
        key: &KeyId,
        conversion: RequestConversion,
    ) -> Result<ConvertedRequest, AttemptError> {
        let bytes = conversion.body.len();
        let stopping = |_| AttemptError::Unreachable {
            reason: "the relay is shutting down".to_owned(),
            is_called: false,
        };
        let scan = move || conversion.scan();
        let conversion = self
            .body_workers
            .run(key, JobSize::new(bytes, READ_MEMORY_FACTOR), scan)
            .await
            .map_err(stopping)?;
        let memory_factor = conversion_memory_factor(&conversion);
        let is_counted = bytes >= LONG_BYTES && memory_factor != READ_MEMORY_FACTOR;
        let needed = MemoryRequest::unmetered(bytes.min(self.conversion_memory.bytes_max()));
        let key_permit =
            self.body_workers.acquire_key_permit(key, bytes).await.map_err(stopping)?;
        let memory = if is_counted {
            let timeout = CONVERSION_MEMORY_TIMEOUT;
            Some(self.conversion_memory.acquire_bytes_within(key, needed, timeout).await?)
        } else {
            None
        };
        let (size, work) = (JobSize::new(bytes, memory_factor), move || conversion.convert());
        let mut converted =
            self.body_workers.run_with_permit(key_permit, size, work).await.map_err(stopping)??;
        if let Some(mut memory) = memory {
            memory.grow_up_to(converted.body.len())?;
            converted.body = memory.attach(converted.body);
        }
        Ok(converted)
    }
}

/// Chooses the plan for a request of this shape to `model` at the account, with what the operator has
/// set for the upstream's model. `sold` are the account's prices.
pub(crate) fn plan_conversion(
    sold: SoldPrices<'_>,
    shape: RequestShape,
    account: &Account,
    model: &str,
    at: Timestamp,
) -> ConversionPlan {
    ConversionPlan::new(shape, account, model, |model: &str| sold.own_capabilities(model, at))
}

/// Returns the memory for a conversion, as a multiple of the body's length.
fn conversion_memory_factor(conversion: &ScannedConversion) -> usize {
    if conversion.parses_body() {
        TRANSLATION_MEMORY_FACTOR
    } else if conversion.keeps_body() {
        READ_MEMORY_FACTOR
    } else {
        COPY_MEMORY_FACTOR
    }
}

fn new_conversion(
    request: &RequestContext,
    plan: ConversionPlan,
    call: &OutboundCall,
    model: &str,
) -> RequestConversion {
    let betas = request.head.headers.get_all("anthropic-beta").iter();
    let path = if plan.is_pass_through() { request.path_and_query() } else { String::new() };
    RequestConversion {
        plan,
        identity: request.identity(),
        body: call.body.clone(),
        client_model: (call.model_call.model.clone(), call.model_span.clone()),
        model: model.to_owned(),
        is_stream: call.model_call.stream,
        is_token_count: call.model_call.metering == Metering::Free,
        path,
        betas: betas.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect(),
    }
}

impl RequestContext {
    /// Returns what a translation writes about the request.
    pub(crate) fn identity(&self) -> RequestIdentity {
        RequestIdentity {
            id: self.id.as_str().to_owned(),
            created: u64::try_from(self.at.as_second()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::account::{CredentialKind, Provider};
    use baton_domain::id::AccountId;
    use baton_domain::model_capabilities::OwnCapabilities;
    use baton_domain::protocol::{Framing, UpstreamProtocol};
    use baton_protocol::translate::{ClientProtocol, ProtocolPair};
    use baton_providers::rules;

    fn account() -> Account {
        let id = AccountId::from_bits(1);
        Account::new(id, Provider::Anthropic, "https://a.example", CredentialKind::Bearer)
    }

    /// A body that is parsed to remove what another upstream wrote counts as a translated one.
    #[test]
    fn bodies_that_are_parsed_need_the_memory_of_a_translation() {
        let plain = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        let foreign = r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":""}]}]}"#;
        let foreign_id = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a.b:c"}]}]}"#;
        let pair = ProtocolPair::between(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat);
        for (body, translation, model, expected) in [
            (plain, None, "m", READ_MEMORY_FACTOR),
            (plain, None, "other", COPY_MEMORY_FACTOR),
            (plain, pair, "m", TRANSLATION_MEMORY_FACTOR),
            (foreign, None, "m", TRANSLATION_MEMORY_FACTOR),
            (foreign, None, "other", TRANSLATION_MEMORY_FACTOR),
            (foreign_id, None, "m", TRANSLATION_MEMORY_FACTOR),
        ] {
            let upstream_protocol = match translation {
                Some(_) => UpstreamProtocol::Chat,
                None => UpstreamProtocol::Messages,
            };
            let framing = Framing::ServerSentEvents;
            let conversion = RequestConversion {
                plan: ConversionPlan {
                    upstream_protocol,
                    translation,
                    client_framing: framing,
                    upstream_framing: framing,
                    asks_for_usage: false,
                    target: (rules(Provider::Anthropic).target_capabilities)(
                        &account(),
                        model,
                        OwnCapabilities::default(),
                    ),
                },
                identity: RequestIdentity { id: "req_1".to_owned(), created: 0 },
                body: Bytes::from_static(body.as_bytes()),
                client_model: ("m".to_owned(), 0..0),
                model: model.to_owned(),
                is_stream: false,
                is_token_count: false,
                path: String::new(),
                betas: Vec::new(),
            };
            assert_eq!(
                conversion_memory_factor(&conversion.scan()),
                expected,
                "{body} for {model}"
            );
        }
    }
}
