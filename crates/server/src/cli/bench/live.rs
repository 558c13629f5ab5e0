//! The line that says how a run goes while it does, on a terminal only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Measured;
use super::timeline::Timeline;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const REDRAW_EVERY: Duration = Duration::from_millis(500);

/// What is looked at.
pub(super) struct LiveView<'a> {
    /// Draw nothing, only wait.
    pub quiet: bool,
    pub measured: Measured,
    pub timeline: &'a Timeline,
    pub ended: &'a AtomicU64,
    /// Whether any thread still works.
    pub running: &'a dyn Fn() -> bool,
}

/// Shows the run until it has ended. Nothing where standard error is no terminal.
pub(super) fn show(view: &LiveView<'_>) {
    let bar = match view.measured {
        Measured::Operations(count) => ProgressBar::new(count),
        Measured::For(duration) => ProgressBar::new(duration.as_secs()),
    };
    bar.set_style(
        ProgressStyle::with_template("{bar:24} {elapsed}  {msg}").expect("a fixed template"),
    );
    bar.set_draw_target(match view.quiet {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    });
    let mut last = (Instant::now(), 0);
    while (view.running)() {
        std::thread::sleep(LOOK_EVERY);
        let passed = last.0.elapsed();
        if bar.is_hidden() || passed < REDRAW_EVERY {
            continue;
        }
        let ended = view.ended.load(Ordering::Relaxed);
        let rate = (ended - last.1) as f64 / passed.as_secs_f64();
        last = (Instant::now(), ended);
        draw(&bar, view, ended, rate);
    }
    bar.finish_and_clear();
}

fn draw(bar: &ProgressBar, view: &LiveView<'_>, ended: u64, rate: f64) {
    let mut message = format!("{rate:.0} operations/s");
    match view.timeline.latest() {
        None => message.push_str(", warming up"),
        Some(point) => {
            let ms = |us: u64| us as f64 / 1000.0;
            message.push_str(&format!(
                "  p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms in the last whole second",
                ms(point.p50_us),
                ms(point.p99_us),
                ms(point.max_us)
            ));
            if let Measured::For(_) = view.measured {
                bar.set_position(point.second + 1);
            }
        }
    }
    if let Measured::Operations(count) = view.measured {
        bar.set_position(ended.min(count));
    }
    bar.set_message(message);
}
