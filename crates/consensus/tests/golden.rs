//! Golden scripts: dialogues between replicas, one file each under `tests/golden/`.
//!
//! The first line is the claim. Commands follow; what they bring about stands after `---`, each command repeated before
//! it. After each command everything under way is let happen, except where messages are cut or a disk is
//! stalled. Accept changes with `UPDATE_GOLDEN=1 cargo test -p consensus --test golden` and review the diff.

mod cluster;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster::host::Host;
use cluster::{Cluster, render, voters};
use consensus::{
    Entry, EntryKind, HardState, Input, LogIndex, Membership, MembershipChange, NodeId, Proposal,
    ProposalId, ReadTicket, RoleName, Term,
};

/// The words of one command: plain ones, and `key=value` ones.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn plain(&self, place: usize) -> &'a str {
        self.0
            .iter()
            .filter(|word| !word.contains('='))
            .nth(place)
            .unwrap_or_else(|| panic!("word {place} is missing in {:?}", self.0))
    }

    fn number(&self, place: usize) -> u64 {
        let word = self.plain(place);
        word.parse()
            .unwrap_or_else(|_| panic!("{word} is no number in {:?}", self.0))
    }

    fn node(&self, place: usize) -> NodeId {
        NodeId(self.number(place))
    }

    fn rest(&self, from: usize) -> Vec<&'a str> {
        self.0
            .iter()
            .filter(|word| !word.contains('='))
            .skip(from)
            .copied()
            .collect()
    }

    fn key(&self, key: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn key_nodes(&self, key: &str) -> BTreeSet<NodeId> {
        let value = self.key(key).unwrap_or_default();
        let nodes = value.split(',').filter(|node| !node.is_empty());
        nodes
            .map(|node| NodeId(node.parse().expect("a node")))
            .collect()
    }

    fn key_number(&self, key: &str, default: u64) -> u64 {
        self.key(key)
            .map_or(default, |value| value.parse().expect("a number"))
    }
}

struct Script {
    cluster: Cluster,
    next_proposal: u64,
    /// Nothing happens by itself: messages are delivered and disks synced by command.
    manual: bool,
}

impl Script {
    fn run(&mut self, line: &str) {
        let words = Words(line.split_whitespace().collect());
        let settles = self.command(&words);
        if settles && !self.manual {
            self.cluster.settle();
        }
    }

    /// Returns whether everything under way is to happen now.
    fn command(&mut self, words: &Words<'_>) -> bool {
        match words.plain(0) {
            "cluster" => {
                self.cluster =
                    Cluster::new(words.key_number("seed", 1), words.key_number("nodes", 3))
            }
            "voters" => self.cluster = Cluster::empty(1, voters(words.number(1))),
            "node" => self.node(words),
            "joiner" => self
                .cluster
                .add_host(Host::new(words.node(1), Membership::default())),
            "campaign" => self.campaign(words.node(1)),
            // A campaign that is not the point of the script.
            "elect" => {
                self.campaign(words.node(1));
                self.cluster.settle();
                self.cluster.events.clear();
            }
            // A learner that has caught up, when that is not the point either.
            "learner" => {
                let joiner = Host::new(words.node(2), Membership::default());
                self.cluster.add_host(joiner);
                self.change(words);
                self.cluster.settle();
                self.tick_all(2);
                self.cluster.events.clear();
            }
            "tick" => {
                for _ in 0..words.key_number("times", 1) {
                    self.cluster.step(words.node(1), Input::Tick);
                    self.cluster.settle();
                }
            }
            "tick-all" => self.tick_all(words.key_number("times", 1)),
            "propose" => self.propose(words),
            "read" => {
                let ticket = ReadTicket(words.number(2));
                self.cluster.step(words.node(1), Input::Read(vec![ticket]));
            }
            "add" | "promote" | "remove" | "replace" | "reconfigure" | "priority" => {
                self.change(words);
            }
            "transfer" => {
                let to = words
                    .rest(2)
                    .first()
                    .map(|word| NodeId(word.parse().expect("a node")));
                self.cluster
                    .step(words.node(1), Input::TransferLeadership { to });
            }
            _ => return self.surroundings(words),
        }
        true
    }

