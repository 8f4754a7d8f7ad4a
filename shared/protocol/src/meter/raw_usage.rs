//! The usage of an answer: one list of the places where upstreams report it and of the names that
//! they have for its counts. The meter and the translator both read it here.
//!
//! * `usage` of the answer, of its message or response, or of an error;
//! * `usage` of a choice: Moonshot's last chunk (platform.moonshot.cn, "Chat Completion";
//!   northes/go-moonshot #17, earendil-works/pi #2017, 2026-03-10);
//! * `x_groq.usage`: Groq's last chunk without `include_usage` (groq-python, `XGroq`, 2026-11).
//!
//! The names of cached tokens are Anthropic's and OpenAI's, and those of `DeepSeek`
//! (`prompt_cache_hit_tokens`, API reference), Moonshot (`cached_tokens` of the usage itself),
//! `LiteLLM` (`cache_creation_tokens`, `cache_creation_token_details`), Alibaba (Anthropic's names
//! inside of OpenAI's details) and `new-api` (`cached_creation_tokens`,
//! `claude_cache_creation_5_m_tokens`), all read 2026-11. Each name counts in the usage itself and
//! in its details.

use super::raw_fields::{RawFields, UsageFaults, first_above_zero, read_object};
use memchr::memmem;

/// The most passes of an answer that are read. A record keeps 64, and no vendor documents an answer
/// with more (2026-11).
const PASSES_MAX: usize = 256;

const PROMPT_DETAILS: [&str; 2] = ["prompt_tokens_details", "input_tokens_details"];
const OUTPUT_DETAILS: [&str; 2] = ["completion_tokens_details", "output_tokens_details"];
const CACHE_READ: [&str; 3] =
    ["cache_read_input_tokens", "cached_tokens", "prompt_cache_hit_tokens"];
const CACHE_WRITE: [&str; 4] = [
    "cache_creation_input_tokens",
    "cache_write_tokens",
    "cache_creation_tokens",
    "cached_creation_tokens",
];
const CACHE_WRITE_SPLIT: [&str; 2] = ["cache_creation", "cache_creation_token_details"];

/// `usage`, with Anthropic's names and meanings. OpenAI's counts are converted.
#[derive(Debug, Default)]
pub(super) struct RawUsage {
    /// The tokens of the prompt that were neither read from a cache nor written to it.
    pub(super) input_tokens: Option<u64>,
    /// The tokens of the answer, thinking included.
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: Option<u64>,
    pub(super) cache_creation: Option<CacheCreation>,
    pub(super) web_search_requests: Option<u64>,
    pub(super) service_tier: Option<String>,
    pub(super) inference_geo: Option<String>,
    pub(super) speed: Option<String>,
    pub(super) iterations: Option<Vec<RawIteration>>,
    /// The part of the output that was thinking.
    pub(super) thinking_tokens: Option<u64>,
    pub(super) faults: UsageFaults,
}

#[derive(Debug, Default)]
pub(super) struct CacheCreation {
    pub(super) ephemeral_5m_input_tokens: Option<u64>,
    pub(super) ephemeral_1h_input_tokens: Option<u64>,
}

/// One entry of `usage.iterations`. Its counts have the same names as in `usage`.
#[derive(Debug)]
pub(super) struct RawIteration {
    pub(super) kind: Option<String>,
    pub(super) model: Option<String>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: Option<u64>,
    pub(super) cache_creation: Option<CacheCreation>,
}

/// The counts of cached tokens in a usage object or in its details.
struct CacheCounts {
    read: Option<u64>,
    written: Option<u64>,
    split: Option<CacheCreation>,
}

impl CacheCounts {
    fn take(fields: &mut RawFields<'_>) -> Self {
        let read = fields.first_count(&CACHE_READ);
        let written = fields.first_count(&CACHE_WRITE);
        let splits = CACHE_WRITE_SPLIT.map(|name| CacheCreation::take(fields, name));
        let split = splits.into_iter().flatten().reduce(CacheCreation::larger);
        let of_new_api = CacheCreation {
            ephemeral_5m_input_tokens: fields.count("claude_cache_creation_5_m_tokens"),
            ephemeral_1h_input_tokens: fields.count("claude_cache_creation_1_h_tokens"),
        };
        let split = Some(of_new_api).filter(|split| split.total() > 0).or(split);
        Self { read, written, split }
    }

    fn has_any(&self) -> bool {
        let split = self.split.as_ref().map(CacheCreation::total);
        [self.read, self.written, split].into_iter().flatten().any(|count| count > 0)
    }

