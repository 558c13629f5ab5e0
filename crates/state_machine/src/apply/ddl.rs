//! Commands on the catalog. Each either happens whole or is refused whole.

use std::ops::Bound;
use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::Stop;
use super::overlay::Overlay;
use crate::catalog::{
    CollectionEntry, IndexEntry, IndexRequest, IndexState, Namespace, Rules, Standing, describe,
    new_collection, parse_index_spec, validate_namespace,
};
use crate::command::{IndexChange, IndexSelection};
use crate::error::CommandError;
use crate::keyspace::{self, DroppedSpace};
use crate::limits::INDEXES_PER_COLLECTION_MAX;
use crate::reply::{CatalogReply, IndexBefore};

/// The collection, created if it is missing.
pub(super) fn ensure_collection(
    overlay: &mut Overlay<'_>,
    namespace: &Namespace,
) -> Result<Arc<CollectionEntry>, Stop> {
    match overlay.collection(namespace) {
        Some(collection) => Ok(collection),
        None => create(overlay, namespace.clone(), RawDocumentBuf::new()),
    }
}

fn create(
    overlay: &mut Overlay<'_>,
    namespace: Namespace,
    options: RawDocumentBuf,
) -> Result<Arc<CollectionEntry>, Stop> {
    validate_namespace(&namespace)?;
    let position = overlay.position;
    let id = overlay.catalog_mut().take_collection_id();
    Ok(overlay.put_collection(new_collection(id, namespace, options, position)))
}

pub(super) fn create_collection(
    overlay: &mut Overlay<'_>,
    namespace: Namespace,
    options: RawDocumentBuf,
) -> Result<CatalogReply, Stop> {
    if let Some(existing) = overlay.collection(&namespace) {
        // As MongoDB: asking again for what is there is not an error.
        return if existing.options == options {
            Ok(CatalogReply::Created)
        } else {
            Err(CommandError::NamespaceExists { namespace }.into())
        };
    }
    if let Some(view) = &Rules::of(&options).view {
        overlay.catalog().check_view(&namespace, view)?;
    }
    create(overlay, namespace, options)?;
    Ok(CatalogReply::Created)
}

/// As [`existing`], refusing views.
fn existing_collection(
    overlay: &Overlay<'_>,
    namespace: &Namespace,
) -> Result<Arc<CollectionEntry>, CommandError> {
    let collection = existing(overlay, namespace)?;
    match collection.is_view() {
        true => Err(CommandError::NotOnView {
            namespace: namespace.clone(),
        }),
        false => Ok(collection),
    }
}

pub(super) fn modify_collection(
    overlay: &mut Overlay<'_>,
    namespace: &Namespace,
    changes: &RawDocument,
    index: Option<IndexChange>,
) -> Result<CatalogReply, Stop> {
    let mut collection = existing(overlay, namespace)?;
    if !changes.is_empty() {
        let options = merged(&collection.options, changes)?;
        let view = Rules::of(&options).view;
        if view.is_some() != collection.is_view() {
            return Err(CommandError::InvalidOptions {
                message: format!("{namespace} cannot become a view, nor stop being one"),
            }
            .into());
        }
        if let Some(view) = &view {
            overlay.catalog().check_view(namespace, view)?;
        }
        let counted = collection.rules.sequence.is_some();
        collection = overlay.put_collection(collection.with_options(options));
        if counted && collection.rules.sequence.is_none() {
            overlay.delete(keyspace::sequence_key(collection.id));
        }
    }
    let index_before = match index {
        Some(change) => Some(change_index(overlay, &collection, &change)?),
        None => None,
    };
    Ok(CatalogReply::Modified { index_before })
}

/// The options with some replaced, added, or taken away by null.
fn merged(
    options: &RawDocument,
    changes: &RawDocument,
) -> Result<RawDocumentBuf, document::DocumentError> {
    let mut merged = RawDocumentBuf::new();
    for element in options {
        let (name, value) = element?;
        match changes.get(name)? {
            None => merged.append(name, value),
            Some(RawBsonRef::Null) => {}
            Some(changed) => merged.append(name, changed),
        }
    }
    for element in changes {
        let (name, value) = element?;
        if value != RawBsonRef::Null && options.get(name)?.is_none() {
            merged.append(name, value);
        }
    }
    Ok(merged)
}

