//! `$lookup` and `$unionWith`: documents of other collections.

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument};
use bson::{RawArrayBuf, RawDocumentBuf};

use super::super::assign::Assignments;
use super::super::{Collections, Pipeline};
use super::options::Options;
use super::{DocumentStream, RunStage, Stage, map};
use crate::context::check_variable_name;
use crate::expression::{Expression, Value, follow};
use crate::raw::{self, DocumentWriter};
use crate::sort::check_path;
use crate::validate::DOCUMENT_BYTES_MAX;
use crate::{Context, DocumentError, ErrorKind, display};

/// Where other collections are read; refused where there are none.
pub(super) fn collections(
    context: &Context,
    stage: &str,
) -> Result<Arc<dyn Collections>, DocumentError> {
    context.collections().cloned().ok_or_else(|| {
        DocumentError::new(
            ErrorKind::CommandNotSupported,
            format!("{stage} is not supported here: no other collection can be read"),
        )
    })
}

#[derive(Debug)]
struct Lookup {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    collections: Arc<dyn Collections>,
    context: Context,
    from: Option<String>,
    /// Local path and foreign field.
    fields: Option<(Vec<String>, String)>,
    variables: Vec<(String, Expression)>,
    pipeline: RawArrayBuf,
    target: Assignments<()>,
}

pub(super) fn parse_lookup(
    argument: RawBsonRef<'_>,
    context: &Context,
) -> Result<Stage, DocumentError> {
    let failed = |message: &str| Err(DocumentError::failed_to_parse(message));
    let RawBsonRef::Document(_) = argument else {
        return Err(DocumentError::failed_to_parse(format!(
            "the $lookup stage specification must be an object, but found {}",
            display::type_name(argument.element_type())
        )));
    };
    let mut options = Options::of("$lookup", argument, 9)?;
    let from = options.text("from")?.map(str::to_owned);
    let target_path = options.text("as")?;
    let local = options.text("localField")?;
    let foreign = options.text("foreignField")?;
    let bound = options.document("let")?;
    let stages = options.array("pipeline")?;
    options.finish(9)?;
    let Some(target_path) = target_path else {
        return failed("must specify 'as' field for a $lookup");
    };
    check_path(target_path)?;
    let begins_with_documents = stages.as_ref().and_then(|stages| stages.first()).is_some_and(|s| {
        matches!(s, RawBsonRef::Document(stage) if raw::elements(stage).next().is_some_and(|f| f.name == "$documents"))
    });
    if from.is_none() && !begins_with_documents {
        return failed("must specify 'from' field for a $lookup");
    }
    let fields = match (local, foreign) {
        (Some(local), Some(foreign)) => {
            check_path(local)?;
            check_path(foreign)?;
            Some((
                local.split('.').map(str::to_owned).collect(),
                foreign.to_owned(),
            ))
        }
        (None, None) if stages.is_some() => None,
        (None, None) => {
            return failed(
                "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' to be specified",
            );
        }
        _ => {
            return failed(
                "$lookup requires both or neither of 'localField' and 'foreignField' to be specified",
            );
        }
    };
    if bound.is_some() && stages.is_none() {
        return failed("$lookup with a 'let' argument must also specify 'pipeline'");
    }
    let mut variables = Vec::new();
    for variable in bound.into_iter().flat_map(raw::elements) {
        check_variable_name(variable.name)?;
        let value = Expression::parse(variable.value(), context)?;
        variables.push((variable.name.to_owned(), value));
    }
    let pipeline = raw::array_of(stages.unwrap_or_default());
    // What is wrong with it is said at once, not with the first document.
    let names = variables
        .iter()
        .map(|(name, _)| (name.clone(), RawBson::Null));
    Pipeline::parse(&pipeline, &context.clone().with_variables(names.collect()))?;
    let mut target = Assignments::new();
    target.insert(target_path, ())?;
    Ok(Stage::Other(Box::new(Lookup {
        inner: Arc::new(Inner {
            collections: collections(context, "$lookup")?,
            context: context.clone(),
            from,
            fields,
            variables,
            pipeline,
            target,
        }),
    })))
}

impl RunStage for Lookup {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let inner = Arc::clone(&self.inner);
        map(input, move |document| inner.joined(&document))
    }
}

