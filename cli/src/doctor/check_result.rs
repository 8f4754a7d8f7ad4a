//! The results of the checks, and how they are shown.

use crate::output::{OutputPrinter, print_line, table};
use serde_json::{Value, json};

/// The status of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CheckStatus {
    /// Nothing is wrong.
    Ok,
    /// It works, but not as people expect.
    Warn,
    /// Clients will not work.
    Fail,
    /// It was not checked.
    Skipped,
}

impl CheckStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of one check.
#[derive(Debug)]
pub(super) struct CheckResult {
    /// The check's name, the same in every report.
    pub(super) check: &'static str,
    pub(super) state: CheckStatus,
    /// The observation.
    pub(super) message: String,
    /// The advice; empty if nothing is needed.
    pub(super) advice: String,
}

impl CheckResult {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: CheckStatus::Ok, message: message.into(), advice: String::new() }
    }

    pub(super) fn warn(
        check: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, state: CheckStatus::Warn, message: message.into(), advice: advice.into() }
    }

    pub(super) fn fail(
        check: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, state: CheckStatus::Fail, message: message.into(), advice: advice.into() }
    }

    pub(super) fn skipped(check: &'static str, reason: impl Into<String>) -> Self {
        Self { check, state: CheckStatus::Skipped, message: reason.into(), advice: String::new() }
    }
}

/// The number of failed checks.
pub(super) fn failures(results: &[CheckResult]) -> usize {
    results.iter().filter(|result| result.state == CheckStatus::Fail).count()
}

/// Prints all results.
pub(super) fn show_results(printer: OutputPrinter, results: &[CheckResult]) {
    let row = |result: &CheckResult| {
        let state = result.state.as_str();
        json!({
            "check": result.check, "state": state, "what": result.message, "advice": result.advice,
        })
    };
    let checks: Vec<Value> = results.iter().map(row).collect();
    printer.show(&json!({ "ok": failures(results) == 0, "checks": checks }), || {
        let mut table = table(["check", "", "result", "advice"].into_iter());
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        for result in results {
            let state = result.state.as_str();
            table.add_row([result.check, state, &result.message, &result.advice]);
        }
        print_line(table);
    });
}
