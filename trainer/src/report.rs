//! A run on one page: loss curve and confusion matrix as SVG, by themselves or in an HTML page with
//! the figures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::metrics::Evaluation;
use crate::progress::Progress;

/// Points of a curve that a page can show beside each other.
const POINTS: usize = 400;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;

/// What a page tells of a run, as it is gathered.
#[derive(Debug, Default)]
pub struct Report {
    losses: Vec<(usize, f64)>,
    evaluations: Vec<(usize, Evaluation)>,
}

impl Report {
    /// Takes note of what happens.
    pub fn record(&mut self, progress: &Progress) {
        match progress {
            Progress::Stepped { step, loss, .. } => self.losses.push((*step, *loss)),
            Progress::Evaluated { step, evaluation, .. } => self.evaluations.push((*step, (*evaluation).clone())),
            Progress::Started(_) | Progress::Resumed { .. } => {}
        }
    }

    /// Writes the page: SVG where the file's name ends so, else HTML. `best` is what the run ended
    /// with.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, file: &Path, title: &str, best: Option<&Evaluation>) -> Result<()> {
        let is_svg = file.extension().is_some_and(|extension| extension == "svg");
        let page = if is_svg { self.svg(best) } else { self.html(title, best) };
        fs::write(file, page).with_context(|| format!("{}: cannot be written", file.display()))
    }

    /// Both pictures, one above the other.
    fn svg(&self, best: Option<&Evaluation>) -> String {
        let (curve, matrix) = (self.curve(), best.map(matrix).unwrap_or_default());
        let height = HEIGHT + best.map_or(0.0, matrix_height);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             {curve}<g transform=\"translate(0 {HEIGHT})\">\n{matrix}</g>\n</svg>\n"
        )
    }

    fn html(&self, title: &str, best: Option<&Evaluation>) -> String {
        let title = escape(title);
        let figures = best.map(|best| format!("<pre>{}</pre>\n", escape(&best.to_string()))).unwrap_or_default();
        format!(
            "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n{}{figures}",
            self.svg(best)
        )
    }

    /// The loss over the steps: of the training texts as they were learned from, and of the
    /// validation texts.
    fn curve(&self) -> String {
        let train = thinned(&self.losses);
        let valid: Vec<(f64, f64)> =
            self.evaluations.iter().filter_map(|(step, evaluation)| Some((*step as f64, evaluation.loss?))).collect();
        let points = || train.iter().chain(&valid);
        let axes = Axes {
            steps: points().map(|(step, _)| *step).fold(1.0, f64::max),
            loss: points().map(|(_, loss)| *loss).fold(0.0, f64::max) * 1.05 + f64::MIN_POSITIVE,
        };
        let mut svg = axes.draw();
        line(&mut svg, &axes, &train, "#1f77b4");
        line(&mut svg, &axes, &valid, "#d62728");
        for (step, loss) in &valid {
            let (x, y) = axes.place(*step, *loss);
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#d62728\"/>");
        }
        for (x, colour, name) in [(LEFT, "#1f77b4", "training loss"), (LEFT + 130.0, "#d62728", "validation loss")] {
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"20\" fill=\"{colour}\">{name}</text>");
        }
        svg
    }
}

/// The ranges of the curve's axes, both from 0.
struct Axes {
    steps: f64,
    loss: f64,
}

impl Axes {
    fn place(&self, step: f64, loss: f64) -> (f64, f64) {
        let x = LEFT + step / self.steps * (WIDTH - LEFT - RIGHT);
        let y = HEIGHT - BOTTOM - loss / self.loss * (HEIGHT - TOP - BOTTOM);
        (x, y)
    }

    fn draw(&self) -> String {
        let mut svg = String::new();
        for part in 0..=4 {
            let share = f64::from(part) / 4.0;
            let (x, _) = self.place(share * self.steps, 0.0);
            let (_, y) = self.place(0.0, share * self.loss);
            let (right, low) = (WIDTH - RIGHT, HEIGHT - BOTTOM + 16.0);
            let _ = writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>");
            let loss = share * self.loss;
            let _ =
                writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.3}</text>", LEFT - 6.0, y + 4.0);
            let step = (share * self.steps).round();
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{low}\" text-anchor=\"middle\">{step}</text>");
        }
        let (x, y) = (WIDTH / 2.0, HEIGHT - 8.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">steps</text>");
        svg
    }
}

