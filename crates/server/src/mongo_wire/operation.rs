//! The command that a connection runs, as others may see it. A connection runs one at a time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::control::Control;

/// One for each connection, used again for each command.
#[derive(Debug)]
pub(crate) struct Operation {
    /// What the command heeds; `None` if it has not come to anything that could be stopped.
    control: Mutex<Option<Arc<Control>>>,
    /// Serves the commands that open no cursor.
    own: Arc<Control>,
}

impl Operation {
    pub(crate) fn new() -> Self {
        Operation {
            control: Mutex::new(None),
            own: Control::new(),
        }
    }

    /// A command begins.
    pub(crate) fn begin(&self) {
        *self.control.lock() = None;
    }

    /// The command works under this control from here on.
    pub(crate) fn runs_under(&self, control: &Arc<Control>) {
        *self.control.lock() = Some(control.clone());
    }

    /// The control that the command works under, if it has come to one.
    pub(crate) fn control(&self) -> Option<Arc<Control>> {
        self.control.lock().clone()
    }

    /// The same, or one that ends with the command, within what is left of the command's time.
    pub(crate) fn control_within(&self, time_left: Option<Duration>) -> Arc<Control> {
        let mut control = self.control.lock();
        let control = control.get_or_insert_with(|| {
            self.own.serve_anew();
            self.own.limit(time_left);
            self.own.clone()
        });
        control.clone()
    }
}
