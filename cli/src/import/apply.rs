//! Applies a plan through the admin API. Items whose names already exist stay unchanged, so an
//! import that was interrupted can be repeated with the same command.

use super::plan::{DEFAULT, ImportPlan, PlannedAccount, PlannedKey, SkippedItem};
use crate::CliError;
use crate::operate::CliContext;
use crate::operate::resource_names::{ACCOUNT, GROUP, KEY, ResourceKind};
use crate::output::{print_line, rows};
use baton_api::accounts::AccountChange;
use baton_api::credentials::NewCredential;
use baton_api::error::field_message;
use baton_api::fields::FieldChange;
use baton_api::groups::GroupChange;
use baton_api::keys::KeyChange;
use baton_api::new::New;
use baton_domain::id::GroupId;
use baton_domain::spreadsheet;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The result of an import.
#[derive(Default)]
pub(super) struct ImportOutcome {
    /// Created items.
    pub(super) created: Vec<CreatedItem>,
    /// Secrets of new keys that are not written to a file: name, secret.
    pub(super) secrets: Vec<(String, String)>,
    /// Items that the API refused.
    pub(super) refused: Vec<SkippedItem>,
    /// Items that already existed: kind, name.
    pub(super) existing: Vec<(&'static str, String)>,
}

/// An item that an import has created.
pub(super) struct CreatedItem {
    /// The noun of the kind of resource.
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) id: String,
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
        name: &str,
        id: &str,
        secret: &str,
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
    keys: &mut KeyOutput,
    outcome: &mut ImportOutcome,
) -> Result<(), CliError> {
    let mut run = ImportRun { context, source, outcome };
    let total = plan.groups.len() + plan.accounts.len() + plan.keys.len();
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));

    let mut groups = run.ids_by_name(GROUP).await?;
    for group in &plan.groups {
        let body = Ok(GroupChange {
            name: Some(group.name.clone()),
            description: Some(group.description.clone()),
            ..GroupChange::default()
        });
        if let Some(created) =
            run.create_missing(GROUP, &group.name, &group.name, &groups, body).await?
        {
            groups.insert(group.name.clone(), id_of(&created));
        }
        bar.inc(1);
    }
    let accounts = run.ids_by_name(ACCOUNT).await?;
    for account in &plan.accounts {
        let body = account_change(plan, account, &groups);
        run.create_missing(ACCOUNT, &account.name, &account.source, &accounts, body).await?;
        bar.inc(1);
    }
    let ids_by_name = run.ids_by_name(KEY).await?;
    for key in &plan.keys {
        let body = key_change(key, &groups);
        if let Some(created) =
            run.create_missing(KEY, &key.name, &key.source, &ids_by_name, body).await?
        {
            let secret = created["secret"].as_str().unwrap_or_default();
            bar.suspend(|| keys.output_secret(&key.name, &id_of(&created), secret, run.outcome))?;
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
    async fn ids_by_name(&self, kind: ResourceKind) -> Result<BTreeMap<String, String>, CliError> {
        let all = self.context.admin.all(&[kind.route], &[]).await?;
        let named = |row: &Value| Some((row["name"].as_str()?.to_owned(), id_of(row)));
        Ok(rows(&all).iter().filter_map(named).collect())
    }

    /// Creates the item `name` unless `ids_by_name` has it. `source` identifies the item in the
    /// imported file, so that a repeated request has the same idempotency key.
    async fn create_missing(
        &mut self,
        kind: ResourceKind,
        name: &str,
        source: &str,
        ids_by_name: &BTreeMap<String, String>,
        body: Result<impl Serialize, CliError>,
    ) -> Result<Option<Value>, CliError> {
        let ResourceKind { noun: kind, route, .. } = kind;
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
        let created = match body {
            Ok(body) => self.context.admin.post_once(&[route], &New(body), &key).await,
            Err(error) => Err(error),
        };
        let created = match created {
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
        let item = CreatedItem { kind, name: name.to_owned(), id: id_of(&created) };
        self.outcome.created.push(item);
        Ok(Some(created))
    }
}

fn id_of(row: &Value) -> String {
    row["id"].as_str().unwrap_or_default().to_owned()
}

fn find_group_id(groups: &BTreeMap<String, String>, name: &str) -> Result<GroupId, CliError> {
    groups
        .get(name)
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| CliError::Failed(format!("the group {name} does not exist")))
}

/// Reads a value of an export as the field of a request.
///
/// # Errors
/// The message of the API for such a value.
fn field<T: DeserializeOwned>(name: &str, value: impl Serialize) -> Result<T, CliError> {
    serde_json::from_value(json!(value))
        .map_err(|error| CliError::Refused(field_message(name, &error.to_string())))
}

fn account_change(
    plan: &ImportPlan,
    account: &PlannedAccount,
    groups: &BTreeMap<String, String>,
) -> Result<AccountChange, CliError> {
    let named = account.groups.iter().filter(|name| *name != DEFAULT || groups.contains_key(*name));
    let ids: Vec<GroupId> =
        named.map(|name| find_group_id(groups, name)).collect::<Result<_, _>>()?;
    Ok(AccountChange {
        name: Some(account.name.clone()),
        provider: Some(account.provider),
        base_url: Some(account.base_url.clone()),
        credential: Some(NewCredential::api_key(account.api_key.clone())),
        groups: (!ids.is_empty()).then_some(ids),
        priority: Some(plan.priority(account)),
        weight: account.weight,
        models: field("models", &account.models)?,
        model_map: field("model_map", &account.model_map)?,
        max_concurrency: FieldChange::To(account.max_concurrency),
        enabled: Some(account.enabled),
        ..AccountChange::default()
    })
}

fn key_change(key: &PlannedKey, groups: &BTreeMap<String, String>) -> Result<KeyChange, CliError> {
    Ok(KeyChange {
        name: Some(key.name.clone()),
        group_id: key.group.as_ref().map(|group| find_group_id(groups, group)).transpose()?,
        models: field("models", &key.models)?,
        expires_at: field("expires_at", &key.expires_at)?,
        enabled: Some(key.enabled),
        limits: key.limits.clone().into(),
        ..KeyChange::default()
    })
}
