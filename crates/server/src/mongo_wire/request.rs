//! A parsed command: its name, target database, the options every command may carry, and its own fields.
//!
//! Options that would change what a command means and that are not offered are refused by name; harmless ones
//! (comments, client metadata) are accepted.

use bson::raw::{RawBsonRef, RawDocument};
use bson::{RawDocumentBuf, Timestamp};
use state_machine::SessionStamp;

use super::failure::{Code, Failure};
use super::frame::Sequence;
use super::values;

/// The nesting a command may have: a stored document's, and the command around it.
pub(crate) const COMMAND_NESTING_MAX: usize = 180;

/// One command as it came.
pub(crate) struct Request<'a> {
    pub name: &'a str,
    /// The command's own value: usually the collection's name.
    pub target: RawBsonRef<'a>,
    pub database: &'a str,
    pub body: &'a RawDocument,
    /// The fields of the body in their order: a command asks for many that are not there.
    fields: Vec<(&'a str, RawBsonRef<'a>)>,
    pub sequences: &'a [Sequence<'a>],
    pub options: Options<'a>,
    /// OP_MSG's exhaustAllowed.
    pub exhaust_allowed: bool,
    /// A fail point lets only so many of a write's statements run.
    pub statements_max: usize,
}

/// Fields that most commands have no more of.
const FIELDS_USUAL: usize = 12;
/// No command knows so many; a field takes less in a message than it does here.
const FIELDS_MAX: usize = 1_000;

/// Where the write commands have their statements.
const STATEMENT_FIELDS: &[&str] = &["documents", "updates", "deletes", "ops"];

/// The consistency a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadLevel {
    Local,
    Available,
    Majority,
    Linearizable,
    /// As of one point in time, which the reply names.
    Snapshot,
}

/// What a write waits for beyond what every acknowledged write has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acknowledgement {
    /// `w: "majority"` or nothing said.
    Majority,
    /// This many members.
    Members(i64),
    /// A tag set, by name.
    Tagged(String),
}

/// `writeConcern`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteConcern {
    pub w: Acknowledgement,
    pub timeout_ms: Option<u64>,
}

impl Default for WriteConcern {
    fn default() -> Self {
        WriteConcern {
            w: Acknowledgement::Majority,
            timeout_ms: None,
        }
    }
}

