//! Chunks of an answer that arrived together. HTTP sees one chunk, but the bytes are not copied.

use bytes::{Buf, Bytes, BytesMut};
use std::vec;

/// Bytes for the client in several parts.
pub struct ChunkList {
    /// The next part. It is empty only at the end.
    front: Bytes,
    rest: vec::IntoIter<Bytes>,
    remaining: usize,
}

impl ChunkList {
    /// Takes all `pieces`, or returns `None` if they are empty. A single piece causes no
    /// allocation.
    pub(crate) fn take_from(pieces: &mut Vec<Bytes>) -> Option<Self> {
        pieces.retain(|piece| !piece.is_empty());
        let rest = if let [_, _, ..] = pieces[..] {
            let next = Vec::with_capacity(pieces.len());
            std::mem::replace(pieces, next)
        } else {
            return pieces.pop().map(Self::from);
        };
        let remaining = rest.iter().map(Bytes::len).sum();
        let mut rest = rest.into_iter();
        rest.next().map(|front| Self { front, rest, remaining })
    }
}

impl From<Bytes> for ChunkList {
    fn from(front: Bytes) -> Self {
        let (rest, remaining) = (Vec::new().into_iter(), front.len());
        Self { front, rest, remaining }
    }
}

/// Joins the parts. Only several parts are copied.
impl From<ChunkList> for Bytes {
    fn from(mut burst: ChunkList) -> Self {
        burst.copy_to_bytes(burst.remaining)
    }
}

impl Buf for ChunkList {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        &self.front
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining = self.remaining.saturating_sub(count);
        while count >= self.front.len() {
            count -= self.front.len();
            self.front = match self.rest.next() {
                Some(next) => next,
                None => return self.front.clear(),
            };
        }
        self.front.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        if count == self.front.len() {
            let whole = self.front.clone();
            self.advance(count);
            return whole;
        }
        let mut whole = BytesMut::with_capacity(count);
        bytes::BufMut::put(&mut whole, self.take(count));
        whole.freeze()
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
            let mut burst = burst(&["ab", "", "c", "defg", ""]).unwrap();
            let mut read = Vec::new();
            while burst.has_remaining() {
                let count = step.min(burst.remaining());
                let before = burst.remaining();
                assert!(!burst.chunk().is_empty(), "there is more");
                read.extend_from_slice(&burst.copy_to_bytes(count));
                assert_eq!(burst.remaining(), before - count);
            }
            assert_eq!(read, b"abcdefg", "{step}");
            assert!(burst.chunk().is_empty());
        }
    }

    #[test]
    fn empty_chunks_make_no_list() {
        assert!(burst(&[]).is_none());
        assert!(burst(&["", ""]).is_none());
    }

    #[test]
    fn single_chunk_is_not_copied() {
        let piece = Bytes::from_static(b"data: {}\n\n");
        let mut pieces = Vec::with_capacity(1);
        let info = allocation_counter::measure(|| {
            for _ in 0..100 {
                pieces.push(piece.clone());
                let whole = ChunkList::take_from(&mut pieces).map(Bytes::from).unwrap_or_default();
                assert_eq!(whole.as_ptr(), piece.as_ptr());
            }
        });
        assert_eq!(info.count_total, 0);
    }
}
