//! Collects usage that is reported in pieces. Later values replace earlier ones and are not added.
//!
//! The usage of `message_delta` is cumulative and can omit values of `message_start` or set them to
//! null. The 5m/1h split, tier, speed and geo come in `message_start` only (streaming page,
//! 2026-08; fixtures `cache_usage`, `usage_nulls`).

use super::SeparateUsage;
use super::raw_fields::UsageFaults;
use super::raw_usage::{CacheCreation, RawIteration, RawUsage};
use baton_domain::usage::{BilledUsage, TokenCounts, UsageIteration};

/// The values known so far.
#[derive(Debug, Default)]
pub(crate) struct UsageTally {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: CacheWrite,
    web_searches: Option<u64>,
    service_tier: Option<String>,
    inference_geo: Option<String>,
    speed: Option<String>,
    iterations: Vec<RawIteration>,
    thinking: Option<u64>,
    /// The defects of any count.
    pub(super) faults: UsageFaults,
}

/// The counts of an answer as its upstream reported them, for the translation to another protocol.
/// The billed counts are in [`BilledUsage`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReportedUsage {
    /// Prompt tokens that were neither read from a cache nor written to it.
    pub(crate) input: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    /// Tokens of the answer, thinking included.
    pub(crate) output: u64,
    /// The part of `output` that was thinking, if the upstream reports it.
    pub(crate) thinking: Option<u64>,
}

impl ReportedUsage {
    /// All tokens of the prompt.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }
}

/// Cache writes: the total, and the part of it that is kept for an hour.
#[derive(Debug, Default, Clone, Copy)]
struct CacheWrite {
    total: Option<u64>,
    hour: Option<u64>,
}

impl CacheWrite {
    fn from_usage(total: Option<u64>, split: Option<&CacheCreation>) -> Self {
        let five = split.and_then(|split| split.ephemeral_5m_input_tokens);
        let hour = split.and_then(|split| split.ephemeral_1h_input_tokens);
        let sum = five.unwrap_or(0).saturating_add(hour.unwrap_or(0));
        // If the split exceeds its total, the split is more trustworthy.
        let total = if five.or(hour).is_some() { Some(total.unwrap_or(0).max(sum)) } else { total };
        Self { total, hour: hour.or(five.map(|_| 0)) }
    }

    /// The tokens for five minutes and for an hour. Tokens that no split covers are for five
    /// minutes, the upstream's default. If a later total is smaller, the five minutes are reduced
    /// first.
    fn split_by_lifetime(self) -> (u64, u64) {
        let total = self.total.unwrap_or(0);
        let hour = self.hour.unwrap_or(0).min(total);
        (total - hour, hour)
    }
}

/// Keeps the later value, except a zero: a cumulative count cannot fall to zero, and some upstreams
/// fill a `message_delta` with zeros.
fn set_latest<T: Copy + Default + PartialEq>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some_and(|value| slot.is_none() || value != T::default()) {
        *slot = value;
    }
}

fn set_latest_text(slot: &mut Option<String>, value: Option<String>) {
    if value.is_some() {
        *slot = value;
    }
}

impl UsageTally {
    /// Adds the usage of an event. Null and absent values leave the earlier value.
    ///
    /// Anthropic's counts are cumulative (streaming page, 2026-11), and OpenAI's usage comes once.
    /// The output can therefore not fall: the larger count stays, and the record is marked. Of two
    /// prompts the later one counts, because gateways estimate it in `message_start` and report the
    /// vendor's counts at the end. A smaller prompt is marked too.
    pub(super) fn update_counts(&mut self, usage: RawUsage) {
        self.faults.add(usage.faults);
        let prompt = self.prompt_tokens();
        // Beside cached tokens, zero is a count: all of the prompt was cached.
        if usage.input_tokens == Some(0) && usage.cache_read_input_tokens > Some(0) {
            self.input = Some(0);
        } else {
            set_latest(&mut self.input, usage.input_tokens);
        }
        let has_fallen =
            usage.output_tokens.is_some_and(|count| count > 0 && Some(count) < self.output);
        if !has_fallen {
            set_latest(&mut self.output, usage.output_tokens);
        }
        set_latest(&mut self.cache_read, usage.cache_read_input_tokens);
        let write = CacheWrite::from_usage(
            usage.cache_creation_input_tokens,
            usage.cache_creation.as_ref(),
        );
        set_latest(&mut self.cache_write.total, write.total);
        set_latest(&mut self.cache_write.hour, write.hour);
        self.faults.has_contradiction |= has_fallen || self.prompt_tokens() < prompt;
        set_latest(&mut self.web_searches, usage.web_search_requests);
        set_latest(&mut self.thinking, usage.thinking_tokens);
        set_latest_text(&mut self.service_tier, usage.service_tier);
        set_latest_text(&mut self.inference_geo, usage.inference_geo);
        set_latest_text(&mut self.speed, usage.speed);
        if let Some(iterations) = usage.iterations.filter(|list| !list.is_empty()) {
            self.iterations = iterations;
        }
    }

