//! Rounds of a member that is sent a snapshot: it is ended while it receives or installs it, started again, and must come to
//! hold what the others hold.
//!
//! Three members; two of them run undisturbed and are written to, so that their log no longer reaches back to where the third
//! one was.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};
use tempfile::TempDir;

use crate::connection::{Connection, number, succeeded};
use crate::forgetful::{Forgetful, Habit, Moment, MountError, POINTS, Place, Point, Stop};
use crate::random::Random;
use crate::round::{AT_RANDOM, End, Finding, Tally};
use crate::server::{ServerError, Setup};
use crate::workload::DATABASE;

const COLLECTION: &str = "sent";
/// Writes while the member is away: more than the log keeps, and enough for the others to flush.
const WRITES: i64 = 60;
/// Documents in the collection, roughly.
const DOCUMENTS_MAX: i64 = 300;
const PAD_BYTES: usize = 3_000;
/// How long a member may take to catch up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

/// A member that is not disturbed.
struct Stable {
    setup: Setup,
    child: Child,
    _directory: TempDir,
}

impl Drop for Stable {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster whose third member is ended over and over.
pub struct Installs {
    seed: u64,
    end: End,
    random: Random,
    mounted: Forgetful,
    stable: Vec<Stable>,
    setup: Setup,
    written: i64,
    plan: String,
    tally: Tally,
}

impl Installs {
    /// Starts the two members that stay, and the third one for the first time. `setups`: of all three.
    pub fn start(seed: u64, end: End, setups: [Setup; 3]) -> Result<Installs, String> {
        let [first, second, third] = setups;
        let contact = first.peer_address();
        let join = |setup: Setup| setup.with("--join").with(&contact);
        let mounted = Forgetful::mount().map_err(|error: MountError| error.to_string())?;
        let mut installs = Installs {
            seed,
            end,
            random: Random::new(seed),
            mounted,
            stable: vec![start_stable(first)?],
            // It never leads: the others go on undisturbed.
            setup: join(third).with("--priority").with("0"),
            written: 0,
            plan: "the first start".to_owned(),
            tally: Tally::default(),
        };
        installs.stable.push(start_stable(join(second))?);
        installs.catch_up().map_err(|finding| finding.to_string())?;
        Ok(installs)
    }

    /// What was seen so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The third member's files, for whoever looks into a finding.
    pub fn save(&self, to: &std::path::Path) -> std::io::Result<()> {
        self.mounted.save(to)
    }

    fn finding(&self, what: String) -> Box<Finding> {
        Box::new(Finding {
            seed: self.seed,
            round: self.tally.rounds,
            plan: self.plan.clone(),
            what,
            said: self.setup.said(),
        })
    }

    /// Runs one round.
    pub fn run(&mut self) -> Result<(), Box<Finding>> {
        self.write().map_err(|what| self.finding(what))?;
        let (point, stop) = self.draw();
        self.plan = format!("{} number {}, {:?}", point.name, stop.nth, stop.moment);
        self.mounted.revive();
        self.mounted.arm(stop);
        let child = self.spawn()?;
        let reached = self.index_to_reach().and_then(|to| self.wait_for(to));
        let name = match self.mounted.has_ended() {
            true => point.name,
            false => AT_RANDOM,
        };
        self.finish(child);
        if let Err(what) = reached {
            return Err(self.finding(what));
        }
        *self.tally.points.entry(name).or_default() += 1;
        self.tally.rounds += 1;
        self.catch_up()
    }

    /// Starts the member undisturbed; it must come to hold what the others hold. Ends it.
    fn catch_up(&mut self) -> Result<(), Box<Finding>> {
        self.mounted.revive();
        let child = self.spawn()?;
        let reached = self.index_to_reach().and_then(|to| self.wait_for(to));
        self.finish(child);
        self.tally.rounds += 1;
        *self.tally.points.entry(AT_RANDOM).or_default() += 1;
        match reached {
            Ok(true) => {
                self.tally.comparisons += 1;
                Ok(())
            }
            Ok(false) => Err(self.finding("nobody ended it, and yet it is gone".to_owned())),
            Err(what) => Err(self.finding(what)),
        }
    }

    fn spawn(&self) -> Result<Child, Box<Finding>> {
        let data_dir = self.mounted.path().join("data");
        let command: std::io::Result<Command> = self.setup.command(&data_dir);
        command
            .and_then(|mut command| self.mounted.start(&mut command))
            .map_err(|error| self.finding(format!("cannot run the server: {error}")))
    }

