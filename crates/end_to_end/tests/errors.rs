//! What an operator gets wrong, and what the program says to it: the thing, what happened, what to do.

use std::process::{Command, Output};
use std::time::Instant;

use bson::doc;
use end_to_end::{Cluster, PATIENCE, cstore};

fn cstore_says(arguments: &[&str]) -> (bool, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(cstore())
        .args(arguments)
        .output()
        .expect("cstore runs");
    let said = [stdout, stderr].concat();
    (
        status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn assert_refused(arguments: &[&str], words: &[&str]) {
    let (success, said) = cstore_says(arguments);
    assert!(!success, "{arguments:?}: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?}: {word:?} is not in {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_named() {
    let cluster = Cluster::start(1).await;
    let data_dir = cluster.data_dir(0).to_str().expect("a path in UTF-8");
    let listen = cluster.listen(0);
    let other = tempfile::tempdir().expect("temporary directory");
    let empty = other.path().join("empty");
    let empty = empty.to_str().expect("a path in UTF-8");

    let free = [
        "--listen",
        "127.0.0.1:0",
        "--peer-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let serve = |directory: &str, rest: &[&str]| -> Vec<String> {
        let start = ["serve", "--data-dir", directory];
        start
            .iter()
            .chain(rest)
            .map(|text| (*text).to_owned())
            .collect()
    };
    let refused = |arguments: Vec<String>, words: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_refused(&arguments, words);
    };
    refused(
        serve(data_dir, &free),
        &["in use by another process", "--data-dir"],
    );
    refused(
        serve(
            empty,
            &[
                "--listen",
                listen,
                "--peer-listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ],
        ),
        &["cannot listen for clients", listen, "--listen"],
    );
    std::fs::write(other.path().join("letter.txt"), "dear").expect("writes");
    let foreign = other.path().to_str().expect("a path in UTF-8");
    refused(
        serve(foreign, &free),
        &["not a Collection Store directory", "--data-dir"],
    );
    refused(serve(empty, &["--listen", "0.0.0.0:0"]), &["--insecure"]);
    assert_refused(
        &["serve", "--data-dri", empty],
        &["--data-dri", "--data-dir"],
    );
    assert_refused(
        &["status", "--uri", "mongodb://127.0.0.1:1"],
        &["127.0.0.1:1"],
    );
    assert_refused(
        &[
            "import",
            "--uri",
            &format!("mongodb://{listen}"),
            "/no/such/file.json",
        ],
        &["/no/such/file.json"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_is_named() {
    let mut cluster = Cluster::start(2).await;
    cluster.kill(0);
    // Somebody empties the founder's directory: it founds another cluster at the address of the first.
    std::fs::remove_dir_all(cluster.data_dir(0)).expect("removes");
    cluster.start_member(0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(status) = cluster.command(1, doc! { "cstoreStatus": 1 }).await
            && status.to_string().contains("belongs to another cluster")
        {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "nobody says so: {}",
            cluster.log(1)
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
