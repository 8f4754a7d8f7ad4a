//! Other relays, each described by a small file; see README.md beside this one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::request_path::{ProgramPlan, folder};
use baton_test_harness::system::free_address;

/// A peer's file. In all values `{port}`, `{upstream}` (a base URL) and `{dir}` are replaced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerFile {
    name: String,
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "messages")]
    path: String,
    /// Files to be written into `{dir}` before it is started.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

fn messages() -> String {
    "/v1/messages".to_owned()
}

/// Reads a peer's file.
pub(crate) fn plan(file: &Path, upstream: SocketAddr) -> Result<ProgramPlan, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    read(&text, upstream).map_err(|why| format!("{}: {why}", file.display()))
}

fn read(text: &str, upstream: SocketAddr) -> Result<ProgramPlan, String> {
    let peer: PeerFile = toml::from_str(text).map_err(|e| e.to_string())?;
    let (folder, address) = (folder("peer")?, free_address());
    let place = folder.path().display().to_string();
    let fill = |text: &str| {
        text.replace("{port}", &address.port().to_string())
            .replace("{upstream}", &format!("http://{upstream}"))
            .replace("{dir}", &place)
    };
    for (name, content) in &peer.files {
        std::fs::write(folder.path().join(name), fill(content))
            .map_err(|e| format!("{name}: {e}"))?;
    }
    let mut words = peer.command.iter().map(|word| fill(word));
    let mut command = Command::new(words.next().ok_or("an empty command")?);
    command.args(words).envs(peer.env.iter().map(|(name, value)| (name, fill(value))));
    let headers = peer.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
    Ok(ProgramPlan { name: peer.name, address, path: peer.path, headers, command, folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_can_be_read() {
        for text in [include_str!("peers/litellm.toml"), include_str!("peers/agentgateway.toml")] {
            let plan = read(text, "127.0.0.1:9".parse().unwrap()).unwrap();
            for file in std::fs::read_dir(plan.folder.path()).unwrap() {
                let written = std::fs::read_to_string(file.unwrap().path()).unwrap();
                assert!(written.contains("127.0.0.1:9"), "{written}");
            }
            assert!(plan.command.get_args().all(|word| !word.to_string_lossy().contains('{')));
        }
    }
}
