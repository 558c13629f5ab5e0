//! Latency and throughput over time as a picture: one SVG of two panels above the same axis of time, latency on a
//! logarithmic scale. Written by hand: lines, text, and nothing that needs a font or a style sheet from elsewhere.

use std::fmt::Write;

use super::timeline::Point;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
/// Where the panels begin and end.
const LATENCY: (f64, f64) = (84.0, 344.0);
const THROUGHPUT: (f64, f64) = (384.0, 500.0);
/// Points drawn at most; more are merged, so that a line stays a line.
const COLUMNS_MAX: usize = 600;
/// Intervals that an axis of linear scale is divided into, at most: values, seconds.
const VALUE_INTERVALS: f64 = 4.0;
const TIME_INTERVALS: f64 = 12.0;

const LINES: [(&str, &str, f64); 3] = [
    ("max", "#c0392b", 1.0),
    ("p99", "#e08e0b", 1.3),
    ("p50", "#1f6fb2", 1.6),
];
const THROUGHPUT_COLOUR: &str = "#2e7d4f";

/// Draws the points under a title and a line of figures.
pub(super) fn svg(title: &str, figures: &str, points: &[Point]) -> String {
    let points = merged(points);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    text(&mut picture, (LEFT, 28.0), "start", 17, title);
    text(&mut picture, (LEFT, 48.0), "start", 12, figures);
    let time = Axis::linear(
        0.0,
        points.last().map_or(1.0, |point| point.second + 1.0),
        (LEFT, WIDTH - RIGHT),
    );
    // Lines of the grid first, so that they stand behind.
    draw_time(&mut picture, &time);
    draw_latency(&mut picture, &time, &points);
    draw_throughput(&mut picture, &time, &points);
    picture.push_str("</svg>\n");
    picture
}

/// A point, perhaps of several seconds: the worst of the latencies, the mean of the rest.
#[derive(Clone, Copy)]
struct Column {
    second: f64,
    per_second: f64,
    /// In the order of [`LINES`], milliseconds; none where nothing ended.
    latencies_ms: Option<[f64; 3]>,
}

fn merged(points: &[Point]) -> Vec<Column> {
    let seconds = points.len().div_ceil(COLUMNS_MAX).max(1);
    points
        .chunks(seconds)
        .map(|chunk| {
            let operations: u64 = chunk.iter().map(|point| point.operations).sum();
            let of = |value: fn(&Point) -> u64| {
                let worst = chunk.iter().map(value).max().unwrap_or(0);
                worst as f64 / 1000.0
            };
            let medians: u64 = chunk
                .iter()
                .map(|point| point.p50_us * point.operations)
                .sum();
            let median = medians as f64 / operations.max(1) as f64 / 1000.0;
            Column {
                second: chunk[0].second as f64,
                per_second: operations as f64 / chunk.len() as f64,
                latencies_ms: (operations > 0)
                    .then(|| [of(|point| point.max_us), of(|point| point.p99_us), median]),
            }
        })
        .collect()
}

/// From values to places.
struct Axis {
    low: f64,
    high: f64,
    places: (f64, f64),
    logarithmic: bool,
}

impl Axis {
    fn linear(low: f64, high: f64, places: (f64, f64)) -> Axis {
        Axis {
            low,
            high: high.max(low + 1e-9),
            places,
            logarithmic: false,
        }
    }