    /// The counts of both objects. A zero in one does not hide a count in the other.
    fn merge(self, other: Self) -> Self {
        Self {
            read: first_above_zero([self.read, other.read]),
            written: first_above_zero([self.written, other.written]),
            split: [self.split, other.split].into_iter().flatten().reduce(CacheCreation::larger),
        }
    }

    /// All tokens written to the cache. If the split exceeds its total, the split is more
    /// trustworthy.
    fn all_written(&self) -> u64 {
        self.split.as_ref().map_or(0, CacheCreation::total).max(self.written.unwrap_or(0))
    }
}

impl RawUsage {
    /// Takes the usage out of the fields of an answer or of an object inside of it: the first place
    /// with a count above 0, or else the first one. Two usage objects under one name that differ
    /// are a fault of the one that counts.
    pub(super) fn take(fields: &mut RawFields<'_>) -> Option<Self> {
        let mut first = fields.object("usage").map(Self::read);
        if let Some(usage) = &mut first {
            usage.faults.has_unreadable_count |= fields.is_given_twice("usage");
        }
        if first.as_ref().is_some_and(Self::has_counts) {
            return first;
        }
        let of_groq = fields.object("x_groq").and_then(|object| object.object("usage"));
        let others = [of_groq, choice_usage(fields)].into_iter().flatten().map(Self::read);
        let mut usages: Vec<_> = first.into_iter().chain(others).collect();
        let position = usages.iter().position(Self::has_counts).unwrap_or(0);
        (!usages.is_empty()).then(|| usages.swap_remove(position))
    }

    /// Reads the usage of an answer, a chunk or an event. `None` if it has none.
    pub(super) fn parse_answer(json: &[u8]) -> Option<Self> {
        memmem::find(json, b"\"usage\"")?;
        read_object(json, |mut fields| Self::take(&mut fields))?
    }