impl Inner {
    fn joined(&self, document: &RawDocument) -> Result<RawDocumentBuf, DocumentError> {
        let mut stages = RawArrayBuf::new();
        if let Some((local, foreign)) = &self.fields {
            let value = follow(RawBsonRef::Document(document), local);
            let value = value.as_ref().map_or(RawBsonRef::Null, Value::as_ref);
            stages.push(match_stage(foreign, value));
        }
        for stage in raw::members(&self.pipeline) {
            stages.push(stage);
        }
        let mut bound = Vec::with_capacity(self.variables.len());
        for (name, expression) in &self.variables {
            let value = expression.evaluate(document)?;
            // A missing value has no constant; null is the nearest.
            bound.push((name.clone(), value.map_or(RawBson::Null, Value::into_owned)));
        }
        let context = match bound.is_empty() {
            true => self.context.clone(),
            false => self.context.clone().with_variables(bound),
        };
        let mut found = RawArrayBuf::new();
        for row in self
            .collections
            .aggregate(self.from.as_deref(), &stages, &context)?
        {
            found.push(row?);
            let bytes = found.as_bytes().len();
            if bytes > DOCUMENT_BYTES_MAX {
                return Err(DocumentError::location(
                    4568,
                    format!(
                        "Total size of documents in {} matching pipeline's $lookup stage exceeds {DOCUMENT_BYTES_MAX} bytes",
                        self.from.as_deref().unwrap_or("$documents")
                    ),
                ));
            }
        }
        let found = RawBson::Array(found);
        let mut out =
            DocumentWriter::with_capacity(document.as_bytes().len() + DOCUMENT_BYTES_MAX / 1024);
        let mut value = |_: &()| Ok(Some(Value::Owned(found.clone())));
        self.target.write(document, &mut value, &mut out)?;
        Ok(out.finish())
    }
}

/// `{$match: {field: {$in: […]}}}` for what equals the value, or a member of it when it is an array.
pub(super) fn match_stage(field: &str, value: RawBsonRef<'_>) -> RawDocumentBuf {
    let single = [value];
    let members: Vec<RawBsonRef<'_>> = match value {
        RawBsonRef::Array(array) => raw::members(array).collect(),
        _ => single.to_vec(),
    };
    let mut out = DocumentWriter::with_capacity(128);
    let stage = out.begin_document("$match");
    write_any_of(&mut out, field, &members);
    out.end(stage);
    out.finish()
}

/// The condition that `field` equals one of the values, none of them taken for a pattern.
pub(super) fn write_any_of(out: &mut DocumentWriter, field: &str, values: &[RawBsonRef<'_>]) {
    let value_or_null = |value: RawBsonRef<'_>| match value {
        RawBsonRef::Undefined => RawBson::Null,
        other => raw::owned(other),
    };
    let patterns = values
        .iter()
        .any(|value| matches!(value, RawBsonRef::RegularExpression(_)));
    if !patterns {
        let condition = out.begin_document(field);
        let list = out.begin_array("$in");
        for (index, value) in values.iter().enumerate() {
            out.append(&index.to_string(), value_or_null(*value).as_raw_bson_ref());
        }
        out.end(list);
        out.end(condition);
        return;
    }
    let any = out.begin_array("$or");
    for (index, value) in values.iter().enumerate() {
        let clause = out.begin_document(&index.to_string());
        let condition = out.begin_document(field);
        out.append("$eq", value_or_null(*value).as_raw_bson_ref());
        out.end(condition);
        out.end(clause);
    }
    out.end(any);
}

#[derive(Debug)]
struct UnionWith {
    collections: Arc<dyn Collections>,
    context: Context,
    collection: Option<String>,
    pipeline: RawArrayBuf,
}

pub(super) fn parse_union_with(
    argument: RawBsonRef<'_>,
    context: &Context,
) -> Result<Stage, DocumentError> {
    let (collection, pipeline) = match argument {
        RawBsonRef::String(name) => (Some(name.to_owned()), RawArrayBuf::new()),
        _ => {
            let mut options = Options::of("$unionWith", argument, 9)?;
            let collection = options.text("coll")?.map(str::to_owned);
            let pipeline = options.array("pipeline")?;
            options.finish(40415)?;
            if collection.is_none() && pipeline.is_none() {
                return Err(DocumentError::failed_to_parse(
                    "$unionWith stage without explicit collection must have a pipeline with $documents as first stage",
                ));
            }
            (collection, raw::array_of(pipeline.unwrap_or_default()))
        }
    };
    Pipeline::parse(&pipeline, context)?;
    Ok(Stage::Other(Box::new(UnionWith {
        collections: collections(context, "$unionWith")?,
        context: context.clone(),
        collection,
        pipeline,
    })))
}

impl RunStage for UnionWith {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let (collections, context) = (Arc::clone(&self.collections), self.context.clone());
        let (collection, pipeline) = (self.collection.clone(), self.pipeline.clone());
        // The other collection is opened when the input has ended.
        let more = std::iter::once_with(move || {
            let rows = collections.aggregate(collection.as_deref(), &pipeline, &context);
            rows.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        });
        Box::new(input.chain(more.flatten()))
    }
}