    /// Whole decades that hold all the values.
    fn decades(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Axis {
        let logarithms = values.filter(|value| *value > 0.0).map(f64::log10);
        let (low, high) = logarithms.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = if low > high {
            (0.0, 1.0)
        } else {
            (low.floor(), high.ceil())
        };
        Axis {
            low,
            high: high.max(low + 1.0),
            places,
            logarithmic: true,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.logarithmic {
            value.max(1e-6).log10()
        } else {
            value
        };
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.places.0 + part * (self.places.1 - self.places.0)
    }

    /// Round values to write beside the axis; on a linear one so many intervals at most.
    fn ticks(&self, intervals: f64) -> Vec<f64> {
        if self.logarithmic {
            let decades = self.low as i32..=self.high as i32;
            return decades.map(|decade| 10_f64.powi(decade)).collect();
        }
        let rough = (self.high - self.low) / intervals;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
        let step = step
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let count = ((self.high - self.low) / step).floor() as u32;
        (0..=count)
            .map(|number| self.low + f64::from(number) * step)
            .collect()
    }
}

fn draw_latency(picture: &mut String, time: &Axis, points: &[Column]) {
    let (top, bottom) = LATENCY;
    let all = points
        .iter()
        .filter_map(|point| point.latencies_ms)
        .flatten();
    let scale = Axis::decades(all, (bottom, top));
    grid(picture, &scale, "ms");
    text(
        picture,
        (LEFT, top - 10.0),
        "start",
        12,
        "latency, milliseconds (logarithmic)",
    );
    for (line, (name, colour, width)) in LINES.iter().enumerate() {
        let place = |point: &Column| {
            let latencies = point.latencies_ms?;
            Some((time.at(point.second + 0.5), scale.at(latencies[line])))
        };
        polyline(picture, points.iter().map(place), colour, *width);
        // The legend, at the right above the panel, first line last.
        let x = WIDTH - RIGHT - 70.0 * (LINES.len() - line) as f64 + 20.0;
        legend(picture, (x, top - 14.0), name, colour);
    }
}

fn draw_throughput(picture: &mut String, time: &Axis, points: &[Column]) {
    let (top, bottom) = THROUGHPUT;
    let most = points
        .iter()
        .map(|point| point.per_second)
        .fold(1.0, f64::max);
    let scale = Axis::linear(0.0, most * 1.05, (bottom, top));
    grid(picture, &scale, "");
    text(
        picture,
        (LEFT, top - 10.0),
        "start",
        12,
        "operations per second",
    );
    let place = |point: &Column| Some((time.at(point.second + 0.5), scale.at(point.per_second)));
    polyline(picture, points.iter().map(place), THROUGHPUT_COLOUR, 1.6);
}

fn draw_time(picture: &mut String, time: &Axis) {
    let bottom = THROUGHPUT.1;
    for second in time.ticks(TIME_INTERVALS) {
        let x = time.at(second);
        for (top, bottom) in [LATENCY, THROUGHPUT] {
            line(picture, (x, top), (x, bottom), "#eeeeee");
        }
        text(picture, (x, bottom + 18.0), "middle", 12, &number(second));
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    text(
        picture,
        (middle, bottom + 40.0),
        "middle",
        12,
        "seconds since the measurement began",
    );
}

/// The horizontal lines of a panel and the values beside them.
fn grid(picture: &mut String, scale: &Axis, unit: &str) {
    for value in scale.ticks(VALUE_INTERVALS) {
        let y = scale.at(value);
        line(picture, (LEFT, y), (WIDTH - RIGHT, y), "#dddddd");
        let label = format!("{} {unit}", number(value));
        text(picture, (LEFT - 8.0, y + 4.0), "end", 12, label.trim());
    }
}

fn legend(picture: &mut String, at: (f64, f64), name: &str, colour: &str) {
    let (x, y) = at;
    let _ = writeln!(
        picture,
        "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"3\"/>",
        x + 18.0
    );
    text(picture, (x + 23.0, y + 4.0), "start", 12, name);
}

/// A line that breaks where there is no point.
fn polyline(
    picture: &mut String,
    places: impl Iterator<Item = Option<(f64, f64)>>,
    colour: &str,
    width: f64,
) {
    let mut path = String::new();
    let mut drawn = false;
    for place in places {
        if let Some((x, y)) = place {
            let letter = if drawn { 'L' } else { 'M' };
            // Twice, so that a point on its own is seen: round ends make a dot of it.
            let again = if drawn {
                String::new()
            } else {
                format!("L{x:.1} {y:.1}")
            };
            let _ = write!(path, "{letter}{x:.1} {y:.1}{again}");
        }
        drawn = place.is_some();
    }
    if !path.is_empty() {
        let _ = writeln!(
            picture,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linecap=\"round\" \
             stroke-linejoin=\"round\"/>"
        );
    }
}

fn line(picture: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        picture,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(picture: &mut String, at: (f64, f64), anchor: &str, size: u32, what: &str) {
    let escaped = what
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        picture,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{escaped}</text>",
        at.0, at.1
    );
}

/// Without needless digits; thousands apart.
fn number(value: f64) -> String {
    if value.abs() < 1.0 && value != 0.0 {
        return format!("{value:.3}").trim_end_matches('0').to_owned();
    }
    let whole = format!("{value:.0}");
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: u64, operations: u64, us: u64) -> Point {
        Point {
            second,
            operations,
            p50_us: us,
            p99_us: 10 * us,
            max_us: 100 * us,
        }
    }

    #[test]
    fn a_pause_breaks_the_lines_of_latency_and_not_that_of_throughput() {
        let points = [
            point(0, 10, 300),
            point(1, 0, 0),
            point(2, 20, 300),
            point(3, 20, 300),
        ];
        let picture = svg("a < b", "", &points);
        assert!(picture.contains("a &lt; b"));
        let moves: Vec<usize> = picture
            .lines()
            .filter(|line| line.starts_with("<path"))
            .map(|line| line.matches('M').count())
            .collect();
        assert_eq!(moves, [2, 2, 2, 1]);
        assert_eq!(
            picture.matches("<svg").count(),
            picture.matches("</svg>").count()
        );
    }

    #[test]
    fn many_seconds_become_fewer_columns_that_keep_the_worst() {
        let points: Vec<Point> = (0..1800)
            .map(|second| point(second, 5, 1 + second))
            .collect();
        let columns = merged(&points);
        assert_eq!(columns.len(), 600);
        assert_eq!(columns[599].latencies_ms.map(|all| all[0]), Some(180.0));
        assert!((columns[0].per_second - 5.0).abs() < 1e-9);
        assert_eq!(svg("", "", &[]).matches("<path").count(), 0);
    }

    #[test]
    fn axes_have_round_values() {
        let decades = Axis::decades([0.3, 47.0].into_iter(), (0.0, 1.0));
        assert_eq!(decades.ticks(5.0), [0.1, 1.0, 10.0, 100.0]);
        let linear = Axis::linear(0.0, 137.0, (0.0, 1.0));
        assert_eq!(linear.ticks(5.0), [0.0, 50.0, 100.0]);
        let labels = [0.1, 0.0, 1234567.0, 500.0].map(number);
        assert_eq!(labels, ["0.1", "0", "1,234,567", "500"]);
    }
}
