//! Exactly once: what each session's latest retryable write did, statement by statement, as replicated state.
//!
//! A record holds one transaction number. Results of consecutive statements that are equal and carry no data are kept
//! as one run, so a bulk insert of any size is a few bytes; results that outgrow the record move to detail records.
//! Failed and stale statements are not remembered: a retry executes them again.

use std::collections::BTreeMap;
use std::ops::Bound;

use storage_engine::StorageFault;

use super::overlay::Overlay;
use super::{OrFault, Stop};
use crate::catalog::damaged;
use crate::command::{DecodeError, Input, Output, SessionStamp};
use crate::error::CommandError;
use crate::keyspace;
use crate::limits::{RECLAIM_KEYS_MAX, SESSION_CACHE_BYTES, SESSION_INLINE_BYTES_MAX};
use crate::reply::{Reply, StatementResult};

const VERSION: u8 = 1;
/// A detail key holds the length of the lsid in one byte.
const LSID_BYTES_MAX: usize = u8::MAX as usize;
/// What a record in the cache costs beside its encoding.
const CACHE_ENTRY_OVERHEAD_BYTES: usize = 160;

/// Statements `first..=last` all had this result.
#[derive(Debug, Clone, PartialEq)]
struct Run {
    first: i32,
    last: i32,
    result: StatementResult,
}

/// What is known of one session.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    txn_number: i64,
    last_used_ms: i64,
    /// Lowest and highest statement id of each detail record.
    details: Vec<(i32, i32)>,
    /// Ascending by statement id, disjoint.
    runs: Vec<Run>,
}

/// A session while one command executes under it.
pub(super) struct Session {
    lsid: Vec<u8>,
    record: Record,
    /// Detail records that were looked at.
    loaded: BTreeMap<usize, Vec<Run>>,
}

impl Session {
    /// Starts or continues the transaction number of `stamp`.
    pub(super) fn begin(
        overlay: &mut Overlay<'_>,
        cache: &mut SessionCache,
        stamp: SessionStamp,
        now_ms: i64,
    ) -> Result<Session, Stop> {
        let SessionStamp { lsid, txn_number } = stamp;
        if lsid.len() > LSID_BYTES_MAX {
            return Err(CommandError::InvalidOptions {
                message: format!("a session id of {} bytes is too long", lsid.len()),
            }
            .into());
        }
        let known = match cache.take(&lsid) {
            Some(record) => Some(record),
            None => load(overlay, &lsid).or_fault()?,
        };
        let record = match known {
            Some(record) if txn_number < record.txn_number => {
                let latest = record.txn_number;
                let bytes = encode_record(&record).len();
                cache.put(lsid, record, bytes);
                return Err(CommandError::TransactionTooOld {
                    given: txn_number,
                    latest,
                }
                .into());
            }
            Some(record) if txn_number == record.txn_number => record,
            earlier => {
                if let Some(record) = earlier {
                    delete_details(overlay, &lsid, record.details.len());
                }
                Record {
                    txn_number,
                    last_used_ms: now_ms,
                    details: Vec::new(),
                    runs: Vec::new(),
                }
            }
        };
        Ok(Session {
            lsid,
            record,
            loaded: BTreeMap::new(),
        }
        .touched(now_ms))
    }

    fn touched(mut self, now_ms: i64) -> Self {
        self.record.last_used_ms = self.record.last_used_ms.max(now_ms);
        self
    }

    /// What an earlier execution of this statement gave.
    pub(super) fn recorded(
        &mut self,
        overlay: &Overlay<'_>,
        statement_id: i32,
    ) -> Result<Option<StatementResult>, StorageFault> {
        if let Some(result) = find(&self.record.runs, statement_id) {
            return Ok(Some(result.clone()));
        }
        for (sequence, (lowest, highest)) in self.record.details.iter().enumerate() {
            if !(*lowest..=*highest).contains(&statement_id) {
                continue;
            }
            if !self.loaded.contains_key(&sequence) {
                let runs = load_detail(overlay, &self.lsid, sequence)?;
                self.loaded.insert(sequence, runs);
            }
            if let Some(result) = find(&self.loaded[&sequence], statement_id) {
                return Ok(Some(result.clone()));
            }
        }
        Ok(None)
    }

