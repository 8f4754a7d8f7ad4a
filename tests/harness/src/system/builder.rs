//! The builder of a test system. One configuration starts the real binary or its libraries in this
//! process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use super::{BatonProcess, InProcessBuilder, TestSystem};

/// The admin token of a test system that no test gave another one.
pub const ADMIN_TOKEN: &str = "test-admin-token-0123456789abcdef";

/// What a test system is started with.
///
/// A clone starts another process in the same home folder.
#[derive(Clone)]
#[must_use]
pub struct TestSystemBuilder {
    variables: Vec<(String, String)>,
    data: Option<PathBuf>,
    account: Option<String>,
    home: Arc<OnceLock<TempDir>>,
    pub(super) arguments: Vec<String>,
    pub(super) relay: Option<SocketAddr>,
}

impl TestSystemBuilder {
    pub(super) fn new() -> Self {
        let variables =
            [("BATON_ADMIN_TOKEN", ADMIN_TOKEN), ("BATON_ALLOW_PRIVATE_UPSTREAMS", "1")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            variables: variables.to_vec(),
            data: None,
            account: None,
            home: Arc::default(),
            arguments: Vec::new(),
            relay: None,
        }
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self = self.without_variable(name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets variables of the environment.
    pub fn envs(self, variables: &[(&str, &str)]) -> Self {
        variables.iter().fold(self, |builder, (name, value)| builder.env(name, value))
    }

    /// Lets Baton create its admin token.
    pub fn without_admin_token(self) -> Self {
        self.without_variable("BATON_ADMIN_TOKEN")
    }

    fn without_variable(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// Sets the data folder. By default a process has a new one, and the stores in this process are
    /// in memory.
    pub fn data_at(mut self, path: &Path) -> Self {
        self.data = Some(path.to_owned());
        self
    }

    /// Creates an account with this name at the system's own upstream, in the default group.
    pub fn with_account(mut self, name: &str) -> Self {
        self.account = Some(name.to_owned());
        self
    }

    /// Adds an argument of the program.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets the address of the relay. By default it is a free one.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.relay = Some(address);
        self
    }

    /// The folder that the program runs in. It contains the data, unless the test set another folder.
    pub fn home(&self) -> &Path {
        let new = || TempDir::with_prefix("baton-test-").expect("a folder for its data");
        self.home.get_or_init(new).path()
    }

    /// The same start at new addresses.
    pub(super) fn at_new_addresses(&self) -> Self {
        Self { relay: None, ..self.clone() }
    }

    /// Starts the program without waiting.
    pub fn spawn(&self) -> BatonProcess {
        BatonProcess::spawn(self.clone())
    }

    /// Starts the program and waits until the relay and the admin API answer.
    pub async fn start_process(&self) -> BatonProcess {
        let mut process = self.spawn();
        process.ready().await;
        process
    }

    /// Starts the program with everything that it needs.
    pub async fn start(&self) -> TestSystem {
        let system = TestSystem::over(self.start_process().await);
        if let Some(name) = &self.account {
            system.account(name, &system.upstream.url()).await;
        }
        system
    }

    /// Starts the libraries in this process instead of the program.
    pub fn in_process(self) -> InProcessBuilder {
        InProcessBuilder::new(self)
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn data(&self) -> Option<&Path> {
        self.data.as_deref()
    }
}
