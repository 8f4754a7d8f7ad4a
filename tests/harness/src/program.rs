//! Other programs: run to their end with a deadline, with all of their output collected.

use std::io::{Read, Seek as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::eventually::eventually_blocking;

/// How a program ended.
#[derive(Clone, Debug)]
pub struct ProgramResult {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

/// A running program; it is killed when dropped.
pub struct Program {
    child: Child,
    stdout: CollectedOutput,
    stderr: CollectedOutput,
}

impl Program {
    /// Starts the program with both outputs collected and empty standard input.
    pub fn start(command: &mut Command) -> Self {
        Self::reading(Stdio::null(), command)
    }

    fn reading(stdin: Stdio, command: &mut Command) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        Self {
            stdout: CollectedOutput::collecting(child.stdout.take()),
            stderr: CollectedOutput::collecting(child.stderr.take()),
            child,
        }
    }

    /// Runs the program to its end.
    pub fn run(command: &mut Command, patience: Duration) -> ProgramResult {
        Self::start(command).ended(patience)
    }

    /// Runs the program to its end with this text on its standard input.
    pub fn fed(command: &mut Command, input: &str, patience: Duration) -> ProgramResult {
        let mut file = tempfile::tempfile().expect("a file to read from");
        file.write_all(input.as_bytes()).expect("written");
        file.rewind().expect("rewound");
        Self::reading(file.into(), command).ended(patience)
    }

    /// The standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// The standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        // A program that has already ended does not have to be killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().expect("run kill");
        assert!(status.success(), "kill -TERM {id}");
    }

    /// Whether the program has ended.
    pub fn is_over(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until the program ends.
    pub fn ended(&mut self, patience: Duration) -> ProgramResult {
        let status = eventually_blocking("the program ends", patience, || {
            let status = self.child.try_wait().expect("ask after a child");
            status.ok_or_else(|| format!("{}{}", self.stdout(), self.stderr()))
        });
        eventually_blocking("its output is read", patience, || {
            let whole = self.stdout.is_whole() && self.stderr.is_whole();
            if whole { Ok(()) } else { Err("something still holds its output") }
        });
        ProgramResult { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Clone, Default)]
struct CollectedOutput(Arc<Mutex<Vec<u8>>>);

impl CollectedOutput {
    fn collecting(pipe: Option<impl Read + Send + 'static>) -> Self {
        let output = Self::default();
        let sink = output.clone();
        std::thread::spawn(move || {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.bytes().extend_from_slice(&buffer[..count]);
            }
        });
        output
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The collecting thread holds the other end of the pipe until it has read everything.
    fn is_whole(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}
