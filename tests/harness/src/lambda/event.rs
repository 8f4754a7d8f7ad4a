//! The events of the platform: a request to a function URL, a batch of the queue, a scheduled call.
//!
//! Formats: AWS Lambda Developer Guide, "Invoking Lambda function URLs" (payload format 2.0) and
//! "Using Lambda with Amazon SQS"; Scheduler User Guide (November 2026).

use serde_json::{Value, json};

/// A request to a function URL; `path` can have a query.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let (raw_path, query) = path.split_once('?').unwrap_or((path, ""));
    let host = "baton.lambda-url.us-east-1.on.aws";
    let mut event = json!({
        "version": "2.0", "routeKey": "$default",
        "rawPath": raw_path, "rawQueryString": query,
        "headers": {
            "host": host, "content-type": "application/json",
            "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-forwarded-port": "443",
        },
        "requestContext": {
            "accountId": "anonymous", "apiId": "baton", "domainName": host, "domainPrefix": "baton",
            "http": {
                "method": method, "path": raw_path, "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "test",
            },
            "requestId": "00000000-0000-4000-8000-000000000000",
            "routeKey": "$default", "stage": "$default",
            "time": "11/Nov/2026:09:00:00 +0000", "timeEpoch": 1_794_387_600_000_u64,
        },
        "body": body, "isBase64Encoded": false,
    });
    for (name, value) in headers {
        event["headers"][*name] = (*value).into();
    }
    event
}

/// A batch of messages in the form that `ReceiveMessage` returned them.
pub fn batch(messages: &[Value]) -> Value {
    let record = |message: &Value| {
        json!({
            "messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"], "md5OfBody": message["MD5OfBody"],
            "attributes": message["Attributes"], "messageAttributes": {},
            "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:UsageQueue",
        })
    };
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

/// The event of the schedule if the template names no input.
pub fn tick() -> Value {
    json!({})
}
