//! What stands in log entries, in the engine, in snapshots and in the small files of a data directory.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bson::raw::RawDocument;
use bson::{Document, RawDocumentBuf, rawdoc};
use consensus::{HardState, LogIndex, Member, Membership, NodeId, Payload, Term};
use node::{Addresses, MemberContext, examine_directory};
use platform::{Disk, DiskFile, OpenOptions, SimulatedDisk};
use state_machine::{
    CHUNK_HEADER_BYTES, Command, Export, Namespace, Progress, SnapshotImport, StateMachine,
    chunk_bytes,
};
use storage_engine::{BulkLoad, Engine, MemoryEngine, StorageFault, Version};

use crate::entry_codec;

/// The state that seeds are taken from is as of this index.
const INDEX: u64 = 9;
const TERM: u64 = 1;

pub(crate) fn entry(data: &[u8]) -> bool {
    let Ok(entry) = entry_codec::decode_entry(7, data) else {
        return false;
    };
    let header = entry_codec::entry_header(&entry);
    assert_eq!(
        &data[..header.len()],
        &header,
        "what was read is what was written"
    );
    true
}

pub(crate) fn entry_seeds() -> Vec<Vec<u8>> {
    let term = 3_u64.to_le_bytes();
    let with_kind = |kind: u8, body: &[u8]| [&[1, kind], &term[..], body].concat();
    let mut seeds = vec![with_kind(0, b""), with_kind(1, b"a command")];
    seeds.extend(membership_seeds().iter().map(|body| with_kind(2, body)));
    seeds
}

pub(crate) fn membership(data: &[u8]) -> bool {
    let Ok(membership) = entry_codec::decode_membership(data) else {
        return false;
    };
    let again = entry_codec::decode_membership(&entry_codec::encode_membership(&membership));
    assert_eq!(
        again,
        Ok(membership),
        "what was read can be written and read again"
    );
    true
}

pub(crate) fn membership_seeds() -> Vec<Vec<u8>> {
    let mut membership = entry_codec::empty_membership();
    let mut seeds = vec![entry_codec::encode_membership(&membership)];
    for id in 1..=3 {
        let context = Payload::from(format!("peer=127.0.0.1:{id}\n").into_bytes());
        membership.members.insert(NodeId(id), Member::new(context));
        membership.voters.insert(NodeId(id));
    }
    membership.next_node_id = 4;
    seeds.push(entry_codec::encode_membership(&membership));
    let joint = Membership {
        outgoing: Some(BTreeSet::from([NodeId(1), NodeId(2)])),
        ..membership.clone()
    };
    seeds.push(entry_codec::encode_membership(&joint));
    for member in membership.members.values_mut() {
        member.priority = 7;
    }
    seeds.push(entry_codec::encode_membership(&membership));
    seeds
}

pub(crate) fn hard_state(data: &[u8]) -> bool {
    let Ok(state) = entry_codec::decode_hard_state(data) else {
        return false;
    };
    let written = entry_codec::encode_hard_state(&state);
    assert!(
        data.starts_with(&written),
        "what was read is what was written"
    );
    true
}

pub(crate) fn hard_state_seeds() -> Vec<Vec<u8>> {
    let voted = HardState {
        term: Term(5),
        vote: Some(NodeId(2)),
        commit: LogIndex(40),
    };
    vec![
        entry_codec::encode_hard_state(&HardState::default()),
        entry_codec::encode_hard_state(&voted),
    ]
}

/// Unknown lines are left to newer versions: everything is accepted, and what was understood is written again.
pub(crate) fn member_context(data: &[u8]) -> bool {
    let context = MemberContext::decode(data);
    let again = MemberContext::decode(&context.encode());
    assert_eq!(
        again, context,
        "what was read can be written and read again"
    );
    context.directory != [0; 16]
}

pub(crate) fn member_context_seeds() -> Vec<Vec<u8>> {
    let context = MemberContext {
        directory: [7; 16],
        addresses: Addresses {
            client: "127.0.0.1:27017".to_owned(),
            peer: "127.0.0.1:37017".to_owned(),
            admin: "127.0.0.1:28017".to_owned(),
        },
        feature_level: 2,
        priority: 5,
    };
    vec![context.encode().to_vec()]
}

const DATA_DIR: &str = "/fuzzed-data-directory";
const SMALL_FILES: &[&str] = &[
    "identity",
    "identity.copy",
    "peers",
    "repairing",
    "damaged",
    "engine/CURRENT",
];

