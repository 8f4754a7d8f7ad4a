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
    pub(super) what: String,
    /// What to do about it; empty if nothing is needed.
    pub(super) advice: String,
}

impl CheckResult {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: CheckStatus::Ok, what: what.into(), advice: String::new() }
    }

    pub(super) fn warn(
        check: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, state: CheckStatus::Warn, what: what.into(), advice: advice.into() }
    }

    pub(super) fn fail(
        check: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, state: CheckStatus::Fail, what: what.into(), advice: advice.into() }
    }

    pub(super) fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, state: CheckStatus::Skipped, what: why.into(), advice: String::new() }
    }
}

/// The number of failed checks.
pub(super) fn failures(findings: &[CheckResult]) -> usize {
    findings.iter().filter(|finding| finding.state == CheckStatus::Fail).count()
}

/// Prints all results.
pub(super) fn show_results(screen: OutputPrinter, findings: &[CheckResult]) {
    let row = |finding: &CheckResult| {
        let state = finding.state.as_str();
        json!({
            "check": finding.check, "state": state, "what": finding.what, "advice": finding.advice,
        })
    };
    let checks: Vec<Value> = findings.iter().map(row).collect();
    screen.show(&json!({ "ok": failures(findings) == 0, "checks": checks }), || {
        let mut table = table(["check", "", "result", "advice"].into_iter());
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        for finding in findings {
            let state = finding.state.as_str();
            table.add_row([finding.check, state, &finding.what, &finding.advice]);
        }
        print_line(table);
    });
}
