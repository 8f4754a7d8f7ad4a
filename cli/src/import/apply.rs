//! Applies a plan through the admin API. Items whose names already exist stay unchanged, so an
//! import that was interrupted can be repeated with the same command.

use super::plan::{DEFAULT, ImportPlan, PlannedAccount, PlannedKey, SkippedItem};
use crate::CliError;
use crate::operate::CliContext;
use crate::output::{print_line, rows};
use baton_domain::spreadsheet;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The result of an import.
#[derive(Default)]
pub(super) struct ImportOutcome {
    /// Created items: kind, name, id.
    pub(super) created: Vec<(&'static str, String, String)>,
    /// Secrets of new keys that are not written to a file: name, secret.
    pub(super) secrets: Vec<(String, String)>,
    /// Items that the API refused.
    pub(super) refused: Vec<SkippedItem>,
    /// Items that already existed: kind, name.
    pub(super) existing: Vec<(&'static str, String)>,
}

/// Where new keys are written.
pub(super) enum KeyOutput {
    /// To the screen, each when it is created.
    Shown,
    /// Into the result, for `--json`.
    Collected,
    /// Into a file that only its owner can read, each when it is created.
    Written(Box<csv::Writer<File>>),
}

impl KeyOutput {
    /// Opens a file for keys. Existing content is kept.
    pub(super) fn open_file(path: &Path) -> Result<Self, CliError> {
        let failed = |error: &dyn std::fmt::Display| {
            CliError::Failed(format!("{}: {error}", path.display()))
        };
        let mut options = File::options();
        options.append(true);
        let (file, is_new) = match options.clone().create_new(true).mode(0o600).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (options.open(path).map_err(|error| failed(&error))?, false)
            }
            Err(error) => return Err(failed(&error)),
        };
        let mode = file.metadata().map_err(|error| failed(&error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(failed(
                &"other users can read the file; run `chmod 600` on it, or name \
                 another file",
            ));
        }
        let mut keys = csv::Writer::from_writer(file);
        if is_new {
            let written = keys.write_record(["name", "id", "secret"]);
            written.map_err(|error| failed(&error))?;
            keys.flush().map_err(|error| failed(&error))?;
        }
        Ok(Self::Written(Box::new(keys)))
    }

    fn output_secret(
        &mut self,
        (name, id, secret): (&str, &str, &str),
        outcome: &mut ImportOutcome,
    ) -> Result<(), CliError> {
        match self {
            Self::Shown => print_line(format!("{name}\t{secret}")),
            Self::Collected => outcome.secrets.push((name.to_owned(), secret.to_owned())),
            Self::Written(file) => {
                file.write_record([&*spreadsheet::cell(name), id, secret])
                    .map_err(CliError::from_cause)?;
                file.flush().map_err(CliError::from_cause)?;
            }
        }
        Ok(())
    }
}

/// Creates groups, then accounts, then keys. After a failure the outcome still lists what was
/// created.
pub(super) async fn apply(
    context: &CliContext,
    source: &str,
    plan: &ImportPlan,
    (keys, outcome): (&mut KeyOutput, &mut ImportOutcome),
) -> Result<(), CliError> {
    let mut run = ImportRun { context, source, outcome };
    let total = plan.groups.len() + plan.accounts.len() + plan.keys.len();
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));

    let mut groups = run.ids_by_name("groups").await?;
    for group in &plan.groups {
        let body = json!({ "name": group.name, "description": group.description });
        if let Some(created) = run
            .create_missing(("group", "groups"), (&group.name, &group.name), (&groups, body))
            .await?
        {
            groups.insert(group.name.clone(), id_of(&created));
        }
        bar.inc(1);
    }
    let accounts = run.ids_by_name("accounts").await?;
    for account in &plan.accounts {
        let body = account_body(plan, account, &groups)?;
        run.create_missing(
            ("account", "accounts"),
            (&account.name, &account.source),
            (&accounts, body),
        )
        .await?;
        bar.inc(1);
    }
    let ids_by_name = run.ids_by_name("keys").await?;
    for key in &plan.keys {
        let body = key_body(key, &groups)?;
        if let Some(created) = run
            .create_missing(("key", "keys"), (&key.name, &key.source), (&ids_by_name, body))
            .await?
        {
            let secret = created["secret"].as_str().unwrap_or_default();
            bar.suspend(|| keys.output_secret((&key.name, &id_of(&created), secret), run.outcome))?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

struct ImportRun<'a> {
    context: &'a CliContext,
    source: &'a str,
    outcome: &'a mut ImportOutcome,
}

impl ImportRun<'_> {
    /// The existing items: ids by name.
    async fn ids_by_name(&self, route: &str) -> Result<BTreeMap<String, String>, CliError> {
        let all = self.context.admin.all(&[route], &[]).await?;
        let named = |row: &Value| Some((row["name"].as_str()?.to_owned(), id_of(row)));
        Ok(rows(&all).iter().filter_map(named).collect())
    }

    async fn create_missing(
        &mut self,
        (kind, route): (&'static str, &str),
        (name, source): (&str, &str),
        (ids_by_name, body): (&BTreeMap<String, String>, Value),
    ) -> Result<Option<Value>, CliError> {
        if ids_by_name.contains_key(name) {
            self.outcome.existing.push((kind, name.to_owned()));
            return Ok(None);
        }
        let key = format!("import-{}-{kind}-{source}", self.source);
        let key: String = key
            .bytes()
            .map(|byte| if byte.is_ascii_graphic() { byte as char } else { '_' })
            .take(200)
            .collect();
        let created = match self.context.admin.post_once(&[route], &body, &key).await {
            Ok(created) => created,
            // The other items do not depend on it, and the report names it.
            Err(CliError::Refused(reason)) => {
                self.outcome.refused.push(SkippedItem { item: format!("{kind} {name}"), reason });
                return Ok(None);
            }
            Err(error) => {
                return Err(CliError::Failed(format!(
                    "cannot create {kind} {name}: {error}. Everything before it is kept; run the \
                     same command again to continue"
                )));
            }
        };
        self.outcome.created.push((kind, name.to_owned(), id_of(&created)));
        Ok(Some(created))
    }
}

fn id_of(row: &Value) -> String {
    row["id"].as_str().unwrap_or_default().to_owned()
}

fn find_group_id(groups: &BTreeMap<String, String>, name: &str) -> Result<String, CliError> {
    groups
        .get(name)
        .cloned()
        .ok_or_else(|| CliError::Failed(format!("the group {name} does not exist")))
}

fn account_body(
    plan: &ImportPlan,
    account: &PlannedAccount,
    groups: &BTreeMap<String, String>,
) -> Result<Value, CliError> {
    let mut body = json!({
        "name": account.name, "provider": account.provider, "base_url": account.base_url,
        "credential": { "type": "api_key", "value": account.api_key.expose() },
        "priority": plan.priority(account), "models": account.models,
        "model_map": account.model_map, "enabled": account.enabled,
        "max_concurrency": account.max_concurrency,
    });
    let named = account.groups.iter().filter(|name| *name != DEFAULT || groups.contains_key(*name));
    let ids: Vec<String> =
        named.map(|name| find_group_id(groups, name)).collect::<Result<_, _>>()?;
    if !ids.is_empty() {
        body["groups"] = json!(ids);
    }
    if let Some(weight) = account.weight {
        body["weight"] = json!(weight);
    }
    Ok(body)
}

fn key_body(key: &PlannedKey, groups: &BTreeMap<String, String>) -> Result<Value, CliError> {
    let mut body = json!({
        "name": key.name, "models": key.models, "enabled": key.enabled,
        "expires_at": key.expires_at, "limits": key.limits.json(),
    });
    if let Some(group) = &key.group {
        body["group_id"] = json!(find_group_id(groups, group)?);
    }
    Ok(body)
}
