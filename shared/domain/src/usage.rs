//! The billed usage of one answer.
//!
//! `protocol::meter` reads it from the upstream's bytes; the prices are in `price`.

use serde::{Deserialize, Serialize};

/// Tokens by class. The classes do not overlap; the prompt is the sum of all classes except
/// `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TokenCounts {
    /// Prompt tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Tokens of the answer, including thinking.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cache_read: u64,
    /// Prompt tokens written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Prompt tokens written to the cache for an hour.
    pub cache_write_1h: u64,
}

impl TokenCounts {
    /// Adds `other`, class by class.
    pub fn add_counts(&mut self, other: &Self) {
        *self = self.combine_with(other, u64::saturating_add);
    }

    /// The remainder of each class after subtracting `other`, at least 0.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine_with(other, u64::saturating_sub)
    }

    /// All prompt tokens, whatever their class.
    pub fn prompt_tokens(&self) -> u64 {
        [self.cache_read, self.cache_write_5m, self.cache_write_1h]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// All tokens.
    pub fn total(&self) -> u64 {
        self.prompt_tokens().saturating_add(self.output)
    }

    fn combine_with(&self, other: &Self, op: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: op(self.input, other.input),
            output: op(self.output, other.output),
            cache_read: op(self.cache_read, other.cache_read),
            cache_write_5m: op(self.cache_write_5m, other.cache_write_5m),
            cache_write_1h: op(self.cache_write_1h, other.cache_write_1h),
        }
    }
}

/// One sampling pass inside a request: `usage.iterations[]` (SDK 1.12 types, 2026-11-22).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageIteration {
    /// The upstream's name for the kind: `message`, `fallback_message`, `compaction`,
    /// `advisor_message`, ….
    pub kind: String,
    /// The model that ran it, if the upstream names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The tokens of this pass.
    pub tokens: TokenCounts,
}

impl UsageIteration {
    /// Whether the upstream leaves these tokens out of its top-level totals. That is so for
    /// compaction (SDK 1.12 doc comment) and for the advisor, which another model runs.
    pub fn outside_totals(&self) -> bool {
        self.kind.starts_with("compaction") || self.kind.starts_with("advisor")
    }
}

/// The most passes that are recorded one by one.
const ITERATIONS_MAX: usize = 64;
/// The longest stored tier, place or kind of an upstream.
const WORD_CHARS_MAX: usize = 64;
/// The longest stored model name.
pub const MODEL_CHARS_MAX: usize = 200;

/// The first `max` characters of an upstream's text, without terminal control characters.
pub fn clean_text(text: &str, max: usize) -> String {
    text.chars().filter(|char| !char.is_control()).take(max).collect()
}

/// The usage of an answer.
///
/// `tokens` is the *billed* sum: every iteration, plus the part of the upstream's totals that
/// exceeds its iterations. In each class `tokens ≥ Σ iterations`. The difference
/// ([`BilledUsage::outside_iterations`]) is billed at the price of the model that served the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BilledUsage {
    /// Tokens as billed.
    pub tokens: TokenCounts,
    /// Web searches by the upstream.
    pub web_searches: u64,
    /// `standard`, `priority`, `batch`, …; `None` if the upstream does not name it.
    pub service_tier: Option<String>,
    /// Where the answer was computed: `global`, `us`, ….
    pub inference_geo: Option<String>,
    /// `fast` or `standard`.
    pub speed: Option<String>,
    /// The passes, if the upstream lists them.
    pub iterations: Vec<UsageIteration>,
    /// Whether any number is Baton's estimate.
    pub estimated: bool,
}

impl BilledUsage {
    /// The same usage with texts and passes cut to the size limits of a record. Further passes are
    /// added to an equal one; the tokens of those without an equal one stay in the totals.
    #[must_use]
    pub fn fit_to_record(mut self) -> Self {
        let texts = [&mut self.service_tier, &mut self.inference_geo, &mut self.speed];
        for text in texts.into_iter().flatten() {
            *text = clean_text(text, WORD_CHARS_MAX);
        }
        for iteration in &mut self.iterations {
            iteration.kind = clean_text(&iteration.kind, WORD_CHARS_MAX);
            if let Some(model) = &mut iteration.model {
                *model = clean_text(model, MODEL_CHARS_MAX);
            }
        }
        let room = ITERATIONS_MAX.min(self.iterations.len());
        for more in self.iterations.split_off(room) {
            let same = |one: &&mut UsageIteration| one.kind == more.kind && one.model == more.model;
            if let Some(same) = self.iterations.iter_mut().find(same) {
                same.tokens.add_counts(&more.tokens);
            }
        }
        self
    }

