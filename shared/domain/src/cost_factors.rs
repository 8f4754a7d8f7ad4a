//! The most that a request can make its upstream do, and what that costs.
//!
//! `protocol::cost_scan` derives the factors from the bytes of the request. The prices are in `price`.

use crate::account::Provider;
use crate::model_capabilities::{ModelCapabilities, OutputBoundFields};
use crate::model_catalog;
use crate::money::PicoUsd;
use crate::price::{ModelPrice, PriceTable, RateFactor, ServiceTier, UsageCost};
use crate::sold_price::SoldPrices;
use crate::token_rates::TokenRates;
use crate::usage::clean_text;
use crate::vendor::Vendor;
use jiff::Timestamp;

/// The length of an answer that each model can write, in tokens. That of most models is shorter
/// (the models' pages of 2026-11-22).
const LONGEST_ANSWER_MIN: u64 = 128_000;

/// The most prompt tokens that an upstream adds itself: the preamble of tools and of formats.
const HIDDEN_TOKENS: u64 = 2_000;

/// The characters of a model's name that an error repeats.
const MODEL_SHOWN_CHARS: usize = 60;

/// A typical long answer: most turns of coding agents are shorter.
const OUTPUT_TOKENS_EXPECTED: u64 = 4_000;

/// Bytes of the JSON body per prompt token, for prose and code.
const BYTES_PER_TOKEN_EXPECTED: u64 = 4;

/// The properties of a request that decide its highest cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct CostFactors {
    /// The bytes of the body that can become prompt tokens. A tokenizer makes at most one token of
    /// each byte, and hostile text comes close to that.
    pub prompt_bytes: u64,
    /// Prompt tokens that do not depend on the length of the body, such as those of images and of
    /// the definitions of the upstream's own tools.
    pub prompt_tokens: u64,
    /// The most tokens that one answer can have; `None` means the model's maximum.
    pub output_tokens: Option<u64>,
    /// The fields of a Chat request that give `output_tokens`.
    pub chat_bound: ChatBound,
    /// Whether a Chat request bounds its thinking with `thinking_budget`.
    pub has_thinking_budget: bool,
    /// Whether the upstream bills thinking, up to the model's longest answer, in addition to
    /// `output_tokens`.
    pub thinks_beyond_bound: bool,
    /// Whether a further pass can answer with the model's maximum in spite of `output_tokens`.
    pub has_unbounded_pass: bool,
    /// Tokens of thinking in addition to the model's longest answer, if `output_tokens` is `None`.
    pub thinking_tokens: u64,
    /// Output tokens that are billed in addition to the answers: a prediction that was not used.
    pub predicted_tokens: u64,
    /// The number of answers, at least one.
    pub choices: u64,
    /// The number of times that a model reads the prompt and answers, at least one.
    pub iterations: u64,
    /// The most web searches that the upstream can make.
    pub searches: u64,
    /// Whether the request asks for `speed: fast`.
    pub is_fast: bool,
    /// The tier that the request asks for, if it can cost more than the usual one.
    pub tier: Option<ServiceTier>,
    /// Whether the request leaves the tier to the settings of the upstream's project.
    pub uses_project_tier: bool,
    /// Whether the prompt can be written to the cache for an hour.
    pub caches_for_an_hour: bool,
    /// Other models that the body names: fallbacks and advisors.
    pub models: Vec<String>,
    /// The field that makes the upstream read more than the body: stored history, files or search
    /// results. Only the model's context window limits their size.
    pub reads_beyond_body: Option<UnboundedField>,
    /// The first field that has no limit or no price.
    pub unbounded: Option<UnboundedField>,
}

/// The fields of a Chat request that bound its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChatBound {
    /// None, or the request is not one of Chat Completions.
    #[default]
    None,
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
    /// Both fields.
    Both,
}

/// A field that makes a request's highest cost unknown, with advice. Both are shown to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnboundedField {
    /// The name of the field, as the client knows it.
    pub field: String,
    /// Advice for the client.
    pub advice: &'static str,
}