/// Options that any command may carry.
#[derive(Debug, Default)]
pub(crate) struct Options<'a> {
    pub lsid: Option<&'a [u8]>,
    pub txn_number: Option<i64>,
    pub in_transaction: bool,
    pub max_time_ms: Option<u64>,
    pub read_level: Option<ReadLevel>,
    pub after_cluster_time: Option<Timestamp>,
    /// The point in time that a snapshot read asks for.
    pub at_cluster_time: Option<Timestamp>,
    pub write_concern: WriteConcern,
    /// `$readPreference.mode`, when there is one.
    pub read_preference: Option<&'a str>,
    pub api_strict: bool,
    /// `apiVersion` was given, and is 1.
    api_version: bool,
    /// `apiStrict` or `apiDeprecationErrors`, which mean nothing without a version.
    api_option: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// The session and number of a retryable write.
    pub(crate) fn stamp(&self) -> Option<SessionStamp> {
        Some(SessionStamp {
            lsid: self.lsid?.to_vec(),
            txn_number: self.txn_number?,
        })
    }

    /// Reads the option of this name; false when it is none of them.
    fn read(&mut self, name: &'a str, value: RawBsonRef<'a>) -> Result<bool, Failure> {
        match name {
            "lsid" => self.lsid = session_id(value)?,
            "txnNumber" => self.txn_number = Some(transaction_number(value)?),
            "autocommit" | "startTransaction" => self.in_transaction = true,
            "maxTimeMS" => self.max_time_ms = Some(max_time(value)?).filter(|ms| *ms > 0),
            "readConcern" => self.read_concern(values::document(name, value)?)?,
            "writeConcern" => self.write_concern = write_concern(value)?,
            "$readPreference" => {
                let mode = values::document(name, value)?.get("mode")?;
                self.read_preference = mode.map(|mode| values::string("mode", mode)).transpose()?;
            }
            "apiVersion" if value == RawBsonRef::String("1") => self.api_version = true,
            "apiVersion" => {
                return Err(Failure::new(
                    Code::APIVersionError,
                    "API version must be \"1\"",
                ));
            }
            "apiStrict" | "apiDeprecationErrors" => {
                self.api_option = Some(name);
                self.api_strict |= name == "apiStrict" && values::boolean(name, value)?;
            }
            "$db" | "$clusterTime" | "comment" | "maxTimeMSOpOnly" => {}
            "$client" | "$audit" | "$configServerState" | "$queryOptions" | "$tracing" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_concern(&mut self, concern: &'a RawDocument) -> Result<(), Failure> {
        for element in concern {
            let (name, value) = element?;
            match name.as_str() {
                "level" => self.read_level = read_level(values::string("level", value)?)?,
                "afterClusterTime" => match value {
                    RawBsonRef::Timestamp(time) => self.after_cluster_time = Some(time),
                    _ => {
                        return Err(Failure::type_mismatch(
                            "'afterClusterTime' must be a timestamp",
                        ));
                    }
                },
                "provenance" => {}
                "atClusterTime" => match value {
                    RawBsonRef::Timestamp(time) => self.at_cluster_time = Some(time),
                    _ => {
                        return Err(Failure::type_mismatch(
                            "'atClusterTime' must be a timestamp",
                        ));
                    }
                },
                other => return Err(unknown_field("readConcern", other)),
            }
        }
        if self.at_cluster_time.is_some() && self.read_level != Some(ReadLevel::Snapshot) {
            return Err(Failure::new(
                Code::InvalidOptions,
                "readConcern level 'snapshot' is required when specifying atClusterTime",
            ));
        }
        if self.at_cluster_time.is_some() && self.after_cluster_time.is_some() {
            return Err(Failure::new(
                Code::InvalidOptions,
                "Specifying both atClusterTime and afterClusterTime is not allowed",
            ));
        }
        Ok(())
    }
}

/// `BSON field 'command.field' is an unknown field.`
pub(crate) fn unknown_field(command: &str, field: &str) -> Failure {
    Failure::new(
        Code::IDLUnknownField,
        format!("BSON field '{command}.{field}' is an unknown field."),
    )
}

/// What a command takes, for [`Request::check_fields`].
pub(crate) struct Fields {
    /// Its own options.
    pub known: &'static [&'static str],
    /// Options MongoDB has and this server refuses, unless they say nothing (false, 0, null or empty).
    pub refused: &'static [&'static str],
}

