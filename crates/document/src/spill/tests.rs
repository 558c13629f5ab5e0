//! What is put away gives what memory gives, and all room comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::raw::RawArrayBuf;
use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use proptest::prelude::*;

use super::{DocumentSorter, MemoryPool, Records, Room, SHARE_BYTES_FREE, SpillRun, SpillSpace};
use crate::aggregation::{DocumentStream, LentDocuments, Pipeline};
use crate::{Collation, Context, DocumentError, ErrorKind};

/// Room in memory, counted, for stages that hold little themselves.
#[derive(Debug)]
struct Lent {
    memory_bytes: usize,
    /// Records there may be at once.
    records_max: usize,
    runs: AtomicUsize,
    records: Arc<AtomicUsize>,
}

struct Run {
    written: Vec<Vec<u8>>,
    records_max: usize,
    records: Arc<AtomicUsize>,
}

impl Lent {
    fn new(memory_bytes: usize) -> Arc<Lent> {
        Lent::of(memory_bytes, usize::MAX)
    }

    fn of(memory_bytes: usize, records_max: usize) -> Arc<Lent> {
        Arc::new(Lent {
            memory_bytes,
            records_max,
            runs: AtomicUsize::default(),
            records: Arc::default(),
        })
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    fn records(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }
}

impl SpillSpace for Lent {
    fn begin(&self) -> Result<Box<dyn SpillRun>, DocumentError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Run {
            written: Vec::new(),
            records_max: self.records_max,
            records: Arc::clone(&self.records),
        }))
    }

    fn memory_bytes_max(&self) -> usize {
        self.memory_bytes
    }
}

impl SpillRun for Run {
    fn append(&mut self, record: &[u8]) -> Result<(), DocumentError> {
        if self.records.fetch_add(1, Ordering::Relaxed) >= self.records_max {
            self.records.fetch_sub(1, Ordering::Relaxed);
            return Err(DocumentError::new(ErrorKind::OutOfDiskSpace, "full"));
        }
        self.written.push(record.to_vec());
        Ok(())
    }

    fn read(mut self: Box<Self>) -> Result<Records, DocumentError> {
        let written = std::mem::take(&mut self.written);
        let left = Left(written.len(), Arc::clone(&self.records));
        Ok(Box::new(written.into_iter().map(move |record| {
            let _held = &left;
            Ok(record)
        })))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.records
            .fetch_sub(self.written.len(), Ordering::Relaxed);
    }
}

/// Given back when dropped.
struct Left(usize, Arc<AtomicUsize>);

impl Drop for Left {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0, Ordering::Relaxed);
    }
}

fn context(collated: bool) -> Context {
    let english = rawdoc! { "locale": "en", "strength": 2 };
    let english = Collation::parse(&english).expect("valid");
    Context::at(0, 1).with_collation(english.filter(|_| collated))
}

fn input(documents: &[Document]) -> DocumentStream {
    let raw = |document| Ok(RawDocumentBuf::try_from(document).expect("no NUL in names"));
    let documents: Vec<_> = documents.iter().map(raw).collect();
    Box::new(documents.into_iter())
}

fn pipeline(stages: &[Document], context: &Context) -> Pipeline {
    let mut array = RawArrayBuf::new();
    for stage in stages {
        array.push(RawDocumentBuf::try_from(stage).expect("no NUL in names"));
    }
    Pipeline::parse(&array, context).expect("valid")
}

fn run(
    stages: &[Document],
    context: &Context,
    documents: &[Document],
) -> Result<Vec<RawDocumentBuf>, DocumentError> {
    pipeline(stages, context).run(input(documents)).collect()
}

/// The same over documents that are lent.
fn run_on_loan(
    stages: &[Document],
    context: &Context,
    documents: &[Document],
) -> Result<Vec<RawDocumentBuf>, DocumentError> {
    let on_loan = LentDocuments::from(input(documents));
    pipeline(stages, context).run_lent(on_loan).collect()
}

/// Both ways, the limit in bytes being `memory`; gives how many runs there were.
fn same_answers(
    stages: &[Document],
    collated: bool,
    documents: &[Document],
    memory: usize,
) -> Result<usize, TestCaseError> {
    let in_memory = run(stages, &context(collated), documents);
    let lent = Lent::new(memory);
    let spilling = context(collated).with_spill(lent.clone());
    prop_assert_eq!(&run(stages, &spilling, documents), &in_memory);
    prop_assert_eq!(lent.records(), 0);
    let runs = lent.runs();
    prop_assert_eq!(run_on_loan(stages, &spilling, documents), in_memory);
    prop_assert_eq!(lent.records(), 0);
    Ok(runs)
}

