//! Documents that are lent to a stage one at a time, for stages that look at some of their fields and keep none: nobody need
//! copy them.

use bson::RawDocumentBuf;
use bson::raw::RawDocument;

use super::DocumentStream;
use crate::DocumentError;
use crate::projection::TopLevelFields;

/// Whoever lends documents.
pub trait LendDocuments: Send {
    /// The next document, lent until the next call. After an error there is nothing more.
    fn lend(&mut self) -> Option<Result<&RawDocument, DocumentError>>;

    /// The next document to keep; it may be one with just the fields `needed`.
    fn give(
        &mut self,
        needed: Option<&TopLevelFields>,
    ) -> Option<Result<RawDocumentBuf, DocumentError>>;
}

/// Documents on loan, and which of their fields are looked at.
pub struct LentDocuments {
    documents: Box<dyn LendDocuments>,
    needed: Option<TopLevelFields>,
}

impl LentDocuments {
    /// Documents of which only the fields `needed` are looked at; `None` if that may be anything.
    pub fn new(documents: Box<dyn LendDocuments>, needed: Option<TopLevelFields>) -> LentDocuments {
        LentDocuments { documents, needed }
    }

    /// The next one.
    pub(super) fn lend(&mut self) -> Option<Result<&RawDocument, DocumentError>> {
        self.documents.lend()
    }

    /// What to keep of them.
    pub(super) fn keeping(&self) -> Keeping {
        Keeping(self.needed.clone())
    }

    /// The documents to keep.
    pub(super) fn into_stream(self) -> DocumentStream {
        let LentDocuments {
            mut documents,
            needed,
        } = self;
        Box::new(std::iter::from_fn(move || documents.give(needed.as_ref())))
    }
}

impl From<DocumentStream> for LentDocuments {
    fn from(stream: DocumentStream) -> LentDocuments {
        let owned = Owned { stream, lent: None };
        LentDocuments::new(Box::new(owned), None)
    }
}

/// Which fields a copy has.
pub(super) struct Keeping(Option<TopLevelFields>);

impl Keeping {
    /// The document with the fields that are needed.
    pub fn copy(&self, document: &RawDocument) -> RawDocumentBuf {
        match &self.0 {
            Some(needed) => needed.of(document),
            None => document.to_owned(),
        }
    }
}

struct Owned {
    stream: DocumentStream,
    lent: Option<RawDocumentBuf>,
}

impl LendDocuments for Owned {
    fn lend(&mut self) -> Option<Result<&RawDocument, DocumentError>> {
        match self.stream.next()? {
            Ok(document) => Some(Ok(self.lent.insert(document))),
            Err(error) => Some(Err(error)),
        }
    }

    fn give(
        &mut self,
        _: Option<&TopLevelFields>,
    ) -> Option<Result<RawDocumentBuf, DocumentError>> {
        self.stream.next()
    }
}
