//! Decodes gzip as it arrives, for the meter and for clients that do not accept gzip.
//!
//! The relay never asks upstreams for other encodings.

use bytes::{Buf as _, Bytes};
use flate2::write::GzDecoder;
use std::io::Write as _;

/// The plain bytes after which a step ends. The caller gives other tasks a turn between two steps.
pub const STEP_PLAIN_BYTES: usize = 16 * 1024;

/// The compressed bytes after which a step ends. Members without content cost work too.
const STEP_INPUT_BYTES: usize = 16 * 1024;

/// The compressed bytes that are decoded at once. They bound by how much a step exceeds
/// [`STEP_PLAIN_BYTES`]: Deflate expands at most about a thousandfold (RFC 1951).
const PIECE_BYTES: usize = 16;

/// The most bytes that one chunk of the upstream can decode to. More is an attack or an accident.
const CHUNK_PLAIN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The most bytes that a whole body can decode to, in any number of members...
const WHOLE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// ...unless it is at most this many times its compressed length. Event streams shrink to between a
/// tenth and a thirtieth.
const RATIO_MAX: u64 = 64;

/// The bytes by which a compressed body can exceed twice its plain text. No real
/// compression makes a body that long.
const EXCESS_BYTES_MAX: u64 = 256 * 1024;

/// The first bytes of a member (RFC 1952, section 2.3.1).
const MAGIC: [u8; 2] = [0x1f, 0x8b];

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

/// Decodes one gzip body of one or more members. Bytes after the last member that do not begin
/// another one are ignored, as `gzip` does.
#[derive(Debug)]
pub struct GzipDecoder {
    decoder: GzDecoder<Vec<u8>>,
    position: GzipPosition,
    /// Why nothing more is decoded. What was decoded before is returned first.
    fault: Option<GzipError>,
    input_bytes: u64,
    output_bytes: u64,
    /// The length of the output before the current chunk.
    output_before_chunk: u64,
}

