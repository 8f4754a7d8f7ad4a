//! Changes by which a request becomes cheaper after a money limit refused it. Only changes that
//! make the request fit are suggested to the client.

use crate::cost_factors::CostFactors;
use crate::model_capabilities::OutputBoundFields;
use crate::money::PicoUsd;
use crate::protocol::ClientProtocol;

/// A change of a request that can make it cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CostReduction {
    /// Answers of one token.
    ShorterAnswer,
    /// The prompt without its text.
    ShorterPrompt,
    /// No images, no files and no tools of the vendor.
    TextOnly,
    /// One answer per request.
    OneChoice,
    /// Only content that is in the body: no search, no stored history.
    BodyContentOnly,
    /// The default speed.
    DefaultSpeed,
    /// A prompt cache with a lifetime of five minutes.
    ShorterCache,
}

impl CostReduction {
    /// All reductions, starting with the ones that are easiest for clients.
    pub const ALL: [Self; 7] = [
        Self::ShorterAnswer,
        Self::ShorterPrompt,
        Self::BodyContentOnly,
        Self::TextOnly,
        Self::OneChoice,
        Self::DefaultSpeed,
        Self::ShorterCache,
    ];

    /// The cost factors after this reduction alone.
    pub fn apply(self, cost_factors: &CostFactors) -> CostFactors {
        let cost_factors = cost_factors.clone();
        match self {
            Self::ShorterAnswer => CostFactors {
                output_tokens: Some(1),
                thinking_tokens: 0,
                thinks_beyond_bound: false,
                ..cost_factors
            },
            Self::ShorterPrompt => CostFactors { prompt_bytes: 0, ..cost_factors },
            Self::TextOnly => CostFactors { prompt_tokens: 0, ..cost_factors },
            Self::OneChoice => CostFactors { choices: 1, ..cost_factors },
            Self::BodyContentOnly if cost_factors.reads_beyond_body.is_some() => {
                // Fallbacks and compaction also cause passes, and these stay.
                let is_alone = cost_factors.models.is_empty() && !cost_factors.has_unbounded_pass;
                let iterations = if is_alone { 1 } else { cost_factors.iterations };
                CostFactors { reads_beyond_body: None, searches: 0, iterations, ..cost_factors }
            }
            Self::BodyContentOnly => cost_factors,
            Self::DefaultSpeed => CostFactors { is_fast: false, ..cost_factors },
            Self::ShorterCache => CostFactors { caches_for_an_hour: false, ..cost_factors },
        }
    }

    /// The reduction in the field names of `protocol`, for a client whose original cost factors are
    /// `own`. `chat_fields` are the fields of a Chat request that bound the answer.
    fn describe(
        self,
        protocol: ClientProtocol,
        own: &CostFactors,
        chat_fields: &'static str,
    ) -> String {
        match self {
            Self::ShorterAnswer => {
                let field = match protocol {
                    ClientProtocol::OpenaiChat => chat_fields,
                    ClientProtocol::OpenaiResponses => "`max_output_tokens`",
                    ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
                        "`max_tokens`"
                    }
                };
                format!("a smaller {field}")
            }
            Self::ShorterPrompt => "a shorter prompt".to_owned(),
            Self::TextOnly => "fewer images, files and built-in tools".to_owned(),
            Self::OneChoice => "a smaller `n`".to_owned(),
            Self::BodyContentOnly => match &own.reads_beyond_body {
                Some(field) => {
                    format!(
                        "leaving out `{}` and everything else that makes the upstream read \
                         more than the body",
                        field.field
                    )
                }
                None => "leaving out everything that makes the upstream read more than the body"
                    .to_owned(),
            },
            Self::DefaultSpeed => "leaving out `speed`".to_owned(),
            Self::ShorterCache => "a cache `ttl` of `5m`".to_owned(),
        }
    }
}

/// The highest cost of a request after each single reduction, and after all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReducedCosts {
    /// In the order of [`CostReduction::ALL`].
    pub alone: [PicoUsd; CostReduction::ALL.len()],
    /// After all reductions.
    pub combined: PicoUsd,
    chat_fields: ChatBoundFields,
}

/// The fields that bound the answer of a Chat request at each of the upstreams that can get it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ChatBoundFields {
    needs_max_tokens: bool,
    needs_max_completion_tokens: bool,
    needs_thinking_budget: bool,
}

impl ChatBoundFields {
    fn add(&mut self, bounds: OutputBoundFields) {
        match bounds {
            OutputBoundFields::Either => {}
            OutputBoundFields::MaxTokens => self.needs_max_tokens = true,
            OutputBoundFields::MaxCompletionTokens => self.needs_max_completion_tokens = true,
            OutputBoundFields::AnswerAndThinking => {
                (self.needs_max_tokens, self.needs_thinking_budget) = (true, true);
            }
        }
    }

    fn names(self) -> &'static str {
        let Self { needs_max_tokens, needs_max_completion_tokens, needs_thinking_budget } = self;
        match (needs_max_tokens, needs_max_completion_tokens, needs_thinking_budget) {
            (_, true, true) => "`max_tokens`, `max_completion_tokens` and `thinking_budget`",
            (_, false, true) => "`max_tokens` and `thinking_budget`",
            (true, true, false) => "`max_tokens` and `max_completion_tokens`",
            (true, false, false) => "`max_tokens`",
            (false, _, false) => "`max_completion_tokens`",
        }
    }
}

impl ReducedCosts {
    /// Notes that an upstream which can get the request reads `bounds` of a Chat request.
    pub fn note_bound_fields(&mut self, bounds: OutputBoundFields) {
        self.chat_fields.add(bounds);
    }

