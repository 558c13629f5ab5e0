//! Pipelines against plain loops, laziness, and limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::raw::{RawArrayBuf, RawDocument, RawDocumentBuf};
use bson::{Bson, Document, doc, rawdoc};
use proptest::prelude::*;

use super::{DocumentStream, LendDocuments, LentDocuments, Pipeline};
use crate::projection::TopLevelFields;
use crate::raw::DocumentWriter;
use crate::testing::any_value;
use crate::{Context, DocumentError, ErrorKind};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("names without NUL")
}

fn parse(stages: &[Document]) -> Pipeline {
    let mut array = RawArrayBuf::new();
    for stage in stages {
        array.push(raw(stage));
    }
    Pipeline::parse(&array, &Context::at(0, 1)).expect("valid")
}

fn input(documents: &[Document]) -> DocumentStream {
    let documents: Vec<_> = documents.iter().map(|document| Ok(raw(document))).collect();
    Box::new(documents.into_iter())
}

fn run(stages: &[Document], documents: &[Document]) -> Vec<Document> {
    let output: Result<Vec<_>, _> = parse(stages).run(input(documents)).collect();
    let output = output.expect("no stage fails");
    output
        .iter()
        .map(|d| Document::try_from(d).expect("well-formed"))
        .collect()
}

/// Lends documents; copies that are kept have nothing but the fields that are needed.
struct OnLoan(std::vec::IntoIter<RawDocumentBuf>, Option<RawDocumentBuf>);

impl LendDocuments for OnLoan {
    fn lend(&mut self) -> Option<Result<&RawDocument, DocumentError>> {
        let next = self.0.next()?;
        Some(Ok(self.1.insert(next)))
    }

    fn give(
        &mut self,
        needed: Option<&TopLevelFields>,
    ) -> Option<Result<RawDocumentBuf, DocumentError>> {
        let next = self.0.next()?;
        Some(Ok(needed.map_or(next.clone(), |needed| needed.of(&next))))
    }
}

/// A row with values of all types under some names, some of them twice.
fn any_row() -> impl Strategy<Value = RawDocumentBuf> {
    let field = (prop::sample::select(vec!["k", "v", "w"]), any_value());
    prop::collection::vec(field, 0..5).prop_map(|fields| {
        let mut row = DocumentWriter::with_capacity(64);
        for (name, value) in &fields {
            row.append(name, value.as_raw_bson_ref());
        }
        row.finish()
    })
}

proptest! {
    /// A field that is found in one pass, and an expression that has the same value.
    #[test]
    fn groups_by_fields_are_those_by_equal_expressions(
        some in prop::collection::vec(any_row(), 0..12), order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        collated in any::<bool>(),
    ) {
        // Rows come again, so that groups have several.
        let chosen = order.iter().filter(|_| !some.is_empty()).map(|at| some[at.index(some.len())].clone());
        let rows: Vec<RawDocumentBuf> = chosen.collect();
        let grouped = |key: Bson, value: Bson| doc! { "$group": {
            "_id": key, "n": { "$sum": 1 }, "sum": { "$sum": value.clone() }, "least": { "$min": value.clone() },
            "all": { "$push": value },
        } };
        let same = |path: &str| Bson::from(doc! { "$cond": [true, path, Bson::Null] });
        let english = crate::Collation::parse(&rawdoc! { "locale": "en", "strength": 2 }).expect("valid");
        let context = Context::at(0, 1).with_collation(english.filter(|_| collated));
        let pipeline = |stage: Document| {
            let mut stages = RawArrayBuf::new();
            stages.push(raw(&stage));
            Pipeline::parse(&stages, &context).expect("valid")
        };
        let stream = |rows: Vec<RawDocumentBuf>| -> DocumentStream { Box::new(rows.into_iter().map(Ok)) };
        let by_expressions = pipeline(grouped(same("$k"), same("$v"))).run(stream(rows.clone()));
        let by_expressions: Result<Vec<_>, _> = by_expressions.collect();
        let by_fields = pipeline(grouped("$k".into(), "$v".into()));
        prop_assert_eq!(&by_fields.run(stream(rows.clone())).collect::<Result<Vec<_>, _>>(), &by_expressions);
        let needed = ["k".to_owned(), "v".to_owned()].into();
        let on_loan = Box::new(OnLoan(rows.into_iter(), None));
        let on_loan = LentDocuments::new(on_loan, TopLevelFields::new(&needed));
        prop_assert_eq!(by_fields.run_lent(on_loan).collect::<Result<Vec<_>, _>>(), by_expressions);
    }
}