/// Where the next byte of a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GzipPosition {
    Start,
    InMember,
    /// After a complete member and this number of bytes of [`MAGIC`].
    AfterMember(usize),
    /// After the last member.
    Trailer,
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
            decoder: GzDecoder::new(Vec::new()),
            position: GzipPosition::Start,
            fault: None,
            input_bytes: 0,
            output_bytes: 0,
            output_before_chunk: 0,
        }
    }

    /// Decodes bytes from the front of `input`, a chunk of the upstream, until none are left or
    /// enough plain text has been decoded for one step. Returns the plain text, which is at most
    /// about four times [`STEP_PLAIN_BYTES`] long.
    ///
    /// # Errors
    /// The bytes are damaged or decode to too much. What was decoded before is returned by an
    /// earlier call, after which [`Self::has_failed`] is true.
    pub fn decode_step(&mut self, input: &mut Bytes) -> Result<Bytes, GzipError> {
        let mut room = STEP_INPUT_BYTES;
        while self.fault.is_none()
            && !input.is_empty()
            && room > 0
            && self.decoder.get_ref().len() < STEP_PLAIN_BYTES
        {
            let piece = &input[..input.len().min(PIECE_BYTES)];
            match self.decode_piece(piece) {
                Ok(count) => {
                    input.advance(count);
                    room = room.saturating_sub(count.max(1));
                }
                Err(fault) => self.fault = Some(fault),
            }
        }
        let flushed = self.decoder.flush();
        let plain = std::mem::take(self.decoder.get_mut());
        self.output_bytes += plain.len() as u64;
        if self.fault.is_none() {
            self.fault = match flushed {
                Err(_) => Some(GzipError::Damaged),
                Ok(()) => self.check_size().err(),
            };
        }
        if input.is_empty() {
            self.output_before_chunk = self.output_bytes;
        }
        match self.fault {
            Some(fault) if plain.is_empty() => Err(fault),
            _ => Ok(plain.into()),
        }
    }

    /// Whether nothing more can be decoded.
    pub fn has_failed(&self) -> bool {
        self.fault.is_some()
    }

    /// Takes a short piece and returns how many of its bytes have been decoded.
    fn decode_piece(&mut self, piece: &[u8]) -> Result<usize, GzipError> {
        let piece = match (self.position, piece) {
            (GzipPosition::Trailer, _) => return Ok(piece.len()),
            (GzipPosition::AfterMember(index), [first, ..]) => {
                if MAGIC.get(index) != Some(first) {
                    self.position = GzipPosition::Trailer;
                    return Ok(piece.len());
                }
                let is_member = index + 1 == MAGIC.len();
                self.position = if is_member {
                    GzipPosition::InMember
                } else {
                    GzipPosition::AfterMember(index + 1)
                };
                &piece[..1]
            }
            (GzipPosition::Start | GzipPosition::InMember | GzipPosition::AfterMember(_), _) => {
                self.position = GzipPosition::InMember;
                piece
            }
        };
        let count = self.decoder.write(piece).map_err(|_| GzipError::Damaged)?;
        if count == 0 {
            // The member is complete, because the decoder takes no more bytes.
            self.decoder.try_finish().map_err(|_| GzipError::Damaged)?;
            self.decoder = GzDecoder::new(std::mem::take(self.decoder.get_mut()));
            self.position = GzipPosition::AfterMember(0);
        }
        self.input_bytes += count as u64;
        self.check_size()?;
        Ok(count)
    }

    fn check_size(&self) -> Result<(), GzipError> {
        let plain = self.output_bytes + self.decoder.get_ref().len() as u64;
        let whole_max = WHOLE_BYTES_MAX.max(self.input_bytes.saturating_mul(RATIO_MAX));
        // Members without content cost work, too.
        let is_sparse = self.input_bytes > EXCESS_BYTES_MAX + plain.saturating_mul(2);
        let is_bomb = plain > whole_max || plain - self.output_before_chunk > CHUNK_PLAIN_BYTES_MAX;
        if is_bomb || is_sparse { Err(GzipError::TooMuch) } else { Ok(()) }
    }

    /// Ends the body and returns the rest. An empty body is valid.
    ///
    /// # Errors
    /// The last member is not whole, or its checksum is wrong.
    pub fn finish(mut self) -> Result<Bytes, GzipError> {
        match (self.fault, self.position) {
            (Some(fault), _) => Err(fault),
            (None, GzipPosition::InMember) => {
                self.decoder.try_finish().map_err(|_| GzipError::Truncated)?;
                Ok(std::mem::take(self.decoder.get_mut()).into())
            }
            (None, GzipPosition::Start | GzipPosition::AfterMember(_) | GzipPosition::Trailer) => {
                Ok(Bytes::new())
            }
        }
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
            decode(&mut decoder, chunk, &mut plain)?;
        }
        plain.extend_from_slice(&decoder.finish()?);
        Ok(plain)
    }

    /// Decodes `chunk` in steps, none of which is long.
    fn decode(
        decoder: &mut GzipDecoder,
        chunk: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), GzipError> {
        let mut input = Bytes::copy_from_slice(chunk);
        while !input.is_empty() || decoder.has_failed() {
            let step = decoder.decode_step(&mut input)?;
            assert!(step.len() <= 4 * STEP_PLAIN_BYTES, "{}", step.len());
            plain.extend_from_slice(&step);
        }
        Ok(())
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
            let mut chunk = Bytes::from(std::mem::take(encoder.get_mut()));
            assert_eq!(decoder.decode_step(&mut chunk).unwrap(), event);
            assert!(chunk.is_empty());
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
        let mut second = body.clone();
        second.extend_from_slice(&MAGIC);
        second.extend_from_slice(b"a damaged member");
        assert_eq!(gunzip([second.as_slice()]), Err(GzipError::Damaged));
    }

    /// `gzip` ignores such bytes, too.
    #[test]
    fn bytes_after_the_last_member_are_ignored() {
        for members in [1, 2] {
            let body = gzip(b"event: ping\n\n").repeat(members);
            let plain = b"event: ping\n\n".repeat(members);
            for rest in [b"junk".as_slice(), b"\0\0\0\0", b"\x1f", b"\x1fjunk", &[7; 5000]] {
                let whole = [&body, rest].concat();
                for size in [1, 3, whole.len()] {
                    let decoded = gunzip(whole.chunks(size));
                    assert_eq!(decoded, Ok(plain.clone()), "{rest:?} by {size}");
                }
            }
        }
    }

    #[test]
    fn text_before_the_damage_is_returned_first() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let (start, rest) = ("data: {\"a\":1}\n\n".repeat(9), [0xff; 200]);
        encoder.write_all(start.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let damaged = [encoder.get_ref(), rest.as_slice()].concat();
        for size in [1, 50, damaged.len()] {
            let (mut decoder, mut plain) = (GzipDecoder::new(), Vec::new());
            let mut ends =
                damaged.chunks(size).map(|chunk| decode(&mut decoder, chunk, &mut plain));
            assert_eq!(ends.find(Result::is_err), Some(Err(GzipError::Damaged)), "by {size}");
            assert!(plain.starts_with(start.as_bytes()), "by {size}");
            assert!(decoder.has_failed());
        }
    }

    #[test]
    fn decompression_bomb_is_refused() {
        let bomb = gzip(&vec![0; 20_000_000]);
        assert_eq!(gunzip([bomb.as_slice()]), Err(GzipError::TooMuch));
    }

    #[test]
    fn decompression_bomb_of_many_members_is_refused() {
        let member = gzip(&vec![0; 4_000_000]);
        let members = std::iter::repeat_n(member.as_slice(), 1000);
        let mut decoder = GzipDecoder::new();
        let mut plain = Vec::new();
        let mut ends = members.map(|member| decode(&mut decoder, member, &mut plain));
        assert_eq!(ends.find(Result::is_err), Some(Err(GzipError::TooMuch)));
        drop(ends);
        assert!(plain.len() <= 65 * 1024 * 1024, "{}", plain.len());
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
        for _ in 0..14 {
            let mut plain = Vec::new();
            while plain.len() < 5_000_000 {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                plain
                    .extend_from_slice(format!("data: {{\"word\":\"{number:x}\"}}\n\n").as_bytes());
            }
            encoder.write_all(&plain).unwrap();
            for chunk in std::mem::take(encoder.get_mut()).chunks(16 * 1024) {
                decode(&mut decoder, chunk, &mut Vec::new()).unwrap();
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
