//! The result: for each scenario a table with a line a road, medians over the rounds.

use crate::load::Measured;
use crate::scenario::{Load, Scenario};
use crate::times::{median, quantile};

const COLUMNS: [&str; 12] = [
    "requests/s",
    "a core-s",
    "CPU/request",
    "CPU/event",
    "first p50",
    "first p99",
    "+p50",
    "+p99",
    "event +p50",
    "event +p99",
    "stores CPU",
    "MiB/1,000",
];

/// One road's line: the rounds' values of each column.
struct Line {
    road: String,
    values: [Vec<f64>; COLUMNS.len()],
}

/// One scenario's table.
pub(crate) struct Table {
    name: String,
    lines: Vec<Line>,
    /// What the load generator itself used for a request.
    generator: Vec<f64>,
}

/// Quantiles of what clients saw, in µs.
#[derive(Clone, Copy)]
pub(crate) struct Baseline {
    first: [f64; 2],
    event: [f64; 2],
}

const QUANTILES: [f64; 2] = [0.5, 0.99];

impl Table {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        Self { name: scenario.name.clone(), lines: Vec::new(), generator: Vec::new() }
    }

    /// Adds one round of a road, with what the direct road showed in the same round.
    #[expect(clippy::cast_precision_loss, reason = "counts in a table")]
    pub(crate) fn add(
        &mut self,
        road: &str,
        scenario: &Scenario,
        measured: &Measured,
        direct: Option<Baseline>,
    ) -> Baseline {
        let seen = Baseline {
            first: QUANTILES.map(|at| quantile(&measured.seen.first, at)),
            event: QUANTILES.map(|at| quantile(&measured.seen.events, at)),
        };
        let requests = measured.requests.max(1) as f64;
        let [cpu, stores, own] = measured.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / requests);
        let nothing = f64::NAN;
        let some = |value: f64| if value > 0.0 { value } else { nothing };
        let added = |with: f64, without: Option<f64>| without.map_or(nothing, |time| with - time);
        let event = |at: usize| match direct {
            Some(direct) if scenario.stamped => seen.event[at] - direct.event[at],
            _ => nothing,
        };
        let grown = measured.grown_kib as f64 / 1024.0 * 1000.0 / f64::from(scenario.at_once);
        let values = [
            requests / measured.took.as_secs_f64(),
            1e6 / some(cpu),
            some(cpu),
            scenario.events.map_or(nothing, |events| some(cpu) / f64::from(events)),
            seen.first[0],
            seen.first[1],
            added(seen.first[0], direct.map(|direct| direct.first[0])),
            added(seen.first[1], direct.map(|direct| direct.first[1])),
            event(0),
            event(1),
            some(stores),
            if matches!(scenario.load, Load::Spread(_)) { some(grown) } else { nothing },
        ];
        self.generator.push(own);
        let known = self.lines.iter().position(|line| line.road == road);
        let at = known.unwrap_or_else(|| {
            self.lines.push(Line { road: road.to_owned(), values: Default::default() });
            self.lines.len() - 1
        });
        for (all, value) in self.lines[at].values.iter_mut().zip(values) {
            all.push(value);
        }
        seen
    }

    pub(crate) fn text(&self) -> String {
        let used: Vec<usize> = (0..COLUMNS.len())
            .filter(|at| {
                self.lines.iter().any(|line| line.values[*at].iter().any(|value| !value.is_nan()))
            })
            .collect();
        let heads: Vec<_> = used.iter().map(|at| format!("{:>12}", COLUMNS[*at])).collect();
        let mut lines = vec![format!("\n{:<32}{}", self.name, heads.concat())];
        for line in &self.lines {
            let cells = used.iter().map(|at| cell(settled(*at, &line.values[*at])));
            lines.push(format!("  {:<30}{}", line.road, cells.collect::<Vec<_>>().concat()));
        }
        lines.push(format!("  the load itself: {:.0} µs CPU a request", median(&self.generator)));
        lines.join("\n")
    }
}

/// The median; of memory the least, since what other scenarios left behind only adds to it.
fn settled(column: usize, values: &[f64]) -> f64 {
    if column == COLUMNS.len() - 1 {
        return values.iter().copied().fold(f64::NAN, f64::min);
    }
    median(values)
}

fn cell(value: f64) -> String {
    match value {
        value if value.is_nan() => format!("{:>12}", "-"),
        value if value.abs() < 10.0 => format!("{value:>12.1}"),
        value => format!("{value:>12.0}"),
    }
}
