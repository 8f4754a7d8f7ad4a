//! Masks the account's credential in what an upstream sends, because upstreams can repeat what they
//! received.

use crate::attempt_error::AttemptError;
use crate::response_buffer::BufferedResponse;
use baton_protocol::meter::UpstreamFailure;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};

/// Removes the account's credential from the headers of an answer and from errors, because upstreams
/// can repeat what they received.
pub(crate) fn mask_credential(
    attempt_result: &mut Result<BufferedResponse, AttemptError>,
    credential: &[u8],
) {
    match attempt_result {
        Ok(buffered) => remove_headers_with_credential(&mut buffered.head.headers, credential),
        Err(AttemptError::ErrorResponse { head, body, client_response, .. }) => {
            remove_headers_with_credential(&mut head.headers, credential);
            mask_bytes(body, credential);
            if let Some((head, body)) = client_response.as_deref_mut() {
                remove_headers_with_credential(&mut head.headers, credential);
                mask_bytes(body, credential);
            }
        }
        Err(AttemptError::FirstEvent { head, body, failure, .. }) => {
            remove_headers_with_credential(&mut head.headers, credential);
            mask_bytes(body, credential);
            let UpstreamFailure { kind, code, message } = &mut **failure;
            for text in kind.iter_mut().chain(code).chain([message]) {
                mask_text(text, credential);
            }
        }
        Err(_) => {}
    }
}

/// Removes headers that contain the credential.
fn remove_headers_with_credential(headers: &mut HeaderMap, credential: &[u8]) {
    let holds = |value: &HeaderValue| find_credential(value.as_bytes(), credential).is_some();
    let names: Vec<_> =
        headers.iter().filter(|(_, value)| holds(value)).map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

/// Overwrites the credential with asterisks of the same length, so that no lengths change.
fn mask_bytes(body: &mut Bytes, credential: &[u8]) {
    let Some(mut at) = find_credential(body, credential) else { return };
    let mut masked = body.to_vec();
    loop {
        if let Some(place) = masked.get_mut(at..at + credential.len()) {
            place.fill(b'*');
        }
        let Some(next) = masked.get(at..).and_then(|rest| find_credential(rest, credential)) else {
            break;
        };
        at += next;
    }
    *body = masked.into();
}

/// Overwrites the credential with asterisks.
fn mask_text(text: &mut String, credential: &[u8]) {
    if find_credential(text.as_bytes(), credential).is_some() {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        mask_bytes(&mut bytes, credential);
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }
}

/// Returns where the credential begins. Credentials shorter than 8 bytes are ignored, because they
/// would match by chance.
fn find_credential(bytes: &[u8], credential: &[u8]) -> Option<usize> {
    const BYTES_MIN: usize = 8;
    let mut windows = bytes.windows(credential.len().max(BYTES_MIN));
    windows.position(|window| window == credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_is_masked_wherever_it_occurs() {
        let masked = |text: &str| {
            let mut text = text.to_owned();
            mask_text(&mut text, b"sk-upstream-1");
            text
        };
        assert_eq!(masked("a sk-upstream-1 b sk-upstream-1"), "a ************* b *************");
        assert_eq!(masked("nothing"), "nothing");
        let mut short = "a key".to_owned();
        mask_text(&mut short, b"key");
        assert_eq!(short, "a key", "short credentials match by chance");
    }
}