    /// The tokens of the prompt, whatever their class. 0 if they were not reported.
    pub(super) fn prompt_tokens(&self) -> u64 {
        let counts = [self.input, self.cache_read, self.cache_write.total];
        counts.into_iter().flatten().fold(0, u64::saturating_add)
    }

    /// Takes the counts that came apart from the answer, where the answer has none, or no final one
    /// of the output. Returns whether the output is final then.
    pub(super) fn add_separate_usage(&mut self, usage: &SeparateUsage, is_final: bool) -> bool {
        if self.prompt_tokens() == 0 {
            self.input = usage.input;
            self.cache_read = self.cache_read.or(usage.cache_read);
            self.cache_write.total = self.cache_write.total.or(usage.cache_write);
        }
        if !is_final {
            self.output = usage.output.or(self.output);
        }
        is_final || usage.output.is_some()
    }

    /// Whether the upstream reported anything that it bills.
    pub(super) fn has_counts(&self) -> bool {
        let write = [self.cache_write.total, self.cache_write.hour];
        let counts = [self.input, self.output, self.cache_read, self.web_searches];
        counts.into_iter().chain(write).flatten().any(|count| count > 0)
            || self.faults.has_excessive_count
    }

    /// Notes what an answer reports outside its usage: OpenAI's tier, and the searches among its items.
    pub(super) fn note_outside_usage(&mut self, tier: Option<String>, searches: Option<u64>) {
        set_latest_text(&mut self.service_tier, tier);
        set_latest(&mut self.web_searches, searches);
    }

    /// Adds a `usage` object of any protocol. Anything else is ignored.
    pub(crate) fn read_usage(&mut self, json: &str) {
        if let Some(usage) = RawUsage::parse(json) {
            self.update_counts(usage);
        }
    }

    /// Adds the usage of an answer or a chunk of Chat, wherever the upstream reports it. Returns
    /// whether it has any.
    pub(crate) fn read_answer(&mut self, json: &[u8]) -> bool {
        let usage = RawUsage::parse_answer(json);
        let has_usage = usage.is_some();
        if let Some(usage) = usage {
            self.update_counts(usage);
        }
        has_usage
    }

    /// The counts as reported.
    pub(crate) fn reported_usage(&self) -> ReportedUsage {
        ReportedUsage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write: self.cache_write.total.unwrap_or(0),
            output: self.output.unwrap_or(0),
            thinking: self.thinking,
        }
    }

    /// The usage as billed.
    pub(super) fn into_usage(self) -> BilledUsage {
        let (five, hour) = self.cache_write.split_by_lifetime();
        let totals = TokenCounts {
            input: self.input.unwrap_or(0),
            output: self.output.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write_5m: five,
            cache_write_1h: hour,
        };
        BilledUsage {
            web_searches: self.web_searches.unwrap_or(0),
            service_tier: self.service_tier,
            inference_geo: self.inference_geo,
            speed: self.speed,
            ..BilledUsage::from_iterations(totals, to_iterations(self.iterations, hour))
        }
    }
}

