//! One statement of a write, checked and ready to be planned.
//!
//! Everything that can be refused without looking at data is refused here, so that a malformed update never
//! reaches the log.

use bson::{Bson, RawBson, RawDocument, RawDocumentBuf, oid::ObjectId};
use document::{
    Collation, Context, DocumentError, filter::Filter, sort::SortSpec, update::Update, validate,
};

use super::request::{
    DeleteStatement, FindAndModifyOperation, FindAndModifyRequest, UpdateStatement, WriteOptions,
};
use crate::query::{FindRequest, Hint};
use crate::{CommandError, Image, Operation, Upsert, WriteTerms};

/// `_id`s a filter may name for its statement to go without a search.
const DIRECT_IDS_MAX: usize = 1_000;

/// A statement, as far as it can be understood without data.
#[derive(Debug)]
pub(super) enum Work {
    /// Cannot be run.
    Refused(CommandError),
    /// Inserts this document; taken when the command is built.
    Insert(Option<RawDocumentBuf>),
    /// Changes or removes documents.
    Change(Box<Change>),
}

impl Work {
    /// Whether this is an update with values of its own for its pipeline.
    /// The collation it names; empty for none.
    pub(super) fn collation(&self) -> RawDocumentBuf {
        match self {
            Work::Change(change) => change.collation.clone(),
            Work::Insert(_) | Work::Refused(_) => RawDocumentBuf::new(),
        }
    }

    pub(super) fn has_constants(&self) -> bool {
        matches!(self, Work::Change(change) if !change.constants.is_empty())
    }
}

/// An update or a delete.
#[derive(Debug)]
pub(super) struct Change {
    /// Which documents.
    pub filter: RawDocumentBuf,
    /// The filter names its `_id`s: the command needs no candidates, and nothing has to be searched.
    direct: bool,
    /// Paths the filter fixes by equality, for upserts that meet a duplicate.
    equality_paths: Vec<String>,
    /// All matching documents instead of one.
    pub multi: bool,
    /// Insert when nothing matches.
    pub upsert: bool,
    /// Which match comes first.
    pub sort: Option<RawDocumentBuf>,
    /// The index to search with.
    pub hint: Option<Hint>,
    /// Values for the update's pipeline; empty for none.
    pub constants: RawDocumentBuf,
    /// As the client gave it; empty for none.
    pub collation: RawDocumentBuf,
    /// Which document the reply carries.
    image: Image,
    action: Action,
    /// The `_id` an upsert gives its document; drawn once, so that planning again repeats it.
    generated_id: Option<ObjectId>,
}

#[derive(Debug)]
enum Action {
    Update {
        update: RawBson,
        array_filters: Vec<RawDocumentBuf>,
    },
    Delete,
}

impl Change {
    pub(super) fn from_update(
        statement: UpdateStatement,
        terms: &WriteTerms,
    ) -> Result<Change, CommandError> {
        Self::from_update_with(statement, terms, RawDocumentBuf::new())
    }

    /// An update with values for its pipeline.
    pub(super) fn from_update_with(
        statement: UpdateStatement,
        terms: &WriteTerms,
        constants: RawDocumentBuf,
    ) -> Result<Change, CommandError> {
        if !constants.is_empty() && !matches!(statement.update, RawBson::Array(_)) {
            return Err(DocumentError::location(
                51198,
                "Constant values may only be specified for pipeline updates",
            )
            .into());
        }
        let (given, context) = collated(statement.collation, checking(terms))?;
        let filter = Filter::parse_in(&statement.filter, &context.clone().without_random())?;
        check_update(
            &statement.update,
            &statement.array_filters,
            statement.multi,
            &context.with_constants(&constants),
        )?;
        if statement.multi && statement.sort.as_ref().is_some_and(|sort| !sort.is_empty()) {
            return Err(
                DocumentError::failed_to_parse("Cannot specify sort with multi=true").into(),
            );
        }
        check_sort(statement.sort.as_deref())?;
        let sort = statement.sort.filter(|sort| !sort.is_empty());
        Ok(Change {
            direct: is_direct(&filter, &statement.hint, statement.multi, &sort),
            equality_paths: equality_paths(&filter),
            filter: statement.filter,
            multi: statement.multi,
            upsert: statement.upsert,
            sort,
            hint: statement.hint,
            constants,
            collation: given,
            image: Image::None,
            action: Action::Update {
                update: statement.update,
                array_filters: statement.array_filters,
            },
            generated_id: None,
        })
    }

