//! `collMod`: other options for a collection or a view, and for one of its indexes.

use bson::raw::RawDocument;
use state_machine::{
    CatalogReply, Command as Replicated, CommandError, IndexChange, Namespace, OWN_OPTIONS, Reply,
    Snapshot, parse_expire_after_seconds,
};

use super::{Access, Command, Running, collection_options};
use crate::mongo_wire::dispatch::Invocation;
use crate::mongo_wire::document_writer::DocumentWriter;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::request::{Fields, unknown_field};
use crate::mongo_wire::{read_point, values, write_path};

pub(super) static COMMAND: Command = Command {
    fields: Some(Fields {
        known: &[
            "validator",
            "validationLevel",
            "validationAction",
            "viewOn",
            "pipeline",
            "index",
            OWN_OPTIONS,
        ],
        refused: &[
            "cappedSize",
            "cappedMax",
            "changeStreamPreAndPostImages",
            "expireAfterSeconds",
            "timeseries",
            "timeseriesBucketsMayHaveMixedSchemaData",
            "recordPreImages",
            "dryRun",
        ],
    }),
    access: Access::Write,
    in_api_1: true,
    ..Command::new("collMod", "change a collection's options", run)
};

fn run<'a>(invocation: &'a Invocation<'a>) -> Running<'a> {
    Box::pin(async move {
        let request = &invocation.request;
        let namespace = Namespace::new(request.database, request.collection()?);
        let snapshot = read_point::leader_snapshot(invocation.server).await?;
        let index = match request.document("index")? {
            Some(index) => Some(read_index(index, &snapshot, &namespace)?),
            None => None,
        };
        let command = Replicated::ModifyCollection {
            changes: collection_options::read(request, &snapshot)?,
            index: index.clone(),
            namespace,
        };
        match write_path::propose(invocation.server, &command).await? {
            Reply::Catalog(CatalogReply::Modified { index_before }) => {
                let mut fields = DocumentWriter::new();
                if let (Some(before), Some(after)) = (index_before, index) {
                    if let Some(after) = after.expire_after_seconds {
                        if let Some(before) = before.expire_after_seconds {
                            fields.i64("expireAfterSeconds_old", i64::from(before));
                        }
                        fields.i64("expireAfterSeconds_new", i64::from(after));
                    }
                    if let Some(after) = after.hidden {
                        fields.bool("hidden_old", before.hidden);
                        fields.bool("hidden_new", after);
                    }
                }
                Ok(fields.into())
            }
            Reply::Failed(error) => Err(error.into()),
            other => Err(write_path::unexpected(&other)),
        }
    })
}

/// `index: {name or keyPattern, hidden, expireAfterSeconds}`.
fn read_index(
    index: &RawDocument,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<IndexChange, Failure> {
    let (mut name, mut key, mut hidden, mut expire_after_seconds) = (None, None, None, None);
    for element in index {
        let (field, value) = element?;
        match field.as_str() {
            "name" => name = Some(values::string("index.name", value)?.to_owned()),
            "keyPattern" => key = Some(values::document("index.keyPattern", value)?),
            "hidden" => hidden = Some(values::boolean("index.hidden", value)?),
            "expireAfterSeconds" => {
                let seconds = parse_expire_after_seconds(value);
                expire_after_seconds = Some(
                    seconds
                        .map_err(|error| Failure::new(Code::InvalidOptions, error.to_string()))?,
                );
            }
            option @ ("prepareUnique" | "unique") => {
                return Err(Failure::not_supported(format!(
                    "option 'index.{option}' of 'collMod'"
                )));
            }
            other => return Err(unknown_field("collMod.index", other)),
        }
    }
    let name = match (name, key) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                Code::InvalidOptions,
                "Cannot specify both key pattern and name.",
            ));
        }
        (Some(name), None) => name,
        (None, Some(key)) => by_key(key, snapshot, namespace)?,
        (None, None) => {
            return Err(Failure::new(
                Code::InvalidOptions,
                "Must specify either index name or key pattern.",
            ));
        }
    };
    if hidden.is_none() && expire_after_seconds.is_none() {
        return Err(Failure::new(
            Code::InvalidOptions,
            "no expireAfterSeconds, hidden, unique, or prepareUnique field",
        ));
    }
    Ok(IndexChange {
        name,
        hidden,
        expire_after_seconds,
    })
}

fn by_key(
    key: &RawDocument,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<String, Failure> {
    let Some(collection) = snapshot.collection(namespace) else {
        let namespace = namespace.clone();
        return Err(CommandError::NamespaceNotFound { namespace }.into());
    };
    let index = collection.indexes.iter().find(|index| *index.key == *key);
    match index {
        Some(index) => Ok(index.name.clone()),
        None => Err(Failure::new(
            Code::IndexNotFound,
            format!("cannot find index for ns {namespace} by its key pattern"),
        )),
    }
}
