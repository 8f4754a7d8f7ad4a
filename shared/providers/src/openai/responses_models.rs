//! OpenAI's models that do not accept every request on Chat Completions.

use crate::conversion::RequestShape;
use baton_domain::model::base_id;
use baton_protocol::envelope::StatedEffort;

/// What a model accepts on Chat Completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChatSupport {
    /// Everything.
    Full,
    /// No tools with a reasoning effort that the request states ("Function tools with
    /// `reasoning_effort` are not supported for gpt-5.4 in /v1/chat/completions":
    /// openai/openai-openapi #541, 2026-05). These models do not think unless asked to.
    NoToolsWithEffort,
    /// No tools unless the request switches thinking off. These models think by default
    /// (laurent22/joplin #16451 for gpt-5.6, Wei-Shaw/sub2api #6740 for gpt-6, 2026-09).
    NoToolsWithThinking,
    /// Nothing ("This model is only supported in v1/responses and not in v1/chat/completions":
    /// `HeyPuter/puter` #1303 for o3-pro, alvinunreal/tmuxai #82 for gpt-5-codex,
    /// aaif-goose/goose #2564 for codex-mini, 2025).
    Nothing,
}

impl ChatSupport {
    /// The support of a model by its name. Unknown names are models of other vendors.
    pub(super) fn from_model(model: &str) -> Self {
        let name = base_id(model);
        let name = name.rsplit('/').next().unwrap_or(name);
        let is_reasoning_family =
            ["gpt-", "o1-", "o3-", "o4-"].iter().any(|start| name.starts_with(start));
        let mut parts = name.split('-');
        let is_responses_only = name.starts_with("codex-mini")
            || name.starts_with("computer-use-")
            || (is_reasoning_family && name.contains("-deep-research"))
            || (is_reasoning_family && parts.any(|part| matches!(part, "pro" | "codex")));
        if is_responses_only {
            return Self::Nothing;
        }
        match generation(name) {
            Some((5, 4 | 5)) => Self::NoToolsWithEffort,
            Some((5, 6..) | (6.., _)) => Self::NoToolsWithThinking,
            Some(_) | None => Self::Full,
        }
    }

    /// Whether a request of this shape is accepted.
    pub(super) fn accepts(self, shape: RequestShape) -> bool {
        match self {
            Self::Full => true,
            Self::NoToolsWithEffort => !shape.has_tools || shape.effort != StatedEffort::On,
            Self::NoToolsWithThinking => !shape.has_tools || shape.effort == StatedEffort::Off,
            Self::Nothing => false,
        }
    }
}

/// The generation of a model as `gpt-5.4-mini`: 5 and 4.
fn generation(name: &str) -> Option<(u32, u32)> {
    let version = name.strip_prefix("gpt-")?.split('-').next()?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::is_openai;
    use baton_domain::protocol::ClientProtocol;

    #[test]
    fn support_follows_from_the_name() {
        use ChatSupport::{Full, NoToolsWithEffort, NoToolsWithThinking, Nothing};
        for (model, expected) in [
            ("gpt-4o", Full),
            ("gpt-4.1-mini", Full),
            ("gpt-5", Full),
            ("gpt-5-chat-latest", Full),
            ("gpt-5.2-2025-12-11", Full),
            ("gpt-oss-120b", Full),
            ("o3", Full),
            ("o4-mini", Full),
            ("gemini-3-pro", Full),
            ("claude-opus-5-5", Full),
            ("qwen3-codex-pro", Full),
            ("my-gpt-5.5", Full),
            ("gpt-5.4", NoToolsWithEffort),
            ("gpt-5.4-mini-2026-03-17", NoToolsWithEffort),
            ("openai/gpt-5.5", NoToolsWithEffort),
            ("gpt-5.6-terra", NoToolsWithThinking),
            ("gpt-5.10", NoToolsWithThinking),
            ("gpt-6-astra", NoToolsWithThinking),
            ("gpt-5-codex", Nothing),
            ("gpt-5.1-codex-max", Nothing),
            ("gpt-5.3-codex", Nothing),
            ("gpt-5.5-pro", Nothing),
            ("gpt-5-pro-2025-10-06", Nothing),
            ("o3-pro", Nothing),
            ("o3-deep-research", Nothing),
            ("codex-mini-latest", Nothing),
            ("computer-use-preview", Nothing),
        ] {
            assert_eq!(ChatSupport::from_model(model), expected, "{model}");
        }
    }

    #[test]
    fn only_openais_own_hosts_are_known_to_have_responses() {
        for (base_url, expected) in [
            ("https://api.openai.com", true),
            ("https://api.openai.com/v1", true),
            ("https://eu.api.openai.com:443/v1", true),
            ("https://api.openai.com.example", false),
            ("https://notapi.openai.com", false),
            ("https://a.example/api.openai.com", false),
            ("api.openai.com", false),
            ("", false),
        ] {
            assert_eq!(is_openai(base_url), expected, "{base_url}");
        }
    }

    #[test]
    fn acceptance_follows_from_tools_and_effort() {
        use StatedEffort::{Off, On, Unset};
        let shape = |has_tools, effort| RequestShape {
            client: ClientProtocol::OpenaiChat,
            is_stream: false,
            has_tools,
            effort,
        };
        for (support, accepted) in [
            (ChatSupport::Full, [true, true, true]),
            (ChatSupport::NoToolsWithEffort, [true, true, false]),
            (ChatSupport::NoToolsWithThinking, [false, true, false]),
            (ChatSupport::Nothing, [false, false, false]),
        ] {
            let with_tools = [Unset, Off, On].map(|effort| support.accepts(shape(true, effort)));
            assert_eq!(with_tools, accepted, "{support:?}");
            let without = [Unset, Off, On].map(|effort| support.accepts(shape(false, effort)));
            assert_eq!(without, [support != ChatSupport::Nothing; 3], "{support:?}");
        }
    }
}
