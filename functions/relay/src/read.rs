//! What is asked: the request's body, kept as received, and the few fields of it that matter.

use crate::reply::Refusal;
use crate::{Asked, Means};
use baton_wire::bedrock::Action;
use baton_wire::envelope::Envelope;
use baton_wire::model_path::{ID_BYTES_MAX, is_odd};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt as _;
use std::pin::Pin;

impl Means {
    /// Reads the body whole. One that is too large is read on and thrown away for a while, since
    /// a client that is still sending would see a broken connection, not the reason.
    pub(crate) async fn read<B>(&self, asked: &Asked, body: Pin<&mut B>) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        let announced = announced(asked).unwrap_or_default();
        if announced > self.body_bytes_max {
            discard(body, self.body_bytes_max.saturating_mul(2)).await;
            return Err(Refusal::too_large(self.body_bytes_max));
        }
        whole(body, announced, self.body_bytes_max).await
    }
}

/// The body in one piece, in memory that is asked for once where its length was announced.
async fn whole<B>(
    mut body: Pin<&mut B>,
    announced: usize,
    bytes_max: usize,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display + Send,
{
    let mut whole = BytesMut::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::broken_body(&error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            discard(body, bytes_max).await;
            return Err(Refusal::too_large(bytes_max));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn announced(asked: &Asked) -> Option<usize> {
    asked.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads up to `bytes_max` of the body into nowhere.
pub(crate) async fn discard<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, bytes_max: usize) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > bytes_max {
            return;
        }
    }
}

/// The fields that the relay needs.
pub(crate) fn envelope<'a>(asked: &'a Asked, body: &'a [u8]) -> Result<Envelope<'a>, Refusal> {
    let envelope = match &asked.bedrock {
        None => Envelope::read(body)?,
        Some((model, action)) => Envelope::beside(body, model, *action == Action::Stream)?,
    };
    if envelope.model.len() > ID_BYTES_MAX {
        return Err(Refusal::bad_request("`model` is too long to be the name of a model"));
    }
    if envelope.model.contains(is_odd) {
        return Err(Refusal::bad_request(
            "`model` has a character that no model's name has: a control character, or one that \
             looks like another",
        ));
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::pin::pin;

    const PIECE: &[u8] = &[b'x'; 10_000];
    const PIECES: usize = 500;

    /// The most memory that was taken while a body of 5 MB was read, and how often.
    fn taken(announced: usize) -> (usize, u64) {
        let mut read = None;
        let info = allocation_counter::measure(|| {
            let piece = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(PIECE)));
            let body = pin!(StreamBody::new(futures_util::stream::iter((0..PIECES).map(piece))));
            read = whole(body, announced, usize::MAX).now_or_never();
        });
        let Some(Ok(read)) = read else { panic!("a good body, at once") };
        assert_eq!(read.len(), PIECES * PIECE.len());
        (usize::try_from(info.bytes_max).unwrap(), info.count_total)
    }

    #[test]
    fn a_body_of_known_length_is_held_once() {
        let (most, times) = taken(PIECES * PIECE.len());
        assert!(most < PIECES * PIECE.len() + 200, "{most} bytes");
        assert!(times <= 2, "the bytes, and what shares them: {times}");
        assert!(taken(0).0 > most, "the counter counts");
    }
}
