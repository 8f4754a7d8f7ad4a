//! Checks the headers that describe a request body's format. [`crate::envelope`] reads the body
//! itself.

use crate::request_coding::RequestCoding;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

/// The headers ask to read the body in another way than the relay does. The texts are for the
/// client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBodyForm {
    /// The body has a coding that is not decoded.
    #[error(
        "content-encoding: this coding is not supported. Send the body as gzip, zstd or plain."
    )]
    Coding,
    /// The body has another charset than UTF-8. An upstream that decodes it would read other JSON.
    #[error("content-type: the body must be JSON in UTF-8. Leave `charset` out.")]
    Charset,
}

/// Checks that the headers describe the body as JSON in UTF-8, since that is the form in which it is
/// sent upstream, and that its coding is one that is decoded.
///
/// # Errors
/// [`BadBodyForm`]
pub fn check_body_form(headers: &HeaderMap) -> Result<(), BadBodyForm> {
    RequestCoding::from_headers(headers).map_err(|_| BadBodyForm::Coding)?;
    let is_utf8 = |value: &HeaderValue| {
        let text = value.as_bytes().to_ascii_lowercase();
        let Some(index) = memchr::memmem::find(&text, b"charset") else { return true };
        let rest = text.get(index + b"charset".len()..).unwrap_or_default();
        let is_mark = |byte: &u8| b"= \t\"'".contains(byte);
        let start = rest.iter().position(|byte| !is_mark(byte)).unwrap_or(rest.len());
        let name = rest.get(start..).unwrap_or_default();
        let end = name.iter().position(|byte| is_mark(byte) || b";,".contains(byte));
        let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
        matches!(name, b"utf-8" | b"utf8" | b"us-ascii")
    };
    if headers.get_all(CONTENT_TYPE).iter().all(is_utf8) {
        Ok(())
    } else {
        Err(BadBodyForm::Charset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_plain_utf8_json_bodies_are_accepted() {
        let check = |name: &'static str, value: &'static str, expect| {
            assert_eq!(check_body_form(&headers(&[(name, value)])), expect, "{name}: {value}");
        };
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json; charset=\"utf-8\"; a=b",
            "application/json; charset=us-ascii",
            "text/plain",
            "",
        ] {
            check("content-type", good, Ok(()));
        }
        for bad in [
            "application/json; charset=utf-7",
            "application/json; charset=\"UTF-7\"",
            "application/json; Charset = utf-16le",
            "application/json;charset=utf-32",
            "application/json; charset=iso-2022-jp",
            "application/json; charset=utf-8x",
            "application/json; charset=",
            "application/json; charset",
        ] {
            check("content-type", bad, Err(BadBodyForm::Charset));
        }
        for good in ["identity", "Identity", "", "gzip", "zstd", "identity, gzip"] {
            check("content-encoding", good, Ok(()));
        }
        for bad in ["br", "deflate", "gzip, gzip", "base64", "x"] {
            check("content-encoding", bad, Err(BadBodyForm::Coding));
        }
        let two = [("content-type", "application/json"), ("content-type", "a/b; charset=utf-7")];
        assert_eq!(check_body_form(&headers(&two)), Err(BadBodyForm::Charset));
    }
}
