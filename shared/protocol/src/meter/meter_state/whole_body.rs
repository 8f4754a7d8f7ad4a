//! Reads answers that are not streams.

use super::MeterState;
use crate::json::to_strict_json;
use crate::meter::AnswerEnd;
use crate::meter::output_count::OutputCount;
use crate::meter::text_deltas::count_output;
use crate::meter::upstream_failure::{UpstreamFailure, is_error_answer};
use crate::meter::upstream_object::{NestedResponse, UpstreamObject};
use crate::response_form::{begins_with_event, is_binary};
use crate::sse::SseDecoder;

impl MeterState {
    /// Reads a whole body: a message, a completion, a response or an error. Any other object (a
    /// token count, a list of models) is complete and costs nothing.
    pub(in crate::meter) fn observe_body(&mut self, body: &[u8]) {
        if self.is_unread {
            self.observe_unread(body);
            return self.mark_complete();
        }
        let strict = to_strict_json(body);
        let body = strict.as_ref();
        let Some(object) = UpstreamObject::parse(body) else {
            return self.observe_unparsable_body(body);
        };
        let failed = [&object.kind, &object.status]
            .into_iter()
            .any(|word| matches!(word.as_deref(), Some("error" | "failed")));
        let has_field = object.answer_fields.any();
        // The client gets an answer with output whatever else the answer says.
        let is_received = has_field && !is_error_answer(body);
        if (failed || (object.usage.is_none() && !is_received))
            && let Some(failure) = UpstreamFailure::from_object(body)
        {
            self.record_failure(failure);
        }
        let is_message = object.kind.as_deref() == Some("message");
        let is_answer = is_message || has_field || object.status.is_some();
        let is_error = matches!(self.end, AnswerEnd::Error(_));
        let error_usage = object.error.and_then(|error| error.usage);
        let usage = object.usage.or(error_usage.filter(|_| is_error));
        self.started = usage.as_ref().is_some_and(|usage| !is_error || usage.has_counts())
            || (is_answer && (!is_error || is_received));
        self.is_unread |= self.started && is_error && usage.is_none();
        let reported = usage.as_ref().and_then(|usage| usage.output_tokens).unwrap_or(0);
        if self.started && reported == 0 {
            let output = count_output(body);
            // If nothing is known about the output, all of the answer counts.
            let is_unknown = !output.has_output && usage.is_none();
            self.output = if is_unknown { OutputCount::from_utf8(body) } else { output };
        }
        self.stop_reason = object.stop_reason;
        self.has_content |= object.has_content;
        self.take_final_message(NestedResponse {
            id: object.id,
            model: object.model,
            usage,
            status: None,
            service_tier: object.service_tier,
            web_searches: object.web_searches,
        });
        self.mark_complete();
    }

    /// Reads a body that is not a JSON object: events without their content type, an object that
    /// was cut short and is billed, or text that no model wrote.
    fn observe_unparsable_body(&mut self, body: &[u8]) {
        if begins_with_event(body) {
            let mut decoder = SseDecoder::new();
            decoder.push(body, |event| self.observe_event(&event));
            return self.finish_stream(decoder);
        }
        if is_binary(body) {
            self.is_unread = true;
            return self.observe_unread(body);
        }
        let is_page = body.trim_ascii_start().starts_with(b"<");
        self.is_unread |= !is_page && memchr::memchr(b'{', body).is_some();
        if body.is_empty() || body.trim_ascii_start().starts_with(b"{") {
            self.started = !body.is_empty();
            self.output = OutputCount::from_utf8(body);
        } else {
            self.observe_error(body, UpstreamFailure::from_body(body));
        }
    }
}