/// The small files of a stopped data directory. Input: for each its length, u16, and its text.
pub(crate) fn data_directory(mut data: &[u8]) -> bool {
    let disk = SimulatedDisk::new(1);
    let directory = Path::new(DATA_DIR);
    let made = disk.create_dir_all(&directory.join("engine"));
    made.expect("a fresh disk");
    disk.create_dir_all(&directory.join("wal"))
        .expect("a fresh disk");
    for name in SMALL_FILES {
        let Some((length, rest)) = data.split_first_chunk::<2>() else {
            break;
        };
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let options = OpenOptions {
            create: true,
            write: true,
            ..OpenOptions::default()
        };
        let file = disk.open(&directory.join(name), options);
        let written = file.and_then(|file| file.write_all_at(&rest[..length], 0));
        written.expect("the simulated disk has room");
        data = &rest[length..];
    }
    let Ok(report) = examine_directory(&disk, directory) else {
        return false;
    };
    report.damage.is_empty()
}

pub(crate) fn data_directory_seeds() -> Vec<Vec<u8>> {
    let seal = |text: &str| format!("{text}checksum={:08x}\n", crc32c::crc32c(text.as_bytes()));
    let digits = "0123456789abcdef0123456789abcdef";
    let identity = seal(&format!(
        "format_version=2\ncluster_id={digits}\nnode_id=3\ndirectory={digits}\nfounder=false\n"
    ));
    let peers = seal(&format!(
        "cluster_id={digits}\nself=3\nmember=1 127.0.0.1:1\n"
    ));
    let repairing = seal(&format!(
        "cause=x\nwas=3 {digits}\ndirectory={digits}\naside=damaged-1\n"
    ));
    let damaged = seal("cause=a bad block\n");
    let files = |texts: &[&str]| {
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    };
    vec![
        files(&[&identity, &identity]),
        files(&[&identity, &identity, &peers, &repairing, &damaged, "1\n"]),
    ]
}

pub(crate) fn command(data: &[u8]) -> bool {
    let Ok(command) = Command::decode(data) else {
        return false;
    };
    let again = Command::decode(&command.encode()).map(|again| again.encode());
    assert_eq!(
        again,
        Ok(command.encode()),
        "what was read can be written and read again"
    );
    // Applied it is an entry like any other: it changes the state or is refused, on every member alike.
    let mut machine = seed_machine();
    let applied = machine.apply(INDEX + 1, TERM, data);
    applied.expect("an engine in memory has no faults");
    true
}

fn things() -> Namespace {
    Namespace::new("d", "things")
}

fn commands() -> Vec<Command> {
    use state_machine::command::{Image, Operation, SessionStamp, Statement, Upsert, WriteCommand};
    let write = |operation: Operation| {
        Command::Write(WriteCommand {
            namespace: things(),
            session: Some(SessionStamp {
                lsid: vec![7; 16],
                txn_number: 4,
            }),
            ordered: true,
            now_ms: 1_700_000_000_000,
            terms: Default::default(),
            statements: vec![Statement {
                statement_id: 0,
                operation,
            }],
        })
    };
    vec![
        Command::CreateCollection {
            namespace: things(),
            options: rawdoc! {},
        },
        Command::CreateIndexes {
            namespace: things(),
            specs: vec![rawdoc! { "key": { "a": 1 }, "name": "a", "unique": true }],
        },
        write(Operation::Insert {
            document: rawdoc! { "_id": 1, "a": [1, 2], "b": { "c": "text" } },
        }),
        write(Operation::Update {
            filter: rawdoc! { "_id": 1 },
            update: rawdoc! { "$set": { "a": 9 }, "$push": { "d": 1 } }.into(),
            array_filters: Vec::new(),
            candidates: vec![bson::RawBson::Int32(1)],
            multi: false,
            upsert: Some(Upsert { generated_id: None }),
            image: Image::After,
        }),
        write(Operation::Delete {
            filter: rawdoc! { "a": { "$gt": 100 } },
            candidates: Vec::new(),
            multi: true,
            image: Image::None,
        }),
        Command::RenameCollection {
            from: things(),
            to: Namespace::new("d", "other"),
            drop_target: false,
        },
        Command::ExpireSessions {
            last_used_before_ms: 5,
            after: Vec::new(),
            limit: 10,
        },
    ]
}

pub(crate) fn command_seeds() -> Vec<Vec<u8>> {
    commands().iter().map(Command::encode).collect()
}

/// A state with a collection, an index, a session and a document, as of `INDEX`.
fn seed_engine() -> (Arc<MemoryEngine>, StateMachine) {
    let engine = Arc::new(MemoryEngine::new());
    let opened = StateMachine::open(engine.clone());
    let mut machine = opened.expect("an engine in memory has no faults");
    for (at, command) in commands().iter().take(4).enumerate() {
        let applied = machine.apply(at as u64 + 1, TERM, &command.encode());
        applied.expect("an engine in memory has no faults");
    }
    for index in 5..=INDEX {
        machine.apply_noop(index, TERM);
    }
    machine.before_rotate();
    engine.rotate();
    (engine, machine)
}

