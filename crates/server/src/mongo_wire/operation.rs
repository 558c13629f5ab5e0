//! The commands that connections run, as others may see and stop them. A connection runs one at a time, so each has one
//! place, which is used again: a command costs a lock that is hardly ever waited for, and a copy of its first KiB.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bson::Document;
use parking_lot::Mutex;
use state_machine::query::PlanSummary;

use super::control::Control;
use super::excerpt::Excerpt;
use super::request::Request;

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct Operation {
    connection: i64,
    peer: SocketAddr,
    state: Mutex<State>,
    /// Serves the commands that open no cursor.
    own: Arc<Control>,
}

#[derive(Debug)]
struct State {
    /// `None` between two commands; what else is in here is then that of the last one.
    id: Option<i32>,
    name: &'static str,
    began: Instant,
    namespace: String,
    excerpt: Excerpt,
    /// What the command heeds; `None` if it has not come to anything that could be stopped.
    control: Option<Arc<Control>>,
    killed: bool,
}

/// A command under way; it has ended when this is dropped.
pub(crate) struct Running<'a>(&'a Operation);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.id = None;
        state.control = None;
    }
}

/// What is told of a connection.
pub(crate) struct Report {
    pub connection: i64,
    pub peer: SocketAddr,
    /// `None`: it waits for its client.
    pub command: Option<CommandReport>,
}

/// What is told of a command.
pub(crate) struct CommandReport {
    pub id: i32,
    pub name: &'static str,
    pub namespace: String,
    pub command: Document,
    pub running: Duration,
    pub plan: Option<PlanSummary>,
    pub killed: bool,
}

impl Operation {
    pub(crate) fn new(connection: i64, peer: SocketAddr) -> Self {
        Operation {
            connection,
            peer,
            state: Mutex::new(State {
                id: None,
                name: "",
                began: Instant::now(),
                namespace: String::new(),
                excerpt: Excerpt::default(),
                control: None,
                killed: false,
            }),
            own: Control::new(),
        }
    }

    /// A command begins.
    pub(crate) fn begin(&self, id: i32, name: &'static str, request: &Request<'_>) -> Running<'_> {
        let mut state = self.state.lock();
        state.id = Some(id);
        state.name = name;
        state.began = Instant::now();
        state.namespace.clear();
        write_namespace(request, &mut state.namespace);
        state.excerpt.take(request);
        state.control = None;
        state.killed = false;
        Running(self)
    }

    /// The command works under this control from here on.
    pub(crate) fn runs_under(&self, control: &Arc<Control>) {
        let mut state = self.state.lock();
        if state.killed {
            control.kill();
        }
        state.control = Some(control.clone());
    }

    /// The control that the command works under, if it has come to one.
    pub(crate) fn control(&self) -> Option<Arc<Control>> {
        self.state.lock().control.clone()
    }

    /// The same, or one that ends with the command, within what is left of the command's time.
    pub(crate) fn control_within(&self, time_left: Option<Duration>) -> Arc<Control> {
        let mut state = self.state.lock();
        if let Some(control) = &state.control {
            return control.clone();
        }
        self.own.serve_anew();
        self.own.limit(time_left);
        if state.killed {
            self.own.kill();
        }
        state.control = Some(self.own.clone());
        self.own.clone()
    }

    /// Whether `killOp` named the command.
    pub(crate) fn is_killed(&self) -> bool {
        self.state.lock().killed
    }

    fn report(&self) -> Report {
        let state = self.state.lock();
        let command = state.id.map(|id| CommandReport {
            id,
            name: state.name,
            namespace: state.namespace.clone(),
            command: state.excerpt.document(),
            running: state.began.elapsed(),
            plan: state.control.as_ref().and_then(|control| control.plan()),
            killed: state.killed,
        });
        Report {
            connection: self.connection,
            peer: self.peer,
            command,
        }
    }

    fn kill(&self, id: i32) {
        let mut state = self.state.lock();
        if state.id == Some(id) {
            state.killed = true;
            if let Some(control) = &state.control {
                control.kill();
            }
        }
    }
}

/// All connections' places.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    places: Mutex<BTreeMap<i64, Arc<Operation>>>,
    issued: AtomicU64,
}

impl Operations {
    /// A place for a new connection.
    pub(crate) fn open(&self, connection: i64, peer: SocketAddr) -> Arc<Operation> {
        let operation = Arc::new(Operation::new(connection, peer));
        self.places.lock().insert(connection, operation.clone());
        operation
    }

    /// The connection has ended.
    pub(crate) fn close(&self, connection: i64) {
        self.places.lock().remove(&connection);
    }

    /// The number of the next command: from 1 on, and from there again after the largest int.
    pub(crate) fn next_id(&self) -> i32 {
        const IDS: u64 = i32::MAX as u64;
        (self.issued.fetch_add(1, Ordering::Relaxed) % IDS) as i32 + 1
    }

    /// What every connection does, in the order in which they came.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let places: Vec<Arc<Operation>> = self.places.lock().values().cloned().collect();
        places.iter().map(|place| place.report()).collect()
    }

    /// Stops the command of this number, if it is still under way, as soon as it asks.
    pub(crate) fn kill(&self, id: i32) {
        let places: Vec<Arc<Operation>> = self.places.lock().values().cloned().collect();
        for place in places {
            place.kill(id);
        }
    }
}

/// What a command is about: its collection, or the database's commands.
pub(crate) fn write_namespace(request: &Request<'_>, namespace: &mut String) {
    let collection = match request.name {
        "getMore" => request.string("collection").ok().flatten(),
        _ => request.target.as_str(),
    };
    let collection = collection.unwrap_or(match request.name {
        "aggregate" => "$cmd.aggregate",
        _ => "$cmd",
    });
    namespace.push_str(request.database);
    namespace.push('.');
    namespace.push_str(collection);
}
