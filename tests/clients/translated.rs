//! The official SDKs read the same from a translated stream as from the original one: text,
//! thinking, tool calls, stop reason and usage.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Uri, header};
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol,
};
use baton_test_harness::client_matrix::FAST;
use baton_test_harness::fixtures;
use baton_test_harness::program::Program;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::install;

const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);
/// Streams of the Messages API and of Chat Completions that end without an error.
const MESSAGES: [&str; 11] = [
    "text",
    "thinking_text",
    "tool_use",
    "refusal",
    "max_tokens_stop_seq",
    "cache_usage",
    "ping_heavy",
    "utf8_multibyte",
    "crlf",
    "multi_data",
    "usage_nulls",
];
const CHAT: [&str; 4] =
    ["openai_chat", "openai_chat_tools", "openai_chat_comments", "openai_chat_no_done"];
const CONSTRUCTED: [&str; 3] = ["interleaved", "sequential", "reasoning"];

/// Streams by the name of their source and the protocol in which they are served.
type ServedBodies = BTreeMap<String, Vec<u8>>;

/// The stream in the protocol of `client`.
fn translated(client: ClientProtocol, upstream: UpstreamProtocol, source: &[u8]) -> Vec<u8> {
    let mut body = json!({"model":"asked","max_tokens":9,"messages":[],"input":"hi","stream":true,
        "stream_options":{"include_usage":true}});
    // Clients of these protocols get thinking only if they ask for it.
    match client {
        ClientProtocol::AnthropicMessages => body["thinking"] = json!({"type": "adaptive"}),
        ClientProtocol::OpenaiResponses => body["reasoning"] = json!({"summary": "auto"}),
        ClientProtocol::OpenaiChat | ClientProtocol::BedrockInvokeModel => {}
    }
    let Some(translation) = ProtocolPair::between(client, upstream) else { return source.to_vec() };
    let options = TranslationOptions::new("claude-opus-5-5", "req_1");
    let translated = translation.translate_request(body.to_string().as_bytes(), &options);
    let mut stream = translated.expect("a request").context.stream_translator();
    let mut out = Vec::new();
    source.chunks(7).for_each(|chunk| stream.push(chunk, &mut out));
    assert!(stream.finish(&mut out), "{}", String::from_utf8_lossy(source));
    out
}

/// A stream of the corpus under `fixtures/translate`.
fn constructed(name: &str) -> Vec<u8> {
    let folder =
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/translate/messages_to_chat_stream_");
    let file = std::fs::read(format!("{folder}{name}.json")).expect("an exchange");
    let exchange: Value = serde_json::from_slice(&file).expect("JSON");
    let events = exchange["stream"].as_array().expect("events").iter();
    let data = events.map(|event| event.as_str().map_or_else(|| event.to_string(), str::to_owned));
    data.flat_map(|data| format!("data: {data}\n\n").into_bytes()).collect()
}

/// Every source in every protocol that it can be translated to.
fn all_streams() -> ServedBodies {
    let mut served = ServedBodies::new();
    let mut add = |name: &str, upstream: UpstreamProtocol, source: &[u8]| {
        let clients = [
            ClientProtocol::AnthropicMessages,
            ClientProtocol::OpenaiChat,
            ClientProtocol::OpenaiResponses,
        ];
        for (client, protocol) in clients.into_iter().zip(["messages", "chat", "responses"]) {
            served.insert(format!("{name}.{protocol}"), translated(client, upstream, source));
        }
    };
    let recorded = |name: &str| fixtures::stream(name).expect("a recorded stream").body;
    for name in MESSAGES {
        add(name, UpstreamProtocol::Messages, &recorded(name));
    }
    for name in CHAT {
        add(name, UpstreamProtocol::Chat, &recorded(name));
    }
    for name in CONSTRUCTED {
        add(name, UpstreamProtocol::Chat, &constructed(name));
    }
    served
}

/// Serves each stream under its name, for every path below it, in small chunks.
async fn serve(served: ServedBodies) -> String {
    let served = Arc::new(served);
    let answer = move |uri: Uri| {
        let name = uri.path().split('/').nth(1).unwrap_or_default();
        let bytes = served.get(name).cloned().unwrap_or_default();
        let pieces: Vec<_> = bytes.chunks(53).map(Bytes::copy_from_slice).collect();
        let pieces = pieces.into_iter().map(Ok::<_, std::convert::Infallible>);
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        std::future::ready(([(header::CONTENT_TYPE, "text/event-stream")], body))
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    url
}

/// Runs a script and returns its output: for each stream what the SDK read from it.
fn digests(program: &Path, script: &str, url: &str, names: &[String]) -> Value {
    let home = TempDir::with_prefix("client-").expect("a home");
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script))
        .arg(url)
        .args(names)
        .current_dir(install::node_folder(FAST));
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    assert_eq!(ended.code, Some(0), "{script}\n{}{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
}

async fn assert_same_in_every_protocol(program: &Path, script: &'static str) {
    let served = all_streams();
    let names: Vec<String> = served.keys().cloned().collect();
    let url = serve(served).await;
    let program = program.to_owned();
    let digests = tokio::task::spawn_blocking(move || digests(&program, script, &url, &names));
    let digests = digests.await.expect("the script");
    for source in MESSAGES.iter().chain(&CHAT).chain(&CONSTRUCTED) {
        let of = |protocol: &str| &digests[format!("{source}.{protocol}")];
        assert!(of("chat")["stop"].is_string(), "{source}: {digests:#}");
        assert_eq!(of("messages"), of("chat"), "{source}: {digests:#}");
        assert_eq!(of("responses"), of("chat"), "{source}: {digests:#}");
    }
    assert_eq!(digests["tool_use.chat"]["calls"].as_array().map(Vec::len), Some(3));
    assert_eq!(digests["thinking_text.chat"]["thinking"], "First, think a bit.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_sdks_read_translated_streams_alike() {
    assert_same_in_every_protocol(&install::python(FAST), "digest.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_sdks_read_translated_streams_alike() {
    assert_same_in_every_protocol(Path::new("node"), "digest.mjs").await;
}