/// What the index was like before.
fn change_index(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    change: &IndexChange,
) -> Result<IndexBefore, Stop> {
    let index = collection
        .index(&change.name)
        .ok_or_else(|| CommandError::IndexNotFound {
            message: format!(
                "cannot find index {} for ns {}",
                change.name, collection.namespace
            ),
        })?;
    let before = IndexBefore {
        hidden: index.hidden,
        expire_after_seconds: index.expire_after_seconds,
    };
    let mut changed = IndexEntry::clone(index);
    if let Some(hidden) = change.hidden {
        if index.is_id() {
            return Err(document::DocumentError::bad_value("can't hide _id index").into());
        }
        changed = changed.with_hidden(hidden)?;
    }
    if let Some(seconds) = change.expire_after_seconds {
        let refused = if index.is_id() {
            Some("the _id field does not support TTL indexes")
        } else if index.fields.len() != 1 {
            Some("TTL indexes are single-field indexes, compound indexes do not support TTL")
        } else {
            None
        };
        let refused = match index.kind.is_ordered() {
            true => refused.map(str::to_owned),
            false => Some(index.kind.cannot_expire()),
        };
        if let Some(message) = refused {
            return Err(CommandError::InvalidOptions { message }.into());
        }
        changed = changed.expiring_after(seconds);
    }
    if changed.spec != index.spec {
        overlay.put_collection(collection.with_index(changed));
    }
    Ok(before)
}

fn existing(
    overlay: &Overlay<'_>,
    namespace: &Namespace,
) -> Result<Arc<CollectionEntry>, CommandError> {
    overlay
        .collection(namespace)
        .ok_or_else(|| CommandError::NamespaceNotFound {
            namespace: namespace.clone(),
        })
}

pub(super) fn drop_collection(
    overlay: &mut Overlay<'_>,
    namespace: &Namespace,
) -> Result<CatalogReply, Stop> {
    let collection = existing(overlay, namespace)?;
    overlay.drop_collection(&collection);
    Ok(CatalogReply::Dropped {
        indexes: collection.indexes.len() as u32,
    })
}

pub(super) fn drop_database(overlay: &mut Overlay<'_>, database: &str) -> CatalogReply {
    let collections: Vec<_> = overlay
        .catalog()
        .collections_of(database)
        .cloned()
        .collect();
    for collection in &collections {
        overlay.drop_collection(collection);
    }
    CatalogReply::DatabaseDropped {
        collections: collections.len() as u32,
    }
}

pub(super) fn rename_collection(
    overlay: &mut Overlay<'_>,
    from: &Namespace,
    to: Namespace,
    drop_target: bool,
) -> Result<CatalogReply, Stop> {
    let collection = existing_collection(overlay, from)?;
    validate_namespace(&to)?;
    if *from == to {
        return Err(CommandError::IllegalOperation {
            message: "Can't rename a collection to itself".to_owned(),
        }
        .into());
    }
    if from.database != to.database {
        return Err(CommandError::NotSupported {
            what: "renaming a collection into another database".to_owned(),
        }
        .into());
    }
    if let Some(target) = overlay.collection(&to) {
        if !drop_target || target.is_view() {
            return Err(CommandError::NamespaceExists { namespace: to }.into());
        }
        overlay.drop_collection(&target);
    }
    overlay.put_collection(CollectionEntry {
        namespace: to,
        ..CollectionEntry::clone(&collection)
    });
    Ok(CatalogReply::Renamed)
}

