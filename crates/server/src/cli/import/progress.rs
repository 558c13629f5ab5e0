//! A progress bar over the bytes read, on a terminal only.

use std::io::{self, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Shared between the reader and the batcher.
#[derive(Clone)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Over `length` bytes, or a spinner when that is unknown. Draws on stderr, and nothing where that is no terminal.
    pub fn new(length: Option<u64>, quiet: bool) -> Self {
        let bar = match (quiet, length) {
            (true, _) => ProgressBar::hidden(),
            (false, Some(length)) => ProgressBar::new(length).with_style(style(
                "{bar:32} {percent:>3}%  {bytes}/{total_bytes}  {msg} documents  {elapsed}, {eta} left",
            )),
            (false, None) => ProgressBar::new_spinner().with_style(style("{spinner} {bytes}  {msg} documents  {elapsed}")),
        };
        bar.set_draw_target(if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        });
        bar.enable_steady_tick(REDRAW_EVERY);
        bar.set_message("0");
        Progress(bar)
    }

    /// So many more documents have been read.
    pub fn documents(&self, count: usize) {
        let so_far: u64 = self.0.message().parse().unwrap_or(0);
        self.0.set_message((so_far + count as u64).to_string());
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a fixed template")
}

/// A reader that moves the bar.
pub(super) struct Counted<R> {
    inner: R,
    progress: Progress,
}

impl<R: Read> Counted<R> {
    pub fn new(inner: R, progress: Progress) -> Self {
        Counted { inner, progress }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.0.inc(count as u64);
        Ok(count)
    }
}
