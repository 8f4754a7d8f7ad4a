//! Medians over the rounds, side by side.

/// Rows in the order in which they were first added.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, Vec<f64>, Vec<f64>)>,
}

impl Table {
    /// Adds one round's value of a row.
    pub(crate) fn add(&mut self, name: &str, direct: f64, relayed: f64) {
        let known = self.rows.iter().position(|(known, ..)| known == name);
        let index = known.unwrap_or_else(|| {
            self.rows.push((name.to_owned(), Vec::new(), Vec::new()));
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        row.1.push(direct);
        row.2.push(relayed);
    }

    pub(crate) fn text(&self) -> String {
        let mut lines = vec![format!(
            "\n{:<36}{:>12}{:>12}{:>9}{:>20}",
            "median of the rounds", "direct", "relayed", "ratio", "relayed, range"
        )];
        for (name, direct, relayed) in &self.rows {
            let (one, other) = (median(direct), median(relayed));
            let ratio = if one > 0.0 { format!("{:.2}", other / one) } else { "-".into() };
            let low = relayed.iter().copied().fold(f64::INFINITY, f64::min);
            let high = relayed.iter().copied().fold(0.0, f64::max);
            let range = format!("{low:.0} to {high:.0}");
            lines.push(format!("{name:<36}{one:>12.0}{other:>12.0}{ratio:>9}{range:>20}"));
        }
        lines.join("\n")
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
