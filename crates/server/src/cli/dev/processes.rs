//! The child processes of `cstore dev`: start, watch, stop.
//!
//! Each child is in a process group of its own, so that Ctrl-C reaches only `dev`, which then stops the children in order.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::CliError;

/// A node that has not stopped by itself after this long is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of a dead node's log that are shown.
const LAST_WORDS_LINES: usize = 8;

/// Tells a child that it is one.
const STOP_WITH_PARENT: &str = "CSTORE_STOP_WITH_PARENT";

/// In a child of `dev`: asks the system to end this process when `dev` ends, even if that is killed.
pub(crate) fn stop_with_parent() {
    #[cfg(target_os = "linux")]
    if std::env::var_os(STOP_WITH_PARENT).is_some() {
        // Where the system cannot, the node lives on as any other does.
        let _ =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    }
}

/// What a node is started with.
pub(super) struct Plan {
    pub number: u16,
    pub executable: PathBuf,
    pub directory: PathBuf,
    pub log: PathBuf,
    pub client_port: u16,
    pub peer_port: u16,
    pub admin_port: u16,
    pub join: Vec<String>,
    pub further_flags: Vec<String>,
}

impl Plan {
    pub fn client(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }

    fn command(&self) -> io::Result<Command> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = Command::new(&self.executable);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(&self.directory)
            .args(["--listen", &self.client()])
            .args(["--peer-listen", &format!("127.0.0.1:{}", self.peer_port)])
            .args(["--admin-listen", &self.admin()])
            .args(&self.further_flags)
            .env(STOP_WITH_PARENT, "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        // A new one asks the founder alone: others that are being admitted themselves take its connection and cannot answer.
        let known = self.directory.join("identity").exists();
        let join = if known {
            &self.join[..]
        } else {
            self.join.get(..1).unwrap_or_default()
        };
        if !join.is_empty() {
            command.arg("--join").arg(join.join(","));
        }
        Ok(command)
    }
}

/// One node's process, while it lives.
pub(super) struct Node {
    pub plan: Plan,
    child: Option<Child>,
}

impl Node {
    pub fn start(plan: Plan) -> Result<Node, CliError> {
        let mut node = Node { plan, child: None };
        node.start_again()?;
        Ok(node)
    }

    pub fn start_again(&mut self) -> Result<(), CliError> {
        let started = self.plan.command().and_then(|mut command| command.spawn());
        let child = started.map_err(|error| {
            CliError::Failed(format!(
                "node {} cannot be started: {error}",
                self.plan.number
            ))
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// The process's id; 0 when it has died.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Says once that, and how, the process has died.
    pub fn has_died(&mut self) -> Result<Option<String>, CliError> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let pid = child.id();
        let status = child
            .try_wait()
            .map_err(|error| CliError::Failed(format!("cannot watch pid {pid}: {error}")))?;
        Ok(status.map(|status| {
            self.child = None;
            let log = self.plan.log.display();
            format!(
                "node {} (pid {pid}) has died: {status}; its log is {log}",
                self.plan.number
            )
        }))
    }

    /// The end of the node's log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read(&self.plan.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join("\n")
    }

    fn signal_stop(&self) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // A process that is gone already needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for Node {
    /// Whatever happens to `dev`, no node outlives it unnoticed.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks all nodes to stop and waits for them; those that do not are killed.
pub(super) async fn stop_all(nodes: &mut [Node]) {
    for node in nodes.iter() {
        node.signal_stop();
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        let alive = nodes.iter_mut().filter(|node| node.child.is_some());
        let waiting = alive
            .filter_map(|node| node.has_died().ok())
            .filter(Option::is_none)
            .count();
        if waiting == 0 {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    kill_all(nodes);
}

/// Ends what still runs.
pub(super) fn kill_all(nodes: &mut [Node]) {
    for node in nodes {
        if let Some(mut child) = node.child.take() {
            eprintln!(
                "node {} did not stop in time and is killed",
                node.plan.number
            );
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