    /// Combines the upstream's top-level `totals` with its `iterations`.
    ///
    /// * Without iterations: the totals.
    /// * A pass that declined before any output is free if a fallback follows (platform.claude.com,
    ///   release note of 2026-06-02). It stays in the list, without tokens.
    /// * Compaction and advisor passes are not in the totals, so they are added.
    /// * The totals of the other passes can be their sum (compaction), or only those of the last
    ///   pass (a fallback reports the tokens of the model that finished). Therefore the sum of the
    ///   passes counts, plus the part of the totals that exceeds it in each class.
    pub fn from_iterations(totals: TokenCounts, iterations: Vec<UsageIteration>) -> Self {
        let (mut inside, mut tokens) = (TokenCounts::default(), TokenCounts::default());
        let mut iterations = iterations;
        let is_taken_over = iterations.iter().any(|pass| pass.kind.starts_with("fallback"));
        for iteration in &mut iterations {
            if !iteration.outside_totals() {
                inside.add_counts(&iteration.tokens);
            }
            // A model that declines before any output costs nothing if another one takes over.
            if is_taken_over && iteration.kind == "message" && iteration.tokens.output == 0 {
                iteration.tokens = TokenCounts::default();
            }
            tokens.add_counts(&iteration.tokens);
        }
        tokens.add_counts(&totals.minus(&inside));
        Self { tokens, iterations, ..Self::default() }
    }

    /// The usage of an answer that the model refused before any output: only the passes of other
    /// kinds, such as a compaction, are billed.
    #[must_use]
    pub fn without_refused_passes(mut self) -> Self {
        self.tokens = TokenCounts::default();
        for iteration in &mut self.iterations {
            if !iteration.outside_totals() {
                iteration.tokens = TokenCounts::default();
            }
            self.tokens.add_counts(&iteration.tokens);
        }
        self
    }

    /// The billed tokens that belong to no iteration.
    pub(crate) fn outside_iterations(&self) -> TokenCounts {
        let mut listed = TokenCounts::default();
        for iteration in &self.iterations {
            listed.add_counts(&iteration.tokens);
        }
        self.tokens.minus(&listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64, output: u64) -> TokenCounts {
        TokenCounts { input, output, ..TokenCounts::default() }
    }

    fn pass(kind: &str, input: u64, output: u64) -> UsageIteration {
        UsageIteration { kind: kind.into(), model: None, tokens: tokens(input, output) }
    }

    #[test]
    fn billed_usage_by_totals_and_iterations() {
        let check = |totals, passes: &[UsageIteration], billed, beyond| {
            let usage = BilledUsage::from_iterations(totals, passes.to_vec());
            assert_eq!((usage.tokens, usage.outside_iterations()), (billed, beyond), "{passes:?}");
        };
        let none = TokenCounts::default();
        check(tokens(25, 7), &[], tokens(25, 7), tokens(25, 7));
        let both = [pass("compaction", 150_000, 3_000), pass("message", 4_000, 50)];
        check(tokens(4_000, 50), &both, tokens(154_000, 3_050), none);
        // The compaction alone is listed: the totals still count.
        check(tokens(4_000, 50), &both[..1], tokens(154_000, 3_050), tokens(4_000, 50));
        let fallback = [pass("message", 500, 5), pass("fallback_message", 500, 40)];
        check(tokens(500, 40), &fallback, tokens(1_000, 45), none);
        // Totals that exceed the listed passes are kept.
        check(tokens(600, 100), &fallback[..1], tokens(600, 100), tokens(100, 95));
        let advised = [pass("message", 10, 2), pass("advisor_message", 900, 30)];
        check(tokens(10, 2), &advised, tokens(910, 32), none);
    }

    #[test]
    fn prompt_tokens_exclude_output() {
        let all = TokenCounts {
            input: 1,
            output: 2,
            cache_read: 4,
            cache_write_5m: 8,
            cache_write_1h: 16,
        };
        assert_eq!((all.prompt_tokens(), all.total()), (29, 31));
    }

    #[test]
    fn token_counts_use_the_field_names_of_records() {
        let json = r#"{"input":1,"output":2,"cache_read":3,"cache_write_5m":4,"cache_write_1h":5}"#;
        let read: TokenCounts = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }

    #[test]
    fn long_upstream_usage_is_shortened_without_losing_counts() {
        let pass = |number: usize| UsageIteration {
            kind: "message".into(),
            model: Some(format!("{}{}", "m".repeat(300), number % 3)),
            tokens: TokenCounts { input: 1, output: 1, ..TokenCounts::default() },
        };
        let usage = BilledUsage {
            service_tier: Some("T".repeat(500_000)),
            speed: Some("fast\u{1b}[2J".into()),
            ..BilledUsage::from_iterations(TokenCounts::default(), (0..20_000).map(pass).collect())
        };
        let bounded = usage.clone().fit_to_record();
        assert_eq!(bounded.tokens, usage.tokens);
        assert_eq!(bounded.iterations.len(), 64);
        assert_eq!(bounded.outside_iterations(), TokenCounts::default(), "every pass is in one");
        assert_eq!(bounded.service_tier.map(|tier| tier.len()), Some(64));
        assert_eq!(bounded.speed.as_deref(), Some("fast[2J"));
        let usual =
            BilledUsage::from_iterations(TokenCounts::default(), vec![UsageIteration::default()]);
        assert_eq!(usual.clone().fit_to_record(), usual);
    }
}
