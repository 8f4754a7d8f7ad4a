//! What the kernel says about a process: CPU time and resident memory, from `/proc`.

use std::time::Duration;

/// Clock ticks a second in `/proc/<pid>/stat`; 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// A process to look at.
pub(crate) struct Figures {
    id: u32,
}

impl Figures {
    pub(crate) fn of(id: u32) -> Self {
        Self { id }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.id)).unwrap_or_default()
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        // The second field is the name in parentheses and may hold spaces; utime is the 14th.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
        Duration::from_secs_f64(ticks / TICKS)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}