    /// Adds cost factors that the request can have, priced by `cost`. The most expensive ones
    /// count.
    pub fn add(&mut self, cost_factors: &CostFactors, cost: impl Fn(&CostFactors) -> PicoUsd) {
        for (most, reduction) in self.alone.iter_mut().zip(CostReduction::ALL) {
            *most = (*most).max(cost(&reduction.apply(cost_factors)));
        }
        let all = CostReduction::ALL
            .iter()
            .fold(cost_factors.clone(), |cost_factors, one| one.apply(&cost_factors));
        self.combined = self.combined.max(cost(&all));
    }

    /// The reductions by which a request that costs `needed` fits into `available`, as one clause;
    /// `None` if no reduction is enough.
    pub fn advice(
        &self,
        needed: PicoUsd,
        available: PicoUsd,
        protocol: ClientProtocol,
        own: &CostFactors,
    ) -> Option<String> {
        let chat_fields = self.chat_fields.names();
        let which = |holds: &dyn Fn(PicoUsd) -> bool| -> Vec<String> {
            let each = self.alone.iter().zip(CostReduction::ALL);
            let good = each.filter(|(cost, _)| holds(**cost));
            good.map(|(_, reduction)| reduction.describe(protocol, own, chat_fields)).collect()
        };
        let sufficient = which(&|cost| cost <= available);
        if !sufficient.is_empty() {
            return Some(format!("{} helps", sufficient.join(" or ")));
        }
        let parts = which(&|cost| cost < needed);
        (self.combined <= available && !parts.is_empty())
            .then(|| format!("{} help only together", parts.join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost_factors::UnboundedField;
    use crate::price::PriceTable;
    use jiff::Timestamp;

    const CENT: i128 = 10_000_000_000;

    fn advice(cost_factors: &CostFactors, cents: i128) -> String {
        let at: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let prices = PriceTable::builtin();
        let cost = |cost_factors: &CostFactors| {
            prices.highest_cost(cost_factors, "claude-opus-5-5", at).amount
        };
        let mut costs = ReducedCosts::default();
        costs.add(cost_factors, cost);
        let (needed, available) = (cost(cost_factors), PicoUsd::new(cents * CENT));
        let advice =
            costs.advice(needed, available, ClientProtocol::AnthropicMessages, cost_factors);
        advice.unwrap_or_default()
    }

    fn demand(prompt_bytes: u64, output_tokens: u64) -> CostFactors {
        let output_tokens = Some(output_tokens);
        CostFactors {
            prompt_bytes,
            output_tokens,
            choices: 1,
            iterations: 1,
            ..CostFactors::default()
        }
    }

    /// Prices per million tokens: 5 dollars for input, 20 for output, and a surcharge of one tenth.
    #[test]
    fn only_reductions_that_make_the_request_fit_are_suggested() {
        assert_eq!(advice(&demand(10, 20_000), 10), "a smaller `max_tokens` helps");
        assert_eq!(advice(&demand(100_000, 1), 10), "a shorter prompt helps");
        let both = "a smaller `max_tokens` and a shorter prompt help only together";
        assert_eq!(advice(&demand(100_000, 20_000), 10), both);
        let either = "a smaller `max_tokens` or a shorter prompt helps";
        assert_eq!(advice(&demand(100_000, 20_000), 60), either);
        assert_eq!(advice(&demand(10, 1), 0), "");
        assert_eq!(advice(&demand(100_000, 20_000), 1), "");
        let field = UnboundedField { field: "tools[0]".into(), advice: "" };
        let search = CostFactors {
            reads_beyond_body: Some(field),
            iterations: 6,
            searches: 2,
            ..demand(10, 1)
        };
        let leave_out = "leaving out `tools[0]` and everything else that makes the upstream read \
                         more than the body helps";
        assert_eq!(advice(&search, 10), leave_out);
        assert_eq!(advice(&CostFactors { choices: 8, ..demand(10, 2_000) }, 10), {
            "a smaller `max_tokens` or a smaller `n` helps"
        });
        let images = CostFactors { prompt_tokens: 100_000, ..demand(10, 1) };
        assert_eq!(advice(&images, 10), "fewer images, files and built-in tools helps");
    }

    #[test]
    fn suggested_field_is_one_that_the_upstreams_read() {
        use OutputBoundFields::{AnswerAndThinking, Either, MaxCompletionTokens, MaxTokens};
        for (upstreams, fields) in [
            (&[][..], "`max_completion_tokens`"),
            (&[Either], "`max_completion_tokens`"),
            (&[MaxTokens], "`max_tokens`"),
            (&[Either, MaxTokens], "`max_tokens`"),
            (&[MaxCompletionTokens, Either], "`max_completion_tokens`"),
            (&[MaxCompletionTokens, MaxTokens], "`max_tokens` and `max_completion_tokens`"),
            (&[AnswerAndThinking], "`max_tokens` and `thinking_budget`"),
        ] {
            let mut costs = ReducedCosts::default();
            for bounds in upstreams {
                costs.note_bound_fields(*bounds);
            }
            let cost =
                |factors: &CostFactors| PicoUsd::new(factors.output_tokens.unwrap_or(9).into());
            costs.add(&demand(0, 9), cost);
            let (needed, available) = (PicoUsd::new(9), PicoUsd::new(1));
            let advice = costs.advice(needed, available, ClientProtocol::OpenaiChat, &demand(0, 9));
            assert_eq!(advice.unwrap(), format!("a smaller {fields} helps"));
        }
    }

    #[test]
    fn unbounded_pass_is_not_reduced_by_max_tokens() {
        let compacting =
            CostFactors { has_unbounded_pass: true, iterations: 2, ..demand(10, 1_000) };
        assert_eq!(advice(&compacting, 10), "");
    }
}
