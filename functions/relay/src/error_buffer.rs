//! The error buffer: reads the body of an error, and makes the failure of the attempt.

use crate::attempt_error::{AttemptError, IncompleteCause};
use crate::content_coding::ContentCoding;
use crate::memory_budget::MemoryPermit;
use crate::metered_body::{MeteredBody, ResponseReader};
use crate::model_call::ModelCall;
use crate::response_conversion::ResponsePlan;
use crate::response_source::{ResponseSource, SourceEvent};
use baton_domain::verdict::ErrorFields;
use baton_protocol::gzip::GzipDecoder;
use baton_protocol::meter::{AnswerStart, MeterReading, UsageMeter};
use baton_providers::classification::bills_refusal;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::response::Parts;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most bytes that are read of an error's body.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// The part of an error's body that needs no memory of the budget. A longer body is cut to it when
/// no memory is left.
const ERROR_BYTES_UNCOUNTED: usize = 16 * 1024;
/// The first bytes of gzip (RFC 1952, section 2.3.1).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// The body of an error that stays compressed. Clients of all APIs can read these fields.
const COMPRESSED_ERROR: &[u8] = br#"{"type":"error","error":{"type":"api_error","message":"The upstream answered with an error in a `content-encoding` that Baton cannot read."}}"#;
/// How long the body of an error is read. Vendors' errors have a few hundred bytes.
const ERROR_BODY_TIME_MAX: Duration = Duration::from_secs(2);

const NO_EVENT: &str = "the stream ended before its first event";

/// Returns whether the upstream can bill what has been read.
pub(crate) fn is_billable(reading: &MeterReading) -> bool {
    reading.has_billed_part || reading.hides_usage
}

/// Returns whether output of a model has arrived.
fn has_output(reading: Option<&MeterReading>) -> bool {
    reading.is_some_and(|reading| reading.has_output)
}

/// The body of an error, up to [`ERROR_BYTES_MAX`] or until it breaks off.
pub(crate) struct ErrorBuffer {
    buffer: BytesMut,
    permit: Option<MemoryPermit>,
}

impl ErrorBuffer {
    pub(crate) fn new(permit: Option<MemoryPermit>) -> Self {
        Self { buffer: BytesMut::new(), permit }
    }

    pub(crate) fn from_chunks(chunks: &[Bytes], permit: MemoryPermit) -> Self {
        let mut error_body = Self::new(Some(permit));
        for chunk in chunks {
            error_body.add(chunk);
        }
        error_body
    }

    /// Adds bytes and returns whether more can follow.
    fn add(&mut self, data: &[u8]) -> bool {
        let length = self.buffer.len() + data.len();
        let is_counted = length <= ERROR_BYTES_UNCOUNTED
            || self.permit.as_mut().is_some_and(|permit| permit.grow_to(length).is_ok());
        let max = if is_counted { ERROR_BYTES_MAX } else { ERROR_BYTES_UNCOUNTED };
        let room = max.saturating_sub(self.buffer.len()).min(data.len());
        self.buffer.extend_from_slice(&data[..room]);
        is_counted && room == data.len()
    }

    /// Reads the body, for [`ERROR_BODY_TIME_MAX`] at most: the status and the headers decide even
    /// if the body hangs.
    async fn read(&mut self, source: &mut ResponseSource) {
        let end = Instant::now() + ERROR_BODY_TIME_MAX;
        while let Ok(SourceEvent::Chunk(data)) = timeout_at(end, source.next()).await {
            if !self.add(&data) {
                break;
            }
        }
    }

    /// As [`Self::read`], for the rest of a stream. `metered_body` brings it into the client's form.
    /// Returns whether all of it was read.
    pub(crate) async fn read_rest(
        &mut self,
        reader: &mut ResponseReader<'_>,
        metered_body: &mut MeteredBody,
    ) -> bool {
        let end = Instant::now() + ERROR_BODY_TIME_MAX;
        let is_whole = 'body: loop {
            while metered_body.has_pending() && Instant::now() < end {
                let read = metered_body.read_step(reader).await;
                let Ok(Ok(data)) = read else { break 'body false };
                if !self.add(&data) {
                    break 'body false;
                }
            }
            match timeout_at(end, reader.source.next()).await {
                Ok(SourceEvent::Chunk(data)) => metered_body.add_chunk(data),
                next => break matches!(next, Ok(SourceEvent::End)),
            }
        };
        let Ok(tail) = metered_body.observe_end() else { return false };
        self.add(&tail) && is_whole
    }

    /// Makes the failure of a stream that began with an error and of which a part is missing. A
    /// client that got output without its end would take it for the whole answer.
    pub(crate) fn into_truncated_error(
        self,
        head: Parts,
        metered_body: MeteredBody,
        model_call: &ModelCall,
    ) -> AttemptError {
        match self.into_first_event_error(head, metered_body, model_call) {
            AttemptError::FirstEvent { reading, .. } if has_output((*reading).as_ref()) => {
                AttemptError::IncompleteResponse { cause: IncompleteCause::ConnectionLost, reading }
            }
            failure => failure,
        }
    }

