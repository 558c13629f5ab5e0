//! `cargo sim --seed N`: runs seeds and says what they found.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;
use std::panic;
use std::process::ExitCode;
use std::time::Instant;

use simulator::scenario::{self, Report, Settings};

const USAGE: &str = "\
Runs clusters of production nodes on simulated time, network and disks.

cargo sim [--seed N | --seeds A..B] [--trace] [--nodes N] [--ops N] [--keep-going] [--seconds N]
cargo sim prove [--within N] [FAULT…]

  --seed N       runs one seed (0 if nothing is given)
  --seeds A..B   runs the seeds from A up to, not including, B
  --trace        prints what happens
  --nodes N      begins with N voters instead of a number drawn from the seed
  --ops N        lets each client begin N operations
  --keep-going   goes on with the next seed after a finding
  --seconds N    begins no seed after N seconds

prove            breaks a copy of the sources on purpose, fault by fault (crates/simulator/planted), and shows that each
                 is found
  --within N     by one of the first N seeds (2,000 if not given)
";

struct Arguments {
    seeds: Range<u64>,
    settings: Settings,
    keep_going: bool,
    seconds: Option<u64>,
}

fn parse() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 0..1,
        settings: Settings::default(),
        keep_going: false,
        seconds: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| -> Result<u64, String> {
            text.parse().map_err(|_| format!("{text} is not a number"))
        };
        match word.as_str() {
            "--seed" => {
                let seed = number(value()?)?;
                arguments.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let text = value()?;
                let (from, to) = text
                    .split_once("..")
                    .ok_or(format!("{text} is not a range A..B"))?;
                arguments.seeds = number(from.to_owned())?..number(to.to_owned())?;
            }
            "--nodes" => arguments.settings.members = Some(number(value()?)? as usize),
            "--ops" => arguments.settings.operations = Some(number(value()?)? as u32),
            "--trace" => arguments.settings.prints = true,
            "--seconds" => arguments.seconds = Some(number(value()?)?),
            "--keep-going" => arguments.keep_going = true,
            other => return Err(format!("unknown argument {other}\n\n{USAGE}")),
        }
    }
    Ok(arguments)
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a seed; a panic of the code under test is a finding like any other.
fn run(seed: u64, settings: &Settings) -> Report {
    let outcome = panic::catch_unwind(|| scenario::run(seed, settings, simulator::checkers::all()));
    outcome.unwrap_or_else(|_| Report {
        hash: 0,
        steps: 0,
        time: 0,
        answered: 0,
        finding: PANIC.with(|panic| panic.borrow_mut().take()),
    })
}

/// `cargo sim prove`.
fn prove(mut words: impl Iterator<Item = String>) -> Result<(), String> {
    let mut options = simulator::prove::Options {
        seeds_max: 2_000,
        names: Default::default(),
    };
    while let Some(word) = words.next() {
        if word == "--within" {
            let number = words.next().ok_or("--within needs a number")?;
            options.seeds_max = number
                .parse()
                .map_err(|_| format!("{number} is not a number"))?;
        } else {
            options.names.insert(word);
        }
    }
    simulator::prove::run(&options)
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("prove") {
        return match prove(std::env::args().skip(2)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("{problem}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    panic::set_hook(Box::new(|panic| {
        let text = format!("panic: {panic}");
        PANIC.with(|place| *place.borrow_mut() = Some(text));
    }));
    let began = Instant::now();
    let mut count = 0;
    let mut findings = 0;
    for seed in arguments.seeds {
        let over = |limit: u64| began.elapsed().as_secs() >= limit;
        if arguments.seconds.is_some_and(over) {
            break;
        }
        count += 1;
        print!("seed {seed} ");
        let report = run(seed, &arguments.settings);
        match &report.finding {
            None => {
                println!(
                    "ok hash {:016x}, {} steps, {} ms, {} answers",
                    report.hash,
                    report.steps,
                    report.time / 1_000,
                    report.answered
                );
            }
            Some(finding) => {
                findings += 1;
                println!("FOUND {}", finding.replace('\n', " | "));
                if !arguments.keep_going {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    if count > 1 {
        println!(
            "{count} seeds, {findings} findings, {:.1} seeds/s",
            f64::from(count) / began.elapsed().as_secs_f64()
        );
    }
    match findings {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
