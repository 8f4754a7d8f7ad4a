//! Decodes gzip as it arrives, for the meter and for clients that do not accept gzip.
//!
//! The relay never asks upstreams for other encodings.

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use std::io::Write as _;

/// The most bytes that one push can decode to. More is an attack or an accident.
const STEP_OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most bytes that a whole body can decode to, in any number of members...
const WHOLE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// ...unless it is at most this many times its compressed length. Event streams shrink to between a
/// tenth and a thirtieth.
const RATIO_MAX: u64 = 64;

/// The bytes by which a compressed body can exceed twice its plain text. No real
/// compression makes a body that long.
const EXCESS_BYTES_MAX: u64 = 256 * 1024;

/// The bytes that are decoded at once, so that the bound above is noticed in time. Deflate expands
/// at most about a thousandfold (RFC 1951).
const STEP_BYTES: usize = 4 * 1024;

/// The bytes are not gzip, or decode to too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// The bytes are not gzip, or damaged.
    #[error("the upstream's gzip data is damaged")]
    Damaged,
    /// The body ended in the middle.
    #[error("the upstream's gzip data is not complete")]
    Truncated,
    /// One chunk decodes to more than 16 MiB, or the whole body to too many times its length (or to
    /// almost nothing).
    #[error("the upstream's gzip data is too large after decompression")]
    TooMuch,
}

/// Decodes one gzip body of one or more members.
#[derive(Debug)]
pub struct GzipDecoder {
    decoder: MultiGzDecoder<Vec<u8>>,
    is_empty: bool,
    input_bytes: u64,
    output_bytes: u64,
}

impl Default for GzipDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl GzipDecoder {
    /// A decoder at the start of a body.
    pub fn new() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            is_empty: true,
            input_bytes: 0,
            output_bytes: 0,
        }
    }

    /// Takes the next bytes and returns all plain text that they complete.
    ///
    /// # Errors
    /// The bytes are damaged or decode to too much. The decoder returns nothing more after that.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Bytes, GzipError> {
        self.is_empty &= chunk.is_empty();
        for step in chunk.chunks(STEP_BYTES) {
            self.decoder.write_all(step).map_err(|_| GzipError::Damaged)?;
            self.input_bytes += step.len() as u64;
            let plain = self.decoder.get_ref().len();
            let integer_part = self.output_bytes + plain as u64;
            let whole_max = WHOLE_BYTES_MAX.max(self.input_bytes.saturating_mul(RATIO_MAX));
            // Members without content cost work, too.
            let is_suspicious_ratio =
                self.input_bytes > EXCESS_BYTES_MAX + integer_part.saturating_mul(2);
            if plain > STEP_OUTPUT_BYTES_MAX || integer_part > whole_max || is_suspicious_ratio {
                return Err(GzipError::TooMuch);
            }
        }
        self.decoder.flush().map_err(|_| GzipError::Damaged)?;
        let plain = std::mem::take(self.decoder.get_mut());
        self.output_bytes += plain.len() as u64;
        Ok(plain.into())
    }

    /// Ends the body and returns the rest. An empty body is valid.
    ///
    /// # Errors
    /// The last member is not whole, or its checksum is wrong.
    pub fn finish(mut self) -> Result<Bytes, GzipError> {
        if self.is_empty {
            return Ok(Bytes::new());
        }
        self.decoder.try_finish().map_err(|_| GzipError::Truncated)?;
        Ok(std::mem::take(self.decoder.get_mut()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, GzipError> {
        let mut decoder = GzipDecoder::new();
        let mut plain = Vec::new();
        for chunk in chunks {
            plain.extend_from_slice(&decoder.push(chunk)?);
        }
        plain.extend_from_slice(&decoder.finish()?);
        Ok(plain)
    }

    #[test]
    fn members_split_anywhere_are_decoded() {
        let mut body = gzip(b"event: ping\n\n");
        body.extend(gzip(b""));
        body.extend(gzip("é".repeat(10_000).as_bytes()));
        let plain = format!("event: ping\n\n{}", "é".repeat(10_000)).into_bytes();
        for size in [1, 2, 7, 100, body.len()] {
            assert_eq!(gunzip(body.chunks(size)), Ok(plain.clone()), "by {size}");
        }
        assert_eq!(gunzip([]), Ok(Vec::new()));
    }

    #[test]
    fn flushed_text_is_returned_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut decoder = GzipDecoder::new();
        for event in ["event: a\n\n", "event: b\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let chunk = std::mem::take(encoder.get_mut());
            assert_eq!(decoder.push(&chunk).unwrap(), event);
        }
    }

    #[test]
    fn truncated_or_corrupt_bodies_are_refused() {
        let body = gzip(b"some text that is long enough to be compressed, compressed, compressed");
        for end in 1..body.len() {
            assert_eq!(gunzip([&body[..end]]), Err(GzipError::Truncated), "{end}");
        }
        assert!(gunzip([b"plain text".as_slice()]).is_err());
        let mut wrong = body.clone();
        let last = wrong.len() - 5;
        wrong[last] ^= 1;
        assert!(gunzip([wrong.as_slice()]).is_err());
        let mut trailed = body;
        trailed.extend_from_slice(b"junk after the last member");
        assert!(gunzip([trailed.as_slice()]).is_err());
    }

    #[test]
    fn decompression_bomb_is_refused() {
        let bomb = gzip(&vec![0; STEP_OUTPUT_BYTES_MAX + 10_000_000]);
        assert_eq!(gunzip([bomb.as_slice()]), Err(GzipError::TooMuch));
    }

    #[test]
    fn decompression_bomb_of_many_members_is_refused() {
        let member = gzip(&vec![0; 4_000_000]);
        let members = std::iter::repeat_n(member.as_slice(), 1000);
        let mut decoder = GzipDecoder::new();
        let mut plain = 0;
        let mut ended = Ok(());
        for member in members {
            match decoder.push(member) {
                Ok(bytes) => plain += bytes.len(),
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        assert_eq!(ended, Err(GzipError::TooMuch));
        assert!(plain <= 64 * 1024 * 1024, "{plain}");
    }

    #[test]
    fn many_empty_members_are_refused() {
        let members = gzip(b"").repeat(20_000);
        assert_eq!(gunzip([members.as_slice()]), Err(GzipError::TooMuch));
        let few = gzip(b"").repeat(1_000);
        assert_eq!(gunzip([few.as_slice()]), Ok(Vec::new()));
    }

    #[test]
    fn long_incompressible_stream_is_accepted() {
        // All of its words differ.
        let mut decoder = GzipDecoder::new();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut number = 1_u64;
        for _ in 0..20 {
            let mut plain = Vec::new();
            while plain.len() < 5_000_000 {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                plain
                    .extend_from_slice(format!("data: {{\"word\":\"{number:x}\"}}\n\n").as_bytes());
            }
            encoder.write_all(&plain).unwrap();
            for chunk in std::mem::take(encoder.get_mut()).chunks(16 * 1024) {
                decoder.push(chunk).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn gzip_survives_a_round_trip(plain: Vec<u8>, size in 1_usize..50) {
            prop_assert_eq!(gunzip(gzip(&plain).chunks(size)), Ok(plain));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = gunzip([bytes.as_slice()]);
        }
    }
}
