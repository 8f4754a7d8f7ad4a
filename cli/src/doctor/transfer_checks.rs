//! How large a body can be, and whether an answer really streams. The bodies are not JSON, so they
//! cost nothing. The stream costs a few tokens and is sent only on request.

use super::check_result::CheckResult;
use super::remote_checks::{join_route, read_error_message};
use crate::operate::admin_client::root_cause;
use baton_domain::secret::Secret;
use reqwest::{Client, StatusCode, Url};
use serde_json::json;
use std::time::{Duration, Instant};

const MEBIBYTE: usize = 1024 * 1024;
/// Sizes in MiB: the defaults of proxies, Lambda's limit, the upstream's limit.
const PROBED_MEBIBYTES: [usize; 5] = [1, 5, 6, 16, 32];
/// The size that a session of Claude Code can reach.
const REQUIRED_MEBIBYTES: usize = 5;
/// If all pieces of an answer arrive within this time, something held the answer back: an upstream
/// needs longer from its first event to its last.
const BUFFERED_SPAN_MAX: Duration = Duration::from_millis(10);

/// Finds the largest body that reaches the relay, by sending larger and larger ones until one is
/// refused.
pub(super) async fn check_body_size(http: &Client, base_url: &Url, key: &Secret) -> CheckResult {
    const CHECK: &str = "body size";
    let mut accepted_mebibytes = 0;
    for size in PROBED_MEBIBYTES {
        let mut body = vec![b' '; size * MEBIBYTE - 1];
        body.push(b'x');
        let response = http
            .post(join_route(base_url, "/v1/messages"))
            .bearer_auth(key.expose())
            .header("content-type", "application/json")
            .body(body)
            .send();
        let refusal = match response.await {
            // The relay has read the whole body and found that it is not JSON.
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => {
                accepted_mebibytes = size;
                continue;
            }
            Ok(response) if response.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                read_error_message(response).await
            }
            Ok(response) if accepted_mebibytes == 0 => {
                let what = format!("cannot be checked: {}", read_error_message(response).await);
                return CheckResult::warn(
                    CHECK,
                    what,
                    "solve the problems of the other checks first",
                );
            }
            Ok(response) => read_error_message(response).await,
            Err(error) => root_cause(&error),
        };
        return body_size_result(CHECK, accepted_mebibytes, size, &refusal);
    }
    CheckResult::ok(CHECK, format!("bodies of {accepted_mebibytes} MiB pass"))
}

fn body_size_result(
    check: &'static str,
    accepted_mebibytes: usize,
    rejected_mebibytes: usize,
    reason: &str,
) -> CheckResult {
    let what = format!(
        "bodies of {accepted_mebibytes} MiB pass, bodies of {rejected_mebibytes} MiB do not: {reason}"
    );
    if accepted_mebibytes < REQUIRED_MEBIBYTES {
        let advice = "raise the limit of the proxy in front (nginx: client_max_body_size 32m)";
        return CheckResult::fail(check, what, advice);
    }
    let advice = "long sessions are refused. Lambda accepts 6 MB and `baton serve` 32 MiB; a \
         smaller limit comes from a proxy or from BATON_BODY_BYTES_MAX";
    CheckResult::warn(check, what, advice)
}

/// Checks whether a stream arrives piece by piece.
pub(super) async fn check_streaming(
    http: &Client,
    base_url: &Url,
    key: &Secret,
    model: &str,
) -> CheckResult {
    const CHECK: &str = "streaming";
    let body = json!({
        "model": model, "max_tokens": 16, "stream": true,
        "messages": [{ "role": "user", "content": "Count from one to ten." }],
    });
    let started = Instant::now();
    let response = http
        .post(join_route(base_url, "/v1/messages"))
        .bearer_auth(key.expose())
        .header("content-type", "application/json")
        .header("anthropic-version", "2023-06-01")
        .body(body.to_string())
        .send();
    let mut response = match response.await {
        Ok(response) if response.status().is_success() => response,
        Ok(response) => {
            return CheckResult::fail(
                CHECK,
                read_error_message(response).await,
                "solve the problem that the answer names",
            );
        }
        Err(error) => {
            return CheckResult::fail(CHECK, root_cause(&error), "the connection broke; try again");
        }
    };
    let (mut received, mut arrivals) = (Vec::new(), Vec::new());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                arrivals.push(started.elapsed());
                received.extend_from_slice(&chunk);
            }
            Ok(None) => break,
            Err(error) => {
                let message = format!("the stream broke: {}", root_cause(&error));
                return CheckResult::fail(
                    CHECK,
                    message,
                    "a proxy in front of the relay has a timeout that is shorter than the answer",
                );
            }
        }
    }
    assess_stream(CHECK, &arrivals, &String::from_utf8_lossy(&received))
}

/// Judges a stream by its content and by the times at which its pieces arrived.
fn assess_stream(check: &'static str, arrivals: &[Duration], text: &str) -> CheckResult {
    if text.contains("event: error") || !text.contains("event: message_stop") {
        return CheckResult::fail(
            check,
            "the answer is not complete",
            "check the account with `baton account test`",
        );
    }
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else {
        return CheckResult::fail(
            check,
            "the answer is empty",
            "a proxy in front of the relay drops it",
        );
    };
    let span = last.saturating_sub(*first);
    let first = first.as_millis();
    if span < BUFFERED_SPAN_MAX {
        let what =
            format!("the whole answer arrived at once after {first} ms, so a proxy buffers it");
        let advice = "switch off buffering in the proxy (for nginx `proxy_buffering off`; on AWS a \
             function URL with RESPONSE_STREAM, and no API Gateway or load balancer)";
        return CheckResult::fail(check, what, advice);
    }
    let count = arrivals.len();
    CheckResult::ok(
        check,
        format!("first bytes after {first} ms, then {count} pieces in {} ms", span.as_millis()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::check_result::CheckStatus;
    use super::*;

    #[test]
    fn streaming_is_detected_by_arrival_times() {
        let check = |millis: &[u64], text: &str, state: CheckStatus| {
            let arrivals: Vec<Duration> =
                millis.iter().map(|ms| Duration::from_millis(*ms)).collect();
            assert_eq!(
                assess_stream("streaming", &arrivals, text).state,
                state,
                "{millis:?} {text}"
            );
        };
        let whole = "event: message_start\n\nevent: message_stop\n\n";
        check(&[300, 350, 420], whole, CheckStatus::Ok);
        check(&[420], whole, CheckStatus::Fail);
        check(&[420, 421], whole, CheckStatus::Fail);
        check(&[], whole, CheckStatus::Fail);
        check(&[300, 400], "event: message_start\n\n", CheckStatus::Fail);
        check(&[300, 400], "event: error\n\nevent: message_stop\n\n", CheckStatus::Fail);
    }

    #[test]
    fn body_limit_is_compared_with_what_sessions_need() {
        assert_eq!(body_size_result("body size", 1, 5, "413").state, CheckStatus::Fail);
        assert_eq!(body_size_result("body size", 5, 6, "413").state, CheckStatus::Warn);
        assert_eq!(body_size_result("body size", 16, 32, "413").state, CheckStatus::Warn);
    }
}
