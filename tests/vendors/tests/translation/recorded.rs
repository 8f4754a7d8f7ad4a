//! Recorded requests, and those that another vendor refuses if they are only rewritten.

use crate::client::ClientRequest;
use baton_domain::protocol::ClientProtocol;
use serde_json::Value;
use std::path::Path;

/// The signatures in recorded requests.
pub(crate) const SEALS: [&str; 1] = ["c2lnLWZyb20tdGhlLWZha2UtdXBzdHJlYW0="];

/// All of them.
pub(crate) fn requests() -> Vec<ClientRequest> {
    let folders = ["requests", "dialects"];
    folders.into_iter().flat_map(read_folder).filter_map(|(name, it)| read(&name, &it)).collect()
}

fn read_folder(name: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    let mut all: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!all.is_empty(), "no fixtures in {name}");
    all
}

/// A request, if it calls a model.
fn read(_: &str, recorded: &Value) -> Option<ClientRequest> {
    let target = recorded["target"].as_str().or(recorded["path"].as_str())?;
    let client = match target.split('?').next()? {
        path if path.ends_with("/v1/messages") => ClientProtocol::AnthropicMessages,
        path if path.ends_with("/v1/chat/completions") => ClientProtocol::OpenaiChat,
        path if path.ends_with("/v1/responses") => ClientProtocol::OpenaiResponses,
        _ => return None,
    };
    let body = recorded["body"].as_object()?;
    let mut request = ClientRequest::new(client, Value::Object(body.clone()));
    let listed = recorded["headers"].as_array().into_iter().flatten();
    let listed = listed.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    let mapped = recorded["headers"].as_object().into_iter().flatten();
    let mapped = mapped.map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    for (name, value) in listed.chain(mapped) {
        if name.eq_ignore_ascii_case("anthropic-beta") {
            request.headers.push(("anthropic-beta".to_owned(), value.to_owned()));
        }
    }
    Some(request)
}