    fn finish(&mut self, mut child: Child) {
        self.mounted.end();
        // It was killed; what it returns is of no interest.
        let _ = child.wait();
        if self.end == End::PowerLoss {
            let habit = Habit::draw(&mut self.random);
            let lost = self.mounted.lose_power(habit, self.random.split());
            self.tally.losses_felt += u64::from(lost);
            self.plan.push_str(&format!(", then {habit:?}"));
        }
    }

    fn draw(&mut self) -> (Point, Stop) {
        let random = &mut self.random;
        let of_install = |point: &&Point| {
            point.of_install
                || matches!(point.place, Place::CurrentGeneration | Place::Engine)
                || point.name.starts_with("flush")
                || point.name.starts_with("log")
        };
        let choices: Vec<&Point> = POINTS.iter().filter(of_install).collect();
        let point = **random.one_of(&choices);
        let nth_max = match point.place {
            Place::Incoming | Place::Segment | Place::Table => 6,
            _ => 2,
        };
        let stop = Stop {
            operation: point.operation,
            place: point.place,
            nth: 1 + random.below(nth_max),
            moment: *random.one_of(&[Moment::Before, Moment::Amid, Moment::After]),
        };
        (point, stop)
    }

    /// The member that takes writes.
    fn leader(&self) -> Result<Connection, String> {
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        while Instant::now() < deadline {
            for member in &self.stable {
                if let Ok(mut connection) = Connection::open(&member.setup.address())
                    && connection.is_writable().unwrap_or(false)
                {
                    return Ok(connection);
                }
            }
            std::thread::sleep(POLL);
        }
        let said: Vec<String> = self
            .stable
            .iter()
            .map(|member| member.setup.said())
            .collect();
        Err(format!("nobody leads; the others say: {said:?}"))
    }

    /// Writes while the member is away. A write that found no leader is tried again: it replaces what it wrote.
    fn write(&mut self) -> Result<(), String> {
        let mut leader = self.leader()?;
        let until = self.written + WRITES;
        while self.written < until {
            let next = self.written + 1;
            let id = next % DOCUMENTS_MAX;
            let letter = char::from(b'a' + (next % 26) as u8);
            let document =
                doc! { "_id": id, "written": next, "pad": letter.to_string().repeat(PAD_BYTES) };
            let update = doc! { "q": { "_id": id }, "u": document, "upsert": true };
            let command = doc! { "update": COLLECTION, "updates": [update] };
            match leader.run(DATABASE, &command) {
                Ok(reply) if succeeded(&reply) => self.written = next,
                _ => leader = self.leader()?,
            }
        }
        Ok(())
    }

    fn index_to_reach(&self) -> Result<(i64, Document), String> {
        let reply = self
            .leader()?
            .run("admin", &doc! { "cstoreHash": 1 })
            .map_err(|error| error.to_string())?;
        match number(&reply, "index") {
            Some(index) => Ok((index, reply)),
            None => Err(format!("cstoreHash names no index: {reply}")),
        }
    }

    /// Waits until the member holds what the others held at that index. `false` if it was ended before.
    fn wait_for(&mut self, (index, expected): (i64, Document)) -> Result<bool, String> {
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        let mut connection: Option<Connection> = None;
        while !self.mounted.has_ended() {
            if Instant::now() > deadline {
                return Err(format!(
                    "it did not reach entry {index} in {CATCH_UP_TIMEOUT:?}"
                ));
            }
            if connection.is_none() {
                connection = Connection::open(&self.setup.address()).ok();
            }
            let reply = connection
                .as_mut()
                .map(|open| open.run("admin", &doc! { "cstoreHash": 1, "atIndex": index }));
            match reply {
                Some(Ok(found)) if succeeded(&found) => {
                    return match hashes(&found) == hashes(&expected) {
                        true => Ok(true),
                        false => Err(format!("it holds {found}, the others {expected}")),
                    };
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => connection = None,
            }
            std::thread::sleep(POLL);
        }
        Ok(false)
    }
}

fn hashes(reply: &Document) -> Option<&Vec<Bson>> {
    reply.get_array("collections").ok()
}

fn start_stable(setup: Setup) -> Result<Stable, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let child = setup
        .command(&directory.path().join("data"))
        .and_then(|mut command| command.spawn())
        .map_err(|error| error.to_string())?;
    let mut stable = Stable {
        setup,
        child,
        _directory: directory,
    };
    let answers: Result<Connection, ServerError> =
        stable
            .setup
            .wait_until(&mut stable.child, || false, |_| true);
    answers.map_err(|error| error.to_string())?;
    Ok(stable)
}
