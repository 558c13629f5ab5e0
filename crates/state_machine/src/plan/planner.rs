//! The planning state machine of one write command. See the module's head for how it is driven.

use bson::{RawBson, RawDocument, RawDocumentBuf, oid::ObjectId};
use document::{DocumentError, ErrorKind, projection::Projection};

use super::outcome::{StatementOutcome, WriteOutcome};
use super::request::{
    BulkStatement, DeleteStatement, FindAndModifyRequest, InsertRequest, UpdateStatement,
    WriteOptions,
};
use super::statement::{Change, Work, prepare_insert};
use crate::query::{FindCursor, QueryError};
use crate::{CommandError, Operation, Reply, Snapshot, Statement, StatementResult, WriteCommand};

/// Candidates named for a statement that changes one document: enough that a few competing changes leave one.
const SINGLE_CANDIDATES_MAX: u64 = 16;
/// Documents one command of a multi-document statement names.
const CHUNK_CANDIDATES_MAX: usize = 1_000;
/// Statements in one command.
const COMMAND_STATEMENTS_MAX: usize = 10_000;
/// Statements are added to a command until their documents reach this; one document may exceed it.
const COMMAND_BYTES_MAX: usize = 4 << 20;
/// How often an upsert that lost a race on a unique index is tried again.
const UPSERT_RACES_MAX: u32 = 16;

/// What planning may know besides data: all of it ends up in the replicated command.
pub struct Environment<'a> {
    /// The leader's wall clock, milliseconds since the epoch.
    pub now_ms: i64,
    /// Draws a new ObjectId.
    pub generate_id: &'a mut dyn FnMut() -> ObjectId,
}

/// What the driver of a planner has to do next.
#[derive(Debug)]
pub enum Step {
    /// Hand in a linearizable snapshot taken after this was asked, then ask again.
    NeedSnapshot,
    /// Propose this, hand in the reply, then ask again.
    Propose(WriteCommand),
    /// Nothing is left: take the outcome.
    Finished,
}

/// Plans one write command, statement by statement.
#[derive(Debug)]
pub struct WritePlanner {
    options: WriteOptions,
    work: Vec<Work>,
    /// Whether any statement has values of its own for its pipeline.
    has_constants: bool,
    outcomes: Vec<StatementOutcome>,
    /// Shows every command so far; serves until the next one.
    snapshot: Option<Snapshot>,
    in_flight: InFlight,
    search: Option<Search>,
    races: u32,
    stopped: bool,
    projection: Option<Projection>,
    value: Option<RawDocumentBuf>,
}

/// What the command that is being replicated holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    Nothing,
    /// This many whole statements from the first unfinished one.
    Statements(usize),
    /// A part of the first unfinished statement, which touches many documents.
    Chunk,
}

/// A statement that touches many documents, part of the way through them.
#[derive(Debug)]
struct Search {
    rows: FindCursor,
    matched: u64,
    modified: u64,
    deleted: u64,
}

impl WritePlanner {
    /// Plans an `insert`.
    pub fn insert(options: WriteOptions, request: InsertRequest) -> WritePlanner {
        let work = request.documents.into_iter();
        Self::new(
            options,
            work.map(|document| Work::Insert(Some(document))).collect(),
        )
    }

    /// Plans an `update`.
    pub fn update(options: WriteOptions, statements: Vec<UpdateStatement>) -> WritePlanner {
        let terms = options.terms.clone();
        let change = |statement| Change::from_update(statement, &terms);
        Self::of_changes(options, statements.into_iter().map(change))
    }

    /// Plans a `delete`.
    pub fn delete(options: WriteOptions, statements: Vec<DeleteStatement>) -> WritePlanner {
        let terms = options.terms.clone();
        let change = |statement| Change::from_delete(statement, &terms);
        Self::of_changes(options, statements.into_iter().map(change))
    }

    /// Plans statements of any kind, in their order.
    pub fn bulk(options: WriteOptions, statements: Vec<BulkStatement>) -> WritePlanner {
        let retryable = options.session.is_some();
        let terms = options.terms.clone();
        let work = statements.into_iter().map(|statement| {
            let change = match statement {
                BulkStatement::Insert(document) => return Work::Insert(Some(document)),
                BulkStatement::Update(update, constants) => {
                    Change::from_update_with(update, &terms, constants)
                }
                BulkStatement::Delete(delete) => Change::from_delete(delete, &terms),
            };
            work_of(change, retryable)
        });
        let work = work.collect();
        Self::new(options, work)
    }

