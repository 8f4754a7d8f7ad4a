//! `docs/reference/cli.md`: the commands of `baton` as the program itself parses them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use baton::args::Args;
use clap::{Arg, Command, CommandFactory as _};

use super::{cell, head};

const INTRODUCTION: &str = "\
`baton help COMMAND` prints the same. A flag overrides its environment variable. Exit codes: 0 done, 1 failed, 2 wrong
usage.
";

/// The text of the page.
pub(super) fn page() -> String {
    let mut page = head("Commands", "the command line's definition in cli/src");
    page.push_str(INTRODUCTION);
    let mut baton = Args::command();
    baton.build();
    section(&mut page, &mut baton, "baton", &BTreeSet::new());
    page
}

/// A command and its subcommands. `known` are the global arguments that a parent has listed.
fn section(page: &mut String, command: &mut Command, path: &str, known: &BTreeSet<String>) {
    let depth = path.split(' ').count().clamp(1, 3);
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace("\n       ", "\n");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(
        page,
        "\n{} `{path}`\n\n{}.\n",
        "#".repeat(depth + 1),
        cell(about.trim_end_matches('.'))
    );
    let above = path.rsplit_once(' ').map_or(path, |(above, _)| above);
    for alias in command.get_visible_aliases() {
        let _ = write!(page, "\nAlias: `{above} {alias}`.\n");
    }
    let _ = write!(page, "\n```text\n{usage}\n```\n");
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|argument| is_shown(argument)).collect();
    let own: Vec<&&Arg> =
        arguments.iter().filter(|argument| !known.contains(argument.get_id().as_str())).collect();
    if !own.is_empty() {
        page.push_str("\n| argument | | default | environment |\n| --- | --- | --- | --- |\n");
        page.extend(own.iter().map(|argument| row(argument)));
    }
    if own.len() < arguments.len() {
        let _ = write!(page, "\nThe options of `{above}` hold as well.\n");
    }
    let global = own.iter().filter(|argument| argument.is_global_set());
    let known: BTreeSet<String> =
        known.iter().cloned().chain(global.map(|argument| argument.get_id().to_string())).collect();
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        let path = format!("{path} {}", inner.get_name());
        section(page, inner, &path, &known);
    }
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

fn row(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let (help, mut default) = split_mark(&help, "default");
    let (mut help, mut variable) = split_mark(&help, "env");
    if let Some(name) = argument.get_env() {
        variable = name.to_string_lossy().into_owned();
    }
    // The default of a flag without a value is not listed.
    let takes_value = argument.get_action().takes_values();
    for value in argument.get_default_values().iter().filter(|_| takes_value) {
        default = value.to_string_lossy().into_owned();
    }
    let possible = argument.get_possible_values();
    let possible: Vec<String> = possible
        .iter()
        .filter(|_| takes_value)
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let is_in_help =
        argument.get_possible_values().iter().all(|value| help.contains(value.get_name()));
    if !possible.is_empty() && !is_in_help {
        let _ = write!(help, ": {}", possible.join(", "));
    }
    let need = if argument.is_required_set() { " Required." } else { "" };
    let [default, variable] = [default, variable].map(|text| code(&text));
    let help = cell(help.trim_end_matches('.'));
    format!(
        "| `{}` | {help}.{need} | {default} | {variable} |\n",
        spelled(argument).replace('|', "\\|")
    )
}

/// The forms of an argument: `-y, --yes`, `--url <URL>`, `<ACCOUNT>`.
fn spelled(argument: &Arg) -> String {
    let value = || {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ")
    };
    if argument.is_positional() {
        return value();
    }
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if argument.get_action().takes_values() { format!("{flags} {}", value()) } else { flags }
}

/// A help text without its `[mark: …]`, and the content of that mark.
fn split_mark(help: &str, mark: &str) -> (String, String) {
    let found = help.split_once(&format!(" [{mark}: ")).and_then(|(before, rest)| {
        let (inside, after) = rest.split_once(']')?;
        Some((format!("{before}{after}"), inside.to_owned()))
    });
    found.unwrap_or_else(|| (help.to_owned(), String::new()))
}

/// Formats a text as code, unless it is a sentence.
fn code(text: &str) -> String {
    match text {
        "" => String::new(),
        words if words.contains(' ') && !words.contains(", ") => words.to_owned(),
        list => list.split(", ").map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", "),
    }
}
