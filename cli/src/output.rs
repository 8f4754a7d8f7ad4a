//! Output for the person at the terminal and for scripts. A closed pipe is not an error. The
//! commands decide what is printed.

use crate::CliError;
use baton_domain::printable::escape_for_terminal;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::Value;
use std::io::Write as _;

/// A field that the API repeats under its former name, for programs. Removed with the API's field.
const FORMER_FIELD: &str = "utilisation";

/// Prints a line on standard output.
pub(crate) fn print_line(line: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a line on standard error, for people. Scripts do not need to read it.
pub(crate) fn remark(line: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stderr().lock(), "baton: {line}");
}

/// Prints the one line that says why the program failed, on standard error.
pub fn print_error(error: &CliError) {
    remark(error);
}

/// Shows results: a table or sentence for people, the API's JSON for scripts.
#[derive(Clone, Copy)]
pub(crate) struct OutputPrinter {
    /// Whether to print JSON.
    pub(crate) json: bool,
}

impl OutputPrinter {
    /// Prints `value` as JSON, or calls `human_output`.
    pub(crate) fn show(self, value: &Value, human_output: impl FnOnce()) {
        if self.json { print_line(format!("{value:#}")) } else { human_output() }
    }

    /// Shows rows as a table. A column is a heading and the JSON pointer of its cells.
    pub(crate) fn rows(self, response: &Value, columns: &[(&str, &str)]) {
        self.show(response, || {
            let mut table = table(columns.iter().map(|(head, _)| *head));
            for row in rows(response) {
                table.add_row(columns.iter().map(|(_, pointer)| cell(row, pointer)));
            }
            print_line(table);
        });
    }

    /// Shows one object, with one line for each field.
    pub(crate) fn fields(self, object: &Value) {
        self.show(object, || {
            let mut table = table(["field", "value"].into_iter());
            let fields = object.as_object().into_iter().flatten();
            for (name, value) in fields.filter(|(name, _)| *name != FORMER_FIELD) {
                table.add_row([name.clone(), text(value)]);
            }
            print_line(table);
        });
    }
}

/// An empty table with these headings.
pub(crate) fn table<'a>(headers: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(headers);
    table
}

/// The rows of a list or report.
pub(crate) fn rows(response: &Value) -> &[Value] {
    response["data"].as_array().map_or(&[], Vec::as_slice)
}

fn cell(row: &Value, pointer: &str) -> String {
    row.pointer(pointer).map_or_else(|| "-".to_owned(), text)
}

/// A value in the form that people read.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // Names come from other people and can contain control sequences, which a terminal would
        // execute.
        Value::String(text) => escape_for_terminal(text).into_owned(),
        Value::Array(items) if items.is_empty() => "all".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) if fields.contains_key("five_hour") => utilization_text(value),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, value)| format!("{name} {}", text(value)));
            each.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// How much of an account's limits is used, such as `5h 42 %, 7d 7 %`.
fn utilization_text(value: &Value) -> String {
    let windows = [("5h", &value["five_hour"]["percent"]), ("7d", &value["seven_day"]["percent"])];
    let known = windows.iter().filter(|(_, percent)| !percent.is_null());
    let each: Vec<String> = known.map(|(name, percent)| format!("{name} {percent} %")).collect();
    if each.is_empty() { "-".to_owned() } else { each.join(", ") }
}
