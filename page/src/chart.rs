//! Pictures as SVG, without a script: shares of classes over time, and how versions come from each
//! other. Colours are classes of the style sheet, since the page allows no style of an element.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use store::Count;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
const BOTTOM: f64 = 22.0;
const LEFT: f64 = 8.0;

/// Colours that the style sheet has.
pub const COLOURS: usize = 8;

/// The names that a picture's colours stand for.
pub type Legend = Vec<(String, usize)>;

/// Bars of counts over time, stacked by what `group` says, with the legend.
pub fn bars(counts: &[Count], unit: TimeDelta, group: impl Fn(&Count) -> String) -> (String, Legend) {
    let mut names: Vec<String> = counts.iter().map(&group).collect();
    names.sort();
    names.dedup();
    let legend: Legend = names.iter().cloned().zip((0..COLOURS).cycle()).collect();
    let mut columns: BTreeMap<DateTime<Utc>, Vec<f64>> = BTreeMap::new();
    for count in counts {
        let place = names.binary_search(&group(count)).unwrap_or_default();
        columns.entry(count.at).or_insert_with(|| vec![0.0; names.len()])[place] += count.predictions;
    }
    let (Some(first), Some(last)) = (columns.keys().next().copied(), columns.keys().last().copied()) else {
        return (String::new(), legend);
    };
    let places = ((last - first).num_seconds() / unit.num_seconds().max(1) + 1).max(1) as f64;
    let highest = columns.values().map(|column| column.iter().sum::<f64>()).fold(1.0, f64::max);
    let width = ((WIDTH - 2.0 * LEFT) / places.max(12.0)).min(40.0);
    let mut svg = open(WIDTH, HEIGHT + BOTTOM);
    for (at, column) in &columns {
        let place = (*at - first).num_seconds() as f64 / unit.num_seconds().max(1) as f64;
        let (x, mut y) = (LEFT + place * width, HEIGHT);
        let all: f64 = column.iter().sum();
        for (value, (name, colour)) in column.iter().zip(&legend) {
            let height = value / highest * (HEIGHT - 12.0);
            y -= height;
            if height > 0.0 {
                let _ = write!(
                    svg,
                    "<rect class=\"c{colour}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{} \
                     {}: {:.0} ({:.0}%)</title></rect>",
                    (width - 1.0).max(0.5),
                    label(*at, unit),
                    escaped(name),
                    value,
                    100.0 * value / all,
                );
            }
        }
    }
    for (at, anchor, x) in [(first, "start", LEFT), (last, "end", LEFT + places * width)] {
        if anchor == "start" || places > 1.0 {
            let x = if anchor == "end" { x.max(170.0) } else { x };
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT + 16.0,
                label(at, unit)
            );
        }
    }
    svg.push_str("</svg>");
    (svg, legend)
}

fn label(at: DateTime<Utc>, unit: TimeDelta) -> String {
    let format = if unit < TimeDelta::days(1) { "%m-%d %H:00" } else { "%Y-%m-%d" };
    at.format(format).to_string()
}

/// A line over the numbers 1, 2, 3 ..., between its least and its greatest value.
pub struct Line {
    pub name: String,
    pub colour: usize,
    /// Place, from 0 to 1, and value.
    pub points: Vec<(f64, f64)>,
}

