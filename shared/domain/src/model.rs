//! Model ids: the base of a dated or prefixed id, and patterns over ids.
//!
//! The list of models and their prices is in `price`.

use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::{fmt, str};

/// Vendor names that can precede a model's name and a slash (`anthropic/claude-…`), as routers and
/// their clients write it (the model lists of two public routers, 2026-11). Other words before a
/// slash are part of the id: clients must not be able to choose which part of a name counts.
const VENDORS: [&str; 30] = [
    "ai21",
    "amazon",
    "anthropic",
    "azure",
    "azure_ai",
    "baidu",
    "bedrock",
    "cohere",
    "deepseek",
    "gemini",
    "google",
    "meta",
    "meta-llama",
    "microsoft",
    "minimax",
    "mistral",
    "mistralai",
    "moonshotai",
    "nousresearch",
    "nvidia",
    "openai",
    "openrouter",
    "perplexity",
    "qwen",
    "vertex_ai",
    "x-ai",
    "xai",
    "z-ai",
    "zai",
    "zhipuai",
];

/// The areas that Bedrock's system-defined inference profiles route to (Bedrock's page "Supported
/// Regions and models for inference profiles", 2026-11).
const GEOGRAPHIES: [&str; 10] =
    ["us", "eu", "ap", "apac", "jp", "au", "ca", "sa", "us-gov", "global"];

/// The id without the parts that name the place of serving, the date or the wrapping.
///
/// Removed are dates (`claude-sonnet-4-5-20250929`, `gpt-4o-2024-08-06`), `-latest`, `@20250929`,
/// `[1m]`, a vendor's path (`anthropic/…`), an ARN, and Bedrock's parts (`us.anthropic.…-v1:0`).
/// Each is removed only in exactly this form, so the rest is the model that an upstream serves. An
/// id without any of these is returned unchanged. Forms from the providers' model pages, 2026-08.
pub(crate) fn base_id(model: &str) -> &str {
    let name = strip_wrapping(model);
    let name = bedrock_name(name).map_or(name, |name| strip_version(name.trim_vendor()));
    let base = strip_date(strip_mark(name));
    let base = base.strip_suffix("-latest").unwrap_or(base);
    if base.is_empty() { model } else { base }
}

/// The id of a Bedrock model at Anthropic's own API: without area, vendor and version, but with its
/// date. Other ids are returned unchanged. Forms from Bedrock's model pages, 2026-11.
pub fn anthropic_id(model: &str) -> &str {
    bedrock_name(strip_wrapping(model)).map_or(model, |name| strip_version(name.trim_vendor()))
}

/// The foundation model of a system-defined Bedrock inference profile (`us.anthropic.…`,
/// `global.anthropic.…`), because `CountTokens` accepts no other id. Other ids are returned
/// unchanged.
pub fn foundation_id(model: &str) -> &str {
    bedrock_name(strip_wrapping(model)).map_or(model, |name| name.0)
}

/// The part of an id after the names of vendors or inside an ARN. Other ids are returned unchanged.
fn strip_wrapping(model: &str) -> &str {
    if let Some(name) = model_from_arn(model) {
        return name;
    }
    let Some((path, name)) = model.rsplit_once('/') else { return model };
    let is_vendor = |word: &str| VENDORS.iter().any(|known| known.eq_ignore_ascii_case(word));
    // Vertex AI writes `publishers/anthropic/models/…`.
    let vendors = path.strip_prefix("publishers/").and_then(|path| path.strip_suffix("/models"));
    if vendors.unwrap_or(path).split('/').all(is_vendor) { name } else { model }
}

/// The model or profile that a Bedrock ARN names.
fn model_from_arn(model: &str) -> Option<&str> {
    let mut parts = model.splitn(6, ':');
    let is_bedrock = parts.next() == Some("arn")
        && matches!(parts.next(), Some("aws" | "aws-cn" | "aws-us-gov"))
        && parts.next() == Some("bedrock");
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let is_place =
        region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && account.bytes().all(|b| b.is_ascii_digit());
    let (kind, name) = resource.split_once('/')?;
    let is_named = matches!(kind, "inference-profile" | "foundation-model") && !name.contains('/');
    (is_bedrock && is_place && is_named).then_some(name)
}

