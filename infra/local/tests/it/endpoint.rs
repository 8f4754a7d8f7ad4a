//! The stores over HTTP: on loopback only, for any client.

use std::time::Duration;

use baton_local::LocalAws;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const SEND: &str = r#"{"QueueUrl":"http://127.0.0.1/000000000000/UsageQueue","MessageBody":"hi"}"#;

/// Sends one request over a new connection. Returns the whole answer with its status.
async fn ask(port: u16, host: &str, target: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: {target}\r\nconnection: close\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn all_services_answer_on_one_port() {
    let local = LocalAws::open(None).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { local.serve(listener, shutdown).await }
    });
    let host = format!("127.0.0.1:{port}");
    for (target, body, expect) in [
        ("DynamoDB_20120810.DescribeTable", r#"{"TableName":"ConfigTable"}"#, "\"ConfigTable\""),
        ("AmazonSQS.SendMessage", SEND, "\"MessageId\""),
        ("TrentService.GenerateDataKey", r#"{"KeyId":"DataKey"}"#, "\"Plaintext\""),
    ] {
        let answer = ask(port, &host, target, body).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains(expect), "{answer}");
        assert!(answer.contains("content-type: application/x-amz-json-1.0"), "{answer}");
    }
    for (host, target, expect) in [
        (host.as_str(), "Lambda.Invoke", "UnknownOperationException"),
        (host.as_str(), "DynamoDB_20120810.Nonsense", "UnknownOperationException"),
        ("evil.example", "DynamoDB_20120810.DescribeTable", "AccessDeniedException"),
    ] {
        let answer = ask(port, host, target, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(expect), "{answer}");
    }
    shutdown.cancel();
    let served = tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap();
    served.unwrap().unwrap();
}

#[tokio::test]
async fn other_addresses_are_refused() {
    let local = LocalAws::open(None).await.unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = local.serve(listener, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("loopback addresses only"), "{refused}");
}
