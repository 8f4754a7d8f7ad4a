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

impl ContentCoding {
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
