//! The table of real clients and strict twins: what each client does, and which answers are not the
//! usual ones. The suites `clients` and `all-clients` check every cell, and
//! `docs/reference/clients.md` is written from it.

use std::path::Path;

use serde_json::{Value, json};

use crate::twin_upstream::{TWIN_UPSTREAMS, TwinUpstream};

/// What a client does. The prompts are in `tests/clients/matrix/scenarios.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A whole answer.
    Whole,
    /// A streamed answer.
    Streamed,
    /// A tool is called, and its output is sent back.
    Tool,
    /// A second turn, which repeats the first answer.
    History,
    /// The same as `Tool` with thinking.
    Thinking,
    /// An answer in a schema.
    Structured,
}

use Scenario::{History, Streamed, Structured, Thinking, Tool, Whole};

impl Scenario {
    /// The name in the JSON that a script prints.
    pub fn name(self) -> &'static str {
        match self {
            Whole => "whole",
            Streamed => "streamed",
            Tool => "tool",
            History => "history",
            Thinking => "thinking",
            Structured => "structured",
        }
    }

    /// The name on the page.
    fn title(self) -> &'static str {
        match self {
            Whole => "whole answer",
            Streamed => "streamed answer",
            Tool => "tool loop",
            History => "second turn",
            Thinking => "tool loop with thinking",
            Structured => "structured output",
        }
    }

    /// The right result, whatever the client is.
    pub fn right_result(self, upstream: &TwinUpstream) -> Value {
        match self {
            Whole => json!("plums and pears"),
            Streamed => json!("figs and dates"),
            Tool => json!("The tool said: 42 for lemon"),
            Thinking => {
                json!({"text": "The tool said: 42 for lemon", "shown": upstream.shows_thinking})
            }
            History => json!("cherries"),
            Structured => json!({"fruit": "answer", "count": 1}),
        }
    }
}

/// The API that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientApi {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Amazon Bedrock's `InvokeModel`.
    InvokeModel,
}

impl ClientApi {
    /// The name in the variable `BATON_API` of a script.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::InvokeModel => "bedrock",
        }
    }

    /// The model that its clients ask for. Accounts map it to a model of theirs.
    pub fn model(self) -> &'static str {
        match self {
            Self::Messages => "claude-opus-5-5",
            Self::Chat | Self::Responses => "gpt-5.5",
            Self::InvokeModel => "us.anthropic.claude-opus-5-5-v1:0",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Messages => "Messages",
            Self::Chat => "Chat Completions",
            Self::Responses => "Responses",
            Self::InvokeModel => "Bedrock's `InvokeModel`",
        }
    }
}

/// A real client.
#[derive(Clone, Copy, Debug)]
pub struct MatrixClient {
    /// The name of its test.
    pub name: &'static str,
    /// The API.
    pub api: ClientApi,
    /// Its package on `PyPI` or npm, which has the name on the page.
    package: &'static str,
    /// The script in `tests/clients/matrix`, a program of Python or of Node.js.
    pub script: &'static str,
    /// What it does.
    pub scenarios: &'static [Scenario],
    /// What is installed for it.
    pub packages: &'static ClientPackages,
}

/// Packages that are installed together.
#[derive(Debug)]
pub struct ClientPackages {
    /// The folder of the Python environment.
    pub python_folder: &'static str,
    /// Its packages, in the form of `requirements.txt`.
    pub python: &'static str,
    /// The folder with `node_modules`.
    pub node_folder: &'static str,
    /// Its packages, in the form of `package.json`.
    pub node: &'static str,
    /// Whether the suite `clients` runs them. Others are in `all-clients`.
    pub is_fast: bool,
}

/// The clients of the suite `clients`.
pub const FAST: &ClientPackages = &ClientPackages {
    python_folder: "py",
    python: include_str!("../../clients/requirements.txt"),
    node_folder: "js",
    node: include_str!("../../clients/package.json"),
    is_fast: true,
};

/// The clients of the suite `all-clients`.
pub const SLOW: &ClientPackages = &ClientPackages {
    python_folder: "py-all",
    python: include_str!("../../clients/requirements-all.txt"),
    node_folder: "js-all",
    node: include_str!("../../clients/package-all.json"),
    is_fast: false,
};

/// It needs other versions of the vendors' SDKs than the others.
const INSTRUCTOR: &ClientPackages = &ClientPackages {
    python_folder: "py-instructor",
    python: "instructor[anthropic]==1.17.0\n",
    ..*SLOW
};

