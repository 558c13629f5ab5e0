//! What one client does, and what must have become of it. Each client has documents of its own, so that it knows exactly
//! what must be there; all of them share the counters.
//!
//! An operation is a command for the server and the same change of the client's own copy. One that was sent and not
//! answered may have happened or not, as a whole.

use std::collections::BTreeMap;

use bson::{Document, doc};

use crate::connection::number;
use crate::random::Random;

/// The database of the test.
pub const DATABASE: &str = "crash";
/// The clients' documents.
pub const DOCUMENTS: &str = "documents";
/// The counters that all clients share.
pub const COUNTERS: &str = "counters";
/// Values of the field `g`, by which many documents are changed at once.
const GROUPS: i64 = 4;
/// Documents of one client, roughly.
const DOCUMENTS_MAX: usize = 40;
const PAD_BYTES_MAX: u64 = 3_000;
/// Ids and unique values of different clients never meet.
const IDS_PER_CLIENT: i64 = 1 << 40;
const DUPLICATE_KEY: i64 = 11_000;

/// A client's own documents by `_id`.
pub type Documents = BTreeMap<i64, Document>;

/// The indexes of the documents: name, key and whether it is unique.
pub fn indexes() -> Vec<(&'static str, Document, bool)> {
    vec![
        ("a", doc! { "a": 1 }, false),
        ("u", doc! { "u": 1 }, true),
        ("owner_g", doc! { "owner": 1, "g": -1 }, false),
        ("tags", doc! { "tags": 1 }, false),
    ]
}

/// One operation, decided of.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Inserts these in one command.
    Insert(Vec<Document>),
    /// Inserts one whose unique value another has, which is refused.
    Duplicate(Document),
    /// Changes fields of one document, indexed ones among them.
    Update {
        /// Which.
        id: i64,
        /// The fields' new values.
        set: Document,
    },
    /// Changes a document or makes it.
    Upsert(Document),
    /// Adds to a field of every document of a group.
    UpdateMany(i64),
    /// Removes one document.
    Delete(i64),
    /// Removes a group.
    DeleteMany(i64),
    /// Changes one document and returns it.
    FindAndModify(i64),
    /// Adds one to the shared counter and to the client's own, in one document.
    Count,
}

impl Operation {
    /// Whether it may be sent again under the same number (MongoDB's retryable writes).
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Operation::UpdateMany(_) | Operation::DeleteMany(_))
    }

    /// The command, without session and number.
    pub fn command(&self, client: i64) -> Document {
        let update = |filter: Document, change: Document, multi: bool, upsert: bool| {
            let update = doc! { "q": filter, "u": change, "multi": multi, "upsert": upsert };
            doc! { "update": DOCUMENTS, "updates": [update] }
        };
        let delete = |filter: Document, limit: i32| {
            doc! { "delete": DOCUMENTS, "deletes": [{ "q": filter, "limit": limit }] }
        };
        match self {
            Operation::Insert(documents) => {
                doc! { "insert": DOCUMENTS, "documents": documents.clone() }
            }
            Operation::Duplicate(document) => {
                doc! { "insert": DOCUMENTS, "documents": [document.clone()] }
            }
            Operation::Update { id, set } => {
                let change = doc! { "$set": set.clone(), "$inc": { "v": 1 } };
                update(doc! { "_id": *id }, change, false, false)
            }
            Operation::Upsert(document) => {
                let mut set = document.clone();
                let id = set.remove("_id");
                update(doc! { "_id": id }, doc! { "$set": set }, false, true)
            }
            Operation::UpdateMany(group) => {
                let filter = doc! { "owner": client, "g": *group };
                update(filter, doc! { "$inc": { "m": 1, "a": 1 } }, true, false)
            }
            Operation::Delete(id) => delete(doc! { "_id": *id }, 1),
            Operation::DeleteMany(group) => delete(doc! { "owner": client, "g": *group }, 0),
            Operation::FindAndModify(id) => doc! {
                "findAndModify": DOCUMENTS, "query": { "_id": *id }, "update": { "$inc": { "v": 1, "m": 10 } }, "new": true,
            },
            Operation::Count => {
                let change = doc! { "$inc": { "n": 1_i64, format!("by.c{client}"): 1_i64 } };
                let update = doc! { "q": { "_id": "total" }, "u": change, "upsert": true };
                doc! { "update": COUNTERS, "updates": [update] }
            }
        }
    }

    /// Does the same to the client's own copy.
    pub fn apply(&self, to: &mut Documents) {
        let mut add = |id: &i64, field: &str, by: i64| {
            let document = to.get_mut(id).expect("operations name what is there");
            let sum = number(document, field).expect("a number") + by;
            document.insert(field, sum);
        };
        match self {
            Operation::Insert(documents) => {
                for document in documents {
                    to.insert(id_of(document), document.clone());
                }
            }
            Operation::Upsert(document) => {
                to.insert(id_of(document), document.clone());
            }
            Operation::Update { id, set } => {
                add(id, "v", 1);
                let document = to.get_mut(id).expect("operations name what is there");
                document.extend(set.clone());
            }
            Operation::FindAndModify(id) => {
                add(id, "v", 1);
                add(id, "m", 10);
            }
            Operation::UpdateMany(group) => {
                for id in of_group(to, *group) {
                    let document = to.get_mut(&id).expect("just seen");
                    for field in ["m", "a"] {
                        let sum = number(document, field).expect("a number") + 1;
                        document.insert(field, sum);
                    }
                }
            }
            Operation::Delete(id) => {
                to.remove(id);
            }
            Operation::DeleteMany(group) => {
                for id in of_group(to, *group) {
                    to.remove(&id);
                }
            }
            Operation::Duplicate(_) | Operation::Count => {}
        }
    }

    /// Whether a reply to it is the right one; `before` is the client's copy without it.
    pub fn judge(&self, reply: &Document, before: &Documents) -> Result<(), String> {
        let n = number(reply, "n");
        let refused = reply
            .get_array("writeErrors")
            .ok()
            .and_then(|errors| errors.first())
            .and_then(bson::Bson::as_document)
            .and_then(|error| number(error, "code"));
        let touched = match self {
            Operation::Duplicate(_) => {
                return if refused == Some(DUPLICATE_KEY) && n == Some(0) {
                    Ok(())
                } else {
                    Err(format!("a duplicate key was not refused: {reply}"))
                };
            }
            Operation::FindAndModify(_) => {
                let mut after = before.clone();
                self.apply(&mut after);
                let found = reply.get_document("value").cloned().unwrap_or_default();
                let right = after.values().any(|document| *document == found);
                return if right {
                    Ok(())
                } else {
                    Err(format!("{self:?} returned another document: {reply}"))
                };
            }
            Operation::Insert(documents) => documents.len(),
            Operation::UpdateMany(group) | Operation::DeleteMany(group) => {
                of_group(before, *group).len()
            }
            Operation::Update { .. }
            | Operation::Upsert(_)
            | Operation::Delete(_)
            | Operation::Count => 1,
        };
        if refused.is_none() && n == Some(touched as i64) {
            Ok(())
        } else {
            Err(format!(
                "{self:?} should have touched {touched} documents: {reply}"
            ))
        }
    }
}

