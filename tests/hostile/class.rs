//! The inputs of one class of attack, and the table over all classes.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the inputs of one class and remembers the failed ones.
#[derive(Clone, Default)]
pub(crate) struct AttackClass(Arc<Mutex<AttackTally>>);

#[derive(Default)]
struct AttackTally {
    count: usize,
    failures: Vec<String>,
}

impl AttackClass {
    /// Records one input. `outcome` is `Err` with the observation if the input did harm.
    pub(crate) fn record(&self, input: &str, outcome: Result<(), String>) {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tries.count += 1;
        if let Err(seen) = outcome {
            tries.failures.push(format!("{input}: {seen}"));
        }
    }

    /// Records one input that is harmless if `holds`. Otherwise `seen` gives the observation.
    pub(crate) fn check(&self, input: &str, holds: bool, seen: impl FnOnce() -> String) {
        self.record(input, if holds { Ok(()) } else { Err(seen()) });
    }
}

/// The results of all classes that were run.
#[derive(Default)]
pub(crate) struct AttackResults(Vec<(String, usize, Vec<String>)>);

impl AttackResults {
    pub(crate) fn add(&mut self, name: &str, class: &AttackClass) {
        let tries = class.0.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{name}: {} tried, {} failed", tries.count, tries.failures.len());
        self.0.push((name.to_owned(), tries.count, tries.failures.clone()));
    }

    pub(crate) fn tries(&self) -> usize {
        self.0.iter().map(|(_, count, _)| count).sum()
    }

    /// The table in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = "| class | inputs tried | failures |\n| --- | ---: | ---: |\n".to_owned();
        for (name, count, failures) in &self.0 {
            let _ = writeln!(table, "| {name} | {count} | {} |", failures.len());
        }
        table
    }

    /// Prints every failure and returns their number.
    pub(crate) fn print_failures(&self) -> usize {
        let failures = self.0.iter().flat_map(|(name, _, failures)| {
            failures.iter().map(move |failure| format!("{name}: {failure}"))
        });
        failures.inspect(|failure| println!("FAILED {failure}")).count()
    }

    /// Whether the table in the documentation equals this one. With `BATON_WRITE_DOCS` it is
    /// replaced instead.
    pub(crate) fn compare_with(&self, path: &Path) -> bool {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let head = text.split("| class |").next().unwrap_or_default();
        let wanted = format!("{head}{}", self.table());
        if text == wanted {
            return true;
        }
        if std::env::var_os("BATON_WRITE_DOCS").is_some() {
            return std::fs::write(path, wanted).is_ok();
        }
        println!("{} is stale: run this with BATON_WRITE_DOCS=1", path.display());
        false
    }
}
