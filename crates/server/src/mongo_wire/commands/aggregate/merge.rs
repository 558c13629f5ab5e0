//! `$merge`: which document of the target each result meets, and what becomes of both.

use bson::oid::ObjectId;
use bson::raw::{CString, RawBson, RawBsonRef, RawDocument, cstr};
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use document::Context;
use document::path::{LeafArrays, Path};
use document::update::Update;
use state_machine::plan::{BulkStatement, StatementOutcome, UpdateStatement};
use state_machine::{CommandError, IndexEntry, Namespace, Snapshot};

use super::writing::checked;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::unknown_field;
use crate::mongo_wire::values;

#[derive(Clone, Copy, PartialEq)]
enum Matched {
    Replace,
    Keep,
    Merge,
    Fail,
    Pipeline,
}

#[derive(Clone, Copy, PartialEq)]
enum NotMatched {
    Insert,
    Discard,
    Fail,
}

/// The stage.
pub(super) struct Merge {
    pub into: Namespace,
    /// Together they are unique in the target.
    on: Vec<String>,
    matched: Matched,
    not_matched: NotMatched,
    pipeline: RawArrayBuf,
    variables: RawDocumentBuf,
}

impl Merge {
    pub(super) fn parse(
        database: &str,
        value: RawBsonRef<'_>,
        context: &Context,
    ) -> Result<Merge, Failure> {
        let mut merge = Merge {
            into: Namespace::new(database, ""),
            on: vec!["_id".to_owned()],
            matched: Matched::Merge,
            not_matched: NotMatched::Insert,
            pipeline: RawArrayBuf::new(),
            variables: rawdoc! { "new": "$$ROOT" },
        };
        let given = match value {
            RawBsonRef::String(name) => {
                merge.into = checked(Namespace::new(database, name))?;
                return Ok(merge);
            }
            RawBsonRef::Document(given) => given,
            other => {
                return Err(Failure::new(
                    Code::Location(51182),
                    format!(
                        "$merge only supports a string or object argument, not {}",
                        values::type_name(other)
                    ),
                ));
            }
        };
        let mut has_variables = false;
        for element in given {
            let (name, value) = element?;
            match name.as_str() {
                "into" => merge.into = checked(target(database, value)?)?,
                "on" => merge.on = fields(value)?,
                "let" => {
                    let mut variables = values::document("$merge.let", value)?.to_owned();
                    match variables.get("new")? {
                        None => variables.append(cstr!("new"), "$$ROOT"),
                        Some(RawBsonRef::String("$$ROOT")) => {}
                        Some(_) => {
                            return Err(Failure::new(
                                Code::Location(51273),
                                "'let' may not define a value for the reserved 'new' variable other than '$$ROOT'",
                            ));
                        }
                    }
                    merge.variables = variables;
                    has_variables = true;
                }
                "whenMatched" => merge.when_matched(value)?,
                "whenNotMatched" => merge.not_matched = when_not_matched(value)?,
                other => return Err(unknown_field("$merge", other)),
            }
        }
        if merge.into.collection.is_empty() {
            return Err(Failure::new(
                Code::IDLFailedToParse,
                "BSON field '$merge.into' is missing but a required field",
            ));
        }
        if has_variables && merge.matched != Matched::Pipeline {
            return Err(Failure::new(
                Code::Location(51199),
                "Cannot use 'let' variables with 'whenMatched' other than a pipeline",
            ));
        }
        merge.check_modes(context)?;
        Ok(merge)
    }

    fn when_matched(&mut self, value: RawBsonRef<'_>) -> Result<(), Failure> {
        self.matched = match value {
            RawBsonRef::Array(pipeline) => {
                self.pipeline = pipeline.to_owned();
                Matched::Pipeline
            }
            RawBsonRef::String("replace") => Matched::Replace,
            RawBsonRef::String("keepExisting") => Matched::Keep,
            RawBsonRef::String("merge") => Matched::Merge,
            RawBsonRef::String("fail") => Matched::Fail,
            _ => {
                return Err(Failure::bad_value(
                    "Enumeration value for field '$merge.whenMatched' is not a valid value.",
                ));
            }
        };
        Ok(())
    }

    /// Refuses combinations that mean nothing, and pipelines that cannot run.
    fn check_modes(&self, context: &Context) -> Result<(), Failure> {
        let nothing = matches!(
            (self.matched, self.not_matched),
            (
                Matched::Keep | Matched::Fail,
                NotMatched::Discard | NotMatched::Fail
            )
        );
        if nothing {
            return Err(Failure::new(
                Code::Location(51189),
                "Combination of $merge modes 'whenMatched' and 'whenNotMatched' is not supported",
            ));
        }
        let mut unknown = RawDocumentBuf::new();
        for variable in &self.variables {
            unknown.append(variable?.0, RawBsonRef::Null);
        }
        let context = context.clone().with_constants(&unknown);
        Update::parse_in(RawBsonRef::Array(&self.pipeline), &[], &context)?;
        Ok(())
    }

    /// The fields of `on` must be unique in the target, or a result could meet several documents.
    pub(super) fn check_target(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        if snapshot.is_view(&self.into) {
            let namespace = self.into.clone();
            return Err(CommandError::NotOnView { namespace }.into());
        }
        if matches!(&self.on[..], [only] if only == "_id") {
            return Ok(());
        }
        let indexes = snapshot
            .collection(&self.into)
            .map(|collection| &collection.indexes[..])
            .unwrap_or_default();
        if indexes.iter().any(|index| self.is_unique_by(index)) {
            return Ok(());
        }
        Err(Failure::new(
            Code::Location(51183),
            "Cannot find index to verify that join fields will be unique",
        ))
    }

