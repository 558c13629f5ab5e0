//! Bytes that go bad on a member's disk, with real processes: what `docs/operations.md` says of each case happens, under
//! load, and nothing acknowledged is lost.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bson::{Binary, doc, spec::BinarySubtype};
use end_to_end::load::{Load, verify};
use end_to_end::{Cluster, PATIENCE, cstore};

/// A damage: what is done to the stopped member's directory, and what its log must say then.
struct Case {
    name: &'static str,
    /// Whether the member was stopped or killed.
    clean: bool,
    damage: fn(&Path),
    says: &'static [&'static str],
}

fn flip(path: &Path, at: impl FnOnce(&[u8]) -> usize) {
    let mut bytes = std::fs::read(path).expect("readable");
    let at = at(&bytes);
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).expect("writable");
}

/// Files of a directory, by name.
fn files(directory: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("readable");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths
}

/// The newest segment that holds records.
fn newest_segment(directory: &Path) -> PathBuf {
    let mut begun = files(directory.join("wal")).into_iter().filter(|path| {
        let bytes = std::fs::read(path).expect("readable");
        let name = path
            .file_name()
            .expect("named")
            .to_string_lossy()
            .into_owned();
        name.starts_with("00") && bytes.starts_with(b"CSTORWAL")
    });
    begun.next_back().expect("a segment")
}

/// Where the last batch ends: at its mark, if the member stopped cleanly.
fn end_of(bytes: &[u8]) -> usize {
    let mark = bytes.windows(4).rposition(|window| window == b"SYND");
    let last = bytes.iter().rposition(|byte| *byte != 0);
    mark.or(last).expect("a segment with records")
}

const AS_NEW: &[&str] = &["comes back as member", "fetches everything from the others"];

const CASES: &[Case] = &[
    Case {
        name: "middle of a segment",
        clean: false,
        damage: |directory| flip(&newest_segment(directory), |bytes| end_of(bytes) / 2),
        says: AS_NEW,
    },
    Case {
        name: "last record",
        clean: true,
        damage: |directory| flip(&newest_segment(directory), |bytes| end_of(bytes) - 9),
        says: AS_NEW,
    },
    Case {
        name: "hard state, the first record of a segment",
        clean: true,
        damage: |directory| flip(&newest_segment(directory), |_| 64 + 32 + 34),
        says: AS_NEW,
    },
    Case {
        name: "wal/ emptied",
        clean: false,
        damage: |directory| {
            for file in files(directory.join("wal")) {
                std::fs::remove_file(file).expect("removes");
            }
        },
        says: AS_NEW,
    },
    Case {
        name: "identity",
        clean: true,
        damage: |directory| flip(&directory.join("identity"), |bytes| bytes.len() / 2),
        says: &["written again from identity.copy"],
    },
    Case {
        name: "identity and its copy",
        clean: false,
        damage: |directory| {
            flip(&directory.join("identity"), |bytes| bytes.len() / 2);
            flip(&directory.join("identity.copy"), |bytes| bytes.len() / 3);
        },
        says: AS_NEW,
    },
];

/// Waits until a member's log says something after its first `from` bytes.
async fn wait_for_words(cluster: &Cluster, member: usize, from: usize, words: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = cluster.log(member).split_off(from);
        if words.iter().all(|word| said.contains(word)) {
            return said;
        }
        assert!(Instant::now() < deadline, "{words:?} not in: {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_member_of_three_is_repaired_under_load() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.progress(200).await;
    for (round, case) in CASES.iter().enumerate() {
        println!("{}", case.name);
        let leader = cluster.leader().await;
        // The leader too, now and then.
        let member = if round % 3 == 0 {
            leader
        } else {
            (leader + 1) % 3
        };
        match case.clean {
            true => assert!(cluster.stop(member)),
            false => cluster.kill(member),
        }
        load.progress(50).await;
        (case.damage)(cluster.data_dir(member));
        let from = cluster.log(member).len();
        cluster.start_member(member);
        wait_for_words(&cluster, member, from, case.says).await;
        cluster.wait_until_whole().await;
        load.progress(50).await;
    }
    let written = load.finish().await;
    verify(&cluster, &client, written).await;
}

/// Documents that do not compress, so that a table has many blocks and the log several segments.
async fn write_noise(client: &mongodb::Client, count: u32) {
    let collection = client
        .database("test")
        .collection::<bson::Document>("noise");
    for number in 0..count {
        let mut state = u64::from(number) * 2 + 1;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        let bytes = (0..40_000).map(|_| noise()).collect();
        let subtype = BinarySubtype::Generic;
        let document = doc! { "_id": number, "noise": Binary { subtype, bytes } };
        collection.insert_one(document).await.expect("is written");
    }
}

fn damage_a_table(directory: &Path) {
    let tables = files(directory.join("engine/1/tables"));
    let largest = tables
        .iter()
        .max_by_key(|path| path.metadata().expect("readable").len());
    // In the middle of many blocks: nothing that the start needs.
    flip(largest.expect("a table"), |bytes| bytes.len() / 2);
}

/// Damage that no start notices is met while the member runs: it ends, says where, and its next start repairs it. While
/// the log holds everything, from that; without it, from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_goes_bad_is_met_while_running_and_repaired() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    write_noise(&client, 100).await;
    for log_too in [false, true] {
        let member = (cluster.leader().await + 1) % 3;
        assert!(cluster.stop(member));
        let directory = cluster.data_dir(member).to_owned();
        damage_a_table(&directory);
        let from = cluster.log(member).len();
        cluster.start_member(member);
        let ended = cluster.wait_for_end(member).await;
        assert!(!ended.success());
        let said = cluster.log(member).split_off(from);
        for part in ["is damaged", "/engine/1/tables/", "start it again"] {
            assert!(said.contains(part), "{part} not in: {said}");
        }
        assert!(directory.join("damaged").exists());
        let says: &[&str] = if log_too {
            for file in files(directory.join("wal")) {
                std::fs::remove_file(file).expect("removes");
            }
            AS_NEW
        } else {
            &["the engine is made anew from it"]
        };
        cluster.start_member(member);
        wait_for_words(&cluster, member, from, says).await;
        cluster.wait_until_whole().await;
        assert!(!directory.join("damaged").exists());
    }
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "{hashes:?}"
    );
}

