//! The bar chart of daily spend, as SVG. Its colors are placeholders that the stylesheet replaces
//! for light and dark mode. A table on the page has the exact numbers.

use std::ops::RangeInclusive;

/// The colors by which the stylesheet recognizes the parts. Without it all of them look almost
/// black.
const BAR: &str = "#010000";
const LAST_BAR: &str = "#020000";
const LABEL: &str = "#030000";
const GRID: &str = "#040000";

/// The size of the drawing, and the part of it in which the bars are.
const SIZE: (u32, u32) = (960, 220);
const LEFT: f64 = 70.0;
const RIGHT: f64 = 954.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 190.0;
/// The space on each side of a bar.
const GAP: f64 = 3.0;
/// The most days with a label, and the most intervals between amounts.
const DAY_LABELS_MAX: u32 = 10;
const AMOUNT_STEPS_MAX: f64 = 5.0;

/// Draws a bar chart of US dollars by day as SVG markup. `title` and `description` are for screen
/// readers.
pub(crate) fn daily_cost_chart(days: &[(String, f64)], title: &str, description: &str) -> String {
    let most = days.iter().map(|(_, usd)| *usd).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let ((width, height), title) = (SIZE, escape_xml(title));
    let (description, grid, bars) = (escape_xml(description), grid(most), bars(days, most));
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"chart-title chart-desc\"><title id=\"chart-title\">{title}</title>\
         <desc id=\"chart-desc\">{description}</desc>{grid}{bars}</svg>\n"
    )
}

/// The height in dollars of a chart whose highest bar is `most`.
fn amounts(most: f64) -> RangeInclusive<f64> {
    0.0..=most * 1.08
}

/// The vertical position of an amount.
fn position(usd: f64, most: f64) -> f64 {
    BOTTOM - usd / amounts(most).end() * (BOTTOM - TOP)
}

/// A line and a label for 0 and for each round amount up to the top.
fn grid(most: f64) -> String {
    let least = amounts(most).end() / AMOUNT_STEPS_MAX;
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|digit| digit * power);
    let step = steps.into_iter().find(|step| *step >= least).unwrap_or(10.0 * power);
    let marks = (0_u32..).map(|count| f64::from(count) * step);
    let marks = marks.take_while(|usd| amounts(most).contains(usd));
    let lines = marks.map(|usd| {
        let (y, amount) = (position(usd, most), format_dollars(usd, most));
        let (end, baseline) = (LEFT - 8.0, y + 4.0);
        format!(
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{GRID}\"/>\
             <text x=\"{end}\" y=\"{baseline:.1}\" text-anchor=\"end\" fill=\"{LABEL}\">\
             {amount}</text>"
        )
    });
    lines.collect()
}

/// A bar for each day with spend, and labels of at most [`DAY_LABELS_MAX`] days.
fn bars(days: &[(String, f64)], most: f64) -> String {
    let count = u32::try_from(days.len()).unwrap_or(u32::MAX).max(1);
    let (width, every) = ((RIGHT - LEFT) / f64::from(count), count.div_ceil(DAY_LABELS_MAX));
    let day = |((day, usd), place): (&(String, f64), u32)| {
        let (x, y) = (LEFT + f64::from(place) * width, position(*usd, most));
        let fill = if place + 1 == count { LAST_BAR } else { BAR };
        let (left, wide, high) = (x + GAP, width - 2.0 * GAP, BOTTOM - y);
        let bar = format!(
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" \
             fill=\"{fill}\"/>"
        );
        let (middle, baseline, date) = (x + width / 2.0, BOTTOM + 18.0, month_and_day(day));
        let label = format!(
            "<text x=\"{middle:.1}\" y=\"{baseline}\" text-anchor=\"middle\" fill=\"{LABEL}\">\
             {date}</text>"
        );
        let bar = Some(bar).filter(|_| *usd > 0.0);
        bar.into_iter().chain(Some(label).filter(|_| place.is_multiple_of(every)))
    };
    days.iter().zip(0..).flat_map(day).collect()
}

/// An amount on the axis, with as many digits as a chart up to `most` needs.
fn format_dollars(usd: f64, most: f64) -> String {
    match most {
        10.0.. => format!("${usd:.0}"),
        0.1.. => format!("${usd:.2}"),
        0.001.. => format!("${usd:.4}"),
        _ => format!("${usd:.6}"),
    }
}

/// `2026-11-22` → `11-22`
fn month_and_day(day: &str) -> &str {
    day.get(5..).unwrap_or(day)
}

fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_a_day_and_a_name() {
        let days: Vec<(String, f64)> =
            (1..=30).map(|day| (format!("2026-11-{day:02}"), f64::from(day % 3))).collect();
        let svg = daily_cost_chart(&days, "Spend <by> day", "from a & to b");
        assert_eq!(svg.matches("<rect").count(), 20, "days without spend have no bar: {svg}");
        assert!(svg.contains("Spend &lt;by&gt; day") && svg.contains("from a &amp; to b"));
        assert!(svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(!svg.contains("style="), "a strict policy forbids it");
    }

    #[test]
    fn nothing_yet_is_drawn_too() {
        assert!(daily_cost_chart(&[], "t", "d").ends_with("</svg>\n"));
        assert!(daily_cost_chart(&[("2026-11-22".into(), 0.0)], "t", "d").contains("</svg>"));
    }
}
