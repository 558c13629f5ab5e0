//! The program under test: a real `cstore serve`, with files and memtables so small that everything happens often.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::connection::Connection;

/// How long a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It was killed, as it was to be.
    #[error("the server was killed during its start")]
    Killed,
    /// It ended by itself.
    #[error("the server does not start again: it ended with {status}, and said:\n{said}")]
    Ended {
        /// How it ended.
        status: String,
        /// What it printed.
        said: String,
    },
    /// It runs and does not serve.
    #[error("the server does not take writes after {START_TIMEOUT:?}; it said:\n{said}")]
    Stuck {
        /// What it printed.
        said: String,
    },
    /// The harness could not do its part.
    #[error("cannot run the server: {0}")]
    Io(#[from] std::io::Error),
}

/// Where one server listens and what it is told; the same through all its lives.
#[derive(Clone, Debug)]
pub struct Setup {
    program: PathBuf,
    ports: [u16; 3],
    log: PathBuf,
    arguments: Vec<String>,
}

/// The program under test, built by cargo in the profile of this program or test.
pub fn program() -> PathBuf {
    let mut directory = std::env::current_exe().expect("a program has a path");
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    let target = directory
        .parent()
        .expect("the profile's directory has a parent");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--package", "server", "--bin", "cstore"]);
    build.arg("--target-dir").arg(target);
    if directory.ends_with("release") {
        build.arg("--release");
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(
        build.status().expect("cargo runs").success(),
        "cstore builds"
    );
    directory.join("cstore")
}

impl Setup {
    /// A server that writes what it says to `log`. It keeps its ports when it starts again.
    pub fn new(program: &Path, log: PathBuf) -> Setup {
        let small = "--memtable-kib 64 --log-segment-kib 64 --log-retained-entries 30 --election-timeout-ms 40 --heartbeat-ms 10 \
                     --worker-threads 1 --cache-mib 4";
        Setup {
            program: program.to_owned(),
            ports: std::array::from_fn(|_| loopback_ports::reserve()),
            log,
            arguments: small.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// Adds an argument.
    pub fn with(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Where clients connect.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Where other members connect.
    pub fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// The command that starts it on a data directory.
    pub fn command(&self, data_dir: &Path) -> std::io::Result<Command> {
        let log = File::create(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--data-dir").arg(data_dir);
        let flags = ["--listen", "--peer-listen", "--admin-listen"];
        for (flag, port) in flags.iter().zip(self.ports) {
            command.arg(flag).arg(format!("127.0.0.1:{port}"));
        }
        command.args(&self.arguments).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// What the last server printed.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the server answers and `ready` is content with it. `killed`: whether its end was brought about.
    pub fn wait_until(
        &self,
        child: &mut Child,
        killed: impl Fn() -> bool,
        mut ready: impl FnMut(&mut Connection) -> bool,
    ) -> Result<Connection, ServerError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut connection = None;
        loop {
            if killed() {
                return Err(ServerError::Killed);
            }
            if connection.is_none() {
                connection = Connection::open(&self.address()).ok();
            }
            if let Some(mut open) = connection.take()
                && open.run("admin", &bson::doc! { "ping": 1 }).is_ok()
            {
                if ready(&mut open) {
                    return Ok(open);
                }
                connection = Some(open);
            }
            if let Some(status) = child.try_wait()? {
                return Err(match killed() {
                    true => ServerError::Killed,
                    false => ServerError::Ended {
                        status: status.to_string(),
                        said: self.said(),
                    },
                });
            }
            if Instant::now() > deadline {
                let said = self.said();
                return Err(ServerError::Stuck { said });
            }
            std::thread::sleep(POLL);
        }
    }
}
