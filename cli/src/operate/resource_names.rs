//! Names in place of ids: finds a resource by its name in the list of its kind.

use super::CliContext;
use super::admin_client::read_answer;
use super::flag_values::value;
use crate::CliError;
use baton_api::list::ResourceList;
use baton_domain::printable::escape_for_terminal;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A kind of resource that has ids and names.
#[derive(Clone, Copy)]
pub(crate) struct ResourceKind {
    /// The noun in texts and on the command line.
    pub(crate) noun: &'static str,
    /// The API's route for this kind.
    pub(crate) route: &'static str,
    /// The prefix of the ids.
    prefix: &'static str,
}

/// Upstream accounts.
pub(crate) const ACCOUNT: ResourceKind =
    ResourceKind { noun: "account", route: "accounts", prefix: "acc_" };
/// Groups of accounts.
pub(crate) const GROUP: ResourceKind =
    ResourceKind { noun: "group", route: "groups", prefix: "grp_" };
/// Keys of clients.
pub(crate) const KEY: ResourceKind = ResourceKind { noun: "key", route: "keys", prefix: "key_" };
/// People and pipelines.
pub(crate) const USER: ResourceKind = ResourceKind { noun: "user", route: "users", prefix: "usr_" };

/// The fields that all kinds of resources have.
#[derive(Deserialize)]
pub(super) struct ResourceName {
    pub(super) id: String,
    pub(super) name: String,
}

impl CliContext {
    /// The ids and names of all resources of a kind.
    pub(super) async fn names(&self, kind: ResourceKind) -> Result<Vec<ResourceName>, CliError> {
        let list: ResourceList<ResourceName> =
            read_answer(&self.admin.all(&[kind.route], &[]).await?)?;
        Ok(list.data)
    }

    /// The id of the resource with this id or name.
    ///
    /// # Errors
    /// No resource has this name, or more than one has it.
    pub(super) async fn id(
        &self,
        kind: ResourceKind,
        name_or_id: &str,
    ) -> Result<String, CliError> {
        if name_or_id.starts_with(kind.prefix) {
            return Ok(name_or_id.to_owned());
        }
        find(kind, name_or_id, &self.names(kind).await?)
    }

    /// The same for a resource of one of two kinds. Returns the index of the kind and the id.
    ///
    /// # Errors
    /// No resource of the two kinds has this name, or more than one has it.
    pub(super) async fn id_of_either(
        &self,
        kinds: [ResourceKind; 2],
        name_or_id: &str,
    ) -> Result<(usize, String), CliError> {
        if let Some(index) = kinds.iter().position(|kind| name_or_id.starts_with(kind.prefix)) {
            return Ok((index, name_or_id.to_owned()));
        }
        let [first, second] = kinds;
        let lists = [self.names(first).await?, self.names(second).await?];
        find_either(kinds, name_or_id, &lists)
    }

    /// The same for the text of a flag, as a value of a request.
    ///
    /// # Errors
    /// The same, or the id is malformed.
    pub(super) async fn flag_id<T: DeserializeOwned>(
        &self,
        kind: ResourceKind,
        flag: &str,
        name_or_id: &str,
    ) -> Result<T, CliError> {
        value(flag)(&self.id(kind, name_or_id).await?)
    }
}

fn find(kind: ResourceKind, name_or_id: &str, list: &[ResourceName]) -> Result<String, CliError> {
    let same = list.iter().filter(|one| one.name == name_or_id);
    let ids: Vec<String> = same.map(|one| escape_for_terminal(&one.id).into_owned()).collect();
    let noun = kind.noun;
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(CliError::Failed(format!(
            "no {noun} has the name {name_or_id}; `baton {noun} list` shows all"
        ))),
        several => Err(CliError::Failed(format!(
            "{} {noun}s have the name {name_or_id}; use one of the ids {}",
            several.len(),
            several.join(", ")
        ))),
    }
}

/// Finds a scope of a limit by its name. The third scope is `organization`, which has no name.
fn find_either(
    kinds: [ResourceKind; 2],
    name_or_id: &str,
    lists: &[Vec<ResourceName>; 2],
) -> Result<(usize, String), CliError> {
    let [first, second] = kinds;
    let has = |list: &[ResourceName]| list.iter().any(|one| one.name == name_or_id);
    match (has(&lists[0]), has(&lists[1])) {
        (true, false) => Ok((0, find(first, name_or_id, &lists[0])?)),
        (false, true) => Ok((1, find(second, name_or_id, &lists[1])?)),
        (true, true) => Err(CliError::Failed(format!(
            "a {} and a {} have the name {name_or_id}; use the id instead",
            first.noun, second.noun
        ))),
        (false, false) => Err(CliError::Failed(format!(
            "no {} and no {} has the name {name_or_id}; `baton {} list` and `baton {} list` show \
             all; for everybody write `organization`",
            first.noun, second.noun, first.noun, second.noun
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[(&str, &str)]) -> Vec<ResourceName> {
        let name = |(id, name): &(&str, &str)| ResourceName {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
        };
        list.iter().map(name).collect()
    }

    #[test]
    fn ambiguous_or_missing_name_is_explained() {
        let list = names(&[("key_1", "ci"), ("key_2", "twice"), ("key_3", "twice")]);
        let found = |named| find(KEY, named, &list).map_err(|error| error.to_string());
        assert_eq!(found("ci"), Ok("key_1".to_owned()));
        assert!(found("cI").is_err_and(|said| said.contains("no key has the name cI")));
        assert!(found("twice").is_err_and(|said| said.contains("key_2, key_3")));
    }

    #[test]
    fn name_shared_by_two_kinds_is_explained() {
        let users = names(&[("usr_1", "ada"), ("usr_2", "both")]);
        let groups = names(&[("grp_1", "ci"), ("grp_2", "both")]);
        let lists = [users, groups];
        let found =
            |named| find_either([USER, GROUP], named, &lists).map_err(|error| error.to_string());
        assert_eq!(found("ada"), Ok((0, "usr_1".to_owned())));
        assert_eq!(found("ci"), Ok((1, "grp_1".to_owned())));
        assert!(found("both").is_err_and(|said| said.contains("use the id")));
        assert!(found("nobody").is_err_and(|said| said.contains("baton user list")));
        assert!(found("organisation").is_err_and(|said| said.ends_with("write `organization`")));
    }
}
