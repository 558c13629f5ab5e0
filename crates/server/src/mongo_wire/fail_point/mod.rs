//! The fail points of drivers' test-suites, in the wire layer alone and only with `--enable-test-commands`:
//! `failCommand`, `onPrimaryTransactionalWrite` and `maxTimeAlwaysTimeOut`.

mod transactional_write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::raw::{RawBsonRef, RawDocument};
use parking_lot::Mutex;

pub(crate) use self::transactional_write::Cut;
use self::transactional_write::TransactionalWrite;
use super::connection::Session;
use super::failure::{Code, Failure};
use super::request::Request;
use super::values;
use super::write_concern::WriteConcernError;

/// The fail points that are set; at most one of each.
#[derive(Debug, Default)]
pub(crate) struct FailPoints {
    fail_command: Mutex<Option<FailCommand>>,
    transactional_write: Mutex<Option<TransactionalWrite>>,
    /// Every command that has a time limit finds it passed.
    max_time_always_out: AtomicBool,
}

#[derive(Debug, Clone)]
struct FailCommand {
    mode: Mode,
    commands: Vec<String>,
    app_name: Option<String>,
    close: bool,
    error: Option<i32>,
    labels: Option<Vec<String>>,
    block: Option<Duration>,
    write_concern_error: Option<WriteConcernError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    AlwaysOn,
    Times(i64),
    Skip(i64),
}

impl Mode {
    /// Counts one occasion; whether it is one to act on.
    fn fires(&mut self) -> bool {
        match self {
            Mode::AlwaysOn => true,
            Mode::Times(left) | Mode::Skip(left) if *left > 0 => {
                *left -= 1;
                matches!(self, Mode::Times(_))
            }
            Mode::Times(_) => false,
            Mode::Skip(_) => true,
        }
    }
}

/// What a fail point does to one command.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    pub close: bool,
    pub failure: Option<Failure>,
    pub write_concern_error: Option<WriteConcernError>,
}

impl FailPoints {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sets or clears a fail point as `configureFailPoint` asks.
    pub(crate) fn configure(
        &self,
        name: &str,
        mode: RawBsonRef<'_>,
        data: Option<&RawDocument>,
    ) -> Result<(), Failure> {
        let mode = parse_mode(mode)?;
        let data = data.unwrap_or(RawDocument::from_bytes(&[5, 0, 0, 0, 0])?);
        match name {
            "failCommand" => {
                let parsed = mode.map(|mode| parse(mode, data)).transpose()?;
                *self.fail_command.lock() = parsed;
            }
            "onPrimaryTransactionalWrite" => {
                let parsed = mode.map(|mode| TransactionalWrite::parse(mode, data));
                *self.transactional_write.lock() = parsed.transpose()?;
            }
            "maxTimeAlwaysTimeOut" => match mode {
                None | Some(Mode::AlwaysOn) => {
                    self.max_time_always_out
                        .store(mode.is_some(), Ordering::Relaxed);
                }
                Some(_) => {
                    return Err(Failure::not_supported(
                        "a count of times for the fail point 'maxTimeAlwaysTimeOut'",
                    ));
                }
            },
            _ => {
                return Err(Failure::new(
                    Code::Location(249), // FailPointSetFailed
                    format!("the fail point '{name}' is not known here"),
                ));
            }
        }
        Ok(())
    }

    /// What becomes of a retryable write that is about to run.
    pub(crate) fn meet_write(&self, request: &Request<'_>) -> Result<Cut, Failure> {
        let mut slot = self.transactional_write.lock();
        match (slot.as_mut(), request.options.stamp()) {
            (Some(point), Some(stamp)) => Ok(point.meet(stamp, request.statements()?)),
            _ => Ok(Cut::NONE),
        }
    }

    /// Whether every time limit counts as passed.
    pub(crate) fn time_is_always_out(&self) -> bool {
        self.max_time_always_out.load(Ordering::Relaxed)
    }

    /// Applies `failCommand` and the time limit's fail point to a command that is about to run; blocks when told to.
    pub(crate) async fn meet(&self, request: &Request<'_>, session: &Session) -> Injected {
        if request.options.max_time_ms.is_some() && self.time_is_always_out() {
            return Injected {
                failure: Some(Failure::max_time_expired()),
                ..Injected::default()
            };
        }
        self.meet_command(request.name, session).await
    }