    pub(super) fn from_delete(
        statement: DeleteStatement,
        terms: &WriteTerms,
    ) -> Result<Change, CommandError> {
        let (given, context) = collated(statement.collation, checking(terms))?;
        let filter = Filter::parse_in(&statement.filter, &context.clone().without_random())?;
        Ok(Change {
            direct: is_direct(&filter, &statement.hint, statement.multi, &None),
            equality_paths: Vec::new(),
            filter: statement.filter,
            multi: statement.multi,
            upsert: false,
            sort: None,
            hint: statement.hint,
            constants: RawDocumentBuf::new(),
            collation: given,
            image: Image::None,
            action: Action::Delete,
            generated_id: None,
        })
    }

    pub(super) fn from_find_and_modify(
        request: FindAndModifyRequest,
        terms: &WriteTerms,
    ) -> Result<Change, CommandError> {
        let (given, context) = collated(request.collation, checking(terms))?;
        let filter = Filter::parse_in(&request.filter, &context.clone().without_random())?;
        check_sort(request.sort.as_deref())?;
        let sort = request.sort.filter(|sort| !sort.is_empty());
        let mut change = Change {
            direct: is_direct(&filter, &request.hint, false, &sort),
            equality_paths: equality_paths(&filter),
            filter: request.filter,
            multi: false,
            upsert: false,
            sort,
            hint: request.hint,
            constants: RawDocumentBuf::new(),
            collation: given,
            image: Image::Before,
            action: Action::Delete,
            generated_id: None,
        };
        if let FindAndModifyOperation::Update {
            update,
            array_filters,
            upsert,
            return_new,
        } = request.operation
        {
            check_update(&update, &array_filters, false, &context)?;
            change.upsert = upsert;
            change.image = if return_new {
                Image::After
            } else {
                Image::Before
            };
            change.action = Action::Update {
                update,
                array_filters,
            };
        }
        Ok(change)
    }

    /// Whether no search is needed.
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Roughly what this statement adds to a command.
    pub(super) fn bytes(&self) -> usize {
        let action = match &self.action {
            Action::Update { update, .. } => match update {
                RawBson::Document(document) => document.as_bytes().len(),
                _ => 0,
            },
            Action::Delete => 0,
        };
        self.filter.as_bytes().len() + action
    }

    /// Whether this is a delete.
    pub(super) fn is_delete(&self) -> bool {
        matches!(self.action, Action::Delete)
    }

    /// Whether a duplicate on an index with `key_pattern` means only that somebody else upserted the same
    /// document first: the filter fixes every field of the index, so the next search will find that one.
    pub(super) fn lost_upsert_race(&self, key_pattern: &RawDocument) -> bool {
        self.upsert
            && !self.direct
            && key_pattern.iter().all(|field| {
                field.is_ok_and(|(path, _)| {
                    self.equality_paths
                        .iter()
                        .any(|equal| equal == path.as_str())
                })
            })
    }

    /// The replicated operation over `candidates`; none for a direct one. An upsert is armed only when none are named,
    /// so that vanished candidates are searched again before anything is inserted.
    pub(super) fn operation(
        &mut self,
        candidates: Vec<RawBson>,
        generate_id: &mut dyn FnMut() -> ObjectId,
    ) -> Operation {
        let armed = self.upsert && candidates.is_empty();
        let upsert = armed.then(|| {
            let id = *self.generated_id.get_or_insert_with(generate_id);
            Upsert {
                generated_id: Some(Bson::ObjectId(id)),
            }
        });
        match &self.action {
            Action::Update {
                update,
                array_filters,
            } => Operation::Update {
                filter: self.filter.clone(),
                update: update.clone(),
                array_filters: array_filters.clone(),
                candidates,
                multi: self.multi,
                upsert,
                image: self.image,
            },
            Action::Delete => Operation::Delete {
                filter: self.filter.clone(),
                candidates,
                multi: self.multi,
                image: self.image,
            },
        }
    }

