//! A cluster of real `cstore` processes on this machine, to be killed, paused and started again by tests.
//!
//! Every member has its own directory, ports and process. What they print goes into a file beside their data, whose path a
//! failing test names.
#![forbid(unsafe_code)]

pub mod load;
pub mod network;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use network::Network;

/// How long anything that should happen soon may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ports of members that have a machine to themselves.
const CLIENT_PORT: u16 = 27017;
const PEER_PORT: u16 = 37017;
const ADMIN_PORT: u16 = 28017;
/// What a member of a whole cluster may lack: writes go on while it is asked.
const LAG_ENTRIES_MAX: i64 = 100;

/// The program under test, built by cargo in the profile of this test.
pub fn cstore() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut directory = std::env::current_exe().expect("a test has a path");
        directory.pop();
        if directory.ends_with("deps") {
            directory.pop();
        }
        let release = directory.ends_with("release");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "server", "--bin", "cstore"]);
        build.arg("--target-dir").arg(
            directory
                .parent()
                .expect("the profile's directory has a parent"),
        );
        if release {
            build.arg("--release");
        }
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(
            build.status().expect("cargo runs").success(),
            "cstore builds"
        );
        directory.join("cstore")
    })
}

/// One member's process and how to start it again.
struct Member {
    /// The network namespace it runs in; none: the test's own.
    namespace: Option<String>,
    listen: String,
    peer_listen: String,
    admin_listen: String,
    data_dir: PathBuf,
    join: Option<String>,
    /// Further arguments of this member alone.
    arguments: Vec<String>,
    process: Option<Child>,
}

/// Members of one cluster; all are killed when it is dropped.
pub struct Cluster {
    members: Vec<Member>,
    arguments: Vec<String>,
    directory: TempDir,
}

/// Whether every thread of a process is in the state "stopped" (`man 5 proc`, `stat`).
fn all_threads_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    threads.flatten().all(|thread| {
        // A thread that ended meanwhile does nothing any more either.
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_none_or(|rest| rest.trim_start().starts_with('T') || rest.is_empty())
    })
}

impl Cluster {
    /// Starts `count` members and waits until all of them vote.
    pub async fn start(count: usize) -> Cluster {
        Self::start_with(count, &[]).await
    }

    /// Starts `count` members with further arguments to `cstore serve`.
    pub async fn start_with(count: usize, arguments: &[&str]) -> Cluster {
        Self::start_prepared(count, arguments, |_, _| {}).await
    }

    /// The same; `prepare` is told each member's number and its data directory, which is not there yet.
    pub async fn start_prepared(
        count: usize,
        arguments: &[&str],
        prepare: impl Fn(usize, &Path),
    ) -> Cluster {
        let first = loopback_ports::reserve_address();
        let members = (0..count).map(|k| Member {
            namespace: None,
            listen: loopback_ports::reserve_address(),
            peer_listen: match k {
                0 => first.clone(),
                _ => loopback_ports::reserve_address(),
            },
            admin_listen: loopback_ports::reserve_address(),
            data_dir: PathBuf::new(),
            join: (k > 0).then(|| first.clone()),
            arguments: Vec::new(),
            process: None,
        });
        let mut cluster = Self::new(members.collect(), arguments);
        for member in 0..count {
            prepare(member, cluster.data_dir(member));
        }
        cluster.start_all().await;
        cluster
    }

    /// Starts one member on each of the first `count` machines of `network`. With `peer_port` the members dial each other on
    /// that port, where something of the test's must listen. The calling thread must be on one of the machines.
    pub async fn start_on(network: &Network, count: usize, peer_port: Option<u16>) -> Cluster {
        let at = |machine: usize, port: u16| format!("{}:{port}", network.address(machine));
        let dialled = peer_port.unwrap_or(PEER_PORT);
        let members = (0..count).map(|k| Member {
            namespace: Some(network.namespace(k)),
            listen: at(k, CLIENT_PORT),
            peer_listen: at(k, PEER_PORT),
            admin_listen: at(k, ADMIN_PORT),
            data_dir: PathBuf::new(),
            join: (k > 0).then(|| at(0, dialled)),
            arguments: vec!["--peer-advertise".to_owned(), at(k, dialled)],
            process: None,
        });
        let mut cluster = Self::new(members.collect(), &["--insecure"]);
        cluster.start_all().await;
        cluster
    }

    fn new(mut members: Vec<Member>, arguments: &[&str]) -> Cluster {
        let parent = cstore().parent().expect("the program is in a directory");
        let directory = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir_in(parent)
            .expect("writable target directory");
        for (number, member) in members.iter_mut().enumerate() {
            member.data_dir = directory.path().join(format!("node-{number}"));
        }
        let arguments = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        Cluster {
            members,
            arguments,
            directory,
        }
    }

    async fn start_all(&mut self) {
        for member in 0..self.size() {
            self.start_member(member);
        }
        self.wait_for_voters(self.size()).await;
    }

