//! Decodes compressed request bodies (RFC 9110, section 8.4).
//!
//! Codex compresses with zstd when it is signed in with `ChatGPT` (farion1231/cc-switch#3817), and
//! some HTTP clients compress long bodies with gzip. A small body can decode to a very long one, so
//! the caller takes the plain text piece by piece and bounds it.

mod zstd;

use bytes::{Buf as _, Bytes, buf::Reader};
use flate2::bufread::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::io::Read as _;
use zstd::ZstdFrames;

/// The codings that are decoded, for `accept-encoding`.
pub const CODINGS: &str = "gzip, zstd";

/// How many times a body can grow. Repeated JSON shrinks to about a thirtieth.
const RATIO_MAX: usize = 128;

/// The plain length that is always accepted.
const PLAIN_BYTES_MIN: usize = 1024 * 1024;

/// The largest window of a zstd frame, which the decoder allocates. RFC 8878 recommends that
/// decoders support 8 MiB, and encoders need more only at the highest levels.
pub const ZSTD_WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most members of a gzip body, or frames of a zstd body. Each costs time, also an empty one.
const MEMBERS_MAX: usize = 1_024;

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
        let values = headers.get_all(CONTENT_ENCODING).iter();
        for name in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
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
    /// A zstd frame declares a window that is too large.
    #[error(
        "content-encoding: the window of the zstd body is larger than {} MiB. Compress it with a \
         smaller window, or send it uncompressed.",
        ZSTD_WINDOW_BYTES_MAX / (1024 * 1024)
    )]
    LargeWindow,
    /// The body has too many parts.
    #[error(
        "content-encoding: the body has more than {MEMBERS_MAX} members of gzip or frames of zstd. \
         Compress it as a whole."
    )]
    ManyMembers,
}

/// Decodes one body step by step.
pub struct RequestDecoder {
    source: Source,
    /// The members or frames that have begun.
    members: usize,
    plain_bytes: usize,
    plain_bytes_max: usize,
}

enum Source {
    Gzip(Box<GzDecoder<Reader<Bytes>>>),
    Zstd(Box<ZstdFrames>),
    /// The body has ended.
    End,
}

/// What one step of a decoder gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodedPiece {
    /// This many bytes of the plain text, which can be none.
    Bytes(usize),
    /// The plain text is complete.
    End,
}

impl RequestDecoder {
    /// A decoder for the whole compressed `body`.
    pub fn new(coding: RequestCoding, body: Bytes) -> Self {
        let plain_bytes_max = body.len().saturating_mul(RATIO_MAX).max(PLAIN_BYTES_MIN);
        let source = match coding {
            RequestCoding::Gzip => Source::Gzip(Box::new(GzDecoder::new(body.reader()))),
            RequestCoding::Zstd => Source::Zstd(Box::new(ZstdFrames::new(body))),
        };
        Self { source, members: 1, plain_bytes: 0, plain_bytes_max }
    }

    /// The memory that the decoder needs for its next step, beside the plain text.
    pub fn held_bytes(&self) -> usize {
        let window = match &self.source {
            Source::Gzip(_) | Source::End => 0,
            Source::Zstd(frames) => frames.window_bytes(),
        };
        DECODER_BYTES + window
    }

    /// Does a short step of the work, and puts the next bytes of the plain text into `piece`.
    ///
    /// # Errors
    /// [`RequestCodingError`]
    pub fn read_piece(&mut self, piece: &mut [u8]) -> Result<DecodedPiece, RequestCodingError> {
        let count = match &mut self.source {
            Source::Gzip(decoder) => {
                let count = decoder.read(piece).map_err(|_| RequestCodingError::Damaged)?;
                if count == 0 {
                    self.end_gzip_member();
                }
                count
            }
            Source::Zstd(frames) => {
                let count = frames.read_piece(piece)?;
                self.members = frames.frame_count();
                if count.is_none() {
                    self.source = Source::End;
                }
                count.unwrap_or_default()
            }
            Source::End => return Ok(DecodedPiece::End),
        };
        self.plain_bytes = self.plain_bytes.saturating_add(count);
        if self.plain_bytes > self.plain_bytes_max {
            return Err(RequestCodingError::TooLong);
        }
        if self.members > MEMBERS_MAX {
            return Err(RequestCodingError::ManyMembers);
        }
        Ok(DecodedPiece::Bytes(count))
    }

