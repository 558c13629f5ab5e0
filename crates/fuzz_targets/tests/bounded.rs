//! Every target under seeded mutations, bounded. `FUZZ_ROUNDS` and `FUZZ_SEED` ask for more, or for others.

use fuzz_targets::{Mutator, TARGETS, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const ROUNDS: u64 = 400;
/// What all targets together may ever ask of the machine: a length that lies must not be believed.
const MEMORY_BYTES_MAX: u64 = 4 << 30;

fn asked(name: &str, default: u64) -> u64 {
    let asked = std::env::var(name).ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn run(target: &Target, data: &[u8]) -> bool {
    let digits: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    let caught = std::panic::catch_unwind(|| (target.run)(data));
    caught.unwrap_or_else(|_| panic!("{} panicked over {digits}", target.name))
}

#[test]
fn decoders_refuse_or_accept_and_do_nothing_else() {
    let limit = Rlimit {
        current: Some(MEMORY_BYTES_MAX),
        ..getrlimit(Resource::As)
    };
    setrlimit(Resource::As, limit).expect("a limit can be lowered");
    let (rounds, seed) = (asked("FUZZ_ROUNDS", ROUNDS), asked("FUZZ_SEED", 1));
    for (at, target) in TARGETS.iter().enumerate() {
        let seeds = (target.seeds)();
        for bytes in &seeds {
            assert!(
                run(target, bytes),
                "{}: right bytes are accepted",
                target.name
            );
        }
        let mut mutator = Mutator::new(seed.wrapping_mul(1_000).wrapping_add(at as u64));
        let mut accepted = 0;
        for round in 0..rounds {
            let data = match round % 8 {
                0 => mutator.random(),
                _ => mutator.mutate(&seeds),
            };
            accepted += u64::from(run(target, &data));
        }
        println!("{}: {accepted} of {rounds} accepted", target.name);
        assert!(accepted < rounds, "{}: something is refused", target.name);
    }
}