const ALL: &[Scenario] = &[Whole, Streamed, Tool, History, Thinking, Structured];
/// The API has no thinking that its clients can read.
const CHAT: &[Scenario] = &[Whole, Streamed, Tool, History, Structured];
/// It only makes objects, by a tool or by a schema.
const FORMS: &[Scenario] = &[Tool, Structured];
/// The program streams every answer.
const PROGRAM: &[Scenario] = &[Streamed, Tool, History, Thinking, Structured];
/// The program is tried with another API.
const MODE: &[Scenario] = &[Streamed, Tool];

/// The name and the API of a client, its package, its script, what it does, and what is installed.
macro_rules! clients {
    ($($name:ident $api:ident $package:literal $script:literal $scenarios:ident $packages:ident;)*) => {
        /// All clients.
        pub const CLIENTS: &[MatrixClient] = &[$(MatrixClient {
            name: stringify!($name),
            api: ClientApi::$api,
            package: $package,
            script: $script,
            scenarios: $scenarios,
            packages: $packages,
        }),*];
    };
}

clients! {
    claude_code Messages "@anthropic-ai/claude-code" "claude_code.py" PROGRAM FAST;
    claude_code_bedrock InvokeModel "@anthropic-ai/claude-code" "claude_code.py" MODE FAST;
    codex Responses "@openai/codex" "codex.py" PROGRAM FAST;
    anthropic_python Messages "anthropic" "anthropic_python.py" ALL FAST;
    anthropic_typescript Messages "@anthropic-ai/sdk" "anthropic_typescript.mjs" ALL FAST;
    openai_python_chat Chat "openai" "openai_python.py" CHAT FAST;
    openai_python_responses Responses "openai" "openai_python.py" ALL FAST;
    openai_typescript_chat Chat "openai" "openai_typescript.mjs" CHAT FAST;
    openai_typescript_responses Responses "openai" "openai_typescript.mjs" ALL FAST;
    claude_agent Messages "claude-agent-sdk" "claude_agent.py" PROGRAM SLOW;
    vercel_ai_anthropic Messages "@ai-sdk/anthropic" "vercel_ai.mjs" ALL SLOW;
    vercel_ai_openai_chat Chat "@ai-sdk/openai" "vercel_ai.mjs" CHAT SLOW;
    vercel_ai_openai_responses Responses "@ai-sdk/openai" "vercel_ai.mjs" ALL SLOW;
    langchain_anthropic Messages "langchain-anthropic" "langchain_models.py" ALL SLOW;
    langchain_openai_chat Chat "langchain-openai" "langchain_models.py" CHAT SLOW;
    langchain_openai_responses Responses "langchain-openai" "langchain_models.py" ALL SLOW;
    pydantic_ai_anthropic Messages "pydantic-ai-slim" "pydantic_ai_agent.py" ALL SLOW;
    pydantic_ai_openai_chat Chat "pydantic-ai-slim" "pydantic_ai_agent.py" CHAT SLOW;
    pydantic_ai_openai_responses Responses "pydantic-ai-slim" "pydantic_ai_agent.py" ALL SLOW;
    openai_agents_chat Chat "openai-agents" "openai_agents.py" CHAT SLOW;
    openai_agents_responses Responses "openai-agents" "openai_agents.py" ALL SLOW;
    litellm_anthropic Messages "litellm" "litellm_sdk.py" ALL SLOW;
    litellm_openai Chat "litellm" "litellm_sdk.py" CHAT SLOW;
    instructor_anthropic Messages "instructor" "instructor_sdk.py" FORMS INSTRUCTOR;
    instructor_openai Chat "instructor" "instructor_sdk.py" FORMS INSTRUCTOR;
}

/// Who refuses a request.
#[derive(Clone, Copy, Debug)]
pub enum RefusedBy {
    /// Baton, before anything is paid.
    Baton,
    /// The vendor: the request passed as it was.
    Vendor,
}

/// Results that are not the right ones.
#[derive(Debug)]
pub struct Refusal {
    /// The names of the clients.
    clients: &'static [&'static str],
    /// The names of the upstreams.
    upstreams: &'static [&'static str],
    scenarios: &'static [Scenario],
    /// Who refuses.
    pub by: RefusedBy,
    /// Words of the error.
    pub words: &'static str,
    why: &'static str,
}

/// All results that are not the right ones. It is a `static`, because rows are compared by their
/// addresses.
static REFUSALS: [Refusal; 1] = [Refusal {
    clients: &["vercel_ai_openai_responses"],
    upstreams: &["Anthropic", "DeepSeek", "Qwen on vLLM"],
    scenarios: &[History],
    by: RefusedBy::Baton,
    words: "Send the item itself, as clients do with `store: false`.",
    why: "The client names its stored answer instead of sending it. It works with `store: false`.",
}];

