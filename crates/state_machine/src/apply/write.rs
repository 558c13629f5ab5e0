//! Statements of a write command: candidates are checked again, then changed.

use std::collections::BTreeSet;

use bson::{Bson, RawBson, RawDocument, RawDocumentBuf};
use document::filter::Filter;
use document::update::{Update, UpdateContext, matched_element};
use document::{Collation, Context, DocumentError};
use storage_engine::Slice;

use super::overlay::Overlay;
use super::rules::{self, Circumstances};
use super::sessions::{Session, SessionCache};
use super::{OrFault, Stop, ddl, documents};
use crate::catalog::{CollectionEntry, Namespace};
use crate::command::{Image, Operation, Upsert, WriteCommand};
use crate::error::CommandError;
use crate::reply::{StatementResult, WriteReply};

pub(super) fn run(
    overlay: &mut Overlay<'_>,
    sessions: &mut SessionCache,
    command: WriteCommand,
) -> Result<WriteReply, Stop> {
    let WriteCommand {
        namespace,
        session,
        ordered,
        now_ms,
        terms,
        statements,
    } = command;
    let mut session = match session {
        Some(stamp) => Some(Session::begin(overlay, sessions, stamp, now_ms)?),
        None => None,
    };
    // Time and seed come with the command, so that every replica computes the same.
    let context = Context::at(now_ms, now_ms as u64).with_constants(&terms.variables);
    let execution = Execution {
        namespace: &namespace,
        context,
        circumstances: Circumstances {
            now_ms,
            bypass_validation: terms.bypass_validation,
        },
        supplied: terms.supplied,
    };
    let mut results = Vec::with_capacity(statements.len());
    for (position, statement) in statements.into_iter().enumerate() {
        let id = statement.statement_id;
        if let Some(session) = &mut session
            && let Some(result) = session.recorded(overlay, id).or_fault()?
        {
            results.push((id, result));
            continue;
        }
        let result = match execution.run(
            overlay,
            statement.operation,
            terms.constants.get(position),
            terms.collations.get(position),
        ) {
            Ok(result) => result,
            Err(Stop::Refused(error)) => StatementResult::Failed(error),
            Err(fault) => return Err(fault),
        };
        let failed = matches!(result, StatementResult::Failed(_) | StatementResult::Stale);
        if let Some(session) = &mut session
            && !failed
        {
            session.record(id, &result);
        }
        results.push((id, result));
        if failed && ordered {
            break;
        }
    }
    if let Some(session) = session {
        session.finish(overlay, sessions);
    }
    Ok(WriteReply { results })
}

/// What holds for all statements of one command.
struct Execution<'c> {
    namespace: &'c Namespace,
    context: Context,
    circumstances: Circumstances,
    supplied: bool,
}

impl Execution<'_> {
    fn run(
        &self,
        overlay: &mut Overlay<'_>,
        operation: Operation,
        constants: Option<&RawDocumentBuf>,
        collation: Option<&RawDocumentBuf>,
    ) -> Result<StatementResult, Stop> {
        if let Some(collection) = overlay.catalog().collection(self.namespace)
            && collection.is_view()
        {
            let namespace = self.namespace.clone();
            return Err(CommandError::NotOnView { namespace }.into());
        }
        let context = self.in_collation(overlay, collation)?;
        self.execute(overlay, operation, constants, &context)
    }

    /// What the statement's expressions may know, with the collation it names, or that of the collection.
    fn in_collation(
        &self,
        overlay: &Overlay<'_>,
        given: Option<&RawDocumentBuf>,
    ) -> Result<Context, Stop> {
        let collation = match given.filter(|given| !given.is_empty()) {
            Some(given) => Collation::parse(given)?,
            None => overlay
                .catalog()
                .collection(self.namespace)
                .and_then(|collection| collection.collation.clone()),
        };
        let found = overlay.catalog().collection(self.namespace);
        let text = found.and_then(|collection| collection.text_rules());
        Ok(self
            .context
            .clone()
            .with_collation(collation)
            .with_text(text))
    }

    fn execute(
        &self,
        overlay: &mut Overlay<'_>,
        operation: Operation,
        constants: Option<&RawDocumentBuf>,
        context: &Context,
    ) -> Result<StatementResult, Stop> {
        let namespace = self.namespace;
        match operation {
            Operation::Insert { document } => {
                let collection = ddl::ensure_collection(overlay, namespace)?;
                let document = rules::inserted(overlay, &collection, document, self.circumstances)?;
                documents::insert(overlay, &collection, document.into_bytes())?;
                Ok(StatementResult::Inserted)
            }
            Operation::Update {
                filter,
                update,
                array_filters,
                candidates,
                multi,
                upsert,
                image,
            } => {
                let of_update = match constants {
                    Some(constants) => &context.clone().with_constants(constants),
                    None => context,
                };
                let statement = UpdateStatement {
                    filter: Filter::parse_in(&filter, &context.clone().without_random())?,
                    filter_document: filter,
                    update: Update::parse_in(update.as_raw_bson_ref(), &array_filters, of_update)?,
                    candidates,
                    multi,
                    upsert,
                    image,
                    circumstances: self.circumstances,
                    supplied: constants.filter(|_| self.supplied).and_then(supplied),
                };
                statement.run(overlay, namespace)
            }
            Operation::Delete {
                filter,
                candidates,
                multi,
                image,
            } => delete(
                overlay,
                namespace,
                &filter,
                &Filter::parse_in(&filter, &context.clone().without_random())?,
                &candidates,
                multi,
                image,
            ),
        }
    }
}

