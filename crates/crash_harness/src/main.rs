//! `crash_harness kill | kill-on-disk | power-loss | install | install-power-loss`: as many rounds as asked for, on several servers at once, with the seed printed first.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use crash_harness::install::Installs;
use crash_harness::random::Random;
use crash_harness::round::{End, Finding, Ground, Rounds, Tally};
use crash_harness::server::{Setup, program};
use parking_lot::Mutex;

const REPORT_PERIOD: Duration = Duration::from_secs(10);

/// Kills real servers and compares what they hold with what was acknowledged.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Ends of servers.
    #[arg(long, global = true, default_value_t = 1_000)]
    rounds: u64,
    /// Servers at once.
    #[arg(long, global = true, default_value_t = 2)]
    servers: u16,
    /// The first server's plan; the others' follow from it. Drawn from the clock when not given.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// The program; built in the profile of this one when not given.
    #[arg(long, global = true)]
    program: Option<PathBuf>,
    /// Where to keep what a finding left.
    #[arg(long, global = true, default_value = "crash-findings")]
    findings: PathBuf,
}

#[derive(Subcommand, Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The process is killed, at named points and at random.
    Kill,
    /// The process is killed at random, with its files on a real disk.
    KillOnDisk,
    /// The machine loses power: what was not synced is lost or torn.
    PowerLoss,
    /// A member of a cluster is killed while it is sent the whole state.
    Install,
    /// The machine of a member that is sent the whole state loses power.
    InstallPowerLoss,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |since| since.as_millis() as u64)
    });
    println!("{:?}, seed {seed}", arguments.what);
    let program = arguments.program.clone().unwrap_or_else(program);
    let run = Run {
        what: arguments.what,
        rounds: arguments.rounds,
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        tally: Mutex::default(),
        began: Instant::now(),
    };
    std::thread::scope(|scope| {
        let mut seeds = Random::new(seed);
        for server in 0..arguments.servers {
            let seed = if server == 0 { seed } else { seeds.next_u64() };
            let (run, program, findings) = (&run, &program, &arguments.findings);
            scope.spawn(move || run.work(server, seed, program, findings));
        }
        run.report_until_done();
    });
    println!("{}", run.text());
    let tally = run.tally.lock();
    for (point, count) in &tally.points {
        println!("{count:>8}  {point}");
    }
    match run.failed.load(Ordering::Relaxed) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// What the servers of one thread print, removed in the end.
struct Logs(Vec<PathBuf>);

impl Logs {
    fn new(server: u16) -> Logs {
        let process = std::process::id();
        let name = |member| format!("crash-{process}-{server}-{member}.log");
        Logs(
            (0..3)
                .map(|member| std::env::temp_dir().join(name(member)))
                .collect(),
        )
    }

    fn path(&self, member: u16) -> PathBuf {
        self.0[usize::from(member)].clone()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        for path in &self.0 {
            // Those that were never written are not there.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Rounds of either kind.
trait Runner {
    fn run(&mut self) -> Result<(), Box<Finding>>;
    fn compare_at_rest(&mut self) -> Result<(), Box<Finding>>;
    fn tally(&self) -> &Tally;
    fn save(&self, to: &Path) -> std::io::Result<()>;
}

impl Runner for Rounds {
    fn run(&mut self) -> Result<(), Box<Finding>> {
        Rounds::run(self)
    }

    fn compare_at_rest(&mut self) -> Result<(), Box<Finding>> {
        Rounds::compare_at_rest(self)
    }

    fn tally(&self) -> &Tally {
        Rounds::tally(self)
    }

    fn save(&self, to: &Path) -> std::io::Result<()> {
        Rounds::save(self, to)
    }
}

impl Runner for Installs {
    fn run(&mut self) -> Result<(), Box<Finding>> {
        Installs::run(self)
    }

    /// Each of its rounds ends with a comparison.
    fn compare_at_rest(&mut self) -> Result<(), Box<Finding>> {
        Ok(())
    }

    fn tally(&self) -> &Tally {
        Installs::tally(self)
    }

    fn save(&self, to: &Path) -> std::io::Result<()> {
        Installs::save(self, to)
    }
}

struct Run {
    what: What,
    rounds: u64,
    done: AtomicU64,
    failed: AtomicBool,
    tally: Mutex<Tally>,
    began: Instant,
}

impl Run {
    fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.done.load(Ordering::Relaxed) >= self.rounds
    }

    fn report_until_done(&self) {
        let mut next = self.began + REPORT_PERIOD;
        while !self.is_over() {
            std::thread::sleep(Duration::from_millis(100));
            if Instant::now() >= next {
                println!("{}", self.text());
                next += REPORT_PERIOD;
            }
        }
    }

    fn text(&self) -> String {
        let tally = self.tally.lock();
        let seconds = self.began.elapsed().as_secs_f64();
        format!(
            "{:.0} s: {} rounds ({:.1}/s), {} comparisons, {} losses felt, {} operations acknowledged, {} undecided",
            seconds,
            tally.rounds,
            tally.rounds as f64 / seconds,
            tally.comparisons,
            tally.losses_felt,
            tally.acknowledged,
            tally.undecided
        )
    }

    fn work(&self, server: u16, seed: u64, program: &Path, findings: &Path) {
        let logs = Logs::new(server);
        let setups: Vec<Setup> = (0..3)
            .map(|member| Setup::new(program, logs.path(member)))
            .collect();
        let setups: [Setup; 3] = setups.try_into().expect("three were made");
        let found = self.runner(seed, setups).and_then(|mut runner| {
            let gone_on = self.go_on(&mut *runner);
            gone_on.map_err(|finding| {
                let to = findings.join(format!("{seed}-{}", finding.round));
                let kept = std::fs::create_dir_all(findings).and_then(|()| runner.save(&to));
                match kept {
                    Ok(()) => format!("{finding}\nfiles as they were: {}", to.display()),
                    Err(error) => format!("{finding}\ncannot keep the files: {error}"),
                }
            })
        });
        if let Err(what) = found {
            self.failed.store(true, Ordering::Relaxed);
            println!("{what}");
        }
    }

    fn runner(&self, seed: u64, setups: [Setup; 3]) -> Result<Box<dyn Runner>, String> {
        let end = match self.what {
            What::PowerLoss | What::InstallPowerLoss => End::PowerLoss,
            What::Kill | What::KillOnDisk | What::Install => End::Kill,
        };
        let ground = match self.what {
            What::Install | What::InstallPowerLoss => {
                return Ok(Box::new(Installs::start(seed, end, setups)?));
            }
            What::Kill | What::PowerLoss => Ground::forgetful().map_err(|it| it.to_string()),
            What::KillOnDisk => Ground::real(Path::new(".")).map_err(|it| it.to_string()),
        };
        let [setup, ..] = setups;
        Ok(Box::new(Rounds::new(seed, ground?, end, setup)))
    }

    fn go_on(&self, rounds: &mut dyn Runner) -> Result<(), Box<Finding>> {
        let mut counted = Tally::default();
        while !self.is_over() {
            rounds.run()?;
            let now = rounds.tally().clone();
            self.done
                .fetch_add(now.rounds - counted.rounds, Ordering::Relaxed);
            let mut total = self.tally.lock();
            total.add(&now.since(&counted));
            counted = now;
        }
        rounds.compare_at_rest()
    }
}
