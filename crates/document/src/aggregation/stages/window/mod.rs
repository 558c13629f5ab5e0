//! `$setWindowFields`: functions over the documents around each document, by partition and order.
//!
//! All documents are held, within the memory limit. The output comes by partition, then in the order asked for.

mod bounds;
mod functions;
mod parse;
mod series;

use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::{RawBson, RawBsonRef};

use super::super::assign::Assignments;
use super::{DocumentStream, RunStage, blocking, bounded};
use crate::DocumentError;
use crate::expression::{Expression, Value};
use crate::key_encoding::{self, Direction};
use crate::raw::DocumentWriter;
use crate::sort::{SortSpec, Sorter};
use crate::spill::{Room, Share, holding};
use functions::Function;
pub(super) use parse::parse;

#[derive(Debug)]
struct SetWindowFields {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    partition_by: Option<Expression>,
    sort: Option<SortSpec>,
    /// Positions in `functions`.
    targets: Assignments<usize>,
    functions: Vec<Function>,
    room: Room,
}

/// The documents of one partition with what the order needs of them.
pub(super) struct Partition {
    pub documents: Vec<RawDocumentBuf>,
    /// The values of the one sort field, when there is just one.
    pub sort_values: Vec<RawBson>,
    /// Keys of the sort; equal ones are peers.
    pub keys: Vec<Vec<u8>>,
}

impl RunStage for SetWindowFields {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        blocking(input, move |input| {
            let (partitions, share) = inner.partitions(input)?;
            let rows = partitions
                .into_iter()
                .map(move |partition| inner.output(partition));
            let rows = rows.flat_map(|rows| match rows {
                Ok(rows) => rows,
                Err(error) => vec![Err(error)],
            });
            Ok(holding(share, rows))
        })
    }
}

impl Inner {
    fn partitions(&self, input: DocumentStream) -> Result<(Vec<Partition>, Share), DocumentError> {
        let mut sorter = Sorter::within(None, self.room.share());
        for document in input {
            let document = document?;
            let mut partition = Vec::new();
            if let Some(partition_by) = &self.partition_by {
                let value = partition_by.evaluate(&document)?;
                let value = value.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
                if matches!(value, RawBsonRef::Array(_)) {
                    return Err(DocumentError::type_mismatch(
                        "An expression used to partition cannot evaluate to value of type array",
                    ));
                }
                key_encoding::encode(value, Direction::Ascending, &mut partition);
            }
            let key = match &self.sort {
                Some(sort) => sort.key(&document)?,
                None => Vec::new(),
            };
            let mut whole = partition.clone();
            whole.extend_from_slice(&key);
            let bytes = document.as_bytes().len() + partition.len() + key.len();
            sorter.push(whole, (partition, key, document), bytes)?;
        }
        let mut partitions: Vec<(Vec<u8>, Partition)> = Vec::new();
        let (sorted, share) = sorter.finish_counted();
        for (id, key, document) in sorted {
            if partitions.last().is_none_or(|(last, _)| *last != id) {
                let partition = Partition {
                    documents: Vec::new(),
                    sort_values: Vec::new(),
                    keys: Vec::new(),
                };
                partitions.push((id, partition));
            }
            let (_, partition) = partitions.last_mut().expect("just pushed");
            partition.sort_values.push(self.sort_value(&document));
            partition.keys.push(key);
            partition.documents.push(document);
        }
        let partitions = partitions.into_iter().map(|(_, partition)| partition);
        Ok((partitions.collect(), share))
    }

    fn sort_value(&self, document: &RawDocumentBuf) -> RawBson {
        let field = match self.sort.as_ref().map(SortSpec::fields) {
            Some([only]) => &only.path,
            _ => return RawBson::Null,
        };
        let value = crate::path::Path::parse(field.as_str())
            .get(document)
            .map(crate::raw::owned);
        value.unwrap_or(RawBson::Null)
    }

    fn output(
        &self,
        partition: Partition,
    ) -> Result<Vec<Result<RawDocumentBuf, DocumentError>>, DocumentError> {
        let mut columns = Vec::with_capacity(self.functions.len());
        for function in &self.functions {
            columns.push(function.column(&partition, self.sort.as_ref())?);
        }
        let mut rows = Vec::with_capacity(partition.documents.len());
        for (index, document) in partition.documents.iter().enumerate() {
            let mut out = DocumentWriter::with_capacity(document.as_bytes().len() + 64);
            let mut value = |column: &usize| {
                let value: &RawBson = &columns[*column][index];
                Ok(Some(Value::Borrowed(value.as_raw_bson_ref())))
            };
            self.targets.write(document, &mut value, &mut out)?;
            rows.push(bounded(out.finish()));
        }
        Ok(rows)
    }
}