impl std::fmt::Display for UnboundedField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: a spend limit applies to this key, and Baton cannot compute in advance what this can \
             cost at most. {}",
            self.field, self.advice
        )
    }
}

impl CostFactors {
    /// Whether the upstream can read more than the body, or read it more than once.
    pub fn can_read_more(&self) -> bool {
        self.reads_beyond_body.is_some() || self.iterations > 1 || self.searches > 0
    }

    /// The most output tokens of one pass of a model whose longest answer has `longest` tokens.
    fn output(&self, longest: u64) -> u64 {
        let own = match self.output_tokens {
            Some(tokens) if self.thinks_beyond_bound => tokens.saturating_add(longest),
            Some(tokens) => tokens,
            None => longest.saturating_add(self.thinking_tokens),
        };
        if self.has_unbounded_pass { own.max(longest) } else { own }
    }

    /// These factors at an upstream that reads `bounds` of a Chat request. A field that the
    /// upstream does not read bounds nothing, so the model's longest answer counts.
    #[must_use]
    pub fn at_upstream(&self, bounds: OutputBoundFields) -> Self {
        use ChatBound::{Both, MaxCompletionTokens, MaxTokens, None as Unbounded};
        use OutputBoundFields as Reads;
        let (is_read, thinks_beyond_bound) = match (self.chat_bound, bounds) {
            (Unbounded, _) | (_, Reads::Either) | (Both | MaxTokens, Reads::MaxTokens) => {
                (true, self.thinks_beyond_bound)
            }
            (Both | MaxCompletionTokens, Reads::MaxCompletionTokens) => (true, false),
            (MaxCompletionTokens, Reads::MaxTokens | Reads::AnswerAndThinking) => (false, false),
            (MaxTokens, Reads::MaxCompletionTokens)
            | (Both | MaxTokens, Reads::AnswerAndThinking) => (true, !self.has_thinking_budget),
        };
        let output_tokens = self.output_tokens.filter(|_| is_read);
        Self { output_tokens, thinks_beyond_bound, ..self.clone() }
    }

    /// The most prompt tokens that the body can contain.
    fn prompt_tokens_max(&self) -> u64 {
        self.prompt_bytes.saturating_add(self.prompt_tokens).saturating_add(HIDDEN_TOKENS)
    }

    /// The tiers at which the upstream can serve the request, other than the usual one.
    /// `is_project_tier` says whether the settings of a project choose it.
    fn tiers(
        &self,
        price: &ModelPrice,
        is_project_tier: bool,
    ) -> impl Iterator<Item = ServiceTier> {
        let of_project = price.tiers.iter().map(|listed| listed.tier);
        let of_project = of_project.filter(move |tier| is_project_tier && tier.is_faster());
        self.tier.into_iter().chain(of_project)
    }

    /// The highest cost of all passes at a model's price, without searches. `has_projects` says
    /// whether the upstream has a setting for requests that name no tier.
    fn cost_max(&self, price: &ModelPrice, model: &str, has_projects: bool) -> PicoUsd {
        let context = price.context_tokens;
        let output = self.output(longest_answer(price, model));
        let iterations = self.iterations.max(1);
        let mut prompt = self.prompt_tokens_max();
        if self.reads_beyond_body.is_some() {
            prompt = prompt.max(context.unwrap_or_default());
        }
        // The answer of one pass is part of the prompt of the next one. No model reads more than
        // its context window.
        prompt = prompt.saturating_add(output.saturating_mul(iterations - 1));
        prompt = prompt.min(context.unwrap_or(u64::MAX));
        let mut rates = price.highest_rates(self.is_fast, prompt);
        let mut factor = RateFactor::ONE;
        let is_project_tier = has_projects && self.uses_project_tier && self.tier.is_none();
        for tier in self.tiers(price, is_project_tier) {
            let of_tier = price.highest_tier_rates(tier, model, prompt);
            rates = rates.higher_of(of_tier.rates);
            factor = of_tier.factor;
        }
        // A price without tiers costs the usual factor of a tier that a project can choose.
        let has_faster = |entry: &ModelPrice| entry.tiers.iter().any(|row| row.tier.is_faster());
        if is_project_tier
            && price.tiers.is_empty()
            && model_catalog::makers_entry(model).as_ref().is_some_and(has_faster)
        {
            factor = price.highest_tier_rates(ServiceTier::Priority, model, prompt).factor;
        }
        let answers = output.saturating_mul(self.choices.max(1));
        let pass = PicoUsd::from_tokens(self.input_rate(&rates), prompt)
            + PicoUsd::from_tokens(rates.output, answers.saturating_add(self.predicted_tokens));
        let passes = i128::from(iterations);
        let factor = price.us_factor().times(factor);
        factor.apply_to(PicoUsd::new(pass.pico().saturating_mul(passes)))
    }

