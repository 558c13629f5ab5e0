//! Clusters as sets of local processes: started, paused while another is measured, resumed and ended.

mod cstore;
mod etcd;
pub(crate) mod process;
mod stub;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::load::LoadError;
use process::Process;

pub(crate) use cstore::{start as start_cstore, start_members};
pub(crate) use etcd::start as start_etcd;
pub(crate) use stub::start as start_stub;

/// How long one question to a member may take.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a cluster may take to serve after a start or a pause.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_PERIOD: Duration = Duration::from_millis(20);
/// How long one member must have led before it is believed to stay: longer than a pause leaves elections hanging.
const STEADY_TIME: Duration = Duration::from_millis(600);

/// Members of each replicated system.
pub(crate) const MEMBERS: usize = 3;

/// Why a cluster is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("cannot start {program}: {source}; is it installed, or built?")]
    Start { program: String, source: io::Error },
    #[error("{name} ended; the end of its log {}:\n{tail}", log.display())]
    Ended {
        name: String,
        log: PathBuf,
        tail: String,
    },
    #[error("{system} does not serve after {READY_TIMEOUT:?}: {reason}")]
    NotReady {
        system: &'static str,
        reason: String,
    },
    #[error("preparing {path}: {source}", path = path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error("signalling {name}: {reason}")]
    Signal { name: String, reason: String },
}

/// Asks one member whether it leads, or sees whether it takes writes.
type Question = fn(SocketAddr) -> Result<bool, LoadError>;
type Probe = fn(SocketAddr) -> Result<(), LoadError>;

/// One system under measurement.
pub(crate) struct Cluster {
    pub system: &'static str,
    members: Vec<Process>,
    clients: Vec<SocketAddr>,
    leads: Question,
    probe: Probe,
}

impl Cluster {
    /// Stops all members where they are (SIGSTOP), so that they cost nothing while another system is measured, and lets
    /// the kernel write out what they have left in its cache.
    pub(crate) fn pause(&self) -> Result<(), ClusterError> {
        self.members.iter().try_for_each(Process::pause)?;
        rustix::fs::sync();
        Ok(())
    }

    /// Lets the members go on and waits until the cluster takes writes. Returns the leader's client address.
    pub(crate) fn resume(&mut self) -> Result<SocketAddr, ClusterError> {
        self.members.iter().try_for_each(Process::resume)?;
        self.wait_ready()
    }

    /// Waits for a leader that takes writes and keeps leading for a while.
    pub(crate) fn wait_ready(&mut self) -> Result<SocketAddr, ClusterError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut steady: Option<(SocketAddr, Instant)> = None;
        loop {
            self.check_alive()?;
            let reason = match self.leader() {
                Ok(leader) => {
                    let since = match steady {
                        Some((before, since)) if before == leader => since,
                        _ => Instant::now(),
                    };
                    steady = Some((leader, since));
                    match (self.probe)(leader) {
                        Ok(()) if since.elapsed() >= STEADY_TIME => return Ok(leader),
                        Ok(()) => "the leader is too new".to_owned(),
                        Err(error) => {
                            steady = None;
                            error.to_string()
                        }
                    }
                }
                Err(reason) => {
                    steady = None;
                    reason
                }
            };
            if Instant::now() >= deadline {
                return Err(ClusterError::NotReady {
                    system: self.system,
                    reason,
                });
            }
            std::thread::sleep(POLL_PERIOD);
        }
    }

    /// Where clients reach the members.
    pub(crate) fn clients(&self) -> &[SocketAddr] {
        &self.clients
    }

    /// Kills a member where it stands.
    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Stops a member with SIGTERM and waits until it has ended.
    pub(crate) fn stop(&mut self, member: usize) -> Result<(), ClusterError> {
        self.members[member].stop()
    }

    /// Starts a killed member again, on the data it has.
    pub(crate) fn start_again(&mut self, member: usize) -> Result<(), ClusterError> {
        self.members[member].start_again()
    }

    /// Processor seconds all members have used.
    pub(crate) fn processor_seconds(&self) -> f64 {
        self.members.iter().map(Process::processor_seconds).sum()
    }

    /// What each member takes of the machine's memory.
    pub(crate) fn resident_bytes(&self) -> Vec<u64> {
        self.members.iter().map(Process::resident_bytes).collect()
    }

    /// What a member printed so far.
    pub(crate) fn output(&self, member: usize) -> String {
        self.members[member].output()
    }

    fn leader(&self) -> Result<SocketAddr, String> {
        let mut reason = "no member says that it leads".to_owned();
        for client in &self.clients {
            match (self.leads)(*client) {
                Ok(true) => return Ok(*client),
                Ok(false) => {}
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    fn check_alive(&mut self) -> Result<(), ClusterError> {
        self.members.iter_mut().try_for_each(Process::check_alive)
    }
}

/// Polls until `done` says so; its errors count as "not yet".
fn wait_until(
    system: &'static str,
    members: &mut [Process],
    mut done: impl FnMut() -> Result<bool, LoadError>,
) -> Result<(), ClusterError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        members.iter_mut().try_for_each(Process::check_alive)?;
        let reason = match done() {
            Ok(true) => return Ok(()),
            Ok(false) => "its members are not all there".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(ClusterError::NotReady { system, reason });
        }
        std::thread::sleep(POLL_PERIOD);
    }
}

/// Loopback addresses that nobody else gets.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let address = |_| SocketAddr::from((Ipv4Addr::LOCALHOST, loopback_ports::reserve()));
    (0..count).map(address).collect()
}

/// The first line a program says of its version.
pub(crate) fn version(program: &Path) -> String {
    let said = Command::new(program).arg("--version").output();
    let said = said.map(|said| said.stdout).unwrap_or_default();
    let first = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(first).trim().to_owned()
}