    /// Plans a `findAndModify`. Its document comes out as [`WriteOutcome::value`].
    pub fn find_and_modify(options: WriteOptions, request: FindAndModifyRequest) -> WritePlanner {
        let projection = request
            .projection
            .as_deref()
            .map(Projection::parse)
            .transpose();
        let change = match &projection {
            Ok(_) => Change::from_find_and_modify(request, &options.terms),
            Err(error) => Err(error.clone().into()),
        };
        let mut planner = Self::of_changes(options, std::iter::once(change));
        planner.projection = projection.ok().flatten();
        planner
    }

    fn of_changes(
        options: WriteOptions,
        changes: impl Iterator<Item = Result<Change, CommandError>>,
    ) -> WritePlanner {
        let retryable = options.session.is_some();
        let work = changes.map(|change| work_of(change, retryable)).collect();
        Self::new(options, work)
    }

    fn new(options: WriteOptions, work: Vec<Work>) -> WritePlanner {
        WritePlanner {
            outcomes: Vec::with_capacity(work.len()),
            has_constants: work.iter().any(Work::has_constants),
            options,
            work,
            snapshot: None,
            in_flight: InFlight::Nothing,
            search: None,
            races: 0,
            stopped: false,
            projection: None,
            value: None,
        }
    }

    /// What to do next. An error ends the whole command: what was proposed before it stays done.
    pub fn next(&mut self, environment: &mut Environment<'_>) -> Result<Step, QueryError> {
        assert!(
            self.in_flight == InFlight::Nothing,
            "the reply to the last command comes first"
        );
        loop {
            if self.stopped || self.outcomes.len() == self.work.len() {
                return Ok(Step::Finished);
            }
            match &self.work[self.outcomes.len()] {
                Work::Refused(error) => {
                    let error = error.clone();
                    self.finish_statement(StatementOutcome::Failed(error));
                }
                Work::Change(change) if !change.is_direct() => {
                    if self.search.is_none() && self.snapshot.is_none() {
                        return Ok(Step::NeedSnapshot);
                    }
                    if let Some(step) = self.plan_search(environment)? {
                        return Ok(step);
                    }
                }
                Work::Insert(_) | Work::Change(_) => {
                    if let Some(step) = self.propose_run(environment, Vec::new()) {
                        return Ok(step);
                    }
                }
            }
        }
    }

