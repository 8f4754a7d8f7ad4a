//! Decodes compressed request bodies (RFC 9110, section 8.4).
//!
//! Codex compresses with zstd when it is signed in with `ChatGPT` (farion1231/cc-switch#3817), and
//! some HTTP clients compress long bodies with gzip. A small body can decode to a very long one, so
//! the caller takes the plain text piece by piece and bounds it.

use bytes::{Buf as _, Bytes};
use flate2::bufread::MultiGzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use ruzstd::decoding::StreamingDecoder;
use std::io::Read;

/// The codings that are decoded, for `accept-encoding`.
pub const CODINGS: &str = "gzip, zstd";

/// How many times a body can grow. Repeated JSON shrinks to about a thirtieth.
const RATIO_MAX: usize = 128;

/// The plain length that is always accepted.
const PLAIN_BYTES_MIN: usize = 1024 * 1024;

/// The largest window of a zstd frame, which the decoder allocates. RFC 8878 recommends that
/// decoders support 8 MiB, and encoders need more only at the highest levels.
pub const ZSTD_WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The memory of a decoder without its window: its tables, and the block that it decodes.
const DECODER_BYTES: usize = 384 * 1024;

/// The coding of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestCoding {
    /// `gzip` (RFC 1952)
    Gzip,
    /// `zstd` (RFC 8878)
    Zstd,
}

/// The body has a coding that is not decoded, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCoding;

impl RequestCoding {
    /// The coding that the headers name, or `None` for a plain body.
    ///
    /// # Errors
    /// [`UnknownCoding`]
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, UnknownCoding> {
        let mut found = None;
        for name in headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes) {
            let name = name.trim_ascii();
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let coding = match name {
                _ if name.is_empty() || is("identity") => continue,
                _ if is("gzip") || is("x-gzip") => Self::Gzip,
                _ if is("zstd") => Self::Zstd,
                _ => return Err(UnknownCoding),
            };
            if found.replace(coding).is_some() {
                return Err(UnknownCoding);
            }
        }
        Ok(found)
    }

    /// The memory that the decoder needs for the first `plain_bytes` bytes, beside the plain text.
    pub fn decoder_bytes(self, plain_bytes: usize) -> usize {
        let window = match self {
            Self::Gzip => 0,
            // The decoder doubles its buffer while the window fills.
            Self::Zstd => plain_bytes.min(ZSTD_WINDOW_BYTES_MAX).saturating_mul(2),
        };
        DECODER_BYTES + window
    }
}

/// Why a compressed body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestCodingError {
    /// The bytes do not have the coding that the header names, or are not complete.
    #[error("content-encoding: the body is damaged, or is not compressed as this header says.")]
    Damaged,
    /// The plain text is too many times as long.
    #[error("content-encoding: the body becomes too long. Send it uncompressed.")]
    TooLong,
}

/// Decodes one body.
pub struct RequestDecoder {
    source: Box<dyn Read + Send>,
    plain_bytes: usize,
    plain_bytes_max: usize,
}

impl RequestDecoder {
    /// A decoder for the whole compressed `body`.
    ///
    /// # Errors
    /// The body does not begin as its coding does.
    pub fn new(coding: RequestCoding, body: Bytes) -> Result<Self, RequestCodingError> {
        let plain_bytes_max = body.len().saturating_mul(RATIO_MAX).max(PLAIN_BYTES_MIN);
        let reader = body.reader();
        let source: Box<dyn Read + Send> = match coding {
            RequestCoding::Gzip => Box::new(MultiGzDecoder::new(reader)),
            RequestCoding::Zstd => {
                let max = ZSTD_WINDOW_BYTES_MAX as u64;
                let decoder = StreamingDecoder::new_with_max_window_size(reader, max);
                Box::new(decoder.map_err(|_| RequestCodingError::Damaged)?)
            }
        };
        Ok(Self { source, plain_bytes: 0, plain_bytes_max })
    }

    /// Fills `piece` with the next bytes and returns how many there are. None are left if it
    /// returns 0.
    ///
    /// # Errors
    /// [`RequestCodingError`]
    pub fn read_piece(&mut self, piece: &mut [u8]) -> Result<usize, RequestCodingError> {
        let count = self.source.read(piece).map_err(|_| RequestCodingError::Damaged)?;
        self.plain_bytes = self.plain_bytes.saturating_add(count);
        if self.plain_bytes > self.plain_bytes_max {
            return Err(RequestCodingError::TooLong);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write as _;

    fn encode(coding: RequestCoding, plain: &[u8]) -> Vec<u8> {
        match coding {
            RequestCoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            RequestCoding::Zstd => compress_to_vec(plain, CompressionLevel::Fastest),
        }
    }

    fn decode(coding: RequestCoding, body: &[u8]) -> Result<Vec<u8>, RequestCodingError> {
        let mut decoder = RequestDecoder::new(coding, Bytes::copy_from_slice(body))?;
        let (mut plain, mut piece) = (Vec::new(), [0; 100]);
        loop {
            match decoder.read_piece(&mut piece)? {
                0 => return Ok(plain),
                count => plain.extend_from_slice(&piece[..count]),
            }
        }
    }

    const CODED: [RequestCoding; 2] = [RequestCoding::Gzip, RequestCoding::Zstd];

    #[test]
    fn coding_follows_from_the_headers() {
        let check = |values: &[&'static str], expect| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(RequestCoding::from_headers(&headers), expect, "{values:?}");
        };
        check(&[], Ok(None));
        check(&["identity", ""], Ok(None));
        check(&["GZIP"], Ok(Some(RequestCoding::Gzip)));
        check(&[" zstd "], Ok(Some(RequestCoding::Zstd)));
        check(&["br"], Err(UnknownCoding));
        check(&["gzip, zstd"], Err(UnknownCoding));
        check(&["gzip", "gzip"], Err(UnknownCoding));
    }

    #[test]
    fn damaged_bodies_are_refused() {
        for coding in CODED {
            let whole = encode(coding, &[b'{'; 5_000]);
            assert_eq!(decode(coding, b"{}"), Err(RequestCodingError::Damaged), "{coding:?}");
            let half = &whole[..whole.len() / 2];
            assert_eq!(decode(coding, half), Err(RequestCodingError::Damaged), "{coding:?}");
        }
    }

    #[test]
    fn growth_is_bounded() {
        for coding in CODED {
            let bomb = encode(coding, &vec![b'0'; 40_000_000]);
            assert_eq!(decode(coding, &bomb), Err(RequestCodingError::TooLong), "{coding:?}");
        }
        // A frame that declares a window of 128 MiB.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00];
        assert_eq!(decode(RequestCoding::Zstd, &window), Err(RequestCodingError::Damaged));
    }

    proptest! {
        #[test]
        fn bodies_survive_a_round_trip(plain in prop::collection::vec(any::<u8>(), 0..3_000)) {
            for coding in CODED {
                prop_assert_eq!(decode(coding, &encode(coding, &plain)).unwrap(), plain.as_slice());
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            for coding in CODED {
                drop(decode(coding, &body));
            }
            let framed = [&[0x28, 0xb5, 0x2f, 0xfd][..], &body].concat();
            drop(decode(RequestCoding::Zstd, &framed));
        }
    }
}