    /// Starts one more process, on an empty directory, that asks the running members to admit it. Returns its number.
    pub fn add_member(&mut self) -> usize {
        let number = self.size();
        let running = self.members.iter().filter(|it| it.process.is_some());
        let contacts: Vec<&str> = running.map(|it| &*it.peer_listen).collect();
        let join = Some(contacts.join(","));
        self.members.push(Member {
            namespace: None,
            listen: loopback_ports::reserve_address(),
            peer_listen: loopback_ports::reserve_address(),
            admin_listen: loopback_ports::reserve_address(),
            data_dir: self.directory.path().join(format!("node-{number}")),
            join,
            arguments: Vec::new(),
            process: None,
        });
        self.start_member(number);
        number
    }

    /// Whether a member's process, once started, has not ended by itself.
    pub fn is_running(&mut self, member: usize) -> bool {
        let Some(process) = self.members[member].process.as_mut() else {
            return false;
        };
        let running = process.try_wait().expect("it can be waited for").is_none();
        if !running {
            self.members[member].process = None;
        }
        running
    }

    /// Waits until a member's process ends by itself.
    pub async fn wait_for_end(&mut self, member: usize) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let process = self.members[member].process.as_mut();
            let process = process.expect("the member runs");
            if let Some(status) = process.try_wait().expect("it can be waited for") {
                self.members[member].process = None;
                return status;
            }
            self.pause_before_asking_again(deadline, "a process does not end")
                .await;
        }
    }

    /// Runs `cstore` with these arguments and the cluster's connection string.
    pub async fn run_cstore(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(cstore());
        command.args(arguments).arg("--uri").arg(self.uri());
        command.stdin(Stdio::null());
        let running = tokio::task::spawn_blocking(move || command.output());
        let output = running.await.expect("nothing panics there");
        output.expect("cstore runs")
    }

    /// Runs `cstore`, which must succeed, and returns what it prints.
    pub async fn cstore(&self, arguments: &[&str]) -> String {
        let output = self.run_cstore(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text
    }

    /// Runs `cstore`, which must fail, and returns what it says.
    pub async fn cstore_refuses(&self, arguments: &[&str]) -> String {
        let output = self.run_cstore(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{arguments:?}: {text}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Members, running or not.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Where `member` takes drivers.
    pub fn listen(&self, member: usize) -> &str {
        &self.members[member].listen
    }

    /// Where `member` takes other members.
    pub fn peer_listen(&self, member: usize) -> &str {
        &self.members[member].peer_listen
    }

    /// Members whose process was started and not ended.
    pub fn running(&self) -> Vec<usize> {
        (0..self.size())
            .filter(|member| self.members[*member].process.is_some())
            .collect()
    }

    /// Where `member` keeps its data.
    pub fn data_dir(&self, member: usize) -> &Path {
        &self.members[member].data_dir
    }

    /// What a user would give a driver.
    pub fn uri(&self) -> String {
        let hosts: Vec<&str> = self
            .members
            .iter()
            .map(|member| member.listen.as_str())
            .collect();
        format!("mongodb://{}/?replicaSet=cstore", hosts.join(","))
    }

    /// A driver on the whole cluster, with its default settings.
    pub async fn client(&self) -> Client {
        Client::with_uri_str(self.uri())
            .await
            .expect("the connection string is right")
    }

    /// A driver on one member alone.
    pub async fn direct(&self, member: usize) -> Client {
        let address = ServerAddress::parse(&self.members[member].listen).expect("an address");
        let mut options = ClientOptions::builder()
            .hosts(vec![address])
            .direct_connection(true)
            .build();
        options.server_selection_timeout = Some(Duration::from_secs(5));
        Client::with_options(options).expect("the options are right")
    }

    /// Starts a member's process, which must not run.
    pub fn start_member(&mut self, member: usize) {
        let log = self.directory.path().join(format!("node-{member}.log"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("writable");
        let member = &mut self.members[member];
        assert!(member.process.is_none(), "it runs already");
        let mut command = match &member.namespace {
            None => Command::new(cstore()),
            Some(namespace) => network::command_in(namespace, cstore()),
        };
        command.arg("serve").arg("--data-dir").arg(&member.data_dir);
        command.args([
            "--listen",
            &member.listen,
            "--peer-listen",
            &member.peer_listen,
        ]);
        command.args(["--admin-listen", &member.admin_listen]);
        if let Some(address) = &member.join {
            command.args(["--join", address]);
        }
        command.args(&member.arguments).args(&self.arguments);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        member.process = Some(command.spawn().expect("cstore starts"));
    }

    fn pid(&self, member: usize) -> Pid {
        Pid::from_child(
            self.members[member]
                .process
                .as_ref()
                .expect("the member runs"),
        )
    }

    /// The process id of a running member.
    pub fn process_id(&self, member: usize) -> u32 {
        self.members[member]
            .process
            .as_ref()
            .expect("the member runs")
            .id()
    }

    fn signal(&self, member: usize, signal: Signal) {
        kill_process(self.pid(member), signal).expect("it can be signalled");
    }

    /// SIGKILL, without waiting for the end ([`Cluster::wait_for_exit`]).
    pub fn signal_kill(&self, member: usize) {
        self.signal(member, Signal::KILL);
    }

    /// SIGTERM, without waiting for the end ([`Cluster::wait_for_exit`]).
    pub fn signal_terminate(&self, member: usize) {
        self.signal(member, Signal::TERM);
    }

    /// Waits for the end of a process and returns whether it was a success.
    pub fn wait_for_exit(&mut self, member: usize) -> bool {
        let mut process = self.members[member]
            .process
            .take()
            .expect("the member runs");
        process.wait().expect("it can be waited for").success()
    }

    /// SIGKILL; waits for the end.
    pub fn kill(&mut self, member: usize) {
        self.signal_kill(member);
        self.wait_for_exit(member);
    }

    /// SIGTERM; waits for the end and returns whether it was a success.
    pub fn stop(&mut self, member: usize) -> bool {
        self.signal_terminate(member);
        self.wait_for_exit(member)
    }

    /// SIGSTOP; returns once every thread stands still. The signal is taken by one thread, when it is next scheduled, and
    /// only then stops the others: until then they go on answering.
    pub fn pause(&self, member: usize) {
        self.signal(member, Signal::STOP);
        let deadline = Instant::now() + PATIENCE;
        while !all_threads_stopped(self.process_id(member)) {
            assert!(Instant::now() < deadline, "the process does not stop");
            std::thread::yield_now();
        }
    }

    /// SIGCONT.
    pub fn resume(&self, member: usize) {
        self.signal(member, Signal::CONT);
    }

    /// What a member printed.
    pub fn log(&self, member: usize) -> String {
        let path = self.directory.path().join(format!("node-{member}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// The member that takes writes; waits for one.
    pub async fn leader(&self) -> usize {
        self.leader_among(&self.running()).await
    }

    /// The one of these members that takes writes; waits for one.
    pub async fn leader_among(&self, members: &[usize]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for member in members {
                if let Ok(hello) = self.command(*member, doc! { "hello": 1 }).await
                    && hello.get_bool("isWritablePrimary").unwrap_or(false)
                {
                    return *member;
                }
            }
            self.pause_before_asking_again(deadline, "nobody leads")
                .await;
        }
    }

    /// Runs a command on one member's `admin` database.
    pub async fn command(
        &self,
        member: usize,
        command: Document,
    ) -> mongodb::error::Result<Document> {
        self.direct(member)
            .await
            .database("admin")
            .run_command(command)
            .await
    }

    /// Waits until `count` members vote.
    pub async fn wait_for_voters(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for member in self.running() {
                let Ok(status) = self.command(member, doc! { "cstoreStatus": 1 }).await else {
                    continue;
                };
                let members = status.get_array("members").cloned().unwrap_or_default();
                let votes = |member: &bson::Bson| {
                    member
                        .as_document()
                        .is_some_and(|member| member.get_bool("voter").unwrap_or(false))
                };
                if members.iter().filter(|member| votes(member)).count() == count {
                    return;
                }
            }
            self.pause_before_asking_again(deadline, "the members do not all vote")
                .await;
        }
    }

    /// Waits until every member is a voter that is reached and lacks nearly nothing, and one of them leads.
    pub async fn wait_until_whole(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader().await;
            if let Ok(status) = self.command(leader, doc! { "cstoreStatus": 1 }).await
                && self.is_whole(&status)
            {
                return;
            }
            self.pause_before_asking_again(deadline, "the cluster is not whole")
                .await;
        }
    }

    fn is_whole(&self, status: &Document) -> bool {
        let Ok(members) = status.get_array("members") else {
            return false;
        };
        let well = members
            .iter()
            .filter_map(bson::Bson::as_document)
            .filter(|member| {
                let lag = member.get_i64("lag_entries");
                member.get_bool("voter").unwrap_or(false)
                    && lag.is_ok_and(|lag| lag <= LAG_ENTRIES_MAX)
            });
        well.count() == self.size()
    }

    /// Hashes of every collection on every running member, at one index that all of them have applied.
    pub async fn hashes(&self) -> Vec<bson::Array> {
        let leader = self.leader().await;
        let deadline = Instant::now() + PATIENCE;
        let first = self
            .command(leader, doc! { "cstoreHash": 1 })
            .await
            .expect("the leader hashes its collections");
        let index = first.get_i64("index").expect("the hash names its index");
        let mut hashes = Vec::new();
        for member in self.running() {
            loop {
                match self
                    .command(member, doc! { "cstoreHash": 1, "atIndex": index })
                    .await
                {
                    Ok(reply) => {
                        hashes.push(
                            reply
                                .get_array("collections")
                                .expect("the collections' hashes")
                                .clone(),
                        );
                        break;
                    }
                    Err(error) => {
                        self.pause_before_asking_again(deadline, &error.to_string())
                            .await
                    }
                }
            }
        }
        hashes
    }

    async fn pause_before_asking_again(&self, deadline: Instant, what: &str) {
        if Instant::now() > deadline {
            for member in 0..self.size() {
                eprintln!("--- node {member}:\n{}", self.log(member));
            }
            panic!("{what}, {PATIENCE:?} long");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut process) = member.process.take() {
                // It may have ended by itself.
                process.kill().ok();
                process.wait().ok();
            }
        }
    }
}
