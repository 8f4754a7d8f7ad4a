//! Free calls that show whether an upstream accepts a credential.

use crate::headers::{add_messages_version, own_headers};
use baton_domain::account::Account;
use baton_domain::health::ProbeCall;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};

/// A free call of a provider.
pub struct Probe {
    /// The kind of call, under which the account's health remembers it.
    pub call: ProbeCall,
    /// Makes the request for an account. It has no credential yet.
    pub request: fn(&Account) -> ProbeRequest,
}

/// The request of a free call.
pub struct ProbeRequest {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub path: String,
    /// The headers other than the credential.
    pub headers: HeaderMap,
    /// The body; empty for a GET.
    pub body: Bytes,
}

impl ProbeRequest {
    pub(crate) fn get(path: &str) -> Self {
        let (method, path) = (Method::GET, path.to_owned());
        Self { method, path, headers: own_headers(), body: Bytes::new() }
    }

    pub(crate) fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let mut headers = own_headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, path: path.into(), headers, body: body.into() }
    }

    /// Adds the version header that the Messages API requires.
    pub(crate) fn with_messages_version(mut self) -> Self {
        add_messages_version(&mut self.headers);
        self
    }
}