/// The document that a statement's constants supply.
fn supplied(constants: &RawDocumentBuf) -> Option<RawDocumentBuf> {
    let new = constants.get_document("new").ok()?;
    Some(new.to_owned())
}

/// The documents a statement may touch.
struct Candidates {
    keys: Vec<Vec<u8>>,
    /// The filter cannot match any other document: that none matches is final.
    exhaustive: bool,
}

impl Candidates {
    fn resolve(
        collection: &CollectionEntry,
        (document, filter): (&RawDocument, &Filter),
        named: &[RawBson],
    ) -> Result<Candidates, Stop> {
        let mut keys = named
            .iter()
            .map(|id| documents::key_of(collection, id.as_raw_bson_ref()))
            .collect::<Result<Vec<_>, Stop>>()?;
        // `_id`s are compared byte by byte, whatever the collection's collation: the planner of a statement that names them
        // does not know it, and has not searched.
        let plain;
        let ids = match filter.exact_ids() {
            None if named.is_empty() && collection.collation.is_some() => {
                plain = Filter::parse_in(document, &Context::checking().without_random())?;
                plain.exact_ids()
            }
            ids => ids,
        };
        let Some(ids) = ids else {
            return Ok(Candidates {
                exhaustive: false,
                keys,
            });
        };
        let exact = ids
            .into_iter()
            .map(|id| documents::key_of(collection, id))
            .collect::<Result<Vec<_>, Stop>>()?;
        if keys.is_empty() {
            keys = exact;
            return Ok(Candidates {
                exhaustive: true,
                keys,
            });
        }
        Ok(Candidates {
            exhaustive: {
                let keys: BTreeSet<&Vec<u8>> = keys.iter().collect();
                exact.iter().all(|key| keys.contains(key))
            },
            keys,
        })
    }

    /// Whether the planner has to look again when none of these matches.
    fn are_stale(&self) -> bool {
        !self.keys.is_empty() && !self.exhaustive
    }
}

/// The document at a key, if it still matches.
fn matching(overlay: &Overlay<'_>, filter: &Filter, key: &[u8]) -> Result<Option<Slice>, Stop> {
    let Some(stored) = overlay.get(key).or_fault()? else {
        return Ok(None);
    };
    let matches = filter.try_matches(raw(&stored)?)?;
    Ok(matches.then_some(stored))
}

fn raw(stored: &[u8]) -> Result<&RawDocument, DocumentError> {
    RawDocument::from_bytes(stored).map_err(DocumentError::from)
}

struct UpdateStatement {
    filter: Filter,
    /// As the client wrote it: a positional update asks which array member it matched.
    filter_document: RawDocumentBuf,
    update: Update,
    candidates: Vec<RawBson>,
    multi: bool,
    upsert: Option<Upsert>,
    image: Image,
    circumstances: Circumstances,
    /// What an upsert inserts, when it comes with the statement.
    supplied: Option<RawDocumentBuf>,
}