    /// Remembers a statement's result.
    pub(super) fn record(&mut self, statement_id: i32, result: &StatementResult) {
        let runs = &mut self.record.runs;
        let place = runs.partition_point(|run| run.first <= statement_id);
        if place > 0 {
            let previous = &mut runs[place - 1];
            if previous.last.checked_add(1) == Some(statement_id)
                && is_plain(result)
                && previous.result == *result
            {
                previous.last = statement_id;
                return;
            }
        }
        runs.insert(
            place,
            Run {
                first: statement_id,
                last: statement_id,
                result: result.clone(),
            },
        );
    }

    /// Writes the record, and moves its results out if there are too many.
    pub(super) fn finish(mut self, overlay: &mut Overlay<'_>, cache: &mut SessionCache) {
        let mut encoded = encode_record(&self.record);
        if encoded.len() > SESSION_INLINE_BYTES_MAX
            && let (Some(first), Some(last)) = (self.record.runs.first(), self.record.runs.last())
        {
            let range = (first.first, last.last);
            let sequence = self.record.details.len() as u32;
            let mut detail = Output::default();
            encode_runs(&mut detail, &self.record.runs);
            overlay.put(
                keyspace::session_detail_key(&self.lsid, sequence),
                detail.bytes,
            );
            self.record.details.push(range);
            self.record.runs.clear();
            encoded = encode_record(&self.record);
        }
        let bytes = encoded.len();
        overlay.put(keyspace::session_key(&self.lsid), encoded);
        cache.put(self.lsid, self.record, bytes);
    }
}

/// Results without data of their own can share a run.
fn is_plain(result: &StatementResult) -> bool {
    match result {
        StatementResult::Inserted => true,
        StatementResult::Updated {
            upserted, image, ..
        } => upserted.is_none() && image.is_none(),
        StatementResult::Deleted { image, .. } => image.is_none(),
        StatementResult::Failed(_) | StatementResult::Stale => false,
    }
}

fn find(runs: &[Run], statement_id: i32) -> Option<&StatementResult> {
    let place = runs.partition_point(|run| run.first <= statement_id);
    let run = runs.get(place.checked_sub(1)?)?;
    (statement_id <= run.last).then_some(&run.result)
}

fn load(overlay: &Overlay<'_>, lsid: &[u8]) -> Result<Option<Record>, StorageFault> {
    match overlay.get(&keyspace::session_key(lsid))? {
        Some(bytes) => decode_record(&bytes)
            .map(Some)
            .map_err(|error| damaged("reading a session", error)),
        None => Ok(None),
    }
}

fn load_detail(
    overlay: &Overlay<'_>,
    lsid: &[u8],
    sequence: usize,
) -> Result<Vec<Run>, StorageFault> {
    const ACTION: &str = "reading a session's details";
    let key = keyspace::session_detail_key(lsid, sequence as u32);
    let bytes = overlay
        .get(&key)?
        .ok_or_else(|| damaged(ACTION, "a missing detail"))?;
    decode_runs(&mut Input::new(&bytes)).map_err(|error| damaged(ACTION, error))
}

fn delete_details(overlay: &mut Overlay<'_>, lsid: &[u8], count: usize) {
    for sequence in 0..count {
        overlay.delete(keyspace::session_detail_key(lsid, sequence as u32));
    }
}

/// Forgets sessions last used before a time, looking at up to `limit` of them.
pub(super) fn expire(
    overlay: &mut Overlay<'_>,
    cache: &mut SessionCache,
    last_used_before_ms: i64,
    after: &[u8],
    limit: u32,
) -> Result<Reply, Stop> {
    let from = keyspace::session_key(after);
    let from = if after.is_empty() {
        Bound::Included(&from[..])
    } else {
        Bound::Excluded(&from[..])
    };
    let end = [keyspace::SESSIONS + 1];
    let limit = limit.clamp(1, RECLAIM_KEYS_MAX);
    let (mut seen, mut expired) = (0, 0);
    let mut next = None;
    for entry in overlay.range_before(from, Bound::Excluded(&end)) {
        let (key, value) = entry.or_fault()?;
        let lsid = &key[1..];
        let record = decode_record(&value)
            .map_err(|error| Stop::Fault(damaged("reading a session", error)))?;
        if record.last_used_ms < last_used_before_ms {
            cache.take(lsid);
            delete_details(overlay, lsid, record.details.len());
            overlay.delete(key.to_vec());
            expired += 1;
        }
        seen += 1;
        if seen == limit {
            next = Some(lsid.to_vec());
            break;
        }
    }
    Ok(Reply::SessionsExpired { expired, next })
}

