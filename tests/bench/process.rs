//! Programs that the benchmark starts, and what the kernel says about them: CPU time and resident
//! memory of a process and all its descendants, from `/proc`.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks a second in `/proc/<pid>/stat`; 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A program that writes into files, since whoever reads a pipe here would be in the load's way.
/// It is ended when dropped: told, and after some time killed.
pub(crate) struct ChildProgram(Child);

impl ChildProgram {
    pub(crate) fn start(command: &mut Command, folder: &Path) -> Result<Self, String> {
        let file = |name| File::create(folder.join(name)).map_err(|e| format!("{name}: {e}"));
        command.stdin(Stdio::null()).stdout(file("stdout")?).stderr(file("stderr")?);
        let child = command.spawn().map_err(|e| format!("start {command:?}: {e}"))?;
        Ok(Self(child))
    }

    pub(crate) fn figures(&self) -> ProcessFigures {
        ProcessFigures::of(self.0.id())
    }

    pub(crate) fn is_over(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)))
    }
}

impl Drop for ChildProgram {
    fn drop(&mut self) {
        // nginx ends its workers only when it is told, not when it is killed.
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let start = Instant::now();
        while told.is_ok() && !self.is_over() && start.elapsed() < START_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A process to look at.
#[derive(Clone, Copy)]
pub(crate) struct ProcessFigures {
    id: u32,
}

impl ProcessFigures {
    /// This process.
    pub(crate) fn own() -> Self {
        Self { id: std::process::id() }
    }

    pub(crate) fn of(id: u32) -> Self {
        Self { id }
    }

    fn family(self) -> Vec<u32> {
        let mut family = vec![self.id];
        let mut at = 0;
        while let Some(id) = family.get(at).copied() {
            at += 1;
            let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
            for task in tasks.flatten() {
                let children = std::fs::read_to_string(task.path().join("children"));
                let children = children.unwrap_or_default();
                family.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
        }
        family
    }

    /// User and system time so far.
    pub(crate) fn cpu(self) -> Duration {
        self.family().into_iter().map(cpu).sum()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(self) -> u64 {
        self.family().into_iter().map(resident_kib).sum()
    }
}

fn read(id: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default()
}

fn cpu(id: u32) -> Duration {
    let stat = read(id, "stat");
    // The second field is the name in parentheses and may hold spaces; utime is the 14th.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS)
}

fn resident_kib(id: u32) -> u64 {
    let status = read(id, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
