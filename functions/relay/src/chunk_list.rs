//! Chunks of an answer that arrived together. HTTP sees one chunk, but the bytes are not copied.

use bytes::{Buf, Bytes, BytesMut};
use std::vec;

/// Bytes for the client in several parts.
pub struct ChunkList {
    /// The next part. It is empty only at the end.
    current: Bytes,
    rest: vec::IntoIter<Bytes>,
    remaining: usize,
}

impl ChunkList {
    /// Takes all `chunks`, or returns `None` if they are empty. A single chunk causes no
    /// allocation.
    pub(crate) fn take_from(chunks: &mut Vec<Bytes>) -> Option<Self> {
        chunks.retain(|chunk| !chunk.is_empty());
        let rest = if let [_, _, ..] = chunks[..] {
            let next = Vec::with_capacity(chunks.len());
            std::mem::replace(chunks, next)
        } else {
            return chunks.pop().map(Self::from);
        };
        let remaining = rest.iter().map(Bytes::len).sum();
        let mut rest = rest.into_iter();
        rest.next().map(|front| Self { current: front, rest, remaining })
    }
}

impl From<Bytes> for ChunkList {
    fn from(current: Bytes) -> Self {
        let (rest, remaining) = (Vec::new().into_iter(), current.len());
        Self { current, rest, remaining }
    }
}

/// Joins the parts. Only several parts are copied.
impl From<ChunkList> for Bytes {
    fn from(mut chunk_list: ChunkList) -> Self {
        chunk_list.copy_to_bytes(chunk_list.remaining)
    }
}

impl Buf for ChunkList {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        &self.current
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining = self.remaining.saturating_sub(count);
        while count >= self.current.len() {
            count -= self.current.len();
            self.current = match self.rest.next() {
                Some(next) => next,
                None => return self.current.clear(),
            };
        }
        self.current.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        if count <= self.current.len() {
            let part = self.current.slice(..count);
            self.advance(count);
            return part;
        }
        let mut buffer = BytesMut::with_capacity(count);
        bytes::BufMut::put(&mut buffer, self.take(count));
        buffer.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(pieces: &[&'static str]) -> Option<ChunkList> {
        ChunkList::take_from(
            &mut pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect(),
        )
    }

    #[test]
    fn chunks_are_read_in_order_for_any_step() {
        for step in 1..=9 {
            let mut chunks = burst(&["ab", "", "c", "defg", ""]).unwrap();
            let mut read = Vec::new();
            while chunks.has_remaining() {
                let count = step.min(chunks.remaining());
                let before = chunks.remaining();
                assert!(!chunks.chunk().is_empty(), "there is more");
                read.extend_from_slice(&chunks.copy_to_bytes(count));
                assert_eq!(chunks.remaining(), before - count);
            }
            assert_eq!(read, b"abcdefg", "{step}");
            assert!(chunks.chunk().is_empty());
        }
    }

    #[test]
    fn empty_chunks_make_no_list() {
        assert!(burst(&[]).is_none());
        assert!(burst(&["", ""]).is_none());
    }

    /// Takes a hundred lists of one chunk. Returns the number of allocations.
    fn take_single_chunks() -> u64 {
        let chunk = Bytes::from_static(b"data: {}\n\n");
        let mut pieces = Vec::with_capacity(1);
        let info = allocation_counter::measure(|| {
            for _ in 0..100 {
                pieces.push(chunk.clone());
                let whole = ChunkList::take_from(&mut pieces).map(Bytes::from).unwrap_or_default();
                assert_eq!(whole.as_ptr(), chunk.as_ptr());
            }
        });
        info.count_total
    }

    #[test]
    fn single_chunk_is_not_copied() {
        take_single_chunks();
    }

    #[test]
    #[ignore = "it fixes a number of allocations, which a dependency may change"]
    fn single_chunk_needs_no_allocation() {
        assert_eq!(take_single_chunks(), 0);
    }
}
