//! The coding of an upstream's answer.

use baton_protocol::response_form::begins_with_answer;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

/// How the bytes of an answer are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Identity,
    Gzip,
    /// A coding that the relay cannot read, or several.
    Unreadable,
}

/// The codings that change the bytes, apart from gzip: those of IANA's HTTP Content Coding
/// Registry, and names of other compressions that servers use.
const UNREADABLE: [&[u8]; 16] = [
    b"aes128gcm",
    b"br",
    b"brotli",
    b"bzip2",
    b"compress",
    b"dcb",
    b"dcz",
    b"deflate",
    b"exi",
    b"lz4",
    b"lzma",
    b"pack200-gzip",
    b"snappy",
    b"xz",
    b"zlib",
    b"zstd",
];

/// How gzip with its only method begins (RFC 1952, section 2.3.1). No text and no frame does.
const GZIP_START: &[u8] = &[0x1f, 0x8b, 8];
/// The number of first bytes that [`ContentCoding::of_answer`] needs.
pub(crate) const CODING_BYTES: usize = GZIP_START.len();

impl ContentCoding {
    /// Returns the coding of an answer with these headers that begins with `start`. The first bytes
    /// decide: some servers compress without a header, or name gzip in `transfer-encoding` (RFC 9112,
    /// section 7), which the HTTP client does not decode. Others decompress an answer and keep its
    /// header.
    pub(crate) fn of_answer(headers: &HeaderMap, start: &[u8]) -> Self {
        match Self::from_headers(headers) {
            Self::Identity if start.starts_with(GZIP_START) => Self::Gzip,
            Self::Gzip
                if !GZIP_START.starts_with(start.get(..GZIP_START.len()).unwrap_or(start)) =>
            {
                Self::Identity
            }
            Self::Unreadable if begins_with_answer(start) => Self::Identity,
            declared => declared,
        }
    }

    /// Reads the headers `content-encoding`, each of which can list several codings. The names are
    /// case-insensitive, and `x-gzip` is gzip (RFC 9110, sections 8.4.1 and 8.4.1.3). Servers also
    /// write words there that name no coding, such as `none` or `utf-8`. The bytes are plain then.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        let names = values.flat_map(|value| value.split(|byte| *byte == b','));
        let mut codings = names.map(Self::from_name).filter(|coding| *coding != Self::Identity);
        match (codings.next(), codings.next()) {
            (None, _) => Self::Identity,
            (Some(only), None) => only,
            (Some(_), Some(_)) => Self::Unreadable,
        }
    }

    fn from_name(name: &[u8]) -> Self {
        // Parameters are not permitted, but do not change the coding.
        let name = name.split(|byte| *byte == b';').next().unwrap_or(name);
        let name = name.trim_ascii().to_ascii_lowercase();
        let name = name.strip_prefix(b"x-").unwrap_or(&name);
        match name {
            b"gzip" => Self::Gzip,
            _ if UNREADABLE.contains(&name) => Self::Unreadable,
            _ => Self::Identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_decide_about_the_coding() {
        let gzip = b"\x1f\x8b\x08\0rest".as_slice();
        for (coding, start, expected) in [
            ("identity", gzip, ContentCoding::Gzip),
            ("identity", b"\x1f\x8b", ContentCoding::Identity),
            ("identity", b"{\"a\":1}", ContentCoding::Identity),
            ("identity", b"", ContentCoding::Identity),
            ("gzip", gzip, ContentCoding::Gzip),
            ("gzip", b"\x1f", ContentCoding::Gzip),
            ("gzip", b"", ContentCoding::Gzip),
            ("gzip", b"data: {}", ContentCoding::Identity),
            ("gzip", b"d", ContentCoding::Identity),
            ("gzip", b"\0\0\0\x70", ContentCoding::Identity),
            ("br", b"event: message_start\n", ContentCoding::Identity),
            ("br", b"{\"a\":1}", ContentCoding::Identity),
            ("zstd", b"\x28\xb5\x2f\xfd", ContentCoding::Unreadable),
            ("br", gzip, ContentCoding::Unreadable),
            ("gzip, gzip", gzip, ContentCoding::Unreadable),
            ("gzip, gzip", b"data: {}", ContentCoding::Identity),
            ("deflate", b"x\x9c", ContentCoding::Unreadable),
            ("br", b"", ContentCoding::Unreadable),
        ] {
            let headers =
                HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
            assert_eq!(ContentCoding::of_answer(&headers, start), expected, "{coding} {start:?}");
        }
    }

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
            (&["x-compress"], ContentCoding::Unreadable),
            (&["dcb"], ContentCoding::Unreadable),
            (&["none"], ContentCoding::Identity),
            (&["utf-8"], ContentCoding::Identity),
            (&["UTF8"], ContentCoding::Identity),
            (&["aws-chunked", "chunked"], ContentCoding::Identity),
            (&["8bit"], ContentCoding::Identity),
            (&["text"], ContentCoding::Identity),
            (&["binary"], ContentCoding::Identity),
            (&["null"], ContentCoding::Identity),
            (&["aws-chunked,gzip"], ContentCoding::Gzip),
            (&["gzip, deflate"], ContentCoding::Unreadable),
            (&["utf-8, br"], ContentCoding::Unreadable),
            (&["gzip, gzip"], ContentCoding::Unreadable),
            (&["gzip", "br"], ContentCoding::Unreadable),
            (&["gzip;q=1"], ContentCoding::Gzip),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(ContentCoding::from_headers(&headers), expected, "{values:?}");
        }
    }
}
