//! The `baton` binary as a child process: starts on free ports, is awaited, ends by signal.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::{baton_binary, plain_client};
use crate::eventually::eventually;
use crate::program::{Program, ProgramResult};

const ADMIN_TOKEN: &str = "test-admin-token-0123456789abcdef";
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(30);

/// Options for starting Baton.
#[derive(Clone)]
pub struct LaunchOptions {
    home: Arc<TempDir>,
    data: PathBuf,
    relay: SocketAddr,
    admin: SocketAddr,
    admin_token: Option<String>,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Default for LaunchOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl LaunchOptions {
    /// `baton up` on free ports with a new data folder and a known admin token.
    pub fn new() -> Self {
        let home = TempDir::with_prefix("baton-test-").expect("a folder for its data");
        Self {
            data: home.path().join("data"),
            home: Arc::new(home),
            relay: free_address(),
            admin: free_address(),
            admin_token: Some(ADMIN_TOKEN.into()),
            variables: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Lets Baton create its admin token.
    #[must_use]
    pub fn without_admin_token(mut self) -> Self {
        self.admin_token = None;
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets the address of the relay.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.relay = address;
        self
    }

    /// Sets another data folder.
    #[must_use]
    pub fn data_at(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.data);
        self
    }

    /// The folder that Baton can write to. It contains the data.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts Baton without waiting.
    pub fn spawn(&self) -> BatonProcess {
        let mut command = bare_command(self.home());
        command
            .args(["up", "--listen", &self.relay.to_string()])
            .args(["--admin-listen", &self.admin.to_string()])
            .arg("--data-dir")
            .arg(&self.data)
            .args(&self.arguments)
            .env("BATON_ALLOW_PRIVATE_UPSTREAMS", "1");
        if let Some(token) = &self.admin_token {
            command.env("BATON_ADMIN_TOKEN", token);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        BatonProcess {
            relay: self.relay,
            admin: self.admin,
            admin_token: self.admin_token.clone().unwrap_or_default(),
            program: Program::start(&mut command),
            launch: self.clone(),
        }
    }

    /// Starts Baton and waits until the relay and the admin API answer.
    pub async fn start(&self) -> BatonProcess {
        let mut process = self.spawn();
        let http = plain_client();
        let listeners = [
            format!("http://{}/health", process.relay),
            format!("http://{}/api/v1/groups", process.admin),
        ];
        eventually("baton is ready", START, async || {
            let output = format!("{}{}", process.stdout(), process.stderr());
            assert!(!process.is_over(), "baton ended at once:\n{output}");
            for listener in &listeners {
                if let Err(error) = http.get(listener).send().await {
                    return Err(format!("{error}\n{output}"));
                }
            }
            Ok(())
        })
        .await;
        process
    }
}

/// `TOKIO_WORKER_THREADS=1 cargo test` tests the other scheduler of tokio.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// The binary with an empty environment, so that a developer's variables do not affect a test. Only
/// the number of threads is kept.
pub fn bare_command(home: &Path) -> Command {
    let mut command = Command::new(baton_binary());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .envs(std::env::var_os(THREADS).map(|threads| (THREADS, threads)))
        .current_dir(home);
    command
}

/// An address that is free; each is returned only once in this process. The port is below the range
/// that the kernel uses for clients, so no client takes it before Baton does.
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time start at different ports.
    let [low, high, ..] = std::process::id().wrapping_mul(101).to_le_bytes();
    let begin = u16::from_le_bytes([low, high]);
    let next = std::iter::repeat_with(|| {
        let offset = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        SocketAddr::from(([127, 0, 0, 1], FIRST + offset % COUNT))
    });
    let mut free = next.take(COUNT.into());
    free.find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

/// A running `baton`.
pub struct BatonProcess {
    /// The address of the relay.
    pub relay: SocketAddr,
    /// The address of the admin API.
    pub admin: SocketAddr,
    /// The admin token that it was started with; empty if it created one.
    pub admin_token: String,
    program: Program,
    launch: LaunchOptions,
}

impl BatonProcess {
    /// The standard output so far.
    pub fn stdout(&self) -> String {
        self.program.stdout()
    }

    /// The standard error so far.
    pub fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// Options for the same start with the same data and new ports.
    pub fn again(&self) -> LaunchOptions {
        LaunchOptions { relay: free_address(), admin: free_address(), ..self.launch.clone() }
    }

    /// Runs another command of the binary, with this process as its target.
    pub fn command(&self, arguments: &[&str]) -> ProgramResult {
        let mut command = bare_command(self.launch.home());
        command
            .args(arguments)
            .env("BATON_URL", format!("http://{}", self.admin))
            .env("BATON_ADMIN_TOKEN", &self.admin_token)
            .env("BATON_DATA_DIR", &self.launch.data);
        Program::run(&mut command, END)
    }

    /// Runs a command of the binary with only these variables. The file of profiles in this
    /// process's home folder gives what the variables leave out.
    pub fn command_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> ProgramResult {
        let mut command = bare_command(self.launch.home());
        command.args(arguments).envs(variables.iter().copied());
        Program::run(&mut command, END)
    }

    /// The home folder of its commands.
    pub fn home(&self) -> &Path {
        self.launch.home()
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        self.program.terminate();
    }

    /// Whether the process has ended.
    pub fn is_over(&mut self) -> bool {
        self.program.is_over()
    }

    /// Waits until the process ends.
    pub fn ended(&mut self) -> ProgramResult {
        self.program.ended(END)
    }
}
