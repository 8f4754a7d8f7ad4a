//! Request headers of `InvokeModel`: those that are sent upstream, and those that cost more than
//! the list price (API reference, `InvokeModel` and `InvokeModelWithResponseStream`; user guide,
//! "Service tiers" and "Latency-optimized inference"; 2026-11).

use baton_domain::cost_factors::UnboundedField;
use http::{HeaderMap, HeaderName, HeaderValue};

const TIER: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");
const LATENCY: HeaderName = HeaderName::from_static("x-amzn-bedrock-performanceconfig-latency");
const TRACE: HeaderName = HeaderName::from_static("x-amzn-bedrock-trace");
const GUARDRAILS: [HeaderName; 2] = [
    HeaderName::from_static("x-amzn-bedrock-guardrailidentifier"),
    HeaderName::from_static("x-amzn-bedrock-guardrailversion"),
];

/// Adds the headers of a Bedrock client that are sent to Bedrock. Other headers could change the
/// form of its answer, or have effects that Amazon has not documented yet.
pub fn add_request_headers(headers: &mut HeaderMap, client_headers: &HeaderMap) {
    for name in [TIER, LATENCY, TRACE].into_iter().chain(GUARDRAILS) {
        for value in client_headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// The first header of a Bedrock client that makes a call more expensive than its list price.
pub fn unpriced_header(client_headers: &HeaderMap) -> Option<UnboundedField> {
    let is_priced = |value: &HeaderValue, known: &[&[u8]]| known.contains(&value.as_bytes());
    let is_missing = |name: &HeaderName, known: &[&[u8]]| {
        client_headers.get_all(name).iter().any(|value| !is_priced(value, known))
    };
    let surcharge = [(TIER, &[&b"default"[..], b"flex"][..]), (LATENCY, &[b"standard"])];
    let surcharge = surcharge.into_iter().find(|(name, known)| is_missing(name, known));
    let name = surcharge.map(|(name, _)| name).or_else(|| guardrail(client_headers))?;
    let advice = "Baton has no price for it. Leave it out.";
    Some(UnboundedField { field: name.as_str().to_owned(), advice })
}

/// The header by which a Bedrock client asks for a guardrail, if there is one. No other upstream
/// has guardrails.
pub fn guardrail(client_headers: &HeaderMap) -> Option<HeaderName> {
    GUARDRAILS.into_iter().find(|name| client_headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn documented_headers_pass() {
        let client_headers = headers(&[
            ("x-amzn-bedrock-service-tier", "flex"),
            ("x-amzn-bedrock-performanceconfig-latency", "standard"),
            ("x-amzn-bedrock-trace", "ENABLED"),
            ("x-amzn-bedrock-guardrailidentifier", "g"),
            ("x-amzn-bedrock-guardrailversion", "1"),
            ("x-amzn-bedrock-accept", "text/csv"),
            ("x-amzn-bedrock-model", "m"),
            ("x-amzn-trace-id", "t"),
        ]);
        let mut sent = HeaderMap::new();
        add_request_headers(&mut sent, &client_headers);
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expect = [
            "x-amzn-bedrock-guardrailidentifier",
            "x-amzn-bedrock-guardrailversion",
            "x-amzn-bedrock-performanceconfig-latency",
            "x-amzn-bedrock-service-tier",
            "x-amzn-bedrock-trace",
        ];
        assert_eq!(names, expect);
    }

    #[test]
    fn headers_without_a_price_are_named() {
        let (tier, latency) =
            ("x-amzn-bedrock-service-tier", "x-amzn-bedrock-performanceconfig-latency");
        for (pairs, expect) in [
            (&[][..], None),
            (&[(tier, "default"), (latency, "standard")], None),
            (&[(tier, "flex")], None),
            (&[(tier, "priority")], Some(tier)),
            (&[(tier, "PRIORITY")], Some(tier)),
            (&[(tier, "reserved")], Some(tier)),
            (&[(tier, "")], Some(tier)),
            (&[(tier, "default"), (tier, "priority")], Some(tier)),
            (&[(latency, "optimized")], Some(latency)),
            (&[("x-amzn-bedrock-trace", "ENABLED")], None),
            (&[("x-amzn-bedrock-guardrailversion", "1")], Some("x-amzn-bedrock-guardrailversion")),
        ] {
            let found = unpriced_header(&headers(pairs)).map(|found| found.field);
            assert_eq!(found.as_deref(), expect, "{pairs:?}");
        }
    }
}
