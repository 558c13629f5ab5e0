//! A client that outlives the server: it knows what was acknowledged, and of one operation at most not what became of it.

use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};

use crate::connection::{Connection, ConnectionError, succeeded};
use crate::random::Random;
use crate::workload::{DATABASE, Documents, Mix, Operation};

/// Codes of replies after which nothing is known: the server ends, or does not lead any more.
const UNKNOWN_OUTCOME: &[i64] = &[
    6, 64, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
];

/// An operation that was sent and not answered.
#[derive(Clone, Debug)]
pub struct Unanswered {
    /// What.
    pub operation: Operation,
    /// Its number in the session.
    pub number: i64,
    /// It was seen to have happened, after a restart.
    pub seen: bool,
}

/// A client of one collection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its number; the value of `owner` in its documents.
    pub id: i64,
    /// What must be there, without the unanswered operation.
    pub documents: Documents,
    /// How often it counted, acknowledged.
    pub counted: i64,
    /// The operation whose fate is not known.
    pub unanswered: Option<Unanswered>,
    /// Operations acknowledged.
    pub acknowledged: u64,
    mix: Mix,
    session: Document,
    number: i64,
}

impl Client {
    /// A client with a session of its own.
    pub fn new(id: i64, mut random: Random) -> Client {
        let mut bytes = random.next_u64().to_le_bytes().to_vec();
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
        let uuid = Binary {
            subtype: BinarySubtype::Uuid,
            bytes,
        };
        Client {
            id,
            documents: Documents::new(),
            counted: 0,
            unanswered: None,
            acknowledged: 0,
            mix: Mix::new(id, random.split()),
            session: doc! { "id": uuid },
            number: 0,
        }
    }

    /// What is there if the unanswered operation happened, and what if it did not.
    pub fn possible(&self) -> Vec<(bool, Documents, i64)> {
        let without = (false, self.documents.clone(), self.counted);
        let Some(unanswered) = &self.unanswered else {
            return vec![without];
        };
        let mut with = (true, self.documents.clone(), self.counted);
        unanswered.operation.apply(&mut with.1);
        with.2 += i64::from(matches!(unanswered.operation, Operation::Count));
        match unanswered.seen {
            true => vec![with],
            false => vec![without, with],
        }
    }

    /// What was found of the unanswered operation. One that may be sent again stays unanswered, to be sent again.
    pub fn found(&mut self, happened: bool) {
        let Some(unanswered) = &mut self.unanswered else {
            return;
        };
        if unanswered.operation.is_retryable() {
            unanswered.seen |= happened;
        } else if happened {
            self.settle();
        } else {
            self.unanswered = None;
        }
    }

    fn settle(&mut self) {
        if let Some(Unanswered { operation, .. }) = self.unanswered.take() {
            operation.apply(&mut self.documents);
            self.counted += i64::from(matches!(operation, Operation::Count));
        }
    }

    /// Works until the connection breaks. The error is a finding: a reply that cannot be right.
    pub fn run(&mut self, address: &str, operations_max: u64) -> Result<(), String> {
        let Ok(mut connection) = Connection::open(address) else {
            return Ok(());
        };
        for _ in 0..operations_max {
            if self.unanswered.is_none() {
                self.number += 1;
                self.unanswered = Some(Unanswered {
                    operation: self.mix.next(&self.documents),
                    number: self.number,
                    seen: false,
                });
            }
            match self.send(&mut connection)? {
                true => self.acknowledged += 1,
                false => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sends the unanswered operation, again if it was sent before. Returns whether it was answered.
    fn send(&mut self, connection: &mut Connection) -> Result<bool, String> {
        let unanswered = self.unanswered.as_ref().expect("there is one to send");
        let mut command = unanswered.operation.command(self.id);
        command.insert("lsid", self.session.clone());
        if unanswered.operation.is_retryable() {
            command.insert("txnNumber", unanswered.number);
        }
        let reply = match connection.run(DATABASE, &command) {
            Ok(reply) => reply,
            Err(ConnectionError::Broken(_)) => return Ok(false),
            Err(error) => return Err(format!("client {}: {error}", self.id)),
        };
        if !succeeded(&reply) {
            let code = crate::connection::number(&reply, "code").unwrap_or(0);
            return match UNKNOWN_OUTCOME.contains(&code) {
                true => Ok(false),
                false => Err(format!(
                    "client {}: {command} was refused: {reply}",
                    self.id
                )),
            };
        }
        unanswered
            .operation
            .judge(&reply, &self.documents)
            .map_err(|what| format!("client {}: {what}", self.id))?;
        self.settle();
        Ok(true)
    }
}
