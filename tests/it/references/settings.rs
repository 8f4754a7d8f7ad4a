//! `docs/reference/settings.md`: the table of settings, section by section.

use std::fmt::Write as _;

use baton_runtime::settings::table::{SETTINGS, Section, Setting};

use super::{cell, head};

const INTRODUCTION: &str = "\
Environment variables decide these settings. An empty variable counts as absent. The flags of `baton up` and
`baton serve` (`--listen`, `--admin-listen`, `--data-dir`, `--log-format`) override the variable of the same name. A bad
value stops the start, and one message names every bad variable.

`template.yaml` sets the variables that are marked *set by the template*; on AWS their values come from the stack.
";

/// The text of the page.
pub(super) fn page() -> String {
    let mut page = head("Settings", "shared/runtime/src/settings/table.rs");
    page.push_str(INTRODUCTION);
    let mut section: Option<Section> = None;
    for setting in SETTINGS {
        if section != Some(setting.section) {
            section = Some(setting.section);
            let title = setting.section.title();
            let _ = write!(
                page,
                "\n## {title}\n\n| setting | default | values | |\n| --- | --- | --- | --- |\n"
            );
        }
        page.push_str(&row(setting));
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