fn seed_machine() -> StateMachine {
    seed_engine().1
}

fn all_entries() -> Vec<(Vec<u8>, Vec<u8>)> {
    let (engine, _) = seed_engine();
    let entries = engine.range(Bound::Unbounded, Bound::Unbounded, INDEX);
    entries
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect::<Result<_, StorageFault>>()
        .expect("an engine in memory has no faults")
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
    bytes.extend_from_slice(part);
}

fn take<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (part, rest) = rest.split_at_checked(length)?;
    *data = rest;
    Some(part)
}

/// The engine's records as a start reads them: position, catalog, counters. Input: key and value, each with its length, u32.
pub(crate) fn records(mut data: &[u8]) -> bool {
    let mut batch: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    while let Some(key) = take(&mut data) {
        let Some(value) = take(&mut data) else {
            break;
        };
        // The engine's own key is not the callers'.
        if key > &[0][..] {
            batch.push((key.to_vec(), Some(value.to_vec())));
        }
    }
    let engine = Arc::new(MemoryEngine::new());
    engine.write(INDEX, &batch);
    engine.rotate();
    StateMachine::open(engine).is_ok()
}

pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    let mut seed = Vec::new();
    for (key, value) in all_entries() {
        put(&mut seed, &key);
        put(&mut seed, &value);
    }
    vec![seed]
}

/// A load that keeps nothing.
struct Nowhere;

impl BulkLoad for Nowhere {
    fn add(&mut self, _: &[u8], _: &[u8]) -> Result<(), StorageFault> {
        Ok(())
    }

    fn finish(self: Box<Self>, _: Version) -> Result<(), StorageFault> {
        Ok(())
    }
}

/// One chunk, as it is and with a checksum that matches.
pub(crate) fn chunk(data: &[u8]) -> bool {
    let mut import = SnapshotImport::new(Box::new(Nowhere), INDEX);
    let as_it_is = import.chunk(data).is_ok();
    if as_it_is {
        let header = data.first_chunk::<CHUNK_HEADER_BYTES>();
        let announced = header.and_then(chunk_bytes);
        assert_eq!(
            announced,
            Some(data.len()),
            "its header says how long it is"
        );
        let kept = Progress::decode(INDEX, &import.progress().encode());
        assert_eq!(kept.as_ref(), Ok(import.progress()));
    }
    let mut sealed = data.to_vec();
    if let Some((header, stored)) = sealed.split_first_chunk_mut::<CHUNK_HEADER_BYTES>() {
        let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..24]), stored);
        header[24..].copy_from_slice(&sum.to_le_bytes());
    }
    let mut import = SnapshotImport::new(Box::new(Nowhere), INDEX);
    // Whatever it says, it must say it in bounded memory and time.
    let _ = import.chunk(&sealed);
    as_it_is
}

pub(crate) fn chunk_seeds() -> Vec<Vec<u8>> {
    let (_engine, machine) = seed_engine();
    let export = Export::new(machine.reader().snapshot());
    let export = export.expect("something was applied");
    let chunks: Result<Vec<Vec<u8>>, StorageFault> = export.collect();
    let mut chunks = chunks.expect("an engine in memory has no faults");
    // Alone, the end mark is refused: it counts the entries before it.
    chunks.pop();
    chunks
}

/// BSON from outside: what is found sound can be read by everybody.
pub(crate) fn document(data: &[u8]) -> bool {
    let Ok(raw) = RawDocument::from_bytes(data) else {
        return false;
    };
    if document::validate::document(raw).is_err() {
        return false;
    }
    let parsed = Document::try_from(raw);
    let parsed = parsed.expect("a sound document can be parsed");
    let again = RawDocumentBuf::try_from(parsed).expect("what was parsed can be written");
    assert!(document::validate::document(&again).is_ok());
    true
}

pub(crate) fn document_seeds() -> Vec<Vec<u8>> {
    let everything = rawdoc! {
        "_id": bson::oid::ObjectId::from_bytes([5; 12]), "double": 1.5, "string": "text", "null": null, "yes": true,
        "int": 7, "long": 1_i64 << 40, "array": [1, "two", { "three": [] }], "document": { "a": { "b": {} } },
        "date": bson::DateTime::from_millis(5), "binary": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] },
        "stamp": bson::Timestamp { time: 1, increment: 2 },
    };
    vec![
        everything.into_bytes(),
        rawdoc! {}.into_bytes(),
        rawdoc! { "_id": 1, "a": "b" }.into_bytes(),
    ]
}