    fn surroundings(&mut self, words: &Words<'_>) -> bool {
        match words.plain(0) {
            "cut" => {
                self.cluster.cut.insert((words.node(1), words.node(2)));
                self.cluster.cut.insert((words.node(2), words.node(1)));
            }
            "cut-way" => {
                self.cluster.cut.insert((words.node(1), words.node(2)));
            }
            "partition" => {
                let inside: BTreeSet<NodeId> = words
                    .rest(1)
                    .iter()
                    .map(|word| NodeId(word.parse().expect("a node")))
                    .collect();
                let all: Vec<NodeId> = self.cluster.hosts.keys().copied().collect();
                for one in &all {
                    for other in &all {
                        if inside.contains(one) != inside.contains(other) {
                            self.cluster.cut.insert((*one, *other));
                        }
                    }
                }
            }
            "manual" => self.manual = true,
            "automatic" => self.manual = false,
            "deliver" => {
                for _ in 0..words.number(1) {
                    if !self.cluster.network.is_empty() {
                        self.cluster.deliver(0);
                    }
                }
            }
            "sync" => self.cluster.sync(words.node(1)),
            "lose" => {
                let count = usize::try_from(words.number(1)).expect("a number of messages");
                let under_way = self.cluster.network.len();
                self.cluster.network.drain(..count.min(under_way));
            }
            "leases" => {
                self.cluster.tune = |config| config.lease_ticks = Some(10);
                for id in self.cluster.hosts.keys().copied().collect::<Vec<_>>() {
                    self.cluster.crash(id, 0);
                    self.cluster.start(id);
                }
            }
            "ticks-skipped" => self.cluster.step(words.node(1), Input::TicksSkipped),
            "small-appends" => self.cluster.tune = |config| config.append_bytes_max = 1,
            "heal" => self.cluster.cut.clear(),
            "crash" => self.cluster.crash(words.node(1), 0),
            "kill" => {
                self.cluster.crash(words.node(1), 0);
                self.cluster.reset_connections_of(words.node(1));
            }
            "start" => self.cluster.start(words.node(1)),
            "disconnect" => {
                let peer = words.node(2);
                self.cluster
                    .step(words.node(1), Input::PeerDisconnected(peer));
            }
            "disk" if ["fills", "has-room"].contains(&words.plain(2)) => {
                let full = words.plain(2) == "fills";
                self.cluster.step(words.node(1), Input::DiskFull(full));
            }
            "disk" => {
                let host = self.cluster.hosts.get_mut(&words.node(1)).expect("a node");
                host.disk_stalled = words.plain(2) == "stalls";
            }
            "compact" => self
                .cluster
                .compact(words.node(1), LogIndex(words.number(2))),
            "status" => self.status(),
            other => panic!("unknown command {other}"),
        }
        true
    }

    /// `node 1 term=3 log=1,1,2 [vote=1] [commit=2]`: a replica that starts with this on its disk.
    fn node(&mut self, words: &Words<'_>) {
        let membership = self.cluster.checker.membership_as_of(LogIndex(0));
        let mut host = Host::new(words.node(1), membership);
        let terms = words.key("log").unwrap_or_default();
        for (index, term) in (1..).zip(terms.split(',').filter(|term| !term.is_empty())) {
            let term = Term(term.parse().expect("a term"));
            let kind = EntryKind::Command(Arc::from(format!("e{index}t{}", term.0).into_bytes()));
            host.entries.push(Entry {
                index: LogIndex(index),
                term,
                kind,
            });
        }
        let last = host.entries.last().map_or(Term(0), |entry| entry.term);
        let commit = LogIndex(words.key_number("commit", 0));
        host.hard_state = HardState {
            term: Term(words.key_number("term", last.0)),
            vote: words
                .key("vote")
                .map(|vote| NodeId(vote.parse().expect("a node"))),
            commit,
        };
        self.cluster.checker.assume_committed(&host.entries, commit);
        self.cluster.add_host(host);
    }

