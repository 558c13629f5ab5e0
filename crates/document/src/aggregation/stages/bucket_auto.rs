//! `$bucketAuto`: buckets of about the same number of documents; equal values share a bucket.

use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::{RawBson, RawBsonRef};

use super::super::accumulators::{self, Specification};
use super::options::Options;
use super::{DocumentStream, RunStage, Stage, blocking, bounded, bucket};
use crate::expression::{Expression, Scope, Value};
use crate::key_encoding::{self, Direction};
use crate::raw::{self, DocumentWriter};
use crate::sort::Sorter;
use crate::spill::Room;
use crate::{Context, DocumentError, ErrorKind, order};

#[derive(Debug)]
struct BucketAuto {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    group_by: Expression,
    buckets: usize,
    fields: Vec<(String, Specification)>,
    room: Room,
}

type Row = (RawBson, RawDocumentBuf);

pub(super) fn parse(argument: RawBsonRef<'_>, context: &Context) -> Result<Stage, DocumentError> {
    let mut options = Options::of("$bucketAuto", argument, 40240)?;
    let group_by = options.require("groupBy", 40246)?;
    bucket::check_expression(group_by)?;
    let Some(buckets) = options.count("buckets")? else {
        return Err(DocumentError::location(
            40246,
            "$bucketAuto requires 'groupBy' and 'buckets' to be specified.",
        ));
    };
    if buckets == 0 {
        return Err(DocumentError::location(
            40243,
            "The $bucketAuto 'buckets' field must be greater than 0, but found: 0.",
        ));
    }
    let output = options.document("output")?;
    if options.take("granularity").is_some() {
        return Err(DocumentError::new(
            ErrorKind::CommandNotSupported,
            "The $bucketAuto 'granularity' field is not supported",
        ));
    }
    options.finish(40245)?;
    let mut specification = DocumentWriter::with_capacity(64);
    bucket::append_output(&mut specification, output);
    let scope = Scope::new(context);
    let specification = specification.finish();
    let fields = raw::elements(&specification).map(|field| {
        let accumulator = accumulators::parse(field.name, field.value(), &scope)?;
        Ok((field.name.to_owned(), accumulator))
    });
    Ok(Stage::Other(Box::new(BucketAuto {
        inner: Arc::new(Inner {
            group_by: Expression::parse(group_by, context)?,
            buckets: usize::try_from(buckets).unwrap_or(usize::MAX),
            fields: fields.collect::<Result<_, DocumentError>>()?,
            room: context.room().clone(),
        }),
    })))
}

impl RunStage for BucketAuto {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        blocking(input, move |input| inner.collect(input))
    }
}

impl Inner {
    fn collect(
        &self,
        input: DocumentStream,
    ) -> Result<Vec<Result<RawDocumentBuf, DocumentError>>, DocumentError> {
        let mut sorter = Sorter::within(None, self.room.share());
        for document in input {
            let document = document?;
            let value = self.group_by.evaluate(&document)?;
            let value = value.map_or(RawBson::Null, Value::into_owned);
            let mut key = Vec::new();
            key_encoding::encode(value.as_raw_bson_ref(), Direction::Ascending, &mut key);
            let bytes = document.as_bytes().len();
            sorter.push(key, (value, document), bytes)?;
        }
        let (rows, _share): (Vec<Row>, _) = sorter.finish_counted();
        let size = (rows.len() as f64 / self.buckets as f64).round().max(1.0) as usize;
        let mut buckets = Vec::new();
        let mut start = 0;
        while start < rows.len() {
            let last = buckets.len() + 1 == self.buckets;
            let mut end = if last {
                rows.len()
            } else {
                (start + size).min(rows.len())
            };
            while end < rows.len() && same(&rows[end - 1], &rows[end]) {
                end += 1;
            }
            let max = rows.get(end).unwrap_or(&rows[end - 1]);
            buckets.push(self.bucket(&rows[start..end], &max.0));
            start = end;
        }
        Ok(buckets)
    }

    fn bucket(&self, rows: &[Row], max: &RawBson) -> Result<RawDocumentBuf, DocumentError> {
        let mut out = DocumentWriter::with_capacity(64);
        let id = out.begin_document("_id");
        out.append("min", rows[0].0.as_raw_bson_ref());
        out.append("max", max.as_raw_bson_ref());
        out.end(id);
        for (name, specification) in &self.fields {
            let mut accumulator = specification.start(RawBsonRef::Null)?;
            for (_, document) in rows {
                specification.feed(document, accumulator.as_mut())?;
            }
            out.append(name, accumulator.finish().as_raw_bson_ref());
        }
        bounded(out.finish())
    }
}

fn same(left: &Row, right: &Row) -> bool {
    order::compare(left.0.as_raw_bson_ref(), right.0.as_raw_bson_ref()).is_eq()
}