    /// The highest rate of a prompt token.
    fn input_rate(&self, rates: &TokenRates) -> u64 {
        let short = rates.input.max(rates.cache_read).max(rates.cache_write_5m);
        if self.caches_for_an_hour { short.max(rates.cache_write_1h) } else { short }
    }

    /// Every model that can run, the requested one first.
    fn all_models<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::once(model).chain(self.models.iter().map(String::as_str))
    }
}

/// The longest answer of a model in tokens: the highest number that its price, the catalog or its
/// name tells. A model without such a number can fill its context window.
fn longest_answer(price: &ModelPrice, model: &str) -> u64 {
    let in_catalog = || model_catalog::makers_entry(model)?.output_tokens;
    let by_name = ModelCapabilities::of(Provider::OpenaiCompatible, model, "").output_tokens_max;
    let known = [price.output_tokens, in_catalog(), by_name].into_iter().flatten().max();
    known.or(price.context_tokens).unwrap_or_default().max(LONGEST_ANSWER_MIN)
}

impl SoldPrices<'_> {
    /// The highest cost of a request for `model`, which is reserved before the request is sent.
    /// Each pass counts at the highest rate of the models, tiers and cache classes that the request
    /// can use, plus a tenth where the model can run under `inference_geo: us` (a workspace can
    /// require that without a field in the body). If [`Self::unbounded`] returns a field, the
    /// request can cost more.
    pub fn highest_cost(
        &self,
        cost_factors: &CostFactors,
        model: &str,
        at: Timestamp,
    ) -> UsageCost {
        // A project's settings choose the tier of a request without `service_tier` or with `auto`
        // (developers.openai.com, "Priority processing"; learn.microsoft.com, "Priority
        // processing", 2026-11).
        let has_projects = matches!(self.vendor, Some(Vendor::Openai | Vendor::Azure));
        let amounts = cost_factors.all_models(model).map(|model| {
            let price = self.price_or_guess(model, at).0;
            cost_factors.cost_max(&price, model, has_projects)
                + self.fees(&price, cost_factors.searches)
        });
        let amount = amounts.max().unwrap_or_default();
        let (price, is_priced) = self.price_or_guess(model, at);
        UsageCost { amount, version: crate::price::version_label(&price, is_priced), is_priced }
    }

    /// The likely cost of a request: one prompt token for every four bytes, written to the cache
    /// for five minutes, and answers of 4,000 tokens or of the request's limit if that is lower.
    /// Never more than [`Self::highest_cost`].
    pub fn expected(&self, cost_factors: &CostFactors, model: &str, at: Timestamp) -> PicoUsd {
        let (price, _) = self.price_or_guess(model, at);
        let prompt = cost_factors.prompt_bytes.div_ceil(BYTES_PER_TOKEN_EXPECTED);
        let rates = price.rates(cost_factors.is_fast, prompt);
        let output = cost_factors
            .output(longest_answer(&price, model))
            .min(OUTPUT_TOKENS_EXPECTED)
            .saturating_mul(cost_factors.choices);
        let likely = PicoUsd::from_tokens(rates.cache_write_5m.max(rates.input), prompt)
            + PicoUsd::from_tokens(rates.output, output);
        likely.min(self.highest_cost(cost_factors, model, at).amount)
    }

    /// The field that makes the highest cost of a request for `model` unknown, if there is one.
    pub fn unbounded(
        &self,
        cost_factors: &CostFactors,
        model: &str,
        at: Timestamp,
    ) -> Option<UnboundedField> {
        if cost_factors.unbounded.is_some() {
            return cost_factors.unbounded.clone();
        }
        let is_missing = |is_known: &dyn Fn(&str) -> bool| {
            cost_factors.all_models(model).any(|model| !is_known(model))
        };
        if cost_factors.reads_beyond_body.is_some()
            && is_missing(&|model| self.context_tokens(model, at).is_some())
        {
            return cost_factors.reads_beyond_body.clone();
        }
        let has_fast_price = |model: &str| self.price_or_guess(model, at).0.fast.is_some();
        if cost_factors.is_fast && is_missing(&has_fast_price) {
            return Some(UnboundedField {
                field: "speed".to_owned(),
                advice: "Baton has no price for fast speed of this model. Leave the field out.",
            });
        }
        let unpriced =
            cost_factors.all_models(model).find(|model| !self.has_price_bound(model, at))?;
        Some(UnboundedField {
            field: format!("model `{}`", clean_text(unpriced, MODEL_SHOWN_CHARS)),
            advice: "Baton has no price for this model. Ask your operator to set one \
                     (`baton price add`).",
        })
    }
}

