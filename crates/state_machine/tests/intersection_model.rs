//! Property: where two indexes are read side by side, the rows are those of a scan of the collection; and it happens.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Bson, Document, doc};
use proptest::prelude::*;
use state_machine::plan::{InsertRequest, WriteOptions, WritePlanner};
use state_machine::query::{
    FindRequest, Hint, Interrupt, InterruptReason, Owner, PlanSummary, ScanDirection,
};
use support::{Database, namespace, raw, rows};

/// Documents in a row, and every how many of them `a` and `b` are 1.
#[derive(Debug, Clone)]
struct Block {
    documents: u32,
    a_every: u32,
    b_every: u32,
    /// How far behind `a` the first `b` is: some never meet.
    b_shift: u32,
    arrays: bool,
}

fn block() -> impl Strategy<Value = Block> {
    let every = || prop_oneof![1 => Just(1u32), 12 => Just(2), 1 => 3..8u32, 1 => Just(1000)];
    let arrays = prop::bool::weighted(0.1);
    let shift = prop_oneof![1 => Just(0), 6 => Just(1u32), 1 => Just(2)];
    (1..400u32, every(), every(), shift, arrays).prop_map(
        |(documents, a_every, b_every, b_shift, arrays)| Block {
            documents,
            a_every,
            b_every,
            b_shift,
            arrays,
        },
    )
}

fn database(blocks: &[Block]) -> Database {
    let mut database = Database::new();
    let mut documents = Vec::new();
    for block in blocks {
        for number in 0..block.documents {
            let value = |number: u32, every: u32| match (number.is_multiple_of(every), block.arrays)
            {
                (true, true) => Bson::from(vec![1, 2]),
                (is_one, _) => Bson::Int32(i32::from(is_one)),
            };
            documents.push(raw(&doc! {
                "_id": documents.len() as i32, "a": value(number, block.a_every), "b": value(number + block.b_shift, block.b_every),
            }));
        }
    }
    let insert = InsertRequest { documents };
    database
        .write(WritePlanner::insert(WriteOptions::new(namespace()), insert))
        .unwrap();
    for (name, key) in [("a", doc! { "a": 1 }), ("b", doc! { "b": -1 })] {
        database
            .create_index(raw(&doc! { "key": key, "name": name }))
            .unwrap();
    }
    database
}

#[derive(Default)]
struct Heard {
    intersections: AtomicU64,
}

impl Owner for Heard {
    fn reason(&self) -> Option<InterruptReason> {
        None
    }

    fn planned(&self, plan: &dyn Fn() -> PlanSummary) {
        if matches!(plan(), PlanSummary::Indexes(_)) {
            self.intersections.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn find(filter: &Document, sort: Option<&Document>, limit: Option<u64>) -> FindRequest {
    FindRequest {
        sort: sort.map(raw),
        limit,
        ..FindRequest::new(namespace(), raw(filter))
    }
}

#[test]
fn rows_of_an_intersection_are_those_of_a_scan() {
    let heard = Arc::new(Heard::default());
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let blocks = prop::collection::vec(block(), 1..6);
    let outcome = runner.run(&blocks, |blocks| {
        let database = database(&blocks);
        let snapshot = database.reader().snapshot();
        for (filter, sort, limit) in [
            (doc! { "a": 1, "b": 1 }, None, None),
            (
                doc! { "b": 1, "a": 1, "_id": { "$gt": 40 } },
                Some(doc! { "_id": -1 }),
                Some(7),
            ),
            (
                doc! { "a": 1, "b": 1 },
                Some(doc! { "b": 1, "_id": 1 }),
                None,
            ),
        ] {
            let scan = FindRequest {
                hint: Some(Hint::Natural(ScanDirection::Forward)),
                ..find(&filter, sort.as_ref(), limit)
            };
            let chosen = FindRequest {
                interrupt: Interrupt::of(heard.clone()),
                ..find(&filter, sort.as_ref(), limit)
            };
            let ids = |request| -> Vec<i32> {
                let found = rows(snapshot.find(request)).unwrap();
                let mut ids: Vec<i32> = found
                    .iter()
                    .map(|row| row.get_i32("_id").unwrap())
                    .collect();
                if sort.is_none() {
                    ids.sort_unstable();
                }
                ids
            };
            prop_assert_eq!(ids(chosen), ids(scan), "{}", filter);
        }
        Ok(())
    });
    outcome.unwrap();
    let intersections = heard.intersections.load(Ordering::Relaxed);
    assert!(
        intersections >= 10,
        "it came to the point {intersections} times only"
    );
}