    /// Goes to the next member of a gzip body (RFC 1952, section 2.2).
    fn end_gzip_member(&mut self) {
        let Source::Gzip(decoder) = std::mem::replace(&mut self.source, Source::End) else {
            return;
        };
        let rest = decoder.into_inner().into_inner();
        if !rest.is_empty() {
            self.members += 1;
            self.source = Source::Gzip(Box::new(GzDecoder::new(rest.reader())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;
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
        let mut decoder = RequestDecoder::new(coding, Bytes::copy_from_slice(body));
        let (mut plain, mut piece) = (Vec::new(), [0; 100]);
        loop {
            match decoder.read_piece(&mut piece)? {
                DecodedPiece::End => return Ok(plain),
                DecodedPiece::Bytes(count) => plain.extend_from_slice(&piece[..count]),
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
        check(&["identity, gzip"], Ok(Some(RequestCoding::Gzip)));
        check(&["zstd,identity ,"], Ok(Some(RequestCoding::Zstd)));
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
    }

    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

    /// A frame of one raw block.
    fn zstd_frame(head: &[u8], block: &[u8], checksum: &[u8]) -> Vec<u8> {
        let header = u32::try_from(block.len()).unwrap() << 3 | 1;
        [&MAGIC, head, &header.to_le_bytes()[..3], block, checksum].concat()
    }

    #[test]
    fn members_and_frames_are_joined() {
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat();
        for coding in CODED {
            let (one, two) = (encode(coding, b"{\"a\":"), encode(coding, b"1}"));
            let joined = [&one[..], &two].concat();
            assert_eq!(decode(coding, &joined).unwrap(), b"{\"a\":1}", "{coding:?}");
            for rest in [&b"junk!"[..], b"{", &one[..9]] {
                let body = [&one[..], rest].concat();
                assert_eq!(decode(coding, &body), Err(RequestCodingError::Damaged), "{rest:?}");
            }
            assert_eq!(decode(coding, b""), Err(RequestCodingError::Damaged), "{coding:?}");
            let empty = encode(coding, b"");
            let most = [empty.repeat(MEMBERS_MAX - 1), two.clone()].concat();
            assert_eq!(decode(coding, &most).unwrap(), b"1}", "{coding:?}");
            let more = [empty.repeat(MEMBERS_MAX), two].concat();
            assert_eq!(decode(coding, &more), Err(RequestCodingError::ManyMembers), "{coding:?}");
        }
        let frame = encode(RequestCoding::Zstd, b"{}");
        for parts in [
            [&skippable, &frame, &[][..]],
            [&frame, &skippable, &[]],
            [&skippable, &frame, &skippable],
        ] {
            assert_eq!(decode(RequestCoding::Zstd, &parts.concat()).unwrap(), b"{}");
        }
        let long = [&frame[..], &skippable[..9]].concat();
        assert_eq!(decode(RequestCoding::Zstd, &long), Err(RequestCodingError::Damaged));
    }

    #[test]
    fn declarations_of_a_zstd_frame_are_checked() {
        let check = |head: &[u8], checksum: &[u8], expect: Result<&[u8], RequestCodingError>| {
            let body = zstd_frame(head, b"{}", checksum);
            let decoded = decode(RequestCoding::Zstd, &body);
            assert_eq!(
                decoded.as_deref().map_err(|error| *error),
                expect,
                "{head:x?} {checksum:x?}"
            );
        };
        let damaged = Err(RequestCodingError::Damaged);
        // Without a size, with a window of 8 MiB, and one more step.
        check(&[0x00, 0x68], b"", Ok(b"{}"));
        check(&[0x00, 0x69], b"", Err(RequestCodingError::LargeWindow));
        check(&[0x00, 0x88], b"", Err(RequestCodingError::LargeWindow));
        check(&[0x00, 0xff], b"", Err(RequestCodingError::LargeWindow));
        // The size of a single segment is its window.
        check(&[0x20, 2], b"", Ok(b"{}"));
        check(&[0x20, 1], b"", damaged);
        check(&[0x20, 3], b"", damaged);
        check(&[0xa0, 2, 0, 0, 0x7f], b"", Err(RequestCodingError::LargeWindow));
        check(&[0x80, 0x58, 2, 0, 0, 0], b"", Ok(b"{}"));
        check(&[0x80, 0x58, 0, 0, 0, 0], b"", damaged);
        // The last four bytes of XXH64.
        let right = zstd_checksum(b"{}");
        check(&[0x04, 0x58], &right, Ok(b"{}"));
        check(&[0x04, 0x58], &[right[0] ^ 1, right[1], right[2], right[3]], damaged);
        check(&[0x04, 0x58], &right[..3], damaged);
        // A dictionary, the reserved bit.
        check(&[0x01, 0x58, 7], b"", damaged);
        check(&[0x08, 0x58], b"", damaged);
        let words = RequestCodingError::LargeWindow.to_string();
        assert!(words.contains("larger than 8 MiB"), "{words}");
    }

    /// The checksum that an encoder writes.
    fn zstd_checksum(plain: &[u8]) -> [u8; 4] {
        let frame = encode(RequestCoding::Zstd, plain);
        frame[frame.len() - 4..].try_into().unwrap()
    }

    #[test]
    fn memory_of_a_window_is_known_before_it_is_used() {
        let body = zstd_frame(&[0x00, 0x68], &[b' '; 1000], b"");
        let mut decoder = RequestDecoder::new(RequestCoding::Zstd, body.into());
        let before = decoder.held_bytes();
        for _header_and_block in 0..2 {
            assert_eq!(decoder.read_piece(&mut [0; 10]), Ok(DecodedPiece::Bytes(0)));
        }
        let held = decoder.held_bytes();
        assert!(before < held && held <= 1024 * 1024, "{before} {held}");
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
