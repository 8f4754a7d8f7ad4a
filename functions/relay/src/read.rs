//! What is asked: the request's body, kept as received, and the few fields of it that matter.

use crate::reply::Refusal;
use crate::{Asked, Means};
use baton_wire::bedrock::Action;
use baton_wire::envelope::Envelope;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt as _;
use std::pin::Pin;

/// Longer names are nobody's model, and would not fit a sort key.
const MODEL_BYTES_MAX: usize = 200;

impl Means {
    /// Reads the body whole. One that is too large is read on and thrown away for a while, since
    /// a client that is still sending would see a broken connection, not the reason.
    pub(crate) async fn read<B>(
        &self,
        asked: &Asked,
        mut body: Pin<&mut B>,
    ) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        let announced = announced(asked).unwrap_or_default();
        if announced > self.body_bytes_max {
            discard(body, self.body_bytes_max.saturating_mul(2)).await;
            return Err(Refusal::too_large(self.body_bytes_max));
        }
        let mut whole = BytesMut::with_capacity(announced);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::broken_body(&error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > self.body_bytes_max {
                discard(body, self.body_bytes_max).await;
                return Err(Refusal::too_large(self.body_bytes_max));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
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
    if envelope.model.len() > MODEL_BYTES_MAX {
        return Err(Refusal::bad_request("`model` is too long to be the name of a model"));
    }
    Ok(envelope)
}