/// Counts what is pulled from it.
fn counting(documents: usize) -> (DocumentStream, Arc<AtomicUsize>) {
    let pulled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&pulled);
    let stream = (0..documents).map(move |number| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(rawdoc! { "n": number as i64 })
    });
    (Box::new(stream), pulled)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn groups_hold_what_loops_count(rows in prop::collection::vec((0i32..4, -100i32..100), 0..30)) {
        let documents: Vec<Document> = rows.iter().map(|(k, v)| doc! { "k": k, "v": v }).collect();
        let groups = run(
            &[doc! { "$group": {
                "_id": "$k", "n": { "$sum": 1 }, "sum": { "$sum": "$v" }, "avg": { "$avg": "$v" },
                "min": { "$min": "$v" }, "max": { "$max": "$v" }, "all": { "$push": "$v" },
            } }],
            &documents,
        );
        let mut expected: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (key, value) in rows {
            expected.entry(key).or_default().push(value);
        }
        let expected: Vec<Document> = expected
            .into_iter()
            .map(|(key, values)| {
                let sum: i32 = values.iter().sum();
                doc! {
                    "_id": key,
                    "n": values.len() as i32,
                    "sum": sum,
                    "avg": f64::from(sum) / values.len() as f64,
                    "min": values.iter().min().copied(),
                    "max": values.iter().max().copied(),
                    "all": values.into_iter().map(Bson::Int32).collect::<Vec<_>>(),
                }
            })
            .collect();
        prop_assert_eq!(groups, expected);
    }

    #[test]
    fn split_and_rest_give_what_the_whole_gives(
        rows in prop::collection::vec((0i32..6, 0i32..6), 0..25),
        stages in prop::collection::vec((0usize..6, 1i32..6), 0..6),
    ) {
        let documents: Vec<Document> =
            rows.iter().enumerate().map(|(id, (a, b))| doc! { "_id": id as i32, "a": a, "b": b }).collect();
        let stages: Vec<Document> = stages
            .into_iter()
            .map(|(kind, number)| match kind {
                0 => doc! { "$match": { "a": { "$gte": number } } },
                1 => doc! { "$sort": { "b": 1, "_id": -1 } },
                2 => doc! { "$skip": number },
                3 => doc! { "$limit": number },
                4 => doc! { "$match": { "b": { "$ne": number } } },
                _ => doc! { "$count": "n" },
            })
            .collect();
        let (leading, rest) = parse(&stages).split_leading().expect("valid");
        let mut found: Vec<RawDocumentBuf> =
            documents.iter().map(raw).filter(|document| leading.filter.matches(document)).collect();
        if let Some(sort) = &leading.sort {
            found.sort_by(|left, right| sort.compare(left, right));
        }
        let limit = leading.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut found: Vec<RawDocumentBuf> =
            found.into_iter().skip(leading.skip as usize).take(limit).collect();
        if let Some(shape) = leading.count {
            let count = found.len();
            found.clear();
            if count > 0 {
                found.push(raw(&doc! { shape.field: count as i32 }));
            }
        }
        let split: Vec<RawDocumentBuf> = rest
            .run(Box::new(found.into_iter().map(Ok)))
            .collect::<Result<_, _>>()
            .expect("no stage fails");
        let whole: Vec<RawDocumentBuf> = run(&stages, &documents).iter().map(raw).collect();
        prop_assert_eq!(split, whole);
    }
}

#[test]
fn stages_pull_no_more_than_they_need() {
    let (stream, pulled) = counting(1000);
    let stages = [
        doc! { "$match": { "n": { "$gte": 10 } } },
        doc! { "$skip": 5 },
        doc! { "$limit": 3 },
    ];
    let output: Vec<_> = parse(&stages).run(stream).collect();
    assert_eq!(output.len(), 3);
    assert_eq!(pulled.load(Ordering::Relaxed), 18);
    let (stream, pulled) = counting(1000);
    let mut unread = parse(&[doc! { "$sort": { "n": -1 } }]).run(stream);
    assert_eq!(
        pulled.load(Ordering::Relaxed),
        0,
        "nothing happens before the first pull"
    );
    assert!(unread.next().is_some());
    assert_eq!(pulled.load(Ordering::Relaxed), 1000);
}

#[test]
fn an_error_ends_the_stream() {
    let failing = |at: i64| -> DocumentStream {
        Box::new((0..10i64).map(move |number| match number == at {
            true => Err(DocumentError::bad_value("broken")),
            false => Ok(rawdoc! { "n": number }),
        }))
    };
    for stages in [
        vec![doc! { "$match": {} }, doc! { "$skip": 1 }],
        vec![doc! { "$sort": { "n": 1 } }],
        vec![doc! { "$group": { "_id": "$n" } }],
        vec![doc! { "$count": "n" }],
        vec![doc! { "$project": { "n": 1 } }, doc! { "$unwind": "$n" }],
    ] {
        let output: Vec<_> = parse(&stages).run(failing(4)).collect();
        let errors = output.iter().filter(|result| result.is_err()).count();
        assert_eq!(errors, 1, "{stages:?}");
        assert!(output.last().is_some_and(Result::is_err), "{stages:?}");
    }
}

#[test]
fn groups_stop_at_the_memory_limit() {
    let text = "x".repeat(1 << 20);
    let stream = (0..200).map(move |_| Ok(rawdoc! { "t": text.as_str() }));
    let pipeline = parse(&[doc! { "$group": { "_id": 1, "all": { "$push": "$t" } } }]);
    let output: Vec<_> = pipeline.run(Box::new(stream)).collect();
    let error = output[0].as_ref().expect_err("200 MiB do not fit");
    assert_eq!(
        error.kind,
        ErrorKind::QueryExceededMemoryLimitNoDiskUseAllowed
    );
}

#[test]
fn documents_no_reply_could_carry_are_refused() {
    let text = "x".repeat(1 << 20);
    let stream = (0..20).map(move |_| Ok(rawdoc! { "t": text.as_str() }));
    let pipeline = parse(&[doc! { "$group": { "_id": 1, "all": { "$push": "$t" } } }]);
    let output: Vec<_> = pipeline.run(Box::new(stream)).collect();
    assert_eq!(
        output[0].as_ref().expect_err("20 MiB").kind,
        ErrorKind::BsonObjectTooLarge
    );
}