    /// Makes the failure of a stream that began with an error, or ended before its first event.
    pub(crate) fn into_first_event_error(
        self,
        head: Parts,
        metered_body: MeteredBody,
        model_call: &ModelCall,
    ) -> AttemptError {
        let (reading, _) = metered_body.finish(model_call.body_bytes);
        let failure = match reading.first.clone() {
            AnswerStart::Error(failure) => failure,
            // The stream ended inside its first event.
            AnswerStart::Nothing | AnswerStart::Event if is_billable(&reading) => {
                let (cause, reading) = (IncompleteCause::ConnectionLost, Box::new(Some(reading)));
                return AttemptError::IncompleteResponse { cause, reading };
            }
            AnswerStart::Nothing | AnswerStart::Event => {
                return AttemptError::lost_connection(NO_EVENT);
            }
        };
        let (body, permit) = self.finish();
        AttemptError::FirstEvent {
            head: Box::new(head),
            body,
            failure: Box::new(failure),
            is_event: !reading.is_foreign,
            reading: Box::new(Some(reading).filter(|reading| reading.has_billed_part)),
            permit,
        }
    }

    /// Reads the body of an answer with an error status and makes the failure of the attempt. Usage
    /// or output in the body is billed. `request_bytes` is the length of the request's body.
    pub(crate) async fn read_error(
        mut self,
        response_plan: ResponsePlan,
        mut head: Parts,
        mut source: ResponseSource,
        request_bytes: u64,
    ) -> AttemptError {
        self.read(&mut source).await;
        let (body, permit) = self.decompress(&mut head.headers);
        let mut meter = UsageMeter::for_whole_body();
        meter.observe(&body);
        let reading = meter.finish(request_bytes);
        let is_billed_refusal = !reading.has_billed_part
            && bills_refusal(head.status.as_u16(), &ErrorFields::from_body(&body));
        let error = response_plan.into_attempt_error(head, body, permit);
        if is_billed_refusal {
            return error.with_billed_refusal(request_bytes);
        }
        error.with_reading(reading)
    }

    /// Decompresses the body, so that the verdict can read it and credentials in it can be masked.
    /// An error of the relay replaces a body that stays compressed.
    fn decompress(self, headers: &mut HeaderMap) -> (Bytes, Option<MemoryPermit>) {
        let coding = ContentCoding::of_answer(headers, &self.buffer);
        headers.remove(CONTENT_ENCODING);
        let (body, permit) = match coding {
            ContentCoding::Gzip => self.gunzip(),
            ContentCoding::Identity | ContentCoding::Unreadable => self.finish(),
        };
        if coding != ContentCoding::Unreadable && !body.starts_with(GZIP_MAGIC) {
            return (body, permit);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (Bytes::from_static(COMPRESSED_ERROR), None)
    }

    fn gunzip(self) -> (Bytes, Option<MemoryPermit>) {
        let (mut gunzip, mut plain) = (GzipDecoder::new(), Self::new(self.permit));
        let mut compressed = self.buffer.freeze();
        while !compressed.is_empty() {
            match gunzip.decode_step(&mut compressed) {
                Ok(more) if plain.add(&more) => {}
                Ok(_) | Err(_) => break,
            }
        }
        plain.finish()
    }

    fn finish(self) -> (Bytes, Option<MemoryPermit>) {
        (self.buffer.freeze(), self.permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn error_that_stays_compressed_is_replaced() {
        let plain = br#"{"error":{"message":"the key sk-up-1 is wrong"}}"#;
        let twice = gzip(&gzip(plain));
        for (coding, body, is_kept) in [
            ("identity", plain.to_vec(), true),
            ("utf-8", plain.to_vec(), true),
            ("gzip", gzip(plain), true),
            ("gzip, gzip", twice.clone(), false),
            ("gzip", twice.clone(), false),
            ("none", twice, false),
            // The first bytes decide.
            ("deflate", plain.to_vec(), true),
            ("gzip", plain.to_vec(), true),
            ("none", gzip(plain), true),
            ("gzip, deflate", vec![7; 99], false),
            ("br", vec![7; 99], false),
        ] {
            let mut headers =
                HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
            let mut error_body = ErrorBuffer::new(None);
            assert!(error_body.add(&body));
            let (body, _) = error_body.decompress(&mut headers);
            let expected = if is_kept { plain.as_slice() } else { COMPRESSED_ERROR };
            assert_eq!(body, expected, "{coding}");
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{coding}");
            assert!(!headers.contains_key(CONTENT_ENCODING), "{coding}");
        }
    }
}
