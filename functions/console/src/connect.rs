//! The page with the settings and code for connecting clients, with the key if it is known.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::html_form::{FieldKind, FieldSpec, HtmlForm};
use crate::page_blocks::PageBlock;
use crate::page_request::PageRequest;
use crate::table_cells::PageLink;
use axum::Router;
use axum::routing::get;

/// The placeholder for a key.
const NO_KEY: &str = "bt_YOUR_KEY";
/// The maximum length of an address.
const ADDRESS_CHARS_MAX: usize = 200;

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/connect", get(show_connect))
}

async fn show_connect(page_request: PageRequest) -> ConsoleResult {
    let values = page_request.query.get("relay").trim();
    let fits = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || ":/.-_[]~%".contains(c);
        (text.starts_with("http://") || text.starts_with("https://"))
            && text.len() <= ADDRESS_CHARS_MAX
            && text.chars().all(fits)
    };
    let known: &str = &page_request.console.relay_url;
    let relay = if fits(values) { values.trim_end_matches('/') } else { known };
    let mut field =
        FieldSpec::new("relay", "Relay address, as clients use it", "", FieldKind::Text)
            .submitted_field(&page_request.query);
    relay.clone_into(&mut field.value);
    let mut form =
        HtmlForm::get("address", "/console/connect", "Use this address").fields(vec![field]);
    if !values.is_empty() && !fits(values) {
        form = form
            .error(Some("An address begins with https:// or http:// and has no spaces.".into()));
    }
    let next = if page_request.is_member() {
        PageLink::new("/console/mine", "Your keys")
    } else {
        PageLink::new("/console/keys/new", "Create a key")
    };
    let message = format!(
        "Replace {NO_KEY} with your key. The page of a new key shows all of this with the key filled in."
    );
    let mut blocks = vec![PageBlock::Form(form), PageBlock::Empty(message, Some(next))];
    blocks.extend(snippets(relay, NO_KEY));
    Ok(page_request.render_page("Connect", blocks))
}

fn code(id: &str, label: &str, text: String) -> PageBlock {
    PageBlock::Code(id.into(), label.into(), text)
}

/// Settings and code for each kind of client.
pub(crate) fn snippets(relay: &str, key: &str) -> Vec<PageBlock> {
    let mut blocks = vec![
        code(
            "claude-code",
            "Claude Code, in a shell",
            format!("export ANTHROPIC_BASE_URL={relay}\nexport ANTHROPIC_AUTH_TOKEN={key}\nclaude"),
        ),
        code(
            "claude-code-settings",
            "Claude Code, for all terminals: ~/.claude/settings.json",
            format!(
                "{{\n  \"env\": {{\n    \"ANTHROPIC_BASE_URL\": \"{relay}\",\n    \
                 \"ANTHROPIC_AUTH_TOKEN\": \"{key}\"\n  }}\n}}"
            ),
        ),
        code(
            "anthropic-python",
            "Anthropic SDK, Python",
            format!(
                "import anthropic\n\nclient = anthropic.Anthropic(\n    base_url=\"{relay}\",\n    \
                 api_key=\"{key}\",\n)"
            ),
        ),
        code(
            "anthropic-typescript",
            "Anthropic SDK, TypeScript",
            format!(
                "import Anthropic from \"@anthropic-ai/sdk\";\n\nconst client = new Anthropic({{\n  \
                 baseURL: \"{relay}\",\n  apiKey: \"{key}\",\n}});"
            ),
        ),
        code(
            "openai-python",
            "OpenAI SDK, Python",
            format!(
                "from openai import OpenAI\n\nclient = OpenAI(\n    base_url=\"{relay}/v1\",\n    \
                 api_key=\"{key}\",\n)"
            ),
        ),
        code(
            "openai-typescript",
            "OpenAI SDK, TypeScript",
            format!(
                "import OpenAI from \"openai\";\n\nconst client = new OpenAI({{\n  \
                 baseURL: \"{relay}/v1\",\n  apiKey: \"{key}\",\n}});"
            ),
        ),
    ];
    blocks.extend(other_snippets(relay, key));
    blocks
}

/// Settings of Codex, of the Bedrock mode and of CI.
fn other_snippets(relay: &str, key: &str) -> Vec<PageBlock> {
    vec![
        code(
            "codex",
            "Codex: ~/.codex/config.toml (model: one that GET /v1/models lists)",
            format!(
                "model = \"claude-sonnet-5-5\"\nmodel_provider = \"baton\"\nweb_search = \
                 \"disabled\"\n\n[model_providers.baton]\nname = \"Baton\"\nbase_url = \
                 \"{relay}/v1\"\nenv_key = \"BATON_KEY\"\nwire_api = \"responses\""
            ),
        ),
        code("codex-key", "Codex, the key in a shell", format!("export BATON_KEY={key}\ncodex")),
        code(
            "bedrock",
            "Claude Code in its Bedrock mode, in a shell",
            format!(
                "export CLAUDE_CODE_USE_BEDROCK=1 CLAUDE_CODE_SKIP_BEDROCK_AUTH=1\nexport \
                 ANTHROPIC_BEDROCK_BASE_URL={relay} ANTHROPIC_AUTH_TOKEN={key}\nclaude"
            ),
        ),
        code(
            "ci",
            "CI (GitHub Actions; keep the key in the secret BATON_KEY)",
            format!(
                "env:\n  ANTHROPIC_BASE_URL: {relay}\n  \
                 ANTHROPIC_AUTH_TOKEN: ${{{{ secrets.BATON_KEY }}}}"
            ),
        ),
        code(
            "curl",
            "Check that it works",
            format!("curl {relay}/v1/usage -H \"authorization: Bearer {key}\""),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_the_guide() {
        let guide = include_str!("../../../docs/guide/clients.md");
        let shown: String = snippets("https://baton.example.com", "bt_…")
            .into_iter()
            .map(|block| if let PageBlock::Code(_, _, text) = block { text } else { String::new() })
            .collect::<Vec<_>>()
            .join("\n");
        for heading in ["## Codex", "## Clients of Amazon Bedrock"] {
            let (_, section) = guide.split_once(heading).expect("the section");
            let section = section.split("\n## ").next().unwrap_or_default();
            let lines = section.split("\n```").skip(1).step_by(2).flat_map(|block| {
                block.lines().skip(1).filter(|line| !line.is_empty()).collect::<Vec<_>>()
            });
            for line in lines {
                assert!(shown.lines().any(|one| one == line), "{line:?} is not in\n{shown}");
            }
        }
    }
}
