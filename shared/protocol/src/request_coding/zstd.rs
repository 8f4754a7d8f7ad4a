//! Reads the frames of a zstd body (RFC 8878, section 3.1), one block at a time.

use super::{RequestCodingError, ZSTD_WINDOW_BYTES_MAX};
use bytes::{Buf as _, Bytes};
use ruzstd::decoding::errors::{FrameDecoderError, FrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::Read as _;

/// The most plain text of one block.
const BLOCK_BYTES_MAX: usize = 128 * 1024;

/// The bytes before the descriptor of a frame, or before the length of a skippable one.
const MAGIC_BYTES: usize = 4;

/// The frames of a body, which follow each other until its end.
pub(super) struct ZstdFrames {
    rest: Bytes,
    frame: Option<ZstdFrame>,
    frame_count: usize,
}

/// A frame that has begun. A new decoder for each frame uses less memory: one that is used again
/// allocates the whole window at once.
struct ZstdFrame {
    decoder: FrameDecoder,
    /// The length of the plain text that the header declares.
    declared_bytes: Option<u64>,
    plain_bytes: u64,
}

impl ZstdFrames {
    pub(super) fn new(body: Bytes) -> Self {
        Self { rest: body, frame: None, frame_count: 0 }
    }

    /// The frames that have begun, with skippable ones.
    pub(super) fn frame_count(&self) -> usize {
        self.frame_count
    }

    /// The memory of the window after the next block.
    pub(super) fn window_bytes(&self) -> usize {
        let blocks = self.frame.as_ref().map_or(0, |frame| frame.decoder.blocks_decoded());
        let bytes = blocks.saturating_add(1).saturating_mul(BLOCK_BYTES_MAX);
        // The decoder doubles its buffer while the window fills.
        bytes.min(ZSTD_WINDOW_BYTES_MAX).saturating_mul(2)
    }

    /// Decodes the next block, or returns plain text that has been decoded. Returns `None` at the
    /// end of the body.
    pub(super) fn read_piece(
        &mut self,
        piece: &mut [u8],
    ) -> Result<Option<usize>, RequestCodingError> {
        let Some(frame) = &mut self.frame else {
            if self.rest.is_empty() && self.frame_count > 0 {
                return Ok(None);
            }
            self.begin_frame()?;
            return Ok(Some(0));
        };
        if frame.decoder.can_collect() > 0 {
            let count = frame.decoder.read(piece).map_err(|_| RequestCodingError::Damaged)?;
            frame.plain_bytes = frame.plain_bytes.saturating_add(count as u64);
            return Ok(Some(count));
        }
        if frame.decoder.is_finished() {
            frame.check_end()?;
            self.frame = None;
        } else {
            let source = (&mut self.rest).reader();
            let decoded = frame.decoder.decode_blocks(source, BlockDecodingStrategy::UptoBlocks(1));
            decoded.map_err(|_| RequestCodingError::Damaged)?;
        }
        Ok(Some(0))
    }

    /// Reads the header of the next frame, or skips a skippable one.
    fn begin_frame(&mut self) -> Result<(), RequestCodingError> {
        self.frame_count += 1;
        if matches!(self.rest.get(..MAGIC_BYTES), Some([0x50..=0x5f, 0x2a, 0x4d, 0x18])) {
            return self.skip_frame();
        }
        let descriptor = *self.rest.get(MAGIC_BYTES).ok_or(RequestCodingError::Damaged)?;
        // The reserved bit must be zero (section 3.1.1.1.1.4).
        if descriptor & 0x08 != 0 {
            return Err(RequestCodingError::Damaged);
        }
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX as u64);
        decoder.init((&mut self.rest).reader()).map_err(|error| match error {
            FrameDecoderError::WindowSizeTooBig { .. }
            | FrameDecoderError::FrameHeaderError(FrameHeaderError::WindowTooBig { .. }) => {
                RequestCodingError::LargeWindow
            }
            _ => RequestCodingError::Damaged,
        })?;
        // A single segment always declares its size, and other frames if these bits are set.
        let declares_size = descriptor & 0xe0 != 0;
        let declared_bytes = declares_size.then(|| decoder.content_size());
        self.frame = Some(ZstdFrame { decoder, declared_bytes, plain_bytes: 0 });
        Ok(())
    }

    fn skip_frame(&mut self) -> Result<(), RequestCodingError> {
        self.rest.advance(MAGIC_BYTES);
        let length = self.rest.try_get_u32_le().map_err(|_| RequestCodingError::Damaged)?;
        let length = usize::try_from(length).map_err(|_| RequestCodingError::Damaged)?;
        if length > self.rest.len() {
            return Err(RequestCodingError::Damaged);
        }
        self.rest.advance(length);
        Ok(())
    }
}

impl ZstdFrame {
    /// Checks the plain text against the declared size and the checksum.
    fn check_end(&self) -> Result<(), RequestCodingError> {
        let has_size = self.declared_bytes.is_none_or(|declared| declared == self.plain_bytes);
        let checksum = self.decoder.get_checksum_from_data();
        if has_size && (checksum.is_none() || checksum == self.decoder.get_calculated_checksum()) {
            Ok(())
        } else {
            Err(RequestCodingError::Damaged)
        }
    }
}
