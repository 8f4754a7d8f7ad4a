//! Decodes compressed request bodies within the bounds of time and memory.

use crate::body_workers::{BodyWorkers, COPY_MEMORY_FACTOR, JobSize, LONG_BYTES};
use crate::client_response::RelayError;
use crate::memory_budget::MemoryPermit;
use baton_domain::id::KeyId;
use baton_protocol::request_coding::{DecodedPiece, RequestCoding, RequestDecoder};
use bytes::Bytes;
use tokio::task::yield_now;

/// The plain text that is decoded at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The steps of a short body that are done without the workers. A step decodes at most one piece of
/// gzip or one block of zstd.
const SHORT_STEPS: usize = 64;

/// A body that is being decoded into one buffer. The permit covers the buffer, the compressed body
/// and the decoder.
pub(crate) struct BodyDecoding {
    decoder: RequestDecoder,
    compressed_bytes: usize,
    plain: Vec<u8>,
    piece: Vec<u8>,
    permit: MemoryPermit,
    bytes_max: usize,
}

impl BodyDecoding {
    /// Begins to decode a body whose bytes `permit` covers. Its plain text is bounded by
    /// `bytes_max`.
    pub(crate) fn new(
        coding: RequestCoding,
        body: Bytes,
        permit: MemoryPermit,
        bytes_max: usize,
    ) -> Self {
        Self {
            compressed_bytes: body.len(),
            decoder: RequestDecoder::new(coding, body),
            plain: Vec::new(),
            piece: vec![0; PIECE_BYTES],
            permit,
            bytes_max,
        }
    }

    /// Decodes the body. A body that is short, compressed and plain, does not wait for the workers:
    /// after each step of it, other requests get a turn.
    ///
    /// # Errors
    /// The body is damaged or too long, or the key or the process holds too many bytes.
    pub(crate) async fn finish(
        mut self,
        workers: &BodyWorkers,
        key: &KeyId,
    ) -> Result<(Bytes, MemoryPermit), RelayError> {
        if self.compressed_bytes < LONG_BYTES {
            for _ in 0..SHORT_STEPS {
                if self.plain.len() >= LONG_BYTES {
                    break;
                }
                if self.decode_piece()? {
                    return Ok(self.into_plain());
                }
                yield_now().await;
            }
        }
        let size = JobSize::new(self.compressed_bytes.max(LONG_BYTES), COPY_MEMORY_FACTOR);
        workers.run(key, size, move || self.finish_at_once()).await?
    }

    fn finish_at_once(mut self) -> Result<(Bytes, MemoryPermit), RelayError> {
        while !self.decode_piece()? {}
        Ok(self.into_plain())
    }

    /// Does the next step. Returns whether the plain text is complete.
    fn decode_piece(&mut self) -> Result<bool, RelayError> {
        let held_bytes = self.compressed_bytes + self.decoder.held_bytes() + PIECE_BYTES;
        self.permit.grow_up_to(held_bytes + self.plain.capacity())?;
        let DecodedPiece::Bytes(count) = self.decoder.read_piece(&mut self.piece)? else {
            return Ok(true);
        };
        let read = self.piece.get(..count).unwrap_or_default();
        let length = self.plain.len() + count;
        if length > self.bytes_max {
            return Err(RelayError::too_large(self.bytes_max));
        }
        if length > self.plain.capacity() {
            // While the buffer is copied to a larger one, the permit covers both.
            let capacity = (self.plain.capacity() * 2).clamp(length, self.bytes_max);
            self.permit.grow_up_to(held_bytes + self.plain.capacity() + capacity)?;
            self.plain.reserve_exact(capacity - self.plain.len());
        }
        self.plain.extend_from_slice(read);
        Ok(false)
    }