    /// Ticks one replica until it campaigns.
    fn campaign(&mut self, id: NodeId) {
        for _ in 0..40 {
            self.cluster.step(id, Input::Tick);
            let role = self.cluster.replica(id.0).role();
            if matches!(
                role,
                RoleName::PreCandidate | RoleName::Candidate | RoleName::Leader
            ) {
                return;
            }
        }
        panic!("{id} does not campaign");
    }

    fn tick_all(&mut self, times: u64) {
        let ids: Vec<NodeId> = self.cluster.hosts.keys().copied().collect();
        for _ in 0..times {
            for id in &ids {
                self.cluster.step(*id, Input::Tick);
            }
            self.cluster.settle();
        }
    }

    fn propose(&mut self, words: &Words<'_>) {
        let mut proposals = Vec::new();
        for word in words.rest(2) {
            self.next_proposal += 1;
            let payload = Arc::from(word.as_bytes());
            proposals.push(Proposal {
                id: ProposalId(self.next_proposal),
                payload,
            });
        }
        self.cluster.step(words.node(1), Input::Propose(proposals));
    }

    fn change(&mut self, words: &Words<'_>) {
        let member = match words.plain(0) {
            "reconfigure" => NodeId(0),
            _ => words.node(2),
        };
        let context = Arc::from(&b"host"[..]);
        let priority = u32::try_from(words.key_number("priority", 1)).expect("a priority");
        let change = match words.plain(0) {
            "add" | "learner" => MembershipChange::AddLearner {
                id: member,
                context,
                priority,
            },
            "promote" => MembershipChange::Promote(member),
            "replace" => MembershipChange::Replace {
                id: member,
                context,
                priority,
                removes: words.node(3),
            },
            "reconfigure" => MembershipChange::Reconfigure {
                promote: words.key_nodes("promote"),
                remove: words.key_nodes("remove"),
            },
            "priority" => MembershipChange::UpdateContext {
                id: member,
                context,
                priority: u32::try_from(words.number(3)).expect("a priority"),
            },
            _ => MembershipChange::Remove(member),
        };
        self.next_proposal += 1;
        let id = ProposalId(self.next_proposal);
        self.cluster
            .step(words.node(1), Input::ProposeMembership { id, change });
    }

    fn status(&mut self) {
        let lines: Vec<String> = self
            .cluster
            .running()
            .map(|replica| {
                let terms = (replica.first_index().0..=replica.last().index.0).map(|index| {
                    replica
                        .term_at(LogIndex(index))
                        .map_or(0, |term| term.0)
                        .to_string()
                });
                format!(
                    "{} {}: log after {} [{}] commit={} durable={} members={}",
                    replica.id(),
                    render::status(replica),
                    replica.first_index().previous().0,
                    terms.collect::<Vec<_>>().join(" "),
                    replica.commit().0,
                    replica.durable().0,
                    render::members(replica.membership()),
                )
            })
            .collect();
        self.cluster.events.extend(lines);
    }
}

fn run_script(text: &str) -> String {
    let script = text
        .split("\n---\n")
        .next()
        .expect("split yields something")
        .trim_end();
    let mut out = format!("{script}\n---\n");
    let mut run = Script {
        cluster: Cluster::new(1, 1),
        next_proposal: 0,
        manual: false,
    };
    for line in script
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        run.cluster.events.clear();
        run.run(line);
        writeln!(out, "> {line}").expect("a string takes everything");
        for event in std::mem::take(&mut run.cluster.events) {
            writeln!(out, "{event}").expect("a string takes everything");
        }
    }
    out
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|file| file.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

#[test]
fn golden_scripts_hold() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok();
    let files = scripts();
    assert!(files.len() >= 12, "only {} scripts were found", files.len());
    let mut failed = Vec::new();
    for path in files {
        let expected = std::fs::read_to_string(&path).expect("a readable script");
        assert!(
            expected.starts_with("# "),
            "{} does not open with its claim",
            path.display()
        );
        let found = run_script(&expected);
        if found == expected {
            continue;
        }
        if update {
            std::fs::write(&path, found).expect("a writable script");
        } else {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let at = expected
                .lines()
                .zip(found.lines())
                .position(|(old, new)| old != new);
            eprintln!("{name:?} differs from line {at:?} on; what happens now:\n{found}");
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "scripts that no longer hold: {failed:?}");
}
