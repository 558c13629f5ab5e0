//! A bounded number of rounds, as `cargo test` runs them; `docs/durability.md` says how to run thousands.

use crash_harness::forgetful::MountError;
use crash_harness::round::{End, Ground, Rounds, Tally};
use crash_harness::server::{Setup, program};

/// More or fewer rounds: `CRASH_ROUNDS=10000 cargo test -p crash_harness`.
fn rounds() -> u64 {
    let asked = std::env::var("CRASH_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(60)
}

fn seed() -> u64 {
    let asked = std::env::var("CRASH_SEED").ok();
    asked
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_129)
}

fn run(ground: Ground, end: End) -> Tally {
    let log = tempfile::NamedTempFile::new().expect("a temporary directory");
    let setup = Setup::new(&program(), log.path().to_owned());
    let mut runs = Rounds::new(seed(), ground, end, setup);
    for _ in 0..rounds() {
        if let Err(finding) = runs.run() {
            panic!("{finding}");
        }
    }
    if let Err(finding) = runs.compare_at_rest() {
        panic!("{finding}");
    }
    println!("{:?}", runs.tally());
    runs.tally().clone()
}

/// None, and a word about it, where this machine mounts no file systems.
fn forgetful() -> Option<Ground> {
    match Ground::forgetful() {
        Ok(ground) => Some(ground),
        Err(error @ MountError::Refused(_)) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn check(tally: &Tally) {
    assert_eq!(tally.rounds, rounds());
    assert!(tally.comparisons > tally.rounds / 4, "{tally:?}");
    assert!(tally.acknowledged > tally.rounds, "{tally:?}");
    assert!(tally.points.len() > 5, "{tally:?}");
}

#[test]
fn a_server_killed_at_points_of_the_write_path_loses_nothing() {
    if let Some(ground) = forgetful() {
        check(&run(ground, End::Kill));
    }
}

#[test]
fn a_machine_that_loses_power_loses_nothing_acknowledged() {
    if let Some(ground) = forgetful() {
        let tally = run(ground, End::PowerLoss);
        check(&tally);
        assert!(tally.losses_felt > 0, "{tally:?}");
    }
}

#[test]
fn a_server_killed_at_random_on_a_real_disk_loses_nothing() {
    let parent = program();
    let parent = parent.parent().expect("the program is in a directory");
    let ground = Ground::real(parent).expect("a writable target directory");
    let tally = run(ground, End::Kill);
    assert_eq!(tally.rounds, rounds());
    assert!(tally.acknowledged > tally.rounds, "{tally:?}");
}
