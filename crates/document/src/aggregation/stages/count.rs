//! `$count`: one document with the number of documents; none when there are none.

use bson::RawDocumentBuf;
use bson::raw::RawBsonRef;

use super::{CountShape, DocumentStream, RunStage, Stage, blocking};
use crate::raw::DocumentWriter;
use crate::{Context, DocumentError};

#[derive(Debug)]
struct Count {
    field: String,
}

pub(super) fn parse(argument: RawBsonRef<'_>, _: &Context) -> Result<Stage, DocumentError> {
    let RawBsonRef::String(field) = argument else {
        return Err(DocumentError::location(
            40156,
            "the count field must be a non-empty string",
        ));
    };
    let refused = |code, message: &str| Err(DocumentError::location(code, message));
    if field.is_empty() {
        return refused(40157, "the count field must be a non-empty string");
    }
    if field.starts_with('$') {
        return refused(40158, "the count field cannot be a $-prefixed path");
    }
    if field.contains('\0') {
        return refused(40159, "the count field cannot contain a null byte");
    }
    if field.contains('.') {
        return refused(40160, "the count field cannot contain '.'");
    }
    Ok(Stage::Other(Box::new(Count {
        field: field.to_owned(),
    })))
}

impl RunStage for Count {
    fn run(&self, input: DocumentStream) -> DocumentStream {
        let field = self.field.clone();
        blocking(input, move |input| {
            let mut count = 0u64;
            for document in input {
                document?;
                count += 1;
            }
            Ok((count > 0).then(|| Ok(counted(&field, count))))
        })
    }

    fn count_shape(&self) -> Option<CountShape> {
        Some(CountShape {
            id: None,
            field: self.field.clone(),
        })
    }
}

fn counted(field: &str, count: u64) -> RawDocumentBuf {
    let mut out = DocumentWriter::with_capacity(32);
    let value = match i32::try_from(count) {
        Ok(count) => RawBsonRef::Int32(count),
        Err(_) => RawBsonRef::Int64(i64::try_from(count).unwrap_or(i64::MAX)),
    };
    out.append(field, value);
    out.finish()
}
