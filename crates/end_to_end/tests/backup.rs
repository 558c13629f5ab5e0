//! Backups of a working cluster, new clusters made from them, and archives replayed up to a point: real processes, a real
//! driver.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bson::{Document, doc};
use end_to_end::load::Load;
use end_to_end::{Cluster, PATIENCE, cstore};
use mongodb::Client;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(cstore());
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("cstore runs")
}

fn succeeds(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refuses(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A place for a test's files.
fn scratch() -> tempfile::TempDir {
    let parent = cstore().parent().expect("the program is in a directory");
    let prefix = "backup-";
    let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
    made.expect("writable target directory")
}

/// The hashes that a backup's trailer holds, as `cstoreHash` gives them.
fn hashes_of(verified: &str) -> Vec<(String, String)> {
    let lines = verified.lines().skip(1);
    let mut hashes: Vec<_> = lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let hash = words.next().expect("a hash").to_owned();
            (words.next().expect("a collection").to_owned(), hash)
        })
        .collect();
    hashes.sort();
    hashes
}

async fn hashes(cluster: &Cluster) -> Vec<(String, String)> {
    let members = cluster.hashes().await;
    assert!(members.windows(2).all(|pair| pair[0] == pair[1]));
    let of = |collection: &bson::Bson| {
        let collection = collection.as_document().expect("a document");
        let text = |field: &str| collection.get_str(field).expect("text").to_owned();
        (text("ns"), text("hash"))
    };
    let mut hashes: Vec<_> = members[0].iter().map(of).collect();
    hashes.sort();
    hashes
}

/// A cluster whose first member was restored with these arguments.
async fn restored(count: usize, arguments: &[&str]) -> Cluster {
    Cluster::start_prepared(count, &[], |member, directory| {
        if member == 0 {
            let mut all = vec!["restore", "--data-dir", text(directory)];
            all.extend(arguments);
            succeeds(&all);
        }
    })
    .await
}

async fn insert(client: &Client, collection: &str, ids: std::ops::Range<i32>) {
    let documents: Vec<Document> = ids
        .map(|id| doc! { "_id": id, "text": format!("document {id}"), "tags": ["a", id] })
        .collect();
    let collection = client.database("shop").collection(collection);
    let inserted = collection.insert_many(documents).await;
    inserted.expect("is written");
}

async fn count(client: &Client, collection: &str) -> u64 {
    let collection = client.database("shop").collection::<Document>(collection);
    let counted = collection.count_documents(doc! {}).await;
    counted.expect("is counted")
}