    /// Hands in the snapshot that was asked for.
    pub fn snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
    }

    /// Hands in the reply to the command that was asked to be proposed. An error means that the command as a whole was
    /// refused, and ends the write.
    pub fn applied(&mut self, reply: Reply) -> Result<(), CommandError> {
        let in_flight = std::mem::replace(&mut self.in_flight, InFlight::Nothing);
        self.snapshot = None;
        let reply = match reply {
            Reply::Write(reply) => reply,
            Reply::Failed(error) => return Err(error),
            other => panic!("a write was answered by {other:?}"),
        };
        match in_flight {
            InFlight::Nothing => panic!("no command was proposed"),
            InFlight::Statements(count) => {
                assert!(reply.results.len() <= count, "more results than statements");
                for (_, result) in reply.results {
                    if !self.absorb(result) {
                        break;
                    }
                }
            }
            InFlight::Chunk => {
                let (_, result) = reply
                    .results
                    .into_iter()
                    .next()
                    .expect("one statement was proposed");
                self.absorb_chunk(result);
            }
        }
        Ok(())
    }

    /// What became of the write so far; complete once [`Step::Finished`] was given.
    pub fn outcome(self) -> WriteOutcome {
        WriteOutcome {
            statements: self.outcomes,
            value: self.value,
        }
    }

    fn finish_statement(&mut self, outcome: StatementOutcome) {
        self.stopped = self.options.ordered && matches!(outcome, StatementOutcome::Failed(_));
        self.outcomes.push(outcome);
        self.search = None;
        self.races = 0;
    }

    /// Finds candidates of the first unfinished statement. `None` when it is finished without a command.
    fn plan_search(
        &mut self,
        environment: &mut Environment<'_>,
    ) -> Result<Option<Step>, QueryError> {
        let Work::Change(change) = &self.work[self.outcomes.len()] else {
            unreachable!("only changes are searched for");
        };
        if let Some(snapshot) = &self.snapshot
            && snapshot.is_view(&self.options.namespace)
        {
            let namespace = self.options.namespace.clone();
            return Err(CommandError::NotOnView { namespace }.into());
        }
        if change.multi {
            return self.plan_chunk(environment);
        }
        let snapshot = self.snapshot.clone().expect("asked for before");
        let limit = Some(SINGLE_CANDIDATES_MAX);
        let search = change.search(limit, &self.options, environment.now_ms);
        let mut rows = match snapshot.find(search) {
            Err(QueryError::Command(error)) => {
                self.finish_statement(StatementOutcome::Failed(error));
                return Ok(None);
            }
            rows => rows?,
        };
        let candidates = take_ids(&mut rows, SINGLE_CANDIDATES_MAX as usize)?;
        // A retry must reach the session's record even when the documents no longer match.
        if candidates.is_empty() && !change.upsert && self.options.session.is_none() {
            let outcome = nothing_matched(change);
            self.finish_statement(outcome);
            return Ok(None);
        }
        Ok(self.propose_run(environment, candidates))
    }

    fn plan_chunk(
        &mut self,
        environment: &mut Environment<'_>,
    ) -> Result<Option<Step>, QueryError> {
        let first = self.outcomes.len();
        let Work::Change(change) = &mut self.work[first] else {
            unreachable!("only changes are searched for");
        };
        let search = match &mut self.search {
            Some(search) => search,
            none => {
                let snapshot = self.snapshot.clone().expect("asked for before");
                let request = change.search(None, &self.options, environment.now_ms);
                match snapshot.find(request) {
                    Err(QueryError::Command(error)) => {
                        self.finish_statement(StatementOutcome::Failed(error));
                        return Ok(None);
                    }
                    rows => none.insert(Search {
                        rows: rows?,
                        matched: 0,
                        modified: 0,
                        deleted: 0,
                    }),
                }
            }
        };
        let candidates = take_ids(&mut search.rows, CHUNK_CANDIDATES_MAX)?;
        if candidates.is_empty() && !(change.upsert && search.matched == 0) {
            let outcome = if change.is_delete() {
                StatementOutcome::Deleted {
                    count: search.deleted,
                }
            } else {
                StatementOutcome::Updated {
                    matched: search.matched,
                    modified: search.modified,
                    upserted: None,
                }
            };
            self.finish_statement(outcome);
            return Ok(None);
        }
        let operation = change.operation(candidates, environment.generate_id);
        let constants = vec![change.constants.clone()];
        self.in_flight = InFlight::Chunk;
        let statement = Statement {
            statement_id: self.statement_id(first),
            operation,
        };
        Ok(Some(self.propose(environment, vec![statement], constants)))
    }

    /// Puts the first unfinished statement, over `candidates` if it was searched for, and as many direct ones
    /// after it as fit, into one command. `None` when the first one turned out to be refused.
    fn propose_run(
        &mut self,
        environment: &mut Environment<'_>,
        candidates: Vec<RawBson>,
    ) -> Option<Step> {
        let first = self.outcomes.len();
        let mut statements = Vec::new();
        let mut constants = Vec::new();
        let mut bytes = 0;
        let mut candidates = Some(candidates);
        // A searched statement may turn out stale, and an unordered command would go on after it.
        let searched = matches!(&self.work[first], Work::Change(change) if !change.is_direct());
        let end = match searched && !self.options.ordered {
            true => first + 1,
            false => self.work.len(),
        };
        for index in first..end {
            if statements.len() == COMMAND_STATEMENTS_MAX || bytes >= COMMAND_BYTES_MAX {
                break;
            }
            let operation = match &mut self.work[index] {
                Work::Refused(_) => break,
                Work::Insert(document) => {
                    let document = document.take().expect("inserts are planned once");
                    match prepare_insert(document, environment.generate_id) {
                        Ok(document) => {
                            bytes += document.as_bytes().len();
                            Operation::Insert { document }
                        }
                        Err(error) => {
                            self.work[index] = Work::Refused(error);
                            break;
                        }
                    }
                }
                Work::Change(change) if change.is_direct() => {
                    bytes += change.bytes();
                    change.operation(Vec::new(), environment.generate_id)
                }
                Work::Change(change) if index == first => {
                    bytes += change.bytes();
                    let candidates = candidates.take().expect("the first statement only");
                    change.operation(candidates, environment.generate_id)
                }
                Work::Change(_) => break,
            };
            if self.has_constants {
                constants.push(match &self.work[index] {
                    Work::Change(change) => change.constants.clone(),
                    Work::Insert(_) | Work::Refused(_) => RawDocumentBuf::new(),
                });
            }
            statements.push(Statement {
                statement_id: self.statement_id(index),
                operation,
            });
        }
        if statements.is_empty() {
            return None;
        }
        self.in_flight = InFlight::Statements(statements.len());
        Some(self.propose(environment, statements, constants))
    }

    fn propose(
        &self,
        environment: &Environment<'_>,
        statements: Vec<Statement>,
        constants: Vec<RawDocumentBuf>,
    ) -> Step {
        let mut terms = self.options.terms.clone();
        terms.collations = self.collations(statements.len());
        if self.has_constants {
            terms.constants = constants;
        }
        Step::Propose(WriteCommand {
            namespace: self.options.namespace.clone(),
            session: self.options.session.clone(),
            ordered: self.options.ordered,
            now_ms: environment.now_ms,
            terms,
            statements,
        })
    }

    /// Those of so many statements from the first unfinished one; none when no statement names one.
    fn collations(&self, statements: usize) -> Vec<RawDocumentBuf> {
        let proposed = self.work.iter().skip(self.outcomes.len()).take(statements);
        let collations: Vec<RawDocumentBuf> = proposed.map(Work::collation).collect();
        match collations.iter().all(|collation| collation.is_empty()) {
            true => Vec::new(),
            false => collations,
        }
    }

    fn statement_id(&self, index: usize) -> i32 {
        let given = self.options.statement_ids.get(index).copied();
        given.unwrap_or_else(|| i32::try_from(index).unwrap_or(i32::MAX))
    }

    /// Takes the result of the first unfinished statement; false when it has to be planned again.
    fn absorb(&mut self, result: StatementResult) -> bool {
        let outcome = match result {
            StatementResult::Inserted => StatementOutcome::Inserted,
            StatementResult::Updated {
                matched,
                modified,
                upserted,
                image,
            } => {
                let outcome = StatementOutcome::Updated {
                    matched,
                    modified,
                    upserted,
                };
                self.keep_image(image)
                    .map_or(outcome, StatementOutcome::Failed)
            }
            StatementResult::Deleted { n, image } => {
                let outcome = StatementOutcome::Deleted { count: n };
                self.keep_image(image)
                    .map_or(outcome, StatementOutcome::Failed)
            }
            StatementResult::Failed(error) if self.is_lost_race(&error) => {
                self.races += 1;
                return false;
            }
            StatementResult::Failed(error) => StatementOutcome::Failed(error),
            StatementResult::Stale => return false,
        };
        self.finish_statement(outcome);
        true
    }

    fn absorb_chunk(&mut self, result: StatementResult) {
        let search = self.search.as_mut().expect("a chunk belongs to a search");
        match result {
            StatementResult::Updated {
                upserted: Some(id), ..
            } => self.finish_statement(StatementOutcome::Updated {
                matched: 0,
                modified: 0,
                upserted: Some(id),
            }),
            StatementResult::Updated {
                matched, modified, ..
            } => {
                search.matched += matched;
                search.modified += modified;
            }
            StatementResult::Deleted { n, .. } => search.deleted += n,
            StatementResult::Stale => {}
            StatementResult::Inserted => unreachable!("inserts are not searched for"),
            StatementResult::Failed(error) if self.is_lost_race(&error) => {
                self.races += 1;
                self.search = None;
            }
            StatementResult::Failed(error) => {
                self.finish_statement(StatementOutcome::Failed(error));
            }
        }
    }

    fn is_lost_race(&self, error: &CommandError) -> bool {
        let CommandError::DuplicateKey { key_pattern, .. } = error else {
            return false;
        };
        let Work::Change(change) = &self.work[self.outcomes.len()] else {
            return false;
        };
        self.races < UPSERT_RACES_MAX && change.lost_upsert_race(key_pattern)
    }

    /// Keeps the document of a `findAndModify`; the error of a projection that fails over it.
    fn keep_image(&mut self, image: Option<RawDocumentBuf>) -> Option<CommandError> {
        let (Some(image), Some(projection)) = (&image, &self.projection) else {
            self.value = image;
            return None;
        };
        let Work::Change(change) = &self.work[self.outcomes.len()] else {
            unreachable!("inserts give no document back");
        };
        match projection.apply_to_match(image, &change.filter) {
            Ok(projected) => {
                self.value = Some(projected);
                None
            }
            Err(error) => Some(error.into()),
        }
    }
}

