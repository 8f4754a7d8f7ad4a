//! `docs/reference/settings.md`: a table of settings for each section.

use std::fmt::Write as _;

use baton_runtime::settings::{SECTIONS, Setting};

use super::{cell, head};

const INTRODUCTION: &str = "\
Environment variables decide these settings. An empty variable counts as absent. The flags of `baton up` and
`baton serve` (`--listen`, `--admin-listen`, `--data-dir`, `--log-format`) override the variable of the same name. A bad
value stops the start, and one message names every bad variable.

`template.yaml` sets the variables that are marked *set by the template*; on AWS their values come from the stack.
";

/// The text of the page.
pub(super) fn page() -> String {
    let mut page = head("Settings", "shared/runtime/src/settings");
    page.push_str(INTRODUCTION);
    for section in SECTIONS {
        let title = section.title;
        let _ = write!(
            page,
            "\n## {title}\n\n| setting | default | values | |\n| --- | --- | --- | --- |\n"
        );
        page.extend(section.settings.iter().map(row));
    }
    page
}

fn row(setting: &Setting) -> String {
    let default = match (setting.default, setting.unless_set) {
        ("", "") => "none".to_owned(),
        ("", words) => words.to_owned(),
        (default, _) => format!("`{default}`"),
    };
    let mark = if setting.is_set_by_template { " *Set by the template.*" } else { "" };
    let (values, explanation) = (cell(setting.values), cell(setting.explanation()));
    format!("| `{}` | {} | {values} | {explanation}{mark} |\n", setting.name, cell(&default))
}
