//! Reconciliation: the comparison of Baton's usage with a provider's report, figure by figure.
//!
//! The command line reads the provider's report and Baton's events.

use crate::model::base_id;
use crate::money::PicoUsd;
use crate::record::UsageRecord;
use crate::usage::TokenCounts;
use std::collections::BTreeMap;

/// The usage of one model on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageEntry {
    /// Tokens as billed.
    pub tokens: TokenCounts,
    /// Web searches as billed.
    pub web_searches: u64,
    /// The list price.
    pub cost: PicoUsd,
}

impl UsageEntry {
    fn add_entry(&mut self, other: &Self) {
        self.tokens.add_counts(&other.tokens);
        self.web_searches = self.web_searches.saturating_add(other.web_searches);
        self.cost += other.cost;
    }
}

/// Usage by UTC day (`2026-11-22`) and model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageStatement(BTreeMap<(String, String), UsageEntry>);

/// Which figures a report contains. Others are not compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReportedFigures {
    /// Tokens by class, and web searches.
    pub tokens: bool,
    /// Money.
    pub cost: bool,
}

/// The allowed difference of two figures, in millionths of the larger one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tolerance(u32);

/// A figure that differs between Baton and the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The day.
    pub day: String,
    /// The model; empty if the provider does not report by model.
    pub model: String,
    /// The figure.
    pub figure: UsageFigure,
    /// Baton's value: a count, or pico-dollars.
    pub ours: i128,
    /// The provider's value.
    pub theirs: i128,
}

/// One of the figures of an [`UsageEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageFigure {
    /// Prompt tokens that were neither read from nor written to a cache.
    Input,
    /// Tokens of answers.
    Output,
    /// Prompt tokens read from the cache.
    CacheRead,
    /// Prompt tokens written to the cache for five minutes.
    CacheWrite5m,
    /// Prompt tokens written to the cache for an hour.
    CacheWrite1h,
    /// Web searches.
    WebSearches,
    /// The cost.
    Cost,
}

impl UsageFigure {
    const ALL: [Self; 7] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::WebSearches,
        Self::Cost,
    ];

    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::WebSearches => "web_searches",
            Self::Cost => "cost_usd",
        }
    }

    fn value_in(self, entry: &UsageEntry) -> i128 {
        let tokens = &entry.tokens;
        match self {
            Self::Input => tokens.input.into(),
            Self::Output => tokens.output.into(),
            Self::CacheRead => tokens.cache_read.into(),
            Self::CacheWrite5m => tokens.cache_write_5m.into(),
            Self::CacheWrite1h => tokens.cache_write_1h.into(),
            Self::WebSearches => entry.web_searches.into(),
            Self::Cost => entry.cost.pico(),
        }
    }

    fn is_reported(self, reported: ReportedFigures) -> bool {
        if self == Self::Cost { reported.cost } else { reported.tokens }
    }
}

impl Tolerance {
    /// Reads a percentage such as `0.5`, with at most four digits after the point.
    pub fn of_percent(text: &str) -> Option<Self> {
        let pico = text.parse::<PicoUsd>().ok()?.pico();
        // 1 % is 10,000 millionths; the text was parsed with twelve decimal places.
        let step = 100_000_000;
        let millionths = u32::try_from(pico / step).ok()?;
        (pico % step == 0 && millionths <= 1_000_000).then_some(Self(millionths))
    }

    fn admits_difference(self, ours: i128, theirs: i128) -> bool {
        let larger = ours.saturating_abs().max(theirs.saturating_abs());
        let gap = ours.saturating_sub(theirs).saturating_abs();
        gap.saturating_mul(1_000_000) <= larger.saturating_mul(self.0.into())
    }
}

impl UsageStatement {
    /// Adds usage to a day and model. Names with the same [`canonical`] form count as one model.
    pub fn add_entry(&mut self, day: &str, model: &str, entry: &UsageEntry) {
        self.0.entry((day.to_owned(), canonical(model))).or_default().add_entry(entry);
    }

    /// Adds a record: the tokens of each pass to the model that ran it, everything else to the
    /// model that served the request.
    pub fn add_record(&mut self, record: &UsageRecord) {
        let day = record.started_at.strftime("%Y-%m-%d").to_string();
        let usage = record.usage();
        let tokens = |tokens| UsageEntry { tokens, ..UsageEntry::default() };
        for iteration in &usage.iterations {
            let model = iteration.model.as_deref().unwrap_or(&record.upstream_model);
            self.add_entry(&day, model, &tokens(iteration.tokens));
        }
        let remainder = UsageEntry {
            tokens: usage.outside_iterations(),
            web_searches: record.web_searches,
            cost: record.cost_usd,
        };
        self.add_entry(&day, &record.upstream_model, &remainder);
    }

    /// The first and the last day, if there is any.
    pub fn first_and_last_day(&self) -> Option<(&str, &str)> {
        let (((first, _), _), ((last, _), _)) =
            (self.0.first_key_value()?, self.0.last_key_value()?);
        Some((first, last))
    }

    /// The same usage summed over all models.
    fn by_day(&self) -> Self {
        let mut statement = Self::default();
        for ((day, _), entry) in &self.0 {
            statement.add_entry(day, "", entry);
        }
        statement
    }

    fn has_models(&self) -> bool {
        self.0.keys().any(|(_, model)| !model.is_empty())
    }
}