impl<'a> Request<'a> {
    /// Reads a command whose documents were checked to be well-formed.
    pub(crate) fn parse(
        body: &'a RawDocument,
        sequences: &'a [Sequence<'a>],
        database: Option<&'a str>,
        exhaust_allowed: bool,
    ) -> Result<Self, Failure> {
        let mut fields = Vec::with_capacity(FIELDS_USUAL);
        for element in body {
            let (name, value) = element?;
            if fields.len() == FIELDS_MAX {
                let text = format!("a command has at most {FIELDS_MAX} fields");
                return Err(Failure::new(Code::BadValue, text));
            }
            fields.push((name.as_str(), value));
        }
        let Some((name, target)) = fields.first().copied() else {
            return Err(Failure::new(Code::CommandNotFound, "no such command: ''"));
        };
        let database = match (database, first(&fields, "$db")) {
            (Some(database), _) => database,
            (None, Some(value)) => values::string("$db", value)?,
            (None, None) => {
                return Err(Failure::new(
                    Code::IDLFailedToParse,
                    format!("BSON field '{name}.$db' is missing but a required field"),
                ));
            }
        };
        Ok(Request {
            name,
            target,
            database,
            body,
            fields,
            sequences,
            options: Options::default(),
            exhaust_allowed,
            statements_max: usize::MAX,
        })
    }

    /// Reads the options every command may carry, and refuses fields that are neither those nor in `fields`.
    /// `None` takes any field.
    pub(crate) fn check_fields(
        &mut self,
        command: &str,
        fields: Option<&Fields>,
    ) -> Result<(), Failure> {
        for (position, (name, value)) in self.fields.iter().copied().enumerate() {
            if position == 0 || self.options.read(name, value)? {
                continue;
            }
            if let Some(fields) = fields
                && !fields.known.contains(&name)
            {
                if !fields.refused.contains(&name) {
                    return Err(unknown_field(command, name));
                }
                if !says_nothing(value) {
                    return Err(Failure::not_supported(format!(
                        "option '{name}' of '{command}'"
                    )));
                }
            }
        }
        if let Some(option) = self.options.api_option
            && !self.options.api_version
        {
            // MongoDB's number for it.
            return Err(Failure::new(
                Code::Location(4886600),
                format!("Provided {option} without passing apiVersion"),
            ));
        }
        self.check_sequences(command, fields)
    }

    fn check_sequences(&self, command: &str, fields: Option<&Fields>) -> Result<(), Failure> {
        for sequence in self.sequences {
            if fields.is_some_and(|fields| !fields.known.contains(&sequence.name)) {
                return Err(unknown_field(command, sequence.name));
            }
            if first(&self.fields, sequence.name).is_some() {
                return Err(Failure::new(
                    Code::IDLDuplicateField,
                    format!(
                        "BSON field '{command}.{}' is a duplicate field",
                        sequence.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The value of one of the command's fields; null counts as missing.
    pub(crate) fn field(&self, name: &str) -> Result<Option<RawBsonRef<'a>>, Failure> {
        Ok(first(&self.fields, name).filter(|value| *value != RawBsonRef::Null))
    }

    pub(crate) fn document(&self, name: &str) -> Result<Option<&'a RawDocument>, Failure> {
        self.field(name)?
            .map(|value| values::document(name, value))
            .transpose()
    }

    /// A document, copied; empty when missing.
    pub(crate) fn document_or_empty(&self, name: &str) -> Result<RawDocumentBuf, Failure> {
        Ok(self
            .document(name)?
            .map_or_else(RawDocumentBuf::new, ToOwned::to_owned))
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<&'a str>, Failure> {
        self.field(name)?
            .map(|value| values::string(name, value))
            .transpose()
    }

    pub(crate) fn count(&self, name: &str) -> Result<Option<u64>, Failure> {
        self.field(name)?
            .map(|value| values::count(name, value))
            .transpose()
    }

    /// False when missing.
    pub(crate) fn boolean(&self, name: &str) -> Result<bool, Failure> {
        self.field(name)?
            .map_or(Ok(false), |value| values::boolean(name, value))
    }

    /// How many statements a write has.
    pub(crate) fn statements(&self) -> Result<usize, Failure> {
        for field in STATEMENT_FIELDS {
            if let Some(documents) = self.documents(field)? {
                return Ok(documents.len());
            }
        }
        Ok(1)
    }

    /// A list of documents, given as a document sequence or as an array in the body.
    pub(crate) fn documents(&self, name: &str) -> Result<Option<Vec<&'a RawDocument>>, Failure> {
        if let Some(sequence) = self.sequences.iter().find(|sequence| sequence.name == name) {
            let documents = sequence
                .documents()
                .map(|bytes| Ok(RawDocument::from_bytes(bytes)?));
            return documents.collect::<Result<_, Failure>>().map(Some);
        }
        self.field(name)?
            .map(|value| values::documents(name, value))
            .transpose()
    }

    /// A list of documents the command cannot do without.
    pub(crate) fn required_documents(&self, name: &str) -> Result<Vec<&'a RawDocument>, Failure> {
        let mut documents = self.documents(name)?.ok_or_else(|| self.missing(name))?;
        documents.truncate(self.statements_max);
        Ok(documents)
    }

    /// The error for a field the command cannot do without.
    pub(crate) fn missing(&self, field: &str) -> Failure {
        Failure::new(
            Code::IDLFailedToParse,
            format!(
                "BSON field '{}.{field}' is missing but a required field",
                self.name
            ),
        )
    }

    /// The collection that the command's own value names.
    pub(crate) fn collection(&self) -> Result<&'a str, Failure> {
        match self.target {
            RawBsonRef::String("") => Err(Failure::new(
                Code::InvalidNamespace,
                format!("Invalid namespace specified '{}.'", self.database),
            )),
            RawBsonRef::String(name) if name.contains('\0') => Err(Failure::new(
                Code::InvalidNamespace,
                "namespaces cannot have embedded null characters",
            )),
            RawBsonRef::String(name) => Ok(name),
            other => Err(Failure::new(
                Code::InvalidNamespace,
                format!(
                    "collection name has invalid type {}",
                    values::type_name(other)
                ),
            )),
        }
    }
}