impl UpdateStatement {
    fn run(
        self,
        overlay: &mut Overlay<'_>,
        namespace: &Namespace,
    ) -> Result<StatementResult, Stop> {
        let (mut matched, mut modified, mut image) = (0, 0, None);
        let mut stale = !self.candidates.is_empty();
        if let Some(collection) = overlay.collection(namespace) {
            let candidates = Candidates::resolve(
                &collection,
                (&self.filter_document, &self.filter),
                &self.candidates,
            )?;
            stale = candidates.are_stale();
            for key in &candidates.keys {
                let Some(stored) = matching(overlay, &self.filter, key)? else {
                    continue;
                };
                matched += 1;
                let before = raw(&stored)?;
                let after = match self.update.apply(before, &self.context(Some(before)))? {
                    Some(after) => Some(rules::replaced(
                        overlay,
                        &collection,
                        before,
                        after,
                        self.circumstances,
                    )?),
                    None => None,
                };
                if self.image == Image::Before {
                    image = Some(before.to_owned());
                } else if self.image == Image::After {
                    image = Some(after.clone().unwrap_or_else(|| before.to_owned()));
                }
                if let Some(after) = after {
                    documents::replace(overlay, &collection, key, before, after.into_bytes())?;
                    modified += 1;
                }
                if !self.multi {
                    break;
                }
            }
        }
        if matched == 0 {
            if stale && (self.upsert.is_some() || !self.multi) {
                return Ok(StatementResult::Stale);
            }
            if let Some(upsert) = &self.upsert {
                return self.insert(overlay, namespace, upsert);
            }
        }
        Ok(StatementResult::Updated {
            matched,
            modified,
            upserted: None,
            image,
        })
    }

    fn insert(
        &self,
        overlay: &mut Overlay<'_>,
        namespace: &Namespace,
        upsert: &Upsert,
    ) -> Result<StatementResult, Stop> {
        let document: RawDocumentBuf = match &self.supplied {
            Some(supplied) => {
                document::validate::document(supplied)?;
                supplied.clone()
            }
            None => self.update.upsert(
                &self.filter,
                upsert.generated_id.clone(),
                &self.context(None),
            )?,
        };
        let upserted = Bson::try_from(documents::id_of(&document)?).map_err(DocumentError::from)?;
        let collection = ddl::ensure_collection(overlay, namespace)?;
        let document = rules::inserted(overlay, &collection, document, self.circumstances)?;
        let image = (self.image == Image::After).then(|| document.clone());
        documents::insert(overlay, &collection, document.into_bytes())?;
        Ok(StatementResult::Updated {
            matched: 0,
            modified: 0,
            upserted: Some(upserted),
            image,
        })
    }

    /// For `document`, or for the one an upsert inserts.
    fn context(&self, document: Option<&RawDocument>) -> UpdateContext {
        let matched_element = document
            .filter(|_| self.update.is_positional())
            .and_then(|document| matched_element(&self.filter_document, document));
        UpdateContext {
            now_ms: self.circumstances.now_ms,
            inserting: document.is_none(),
            matched_element,
        }
    }
}

fn delete(
    overlay: &mut Overlay<'_>,
    namespace: &Namespace,
    filter_document: &RawDocument,
    filter: &Filter,
    named: &[RawBson],
    multi: bool,
    image: Image,
) -> Result<StatementResult, Stop> {
    let mut n = 0;
    let mut removed = None;
    let mut stale = !named.is_empty();
    if let Some(collection) = overlay.collection(namespace) {
        let candidates = Candidates::resolve(&collection, (filter_document, filter), named)?;
        stale = candidates.are_stale();
        for key in &candidates.keys {
            let Some(stored) = matching(overlay, filter, key)? else {
                continue;
            };
            let document = raw(&stored)?;
            documents::remove(overlay, &collection, key, document)?;
            n += 1;
            if image == Image::Before {
                removed = Some(document.to_owned());
            }
            if !multi {
                break;
            }
        }
    }
    if n == 0 && stale && !multi {
        return Ok(StatementResult::Stale);
    }
    Ok(StatementResult::Deleted { n, image: removed })
}
