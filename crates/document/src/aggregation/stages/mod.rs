//! The registry of pipeline stages: one entry and one file each.

mod add_fields;
mod bucket;
mod bucket_auto;
mod count;
mod densify;
mod documents;
mod facet;
mod fill;
mod foreign;
mod graph_lookup;
mod group;
mod matching;
mod options;
mod project;
mod redact;
mod replace_root;
mod sample;
mod skip_limit;
mod sort_by_count;
mod sorting;
mod unset;
mod unwind;
mod window;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::{RawBsonRef, RawDocument};

use super::{CountShape, DocumentStream, LentDocuments};
use crate::filter::Filter;
use crate::sort::SortSpec;
use crate::validate::DOCUMENT_BYTES_MAX;
use crate::{Context, DocumentError, ErrorKind, raw};

/// A parsed stage. Those a find can stand for are open to view.
#[derive(Debug)]
pub(super) enum Stage {
    Match {
        filter: Filter,
        specification: RawDocumentBuf,
    },
    Sort(SortSpec),
    Skip(u64),
    Limit(u64),
    Other(Box<dyn RunStage>),
}

impl Stage {
    /// What the stages behind this one may know.
    pub fn context_behind(
        &self,
        context: Context,
        is_first: bool,
    ) -> Result<Context, DocumentError> {
        Ok(match self {
            Stage::Match { filter, .. } if filter.text().is_some() => {
                if !is_first {
                    return Err(text_not_first());
                }
                context.scored_by(filter)
            }
            Stage::Match { .. } | Stage::Sort(_) | Stage::Skip(_) | Stage::Limit(_) => context,
            Stage::Other(_) => context.behind_change(),
        })
    }

    /// Whether the stage takes no input.
    pub fn makes_documents(&self) -> bool {
        matches!(self, Stage::Other(stage) if stage.makes_documents())
    }
}

/// MongoDB's answer to a search in what are no documents of a collection any more.
fn text_not_first() -> DocumentError {
    DocumentError::location(
        17313,
        "$match with $text is only allowed as the first pipeline stage",
    )
}

/// Any other stage.
pub(super) trait RunStage: Debug + Send + Sync {
    /// The stage's output over `input`.
    fn run(&self, input: DocumentStream) -> DocumentStream;

    /// The same over documents that are lent.
    fn run_lent(&self, input: LentDocuments) -> DocumentStream {
        self.run(input.into_stream())
    }

    /// How the stage only counts its input, if that is all it does.
    fn count_shape(&self) -> Option<CountShape> {
        None
    }

    /// The top-level fields of its input that its output depends on; `None` if that may be anything.
    fn needed_fields(&self) -> Option<BTreeSet<String>> {
        None
    }

    /// Whether the stage takes no input and must come first.
    fn makes_documents(&self) -> bool {
        false
    }
}

type ParseStage = fn(RawBsonRef<'_>, &Context) -> Result<Stage, DocumentError>;

/// Every stage that exists.
const REGISTRY: &[(&str, ParseStage)] = &[
    ("$addFields", add_fields::parse),
    ("$bucket", bucket::parse),
    ("$bucketAuto", bucket_auto::parse),
    ("$count", count::parse),
    ("$densify", densify::parse),
    ("$documents", documents::parse),
    ("$facet", facet::parse),
    ("$fill", fill::parse),
    ("$graphLookup", graph_lookup::parse),
    ("$group", group::parse),
    ("$limit", skip_limit::parse_limit),
    ("$lookup", foreign::parse_lookup),
    ("$match", matching::parse),
    ("$project", project::parse),
    ("$redact", redact::parse),
    ("$replaceRoot", replace_root::parse),
    ("$replaceWith", replace_root::parse_with),
    ("$sample", sample::parse),
    ("$set", add_fields::parse_set),
    ("$setWindowFields", window::parse),
    ("$skip", skip_limit::parse_skip),
    ("$sort", sorting::parse),
    ("$sortByCount", sort_by_count::parse),
    ("$unionWith", foreign::parse_union_with),
    ("$unset", unset::parse),
    ("$unwind", unwind::parse),
];

/// Parses `{$stage: argument}`.
pub(super) fn parse(stage: &RawDocument, context: &Context) -> Result<Stage, DocumentError> {
    let mut fields = raw::elements(stage);
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(DocumentError::location(
            40323,
            "A pipeline stage specification object must contain exactly one field.",
        ));
    };
    let (_, parse) = REGISTRY
        .iter()
        .find(|(name, _)| *name == field.name)
        .ok_or_else(|| {
            DocumentError::location(
                40324,
                format!("Unrecognized pipeline stage name: '{}'", field.name),
            )
        })?;
    parse(field.value(), context)
}

/// Runs one stage; the stages behind it pull `rows_wanted` rows at most.
pub(super) fn run(
    stage: &Arc<Stage>,
    input: DocumentStream,
    rows_wanted: Option<usize>,
    context: &Context,
) -> DocumentStream {
    match stage.as_ref() {
        Stage::Match { filter, .. } => matching::run(filter.clone(), input),
        Stage::Sort(fields) => {
            sorting::run(fields.clone(), rows_wanted, context.room().clone(), input)
        }
        Stage::Skip(rows) => skip_limit::skip(*rows, input),
        Stage::Limit(rows) => skip_limit::limit(*rows, input),
        Stage::Other(stage) => stage.run(input),
    }
}

/// Runs a stage on documents that are lent to it.
pub(super) fn run_lent(
    stage: &Arc<Stage>,
    input: LentDocuments,
    rows_wanted: Option<usize>,
    context: &Context,
) -> DocumentStream {
    match stage.as_ref() {
        Stage::Other(stage) => stage.run_lent(input),
        _ => run(stage, input.into_stream(), rows_wanted, context),
    }
}

/// A stage that makes one document of each.
fn map(
    input: DocumentStream,
    mut function: impl FnMut(RawDocumentBuf) -> Result<RawDocumentBuf, DocumentError> + Send + 'static,
) -> DocumentStream {
    Box::new(input.map(move |document| function(document?).and_then(bounded)))
}

/// A stage that sees all input before it gives the first document.
fn blocking<I, T>(
    input: I,
    consume: impl FnOnce(I) -> Result<T, DocumentError> + Send + 'static,
) -> DocumentStream
where
    I: Send + 'static,
    T: IntoIterator<Item = Result<RawDocumentBuf, DocumentError>>,
    T::IntoIter: Send + 'static,
{
    let mut pending = Some((input, consume));
    let mut output: Option<T::IntoIter> = None;
    Box::new(std::iter::from_fn(move || {
        if let Some((input, consume)) = pending.take() {
            match consume(input) {
                Ok(rows) => output = Some(rows.into_iter()),
                Err(error) => return Some(Err(error)),
            }
        }
        output.as_mut()?.next()
    }))
}

/// Refuses documents that no reply could carry.
fn bounded(document: RawDocumentBuf) -> Result<RawDocumentBuf, DocumentError> {
    let bytes = document.as_bytes().len();
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::new(
            ErrorKind::BsonObjectTooLarge,
            format!(
                "A stage produced a document of {bytes} bytes; the maximum is {DOCUMENT_BYTES_MAX}"
            ),
        ));
    }
    Ok(document)
}