    /// Reads a usage object of any protocol.
    pub(super) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self::read)
    }

    /// Reads the fields of a usage object.
    fn read(mut fields: RawFields<'_>) -> Self {
        let inputs = (fields.count("input_tokens"), fields.count("prompt_tokens"));
        let mut usage = Self {
            input_tokens: first_above_zero([inputs.0, inputs.1]),
            output_tokens: fields.first_count(&["output_tokens", "completion_tokens"]),
            service_tier: fields.text("service_tier"),
            inference_geo: fields.text("inference_geo"),
            speed: fields.text("speed"),
            ..Self::default()
        };
        let total = fields.count("total_tokens");
        if let Some(mut tools) = fields.read_usage_part("server_tool_use") {
            usage.web_search_requests = tools.count("web_search_requests");
            fields.faults.add(tools.faults);
        }
        usage.iterations = fields.read_usage_list("iterations", PASSES_MAX).map(|passes| {
            passes.into_iter().map(|pass| RawIteration::read(pass, &mut fields.faults)).collect()
        });
        for name in OUTPUT_DETAILS {
            let Some(mut details) = fields.read_usage_part(name) else { continue };
            // `thinking_tokens` is Anthropic's name, `reasoning_tokens` OpenAI's.
            let thinking = details.first_count(&["thinking_tokens", "reasoning_tokens"]);
            usage.thinking_tokens = first_above_zero([usage.thinking_tokens, thinking]);
            fields.faults.add(details.faults);
        }
        let mut caches = CacheCounts::take(&mut fields);
        // new-api fills Anthropic's names with zeros beside OpenAI's.
        let is_anthropic =
            inputs.0.is_some_and(|count| count > 0 || inputs.1.is_none()) && caches.has_any();
        for name in PROMPT_DETAILS {
            let Some(mut details) = fields.read_usage_part(name) else { continue };
            caches = caches.merge(CacheCounts::take(&mut details));
            fields.faults.add(details.faults);
        }
        usage.faults = fields.faults;
        usage.split_prompt(caches, inputs.1, is_anthropic, total);
        usage.add_uncounted_output(total);
        usage
    }

    /// Takes the cached tokens out of the prompt, if the upstream counts them as a part of it.
    ///
    /// OpenAI's `prompt_tokens` and Responses' `input_tokens` include the tokens that were read from
    /// the cache and written to it. Anthropic's `input_tokens` does not (usage objects of the APIs'
    /// references, 2026-08; openai-python 3.54, `CompletionUsage`). Gateways mix both: `LiteLLM` and
    /// `any-llm` add Anthropic's names to a prompt that includes the cache (mozilla-ai/any-llm
    /// #1335), and others copy Anthropic's counts under OpenAI's names. The total decides if it
    /// fits one of the two, and the names otherwise. A part cannot be larger than its whole.
    fn split_prompt(
        &mut self,
        caches: CacheCounts,
        prompt_tokens: Option<u64>,
        is_anthropic: bool,
        total: Option<u64>,
    ) {
        let (read, written) = (caches.read.unwrap_or(0), caches.all_written());
        let in_cache = read.saturating_add(written);
        if let Some(input) = self.input_tokens.filter(|_| in_cache > 0) {
            let answer = input.saturating_add(self.output_tokens.unwrap_or(0));
            let thinking = self.thinking_tokens.unwrap_or(0);
            let fits = |sum: u64| {
                total == Some(sum) || (thinking > 0 && total == Some(sum.saturating_add(thinking)))
            };
            let is_beside = fits(answer.saturating_add(in_cache));
            let is_inside = if fits(answer) {
                // With as many cached as thinking tokens, the usual way of counting is assumed.
                true
            } else if is_beside || prompt_tokens == Some(input.saturating_add(in_cache)) {
                false
            } else {
                !is_anthropic
            };
            if in_cache <= input && is_inside {
                self.input_tokens = Some(input - in_cache);
            }
            self.faults.has_contradiction |= in_cache > input && is_inside;
        }
        self.cache_read_input_tokens = caches.read;
        self.cache_creation_input_tokens = caches.written;
        self.cache_creation = caches.split;
    }

    /// Adds the tokens of the total that belong to no other count to the answer. They are thinking:
    /// xAI reports it beside the answer (docs.x.ai, "Reasoning", 2026-11), and Google's
    /// OpenAI-compatible endpoint only in the total (discuss.ai.google.dev/t/127400;
    /// Clarifai/clarifai-python #978; mozilla-ai/any-llm #1290, 2026-08-16).
    fn add_uncounted_output(&mut self, total: Option<u64>) {
        let (Some(total), Some(_)) = (total, self.input_tokens) else { return };
        let prompt = self.prompt_tokens();
        let counted = prompt.saturating_add(self.output_tokens.unwrap_or(0));
        let uncounted = total.saturating_sub(counted);
        if uncounted > 0 {
            self.output_tokens = Some(self.output_tokens.unwrap_or(0).saturating_add(uncounted));
            // No prompt is empty, so a part of the total is the prompt.
            if prompt == 0 {
                self.faults.has_contradiction = true;
                self.faults.prompt_in_output = uncounted;
            }
        }
    }

    /// Whether any count is above 0, so that the upstream bills something.
    pub(super) fn has_counts(&self) -> bool {
        let counts = [Some(self.prompt_tokens()), self.output_tokens, self.web_search_requests];
        counts.into_iter().flatten().any(|count| count > 0) || self.faults.has_excessive_count
    }

    /// The tokens of the prompt, whatever their class.
    pub(super) fn prompt_tokens(&self) -> u64 {
        let split = self.cache_creation.as_ref().map_or(0, CacheCreation::total);
        let written = self.cache_creation_input_tokens.unwrap_or(0).max(split);
        [self.input_tokens, self.cache_read_input_tokens, Some(written)]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add)
    }
}

/// The usage of the first choice that has one.
fn choice_usage<'a>(fields: &RawFields<'a>) -> Option<RawFields<'a>> {
    memmem::find(fields.raw("choices")?.as_bytes(), b"\"usage\"")?;
    fields.items("choices")?.find_map(|choice| RawFields::from_item(choice)?.object("usage"))
}

impl CacheCreation {
    fn take(fields: &mut RawFields<'_>, name: &str) -> Option<Self> {
        let mut split = fields.read_usage_part(name)?;
        let read = Self {
            ephemeral_5m_input_tokens: split.count("ephemeral_5m_input_tokens"),
            ephemeral_1h_input_tokens: split.count("ephemeral_1h_input_tokens"),
        };
        fields.faults.add(split.faults);
        Some(read)
    }

    pub(super) fn total(&self) -> u64 {
        let counts = [self.ephemeral_5m_input_tokens, self.ephemeral_1h_input_tokens];
        counts.into_iter().flatten().fold(0, u64::saturating_add)
    }

    fn larger(self, other: Self) -> Self {
        if other.total() > self.total() { other } else { self }
    }
}

impl RawIteration {
    fn read(mut fields: RawFields<'_>, faults: &mut UsageFaults) -> Self {
        let read = Self {
            kind: fields.text("type"),
            model: fields.text("model"),
            input_tokens: fields.count("input_tokens"),
            output_tokens: fields.count("output_tokens"),
            cache_read_input_tokens: fields.count("cache_read_input_tokens"),
            cache_creation_input_tokens: fields.count("cache_creation_input_tokens"),
            cache_creation: CacheCreation::take(&mut fields, "cache_creation"),
        };
        faults.add(fields.faults);
        read
    }
}
