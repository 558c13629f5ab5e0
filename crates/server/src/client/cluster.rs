//! A client of a whole cluster: finds the primary by `hello`, and finds it again when it changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf, rawdoc};

use super::{ClientError, Connection, ConnectionString};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Long commands (hashing a large collection, dropping one) answer within this.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
/// Whether a member leads it knows at once; one that does not say so by then is passed over.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long commands look for a primary and are repeated, unless said otherwise.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(30);
/// Between two rounds of asking every known member who is primary.
const ROUND_PAUSE: Duration = Duration::from_millis(25);

/// Runs commands on the primary.
pub(crate) struct Client {
    seeds: BTreeSet<String>,
    known: BTreeSet<String>,
    primary: Option<Connection>,
    patience: Duration,
    reply_timeout: Duration,
    /// The replica-set name that every member must bear, when one was asked for.
    replica_set: Option<String>,
    session: RawDocumentBuf,
    transaction_number: i64,
}

impl Client {
    /// Looks for the primary among the hosts of the connection string and the members they name.
    pub(crate) fn new(connection_string: &ConnectionString) -> Self {
        let seeds: BTreeSet<String> = connection_string.hosts.iter().cloned().collect();
        Client {
            known: seeds.clone(),
            seeds,
            primary: None,
            patience: PATIENCE_DEFAULT,
            reply_timeout: REPLY_TIMEOUT,
            replica_set: connection_string.replica_set.clone(),
            session: rawdoc! { "id": bson::Binary::from(bson::Uuid::new()) },
            transaction_number: 0,
        }
    }

    /// Looks for a primary, and repeats commands, for at most this long.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits for the answer to a command at most this long; then the member counts as lost.
    pub(crate) fn with_reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = timeout;
        self
    }

    /// The primary's connection, found anew when there is none.
    pub(crate) fn primary(&mut self) -> Result<&mut Connection, ClientError> {
        if self.primary.is_none() {
            self.primary = Some(self.find_primary()?);
        }
        Ok(self.primary.as_mut().expect("found above"))
    }

    /// A connection to any member that answers, the primary or not.
    pub(crate) fn any_member(&self) -> Result<Connection, ClientError> {
        let mut last = None;
        for host in &self.known {
            match Connection::open(host, CONNECT_TIMEOUT, HELLO_TIMEOUT).and_then(
                |mut connection| {
                    connection.hello()?;
                    connection.set_reply_timeout(self.reply_timeout)?;
                    Ok(connection)
                },
            ) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a connection string names at least one host"))
    }

    /// Runs a command on the primary, repeating it while members change roles. For reads and idempotent commands.
    pub(crate) fn run(
        &mut self,
        database: &str,
        command: &RawDocument,
    ) -> Result<RawDocumentBuf, ClientError> {
        self.repeat(database, command, None)
    }

    /// Runs a write with an optional batch; the server knows repetitions of it by their session and number.
    pub(crate) fn write(
        &mut self,
        database: &str,
        command: &RawDocument,
        sequence: Option<(&str, &[RawDocumentBuf])>,
    ) -> Result<RawDocumentBuf, ClientError> {
        self.transaction_number += 1;
        let mut command = command.to_owned();
        command.append(bson::raw::cstr!("lsid"), self.session.clone());
        command.append(bson::raw::cstr!("txnNumber"), self.transaction_number);
        self.repeat(database, &command, sequence)
    }

    fn repeat(
        &mut self,
        database: &str,
        command: &RawDocument,
        sequence: Option<(&str, &[RawDocumentBuf])>,
    ) -> Result<RawDocumentBuf, ClientError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let outcome = self
                .primary()?
                .run_batch(database, command.to_owned(), sequence);
            match outcome {
                Err(error) if error.is_retryable() && Instant::now() < deadline => {
                    self.primary = None;
                    // A member that reports overload or an election gets a moment.
                    std::thread::sleep(ROUND_PAUSE);
                }
                decided => return decided,
            }
        }
    }

    fn find_primary(&mut self) -> Result<Connection, ClientError> {
        let deadline = Instant::now() + self.patience;
        let mut last = "nobody was asked".to_owned();
        loop {
            for host in self.known.clone() {
                match self.ask(&host) {
                    Ok(Some(connection)) => return Ok(connection),
                    Ok(None) => last = format!("{host} is not primary"),
                    Err(error) => last = error.to_string(),
                }
            }
            if Instant::now() >= deadline {
                let hosts = self.known.iter().cloned().collect::<Vec<_>>().join(", ");
                return Err(ClientError::NoPrimary {
                    hosts,
                    seconds: self.patience.as_secs(),
                    last,
                });
            }
            std::thread::sleep(ROUND_PAUSE);
        }
    }

    /// Asks one member; its connection if it is the primary. What it says of the others is remembered.
    fn ask(&mut self, host: &str) -> Result<Option<Connection>, ClientError> {
        let mut connection = Connection::open(host, CONNECT_TIMEOUT, HELLO_TIMEOUT)?;
        let hello = connection.hello()?;
        connection.set_reply_timeout(self.reply_timeout)?;
        let found = hello.get_str("setName").unwrap_or_default();
        if let Some(expected) = self
            .replica_set
            .as_deref()
            .filter(|expected| *expected != found)
        {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            return Err(ClientError::OtherReplicaSet {
                address: host.to_owned(),
                found,
                expected,
            });
        }
        if let Ok(hosts) = hello.get_array("hosts") {
            let named = hosts
                .into_iter()
                .flatten()
                .filter_map(|host| host.as_str().map(str::to_owned));
            self.known = self.seeds.iter().cloned().chain(named).collect();
        }
        let is_primary = hello.get_bool("isWritablePrimary").unwrap_or(false);
        Ok(is_primary.then_some(connection))
    }
}
