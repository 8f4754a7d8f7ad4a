//! Pages of users.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::formatting::{api_text, limits};
use crate::html_form::{FieldKind, FieldSpec, FormValues};
use crate::page_blocks::PageBlock;
use crate::page_request::PageRequest;
use crate::resource_pages::{self, LimitsPrefix, PageTexts, ResourcePages, redirect_to_page};
use crate::table_cells::{
    CellPart, PageLink, TableCell, code, enabled_cell, link, optional_text_cell, text, time,
};
use axum::Router;
use baton_api::users::UserResource;
use serde_json::{Value, json};

pub(crate) fn routes() -> Router<ConsoleState> {
    resource_pages::routes::<UserResource>()
}

fn role_choices() -> Vec<(String, String)> {
    vec![
        ("member".to_owned(), "member: its own keys and usage".to_owned()),
        ("admin".to_owned(), "admin: everything".to_owned()),
    ]
}

impl ResourcePages for UserResource {
    type Created = Self;
    type Choices = ();

    const TEXTS: PageTexts = PageTexts {
        path: "users",
        noun: "user",
        title: "Users",
        caption: "Users, oldest first",
        columns: &["E-mail", "Role", "State", "Limits of all its keys together"],
        empty: "No users found. A user can have keys, limits for all of them together, and a sign-in.",
        first_step: "Create a user",
        submit: "Create user",
        removal: "it must have no keys",
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
            FieldSpec::new(
                "email",
                "E-mail",
                "The address at the identity provider, for the sign-in. ASCII characters only.",
                FieldKind::OptionalText,
            ),
            FieldSpec::new("role", "Role", "", FieldKind::Choice(role_choices())),
            FieldSpec::new(
                "enabled",
                "Enabled",
                "A disabled user cannot sign in, and its keys are refused.",
                FieldKind::Flag,
            ),
        ];
        specs.extend(resource_pages::limit_specs(LimitsPrefix::Limits));
        specs
    }

    fn filters((): &()) -> Vec<FieldSpec> {
        let all = std::iter::once((String::new(), "All".to_owned()));
        let roles = FieldKind::Choice(all.chain(role_choices()).collect());
        vec![FieldSpec::new("role", "Role", "", roles)]
    }

    fn start_values(_: &FormValues) -> Value {
        json!({ "enabled": true, "role": "member" })
    }

    fn cells(&self, (): &()) -> Vec<TableCell> {
        vec![
            optional_text_cell(self.email.as_deref()),
            text(api_text(&self.role)),
            enabled_cell(self.enabled),
            optional_text_cell(Some(&limits(&self.limits))),
        ]
    }

    async fn details(&self, page_request: &PageRequest, (): &()) -> ConsoleResult<Vec<PageBlock>> {
        let Self { id, .. } = self;
        let keys = page_request.get_list(format!("/api/v1/keys?limit=100&user_id={id}")).await?;
        let requests = format!("/console/requests?user_id={id}");
        let mut blocks = vec![
            PageBlock::Facts(vec![
                ("State".into(), enabled_cell(self.enabled)),
                ("Role".into(), text(api_text(&self.role))),
                ("E-mail".into(), optional_text_cell(self.email.as_deref())),
                ("Id".into(), code(id.to_string())),
                ("Changed".into(), time(Some(self.meta.updated_at))),
                ("Requests".into(), link(requests, "Requests by this user")),
            ]),
            PageBlock::Heading("Keys".into()),
        ];
        let another =
            PageLink::new(format!("/console/keys/new?user_id={id}"), "Create a key for this user");
        if keys.is_empty() {
            blocks.push(PageBlock::Empty("This user has no key.".into(), Some(another)));
        } else {
            blocks.push(PageBlock::Table(crate::keys::own_table(
                &keys,
                "Keys of this user",
                page_request.console.clock.now(),
            )));
            blocks.push(PageBlock::Row(vec![CellPart::Link(another)]));
        }
        Ok(blocks)
    }

    fn show_created(_: &PageRequest, created: Self) -> ConsoleResult {
        redirect_to_page::<Self>(created.id.as_str(), "created")
    }
}
