//! The `baton` binary as a child process: started on free ports, awaited, ended by signal.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::{baton_binary, plain_client};
use crate::eventually::{eventually, eventually_blocking};

const ADMIN_TOKEN: &str = "test-admin-token-0123456789abcdef";
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(30);

/// How Baton is to be started.
#[derive(Clone)]
pub struct Launch {
    home: Arc<TempDir>,
    data: PathBuf,
    relay: SocketAddr,
    admin: SocketAddr,
    admin_token: Option<String>,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Default for Launch {
    fn default() -> Self {
        Self::new()
    }
}

impl Launch {
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

    /// Lets Baton make its own admin token.
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

    /// Sets where the relay listens.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.relay = address;
        self
    }

    /// Puts the data elsewhere.
    #[must_use]
    pub fn data_at(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.data);
        self
    }

    /// The folder that it may write to; its data is in there.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Process {
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
        let mut child = command.spawn().expect("start baton");
        Process {
            relay: self.relay,
            admin: self.admin,
            admin_token: self.admin_token.clone().unwrap_or_default(),
            stdout: collect(child.stdout.take()),
            stderr: collect(child.stderr.take()),
            child,
            launch: self.clone(),
        }
    }

    /// Starts it and waits until both of its doors answer.
    pub async fn start(&self) -> Process {
        let mut process = self.spawn();
        let http = plain_client();
        let doors = [
            format!("http://{}/health", process.relay),
            format!("http://{}/api/v1/groups", process.admin),
        ];
        eventually("baton is ready", START, async || {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("baton ended at once, {status}:\n{}{}", process.stdout(), process.stderr());
            }
            for door in &doors {
                if let Err(error) = http.get(door).send().await {
                    return Err(format!("{error}\n{}{}", process.stdout(), process.stderr()));
                }
            }
            Ok(())
        })
        .await;
        process
    }
}

/// The binary with a clean environment: no variable of the developer's leaks into a test.
pub(super) fn bare_command(home: &Path) -> Command {
    let mut command = Command::new(baton_binary());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// An address that was free a moment ago.
pub(super) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

type Output = Arc<Mutex<String>>;

fn collect(pipe: Option<impl Read + Send + 'static>) -> Output {
    let output = Output::default();
    let Some(mut pipe) = pipe else { return output };
    let sink = Arc::clone(&output);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            sink.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
    });
    output
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

/// A running `baton`.
pub struct Process {
    /// Where the relay listens.
    pub relay: SocketAddr,
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// The token that it was started with; empty when it made one.
    pub admin_token: String,
    child: Child,
    stdout: Output,
    stderr: Output,
    launch: Launch,
}

impl Process {
    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The same start once more: same data, new ports.
    pub fn again(&self) -> Launch {
        Launch { relay: free_address(), admin: free_address(), ..self.launch.clone() }
    }

    /// Runs another command of the binary, with this process as the Baton it speaks to.
    pub fn command(&self, arguments: &[&str]) -> Ended {
        let mut command = bare_command(self.launch.home());
        command
            .args(arguments)
            .env("BATON_ADMIN_LISTEN", self.admin.to_string())
            .env("BATON_ADMIN_URL", format!("http://{}", self.admin))
            .env("BATON_ADMIN_TOKEN", &self.admin_token)
            .env("BATON_DATA_DIR", &self.launch.data);
        let output = command.output().expect("run baton");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().expect("run kill");
        assert!(status.success(), "kill -TERM {id}");
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> Ended {
        let status: ExitStatus = eventually_blocking("baton ends", END, || {
            let status = self.child.try_wait().expect("ask after baton");
            status.ok_or_else(|| format!("{}{}", self.stdout(), self.stderr()))
        });
        // The collecting threads hold the other end of each output until they have read it all.
        let output = [&self.stdout, &self.stderr];
        eventually_blocking("its output is read", END, || {
            if output.iter().all(|o| Arc::strong_count(o) == 1) { Ok(()) } else { Err(()) }
        });
        Ended { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
