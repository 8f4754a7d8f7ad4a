//! One attempt at one account: sends the request. `response_buffer` then buffers the answer up to its
//! first event.

use crate::attempt_error::AttemptError;
use crate::credential_mask::mask_credential;
use crate::model_call::OutboundCall;
use crate::request_conversion::UpstreamRequest;
use crate::response_buffer::BufferedResponse;
use crate::response_source::ResponseSource;
use crate::{RelayState, RequestContext};
use baton_domain::account::CredentialKind;
use baton_providers::conversion::ConversionPlan;
use baton_runtime::upstream::AwsAccess;
use baton_store::PoolMember;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

/// The account and the model that are called.
#[derive(Clone, Copy)]
pub(crate) struct AttemptTarget<'a> {
    pub(crate) member: &'a PoolMember,
    pub(crate) plan: ConversionPlan,
    /// The upstream's name for the model.
    pub(crate) model: &'a str,
}

impl RelayState {
    /// Calls the target's upstream and waits for the first event. Sets `called_at` once the request
    /// is converted.
    ///
    /// # Errors
    /// The attempt failed; see [`AttemptError`].
    pub(crate) async fn attempt_account(
        &self,
        request: &RequestContext,
        target: AttemptTarget<'_>,
        call: &OutboundCall,
        called_at: &mut Instant,
        deadline: Instant,
    ) -> Result<BufferedResponse, AttemptError> {
        let AttemptTarget { member, model, .. } = target;
        let account = &member.account;
        let provider = account.provider.as_str();
        let span = request.trace.attempt(&account.id, provider, model);
        let mut response = self.call_upstream(request, target, call, called_at, deadline).await;
        if member.account.credential != CredentialKind::Aws {
            mask_credential(&mut response, member.credential.expose().as_bytes());
        }
        let result = response.as_ref().err().map_or("ok", AttemptError::cause_label);
        self.observer.record_attempt(provider, result);
        span.end_with_result(result);
        response
    }

    async fn call_upstream(
        &self,
        request: &RequestContext,
        target: AttemptTarget<'_>,
        call: &OutboundCall,
        called_at: &mut Instant,
        deadline: Instant,
    ) -> Result<BufferedResponse, AttemptError> {
        let first_byte = (Instant::now() + self.timeouts.first_byte).min(deadline);
        let AttemptTarget { member, plan, model } = target;
        let outgoing = self.convert_request(request, member, plan, call, model).await?;
        *called_at = Instant::now();
        let UpstreamRequest { address, mut headers, body, response_plan } = outgoing;
        let exchange = async {
            if member.account.credential == CredentialKind::Aws {
                let access = AwsAccess::from_secret(&member.credential)?;
                // Boxed, because the future is large and few requests need it.
                Box::pin(self.signer.sign(&access, address.as_str(), &mut headers, &body)).await?;
            }
            let upstream = self.upstream.with_proxy(member.proxy.as_ref())?;
            Ok(upstream.call(Method::POST, &address, headers, body).await?)
        };
        let stop = &self.shutdown.cancel_responses;
        let response = tokio::select! {
            biased;
            result = tokio::time::timeout_at(first_byte, exchange) => result.unwrap_or(Err(AttemptError::Timeout { is_called: true }))?,
            () = stop.cancelled() => return Err(AttemptError::ShuttingDown { reading: Box::new(None) }),
        };
        let (mut head, body) = response.into_parts();
        bound_headers(&mut head.headers);
        let until_first_byte = first_byte.saturating_duration_since(Instant::now());
        let source = ResponseSource::new(body, until_first_byte, deadline, stop.clone());
        // Boxed, because the future is large.
        let buffer = self.buffer_response(request, response_plan, &call.model_call, head, source);
        Box::pin(buffer).await
    }
}

/// The most bytes of an answer's head that are kept. Baton's own heads have the same bound.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A head up to this length shares the memory of the connection's first buffer.
const SHARED_HEAD_BYTES: usize = 8 * 1024;

/// Copies the fields of a long head, which would otherwise keep the whole buffer in which they were
/// read, up to [`HEAD_BYTES_MAX`].
fn bound_headers(headers: &mut HeaderMap) {
    let length = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len();
    let bytes: usize = headers.iter().map(|(name, value)| length(name, value)).sum();
    if bytes <= SHARED_HEAD_BYTES {
        return;
    }
    let (mut kept, mut bytes) = (HeaderMap::new(), 0);
    for (name, value) in headers.iter() {
        bytes += length(name, value);
        if bytes <= HEAD_BYTES_MAX
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            kept.append(name, value);
        }
    }
    *headers = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_heads_are_cut() {
        let name =
            |number: usize| HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(&[b'v'; 4000]).unwrap();
        for (fields, expected) in [(1, 1), (3, 3), (16, 16), (95, 16)] {
            let mut headers: HeaderMap =
                (0..fields).map(|number| (name(number), value.clone())).collect();
            bound_headers(&mut headers);
            assert_eq!(headers.len(), expected);
            assert!(headers.values().all(|kept| kept == value));
        }
    }
}