impl PriceTable {
    /// [`SoldPrices::highest_cost`] for a vendor that is not known.
    pub fn highest_cost(&self, factors: &CostFactors, model: &str, at: Timestamp) -> UsageCost {
        self.usual().highest_cost(factors, model, at)
    }

    /// [`SoldPrices::expected`] for a vendor that is not known.
    pub fn expected(&self, factors: &CostFactors, model: &str, at: Timestamp) -> PicoUsd {
        self.usual().expected(factors, model, at)
    }

    /// [`SoldPrices::unbounded`] for a vendor that is not known.
    pub fn unbounded(
        &self,
        factors: &CostFactors,
        model: &str,
        at: Timestamp,
    ) -> Option<UnboundedField> {
        self.usual().unbounded(factors, model, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn demand() -> CostFactors {
        CostFactors {
            prompt_bytes: 48_000,
            output_tokens: Some(1_000),
            choices: 1,
            iterations: 1,
            ..CostFactors::default()
        }
    }

    fn estimate(cost_factors: &CostFactors, model: &str) -> String {
        PriceTable::builtin().highest_cost(cost_factors, model, at()).amount.to_string()
    }

    /// The highest numbers of the catalog and of the models' names (2026-11).
    #[test]
    fn longest_answer_is_the_highest_number_that_is_known() {
        let longest = |model: &str| {
            let price = PriceTable::builtin().usual().price_or_guess(model, at()).0;
            longest_answer(&price, model)
        };
        assert_eq!(longest("claude-opus-5-5"), 128_000);
        assert_eq!(longest("gpt-5-pro"), 272_000);
        assert_eq!(longest("deepseek-v4-pro"), 393_216);
        assert!(longest("grok-4.7") >= 500_000);
        assert_eq!(longest("a-model-of-somebody"), 128_000);
        let own = ModelPrice { context_tokens: Some(1_000_000), ..ModelPrice::default() };
        assert_eq!(longest_answer(&own, "a-model-of-somebody"), 1_000_000);
        let own = ModelPrice { output_tokens: Some(200_000), ..own };
        assert_eq!(longest_answer(&own, "a-model-of-somebody"), 200_000);
        // An operator's price does not say how much the model writes.
        assert_eq!(longest_answer(&ModelPrice::default(), "gpt-5-pro"), 272_000);
    }

    #[test]
    fn thinking_comes_on_top_of_the_longest_answer() {
        let factors = CostFactors { thinking_tokens: 1_000, ..demand() };
        assert_eq!(factors.output(128_000), 1_000, "it is part of the request's own bound");
        let factors = CostFactors { output_tokens: None, ..factors };
        assert_eq!(factors.output(128_000), 129_000);
    }

    /// A bound that the upstream ignores is none (earendil-works/pi#8018).
    #[test]
    fn only_fields_that_the_upstream_reads_bound_the_answer() {
        use OutputBoundFields as Reads;
        let longest = 393_216;
        let check = |chat_bound, has_thinking_budget, expected: [u64; 4]| {
            let factors = CostFactors { chat_bound, has_thinking_budget, ..demand() };
            let reads = [
                Reads::Either,
                Reads::MaxTokens,
                Reads::MaxCompletionTokens,
                Reads::AnswerAndThinking,
            ];
            let found = reads.map(|reads| factors.at_upstream(reads).output(longest));
            assert_eq!(found, expected, "{chat_bound:?} {has_thinking_budget}");
        };
        let beyond = longest + 1_000;
        check(ChatBound::None, false, [1_000; 4]);
        check(ChatBound::MaxTokens, false, [1_000, 1_000, beyond, beyond]);
        check(ChatBound::MaxTokens, true, [1_000; 4]);
        check(ChatBound::MaxCompletionTokens, false, [1_000, longest, 1_000, longest]);
        check(ChatBound::MaxCompletionTokens, true, [1_000, longest, 1_000, longest]);
        check(ChatBound::Both, false, [1_000, 1_000, 1_000, beyond]);
        check(ChatBound::Both, true, [1_000; 4]);
        let fallback = CostFactors { has_unbounded_pass: true, ..demand() };
        assert_eq!(fallback.at_upstream(Reads::MaxTokens).output(longest), longest);
    }

    /// A project of OpenAI or Azure can have a more expensive tier as its default.
    #[test]
    fn request_without_a_tier_is_reserved_at_the_highest_tier_of_a_project() {
        let table = PriceTable::builtin();
        let amount = |vendor, cost_factors: &CostFactors, model: &str| {
            let sold = SoldPrices { vendor, ..table.usual() };
            sold.highest_cost(cost_factors, model, at()).amount
        };
        let open = CostFactors { uses_project_tier: true, ..demand() };
        let priority = CostFactors { tier: Some(ServiceTier::Priority), ..demand() };
        let (openai, azure) = (Some(Vendor::Openai), Some(Vendor::Azure));
        let model = "gpt-5.2";
        assert!(amount(openai, &open, model) > amount(openai, &demand(), model));
        assert!(amount(openai, &open, model) >= amount(openai, &priority, model));
        assert!(amount(azure, &open, model) >= amount(azure, &demand(), model));
        for vendor in [None, Some(Vendor::Groq), Some(Vendor::Anthropic)] {
            assert_eq!(
                amount(vendor, &open, model),
                amount(vendor, &demand(), model),
                "{vendor:?}"
            );
        }
        let without = "gpt-4o-audio-preview";
        assert_eq!(amount(openai, &open, without), amount(openai, &demand(), without));
    }

    #[test]
    fn each_cost_factor_raises_the_estimate() {
        let check = |cost_factors: &CostFactors, expect: &str| {
            assert_eq!(estimate(cost_factors, "claude-opus-5-5"), expect, "{cost_factors:?}");
        };
        // (50,000 × 5 + 1,000 × 20) per million × 1.1.
        check(&demand(), "0.297000000000");
        check(&CostFactors { is_fast: true, ..demand() }, "0.594000000000");
        check(&CostFactors { caches_for_an_hour: true, ..demand() }, "0.462000000000");
        check(&CostFactors { choices: 8, ..demand() }, "0.451000000000");
        check(&CostFactors { predicted_tokens: 7_000, ..demand() }, "0.451000000000");
        check(&CostFactors { output_tokens: None, ..demand() }, "3.091000000000");
        check(&CostFactors { has_unbounded_pass: true, ..demand() }, "3.091000000000");
        // Two passes of 51,000 prompt tokens.
        check(&CostFactors { iterations: 2, ..demand() }, "0.605000000000");
        check(&CostFactors { searches: 3, ..demand() }, "0.327000000000");
        check(&CostFactors { prompt_tokens: 50_000, ..demand() }, "0.572000000000");
        // The highest of the named models' rates: 18.75 and 75 dollars, without the tenth.
        check(
            &CostFactors { models: vec!["claude-opus-4-1".into()], ..demand() },
            "1.012500000000",
        );
        let beyond = UnboundedField { field: "conversation".into(), advice: "" };
        // A million tokens of context.
        check(&CostFactors { reads_beyond_body: Some(beyond), ..demand() }, "5.522000000000");
        check(&CostFactors { prompt_bytes: 30_000_000, ..demand() }, "5.522000000000");
    }

    #[test]
    fn long_prompt_rates_apply_together_with_fast_rates() {
        let long = CostFactors { prompt_bytes: 101_000, output_tokens: Some(0), ..demand() };
        assert_eq!(estimate(&long, "claude-haiku-5-5"), "0.070812500000");
    }

    /// 48,000 bytes and 2,000 tokens of preambles at its maker's rates.
    #[test]
    fn model_of_the_catalog_is_reserved_at_its_makers_price() {
        assert_eq!(estimate(&demand(), "o1-pro"), "8.100000000000");
        assert_eq!(estimate(&demand(), "openai/o1-pro-2025-03-19"), "8.100000000000");
        let cost = |model: &str| {
            let usage = crate::usage::BilledUsage {
                tokens: crate::usage::TokenCounts { input: 1_000_000, ..Default::default() },
                ..Default::default()
            };
            PriceTable::builtin().cost(&usage, model, at()).amount.to_string()
        };
        assert_eq!(cost("o1-pro"), "150.000000000000");
        assert_eq!(cost("my-model"), "5.000000000000");
    }

    #[test]
    fn unbounded_field_is_named() {
        let table = PriceTable::builtin();
        let field = |cost_factors: &CostFactors, model: &str| {
            table
                .unbounded(cost_factors, model, at())
                .map(|unbounded| unbounded.field)
                .unwrap_or_default()
        };
        let named =
            |field: &str| Some(UnboundedField { field: field.into(), advice: "leave it out" });
        assert_eq!(field(&demand(), "gpt-5.5"), "");
        let stored = CostFactors { reads_beyond_body: named("conversation"), ..demand() };
        assert_eq!(field(&stored, "my-own-model"), "conversation");
        assert_eq!(field(&stored, "gpt-5.5"), "");
        assert_eq!(field(&stored, "claude-opus-5-5"), "");
        let other = CostFactors { models: vec!["my-own-model".into()], ..stored };
        assert_eq!(field(&other, "claude-opus-5-5"), "conversation");
        let fast = CostFactors { is_fast: true, ..demand() };
        assert_eq!(field(&fast, "claude-opus-5-5"), "");
        assert_eq!(field(&fast, "claude-sonnet-5-5"), "speed");
        assert_eq!(field(&demand(), "my-model"), "model `my-model`");
        assert_eq!(field(&demand(), "claude-opus-9"), "");
        let unpriced = CostFactors { models: vec!["my-model".into()], ..demand() };
        assert_eq!(field(&unpriced, "gpt-5.5"), "model `my-model`");
        let tier = CostFactors { unbounded: named("service_tier"), ..demand() };
        assert_eq!(field(&tier, "claude-opus-5-5"), "service_tier");
    }
}
