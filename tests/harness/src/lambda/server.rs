//! `baton serve` next to the functions: the container form with the same stores.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::eventually::eventually;
use crate::program::Program;
use crate::system::{TestKey, bare_command, free_address, plain_client};

const START: Duration = Duration::from_secs(20);

/// A running `baton serve`; it is killed when dropped.
pub struct ServeProcess {
    /// The address of its relay.
    pub relay: SocketAddr,
    /// The process.
    pub program: Program,
    _home: TempDir,
}

impl ServeProcess {
    /// Starts the process with these variables on free ports, and waits until its relay answers.
    pub async fn start(variables: &[(String, String)]) -> Self {
        let home = TempDir::with_prefix("baton-serve-").expect("a folder to run in");
        Self::start_as(bare_command(home.path()), home, variables).await
    }

    /// The same with another command for `baton`, and the folder that the command needs.
    pub async fn start_as(
        mut command: Command,
        home: TempDir,
        variables: &[(String, String)],
    ) -> Self {
        let relay = free_address();
        command
            .args(["serve", "--listen", &relay.to_string()])
            .args(["--admin-listen", &free_address().to_string()])
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let mut program = Program::start(&mut command);
        let http = plain_client();
        eventually("it serves", START, async || {
            assert!(!program.is_over(), "it ended at once:\n{}", program.stderr());
            let answer = http.get(format!("http://{relay}/health")).send().await;
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { relay, program, _home: home }
    }

    /// A key with this secret, for requests.
    pub fn key(&self, secret: &str) -> TestKey {
        TestKey::found(secret, &format!("http://{}", self.relay))
    }
}