    /// Applies `failCommand` to a command of this name.
    pub(crate) async fn meet_command(&self, name: &str, session: &Session) -> Injected {
        let Some(found) = self.take(name, session) else {
            return Injected::default();
        };
        if let Some(block) = found.block {
            tokio::time::sleep(block).await;
        }
        let failure = found.error.map(|number| {
            let code = Code::from_number(number);
            let mut failure = Failure::new(code, "Failing command via 'failCommand' failpoint");
            failure.nothing_written = false;
            failure.injected = Some(found.labels.clone());
            failure
        });
        Injected {
            close: found.close,
            failure,
            write_concern_error: found.write_concern_error.map(|error| WriteConcernError {
                labels: error.labels.or(found.labels),
                ..error
            }),
        }
    }

    fn take(&self, command: &str, session: &Session) -> Option<FailCommand> {
        let mut slot = self.fail_command.lock();
        let point = slot.as_mut()?;
        if command == "configureFailPoint"
            || !point
                .commands
                .iter()
                .any(|name| name.eq_ignore_ascii_case(command))
        {
            return None;
        }
        if point.app_name.is_some() && point.app_name != *session.app_name.lock() {
            return None;
        }
        point.mode.fires().then(|| point.clone())
    }
}

fn parse_mode(mode: RawBsonRef<'_>) -> Result<Option<Mode>, Failure> {
    match mode {
        RawBsonRef::String("off") => Ok(None),
        RawBsonRef::String("alwaysOn") => Ok(Some(Mode::AlwaysOn)),
        RawBsonRef::Document(document) => {
            if let Some(times) = document.get("times")? {
                let times = values::integer("times", times)?;
                return Ok((times > 0).then_some(Mode::Times(times)));
            }
            match document.get("skip")? {
                Some(skip) => Ok(Some(Mode::Skip(values::integer("skip", skip)?))),
                None => Err(Failure::bad_value(
                    "mode must be off, alwaysOn, {times: n} or {skip: n}",
                )),
            }
        }
        _ => Err(Failure::bad_value(
            "mode must be off, alwaysOn, {times: n} or {skip: n}",
        )),
    }
}

fn strings(field: &str, value: RawBsonRef<'_>) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for element in values::array(field, value)? {
        found.push(values::string(field, element?)?.to_owned());
    }
    Ok(found)
}

fn parse(mode: Mode, data: &RawDocument) -> Result<FailCommand, Failure> {
    let mut point = FailCommand {
        mode,
        commands: Vec::new(),
        app_name: None,
        close: false,
        error: None,
        labels: None,
        block: None,
        write_concern_error: None,
    };
    let mut block_connection = false;
    let mut block_ms = 0;
    for element in data {
        let (name, value) = element?;
        match name.as_str() {
            "failCommands" => point.commands = strings("failCommands", value)?,
            "appName" => point.app_name = Some(values::string("appName", value)?.to_owned()),
            "closeConnection" => point.close = values::boolean("closeConnection", value)?,
            "errorCode" => point.error = Some(error_code(values::integer("errorCode", value)?)?),
            "errorLabels" => point.labels = Some(strings("errorLabels", value)?),
            "blockConnection" => block_connection = values::boolean("blockConnection", value)?,
            "blockTimeMS" => block_ms = values::count("blockTimeMS", value)?,
            "writeConcernError" => {
                point.write_concern_error = Some(write_concern_error(values::document(
                    "writeConcernError",
                    value,
                )?)?);
            }
            "failInternalCommands"
            | "namespace"
            | "threadName"
            | "errorExtraInfo"
            | "failLocalClients" => {}
            other => {
                return Err(Failure::bad_value(format!(
                    "failCommand's data has no field '{other}' here"
                )));
            }
        }
    }
    point.block = block_connection.then(|| Duration::from_millis(block_ms));
    Ok(point)
}

fn error_code(number: i64) -> Result<i32, Failure> {
    i32::try_from(number).map_err(|_| Failure::bad_value("errorCode must be an int"))
}

fn write_concern_error(document: &RawDocument) -> Result<WriteConcernError, Failure> {
    let mut error = WriteConcernError {
        code: Code::UnknownError,
        message: String::new(),
        labels: None,
        injected: Some(document.to_owned()),
    };
    for element in document {
        let (name, value) = element?;
        match name.as_str() {
            "code" => error.code = Code::from_number(error_code(values::integer("code", value)?)?),
            "errmsg" => error.message = values::string("errmsg", value)?.to_owned(),
            "errorLabels" => error.labels = Some(strings("errorLabels", value)?),
            _ => {}
        }
    }
    Ok(error)
}