/// Inserts under a session and number of the test's own, which a driver would replace by its own: one message, by hand.
fn stamped_insert(address: &str) -> Document {
    let session = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![0x42; 16],
    };
    let command = doc! {
        "insert": "stamped", "documents": [{ "_id": 1 }], "$db": "shop",
        "lsid": { "id": session }, "txnNumber": 1_i64,
    };
    let body = command.to_vec().expect("it can be encoded");
    let length = 16 + 4 + 1 + body.len();
    let mut message = Vec::new();
    // Length, request, response to, OP_MSG, flags.
    for number in [i32::try_from(length).expect("short"), 1, 0, 2013, 0] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&body);
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(&message).expect("it is read");
    let mut head = [0; 21];
    stream.read_exact(&mut head).expect("it answers");
    Document::from_reader(&mut stream).expect("a reply")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_becomes_the_same_collections() {
    let scratch = scratch();
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    insert(&client, "before", 0..3_000).await;
    let index =
        doc! { "createIndexes": "before", "indexes": [{ "key": { "tags": 1 }, "name": "tags" }] };
    let shop = client.database("shop");
    shop.run_command(index).await.expect("is built");
    let first = stamped_insert(cluster.listen(cluster.leader().await));
    assert_eq!(first.get_i32("n").expect("a count"), 1, "{first}");
    let load = Load::start(&client, 4);
    load.progress(100).await;

    let file = scratch.path().join("everything.backup");
    let said = cluster
        .cstore(&["backup", "--out", text(&file), "--mib-per-second", "2"])
        .await;
    load.progress(100).await;
    load.finish().await;
    let leading = cluster.listen(cluster.leader().await).to_owned();
    assert!(
        !said.contains(&leading),
        "it was taken from a follower: {said}"
    );
    let again = cluster
        .cstore_refuses(&["backup", "--out", text(&file)])
        .await;
    assert!(again.contains("--force"), "{again}");
    let wanted = hashes_of(&succeeds(&["backup", "--verify", text(&file)]));
    drop(cluster);

    let new = restored(3, &["--from", text(&file)]).await;
    assert_eq!(hashes(&new).await, wanted);
    let client = new.client().await;
    assert_eq!(count(&client, "before").await, 3_000);
    // The retry of a write that the backup holds is answered, not repeated.
    let retried = stamped_insert(new.listen(new.leader().await));
    assert_eq!(retried.get_i32("n").expect("a count"), 1, "{retried}");
    insert(&client, "after", 0..10).await;
    let checked = new.cstore(&["check"]).await;
    assert!(checked.contains("identical on 3 members"), "{checked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_through_a_pipe_into_a_new_cluster() {
    let cluster = Cluster::start(1).await;
    insert(&cluster.client().await, "piped", 0..2_000).await;
    let wanted = hashes(&cluster).await;
    let uri = cluster.uri();
    let new = Cluster::start_prepared(1, &[], |_, directory| {
        let mut backup = Command::new(cstore())
            .args(["backup", "--out", "-", "--uri", &uri])
            .stdout(Stdio::piped())
            .spawn()
            .expect("cstore runs");
        let restored = Command::new(cstore())
            .args(["restore", "--from", "-", "--data-dir", text(directory)])
            .stdin(backup.stdout.take().expect("piped"))
            .output()
            .expect("cstore runs");
        assert!(restored.status.success(), "{restored:?}");
        assert!(backup.wait().expect("it ends").success());
    })
    .await;
    assert_eq!(hashes(&new).await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_cut_off_or_in_use_is_refused_by_name() {
    let scratch = scratch();
    let cluster = Cluster::start(1).await;
    insert(&cluster.client().await, "things", 0..2_000).await;
    let file = scratch.path().join("whole");
    cluster.cstore(&["backup", "--out", text(&file)]).await;
    let whole = std::fs::read(&file).expect("readable");
    let new = scratch.path().join("new");

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let cut = &whole[..whole.len() - 100];
    for (name, bytes, words) in [
        (
            "damaged",
            damaged.as_slice(),
            ["is damaged in chunk", "at offset"],
        ),
        ("cut", cut, ["cut off", "at offset"]),
        ("other", b"{}".as_slice(), ["not a backup", "other"]),
    ] {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        let verified = refuses(&["backup", "--verify", text(&path)]);
        let restored = refuses(&["restore", "--from", text(&path), "--data-dir", text(&new)]);
        assert!(
            words.iter().all(|word| verified.contains(word)),
            "{verified}"
        );
        assert!(restored.contains(words[0]), "{restored}");
        let left = std::fs::read_dir(&new).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing is left behind");
    }
    let used = cluster.data_dir(0);
    let refused = refuses(&["restore", "--from", text(&file), "--data-dir", text(used)]);
    assert!(refused.contains("is not empty"), "{refused}");
    succeeds(&["restore", "--from", text(&file), "--data-dir", text(&new)]);
}

/// A field of every reachable member's status.
async fn of_members(cluster: &Cluster, asked: usize, field: &str) -> Vec<i64> {
    let status = cluster.command(asked, doc! { "cstoreStatus": 1 }).await;
    let status = status.expect("it answers");
    let members = status.get_array("members").expect("members");
    let members = members.iter().filter_map(bson::Bson::as_document);
    let reachable = members.filter(|member| member.get_bool("reachable").unwrap_or(false));
    reachable
        .map(|member| member.get_i64(field).unwrap_or(0))
        .collect()
}

/// Waits until every running member has archived what is applied now; up to which index.
async fn archived(cluster: &Cluster) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    let asked = cluster.running()[0];
    let applied = of_members(cluster, asked, "applied_index").await;
    let wanted = applied.into_iter().max().expect("somebody runs");
    loop {
        let archived = of_members(cluster, asked, "archived_index").await;
        if archived.iter().all(|index| *index >= wanted) {
            return wanted;
        }
        assert!(Instant::now() < deadline, "{archived:?}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn now() -> bson::DateTime {
    bson::DateTime::from(SystemTime::now())
}

/// A time that is later than everything before and earlier than everything after, by the clock that all members share.
async fn between() -> String {
    let at = now();
    let later = |than: bson::DateTime| async move {
        while now() <= than {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    later(at).await;
    let between = now();
    later(between).await;
    between.try_to_rfc3339_string().expect("a time")
}

fn archive_files(directory: &Path) -> Vec<PathBuf> {
    let clusters = std::fs::read_dir(directory).expect("readable");
    let cluster = clusters.flatten().next().expect("one cluster").path();
    let files = std::fs::read_dir(cluster).expect("readable");
    let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_restored_to_a_time_and_to_an_index() {
    let scratch = scratch();
    let archive = scratch.path().join("archive");
    let mut cluster = Cluster::start_with(3, &["--archive-dir", text(&archive)]).await;
    let client = cluster.client().await;
    insert(&client, "first", 0..200).await;
    let file = scratch.path().join("backup");
    cluster.cstore(&["backup", "--out", text(&file)]).await;
    insert(&client, "second", 0..200).await;
    let before_the_mistake = between().await;
    client.database("shop").drop().await.expect("is dropped");
    let index_of_the_mistake = archived(&cluster).await;
    // Another leader archives on.
    let leader = cluster.leader().await;
    cluster.kill(leader);
    insert(&client, "third", 0..200).await;
    archived(&cluster).await;
    let stopped = cluster.running();
    for member in stopped {
        cluster.kill(member);
    }
    drop(cluster);

    let from = ["--from", text(&file), "--archive-dir", text(&archive)];
    let counts = async |more: &[&str]| {
        let new = restored(1, &[&from, more].concat()).await;
        let client = new.client().await;
        let mut counts = Vec::new();
        for collection in ["first", "second", "third"] {
            counts.push(count(&client, collection).await);
        }
        counts
    };
    assert_eq!(
        counts(&["--to-time", &before_the_mistake]).await,
        [200, 200, 0]
    );
    let index = index_of_the_mistake.to_string();
    assert_eq!(counts(&["--to-index", &index]).await, [0, 0, 0]);
    assert_eq!(counts(&[]).await, [0, 0, 200]);

    let new = scratch.path().join("new");
    let refuse = |more: &[&str]| {
        let to = ["restore", "--data-dir", text(&new)];
        refuses(&[&to, from.as_slice(), more].concat())
    };
    let early = refuse(&["--to-time", "2020-01-01T00:00:00Z"]);
    assert!(early.contains("older backup"), "{early}");
    let far = refuse(&["--to-index", "99999999"]);
    assert!(far.contains("to 99999999 are not in it"), "{far}");
    for path in archive_files(&archive) {
        // The first kilobyte: head and first block stay readable or not, the rest is gone.
        let bytes = std::fs::read(&path).expect("readable");
        std::fs::write(&path, &bytes[..bytes.len().min(200)]).expect("writable");
    }
    let gap = refuse(&["--to-index", &index]);
    assert!(
        gap.contains("are not in it") || gap.contains("lacks the entries"),
        "{gap}"
    );
    assert!(!new.exists(), "nothing was begun");
}