/// Lines over one scale.
pub fn lines(lines: &[Line], shown: impl Fn(f64) -> String) -> String {
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return String::new();
    }
    let spread = if high > low { high - low } else { 1.0 };
    let (left, top, bottom) = (64.0, 14.0, HEIGHT - 8.0);
    let y = |value: f64| bottom - (value - low) / spread * (bottom - top);
    let x = |place: f64| left + place * (WIDTH - left - 12.0);
    let mut svg = open(WIDTH, HEIGHT);
    for value in [low, high] {
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><line class=\"grid\" x1=\"{left}\" x2=\"{WIDTH}\" \
             y1=\"{1:.1}\" y2=\"{1:.1}\"/>",
            left - 8.0,
            y(value),
            shown(value),
        );
        if high <= low {
            break;
        }
    }
    for line in lines {
        let points: String = line.points.iter().fold(String::new(), |mut points, (place, value)| {
            let _ = write!(points, "{:.1},{:.1} ", x(*place), y(*value));
            points
        });
        let _ = write!(svg, "<polyline class=\"l{}\" points=\"{}\"/>", line.colour, points.trim_end());
        for (place, value) in line.points.iter().take(if line.points.len() > 60 { 0 } else { 60 }) {
            let _ = write!(
                svg,
                "<circle class=\"c{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {}</title></circle>",
                line.colour,
                x(*place),
                y(*value),
                escaped(&line.name),
                shown(*value),
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// A version in the picture of where versions come from.
pub struct Node {
    pub version: i64,
    pub parent: Option<i64>,
    /// champion, shadow, rejected, or nothing.
    pub role: &'static str,
    pub caption: String,
}

/// Which version was trained from which: each in the column after its parent's.
pub fn lineage(nodes: &[Node]) -> String {
    let mut depth: BTreeMap<i64, usize> = BTreeMap::new();
    let mut columns: Vec<Vec<&Node>> = Vec::new();
    for node in nodes {
        let after = node.parent.and_then(|parent| depth.get(&parent)).map_or(0, |depth| depth + 1);
        depth.insert(node.version, after);
        if columns.len() <= after {
            columns.resize_with(after + 1, Vec::new);
        }
        columns[after].push(node);
    }
    let (across, down) = (170.0, 54.0);
    let height = columns.iter().map(Vec::len).max().unwrap_or(0) as f64 * down;
    let mut places: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    let mut svg = open(columns.len().max(1) as f64 * across, height.max(down));
    let mut boxes = String::new();
    for (column, nodes) in columns.iter().enumerate() {
        for (row, node) in nodes.iter().enumerate() {
            let (x, y) = (column as f64 * across + 6.0, row as f64 * down + 6.0);
            places.insert(node.version, (x, y));
            if let Some((from_x, from_y)) = node.parent.and_then(|parent| places.get(&parent)) {
                let _ = write!(
                    svg,
                    "<path class=\"edge\" d=\"M{:.0} {:.0} C{2:.0} {1:.0} {0:.0} {3:.0} {2:.0} {3:.0}\"/>",
                    from_x + 132.0,
                    from_y + 21.0,
                    x,
                    y + 21.0,
                );
            }
            let _ = write!(
                boxes,
                "<g class=\"node {}\"><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"132\" height=\"42\" rx=\"6\"/><text \
                 x=\"{:.0}\" y=\"{:.0}\">v{}</text><text class=\"small\" x=\"{:.0}\" y=\"{:.0}\">{}</text></g>",
                node.role,
                x + 10.0,
                y + 17.0,
                node.version,
                x + 10.0,
                y + 33.0,
                escaped(&node.caption),
            );
        }
    }
    svg.push_str(&boxes);
    svg.push_str("</svg>");
    svg
}

/// Its words stand in the page beside it: to a screen reader it is a picture.
fn open(width: f64, height: f64) -> String {
    format!(
        "<svg class=\"chart\" aria-hidden=\"true\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use store::Version;

    use super::*;

    #[test]
    fn names_stay_text_and_a_stack_is_as_high_as_its_parts() {
        let at = |hour: i64| DateTime::from_timestamp(3_600 * hour, 0).unwrap();
        let count = |hour, label: &str, predictions| Count {
            at: at(hour),
            label: label.to_owned(),
            version: Version(1),
            predictions,
        };
        let counts = [count(0, "<script>", 30.0), count(0, "good", 10.0), count(2, "good", 40.0)];
        let (svg, legend) = bars(&counts, TimeDelta::hours(1), |count| count.label.clone());
        assert_eq!(legend, [("<script>".to_owned(), 0), ("good".to_owned(), 1)]);
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script>"));
        let heights: Vec<f64> =
            svg.split(" height=\"").skip(2).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect();
        assert_eq!(heights.len(), 3);
        assert!((heights[0] + heights[1] - heights[2]).abs() < 0.2, "{heights:?}");
        assert_eq!(bars(&[], TimeDelta::hours(1), |count| count.label.clone()).0, "");
    }

    #[test]
    fn a_version_stands_after_the_one_that_it_was_trained_from() {
        let node = |version, parent| Node { version, parent, role: "", caption: String::new() };
        let svg = lineage(&[node(1, None), node(2, Some(1)), node(3, Some(1)), node(4, Some(3))]);
        assert_eq!(svg.matches("class=\"edge\"").count(), 3);
        assert!(svg.contains("viewBox=\"0 0 510 108\""), "{svg}");
    }

    #[test]
    fn a_line_lies_between_its_least_and_its_greatest_value() {
        let line = Line { name: "a".to_owned(), colour: 0, points: vec![(0.0, 0.5), (1.0, 0.9)] };
        let svg = lines(&[line], |value| format!("{value}"));
        assert!(svg.contains("64.0,172.0") && svg.contains("708.0,14.0"), "{svg}");
        assert_eq!(lines(&[], |value| format!("{value}")), "");
    }
}
