//! The progress bar of backups and restores: bytes, documents and time, on a terminal only.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Draws on stderr, and nothing where that is no terminal.
pub(super) struct TransferProgress(ProgressBar);

impl TransferProgress {
    /// Over `total` bytes, which may be an estimate; a spinner when it is unknown.
    pub fn new(total: Option<u64>, quiet: bool) -> Self {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:32} {percent:>3}%  {bytes}/{total_bytes}  {msg}  {elapsed}, {eta} left",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{spinner} {bytes}  {msg}  {elapsed}",
            ),
        };
        let style = ProgressStyle::with_template(template).expect("a fixed template");
        bar.set_style(style);
        bar.set_draw_target(match quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        });
        bar.enable_steady_tick(REDRAW_EVERY);
        TransferProgress(bar)
    }

    /// So far.
    pub fn at(&self, bytes: u64, documents: u64) {
        self.0.set_position(bytes);
        self.say(&format!("{} documents", HumanCount(documents)));
    }

    /// What is being done.
    pub fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
