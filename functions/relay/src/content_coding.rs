//! The coding of an upstream's answer.

use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

/// How the bytes of an answer are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Identity,
    Gzip,
    /// A coding that the relay cannot read, or several.
    Unreadable,
}

impl ContentCoding {
    /// Reads the headers `content-encoding`, each of which can list several codings. The names are
    /// case-insensitive, and `x-gzip` is gzip (RFC 9110, sections 8.4.1 and 8.4.1.3).
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        let names = values.flat_map(|value| value.split(|byte| *byte == b','));
        let names = names.map(|name| name.trim_ascii().to_ascii_lowercase());
        let mut codings = names.filter(|name| !matches!(name.as_slice(), b"" | b"identity"));
        match (codings.next(), codings.next()) {
            (None, _) => Self::Identity,
            (Some(name), None) if matches!(name.as_slice(), b"gzip" | b"x-gzip") => Self::Gzip,
            _ => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_of_all_headers_count() {
        for (values, expected) in [
            (&[][..], ContentCoding::Identity),
            (&["Identity"], ContentCoding::Identity),
            (&["", "identity, "], ContentCoding::Identity),
            (&["gzip"], ContentCoding::Gzip),
            (&["GZIP"], ContentCoding::Gzip),
            (&[" x-gzip "], ContentCoding::Gzip),
            (&["identity, gzip"], ContentCoding::Gzip),
            (&["br"], ContentCoding::Unreadable),
            (&["zstd"], ContentCoding::Unreadable),
            (&["deflate"], ContentCoding::Unreadable),
            (&["aws-chunked"], ContentCoding::Unreadable),
            (&["gzip, gzip"], ContentCoding::Unreadable),
            (&["gzip", "br"], ContentCoding::Unreadable),
            (&["gzip;q=1"], ContentCoding::Unreadable),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(ContentCoding::from_headers(&headers), expected, "{values:?}");
        }
    }
}
