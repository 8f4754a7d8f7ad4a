//! Pages of groups.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::formatting::{limits, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues};
use crate::page_blocks::PageBlock;
use crate::page_request::PageRequest;
use crate::resource_pages::{self, LimitsPrefix, PageTexts, ResourcePages, redirect_to_page};
use crate::table_cells::{PageLink, TableCell, code, enabled_cell, link, optional_text_cell, time};
use axum::Router;
use baton_api::accounts::AccountResource;
use baton_api::groups::GroupResource;
use serde_json::{Value, json};

pub(crate) fn routes() -> Router<ConsoleState> {
    resource_pages::routes::<GroupResource>()
}

impl ResourcePages for GroupResource {
    type Created = Self;
    type Choices = ();

    const TEXTS: PageTexts = PageTexts {
        path: "groups",
        noun: "group",
        title: "Groups",
        caption: "Groups, oldest first",
        columns: &["Description", "State", "Limits of all its keys together"],
        empty: "No groups found. A key uses the accounts of its group.",
        first_step: "Create a group",
        submit: "Create group",
        removal: "it must have no accounts and no keys",
    };

    fn id_and_name(&self) -> (String, &str) {
        (self.id.to_string(), &self.name)
    }

    fn version(&self) -> u64 {
        self.meta.version
    }

    async fn load_choices(_: &PageRequest) -> ConsoleResult<()> {
        Ok(())
    }

    fn fields(_: bool, (): &()) -> Vec<FieldSpec> {
        let mut specs = vec![
            FieldSpec::new("name", "Name", "", FieldKind::Text),
            FieldSpec::new("description", "Description", "", FieldKind::Text),
            FieldSpec::new(
                "enabled",
                "Enabled",
                "Keys of a disabled group are refused.",
                FieldKind::Flag,
            ),
            FieldSpec::new(
                "model_aliases",
                "Model aliases",
                "One per line: requested = served. Clients can use both names.",
                FieldKind::Pairs,
            ),
        ];
        specs.extend(resource_pages::limit_specs(LimitsPrefix::Limits));
        specs
    }

    fn start_values(_: &FormValues) -> Value {
        json!({ "enabled": true })
    }

    fn cells(&self, (): &()) -> Vec<TableCell> {
        vec![
            optional_text_cell(Some(&truncate_text(&self.description, 120))),
            enabled_cell(self.enabled),
            optional_text_cell(Some(&limits(&self.limits))),
        ]
    }

    async fn details(&self, page_request: &PageRequest, (): &()) -> ConsoleResult<Vec<PageBlock>> {
        let Self { id, .. } = self;
        let accounts: Vec<AccountResource> =
            page_request.get_list(format!("/api/v1/accounts?limit=1000&group_id={id}")).await?;
        let keys = format!("/console/keys?group_id={id}");
        Ok(vec![
            PageBlock::Facts(vec![
                ("Id".into(), code(id.to_string())),
                ("State".into(), enabled_cell(self.enabled)),
                ("Changed".into(), time(Some(self.meta.updated_at))),
                ("Keys".into(), link(keys, "Keys of this group")),
            ]),
            PageBlock::Heading("Accounts".into()),
            if accounts.is_empty() {
                let next = PageLink::new("/console/accounts/new", "Add an account");
                let message =
                    "This group has no accounts, so requests with its keys fail with 503.";
                PageBlock::Empty(message.into(), Some(next))
            } else {
                PageBlock::Table(crate::accounts::group_table(&accounts))
            },
        ])
    }

    fn show_created(_: &PageRequest, created: Self) -> ConsoleResult {
        redirect_to_page::<Self>(created.id.as_str(), "created")
    }
}
