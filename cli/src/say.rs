//! What the program says to the person at the terminal. A closed pipe is no reason to fail.

use std::io::Write as _;

/// A line on standard output.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}

/// The one line that says why it failed, on standard error.
pub fn complain(fail: &crate::Fail) {
    let _closed = writeln!(std::io::stderr().lock(), "baton: {fail}");
}
