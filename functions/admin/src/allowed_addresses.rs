//! Restricts the admin API and the console to clients in the operator's address ranges.

use crate::api_response::ApiError;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use baton_runtime::client_address::AddressRanges;
use std::sync::Arc;

/// The allowed ranges, and the proxies whose `x-forwarded-for` header is trusted.
pub(crate) struct AllowedAddresses {
    pub(crate) ranges: Option<AddressRanges>,
    pub(crate) proxies: AddressRanges,
}

impl AllowedAddresses {
    /// Whether the request comes from an allowed address. A request without a known address does
    /// not.
    fn allows_request(&self, request: &Request) -> bool {
        let Some(ranges) = &self.ranges else { return true };
        let client = self.proxies.client_of(request.extensions(), request.headers());
        client.is_some_and(|client| ranges.contains(client))
    }
}

/// Refuses other clients before anything is read or looked up.
pub(crate) async fn require_allowed_address(
    State(allowed): State<Arc<AllowedAddresses>>,
    request: Request,
    next: Next,
) -> Response {
    if allowed.allows_request(&request) {
        return next.run(request).await;
    }
    let error = "requests from this address are not allowed here; \
               the operator's setting BATON_ADMIN_ALLOWED_CIDRS names those that are";
    ApiError::forbidden(error).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use baton_runtime::client_address::PeerAddress;

    #[test]
    fn clients_outside_allowed_ranges_are_refused() {
        // An unreadable address is in no range, not even where the proxy itself is allowed.
        let everywhere = AllowedAddresses {
            ranges: "0.0.0.0/0,::/0".parse().ok(),
            proxies: "10.0.0.0/8".parse().unwrap(),
        };
        let mut unreadable = Request::new(Body::empty());
        unreadable.extensions_mut().insert(PeerAddress("10.0.0.1".parse().unwrap()));
        unreadable.headers_mut().insert("x-forwarded-for", "?".parse().unwrap());
        assert!(!everywhere.allows_request(&unreadable));
        let ranges = "203.0.113.0/24,2001:db8::/32".parse().ok();
        let allowed = AllowedAddresses { ranges, proxies: "10.0.0.0/8".parse().unwrap() };
        let everybody = AllowedAddresses { ranges: None, proxies: AddressRanges::default() };
        let nobody =
            AllowedAddresses { ranges: "".parse().ok(), proxies: AddressRanges::default() };
        for (peer, forwarded, is_allowed, error) in [
            (Some("203.0.113.9"), None, true, "in a range"),
            (Some("::ffff:203.0.113.9"), None, true, "the same, mapped"),
            (Some("2001:db8::1"), None, true, "in a range"),
            (Some("198.51.100.1"), None, false, "in no range"),
            (Some("198.51.100.1"), Some("203.0.113.9"), false, "its own word counts for nothing"),
            (Some("10.0.0.1"), Some("203.0.113.9"), true, "a trusted proxy's word counts"),
            (Some("10.0.0.1"), Some("203.0.113.9, 198.51.100.1"), false, "what it added counts"),
            (Some("10.0.0.1"), None, false, "the proxy itself"),
            (Some("10.0.0.1"), Some("\u{ff}, 203.0.113.9"), true, "what a client wrote is skipped"),
            (Some("10.0.0.1"), Some("203.0.113.9, \u{ff}"), false, "a proxy's word is unreadable"),
            (Some("10.0.0.1"), Some("203.0.113.9, ?"), false, "the same"),
            (None, Some("203.0.113.9"), false, "nobody knows from where"),
        ] {
            let mut request = Request::new(Body::empty());
            if let Some(peer) = peer {
                request.extensions_mut().insert(PeerAddress(peer.parse().unwrap()));
            }
            if let Some(forwarded) = forwarded {
                let bytes: Vec<u8> =
                    forwarded.chars().map(|it| u8::try_from(u32::from(it)).unwrap()).collect();
                let value = http::HeaderValue::from_bytes(&bytes).unwrap();
                request.headers_mut().insert("x-forwarded-for", value);
            }
            assert_eq!(
                allowed.allows_request(&request),
                is_allowed,
                "{peer:?} {forwarded:?}: {error}"
            );
            assert!(
                everybody.allows_request(&request) && !nobody.allows_request(&request),
                "{peer:?}"
            );
        }
    }
}