    fn is_unique_by(&self, index: &IndexEntry) -> bool {
        let named = |name: &String| index.fields.iter().any(|(path, _)| path.as_str() == name);
        // Neither sparse nor partial: an index that leaves documents out says nothing of them.
        index.unique
            && index.is_ready()
            && !index.sparse
            && matches!(index.spec.get("partialFilterExpression"), Ok(None))
            && index.fields.len() == self.on.len()
            && self.on.iter().all(named)
    }

    /// What one result does to the target.
    pub(super) fn statement(
        &self,
        row: &RawDocument,
        context: &Context,
    ) -> Result<BulkStatement, Failure> {
        let document = with_id(row)?;
        if self.matched == Matched::Fail {
            return Ok(BulkStatement::Insert(document));
        }
        let pipeline = match self.matched {
            Matched::Pipeline => self.pipeline.clone(),
            Matched::Replace => one_stage(rawdoc! { "$replaceWith": "$$new" }),
            Matched::Merge => {
                one_stage(rawdoc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", "$$new"] } })
            }
            Matched::Keep | Matched::Fail => RawArrayBuf::new(),
        };
        let statement = UpdateStatement {
            filter: self.filter(&document)?,
            update: RawBson::Array(pipeline),
            array_filters: Vec::new(),
            multi: false,
            upsert: self.not_matched == NotMatched::Insert,
            hint: None,
            sort: None,
            collation: None,
        };
        let constants = context.evaluate_over(&self.variables, &document)?;
        Ok(BulkStatement::Update(statement, constants))
    }

    fn filter(&self, document: &RawDocument) -> Result<RawDocumentBuf, Failure> {
        let mut filter = RawDocumentBuf::new();
        for name in &self.on {
            let mut found = None;
            Path::parse(name).any(document, LeafArrays::Whole, &mut |value| {
                found = value.map(RawBson::from);
                true
            });
            match (found, CString::try_from(name.as_str())) {
                (Some(value), Ok(name))
                    if !matches!(
                        value,
                        RawBson::Null | RawBson::Undefined | RawBson::Array(_)
                    ) =>
                {
                    let mut equal = RawDocumentBuf::new();
                    equal.append(cstr!("$eq"), value);
                    filter.append(name, equal);
                }
                _ => {
                    return Err(Failure::new(
                        Code::Location(51132),
                        format!(
                            "$merge write error: 'on' field '{name}' cannot be missing, null, undefined or an array"
                        ),
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// Whether what became of a statement is what was asked for.
    pub(super) fn check(&self, outcome: &StatementOutcome) -> Result<(), Failure> {
        match outcome {
            StatementOutcome::Failed(error) => Err(error.clone().into()),
            StatementOutcome::Updated {
                matched: 0,
                upserted: None,
                ..
            } if self.not_matched == NotMatched::Fail => Err(Failure::new(
                Code::Location(13113), // MergeStageNoMatchingDocument
                "$merge could not find a matching document in the target collection for at least one document in the source collection",
            )),
            _ => Ok(()),
        }
    }
}

fn when_not_matched(value: RawBsonRef<'_>) -> Result<NotMatched, Failure> {
    match value {
        RawBsonRef::String("insert") => Ok(NotMatched::Insert),
        RawBsonRef::String("discard") => Ok(NotMatched::Discard),
        RawBsonRef::String("fail") => Ok(NotMatched::Fail),
        _ => Err(Failure::bad_value(
            "Enumeration value for field '$merge.whenNotMatched' is not a valid value.",
        )),
    }
}

fn target(database: &str, value: RawBsonRef<'_>) -> Result<Namespace, Failure> {
    let RawBsonRef::Document(given) = value else {
        return Ok(Namespace::new(
            database,
            values::string("$merge.into", value)?,
        ));
    };
    let mut into = Namespace::new(database, "");
    for element in given {
        let (name, value) = element?;
        match name.as_str() {
            "db" => into.database = values::string("$merge.into.db", value)?.to_owned(),
            "coll" => into.collection = values::string("$merge.into.coll", value)?.to_owned(),
            other => return Err(unknown_field("$merge.into", other)),
        }
    }
    Ok(into)
}

fn fields(value: RawBsonRef<'_>) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    match value {
        RawBsonRef::String(name) => names.push(name.to_owned()),
        RawBsonRef::Array(listed) => {
            for name in listed {
                let name = values::string("$merge.on", name?)?;
                if names.iter().any(|known| known == name) {
                    return Err(Failure::new(
                        Code::Location(31465),
                        format!("Found a duplicate field in the $merge.on list: '{name}'"),
                    ));
                }
                names.push(name.to_owned());
            }
        }
        other => {
            return Err(Failure::new(
                Code::Location(51186),
                format!(
                    "$merge 'on' field must be either a string or an array of strings, but found {}",
                    values::type_name(other)
                ),
            ));
        }
    }
    match names.is_empty() {
        true => Err(Failure::new(
            Code::Location(51187),
            "If explicitly specifying $merge 'on', must include at least one field",
        )),
        false => Ok(names),
    }
}

/// The result with an `_id`, made up if it has none.
fn with_id(row: &RawDocument) -> Result<RawDocumentBuf, Failure> {
    if row.get("_id")?.is_some() {
        return Ok(row.to_owned());
    }
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), ObjectId::new());
    for element in row {
        let (name, value) = element?;
        document.append(name, value);
    }
    Ok(document)
}

fn one_stage(stage: RawDocumentBuf) -> RawArrayBuf {
    let mut stages = RawArrayBuf::new();
    stages.push(stage);
    stages
}
