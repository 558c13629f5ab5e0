//! Rounds of one server: start, compare, work, end.
//!
//! A *history* is a data directory from its first start on; after some rounds a new one begins, so that first starts are
//! interrupted too. Some rounds end while the server starts or is compared: what it holds is looked at in a later one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;
use crate::connection::Connection;
use crate::forgetful::{Forgetful, Habit, Moment, MountError, POINTS, Place, Point, Stop};
use crate::random::Random;
use crate::server::{ServerError, Setup};
use crate::verify::{self, Verdict};

const CLIENTS: i64 = 4;
/// Rounds of a history, at most.
const HISTORY_ROUNDS_MAX: u64 = 40;
/// How long clients work, at most, if the point they are to meet does not come.
const WORK_MS_MAX: u64 = 60;
/// One client's operations in a round; more than it gets to.
const OPERATIONS_MAX: u64 = 10_000;

/// What ends a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process is killed; the machine and its caches stay.
    Kill,
    /// The machine loses power: what was not synced is lost or torn.
    PowerLoss,
}

/// Where a server keeps its files.
pub enum Ground {
    /// In the file system that forgets.
    Forgetful(Box<Forgetful>),
    /// In a directory of the machine's own disk. Processes end there at random.
    Real(TempDir),
}

impl Ground {
    /// A file system that forgets, mounted.
    pub fn forgetful() -> Result<Ground, MountError> {
        Ok(Ground::Forgetful(Box::new(Forgetful::mount()?)))
    }

    /// A directory below `parent`.
    pub fn real(parent: &Path) -> std::io::Result<Ground> {
        let directory = tempfile::Builder::new()
            .prefix("crash-")
            .tempdir_in(parent)?;
        Ok(Ground::Real(directory))
    }

    fn path(&self) -> &Path {
        match self {
            Ground::Forgetful(mounted) => mounted.path(),
            Ground::Real(directory) => directory.path(),
        }
    }
}

/// What is wrong, and what was going on.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, round {round} ({plan}): {what}\n--- the server said:\n{said}")]
pub struct Finding {
    /// The seed of the run.
    pub seed: u64,
    /// The round in it.
    pub round: u64,
    /// How the rounds of this history ended.
    pub plan: String,
    /// What is wrong.
    pub what: String,
    /// What the server printed.
    pub said: String,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Servers ended.
    pub rounds: u64,
    /// Times that everything was compared.
    pub comparisons: u64,
    /// Power losses after which something of what had been seen was gone or changed.
    pub losses_felt: u64,
    /// Operations acknowledged.
    pub acknowledged: u64,
    /// Operations found undecided at a comparison.
    pub undecided: u64,
    /// How many servers ended at each point.
    pub points: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// What came since an earlier one.
    pub fn since(&self, before: &Tally) -> Tally {
        let points = self.points.iter().map(|(name, count)| {
            let counted = before.points.get(name).copied().unwrap_or(0);
            (*name, count - counted)
        });
        Tally {
            rounds: self.rounds - before.rounds,
            comparisons: self.comparisons - before.comparisons,
            losses_felt: self.losses_felt - before.losses_felt,
            acknowledged: self.acknowledged - before.acknowledged,
            undecided: self.undecided - before.undecided,
            points: points.collect(),
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Tally) {
        self.rounds += other.rounds;
        self.comparisons += other.comparisons;
        self.losses_felt += other.losses_felt;
        self.acknowledged += other.acknowledged;
        self.undecided += other.undecided;
        for (name, count) in &other.points {
            *self.points.entry(name).or_default() += count;
        }
    }
}

/// The name under which an end at random is counted.
pub const AT_RANDOM: &str = "at random";

/// How one round is to end.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// None: at random.
    point: Option<(Point, Stop)>,
    /// Armed before the server starts.
    at_start: bool,
    work: Duration,
}

/// One server through its lives.
pub struct Rounds {
    seed: u64,
    ground: Ground,
    end: End,
    setup: Setup,
    random: Random,
    clients: Vec<Client>,
    /// Rounds of this history, and how each ended.
    history: Vec<String>,
    histories: u64,
    tally: Tally,
}

impl Rounds {
    /// Rounds of a server of this setup.
    pub fn new(seed: u64, ground: Ground, end: End, setup: Setup) -> Rounds {
        assert!(
            end == End::Kill || matches!(ground, Ground::Forgetful(_)),
            "a real disk cannot be made to forget"
        );
        let mut rounds = Rounds {
            seed,
            ground,
            end,
            setup,
            random: Random::new(seed),
            clients: Vec::new(),
            history: Vec::new(),
            histories: 0,
            tally: Tally::default(),
        };
        rounds.begin_history();
        rounds
    }

