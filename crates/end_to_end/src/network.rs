//! A network of a test's own: machines are network namespaces, each with one cable (veth) to a switch (bridge) in one more.
//!
//! Promises: nothing of it touches the machine's own network; names are unique per process, and all is taken down when it is
//! dropped. What a process that was killed left behind, the next one removes.
//!
//! Assumes: Linux, root, and iproute2; [`Network::make`] says which is missing. Packet loss needs a queueing discipline that can
//! drop (netem, or htb with a classifier), delay needs netem: [`Network::impair`] says what this kernel has.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PREFIX: &str = "cstore-test-";
const SWITCH: &str = "switch";
static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// Machines `0..machines`, all connected.
pub struct Network {
    prefix: String,
    machines: usize,
}

/// Leads onto a machine.
pub struct Door(File);

impl Door {
    /// Moves the calling thread onto the machine: its sockets, and those of threads it starts, are that machine's.
    pub fn enter(&self) -> std::io::Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }
}

/// What [`Network::impair`] could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Impaired {
    /// Packets are lost.
    pub loses: bool,
    /// Packets are late.
    pub delays: bool,
}

impl Network {
    /// Sets up the machines and their cables; otherwise why this machine cannot.
    pub fn make(machines: usize) -> Result<Network, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        remove_leftovers()?;
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}-", std::process::id());
        // From here on a failure takes down what is already there.
        let network = Network { prefix, machines };
        network.build()?;
        Ok(network)
    }

    fn build(&self) -> Result<(), String> {
        let switch = self.switch();
        run("ip", &["netns", "add", &switch])?;
        self.at_switch("link add name hub0 type bridge")?;
        self.at_switch("link set hub0 up")?;
        for machine in 0..self.machines {
            let (namespace, port) = (self.namespace(machine), port(machine));
            run("ip", &["netns", "add", &namespace])?;
            let pair = format!("link add {port} type veth peer name eth0 netns {namespace}");
            self.at_switch(&pair)?;
            self.at_switch(&format!("link set {port} master hub0 up"))?;
            self.at_machine(machine, "link set lo up")?;
            self.at_machine(machine, "link set eth0 up")?;
            let address = format!("addr add {}/24 dev eth0", self.address(machine));
            self.at_machine(machine, &address)?;
            // The first rule would deliver what comes for this machine before any other could stop it.
            self.at_machine(machine, "rule add pref 10 lookup local")?;
            self.at_machine(machine, "rule del pref 0")?;
        }
        Ok(())
    }

    /// A machine's namespace.
    pub fn namespace(&self, machine: usize) -> String {
        assert!(machine < self.machines, "there is no machine {machine}");
        format!("{}{machine}", self.prefix)
    }

    fn switch(&self) -> String {
        format!("{}{SWITCH}", self.prefix)
    }

    /// A machine's address.
    pub fn address(&self, machine: usize) -> String {
        format!("10.77.0.{}", machine + 1)
    }

    /// The way onto a machine, for threads to come.
    pub fn door(&self, machine: usize) -> std::io::Result<Door> {
        File::open(Path::new("/run/netns").join(self.namespace(machine))).map(Door)
    }

    /// Takes a machine's cable out. Nobody is told: packets vanish.
    pub fn unplug(&self, machine: usize) {
        self.must(self.at_switch(&format!("link set {} down", port(machine))));
    }

    /// Puts the cable back in.
    pub fn plug(&self, machine: usize) {
        self.must(self.at_switch(&format!("link set {} up", port(machine))));
    }

    /// Nothing from `from` is heard on `to` any more; the other direction works.
    pub fn block(&self, from: usize, to: usize) {
        let rule = format!("rule add pref 5 from {} blackhole", self.address(from));
        self.must(self.at_machine(to, &rule));
    }

    /// Undoes [`Network::block`].
    pub fn unblock(&self, from: usize, to: usize) {
        let rule = format!("rule del pref 5 from {} blackhole", self.address(from));
        self.must(self.at_machine(to, &rule));
    }

    /// From now on a share of the packets to each machine is lost, and the others are late, as far as this kernel can.
    pub fn impair(&self, loss_percent: u32, delay: Duration, jitter: Duration) -> Impaired {
        assert!(loss_percent < 100, "a share of all packets");
        let (delay, jitter) = (delay.as_millis(), jitter.as_millis());
        let netem = format!("netem delay {delay}ms {jitter}ms loss {loss_percent}%");
        let ports = || (0..self.machines).map(port);
        let by_netem = |port: String| self.shape(&format!("qdisc add dev {port} root {netem}"));
        if ports().try_for_each(by_netem).is_ok() {
            return Impaired {
                loses: true,
                delays: true,
            };
        }
        Impaired {
            loses: ports()
                .try_for_each(|port| self.lose(&port, loss_percent))
                .is_ok(),
            delays: false,
        }
    }

    /// Sends a share of the packets into a class whose queue has room for none.
    fn lose(&self, port: &str, percent: u32) -> Result<(), String> {
        const LOST_CLASS: u32 = 0x1_0002;
        const RANDOM: u32 = 0xffff_f000 + 56;
        let kept = u64::from(100 - percent) << 32;
        let kept = kept / 100;
        self.shape(&format!(
            "qdisc add dev {port} root handle 1: htb default 1 r2q 10000"
        ))?;
        for class in ["1:1", "1:2"] {
            self.shape(&format!(
                "class add dev {port} parent 1: classid {class} htb rate 10gbit"
            ))?;
        }
        self.shape(&format!(
            "qdisc add dev {port} parent 1:2 handle 20: bfifo limit 1"
        ))?;
        // Load a random number; below the share that is kept: no class; else the class that loses.
        let program = format!("4,32 0 0 {RANDOM},53 0 1 {kept},6 0 0 {LOST_CLASS},6 0 0 0");
        let switch = self.switch();
        let filter = ["-n", &switch, "filter", "add", "dev", port, "parent", "1:"];
        let filter = filter.iter().copied();
        let rest = [
            "protocol", "all", "bpf", "bytecode", &program, "flowid", "1:2",
        ];
        run("tc", &filter.chain(rest).collect::<Vec<_>>())
    }

    fn at_switch(&self, words: &str) -> Result<(), String> {
        in_namespace("ip", &self.switch(), words)
    }

    fn at_machine(&self, machine: usize, words: &str) -> Result<(), String> {
        in_namespace("ip", &self.namespace(machine), words)
    }

    fn shape(&self, words: &str) -> Result<(), String> {
        in_namespace("tc", &self.switch(), words)
    }

    fn must(&self, outcome: Result<(), String>) {
        if let Err(reason) = outcome {
            panic!("the network cannot be changed: {reason}");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let machines = (0..self.machines).map(|machine| self.namespace(machine));
        for namespace in machines.chain([self.switch()]) {
            // One that was never made is not there.
            run("ip", &["netns", "delete", &namespace]).ok();
        }
    }
}

/// A command that runs `program` on the machine with this namespace, in a process with the id of the child.
pub fn command_in(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn port(machine: usize) -> String {
    format!("port{machine}")
}

fn in_namespace(program: &str, namespace: &str, words: &str) -> Result<(), String> {
    let words = ["-n", namespace].into_iter().chain(words.split(' '));
    run(program, &words.collect::<Vec<_>>())
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {}: {}",
        arguments.join(" "),
        said.trim()
    ))
}

/// Removes the namespaces of processes that are gone.
fn remove_leftovers() -> Result<(), String> {
    let output = Command::new("ip").args(["netns", "list"]).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.split(' ').next());
    for name in names {
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(process) = process
            && !Path::new("/proc").join(process).exists()
        {
            run("ip", &["netns", "delete", name]).ok();
        }
    }
    Ok(())
}
