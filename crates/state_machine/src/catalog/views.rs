//! Views: what they read in the end, and that none reads itself.

use std::collections::BTreeSet;

use bson::{RawArrayBuf, RawBsonRef, RawDocument};

use super::{Catalog, Namespace, View};
use crate::CommandError;
use crate::limits::VIEW_DEPTH_MAX;

impl Catalog {
    /// The collection behind a view and the pipeline that makes the view's documents of that collection's; `None` if this
    /// is no view.
    pub(crate) fn resolve_view(
        &self,
        namespace: &Namespace,
    ) -> Result<Option<(Namespace, RawArrayBuf)>, CommandError> {
        let mut behind = namespace.clone();
        let mut pipelines: Vec<&RawArrayBuf> = Vec::new();
        while let Some(view) = self.view(&behind) {
            if pipelines.len() == VIEW_DEPTH_MAX {
                return Err(CommandError::ViewTooDeep);
            }
            pipelines.push(&view.pipeline);
            behind.collection.clone_from(&view.on);
        }
        if pipelines.is_empty() {
            return Ok(None);
        }
        let mut whole = RawArrayBuf::new();
        for stage in pipelines
            .iter()
            .rev()
            .flat_map(|pipeline| pipeline.into_iter())
        {
            whole.push(stage.map_err(document::DocumentError::from)?);
        }
        Ok(Some((behind, whole)))
    }

    fn view(&self, namespace: &Namespace) -> Option<&View> {
        self.collection(namespace)?.rules.view.as_ref()
    }

    /// Refuses a view of this name that would read itself, or views beyond the depth that can be read.
    pub(crate) fn check_view(
        &self,
        namespace: &Namespace,
        view: &View,
    ) -> Result<(), CommandError> {
        let mut walk = Walk {
            catalog: self,
            target: namespace,
            way: vec![namespace.to_string()],
            seen: BTreeSet::new(),
        };
        walk.follow(view)
    }
}

struct Walk<'a> {
    catalog: &'a Catalog,
    target: &'a Namespace,
    way: Vec<String>,
    seen: BTreeSet<String>,
}

impl Walk<'_> {
    fn follow(&mut self, view: &View) -> Result<(), CommandError> {
        for collection in reads(view) {
            let namespace = Namespace::new(&self.target.database, collection);
            self.way.push(namespace.to_string());
            if namespace == *self.target {
                return Err(CommandError::ViewCycle {
                    namespaces: self.way.join(" => "),
                });
            }
            if self.way.len() > VIEW_DEPTH_MAX + 1 {
                return Err(CommandError::ViewTooDeep);
            }
            if let Some(next) = self.catalog.view(&namespace)
                && self.seen.insert(namespace.collection.clone())
            {
                let next = next.clone();
                self.follow(&next)?;
            }
            self.way.pop();
        }
        Ok(())
    }
}

/// The collections a view names: the one it is on, and those its stages look into.
fn reads(view: &View) -> Vec<String> {
    let mut names = vec![view.on.clone()];
    members(&view.pipeline, &mut names);
    names
}

fn members(array: &bson::RawArray, names: &mut Vec<String>) {
    for member in array.into_iter().map_while(Result::ok) {
        inside(member, names);
    }
}

fn inside(value: RawBsonRef<'_>, names: &mut Vec<String>) {
    match value {
        RawBsonRef::Array(array) => members(array, names),
        RawBsonRef::Document(document) => stages(document, names),
        _ => {}
    }
}

fn stages(document: &RawDocument, names: &mut Vec<String>) {
    for (name, value) in document.iter().map_while(Result::ok) {
        let named = match (name.as_str(), value) {
            ("$lookup" | "$graphLookup", RawBsonRef::Document(stage)) => stage.get("from"),
            ("$unionWith", RawBsonRef::Document(stage)) => stage.get("coll"),
            ("$unionWith", text) => Ok(Some(text)),
            _ => Ok(None),
        };
        if let Ok(Some(RawBsonRef::String(named))) = named {
            names.push(named.to_owned());
        }
        inside(value, names);
    }
}