    /// What was seen so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn data_dir(&self) -> PathBuf {
        self.ground.path().join(format!("data-{}", self.histories))
    }

    fn begin_history(&mut self) {
        match &self.ground {
            Ground::Forgetful(mounted) => mounted.empty(),
            // The directory may not be there yet.
            Ground::Real(_) => drop(std::fs::remove_dir_all(self.data_dir())),
        }
        self.histories += 1;
        self.history.clear();
        let random = &mut self.random;
        self.clients = (0..CLIENTS)
            .map(|id| Client::new(id, random.split()))
            .collect();
    }

    fn plan(&mut self) -> Plan {
        let random = &mut self.random;
        let work = Duration::from_millis(1 + random.below(WORK_MS_MAX));
        let first = self.history.is_empty();
        if matches!(self.ground, Ground::Real(_)) || random.happens(15) {
            let at_start = random.happens(25);
            return Plan {
                point: None,
                at_start,
                work,
            };
        }
        let choices: Vec<&Point> = POINTS
            .iter()
            .filter(|point| !point.of_install && (first || !is_of_first_start(point)))
            .collect();
        let point = **random.one_of(&choices);
        let nth_max = match point.place {
            Place::Segment if point.name.starts_with("log: append") => 80,
            Place::Segment if point.name.starts_with("log: sync") => 80,
            Place::Table | Place::Prepared => 4,
            _ => 2,
        };
        let stop = Stop {
            operation: point.operation,
            place: point.place,
            nth: 1 + random.below(nth_max),
            moment: *random.one_of(&[Moment::Before, Moment::Amid, Moment::After]),
        };
        Plan {
            point: Some((point, stop)),
            at_start: is_of_first_start(&point) || random.happens(25),
            work: Duration::from_millis(WORK_MS_MAX),
        }
    }

    /// Runs one round.
    pub fn run(&mut self) -> Result<(), Box<Finding>> {
        if self.history.len() as u64 >= HISTORY_ROUNDS_MAX {
            self.compare_at_rest()?;
            self.begin_history();
        }
        let plan = self.plan();
        self.history.push(describe(&plan));
        let mut child = self.start(plan.at_start.then_some(&plan))?;
        let live = self.live(&mut child, &plan);
        self.finish(child);
        live.map_err(|what| self.finding(what))?;
        self.tally.rounds += 1;
        Ok(())
    }

    /// Starts the server once more, undisturbed, and compares.
    pub fn compare_at_rest(&mut self) -> Result<(), Box<Finding>> {
        self.history.push("undisturbed".to_owned());
        let mut child = self.start(None)?;
        let compared = match self.compare(&mut child) {
            Ok(true) => Ok(()),
            Ok(false) => Err("nobody ended it, and yet it is gone".to_owned()),
            Err(what) => Err(what),
        };
        self.finish(child);
        compared.map_err(|what| self.finding(what))
    }

    fn finding(&self, what: String) -> Box<Finding> {
        let from = self.history.len().saturating_sub(5);
        Box::new(Finding {
            seed: self.seed,
            round: self.tally.rounds,
            plan: self.history[from..].join("; "),
            what,
            said: self.setup.said(),
        })
    }

    /// Keeps the files as they are, for whoever looks into a finding.
    pub fn save(&self, to: &Path) -> std::io::Result<()> {
        match &self.ground {
            Ground::Forgetful(mounted) => mounted.save(to),
            Ground::Real(_) => std::fs::rename(self.data_dir(), to),
        }
    }

    fn start(&self, armed: Option<&Plan>) -> Result<Child, Box<Finding>> {
        let stop = armed.and_then(|plan| plan.point).map(|(_, stop)| stop);
        let started = self
            .setup
            .command(&self.data_dir())
            .and_then(|mut command| {
                let Ground::Forgetful(mounted) = &self.ground else {
                    return command.spawn();
                };
                mounted.revive();
                if let Some(stop) = stop {
                    mounted.arm(stop);
                }
                mounted.start(&mut command)
            });
        started.map_err(|error| self.finding(format!("cannot run the server: {error}")))
    }

    fn has_ended(&self) -> bool {
        match &self.ground {
            Ground::Forgetful(mounted) => mounted.has_ended(),
            Ground::Real(_) => false,
        }
    }

    /// Ends the server, if it has not ended as planned, and what else ends with it.
    fn finish(&mut self, mut child: Child) {
        match &self.ground {
            Ground::Forgetful(mounted) => mounted.end(),
            Ground::Real(_) => kill(&child),
        }
        // It was killed; what it returns is of no interest.
        let _ = child.wait();
        if self.end == End::PowerLoss
            && let Ground::Forgetful(mounted) = &self.ground
        {
            let habit = Habit::draw(&mut self.random);
            let lost = mounted.lose_power(habit, self.random.split());
            self.tally.losses_felt += u64::from(lost);
            if let Some(last) = self.history.last_mut() {
                last.push_str(&format!(", then {habit:?}"));
            }
        }
    }

    /// A server's life until its end. The error is what is wrong with it.
    fn live(&mut self, child: &mut Child, plan: &Plan) -> Result<(), String> {
        if plan.point.is_none() && plan.at_start {
            std::thread::sleep(plan.work);
            self.count(AT_RANDOM);
            return Ok(());
        }
        if self.compare(child)? {
            if let (Ground::Forgetful(mounted), Some((_, stop)), false) =
                (&self.ground, plan.point, plan.at_start)
            {
                mounted.arm(stop);
            }
            self.work(child, plan.work)?;
        }
        match (self.has_ended(), plan.point) {
            (true, Some((point, _))) => self.count(point.name),
            _ => self.count(AT_RANDOM),
        }
        Ok(())
    }

    fn count(&mut self, point: &'static str) {
        *self.tally.points.entry(point).or_default() += 1;
    }

    /// Waits until the server serves, and compares. `false` if it was ended meanwhile.
    fn compare(&mut self, child: &mut Child) -> Result<bool, String> {
        let writable = |connection: &mut Connection| connection.is_writable().unwrap_or(false);
        let ready = self.setup.wait_until(child, || self.has_ended(), writable);
        let mut connection = match ready {
            Ok(connection) => connection,
            Err(ServerError::Killed) => return Ok(false),
            Err(error) => return Err(error.to_string()),
        };
        let before = self.clients.clone();
        let verdict = verify::create_indexes(&mut connection)
            .and_then(|()| verify::verify(&mut connection, &mut self.clients));
        match verdict {
            Ok(()) => {
                self.tally.comparisons += 1;
                let undecided = before.iter().filter(|client| client.unanswered.is_some());
                self.tally.undecided += undecided.count() as u64;
                Ok(true)
            }
            Err(Verdict::Gone(_)) if self.has_ended() => Ok(false),
            // A reply of a server that is being killed may be anything that is no success.
            Err(_) if self.has_ended() => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Lets the clients work until the server is ended.
    fn work(&mut self, child: &Child, at_most: Duration) -> Result<(), String> {
        let address = self.setup.address();
        let (ground, clients) = (&self.ground, &mut self.clients);
        let before: u64 = clients.iter().map(|client| client.acknowledged).sum();
        let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let running: Vec<_> = clients
                .iter_mut()
                .map(|client| scope.spawn(|| client.run(&address, OPERATIONS_MAX)))
                .collect();
            match ground {
                Ground::Forgetful(mounted) => {
                    if !mounted.wait_for_end(at_most) {
                        mounted.end();
                    }
                }
                Ground::Real(_) => {
                    std::thread::sleep(at_most);
                    kill(child);
                }
            }
            let joined = running.into_iter().map(|client| client.join());
            joined
                .map(|result| result.unwrap_or_else(|_| Err("a client panicked".to_owned())))
                .collect()
        });
        let after: u64 = self.clients.iter().map(|client| client.acknowledged).sum();
        self.tally.acknowledged += after - before;
        results.into_iter().collect()
    }
}

fn kill(child: &Child) {
    // It may have ended by itself; it was not waited for, so the number is still its own.
    let _ = kill_process(Pid::from_child(child), Signal::KILL);
}

fn is_of_first_start(point: &Point) -> bool {
    point.name.starts_with("first start")
}

fn describe(plan: &Plan) -> String {
    match plan.point {
        None => format!("{AT_RANDOM} within {:?}", plan.work),
        Some((point, stop)) => format!(
            "{} number {}, {:?}{}",
            point.name,
            stop.nth,
            stop.moment,
            if plan.at_start {
                ", from the start on"
            } else {
                ""
            }
        ),
    }
}
