//! The fail point `onPrimaryTransactionalWrite`: breaks the connection of a retryable write after some of its
//! statements were carried out, or after all of them, so that tests see a retry finish the rest and repeat nothing.
//!
//! Counts statements as MongoDB does, those that are really carried out: it remembers what ran under which
//! `txnNumber` while it is set. Statements after the broken one are not tried, in unordered writes either.

use std::collections::BTreeMap;

use bson::raw::RawDocument;
use state_machine::SessionStamp;

use super::Mode;
use crate::mongo_wire::failure::{Code, Failure};
use crate::mongo_wire::values;

/// The fail point, set.
#[derive(Debug)]
pub(super) struct TransactionalWrite {
    mode: Mode,
    /// Breaks before the statement, not after it.
    before: bool,
    close: bool,
    /// How many statements ran, by session and number.
    ran: BTreeMap<(Vec<u8>, i64), usize>,
}

/// What is done to one write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// How many of the statements are carried out.
    pub statements_max: usize,
    /// Whether the connection is closed in place of a reply.
    pub close: bool,
}

impl Cut {
    pub(crate) const NONE: Cut = Cut {
        statements_max: usize::MAX,
        close: false,
    };
}

impl TransactionalWrite {
    pub(super) fn parse(mode: Mode, data: &RawDocument) -> Result<Self, Failure> {
        let mut point = TransactionalWrite {
            mode,
            before: false,
            close: true,
            ran: BTreeMap::new(),
        };
        for element in data {
            let (name, value) = element?;
            match name.as_str() {
                "closeConnection" => point.close = values::boolean("closeConnection", value)?,
                "failBeforeCommitExceptionCode" => point.before = true,
                other => {
                    return Err(Failure::bad_value(format!(
                        "onPrimaryTransactionalWrite's data has no field '{other}' here"
                    )));
                }
            }
        }
        if point.before && !point.close {
            return Err(Failure::new(
                Code::CommandNotSupported,
                "failBeforeCommitExceptionCode without closeConnection is not supported",
            ));
        }
        Ok(point)
    }

    /// What happens to a write of this many statements.
    pub(super) fn meet(&mut self, stamp: SessionStamp, statements: usize) -> Cut {
        let ran = self.ran.entry((stamp.lsid, stamp.txn_number)).or_insert(0);
        let mut broken = false;
        while *ran < statements {
            let breaks = self.mode.fires();
            if breaks && self.before {
                return Cut {
                    statements_max: *ran,
                    close: true,
                };
            }
            broken |= breaks;
            *ran += 1;
        }
        Cut {
            statements_max: statements,
            close: broken && self.close,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn stamp(txn_number: i64) -> SessionStamp {
        SessionStamp {
            lsid: vec![7; 16],
            txn_number,
        }
    }

    fn cut(statements_max: usize, close: bool) -> Cut {
        Cut {
            statements_max,
            close,
        }
    }

    #[test]
    fn breaks_once_after_all_statements() {
        let mut point = TransactionalWrite::parse(Mode::AlwaysOn, &rawdoc! {}).expect("sound data");
        assert_eq!(point.meet(stamp(1), 3), cut(3, true));
        assert_eq!(
            point.meet(stamp(1), 3),
            cut(3, false),
            "the retry repeats nothing"
        );
        assert_eq!(point.meet(stamp(2), 1), cut(1, true));
    }

    #[test]
    fn breaks_before_the_statement_it_skipped_to() {
        let data = rawdoc! {"failBeforeCommitExceptionCode": 1};
        let mut point = TransactionalWrite::parse(Mode::Skip(1), &data).expect("sound data");
        assert_eq!(point.meet(stamp(1), 3), cut(1, true));
        assert_eq!(point.meet(stamp(1), 3), cut(1, true), "still on");
        let mut point = TransactionalWrite::parse(Mode::Times(1), &data).expect("sound data");
        assert_eq!(point.meet(stamp(1), 2), cut(0, true));
        assert_eq!(point.meet(stamp(1), 2), cut(2, false), "it is used up");
    }
}