/// The name of an Anthropic model on Bedrock, from `anthropic.` on.
struct BedrockName<'a>(&'a str);

impl<'a> BedrockName<'a> {
    fn trim_vendor(&self) -> &'a str {
        self.0.strip_prefix(VENDOR_ON_BEDROCK).unwrap_or(self.0)
    }
}

const VENDOR_ON_BEDROCK: &str = "anthropic.";

fn bedrock_name(name: &str) -> Option<BedrockName<'_>> {
    if name.contains('/') {
        return None;
    }
    let is_one = |text: &str| text.strip_prefix(VENDOR_ON_BEDROCK).is_some_and(|it| !it.is_empty());
    let behind = name.split_once('.').filter(|(first, _)| GEOGRAPHIES.contains(first));
    let candidate = behind.map_or(name, |(_, rest)| rest);
    is_one(candidate).then_some(BedrockName(candidate))
}

/// Removes Bedrock's `-v1`, `-v1:0`, `-v2:0:200k`.
fn strip_version(name: &str) -> &str {
    let Some((head, tail)) = name.rsplit_once("-v") else { return name };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = tail.split(':');
    let is_version = parts.next().is_some_and(is_number)
        && parts.next().is_none_or(is_number)
        && parts.next().is_none_or(is_window)
        && parts.next().is_none();
    if is_version { head } else { name }
}

/// Whether the text is a context window: `200k`, `1m`.
fn is_window(text: &str) -> bool {
    let digits = text.strip_suffix(['k', 'm']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Removes Vertex AI's version (`@20250929`, `@default`) and Claude Code's context window (`[1m]`).
fn strip_mark(name: &str) -> &str {
    let window = name.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    let name = window.filter(|(_, text)| is_window(text)).map_or(name, |(head, _)| head);
    let is_version = |text: &str| {
        matches!(text, "default" | "latest")
            || ((3..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()))
    };
    let version = name.rsplit_once('@').filter(|(_, text)| is_version(text));
    version.map_or(name, |(head, _)| head)
}

/// Removes `-20250929` or `-2024-08-06`.
fn strip_date(name: &str) -> &str {
    ["-dddddddd", "-dddd-dd-dd"]
        .into_iter()
        .find_map(|form| {
            let (head, tail) = name.split_at_checked(name.len().checked_sub(form.len())?)?;
            let fits = |(b, f): (u8, u8)| if f == b'd' { b.is_ascii_digit() } else { b == f };
            tail.bytes().zip(form.bytes()).all(fits).then_some(head)
        })
        .unwrap_or(name)
}

/// A pattern over model ids, for allow lists and model maps. `*` stands for any run of characters,
/// all other characters for themselves. ASCII case is ignored, because people type these patterns.
///
/// A `*` matches a `/` only in patterns over whole paths: `*` itself, `vendor/*`, and ARNs.
/// `claude-haiku-*` does not match `claude-haiku-x/claude-opus-5-5`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelPattern(String);

/// The longest pattern; model ids are far shorter.
const PATTERN_BYTES_MAX: usize = 256;

/// The text is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a model pattern must have 1 to 256 printable characters; `*` stands for any characters")]
pub struct PatternError;

impl ModelPattern {
    /// Checks the text and makes a pattern of it.
    ///
    /// # Errors
    /// The text is empty, longer than 256 bytes, or has spaces or control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, PatternError> {
        let text = text.into();
        let is_invalid_char = |c: char| c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX || text.contains(is_invalid_char) {
            return Err(PatternError);
        }
        Ok(Self(text))
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches one id only.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether the pattern matches `model`, as given or by its base: `claude-sonnet-4-5` matches
    /// `claude-sonnet-4-5-20250929`, but not the other way round.
    pub fn covers(&self, model: &str) -> bool {
        let pattern = self.0.as_bytes();
        glob(pattern, model.as_bytes()) || glob(pattern, base_id(model).as_bytes())
    }
}

impl str::FromStr for ModelPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl TryFrom<String> for ModelPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl From<ModelPattern> for String {
    fn from(pattern: ModelPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The families of Claude models, as they are named in ids.
const FAMILIES: [&str; 5] = ["opus", "sonnet", "haiku", "fable", "mythos"];

/// The family that a model's name contains. An unknown model costs the highest rates of its family.
pub(crate) fn family_of(model: &str) -> Option<&'static str> {
    let lower = model.to_ascii_lowercase();
    FAMILIES.into_iter().find(|family| lower.contains(family))
}

/// Whether a name can be that of a Claude model, by the word or the family in it.
pub fn is_claude(model: &str) -> bool {
    model.is_empty() || model.to_ascii_lowercase().contains("claude") || family_of(model).is_some()
}

/// Whether an allow list permits `model`; an empty list permits every model.
pub fn is_model_allowed(patterns: &[ModelPattern], model: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.covers(model))
}

/// The upstream's name for `model`, if the map has an entry for it. An entry with exactly this id
/// comes first, then other literal entries, then the longest matching pattern: a map is given as a
/// JSON object, which has no order. The name is used as it stands.
pub fn find_mapped_model<'a>(
    model_map: &'a [(ModelPattern, String)],
    model: &str,
) -> Option<&'a str> {
    let exact = |pattern: &ModelPattern| {
        pattern.is_literal() && pattern.as_str().eq_ignore_ascii_case(model)
    };
    model_map
        .iter()
        .find(|(pattern, _)| exact(pattern))
        .or_else(|| {
            let covering = model_map.iter().filter(|(pattern, _)| pattern.covers(model));
            covering.min_by_key(|(pattern, _)| (!pattern.is_literal(), Reverse(pattern.0.len())))
        })
        .map(|(_, target)| target.as_str())
}