impl MatrixClient {
    /// The refusal that the client gets, or `None` if it gets the right result.
    pub fn refusal(&self, upstream: &str, scenario: Scenario) -> Option<&'static Refusal> {
        REFUSALS.iter().find(|it| {
            it.clients.contains(&self.name)
                && it.upstreams.contains(&upstream)
                && it.scenarios.contains(&scenario)
        })
    }
}

impl MatrixClient {
    /// Whether its script is a program of Python.
    pub fn is_python(&self) -> bool {
        Path::new(self.script).extension().is_some_and(|ending| ending == "py")
    }

    /// The installed version.
    fn version(&self) -> Option<&'static str> {
        let python = self.packages.python.lines().filter(|_| self.is_python()).find_map(|line| {
            let (name, version) = line.split_once("==")?;
            (name.split('[').next() == Some(self.package)).then_some(version)
        });
        let start = format!("\"{}\": ", self.package);
        let mut lines = self.packages.node.lines();
        let node = || lines.find_map(|line| line.trim().strip_prefix(&start));
        python.or_else(node).map(|version| version.trim_matches(['"', ',']))
    }
}

/// The page `docs/reference/clients.md`. `renew` is the command that writes it.
pub fn page(renew: &str) -> String {
    let upstreams: Vec<&str> = TWIN_UPSTREAMS.iter().map(|upstream| upstream.name).collect();
    let mut rows = vec![format!("| client | {} |", upstreams.join(" | "))];
    rows.push(format!("| --- |{}", " --- |".repeat(upstreams.len())));
    rows.extend(CLIENTS.iter().map(MatrixClient::row));
    let notes = REFUSALS.iter().enumerate().map(|(index, refusal)| {
        let by = match refusal.by {
            RefusedBy::Baton => "Baton",
            RefusedBy::Vendor => "The vendor",
        };
        let what: Vec<&str> = refusal.scenarios.iter().map(|it| it.title()).collect();
        let what = what.join(", ");
        format!("{}. {what}: {by} answers \"{}\". {}", index + 1, refusal.words, refusal.why)
    });
    let notes: Vec<String> = notes.collect();
    format!(
        "# Clients and upstreams\n\n<!-- Generated from tests/harness/src/client_matrix.rs. Do not \
         edit; renew it:\n{renew} -->\n\n{INTRODUCTION}\n\n{}\n\n{NOTES}\n\n{}\n\n{OTHERS}\n",
        rows.join("\n"),
        notes.join("\n"),
    )
}

const INTRODUCTION: &str = "\
The table shows which real client works with which upstream. Every cell is a run of the client through
Baton against a strict fake of the vendor, which refuses what the vendor refuses, in its words. The
suites `clients` and `all-clients` compare each answer with the right one, and Baton's tokens with those
that the fake served. [Testing](../develop/testing.md) says how to add a client.

A client does what it can of: a whole and a streamed answer, a tool loop (call, result, text), the same
with thinking, a second turn, and structured output. \"works\" means that all of it is right.";

const NOTES: &str = "\
## What does not work";

const OTHERS: &str = "\
## Clients of other APIs

Gemini CLI needs Google's Gemini API, which Baton does not have. It shows Baton's answer, which says what
to use instead.";

impl MatrixClient {
    /// The row of the page.
    pub fn row(&self) -> String {
        let version = self.version().expect("the package is in a list");
        let cells = TWIN_UPSTREAMS.iter().map(|upstream| self.cell(upstream.name));
        let cells: Vec<String> = cells.collect();
        format!("| `{}` {version}, {} | {} |", self.package, self.api.title(), cells.join(" | "))
    }

    /// What works, and the numbers of what does not.
    fn cell(&self, upstream: &str) -> String {
        let found: Vec<&Refusal> =
            self.scenarios.iter().filter_map(|it| self.refusal(upstream, *it)).collect();
        let is_here = |refusal: &Refusal| found.iter().any(|it| std::ptr::eq(*it, refusal));
        let numbers = REFUSALS.iter().enumerate().filter(|(_, refusal)| is_here(refusal));
        let numbers: Vec<String> = numbers.map(|(index, _)| (index + 1).to_string()).collect();
        match found.len() {
            0 => return "works".to_owned(),
            count if count == self.scenarios.len() => {
                return format!("refused, {}", numbers.join(", "));
            }
            _ => {}
        }
        format!("works, except {}", numbers.join(", "))
    }
}