fn line(svg: &mut String, axes: &Axes, points: &[(f64, f64)], colour: &str) {
    let places = points.iter().map(|(step, loss)| axes.place(*step, *loss));
    let places: Vec<String> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let places = places.join(" ");
    let _ = writeln!(svg, "<polyline points=\"{places}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
}

/// Means of neighbours, as many as a page can show.
fn thinned(losses: &[(usize, f64)]) -> Vec<(f64, f64)> {
    let size = losses.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[(usize, f64)]| {
        let count = chunk.len() as f64;
        let step = chunk.iter().map(|(step, _)| *step as f64).sum::<f64>() / count;
        (step, chunk.iter().map(|(_, loss)| loss).sum::<f64>() / count)
    };
    losses.chunks(size).map(mean).collect()
}

/// Side of a cell of the confusion matrix, and what stands around the cells.
const CELL: f64 = 56.0;
const NAMES: f64 = 130.0;

fn matrix_height(evaluation: &Evaluation) -> f64 {
    NAMES + CELL * evaluation.confusion.len() as f64
}

/// The confusion matrix, each row shaded by the shares of its texts.
fn matrix(evaluation: &Evaluation) -> String {
    let mut svg =
        String::from("<text x=\"8\" y=\"20\">confusion: a row is the truth, a column the prediction</text>\n");
    let place = |index: usize| NAMES + CELL * index as f64;
    let top = |index: usize| 60.0 + CELL * index as f64;
    for (class, report) in evaluation.per_class.iter().enumerate() {
        let name = escape(&report.label);
        let (x, y) = (place(class) + CELL / 2.0, top(class) + CELL / 2.0 + 4.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"52\" text-anchor=\"middle\">{name}</text>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{name}</text>", NAMES - 8.0);
    }
    for (truth, row) in evaluation.confusion.iter().enumerate() {
        let all = row.iter().sum::<usize>().max(1) as f64;
        for (predicted, count) in row.iter().enumerate() {
            let (x, y, share) = (place(predicted), top(truth), *count as f64 / all);
            let colour = if share > 0.5 { "white" } else { "black" };
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"#1f77b4\" fill-opacity=\"{share:.3}\" \
                 stroke=\"#bbb\"/><text x=\"{}\" y=\"{}\" fill=\"{colour}\" text-anchor=\"middle\">{count}</text>",
                x + CELL / 2.0,
                y + CELL / 2.0 + 4.0
            );
        }
    }
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> (Report, Evaluation) {
        let labels = ["差评".to_owned(), "<好评>".to_owned()];
        let scores = [vec![0.9, 0.1], vec![0.2, 0.8], vec![0.6, 0.4]];
        let evaluation = Evaluation::of_scores(&labels, &[0, 1, 1], &scores);
        let mut report = Report::default();
        for step in 1..=1000 {
            report.record(&Progress::Stepped {
                step,
                loss: 1.0 / step as f64,
                learning_rate: 1e-3,
                examples: 32,
                tokens: 500,
            });
        }
        report.record(&Progress::Evaluated { step: 1000, evaluation: &evaluation, best: true });
        (report, evaluation)
    }

    #[test]
    fn the_pictures_are_well_formed_and_show_every_class_and_count() {
        let (report, best) = report();
        let svg = report.svg(Some(&best));
        let opened = svg.matches("<g ").count() + svg.matches("<text ").count() + svg.matches("<svg ").count();
        let closed = svg.matches("</g>").count() + svg.matches("</text>").count() + svg.matches("</svg>").count();
        assert_eq!(opened, closed);
        assert!(svg.contains("&lt;好评&gt;") && !svg.contains("<好评>") && svg.contains(">差评<"));
        assert_eq!(svg.matches("fill-opacity=\"0.500\"").count(), 2, "{svg}");
        assert!(svg.contains("fill-opacity=\"1.000\"") && svg.contains("fill-opacity=\"0.000\""));
        let curve = svg.split("<polyline points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(curve.split(' ').count(), 334);
    }

    #[test]
    fn the_name_of_the_file_says_which_page_it_is() {
        let (report, best) = report();
        let directory = tempfile::tempdir().unwrap();
        let page = |name: &str| {
            let file = directory.path().join(name);
            report.write(&file, "a < b", Some(&best)).unwrap();
            fs::read_to_string(file).unwrap()
        };
        assert!(page("run.svg").starts_with("<svg "));
        let html = page("run.html");
        assert!(html.starts_with("<!doctype html>") && html.contains("<h1>a &lt; b</h1>") && html.contains("<svg "));
        assert!(html.contains("macro-F1"), "the figures are missing");
    }

    #[test]
    fn a_run_without_steps_or_validation_texts_has_a_page_too() {
        let empty = Report::default().svg(None);
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
    }
}
