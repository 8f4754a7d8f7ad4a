//! The headers of a request to an upstream.

use crate::rules;
use baton_domain::account::{Account, CredentialKind};
use baton_domain::secret::Secret;
use baton_protocol::headers::{add_beta, to_upstream};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, InvalidHeaderValue, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header without which Anthropic's API refuses a request, and the value that Baton sends if the
/// client named no version.
const MESSAGES_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const MESSAGES_VERSION_KNOWN: HeaderValue = HeaderValue::from_static("2023-06-01");

/// How Baton names itself in requests of its own.
const OWN_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("baton/", env!("CARGO_PKG_VERSION")));

/// Adds the version that Anthropic's API requires, unless the client named one.
pub fn add_messages_version(headers: &mut HeaderMap) {
    headers.entry(MESSAGES_VERSION).or_insert(MESSAGES_VERSION_KNOWN);
}

/// Removes the version, which Bedrock takes from the body.
pub(crate) fn remove_messages_version(headers: &mut HeaderMap) {
    headers.remove(MESSAGES_VERSION);
}

/// Returns the headers of a request that Baton makes on its own. Firewalls refuse requests that do not
/// say what sends them.
pub fn own_headers() -> HeaderMap {
    HeaderMap::from_iter([(USER_AGENT, OWN_USER_AGENT)])
}

/// Builds the headers for the account's upstream: the client's headers without those that belong to
/// its connection, its relay key or another vendor, plus the account's credential.
///
/// # Errors
/// The credential contains characters that a header cannot have.
pub fn build_request_headers(
    account: &Account,
    credential: &Secret,
    client_headers: &HeaderMap,
    accepted_encoding: &'static str,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = to_upstream(client_headers);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted_encoding));
    remove_headers_by_prefix(&mut headers, rules(account.provider).foreign_header_prefix);
    add_credential(account, credential, &mut headers)?;
    Ok(headers)
}

/// Adds the account's credential and what it needs. An AWS role adds nothing: it signs requests.
///
/// # Errors
/// As for [`build_request_headers`].
pub fn add_credential(
    account: &Account,
    credential: &Secret,
    headers: &mut HeaderMap,
) -> Result<(), InvalidHeaderValue> {
    let secret = credential.expose();
    let (name, mut value) = match account.credential {
        CredentialKind::ApiKey => {
            (HeaderName::from_static("x-api-key"), HeaderValue::from_str(secret)?)
        }
        CredentialKind::Bearer | CredentialKind::Oauth2 | CredentialKind::WorkloadIdentity => {
            (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {secret}"))?)
        }
        CredentialKind::Aws => return Ok(()),
    };
    value.set_sensitive(true);
    headers.insert(name, value);
    if let Some(beta) = rules(account.provider).token_beta
        && account.credential.is_renewed()
    {
        add_beta(headers, beta);
    }
    Ok(())
}

fn remove_headers_by_prefix(headers: &mut HeaderMap, prefix: &str) {
    let names = headers.keys().filter(|name| name.as_str().starts_with(prefix));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}
