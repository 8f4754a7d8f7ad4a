//! What does not work yet: for each row the vendor's words (or the beginning of them), and what is
//! missing in Baton. A fault without a row fails the test, and a row without a fault, too.

use crate::client::ClientRequest;
use crate::relay::Target;
use baton_test_vendors::Vendor;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A fault that is known: the vendor or any, a part of the words, and what is missing.
pub(crate) type Gap = (Option<Vendor>, &'static str, &'static str);

/// The most requests that Baton may refuse, in percent.
const REFUSED_PERCENT_MAX: usize = 5;

/// The faults that were found, each with its shortest request.
#[derive(Default)]
pub(crate) struct Faults {
    found: BTreeMap<(Vendor, String), (String, usize)>,
    /// Requests that were answered.
    answered: usize,
    /// Baton's own refusals, by their words.
    refusals: BTreeMap<String, usize>,
}

impl Faults {
    pub(crate) fn add(&mut self, request: &ClientRequest, target: Target, words: &str) {
        let example = format!("{:?} to {}: {}", request.client, target.model, request.body);
        let entry = self.found.entry((target.vendor, without_values(words)));
        let (shortest, count) = entry.or_insert_with(|| (example.clone(), 0));
        *count += 1;
        if example.len() < shortest.len() {
            *shortest = example;
        }
    }

    pub(crate) fn count_answer(&mut self) {
        self.answered += 1;
    }

    pub(crate) fn count_refusal(&mut self, words: &str) {
        *self.refusals.entry(without_values(words)).or_default() += 1;
    }

    /// Checks that refusals are rare. A relay that refuses everything has no faults.
    pub(crate) fn check_refusals(&self) {
        let refused: usize = self.refusals.values().sum();
        let share = refused * 100 / (refused + self.answered).max(1);
        assert!(share <= REFUSED_PERCENT_MAX, "{share} % refused: {:#?}", self.refusals);
    }

    /// Compares the faults with the known gaps.
    pub(crate) fn compare(&self, gaps: &[Gap]) {
        let mut report = String::new();
        let is_row = |gap: &Gap, vendor: Vendor, words: &str| {
            gap.0.is_none_or(|known| known == vendor) && words.contains(gap.1)
        };
        for ((vendor, words), (example, count)) in &self.found {
            if !gaps.iter().any(|gap| is_row(gap, *vendor, words)) {
                let example: String = example.chars().take(1_500).collect();
                writeln!(report, "\nNEW {vendor:?} ({count}): {words}\n    {example}").unwrap();
            }
        }
        for gap in gaps {
            if !self.found.keys().any(|(vendor, words)| is_row(gap, *vendor, words)) {
                writeln!(report, "\nMENDED {:?}: {} ({})", gap.0, gap.1, gap.2).unwrap();
            }
        }
        assert!(report.is_empty(), "{report}");
    }
}

/// The words without numbers, so that the same fault in two places is one.
fn without_values(words: &str) -> String {
    let mut out = String::new();
    for letter in words.chars() {
        match letter {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            letter => out.push(letter),
        }
    }
    out.chars().take(160).collect()
}

/// Faults with recorded requests.
pub(crate) const RECORDED: &[Gap] = &[];

/// Faults with generated requests.
pub(crate) const GENERATED: &[Gap] = &[];

/// Faults of conversations with one account.
pub(crate) const LOOPS: &[Gap] = &[];

/// Faults of conversations that go on with an account of another vendor.
pub(crate) const FAILOVER: &[Gap] = &[];