fn encode_record(record: &Record) -> Vec<u8> {
    let mut output = Output::with_capacity(64);
    output.u8(VERSION);
    output.i64(record.txn_number);
    output.i64(record.last_used_ms);
    output.count(record.details.len());
    for (lowest, highest) in &record.details {
        output.i32(*lowest);
        output.i32(*highest);
    }
    encode_runs(&mut output, &record.runs);
    output.bytes
}

fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut input = Input::new(bytes);
    let version = input.u8("version")?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let txn_number = input.i64("transaction number")?;
    let last_used_ms = input.i64("last use")?;
    let count = input.count(8, "details")?;
    let details = (0..count)
        .map(|_| Ok((input.i32("lowest id")?, input.i32("highest id")?)))
        .collect::<Result<_, DecodeError>>()?;
    let runs = decode_runs(&mut input)?;
    input.finish()?;
    Ok(Record {
        txn_number,
        last_used_ms,
        details,
        runs,
    })
}

fn encode_runs(output: &mut Output, runs: &[Run]) {
    output.count(runs.len());
    for run in runs {
        output.i32(run.first);
        output.i32(run.last);
        match &run.result {
            StatementResult::Inserted => output.u8(1),
            StatementResult::Updated {
                matched,
                modified,
                upserted,
                image,
            } => {
                output.u8(2);
                output.u64(*matched);
                output.u64(*modified);
                output.optional(upserted.as_ref(), Output::owned_value);
                output.optional(image.as_deref(), Output::document);
            }
            StatementResult::Deleted { n, image } => {
                output.u8(3);
                output.u64(*n);
                output.optional(image.as_deref(), Output::document);
            }
            StatementResult::Failed(_) | StatementResult::Stale => {
                unreachable!("failed and stale statements are not recorded")
            }
        }
    }
}

fn decode_runs(input: &mut Input<'_>) -> Result<Vec<Run>, DecodeError> {
    let count = input.count(9, "results")?;
    (0..count)
        .map(|_| {
            Ok(Run {
                first: input.i32("first id")?,
                last: input.i32("last id")?,
                result: decode_result(input)?,
            })
        })
        .collect()
}

fn decode_result(input: &mut Input<'_>) -> Result<StatementResult, DecodeError> {
    Ok(match input.u8("result")? {
        1 => StatementResult::Inserted,
        2 => StatementResult::Updated {
            matched: input.u64("matched")?,
            modified: input.u64("modified")?,
            upserted: input.optional("upserted", |input| input.owned_value("upserted"))?,
            image: input.optional("image", |input| Ok(input.document("image")?.to_owned()))?,
        },
        3 => StatementResult::Deleted {
            n: input.u64("removed")?,
            image: input.optional("image", |input| Ok(input.document("image")?.to_owned()))?,
        },
        value => {
            return Err(DecodeError::UnknownValue {
                field: "result",
                value,
            });
        }
    })
}

/// Session records in memory: those used since the generation before last. Never changes an outcome, only saves reads.
#[derive(Default)]
pub(crate) struct SessionCache {
    young: BTreeMap<Vec<u8>, Record>,
    young_bytes: usize,
    old: BTreeMap<Vec<u8>, Record>,
}

impl SessionCache {
    /// Removes the record, so that it is either here or being executed under, never both.
    fn take(&mut self, lsid: &[u8]) -> Option<Record> {
        self.young.remove(lsid).or_else(|| self.old.remove(lsid))
    }

    fn put(&mut self, lsid: Vec<u8>, record: Record, encoded_bytes: usize) {
        self.young_bytes += encoded_bytes + lsid.len() + CACHE_ENTRY_OVERHEAD_BYTES;
        self.young.insert(lsid, record);
        if self.young_bytes > SESSION_CACHE_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}