/// Glob match that backtracks only to the last star: no allocation, at most |pattern| × |text|
/// steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let crosses = pattern == b"*" || pattern.ends_with(b"/*") || pattern.starts_with(b"arn:");
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(want) if want.eq_ignore_ascii_case(byte) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((index, from)) = star else { return false };
                if text[from] == b'/' && !crosses {
                    return false;
                }
                star = Some((index, from + 1));
                p = index + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base_id_drops_vendor_date_and_version() {
        let check = |model, base| assert_eq!(base_id(model), base, "{model}");
        for same in ["claude-opus-5-5", "gpt-5.5", "", "llama3:8b", "o-v", "x-v1beta", "2024-08-06"]
        {
            check(same, same);
        }
        check("claude-sonnet-4-5-20250929", "claude-sonnet-4-5");
        check("claude-sonnet-4-5@20250929", "claude-sonnet-4-5");
        check("claude-sonnet-4-5-latest", "claude-sonnet-4-5");
        check("claude-opus-5-5[1m]", "claude-opus-5-5");
        check("anthropic/claude-opus-5-5", "claude-opus-5-5");
        check("anthropic.claude-opus-5-5", "claude-opus-5-5");
        check("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5");
        check("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6");
        check("eu.anthropic.claude-haiku-4-5-20251001-v1:0:200k", "claude-haiku-4-5");
        check("publishers/anthropic/models/claude-opus-4-1@20250805", "claude-opus-4-1");
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-8-v1:0";
        check(arn, "claude-opus-4-8");
        check("gpt-4o-2024-08-06", "gpt-4o");
        check("é-2024080é", "é-2024080é");
        check("/", "/");
        check("@x", "@x");
        check("vertex_ai/claude-haiku-4-5@default", "claude-haiku-4-5");
        check("OpenRouter/anthropic/claude-opus-5-5", "claude-opus-5-5");
        check("claude-opus-4-5@20251101[1m]", "claude-opus-4-5");
    }

    #[test]
    fn bedrock_ids_convert_to_anthropic_and_foundation_ids() {
        let check = |model, anthropic, foundation| {
            assert_eq!(anthropic_id(model), anthropic, "{model}");
            assert_eq!(foundation_id(model), foundation, "{model}");
        };
        check(
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "claude-sonnet-4-5-20250929",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
        );
        check(
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-6-v1",
            "claude-opus-4-6",
            "anthropic.claude-opus-4-6-v1",
        );
        check("global.anthropic.claude-opus-5-5", "claude-opus-5-5", "anthropic.claude-opus-5-5");
        let profile = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc";
        for same in ["claude-opus-5-5", profile, "", "anthropic."] {
            check(same, same, same);
        }
    }

    fn pattern(text: &str) -> ModelPattern {
        ModelPattern::new(text).unwrap()
    }

    #[test]
    fn pattern_covers_matching_models() {
        let check = |text, model, expect| {
            assert_eq!(pattern(text).covers(model), expect, "{text} {model}");
        };
        check("*", "", true);
        check("*", "anything", true);
        check("claude-*", "claude-opus-5-5", true);
        check("Claude-*", "claude-opus-5-5", true);
        check("claude-*", "anthropic/claude-opus-5-5", true);
        check("claude-*", "gpt-5.5", false);
        check("*opus*", "claude-opus-5-5", true);
        check("*-5", "claude-opus-5-5", true);
        check("*-5-5-5", "claude-opus-5-5", false);
        check("c*o*5", "claude-opus-5-5", true);
        check("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", true);
        check("claude-sonnet-4-5-20250929", "claude-sonnet-4-5", false);
        check("claude-sonnet-4", "claude-sonnet-4-5", false);
        check("a**b", "ab", true);
    }

    #[test]
    fn stripping_an_id_never_reaches_another_model() {
        let decorations = [
            "claude-opus-4-5/claude-haiku-4-5",
            "anthropic/claude-opus-4-5/claude-haiku-4-5",
            "claude-haiku-4-5/claude-opus-4-5",
            "claude-haiku-4-5/../claude-opus-4-5",
            "publishers/claude-opus-4-5/models/claude-haiku-4-5",
            "publishers/anthropic/models/x/claude-haiku-4-5",
            "x.anthropic.claude-haiku-4-5",
            "claude-opus-4-5anthropic.claude-haiku-4-5",
            "claude-opus-4-5.anthropic.claude-haiku-4-5",
            "us.eu.anthropic.claude-haiku-4-5",
            "us.anthropic.claude-opus-4-5-v1:0/us.anthropic.claude-haiku-4-5-v1:0",
            "claude-haiku-4-5@claude-opus-4-5",
            "claude-haiku-4-5@opus",
            "claude-haiku-4-5@",
            "claude-haiku-4-5@20251001@claude-opus-4-5",
            "claude-haiku-4-5[opus]",
            "claude-haiku-4-5[1m",
            "claude-haiku-4-5[]",
            "claude-haiku-4-5-v1:claude-opus-4-5",
            "us.anthropic.claude-haiku-4-5-v1:0:opus",
            "us.anthropic.claude-haiku-4-5-v1:0:200k:x",
            "claude-opus-4-5\0claude-haiku-4-5",
            "claude-haiku-4-5\0",
            " claude-haiku-4-5",
            "claude-haiku-4-5 ",
            "claude-haiku-4-5\n",
            "claude-haiku-4-5?model=claude-opus-4-5",
            "claude-haiku-4-5#",
            "arn:aws:bedrock:us-east-1:1:inference-profile/claude-opus-4-5/claude-haiku-4-5",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/claude-haiku-4-5",
            "arn:aws:bedrock:us-east-1:1:prompt/claude-haiku-4-5",
            "arn:aws:s3:us-east-1:1:inference-profile/claude-haiku-4-5",
            "arn:claude-opus-4-5:bedrock:us-east-1:1:inference-profile/claude-haiku-4-5",
            "arn:aws:bedrock:Opus:1:inference-profile/claude-haiku-4-5",
            "claude-opus-4-5:claude-haiku-4-5",
            "//claude-haiku-4-5",
            "/claude-haiku-4-5",
            "anthropic//claude-haiku-4-5",
            "claude-haiku-4-5-2025100",
            "claude-haiku-4-5-latest-opus",
        ];
        for model in decorations {
            assert!(!is_model_allowed(&[pattern("claude-haiku-4-5")], model), "{model:?}");
            let table = [(pattern("claude-haiku-4-5"), "x".to_owned())];
            assert_eq!(find_mapped_model(&table, model), None, "{model:?}");
            for bedrock in [anthropic_id(model), foundation_id(model)] {
                assert!(
                    !is_model_allowed(&[pattern("claude-haiku-4-5")], bedrock),
                    "{model:?}: {bedrock}"
                );
            }
        }
        for model in decorations.iter().filter(|model| model.contains('/')) {
            assert!(!is_model_allowed(&[pattern("claude-haiku-*")], model), "{model:?}");
        }
        for model in [
            "claude-haiku-4-5",
            "CLAUDE-HAIKU-4-5",
            "claude-haiku-4-5-20251001",
            "anthropic/claude-haiku-4-5",
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-haiku-4-5-v1:0",
            "claude-haiku-4-5@20251001",
            "claude-haiku-4-5[1m]",
        ] {
            assert!(is_model_allowed(&[pattern("claude-haiku-4-5")], model), "{model}");
        }
    }

    #[test]
    fn wildcards_cover_models_with_slashes() {
        let check = |text, model, expect| {
            assert_eq!(pattern(text).covers(model), expect, "{text} {model}");
        };
        check("*", "a/b/c", true);
        check("claude-*", "claude-x/claude-opus", false);
        check("myteam/*", "myteam/a/b", true);
        check("myteam*", "myteam/a", false);
        check("*/claude-*", "myteam/claude-x", true);
        check("*/claude-*", "my/team/claude-x", false);
        check("*a*b/c", "xaxb/c", true);
        check(
            "arn:aws:bedrock:*",
            "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x",
            true,
        );
        check(
            "*opus*",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-8",
            true,
        );
    }

    #[test]
    fn allow_list_admits_covered_models() {
        assert!(is_model_allowed(&[], "anything"));
        let list = [pattern("claude-haiku-*"), pattern("claude-opus-5-5")];
        assert!(
            is_model_allowed(&list, "claude-haiku-4-5")
                && is_model_allowed(&list, "claude-opus-5-5-20261001")
        );
        assert!(!is_model_allowed(&list, "claude-opus-5"));
    }

    #[test]
    fn most_specific_mapping_wins() {
        let table = [
            (pattern("claude-*"), "any".to_owned()),
            (pattern("claude-opus-*"), "opus".to_owned()),
            (pattern("claude-opus-5-5"), "exact".to_owned()),
        ];
        let check = |model, target| assert_eq!(find_mapped_model(&table, model), target, "{model}");
        check("claude-opus-5-5", Some("exact"));
        check("CLAUDE-OPUS-5-5", Some("exact"));
        check("claude-opus-5-5-20261001", Some("exact"));
        check("claude-opus-5", Some("opus"));
        check("claude-haiku-5-5", Some("any"));
        check("gpt-5.5", None);
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for text in ["", " ", "a b", "a\n", &"x".repeat(257)] {
            assert_eq!(ModelPattern::new(text), Err(PatternError), "{text:?}");
        }
        assert!(serde_json::from_str::<ModelPattern>("\"\"").is_err());
        let read: ModelPattern = serde_json::from_str("\"claude-*\"").unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"claude-*\"");
    }

    proptest! {
        #[test]
        fn arbitrary_names_do_not_panic(model in "\\PC{0,40}", text in "[a-c*]{1,12}", other in "[a-c]{0,20}") {
            let base = base_id(&model);
            prop_assert!(model.contains(base));
            prop_assert_eq!(base_id(base).len() <= base.len(), true);
            pattern(&text).covers(&other);
        }

        #[test]
        fn literal_pattern_covers_itself(model in "[a-z0-9.-]{1,40}") {
            prop_assert!(pattern(&model).covers(&model));
            let starred = format!("*{model}*");
            prop_assert!(pattern(&starred).covers(&model));
        }
    }
}
