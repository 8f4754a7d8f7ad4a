//! The generated references `docs/reference/settings.md`, `cli.md`, `api.md` and `clients.md`. The
//! tests compare each page with the code. With `BATON_WRITE_DOCS=1` they write the pages instead. Other tests
//! compare what documents name with what exists.

mod api;
mod cli;
mod settings;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use baton_runtime::settings::all_settings;
use baton_test_harness::client_matrix;
use baton_test_harness::system::TestSystem;
use yaml_serde::Value as Yaml;

use crate::repository_shape::{files, none, read, root};

const RENEW: &str = "BATON_WRITE_DOCS=1 cargo test -p baton-tests --test it references";
/// Names that are not settings: variables of tests, scripts and client examples, constants, and
/// former names of settings.
const NO_SETTINGS: [&str; 9] = [
    "BATON_CI_CACHE",
    "BATON_KEY",
    "BATON_REQUEST_ID",
    "BATON_SEED",
    "BATON_SEEDS",
    "BATON_TEST_BINARY",
    "BATON_TEST_CHILD_DIR",
    "BATON_UTILISATION_MAX",
    "BATON_WRITE_DOCS",
];

/// The example of a file that does not exist (`docs/develop/adding-a-provider.md`).
const EXAMPLE_FILE: &str = "shared/providers/src/acme.rs";

/// Compares a reference with `wanted`, or writes it.
#[track_caller]
fn compare_or_write(name: &str, wanted: &str) {
    let path = root().join("docs/reference").join(name);
    if std::fs::read_to_string(&path).is_ok_and(|text| text == wanted) {
        return;
    }
    if std::env::var_os("BATON_WRITE_DOCS").is_some() {
        std::fs::write(&path, wanted).expect("the reference can be written");
        return;
    }
    panic!("docs/reference/{name} is stale. This command renews it:\n{RENEW}");
}

/// The first lines of a generated page.
fn head(title: &str, source: &str) -> String {
    format!("# {title}\n\n<!-- Generated from {source}. Do not edit; renew it:\n{RENEW} -->\n\n")
}

/// Escapes a text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

#[test]
fn settings_reference_is_fresh() {
    compare_or_write("settings.md", &settings::page());
}

/// The suites of real clients prove what the page says. Here it only has every client and upstream.
#[test]
fn page_of_clients_is_fresh() {
    compare_or_write("clients.md", &client_matrix::page(RENEW));
}

#[test]
fn command_line_reference_is_fresh() {
    compare_or_write("cli.md", &cli::page());
}

#[tokio::test]
async fn api_reference_is_fresh() {
    let system = TestSystem::empty().await;
    let mut document = system.admin().get("/openapi.json").await.ok().json();
    // The order of fields depends on how the binary was built (`preserve_order` of serde_json).
    document.sort_all_objects();
    compare_or_write("api.md", &api::page(&document));
}

/// The names in a text that have the form of a setting.
fn variables(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_of_name(c));
    let prefixes = ["BATON_", "OTEL_"];
    words
        .filter(|word| {
            let rest = prefixes.iter().find_map(|prefix| word.strip_prefix(prefix));
            *word == "ANTHROPIC_API_KEY" || rest.is_some_and(|rest| !rest.is_empty())
        })
        .collect()
}

/// Whether a file is deployed or part of the documentation.
fn is_of_product(path: &Path) -> bool {
    let folders = ["shared", "functions", "cli", "infra", "docs"];
    let is_inside = folders.iter().any(|folder| path.starts_with(folder));
    let text = ["rs", "md", "yaml", "toml", "html"];
    let is_text = path.extension().is_some_and(|ending| text.iter().any(|text| ending == *text));
    is_text && (is_inside || path.parent() == Some(Path::new("")))
}

