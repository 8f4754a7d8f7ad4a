//! The query of a request.

use super::CliContext;
use super::resource_names::ResourceKind;
use crate::CliError;

/// A query with a parameter for each flag that was given.
#[derive(Default)]
pub(super) struct QueryString(Vec<(&'static str, String)>);

impl QueryString {
    pub(super) fn and(mut self, name: &'static str, value: Option<String>) -> Self {
        self.0.extend(value.map(|value| (name, value)));
        self
    }

    pub(super) async fn and_id(
        self,
        context: &CliContext,
        name: &'static str,
        kind: ResourceKind,
        name_or_id: Option<String>,
    ) -> Result<Self, CliError> {
        let id = match name_or_id {
            Some(name_or_id) => Some(context.id(kind, &name_or_id).await?),
            None => None,
        };
        Ok(self.and(name, id))
    }

    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}
