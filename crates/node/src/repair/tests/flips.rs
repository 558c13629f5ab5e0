//! One flipped byte anywhere in the directory of a stopped lone member: its start shows the same state, or says what is
//! damaged. Nobody else could help, so nothing may be dropped.

use std::path::Path;

use super::*;
use crate::tests::namespace;

const CASES: u64 = 120;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in content(from) {
        let target = to.join(path.strip_prefix(from).expect("below it"));
        std::fs::create_dir_all(target.parent().expect("in a directory")).expect("creates");
        std::fs::write(target, bytes).expect("writes");
    }
}

/// A lone member's directory; if `short`, the log has lost its beginning, and the engine is needed.
fn template(short: bool) -> (TempDir, NodeConfig) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut config = config(directory.path(), &[]);
    config.log_segment_bytes = 8 << 10;
    config.memtable_bytes = 16 << 10;
    if short {
        config.log_retained_entries = 30;
    }
    let node = start(config.clone()).expect("starts");
    for id in 0..200 {
        write(std::slice::from_ref(&node), id);
    }
    node.stop();
    (directory, config)
}

/// What a start of the directory shows: the documents' hash, or the reason it gives for not showing it.
fn outcome(config: &NodeConfig) -> Result<String, String> {
    let node = start(config.clone()).map_err(|error| error.to_string())?;
    let (sender, ended) = crossbeam_channel::bounded(1);
    let waiting = node.clone();
    std::thread::spawn(move || sender.send(waiting.wait().to_string()));
    let shown = loop {
        if let Ok(reason) = ended.try_recv() {
            return Err(reason);
        }
        if node.status().writable && node.indices().applied == node.indices().last {
            let snapshot = node.reader().snapshot();
            let hash = snapshot.collection_hash(&namespace());
            break hash.map(|hash| format!("{hash:?}"));
        }
        std::thread::yield_now();
    };
    node.stop();
    shown.map_err(|fault| fault.to_string())
}

#[test]
fn a_flipped_byte_is_without_effect_or_is_told() {
    let seed = std::env::var("FLIPS_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("FLIPS_SEED={seed}");
    let mut random = Random(seed);
    let (mut served, mut refused) = (0, 0);
    for short in [false, true] {
        let (directory, config) = template(short);
        let first = directory.path().join("wal/0000000000000001.wal");
        assert_eq!(first.exists(), !short);
        let in_copy = |change: &dyn Fn(&Path)| {
            let trial = tempfile::tempdir().expect("temporary directory");
            copy(directory.path(), trial.path());
            change(trial.path());
            outcome(&NodeConfig {
                data_dir: trial.path().to_owned(),
                ..config.clone()
            })
        };
        let expected = in_copy(&|_| {}).expect("whole");
        let files: Vec<(PathBuf, Vec<u8>)> = content(directory.path())
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .collect();
        for _ in 0..CASES / 2 {
            let (path, bytes) = &files[random.below(files.len())];
            // Most of a log is zeros that nothing reads.
            let from = random.below(bytes.len());
            let at = (from..bytes.len())
                .find(|at| bytes[*at] != 0)
                .unwrap_or(from);
            let mask = 1 + random.below(255) as u8;
            let name = path.strip_prefix(directory.path()).expect("below it");
            let what = format!("{} at {at} ^ {mask}", name.display());
            println!("{what}");
            let shown = in_copy(&|trial| {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                std::fs::write(trial.join(name), flipped).expect("writes");
            });
            match shown {
                Ok(shown) => {
                    assert_eq!(shown, expected, "{what}");
                    served += 1;
                }
                Err(reason) => {
                    assert!(reason.contains("damaged"), "{what}: {reason}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        served > 10 && refused > 10,
        "{served} served, {refused} refused"
    );
}