    fn into_plain(self) -> (Bytes, MemoryPermit) {
        let Self { plain, mut permit, .. } = self;
        permit.shrink(plain.capacity());
        (plain.into(), permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_budget::{MemoryBudget, MemoryLimits, MemoryRequest};
    use baton_protocol::request_coding::ZSTD_WINDOW_BYTES_MAX;
    use futures_util::FutureExt as _;
    use std::io::Write as _;
    use std::sync::{Arc, mpsc};

    const MB: usize = 1 << 20;

    fn allowance(bytes: usize) -> MemoryPermit {
        let limits = MemoryLimits::new(bytes.saturating_mul(2), bytes);
        let memory_request = MemoryRequest::unmetered(0);
        let budget = MemoryBudget::new(limits);
        budget.try_acquire_bytes(&KeyId::from_bits(1), memory_request).unwrap()
    }

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    fn json(numbers: u32) -> Vec<u8> {
        (0..numbers).flat_map(|n| format!("{n},").into_bytes()).collect()
    }

    fn decode(
        coding: RequestCoding,
        body: Bytes,
        permitted: usize,
        bytes_max: usize,
    ) -> Result<Bytes, String> {
        let decoding = BodyDecoding::new(coding, body, allowance(permitted), bytes_max);
        let decoded = decoding.finish_at_once();
        decoded.map(|(plain, _)| plain).map_err(|error| error.summary())
    }

    #[test]
    fn compressed_body_is_decoded_within_the_bounds() {
        let json = json(60_000);
        let gzip = |bytes_max| decode(RequestCoding::Gzip, gzip(&json), 4 * MB, bytes_max);
        assert_eq!(gzip(MB).unwrap(), json);
        assert_eq!(gzip(json.len()).unwrap(), json);
        assert_eq!(gzip(json.len() - 1).unwrap_err(), "413 request_too_large final");
        let damaged = decode(RequestCoding::Zstd, "{}".into(), 4 * MB, MB);
        assert_eq!(damaged.unwrap_err(), "400 invalid_request_error final");
    }

    /// A frame with a window of 8 MiB whose blocks are spaces.
    fn zstd_spaces(blocks: usize) -> Bytes {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
        for block in 1..=blocks {
            let header = 131_072_u32 << 3 | 1 << 1 | u32::from(block == blocks);
            frame.extend_from_slice(&header.to_le_bytes()[..3]);
            frame.push(b' ');
        }
        // Skippable frames, so that the ratio is permitted.
        frame.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 4, 0]);
        frame.resize(frame.len() + (4 << 16), 0);
        frame.into()
    }

    #[test]
    fn longest_body_of_the_largest_window_passes_alone() {
        let body = zstd_spaces(31 * 8);
        assert_eq!(ZSTD_WINDOW_BYTES_MAX, 8 * MB);
        let decoded = decode(RequestCoding::Zstd, body.clone(), 64 * MB, 32 * MB);
        assert_eq!(decoded.unwrap().len(), 31 * MB);
        let refused = decode(RequestCoding::Zstd, body, 64 * MB, 30 * MB);
        assert_eq!(refused.unwrap_err(), "413 request_too_large final");
    }

    #[test]
    fn memory_of_other_requests_counts() {
        let limits = MemoryLimits::new(8 * MB, 4 * MB);
        let (budget, key) = (MemoryBudget::new(limits), KeyId::from_bits(1));
        let acquire = |bytes| {
            let memory_request = MemoryRequest::unmetered(bytes);
            budget.try_acquire_bytes(&key, memory_request).unwrap()
        };
        let _other = acquire(7 * MB / 2);
        let decoding = BodyDecoding::new(RequestCoding::Gzip, gzip(&json(60_000)), acquire(1), MB);
        let refused = decoding.finish_at_once().err().map(|error| error.summary());
        assert!(refused.unwrap().starts_with("429"), "the key holds too much");
    }

    #[tokio::test]
    async fn short_bodies_do_not_wait_for_the_workers() {
        let workers = Arc::new(BodyWorkers::with_cores(1));
        let ((begun, has_begun), (go, wait)) = (mpsc::channel(), mpsc::channel::<()>());
        let other = Arc::clone(&workers);
        let job = tokio::spawn(async move {
            let work = move || {
                begun.send(()).unwrap();
                wait.recv().unwrap();
            };
            assert!(
                other
                    .run(&KeyId::from_bits(2), JobSize::new(LONG_BYTES, COPY_MEMORY_FACTOR), work)
                    .await
                    .is_ok()
            );
        });
        while has_begun.try_recv().is_err() {
            yield_now().await;
        }
        let finish = async |plain: &[u8]| {
            let (body, permit) = (gzip(plain), allowance(8 * MB));
            let decoding = BodyDecoding::new(RequestCoding::Gzip, body, permit, 8 * MB);
            decoding.finish(&workers, &KeyId::from_bits(1)).await.map(|(plain, _)| plain.len())
        };
        let short = json(20_000);
        assert_eq!(finish(&short).await.ok(), Some(short.len()));
        let long = json(300_000);
        let mut waiting = Box::pin(finish(&long));
        for _ in 0..200 {
            assert!((&mut waiting).now_or_never().is_none(), "a long body waits");
        }
        go.send(()).unwrap();
        assert_eq!(waiting.await.ok(), Some(long.len()));
        job.await.unwrap();
    }
}