/// Files that are gone as a whole: the segment before them says that there was more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_newest_segments_are_noticed_and_repaired() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    write_noise(&client, 60).await;
    cluster.wait_until_whole().await;
    let member = (cluster.leader().await + 1) % 3;
    cluster.kill(member);
    let segments = files(cluster.data_dir(member).join("wal"));
    assert!(segments.len() > 1, "{segments:?}");
    for segment in &segments[1..] {
        std::fs::remove_file(segment).expect("removes");
    }
    let from = cluster.log(member).len();
    cluster.start_member(member);
    wait_for_words(&cluster, member, from, AS_NEW).await;
    cluster.wait_until_whole().await;
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "{hashes:?}"
    );
}

/// What is damaged stands in the engine, durably: nobody is asked, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_below_the_durable_state_is_dropped() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    write_noise(&client, 60).await;
    let before = cluster.hashes().await;
    assert!(cluster.stop(0));
    let segments = files(cluster.data_dir(0).join("wal"));
    assert!(segments.len() > 1, "{segments:?}");
    flip(&segments[0], |bytes| bytes.len() / 2);
    cluster.start_member(0);
    let words = ["all that stood there is in the engine", "at offset"];
    wait_for_words(&cluster, 0, 0, &words).await;
    assert_eq!(cluster.hashes().await, before);
}

async fn run(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(cstore());
    command.args(arguments).arg("--data-dir").arg(directory);
    command.stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    output.expect("nothing panics there").expect("cstore runs")
}

fn text(output: &Output) -> String {
    let (said, errors) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(said).into_owned() + &String::from_utf8_lossy(errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_lone_member_refuses_and_says_what_to_do() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    write_noise(&client, 5).await;
    cluster.kill(0);
    let directory = cluster.data_dir(0).to_owned();
    let segment = newest_segment(&directory);
    flip(&segment, |bytes| end_of(bytes) / 2);
    let before = std::fs::read(&segment).expect("readable");
    for _ in 0..2 {
        cluster.start_member(0);
        assert!(!cluster.wait_for_end(0).await.success());
    }
    let said = cluster.log(0);
    for part in [
        &*segment.to_string_lossy(),
        "at offset",
        "the only member",
        "cstore recover",
    ] {
        assert!(said.contains(part), "{part} not in: {said}");
    }
    assert_eq!(std::fs::read(&segment).expect("readable"), before);

    let checked = run(&["check"], &directory).await;
    assert!(
        !checked.status.success() && text(&checked).contains("DAMAGED"),
        "{}",
        text(&checked)
    );
    let asked = run(&["recover", "--accept-data-loss"], &directory).await;
    assert!(
        !asked.status.success(),
        "nobody confirmed: {}",
        text(&asked)
    );
    assert_eq!(std::fs::read(&segment).expect("readable"), before);
    let done = run(&["recover", "--accept-data-loss", "--yes"], &directory).await;
    assert!(done.status.success(), "{}", text(&done));
    cluster.start_member(0);
    let noise = client
        .database("test")
        .collection::<bson::Document>("noise");
    let left = noise.count_documents(doc! {}).await.expect("it serves");
    assert!(
        left < 5,
        "what stood behind the damage is gone, and said to be"
    );
    assert!(
        run(&["check"], &directory).await.status.code() == Some(1),
        "it runs"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_damaged_members_of_three_refuse_and_the_third_can_go_on_alone() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    write_noise(&client, 5).await;
    cluster.wait_until_whole().await;
    for member in 0..3 {
        cluster.kill(member);
    }
    for member in [1, 2] {
        let segment = newest_segment(cluster.data_dir(member));
        flip(&segment, |bytes| end_of(bytes) / 2);
    }
    let before = |member: usize| std::fs::read(newest_segment(cluster.data_dir(member)));
    let segments = [before(1), before(2)].map(|bytes| bytes.expect("readable"));
    for member in 0..3 {
        cluster.start_member(member);
    }
    let words = [
        "at offset",
        "a majority of the members without it",
        "no leader",
        "cstore recover",
    ];
    for (member, segment) in [1, 2].into_iter().zip(segments) {
        wait_for_words(&cluster, member, 0, &words).await;
        let now = std::fs::read(newest_segment(cluster.data_dir(member))).expect("readable");
        assert_eq!(now, segment, "nothing was changed");
    }
    for member in 0..3 {
        cluster.kill(member);
    }
    let done = run(
        &["recover", "--force-new-cluster", "--yes"],
        cluster.data_dir(0),
    )
    .await;
    assert!(
        done.status.success() && text(&done).contains("WARNING"),
        "{}",
        text(&done)
    );
    cluster.start_member(0);
    cluster.wait_for_voters(1).await;
    for member in [1, 2] {
        std::fs::remove_dir_all(cluster.data_dir(member)).expect("wipes");
        cluster.start_member(member);
    }
    cluster.wait_until_whole().await;
    let noise = client
        .database("test")
        .collection::<bson::Document>("noise");
    assert_eq!(noise.count_documents(doc! {}).await.expect("it serves"), 5);
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "{hashes:?}"
    );
}
