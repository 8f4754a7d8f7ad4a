//! Usage that Bedrock reports apart from the answer: in headers of `InvokeModel`
//! (`x-amzn-bedrock-input-token-count`), and in the last event of its streams
//! (`amazon-bedrock-invocationMetrics`). Both are seen in every answer (Bedrock user guide,
//! "`InvokeModelWithResponseStream`", and its SDKs' examples, read 2026-11). Claude's answers also
//! have their own usage, which comes first.

use super::REPORTED_COUNT_MAX;
use http::HeaderMap;
use serde::Deserialize;

/// Counts of tokens, where they are reported and can be true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SeparateUsage {
    /// The prompt without the tokens of a cache.
    #[serde(rename = "inputTokenCount")]
    pub input: Option<u64>,
    /// The answer.
    #[serde(rename = "outputTokenCount")]
    pub output: Option<u64>,
    /// Tokens that were read from a cache.
    #[serde(rename = "cacheReadInputTokenCount")]
    pub cache_read: Option<u64>,
    /// Tokens that were written to a cache.
    #[serde(rename = "cacheWriteInputTokenCount")]
    pub cache_write: Option<u64>,
}

impl SeparateUsage {
    /// Reads the headers of a whole answer.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let count = |name| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        Self {
            input: count("x-amzn-bedrock-input-token-count"),
            output: count("x-amzn-bedrock-output-token-count"),
            cache_read: count("x-amzn-bedrock-cache-read-input-token-count"),
            cache_write: count("x-amzn-bedrock-cache-write-input-token-count"),
        }
        .without_excess()
    }

    /// Reads the metrics of a stream. `None` if they are not of the known form.
    pub(crate) fn from_metrics(json: &str) -> Option<Self> {
        serde_json::from_str::<Self>(json).ok().map(Self::without_excess)
    }

    fn without_excess(self) -> Self {
        let limit = |count: Option<u64>| count.filter(|count| *count <= REPORTED_COUNT_MAX);
        Self {
            input: limit(self.input),
            output: limit(self.output),
            cache_read: limit(self.cache_read),
            cache_write: limit(self.cache_write),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::UsageMeter;

    fn usage(input: Option<u64>, output: Option<u64>) -> SeparateUsage {
        SeparateUsage { input, output, ..SeparateUsage::default() }
    }

    #[test]
    fn headers_and_metrics_are_read() {
        let headers = |input: &'static str| {
            HeaderMap::from_iter([
                ("x-amzn-bedrock-input-token-count".parse().unwrap(), input.parse().unwrap()),
                ("x-amzn-bedrock-output-token-count".parse().unwrap(), "9".parse().unwrap()),
            ])
        };
        for (input, expect) in
            [("2000", Some(2_000)), ("0", Some(0)), ("-1", None), ("x", None), ("100000001", None)]
        {
            let read: HeaderMap = headers(input);
            assert_eq!(SeparateUsage::from_headers(&read), usage(expect, Some(9)), "{input}");
        }
        let metrics = r#"{"inputTokenCount":2000,"outputTokenCount":9,"invocationLatency":1}"#;
        assert_eq!(SeparateUsage::from_metrics(metrics), Some(usage(Some(2_000), Some(9))));
        for json in ["5", r#"{"inputTokenCount":"a"}"#, r#"{"inputTokenCount":-1}"#] {
            assert_eq!(SeparateUsage::from_metrics(json), None, "{json}");
        }
    }

    #[test]
    fn separate_usage_counts_only_where_the_answer_has_none() {
        let read = |fields: &str, separate: SeparateUsage| {
            let body = format!(
                r#"{{"type":"message","content":[{{"type":"text","text":"word"}}],"stop_reason":"end_turn"{fields}}}"#
            );
            let mut meter = UsageMeter::for_whole_body();
            meter.set_separate_usage(separate);
            meter.observe(body.as_bytes());
            let usage = meter.finish(4_000).usage;
            (usage.tokens.input, usage.tokens.output, usage.estimated)
        };
        let both = usage(Some(2_000), Some(900));
        assert_eq!(read("", both), (2_000, 900, false));
        assert_eq!(read(r#","usage":null"#, both), (2_000, 900, false));
        assert_eq!(read(r#","usage":{"input_tokens":1}"#, both), (1, 900, false));
        let own = r#","usage":{"input_tokens":1,"output_tokens":2}"#;
        assert_eq!(read(own, both), (1, 2, false));
        assert_eq!(read("", usage(Some(2_000), None)), (2_000, 1, true));
        assert_eq!(read("", usage(None, Some(900))), (1_000, 900, true));
        assert_eq!(read("", SeparateUsage::default()), (1_000, 1, true));
    }
}