fn work_of(change: Result<Change, CommandError>, retryable: bool) -> Work {
    match change {
        Ok(change) if change.multi && retryable => Work::Refused(refuse_retryable_multi()),
        Ok(change) => Work::Change(Box::new(change)),
        Err(error) => Work::Refused(error),
    }
}

fn nothing_matched(change: &Change) -> StatementOutcome {
    if change.is_delete() {
        StatementOutcome::Deleted { count: 0 }
    } else {
        StatementOutcome::Updated {
            matched: 0,
            modified: 0,
            upserted: None,
        }
    }
}

fn take_ids(rows: &mut FindCursor, limit: usize) -> Result<Vec<RawBson>, QueryError> {
    let mut ids = Vec::new();
    while ids.len() < limit {
        let Some(row) = rows.next() else { break };
        ids.push(document_id(&row?)?);
    }
    Ok(ids)
}

fn document_id(document: &RawDocument) -> Result<RawBson, DocumentError> {
    match document.get("_id")? {
        Some(id) => Ok(id.into()),
        None => Err(DocumentError::new(
            ErrorKind::InvalidBson,
            "a stored document has no _id",
        )),
    }
}

fn refuse_retryable_multi() -> CommandError {
    DocumentError::new(
        ErrorKind::InvalidOptions,
        "Cannot use retryable writes with multi=true or limit=0",
    )
    .into()
}