/// The value of the first field of this name.
fn first<'a>(fields: &[(&'a str, RawBsonRef<'a>)], name: &str) -> Option<RawBsonRef<'a>> {
    let mut named = fields.iter().filter(|(known, _)| *known == name);
    named.next().map(|(_, value)| *value)
}

/// Whether an option's value is the same as leaving it out.
fn says_nothing(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::Boolean(false) => true,
        RawBsonRef::Int32(0) | RawBsonRef::Int64(0) | RawBsonRef::String("") => true,
        RawBsonRef::Document(document) => document.is_empty(),
        RawBsonRef::Array(array) => array.is_empty(),
        _ => false,
    }
}

fn session_id(value: RawBsonRef<'_>) -> Result<Option<&[u8]>, Failure> {
    match values::document("lsid", value)?.get("id")? {
        Some(RawBsonRef::Binary(id)) if id.bytes.len() == 16 => Ok(Some(id.bytes)),
        Some(_) => Err(Failure::type_mismatch(
            "BSON field 'lsid.id' must be a UUID",
        )),
        None => Err(Failure::new(
            Code::IDLFailedToParse,
            "BSON field 'lsid.id' is missing but a required field",
        )),
    }
}

fn transaction_number(value: RawBsonRef<'_>) -> Result<i64, Failure> {
    match values::integer("txnNumber", value)? {
        number if number >= 0 => Ok(number),
        _ => Err(Failure::new(
            Code::InvalidOptions,
            "Transaction number cannot be negative",
        )),
    }
}

fn max_time(value: RawBsonRef<'_>) -> Result<u64, Failure> {
    let milliseconds = values::integer("maxTimeMS", value)?;
    if (0..=i64::from(i32::MAX)).contains(&milliseconds) {
        Ok(milliseconds as u64)
    } else {
        Err(Failure::bad_value(format!(
            "{milliseconds} value for maxTimeMS is out of range [0, 2147483647]"
        )))
    }
}

fn read_level(level: &str) -> Result<Option<ReadLevel>, Failure> {
    match level {
        "local" => Ok(Some(ReadLevel::Local)),
        "available" => Ok(Some(ReadLevel::Available)),
        "majority" => Ok(Some(ReadLevel::Majority)),
        "linearizable" => Ok(Some(ReadLevel::Linearizable)),
        "snapshot" => Ok(Some(ReadLevel::Snapshot)),
        other => Err(Failure::new(
            Code::FailedToParse,
            format!(
                "Enumeration value '{other}' for field 'readConcern.level' is not a valid value."
            ),
        )),
    }
}

fn write_concern(value: RawBsonRef<'_>) -> Result<WriteConcern, Failure> {
    let mut concern = WriteConcern::default();
    for element in values::document("writeConcern", value)? {
        let (name, value) = element?;
        match name.as_str() {
            "w" => concern.w = acknowledgement(value)?,
            "wtimeout" | "wtimeoutMS" => {
                concern.timeout_ms = u64::try_from(values::integer("wtimeout", value)?)
                    .ok()
                    .filter(|ms| *ms > 0);
            }
            // Every acknowledged write is on disk on a majority: both are always so.
            "j" | "fsync" | "provenance" => {}
            other => return Err(unknown_field("writeConcern", other)),
        }
    }
    Ok(concern)
}

fn acknowledgement(value: RawBsonRef<'_>) -> Result<Acknowledgement, Failure> {
    match value {
        RawBsonRef::String("majority") => Ok(Acknowledgement::Majority),
        RawBsonRef::String(name) => Ok(Acknowledgement::Tagged(name.to_owned())),
        RawBsonRef::Document(_) => Err(Failure::not_supported("writeConcern 'w' with tags")),
        number => match values::integer("w", number)? {
            members @ 0..=50 => Ok(Acknowledgement::Members(members)),
            _ => Err(Failure::new(
                Code::FailedToParse,
                "w has to be a non-negative number and not greater than 50",
            )),
        },
    }
}