    /// The search for this statement's documents.
    pub(super) fn search(
        &self,
        limit: Option<u64>,
        options: &WriteOptions,
        now_ms: i64,
    ) -> FindRequest {
        let mut context = Context::at(now_ms, 0)
            .with_constants(&options.terms.variables)
            .without_random();
        // It was parsed when the statement came.
        if let (false, Ok(collation)) =
            (self.collation.is_empty(), Collation::parse(&self.collation))
        {
            context = context.with_collation(collation);
        }
        FindRequest {
            sort: self.sort.clone(),
            limit,
            hint: self.hint.clone(),
            context,
            interrupt: options.interrupt.clone(),
            ..FindRequest::new(options.namespace.clone(), self.filter.clone())
        }
    }
}

/// What the expressions of a write may know. Its filters know no random numbers: they are evaluated again when they are
/// applied.
fn checking(terms: &WriteTerms) -> Context {
    Context::checking().with_constants(&terms.variables)
}

/// The document to store: `_id` first, generated when missing, and valid.
pub(super) fn prepare_insert(
    document: RawDocumentBuf,
    generate_id: &mut dyn FnMut() -> ObjectId,
) -> Result<RawDocumentBuf, CommandError> {
    let id_is_first = match document.iter().next() {
        Some(Ok((name, _))) => name == "_id",
        _ => false,
    };
    let document = if id_is_first {
        document
    } else {
        with_id_first(&document, generate_id)?
    };
    validate::document(&document)?;
    Ok(document)
}

fn with_id_first(
    document: &RawDocument,
    generate_id: &mut dyn FnMut() -> ObjectId,
) -> Result<RawDocumentBuf, DocumentError> {
    let mut ordered = RawDocumentBuf::new();
    match document.get("_id")? {
        Some(id) => ordered.append(bson::raw::cstr!("_id"), id),
        None => ordered.append(bson::raw::cstr!("_id"), generate_id()),
    }
    for element in document {
        let (name, value) = element?;
        if name != "_id" {
            ordered.append(name, value);
        }
    }
    Ok(ordered)
}

/// Whether the filter names the few `_id`s that can match, and nothing but the `_id` decides which comes first.
fn is_direct(
    filter: &Filter,
    hint: &Option<Hint>,
    multi: bool,
    sort: &Option<RawDocumentBuf>,
) -> bool {
    let Some(ids) = filter.exact_ids() else {
        return false;
    };
    let one_of_several_sorted = ids.len() > 1 && !multi && sort.is_some();
    hint.is_none() && ids.len() <= DIRECT_IDS_MAX && !one_of_several_sorted
}

fn equality_paths(filter: &Filter) -> Vec<String> {
    filter
        .equality_fields()
        .into_iter()
        .map(|(path, _)| path.to_owned())
        .collect()
}

fn check_update(
    update: &RawBson,
    array_filters: &[RawDocumentBuf],
    multi: bool,
    context: &Context,
) -> Result<(), CommandError> {
    let parsed = Update::parse_in(update.as_raw_bson_ref(), array_filters, context)?;
    if multi && parsed.is_replacement() {
        return Err(DocumentError::failed_to_parse(
            "multi update is not supported for replacement-style update",
        )
        .into());
    }
    Ok(())
}

fn check_sort(sort: Option<&RawDocument>) -> Result<(), CommandError> {
    if let Some(sort) = sort {
        SortSpec::parse(sort)?;
    }
    Ok(())
}

/// A statement's own collation, empty for none, and `context` with it.
fn collated(
    given: Option<RawDocumentBuf>,
    context: Context,
) -> Result<(RawDocumentBuf, Context), CommandError> {
    match given.filter(|given| !given.is_empty()) {
        None => Ok((RawDocumentBuf::new(), context)),
        Some(given) => {
            let collation = Collation::parse(&given)?;
            Ok((given, context.with_collation(collation)))
        }
    }
}
