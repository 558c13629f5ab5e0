//! `cstore status` says where the bytes are, and `cstore bench` what a load costs and how it went, on three real members.

use std::path::Path;
use std::process::Command;

use bson::{Document, doc};
use end_to_end::{Cluster, cstore};
use serde_json::Value;

/// Runs `cstore` to its end and returns what it printed.
fn run(arguments: &[&str]) -> String {
    let output = Command::new(cstore())
        .args(arguments)
        .output()
        .expect("cstore starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

async fn in_background(arguments: Vec<String>) -> String {
    let running = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&arguments)
    });
    running.await.expect("no panic")
}

fn arguments(list: &[&str]) -> Vec<String> {
    list.iter().map(|argument| (*argument).to_owned()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(value: &Value, field: &str) -> u64 {
    let number = value[field].as_u64();
    number.unwrap_or_else(|| panic!("no number {field}: {value}"))
}

/// Bytes of the files whose names end like this.
fn bytes_of(directory: &Path, ending: &str) -> u64 {
    let files = std::fs::read_dir(directory).expect("readable").flatten();
    files
        .filter(|file| file.file_name().to_string_lossy().ends_with(ending))
        .map(|file| file.metadata().expect("readable").len())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_where_the_bytes_are() {
    let cluster = Cluster::start(3).await;
    let things = cluster
        .client()
        .await
        .database("test")
        .collection::<Document>("things");
    things
        .create_index(mongodb::IndexModel::builder().keys(doc! { "n": 1 }).build())
        .await
        .expect("creates");
    let text = "x".repeat(1000);
    let documents = (0..2000).map(|n| doc! { "_id": n, "n": n, "text": &text });
    things.insert_many(documents).await.expect("inserts");
    let aside = cluster.data_dir(1).join("damaged-9/engine");
    std::fs::create_dir_all(&aside).expect("writable");
    std::fs::write(aside.join("table"), [7; 12_345]).expect("writable");

    let uri = cluster.uri();
    // A member may apply what a majority has a moment later.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let status = loop {
        let status = json(&in_background(arguments(&["status", "--json", "--uri", &uri])).await);
        let members = status["members"].as_array().expect("members");
        let applied = |it: &Value| number(&it["space"], "memtable_bytes") > 1_500_000;
        if status["collections"][0]["documents"] == 2000 && members.iter().all(applied) {
            break status;
        }
        assert!(std::time::Instant::now() < deadline, "{status}");
    };
    let members = status["members"].as_array().expect("members");
    assert_eq!(members.len(), 3);
    for member in 0..3 {
        let listen = cluster.listen(member);
        let shown = members.iter().find(|it| it["listen"] == listen);
        let space = &shown.expect("every member is shown")["space"];
        let files = bytes_of(&cluster.data_dir(member).join("wal"), ".wal");
        let log = number(space, "log_bytes") + number(space, "log_spare_bytes");
        // The next segment may be in the making.
        assert!(log >= files / 2 && log <= 2 * files, "{files}: {space}");
        assert!(number(space, "log_written_bytes") > 0, "{space}");
        assert!(number(space, "log_fsyncs") > 0, "{space}");
        let free = number(space, "disk_free_bytes");
        assert!(free > 0 && free <= number(space, "disk_bytes"), "{space}");
        let damaged = if member == 1 { 12_345 } else { 0 };
        assert_eq!(number(space, "damaged_bytes"), damaged, "{space}");
    }
    let things = &status["collections"][0];
    assert_eq!(things["ns"], "test.things");
    assert!(number(things, "document_bytes") > 2_000_000, "{things}");
    assert!(number(things, "index_bytes_estimated") > 20_000, "{things}");

    let table = in_background(arguments(&["status", "--uri", &uri])).await;
    assert!(
        table.contains("damaged") && table.contains("12.06 KiB"),
        "{table}"
    );
    assert!(table.contains("test.things"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_shows_how_a_paced_load_went_and_what_it_cost() {
    let cluster = Cluster::start(3).await;
    let uri = cluster.uri();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (picture, series) = (file("latency.svg"), file("series.json"));
    let line = format!(
        "bench --workload insert --concurrency 8 --rate 200 --duration 3 --warmup 0.5 --plot {picture} --json {series} --uri"
    );
    let mut all: Vec<String> = line.split(' ').map(str::to_owned).collect();
    all.push(uri.clone());
    let text = in_background(all).await;
    assert!(text.contains("fsyncs/s"), "{text}");
    assert!(text.contains("per byte of documents"), "{text}");

    let result = json(&std::fs::read_to_string(series).expect("it was written"));
    let operations = number(&result, "operations");
    // So many are due in three seconds, whether they are fast or not.
    assert!((550..=600).contains(&operations), "{result}");
    let points = result["series"].as_array().expect("a series");
    let counted: u64 = points.iter().map(|point| number(point, "operations")).sum();
    assert_eq!(counted, operations, "{result}");
    for point in points
        .iter()
        .filter(|point| number(point, "operations") > 0)
    {
        assert!(
            number(point, "p50_us") <= number(point, "max_us"),
            "{point}"
        );
    }
    let storage = &result["storage"];
    assert!(
        storage["fsyncs_per_second"].as_f64() > Some(0.0),
        "{storage}"
    );
    assert!(
        storage["write_amplification"].as_f64() > Some(1.0),
        "{storage}"
    );
    assert!(
        number(storage, "user_bytes") >= 256 * operations,
        "{storage}"
    );

    let picture = std::fs::read_to_string(picture).expect("it was drawn");
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    assert_eq!(
        picture.matches("<path").count(),
        4,
        "three latencies and throughput"
    );

    let counted = "bench --workload mixed --concurrency 4 --operations 300 --documents 50 --warmup 0 --json --uri";
    let mut all: Vec<String> = counted.split(' ').map(str::to_owned).collect();
    all.push(uri);
    let result = json(&in_background(all).await);
    assert_eq!(number(&result, "operations"), 300);
}
