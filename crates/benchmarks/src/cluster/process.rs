//! One process of a cluster: its log, its processor time, its signals. It is killed when dropped, and when the program is
//! interrupted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};

use super::ClusterError;

/// Units of /proc/PID/stat: USER_HZ, 100 on every Linux that Rust builds for.
const TICKS_PER_SECOND: f64 = 100.0;
const TAIL_BYTES: usize = 2_000;

/// Processes to kill when the program is interrupted.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A child process.
pub(crate) struct Process {
    name: String,
    /// Spawned again by a restart.
    command: Command,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `directory/name.log`.
    pub(super) fn start(
        mut command: Command,
        name: String,
        directory: &Path,
    ) -> Result<Self, ClusterError> {
        let log = directory.join(format!("{name}.log"));
        let prepare = |source| ClusterError::Prepare {
            path: log.clone(),
            source,
        };
        let output = File::create(&log).map_err(prepare)?;
        let errors = output.try_clone().map_err(prepare)?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = spawn(&mut command)?;
        Ok(Process {
            name,
            command,
            child,
            log,
        })
    }

    /// Kills it where it stands.
    pub(super) fn kill(&mut self) {
        let pid = Pid::from_child(&self.child);
        running().retain(|running| *running != pid);
        // SIGKILL ends a paused process too; one that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(&mut self) -> Result<(), ClusterError> {
        self.signal(Signal::TERM)?;
        let pid = Pid::from_child(&self.child);
        let _ = self.child.wait();
        running().retain(|running| *running != pid);
        Ok(())
    }

    /// Starts it again as it was started; to be called once it has ended.
    pub(super) fn start_again(&mut self) -> Result<(), ClusterError> {
        self.child = spawn(&mut self.command)?;
        Ok(())
    }

    pub(super) fn pause(&self) -> Result<(), ClusterError> {
        self.signal(Signal::STOP)
    }

    pub(super) fn resume(&self) -> Result<(), ClusterError> {
        self.signal(Signal::CONT)
    }

    pub(super) fn check_alive(&mut self) -> Result<(), ClusterError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(ClusterError::Ended {
                name: self.name.clone(),
                log: self.log.clone(),
                tail: self.tail(),
            }),
        }
    }

    pub(super) fn processor_seconds(&self) -> f64 {
        processor_seconds(&self.child.id().to_string())
    }

    /// What it takes of the machine's memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        resident_of(&fs::read_to_string(path).unwrap_or_default()).unwrap_or(0)
    }

    /// What it printed so far.
    pub(super) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(TAIL_BYTES);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    fn signal(&self, signal: Signal) -> Result<(), ClusterError> {
        kill_process(Pid::from_child(&self.child), signal).map_err(|error| ClusterError::Signal {
            name: self.name.clone(),
            reason: error.to_string(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(command: &mut Command) -> Result<Child, ClusterError> {
    let child = command.spawn().map_err(|source| ClusterError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    running().push(Pid::from_child(&child));
    Ok(child)
}

/// Kills every process still running: for interrupts, when nothing is dropped.
pub(crate) fn kill_all() {
    for pid in running().drain(..) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Processor seconds this program has used.
pub(crate) fn own_processor_seconds() -> f64 {
    processor_seconds("self")
}

fn processor_seconds(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    parse_processor_seconds(&text).unwrap_or(0.0)
}

/// Resident bytes out of `/proc/PID/status`.
fn resident_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim();
    kib.parse::<u64>().ok().map(|kib| kib << 10)
}

/// User and system time out of a `stat` line; the name in it may hold anything, so fields count from its last bracket.
fn parse_processor_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn running() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    RUNNING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_process_name() {
        let stat = "7 (a) b) 1) S 1 7 7 0 -1 4194304 10 0 0 0 150 50 9 9 20 0 1 0 100 1000";
        assert_eq!(parse_processor_seconds(stat), Some(2.0));
        assert_eq!(parse_processor_seconds(""), None);
    }

    #[test]
    fn resident_memory_is_read_from_the_status() {
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t  12 kB\n"), Some(12 << 10));
        assert_eq!(resident_of(""), None);
    }

    #[test]
    fn a_process_that_ended_is_reported_with_its_log() {
        let directory = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason"]);
        let mut process = Process::start(command, "short".to_owned(), &directory).unwrap();
        process.child.wait().unwrap();
        let ended = process.check_alive().unwrap_err().to_string();
        assert!(
            ended.contains("short") && ended.contains("the reason"),
            "{ended}"
        );
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_paused_process_is_killed_too() {
        let directory = std::env::temp_dir().join(format!("compare-paused-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let process = Process::start(command, "long".to_owned(), &directory).unwrap();
        process.pause().unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", process.child.id()));
        drop(process);
        assert!(!stat.exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
