//! The betas that Bedrock knows, and the body fields that belong to the others.
//!
//! Bedrock refuses a whole request for one beta that it does not know (`invalid beta flag`), and
//! for a body field without its beta (`Extra inputs are not permitted`). A beta and its fields are
//! therefore sent or dropped together.

/// A beta that needs special treatment. Bedrock does not know a beta that is not listed, and such a
/// beta has no fields.
struct BetaMapping {
    /// The name in `anthropic-beta`.
    name: &'static str,
    /// Bedrock's name, if it knows the beta.
    bedrock_name: Option<&'static str>,
    /// The body's fields that need this beta.
    fields: &'static [&'static str],
}

const fn supported_beta(name: &'static str) -> BetaMapping {
    BetaMapping { name, bedrock_name: Some(name), fields: &[] }
}

const fn unsupported_beta(name: &'static str, fields: &'static [&'static str]) -> BetaMapping {
    BetaMapping { name, bedrock_name: None, fields }
}

/// From Bedrock's user guide ("`anthropic_beta`"), the reports of refused flags at the clients'
/// trackers, and the betas that Claude Code 2.1.330 itself sends to Bedrock; 2026-11-23.
const BETAS: [BetaMapping; 26] = [
    supported_beta("compact-2026-01-12"),
    supported_beta("computer-use-2024-10-22"),
    supported_beta("computer-use-2025-01-24"),
    supported_beta("computer-use-2025-11-24"),
    supported_beta("context-1m-2025-08-07"),
    supported_beta("context-management-2025-06-27"),
    supported_beta("dangerous-tool-use-2026-09-03"),
    supported_beta("dev-full-thinking-2025-05-14"),
    supported_beta("effort-2025-11-24"),
    supported_beta("fine-grained-tool-streaming-2025-05-14"),
    supported_beta("interleaved-thinking-2025-05-14"),
    supported_beta("mid-conversation-output-config-2026-07-01"),
    supported_beta("mid-conversation-tool-changes-2026-07-01"),
    supported_beta("output-128k-2025-02-19"),
    supported_beta("thinking-binding-controls-2026-08-01"),
    supported_beta("thinking-display-updates-2026-08-18"),
    supported_beta("token-efficient-tools-2025-02-19"),
    supported_beta("tool-examples-2025-10-29"),
    supported_beta("tool-search-tool-2025-10-19"),
    // An older name of the beta above.
    BetaMapping {
        name: "advanced-tool-use-2025-11-20",
        bedrock_name: Some("tool-search-tool-2025-10-19"),
        fields: &[],
    },
    unsupported_beta("code-execution-2025-08-25", &["container"]),
    unsupported_beta("fast-mode-2026-02-01", &["speed"]),
    unsupported_beta("mcp-client-2025-04-04", &["mcp_servers"]),
    unsupported_beta("mcp-client-2025-11-20", &["mcp_servers"]),
    unsupported_beta("skills-2025-10-02", &["container"]),
    unsupported_beta("structured-outputs-2025-11-13", &["output_format"]),
];

/// Fields of the Messages API that need no beta and that Bedrock refuses. Bedrock has a header
/// instead.
const REFUSED: [&str; 1] = ["service_tier"];

/// A request's betas and fields, sorted by whether Bedrock supports them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SupportedBetas {
    /// The betas for Bedrock, each once, in the client's order.
    pub(super) supported: Vec<String>,
    /// The body's fields that belong to dropped betas.
    pub(super) fields: Vec<&'static str>,
}

/// Sorts betas in the client's order.
pub(super) fn sort_betas<'a>(requested: impl Iterator<Item = &'a str>) -> SupportedBetas {
    let mut sorted = SupportedBetas { supported: Vec::new(), fields: REFUSED.to_vec() };
    for name in requested.map(str::trim) {
        let Some(beta) = BETAS.iter().find(|beta| beta.name == name) else { continue };
        match beta.bedrock_name {
            Some(there) if !sorted.supported.iter().any(|supported| supported == there) => {
                sorted.supported.push(there.to_owned());
            }
            Some(_) => {}
            None => sorted.fields.extend(beta.fields),
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_of_claude_code_are_sorted() {
        let requested = "claude-code-20250219, interleaved-thinking-2025-05-14,advanced-tool-use-2025-11-20,tool-search-tool-2025-10-19,fast-mode-2026-02-01,oauth-2025-04-20,made-up-2027-01-01";
        let sorted = sort_betas(requested.split(','));
        assert_eq!(
            sorted.supported,
            ["interleaved-thinking-2025-05-14", "tool-search-tool-2025-10-19"]
        );
        assert_eq!(sorted.fields, ["service_tier", "speed"]);
    }
}