pub(super) fn create_indexes(
    overlay: &mut Overlay<'_>,
    namespace: &Namespace,
    specs: &[RawDocumentBuf],
) -> Result<CatalogReply, Stop> {
    let requests = specs
        .iter()
        .map(|spec| parse_index_spec(spec))
        .collect::<Result<Vec<_>, CommandError>>()?;
    let created_collection = overlay.collection(namespace).is_none();
    let mut collection = ensure_collection(overlay, namespace)?;
    if collection.is_view() {
        return Err(CommandError::NotOnView {
            namespace: namespace.clone(),
        }
        .into());
    }
    let indexes_before = collection.indexes.len() as u32;
    let empty = created_collection || is_empty(overlay, &collection)?;
    let mut building = Vec::new();
    for request in requests {
        let request = request.of_collection(&collection)?;
        match request.standing(&collection)? {
            Standing::Exists(id) => {
                let unready = |index: &&Arc<_>| -> bool {
                    let index: &crate::catalog::IndexEntry = index;
                    !index.is_ready()
                };
                if collection.index_by_id(id).as_ref().is_some_and(unready) {
                    building.push(id);
                }
            }
            Standing::New => {
                let (changed, id) = add_index(overlay, &collection, request, empty)?;
                collection = changed;
                if !empty {
                    building.push(id);
                }
            }
        }
    }
    Ok(CatalogReply::IndexesCreated {
        created_collection,
        indexes_before,
        indexes_after: collection.indexes.len() as u32,
        building,
    })
}

fn add_index(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    request: IndexRequest,
    empty: bool,
) -> Result<(Arc<CollectionEntry>, u32), Stop> {
    if collection.indexes.len() >= INDEXES_PER_COLLECTION_MAX {
        return Err(CommandError::CannotCreateIndex {
            message: format!(
                "add index fails, too many indexes for {} key:{}",
                collection.namespace,
                describe(&request.key)
            ),
        }
        .into());
    }
    let id = overlay.catalog_mut().take_index_id();
    let state = if empty {
        IndexState::Ready
    } else {
        IndexState::Building {
            scanned: None,
            complete: false,
        }
    };
    let changed = collection.with_index(request.into_entry(id, state));
    Ok((overlay.put_collection(changed), id))
}

fn is_empty(overlay: &Overlay<'_>, collection: &CollectionEntry) -> Result<bool, Stop> {
    let prefix = keyspace::documents_prefix(collection.id);
    let end = keyspace::prefix_end(&prefix);
    let mut documents =
        overlay.range_before(Bound::Included(&prefix), end.as_ref().map(Vec::as_slice));
    match documents.next() {
        Some(Ok(_)) => Ok(false),
        Some(Err(fault)) => Err(Stop::Fault(fault)),
        None => Ok(true),
    }
}

pub(super) fn drop_indexes(
    overlay: &mut Overlay<'_>,
    namespace: &Namespace,
    selection: &IndexSelection,
) -> Result<CatalogReply, Stop> {
    let mut collection = existing_collection(overlay, namespace)?;
    let indexes_before = collection.indexes.len() as u32;
    for id in selected(&collection, selection)? {
        collection = drop_index(overlay, &collection, id);
    }
    Ok(CatalogReply::IndexesDropped { indexes_before })
}

/// Takes an index out of the catalog; its entries wait for `Reclaim`.
pub(super) fn drop_index(
    overlay: &mut Overlay<'_>,
    collection: &CollectionEntry,
    index_id: u32,
) -> Arc<CollectionEntry> {
    overlay.mark_dropped(DroppedSpace::Index(index_id));
    overlay.put_collection(collection.without_index(index_id))
}

fn selected(
    collection: &CollectionEntry,
    selection: &IndexSelection,
) -> Result<Vec<u32>, CommandError> {
    let droppable = |index: &crate::catalog::IndexEntry| {
        if index.is_id() {
            Err(CommandError::InvalidOptions {
                message: "cannot drop _id index".to_owned(),
            })
        } else {
            Ok(index.id)
        }
    };
    match selection {
        IndexSelection::All => Ok(collection
            .indexes
            .iter()
            .filter(|index| !index.is_id())
            .map(|index| index.id)
            .collect()),
        IndexSelection::Names(names) => {
            let mut ids = Vec::new();
            for name in names {
                let index = collection
                    .index(name)
                    .ok_or_else(|| CommandError::IndexNotFound {
                        message: format!("index not found with name [{name}]"),
                    })?;
                let id = droppable(index)?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            Ok(ids)
        }
        IndexSelection::Key(key) => {
            let index = collection
                .indexes
                .iter()
                .find(|index| index.key == *key)
                .ok_or_else(|| CommandError::IndexNotFound {
                    message: format!("can't find index with key: {}", describe(key)),
                })?;
            Ok(vec![droppable(index)?])
        }
    }
}