/// Converts the iterations. Passes that are part of the totals and do not split their cache writes
/// share the hour's writes of the totals. Otherwise those would be billed twice.
fn to_iterations(raw: Vec<RawIteration>, hour_total: u64) -> Vec<UsageIteration> {
    let mut iterations: Vec<(UsageIteration, bool)> = raw.into_iter().map(to_iteration).collect();
    let inside = |iteration: &UsageIteration| !iteration.outside_totals();
    let reported: u64 = iterations
        .iter()
        .filter(|(iteration, _)| inside(iteration))
        .map(|(iteration, _)| iteration.tokens.cache_write_1h)
        .fold(0, u64::saturating_add);
    let mut unreported = hour_total.saturating_sub(reported);
    for (iteration, has_split) in &mut iterations {
        if inside(iteration) && !*has_split {
            let hour = unreported.min(iteration.tokens.cache_write_5m);
            iteration.tokens.cache_write_5m -= hour;
            iteration.tokens.cache_write_1h += hour;
            unreported -= hour;
        }
    }
    iterations.into_iter().map(|(iteration, _)| iteration).collect()
}

/// Converts one iteration. Returns also whether it splits its cache writes.
fn to_iteration(raw: RawIteration) -> (UsageIteration, bool) {
    let write =
        CacheWrite::from_usage(raw.cache_creation_input_tokens, raw.cache_creation.as_ref());
    let (five, hour) = write.split_by_lifetime();
    let tokens = TokenCounts {
        input: raw.input_tokens.unwrap_or(0),
        output: raw.output_tokens.unwrap_or(0),
        cache_read: raw.cache_read_input_tokens.unwrap_or(0),
        cache_write_5m: five,
        cache_write_1h: hour,
    };
    let kind = raw.kind.unwrap_or_default();
    (UsageIteration { kind, model: raw.model, tokens }, write.hour.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(usages: &[&str]) -> BilledUsage {
        let mut tally = UsageTally::default();
        for usage in usages {
            tally.update_counts(RawUsage::parse(usage).unwrap());
        }
        tally.into_usage()
    }

    #[test]
    fn cache_writes_stay_consistent() {
        let check = |usages: &[&str], five, hour| {
            let tokens = tally(usages).tokens;
            assert_eq!((tokens.cache_write_5m, tokens.cache_write_1h), (five, hour), "{usages:?}");
        };
        let split = r#"{"cache_creation_input_tokens":1500,"cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":1000}}"#;
        check(&[split], 500, 1000);
        check(&[r#"{"cache_creation_input_tokens":7}"#], 7, 0);
        check(&[split, r#"{"cache_creation_input_tokens":1500}"#], 500, 1000);
        check(&[split, r#"{"cache_creation_input_tokens":1600}"#], 600, 1000);
        check(&[split, r#"{"cache_creation_input_tokens":1200}"#], 200, 1000);
        check(&[split, r#"{"cache_creation_input_tokens":900}"#], 0, 900);
        check(&[split, r#"{"cache_creation_input_tokens":0}"#], 500, 1000);
        check(&[split, r#"{"cache_creation_input_tokens":null,"cache_creation":null}"#], 500, 1000);
        check(&[r#"{"cache_creation":{"ephemeral_1h_input_tokens":9}}"#], 0, 9);
        check(&[r#"{"cache_creation":{"ephemeral_5m_input_tokens":9}}"#], 9, 0);
        let short = r#"{"cache_creation_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":3}}"#;
        check(&[short], 2, 3);
    }

    #[test]
    fn invalid_values_count_as_absent() {
        let check = |usage, input| assert_eq!(tally(&[usage]).tokens.input, input, "{usage}");
        check(r#"{"input_tokens":12}"#, 12);
        check(r#"{"input_tokens":"12"}"#, 12);
        check(r#"{"input_tokens":12.0}"#, 12);
        check(r#"{"input_tokens":-1}"#, 0);
        check(r#"{"input_tokens":{"a":[]}}"#, 0);
        check(r#"{"input_tokens":12.5}"#, 0);
        check(r#"{"input_tokens":5,"iterations":7,"service_tier":[],"server_tool_use":1}"#, 5);
    }

    #[test]
    fn iteration_without_a_split_uses_the_total_split() {
        let usage = tally(&[
            r#"{"input_tokens":1,"cache_creation_input_tokens":1500,"cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":1000}}"#,
            r#"{"iterations":[{"type":"message","input_tokens":1,"cache_creation_input_tokens":1500,"cache_creation":null}]}"#,
        ]);
        let tokens = TokenCounts {
            input: 1,
            cache_write_5m: 500,
            cache_write_1h: 1000,
            ..TokenCounts::default()
        };
        assert_eq!((usage.tokens, usage.iterations[0].tokens), (tokens, tokens));
    }
}
