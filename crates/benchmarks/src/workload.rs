//! What is measured, on which systems.

/// A system under measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    Etcd,
    Cstore,
    Stub,
}

impl System {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            System::Etcd => "etcd",
            System::Cstore => "cstore",
            System::Stub => "stub",
        }
    }
}

/// What a client repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A put of a new key, or an insert of a new document.
    Write,
    /// A linearizable read by key, or by `_id`.
    Read,
    /// An insert of a thousand documents.
    Batch,
}

/// One row of the comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub name: &'static str,
    pub kind: Kind,
    pub clients: usize,
    pub systems: &'static [System],
}

impl Workload {
    /// Whether more than one system runs it.
    pub(crate) fn is_compared(&self) -> bool {
        self.systems.len() > 1
    }
}

const PEERS: &[System] = &[System::Etcd, System::Cstore];
const PEERS_AND_STUB: &[System] = &[System::Etcd, System::Cstore, System::Stub];

/// Documents of one batch.
pub(crate) const BATCH: usize = 1_000;

pub(crate) const ONE_WRITER: &str = "1 writer";
pub(crate) const SOME_WRITERS: &str = "64 writers";
pub(crate) const MANY_WRITERS: &str = "256 writers";
pub(crate) const MANY_READERS: &str = "256 readers";
pub(crate) const BULK: &str = "insertMany";
pub(crate) const BULK_FOUR: &str = "insertMany x4";

/// In the order of a round. Systems of a row are measured one after the other.
pub(crate) const WORKLOADS: [Workload; 6] = [
    Workload {
        name: ONE_WRITER,
        kind: Kind::Write,
        clients: 1,
        systems: PEERS_AND_STUB,
    },
    Workload {
        name: SOME_WRITERS,
        kind: Kind::Write,
        clients: 64,
        systems: PEERS,
    },
    Workload {
        name: MANY_WRITERS,
        kind: Kind::Write,
        clients: 256,
        systems: PEERS_AND_STUB,
    },
    Workload {
        name: MANY_READERS,
        kind: Kind::Read,
        clients: 256,
        systems: PEERS_AND_STUB,
    },
    Workload {
        name: BULK,
        kind: Kind::Batch,
        clients: 1,
        systems: &[System::Cstore],
    },
    Workload {
        name: BULK_FOUR,
        kind: Kind::Batch,
        clients: 4,
        systems: &[System::Cstore],
    },
];