#[test]
fn every_named_variable_is_in_the_settings_table() {
    let table: BTreeSet<&str> = all_settings().map(|setting| setting.name).collect();
    let unknown = files().into_iter().filter(|path| is_of_product(path)).flat_map(|path| {
        let text = read(&path);
        // A name that ends in `_` is a prefix of several names.
        let is_known = |name: &str| {
            table.contains(name)
                || NO_SETTINGS.contains(&name)
                || (name.ends_with('_') && table.iter().any(|known| known.starts_with(name)))
        };
        let names = variables(&text).into_iter().filter(|name| !is_known(name));
        names.map(|name| format!("{}: {name}", path.display())).collect::<Vec<_>>()
    });
    none("settings are in shared/runtime/src/settings", unknown);
}

/// The words in backticks of a text that look like paths of this repository.
fn repository_paths(text: &str) -> impl Iterator<Item = &str> {
    let folders = ["shared/", "functions/", "infra/", "cli/", "tests/", "docs/", ".ci/"];
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let words = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    words.filter(move |word| {
        folders.iter().any(|folder| word.starts_with(folder)) && word.chars().all(is_of_path)
    })
}

#[test]
fn named_files_exist() {
    let is_document = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "md") && !path.starts_with("tests")
    };
    let missing = files().into_iter().filter(is_document).flat_map(|document| {
        let text = read(&document);
        let paths = repository_paths(&text).filter(|path| !root().join(path).exists());
        let paths = paths.filter(|path| *path != EXAMPLE_FILE);
        paths.map(|path| format!("{}: {path}", document.display())).collect::<Vec<_>>()
    });
    none("a document names a file that does not exist", missing);
}

#[test]
fn template_sets_the_marked_settings() {
    let template = read(Path::new("template.yaml"));
    let keys = template.lines().filter_map(|line| line.trim().split_once(':'));
    let set: BTreeSet<&str> =
        keys.map(|(key, _)| key).filter(|key| key.starts_with("BATON_")).collect();
    let marked = all_settings().filter(|setting| setting.is_set_by_template);
    assert_eq!(set, marked.map(|setting| setting.name).collect());
}

/// The table of the page has a row with the default for each parameter of the template, and no
/// others.
#[test]
fn aws_page_lists_every_parameter() {
    let page = read(Path::new("docs/operate/aws-stack.md"));
    let section = page.split("\n## Parameters\n").nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name.to_owned(), rest.split(" | ").next()?.to_owned()))
    };
    let listed: BTreeSet<(String, String)> = section.lines().filter_map(row).collect();
    let template: Yaml =
        yaml_serde::from_str(&read(Path::new("template.yaml"))).expect("the template");
    let parameters = template["Parameters"].as_mapping().expect("parameters");
    let defined = parameters.iter().map(|(name, parameter)| {
        let default = &parameter["Default"];
        let number = || default.as_i64().map(|number| number.to_string());
        let default = default.as_str().map(str::to_owned).or_else(number).unwrap_or_default();
        let default = if default.is_empty() { "empty".to_owned() } else { format!("`{default}`") };
        (name.as_str().unwrap_or_default().to_owned(), default)
    });
    assert_eq!(listed, defined.collect());
}

/// The page of the other stacks names each of their parameters.
#[test]
fn page_of_other_stacks_names_every_parameter() {
    let page = read(Path::new("docs/operate/aws-forms.md"));
    let missing = ["infra/fargate.yaml", "infra/managed-instances.yaml"].map(|path| {
        let template: Yaml = yaml_serde::from_str(&read(Path::new(path))).expect("the template");
        let parameters = template["Parameters"].as_mapping().expect("parameters");
        let names = parameters.iter().filter_map(|(name, _)| name.as_str().map(str::to_owned));
        let names = names.filter(|name| !page.contains(&format!("`{name}`")));
        names.map(|name| format!("{path}: {name}")).collect::<Vec<_>>()
    });
    none("parameters that docs/operate/aws-forms.md does not explain", missing.concat());
}