/// The figures that differ by more than `tolerance`. A missing figure counts as 0. If the provider
/// does not report by model, days are compared.
pub fn compare(
    ours: &UsageStatement,
    theirs: &UsageStatement,
    reported: ReportedFigures,
    tolerance: Tolerance,
) -> Vec<Difference> {
    let folded;
    let ours = if theirs.has_models() {
        ours
    } else {
        folded = ours.by_day();
        &folded
    };
    let mut keys: Vec<&(String, String)> = ours.0.keys().chain(theirs.0.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let entry = |statement: &UsageStatement, key| statement.0.get(key).copied().unwrap_or_default();
    let mut differences = Vec::new();
    for key in keys {
        let (mine, other) = (entry(ours, key), entry(theirs, key));
        for figure in UsageFigure::ALL.into_iter().filter(|figure| figure.is_reported(reported)) {
            let (ours, theirs) = (figure.value_in(&mine), figure.value_in(&other));
            if !tolerance.admits_difference(ours, theirs) {
                let (day, model) = key.clone();
                differences.push(Difference { day, model, figure, ours, theirs });
            }
        }
    }
    differences
}

/// One name for a model: its id without the date (`claude-haiku-4-5-20251001`), also from the name
/// in a cost report (`Claude Haiku 4.5`).
pub fn canonical(model: &str) -> String {
    base_id(&model.trim().to_ascii_lowercase()).replace([' ', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(input: u64, output: u64, pico: i128) -> UsageEntry {
        let tokens = TokenCounts { input, output, ..TokenCounts::default() };
        UsageEntry { tokens, web_searches: 0, cost: PicoUsd::new(pico) }
    }

    fn statement(rows: &[(&str, &str, UsageEntry)]) -> UsageStatement {
        let mut statement = UsageStatement::default();
        for (day, model, entry) in rows {
            statement.add_entry(day, model, entry);
        }
        statement
    }

    const ALL: ReportedFigures = ReportedFigures { tokens: true, cost: true };

    #[test]
    fn model_ids_are_normalized() {
        for (model, name) in [
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("Claude Haiku 4.5", "claude-haiku-4-5"),
            (" claude-opus-5-5", "claude-opus-5-5"),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
            ("", ""),
        ] {
            assert_eq!(canonical(model), name, "{model}");
        }
    }

    #[test]
    fn differing_figures_are_reported() {
        let exact = Tolerance::default();
        let ours = statement(&[
            ("2026-11-21", "claude-opus-5-5", entry(100, 10, 7)),
            ("2026-11-22", "claude-opus-5-5", entry(100, 10, 7)),
            ("2026-11-22", "claude-haiku-5-5", entry(1, 1, 1)),
        ]);
        assert_eq!(compare(&ours, &ours, ALL, exact), []);
        let theirs = statement(&[
            ("2026-11-21", "Claude Opus 5.5", entry(60, 10, 5)),
            ("2026-11-21", "claude-opus-5-5", entry(40, 0, 2)),
            ("2026-11-22", "claude-opus-5-5", entry(100, 11, 7)),
        ]);
        let told = |reported| {
            let all = compare(&ours, &theirs, reported, exact);
            let words = |difference: Difference| {
                let (day, figure) = (&difference.day[8..], difference.figure.as_str());
                format!(
                    "{day} {} {figure} {} {}",
                    difference.model, difference.ours, difference.theirs
                )
            };
            all.into_iter().map(words).collect::<Vec<_>>()
        };
        let tokens = [
            "22 claude-haiku-5-5 input 1 0",
            "22 claude-haiku-5-5 output 1 0",
            "22 claude-opus-5-5 output 10 11",
        ];
        assert_eq!(told(ReportedFigures { tokens: true, cost: false }), tokens);
        assert_eq!(
            told(ReportedFigures { tokens: false, cost: true }),
            ["22 claude-haiku-5-5 cost_usd 1 0"]
        );
    }

    #[test]
    fn reports_without_models_are_compared_by_day() {
        let ours =
            statement(&[("2026-11-22", "a", entry(1, 0, 3)), ("2026-11-22", "b", entry(1, 0, 4))]);
        let theirs = statement(&[("2026-11-22", "", entry(0, 0, 7))]);
        let reported = ReportedFigures { tokens: false, cost: true };
        assert_eq!(compare(&ours, &theirs, reported, Tolerance::default()), []);
    }

    #[test]
    fn tolerance_is_a_share_of_the_larger_figure() {
        let check = |percent, ours, theirs, expect| {
            let tolerance = Tolerance::of_percent(percent).unwrap();
            assert_eq!(
                tolerance.admits_difference(ours, theirs),
                expect,
                "{percent} {ours} {theirs}"
            );
        };
        check("0", 1, 1, true);
        check("0", 1, 2, false);
        check("1", 99, 100, true);
        check("1", 98, 100, false);
        check("0.0001", 999_999, 1_000_000, true);
        check("0.0001", 999_998, 1_000_000, false);
        check("100", 0, 5, true);
        for bad in ["", "1%", "-1", "101", "0.00001"] {
            assert_eq!(Tolerance::of_percent(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn agreement_is_symmetric(ours: i64, theirs: i64, millionths in 0_u32..1_000_000) {
            let tolerance = Tolerance(millionths);
            let (ours, theirs) = (i128::from(ours), i128::from(theirs));
            prop_assert_eq!(tolerance.admits_difference(ours, theirs), tolerance.admits_difference(theirs, ours));
            prop_assert!(tolerance.admits_difference(ours, ours));
        }
    }
}
