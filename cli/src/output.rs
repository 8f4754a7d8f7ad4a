//! What the program says to the person at the terminal, and to scripts. A closed pipe is no reason
//! to fail. What is said is the commands' business.

use crate::CliError;
use baton_domain::printable::escape_for_terminal;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::Value;
use std::io::Write as _;

/// A line on standard output.
pub(crate) fn print_line(line: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line on standard error: what people should know and scripts need not read.
pub(crate) fn remark(line: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stderr().lock(), "baton: {line}");
}

/// The one line that says why it failed, on standard error.
pub fn print_error(fail: &CliError) {
    remark(fail);
}

/// The one way to show a result: a table or sentence for people, the API's JSON for scripts.
#[derive(Clone, Copy)]
pub(crate) struct OutputPrinter {
    /// Whether JSON is wanted.
    pub(crate) json: bool,
}

impl OutputPrinter {
    /// Shows `value`, or what `for_people` makes of it.
    pub(crate) fn show(self, value: &Value, for_people: impl FnOnce()) {
        if self.json { print_line(format!("{value:#}")) } else { for_people() }
    }

    /// Shows rows as a table; a column is a head and the place of its cells (a JSON pointer).
    pub(crate) fn rows(self, answer: &Value, columns: &[(&str, &str)]) {
        self.show(answer, || {
            let mut table = table(columns.iter().map(|(head, _)| *head));
            for row in rows(answer) {
                table.add_row(columns.iter().map(|(_, place)| cell(row, place)));
            }
            print_line(table);
        });
    }

    /// Shows one object, a line a field.
    pub(crate) fn fields(self, object: &Value) {
        self.show(object, || {
            let mut table = table(["field", "value"].into_iter());
            for (name, value) in object.as_object().into_iter().flatten() {
                table.add_row([name.clone(), text(value)]);
            }
            print_line(table);
        });
    }
}

/// An empty table with these heads.
pub(crate) fn table<'a>(heads: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(heads);
    table
}

/// The rows of a list or report.
pub(crate) fn rows(answer: &Value) -> &[Value] {
    answer["data"].as_array().map_or(&[], Vec::as_slice)
}

fn cell(row: &Value, place: &str) -> String {
    row.pointer(place).map_or_else(|| "-".to_owned(), text)
}

/// A value as people read it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // Names are others' text, and a terminal obeys some of it.
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

/// How much of an account's limits is used, as `5h 42 %, 7d 7 %`.
fn utilization_text(value: &Value) -> String {
    let windows = [("5h", &value["five_hour"]["percent"]), ("7d", &value["seven_day"]["percent"])];
    let known = windows.iter().filter(|(_, percent)| !percent.is_null());
    let each: Vec<String> = known.map(|(name, percent)| format!("{name} {percent} %")).collect();
    if each.is_empty() { "-".to_owned() } else { each.join(", ") }
}
