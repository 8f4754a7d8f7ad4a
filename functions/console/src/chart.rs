//! The bar chart of daily spend. Its colors are placeholders that the stylesheet replaces for light
//! and dark mode. A table on the page has the exact numbers.

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{IntoSegmentedCoord as _, SegmentValue};
use plotters::drawing::{DrawingAreaErrorKind, IntoDrawingArea as _};
use plotters::element::Rectangle;
use plotters::prelude::SVGBackend;
use plotters::style::{Color as _, IntoFont as _, RGBColor, ShapeStyle};

/// The colors by which the stylesheet recognizes the parts. Without it all of them look almost
/// black.
const BAR: RGBColor = RGBColor(1, 0, 0);
const LAST_BAR: RGBColor = RGBColor(2, 0, 0);
const LABEL: RGBColor = RGBColor(3, 0, 0);
const GRID: RGBColor = RGBColor(4, 0, 0);

const SIZE: (u32, u32) = (960, 220);

/// Draws a bar chart of US dollars by day as SVG markup. `title` and `description` are for screen
/// readers. Returns an empty text if drawing fails, because the table has the numbers.
pub(crate) fn daily_cost_chart(days: &[(String, f64)], title: &str, description: &str) -> String {
    let mut svg = String::new();
    if let Err(error) = draw(&mut svg, days) {
        tracing::warn!("the chart could not be drawn: {error}");
        return String::new();
    }
    // The tag of the library has a fixed size and no title.
    let inside = svg.split_once('>').map_or("", |(_, inside)| inside);
    let (width, height) = SIZE;
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"chart-title chart-desc\"><title id=\"chart-title\">{}</title>\
         <desc id=\"chart-desc\">{}</desc>{inside}",
        escape_xml(title),
        escape_xml(description)
    )
}

fn draw(
    svg: &mut String,
    days: &[(String, f64)],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let top = days.iter().map(|(_, usd)| *usd).fold(0.0, f64::max);
    let top = if top > 0.0 { top } else { 1.0 };
    let count = days.len().max(1);
    let mut chart = ChartBuilder::on(&root)
        .margin(6)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d((0..count - 1).into_segmented(), 0.0..top * 1.08)?;
    let day = |index: &SegmentValue<usize>| match index {
        SegmentValue::Exact(index) | SegmentValue::CenterOf(index) => {
            days.get(*index).map_or_else(String::new, |(day, _)| month_and_day(day))
        }
        SegmentValue::Last => String::new(),
    };
    let dollars = |usd: &f64| match top {
        10.0.. => format!("${usd:.0}"),
        0.1.. => format!("${usd:.2}"),
        0.001.. => format!("${usd:.4}"),
        _ => format!("${usd:.6}"),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(ShapeStyle::from(GRID.mix(0.0)))
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(("system-ui", 14).into_font().color(&LABEL))
        .x_labels(10)
        .x_label_formatter(&day)
        .y_labels(5)
        .y_label_formatter(&dollars)
        .draw()?;
    chart.draw_series(days.iter().enumerate().filter(|(_, (_, usd))| *usd > 0.0).map(
        |(index, (_, usd))| {
            let color = if index + 1 == days.len() { LAST_BAR } else { BAR };
            let (left, right) = (SegmentValue::Exact(index), SegmentValue::Exact(index + 1));
            let mut bar = Rectangle::new([(left, 0.0), (right, *usd)], color.filled());
            bar.set_margin(0, 0, 3, 3);
            bar
        },
    ))?;
    root.present()?;
    drop(chart);
    Ok(())
}

/// `2026-11-22` → `11-22`
fn month_and_day(day: &str) -> String {
    day.get(5..).unwrap_or(day).to_owned()
}

fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_has_one_bar_per_day_and_a_title() {
        let days: Vec<(String, f64)> =
            (1..=30).map(|day| (format!("2026-11-{day:02}"), f64::from(day % 3))).collect();
        let svg = daily_cost_chart(&days, "Spend <by> day", "from a & to b");
        assert_eq!(svg.matches("<rect").count(), 20, "days without spend have no bar: {svg}");
        assert!(svg.contains("Spend &lt;by&gt; day") && svg.contains("from a &amp; to b"));
        assert!(svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(!svg.contains("style="), "a strict policy forbids it");
    }

    #[test]
    fn empty_period_is_drawn() {
        assert!(daily_cost_chart(&[], "t", "d").ends_with("</svg>\n"));
        assert!(daily_cost_chart(&[("2026-11-22".into(), 0.0)], "t", "d").contains("</svg>"));
    }
}