fn id_of(document: &Document) -> i64 {
    number(document, "_id").expect("every document has a number for its _id")
}

fn of_group(documents: &Documents, group: i64) -> Vec<i64> {
    let members = documents
        .iter()
        .filter(|(_, document)| number(document, "g") == Some(group));
    members.map(|(id, _)| *id).collect()
}

/// Draws operations of one client.
#[derive(Clone, Debug)]
pub struct Mix {
    client: i64,
    next: i64,
    random: Random,
}

impl Mix {
    /// The operations of this client.
    pub fn new(client: i64, random: Random) -> Self {
        Mix {
            client,
            next: client * IDS_PER_CLIENT,
            random,
        }
    }

    fn unused(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn changing_fields(&mut self) -> Document {
        let tags: Vec<i64> = (0..self.random.below(4))
            .map(|_| self.random.below(20) as i64)
            .collect();
        doc! { "a": self.random.below(50) as i64, "u": self.unused(), "tags": tags }
    }

    fn document(&mut self) -> Document {
        let id = self.unused();
        let pad_bytes = self.random.below(PAD_BYTES_MAX) as usize;
        let letter = char::from(b'a' + (id % 26) as u8);
        let mut document = doc! {
            "_id": id, "owner": self.client, "g": self.random.below(GROUPS as u64) as i64, "v": 0_i64, "m": 0_i64,
            "pad": letter.to_string().repeat(pad_bytes),
        };
        document.extend(self.changing_fields());
        document
    }

    fn one_of(&mut self, documents: &Documents) -> i64 {
        let nth = self.random.below(documents.len() as u64) as usize;
        *documents.keys().nth(nth).expect("counted just now")
    }

    /// The next operation of a client whose documents are these.
    pub fn next(&mut self, documents: &Documents) -> Operation {
        let chance = self.random.below(100);
        if documents.len() < 5 || (documents.len() < DOCUMENTS_MAX && chance < 30) {
            let count = if self.random.happens(25) { 6 } else { 1 };
            return Operation::Insert((0..count).map(|_| self.document()).collect());
        }
        match chance {
            0..45 => Operation::Update {
                id: self.one_of(documents),
                set: self.changing_fields(),
            },
            45..52 => Operation::FindAndModify(self.one_of(documents)),
            52..57 => Operation::Upsert(self.document()),
            57..62 => {
                let taken = self.one_of(documents);
                let mut document = self.document();
                document.insert("u", documents[&taken].get("u").cloned());
                Operation::Duplicate(document)
            }
            62..72 => Operation::UpdateMany(self.random.below(GROUPS as u64) as i64),
            72..77 => Operation::DeleteMany(self.random.below(GROUPS as u64) as i64),
            77..87 => Operation::Delete(self.one_of(documents)),
            _ => Operation::Count,
        }
    }
}
