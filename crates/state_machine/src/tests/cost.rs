//! What applying costs. Prints numbers; run with `cargo test --release -p state_machine cost -- --ignored --nocapture`.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Instant;

use bson::doc;
use bson::oid::ObjectId;
use storage_engine::{Engine, LsmEngine, MemoryEngine, Options};

use super::host::{Host, create_index, insert, update, write};
use crate::{Command, SessionStamp, Statement, WriteCommand};

const COMMANDS: u64 = 100_000;
const SESSIONS: u64 = 256;

fn object_id(number: u64) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn stamped(mut command: WriteCommand, number: u64) -> Vec<u8> {
    let mut lsid = vec![9; 16];
    lsid[..8].copy_from_slice(&(number % SESSIONS).to_be_bytes());
    command.session = Some(SessionStamp {
        lsid,
        txn_number: (number / SESSIONS) as i64,
    });
    Command::Write(command).encode()
}

fn inserts(per_command: u64) -> Vec<Vec<u8>> {
    let text = "x".repeat(200);
    (0..COMMANDS / per_command)
        .map(|number| {
            let statements = (0..per_command)
                .map(|place| Statement {
                    statement_id: place as i32,
                    operation: insert(doc! {
                        "_id": object_id(number * per_command + place),
                        "n": number as i64,
                        "text": &text,
                    }),
                })
                .collect();
            stamped(
                WriteCommand {
                    statements,
                    ..write(vec![])
                },
                number,
            )
        })
        .collect()
}

fn updates() -> Vec<Vec<u8>> {
    (0..COMMANDS)
        .map(|number| {
            let place = object_id(number * 7919 % COMMANDS);
            let change = update(
                doc! { "_id": place },
                doc! { "$inc": { "n": 1_i64 } },
                vec![],
            );
            stamped(write(vec![change]), COMMANDS + number)
        })
        .collect()
}

fn measure(host: &mut Host, what: &str, commands: &[Vec<u8>]) {
    let mut index = host.machine.applied().index;
    let start = Instant::now();
    for command in commands {
        index += 1;
        host.machine.apply(index, 1, command).expect("sound");
        if host.machine.wants_rotate() {
            host.rotate();
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / COMMANDS as f64;
    println!("{what}: {each:.2} µs per document");
}

fn all(name: &str, open: impl Fn() -> Arc<dyn Engine>) {
    let mut host = Host::on(open());
    measure(&mut host, &format!("{name}, insert"), &inserts(1));
    measure(&mut host, &format!("{name}, $inc by _id"), &updates());
    let mut host = Host::on(open());
    measure(
        &mut host,
        &format!("{name}, insertMany of 1000"),
        &inserts(1000),
    );
    let mut host = Host::on(open());
    host.apply(&create_index(doc! { "n": 1 }, "n", doc! {}));
    measure(
        &mut host,
        &format!("{name}, insert with one index"),
        &inserts(1),
    );
    measure(
        &mut host,
        &format!("{name}, $inc of the indexed field"),
        &updates(),
    );
}

#[test]
#[ignore = "prints timings, checks nothing"]
fn cost_of_applying() {
    all("memory", || Arc::new(MemoryEngine::new()));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let number = std::cell::Cell::new(0);
    all("lsm", || {
        number.set(number.get() + 1);
        let engine = dir.path().join(number.get().to_string());
        LsmEngine::open(&engine, Options::default()).expect("an empty directory")
    });
}