fn documents() -> impl Strategy<Value = Vec<Document>> {
    let name = prop::sample::select(vec!["a", "A", "b", "B", "ä", "c", ""]);
    let row = (name, -3i32..4, 0usize..200, any::<bool>());
    prop::collection::vec(row, 0..120).prop_map(|rows| {
        let document = |(at, (name, number, bytes, has)): (usize, (&str, i32, usize, bool))| {
            let mut document = doc! { "_id": at as i32, "name": name, "n": number };
            document.insert("text", "x".repeat(bytes));
            if has {
                document.insert("list", vec![number, -number]);
            }
            document
        };
        rows.into_iter().enumerate().map(document).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_sort_gives_the_same_on_disk(
        documents in documents(),
        collated in any::<bool>(),
        memory in 300usize..4_000,
        sort in prop::sample::select(vec![
            doc! { "name": 1 }, doc! { "name": -1, "n": 1 }, doc! { "list": 1 }, doc! { "text": -1 }, doc! { "n": 1 },
        ]),
        limit in prop::option::of(1i32..60),
    ) {
        let mut stages = vec![doc! { "$sort": sort }];
        stages.extend(limit.map(|limit| doc! { "$limit": limit }));
        let runs = same_answers(&stages, collated, &documents, memory)?;
        prop_assert!(runs > 0 || limit.is_some() || documents.len() < 50);
    }

    #[test]
    fn a_group_gives_the_same_on_disk(
        documents in documents(),
        collated in any::<bool>(),
        memory in 25_000usize..35_000,
        id in prop::sample::select::<Bson>(vec![
            "$name".into(), "$_id".into(), doc! { "of": "$name" }.into(), doc! { "of": "$n" }.into(), doc! { "of": "$_id" }.into(),
            doc! { "of": { "$toLower": "$name" } }.into(), doc! { "of": "$name", "and": "$n" }.into(), doc! { "of": "$list" }.into(),
        ]),
    ) {
        let stages = [
            doc! { "$group": {
                "_id": id, "n": { "$sum": "$n" }, "all": { "$push": { "id": "$_id", "text": "$text" } },
                "first": { "$first": "$_id" }, "last": { "$last": "$_id" }, "names": { "$addToSet": "$name" },
                "greatest": { "$max": "$name" }, "count": { "$count": {} }, "mean": { "$avg": "$n" },
            } },
        ];
        same_answers(&stages, collated, &documents, memory)?;
    }

    #[test]
    fn counts_by_a_value_give_the_same_on_disk(documents in documents(), memory in 500usize..3_000) {
        same_answers(&[doc! { "$sortByCount": "$text" }], false, &documents, memory)?;
    }

    #[test]
    fn runs_merge_into_what_one_sort_gives(
        keys in prop::collection::vec((0u8..9, 0usize..400), 0..200),
        keep in prop::option::of(0usize..50),
        memory in 100usize..3_000,
    ) {
        let lent = Lent::new(memory);
        let mut sorter = DocumentSorter::new(keep, &Room::default().with_disk(lent.clone()));
        for (number, (key, bytes)) in keys.iter().enumerate() {
            let document = rawdoc! { "n": number as i32, "text": "x".repeat(*bytes) };
            sorter.push(vec![*key], document).expect("there is room");
        }
        let sorted: Vec<i32> = sorter
            .finish()
            .expect("readable")
            .map(|document| document.expect("readable").get_i32("n").expect("there"))
            .collect();
        let mut expected: Vec<i32> = (0..keys.len() as i32).collect();
        expected.sort_by_key(|number| keys[*number as usize].0);
        expected.truncate(keep.unwrap_or(usize::MAX));
        prop_assert_eq!(sorted, expected);
        prop_assert_eq!(lent.records(), 0);
    }
}

/// `count` documents of some 1,100 bytes with a number from `groups`.
fn large(count: i32, groups: i32) -> Vec<Document> {
    let text = "x".repeat(1_000);
    (0..count)
        .map(|id| doc! { "_id": id, "n": id % groups, "text": &text })
        .collect()
}

#[test]
fn groups_that_grow_after_the_limit_go_to_disk_too() {
    let stages = [doc! { "$group": { "_id": "$n", "all": { "$push": "$$ROOT" } } }];
    let documents = large(400, 40);
    let runs = same_answers(&stages, false, &documents, 100_000).expect("the same");
    assert!(runs > 5, "{runs}");
}

#[test]
fn one_group_larger_than_the_limit_is_refused() {
    let stages = [doc! { "$group": { "_id": null, "all": { "$push": "$$ROOT" } } }];
    let lent = Lent::new(100_000);
    let error = run(
        &stages,
        &context(false).with_spill(lent.clone()),
        &large(400, 1),
    );
    assert_eq!(error.map_err(|error| error.kind.code()), Err(292));
    assert_eq!(lent.records(), 0);
}

#[test]
fn a_full_disk_ends_the_stage_and_gives_the_room_back() {
    for stage in [
        doc! { "$sort": { "n": 1 } },
        doc! { "$group": { "_id": "$_id", "all": { "$push": "$text" } } },
    ] {
        let lent = Lent::of(20_000, 100);
        let spilling = context(false).with_spill(lent.clone());
        let error = run(&[stage], &spilling, &large(400, 7));
        assert_eq!(error.map_err(|error| error.kind.code()), Err(14031));
        assert_eq!(lent.records(), 0);
    }
}

#[test]
fn a_cursor_that_is_dropped_half_way_gives_the_room_back() {
    for stage in [
        doc! { "$sort": { "n": 1 } },
        doc! { "$group": { "_id": "$_id", "all": { "$push": "$text" } } },
    ] {
        let lent = Lent::new(20_000);
        let spilling = context(false).with_spill(lent.clone());
        let mut rows = pipeline(&[stage], &spilling).run(input(&large(400, 7)));
        assert!(rows.next().is_some_and(|row| row.is_ok()));
        assert!(lent.records() > 100);
        drop(rows);
        assert_eq!(lent.records(), 0);
    }
}

#[test]
fn large_documents_are_merged_beforehand() {
    let lent = Lent::new(4_000);
    let mut sorter = DocumentSorter::new(None, &Room::default().with_disk(lent.clone()));
    for number in (0..60i32).rev() {
        let document = rawdoc! { "n": number, "text": "x".repeat(1_000) };
        sorter
            .push(vec![number as u8], document)
            .expect("there is room");
    }
    assert!(sorter.has_used_disk());
    let sorted = sorter.finish().expect("readable");
    let numbers: Vec<i32> = sorted
        .map(|document| document.expect("readable").get_i32("n").expect("there"))
        .collect();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    // 15 runs of four documents, and more that several of them were merged into.
    assert!(lent.runs() > 17, "{}", lent.runs());
}

#[test]
fn sorts_and_groups_share_memory_and_go_to_disk_earlier_when_it_is_short() {
    const DOCUMENTS: i32 = 3_000;
    let pool = MemoryPool::new(4 << 20);
    let lent = Lent::new(100 << 20);
    let room = Room::default()
        .with_memory(Arc::clone(&pool))
        .with_disk(lent.clone());
    let mut hog = DocumentSorter::new(None, &room);
    let text = "x".repeat(1_000);
    let push = |sorter: &mut DocumentSorter, number: i32| {
        let document = rawdoc! { "n": number, "text": &*text };
        let key = number.to_be_bytes().to_vec();
        sorter.push(key, document).expect("there is room");
    };
    for number in 0..DOCUMENTS {
        push(&mut hog, number);
    }
    assert!(!hog.has_used_disk());
    let held = pool.held_bytes();
    assert!(held > 3_000_000, "{held}");

    let mut late = DocumentSorter::new(None, &room);
    for number in (0..DOCUMENTS).rev() {
        push(&mut late, number);
        assert!(pool.held_bytes() <= (4 << 20) + SHARE_BYTES_FREE);
    }
    assert!(late.has_used_disk());
    let numbers: Vec<i32> = late
        .finish()
        .expect("readable")
        .map(|document| document.expect("readable").get_i32("n").expect("there"))
        .collect();
    assert_eq!(numbers, (0..DOCUMENTS).collect::<Vec<_>>());

    let group = [doc! { "$group": { "_id": "$n", "all": { "$push": "$$ROOT" } } }];
    let documents = large(DOCUMENTS, DOCUMENTS);
    let expected = run(&group, &context(false), &documents);
    let short = context(false).with_memory(Arc::clone(&pool));
    let spilling = short.clone().with_spill(lent.clone());
    assert_eq!(run(&group, &spilling, &documents), expected);
    // Without room on disk there is nothing to do but to refuse.
    for stage in [
        doc! { "$sort": { "n": 1 } },
        doc! { "$bucketAuto": { "groupBy": "$n", "buckets": 2 } },
        doc! { "$setWindowFields": { "output": { "all": { "$count": {} } } } },
        doc! { "$densify": { "field": "n", "range": { "step": 1, "bounds": "full" } } },
        doc! { "$facet": { "all": [{ "$count": "n" }] } },
        doc! { "$sample": { "size": DOCUMENTS } },
        group[0].clone(),
    ] {
        let refused = run(std::slice::from_ref(&stage), &short, &documents);
        assert_eq!(
            refused.map_err(|error| error.kind.code()),
            Err(292),
            "{stage}"
        );
    }

    let mut rows = hog.finish().expect("in memory");
    assert!(rows.next().is_some());
    assert_eq!(pool.held_bytes(), held);
    drop(rows);
    assert_eq!((pool.held_bytes(), lent.records()), (0, 0));
}

#[test]
fn without_room_a_sort_that_does_not_fit_is_refused() {
    let mut sorter = DocumentSorter::with_memory(None, &Room::default(), 1_000);
    let text = "x".repeat(100);
    let refused = (0..100).find_map(|_| sorter.push(vec![1], rawdoc! { "text": &*text }).err());
    assert_eq!(refused.map(|error| error.kind.code()), Some(292));
}
