//! The write-ahead log: segments as a directory may hold them (`docs/file_format.md`, "`wal/`").
//!
//! Input: for each segment its length in bytes, u32, and its bytes.

use std::path::Path;

use platform::{Disk, DiskFile, OpenOptions, SimulatedDisk};
use write_ahead_log::{Examination, Options, Start, WriteAheadLog};

const DIRECTORY: &str = "/wal";
const SEGMENTS_MAX: usize = 4;
const SEGMENT_BYTES: u64 = 4 << 10;
const GROUP: u64 = 1;
/// A log of mutated bytes claims no more than its file holds; what reads further is a finding.
const SEGMENT_HEADER_BYTES: usize = 64;
const HEADER_BYTES: usize = 32;
const BATCH_MAGIC: &[u8; 4] = b"BTCH";

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    }
}

/// Splits the input into segments.
fn split(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    while segments.len() < SEGMENTS_MAX {
        let Some((length, rest)) = data.split_first_chunk::<4>() else {
            break;
        };
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (segment, rest) = rest.split_at(length);
        segments.push(segment.to_vec());
        data = rest;
    }
    segments
}

fn write(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    let options = OpenOptions {
        create: true,
        write: true,
        ..OpenOptions::default()
    };
    let file = disk
        .open(path, options)
        .expect("the simulated disk has room");
    file.write_all_at(bytes, 0)
        .expect("the simulated disk has room");
}

fn open(segments: &[Vec<u8>]) -> bool {
    let disk = SimulatedDisk::new(1);
    let directory = Path::new(DIRECTORY);
    disk.create_dir_all(directory).expect("a fresh disk");
    for (at, segment) in segments.iter().enumerate() {
        write(
            &disk,
            &directory.join(format!("{:016}.wal", at + 1)),
            segment,
        );
    }
    let Ok(found) = Examination::of(disk.clone(), directory) else {
        return false;
    };
    let damaged = !found.damage().is_empty();
    let (before, _) = (found.before(), found.after());
    let Ok((mut log, recovered)) = WriteAheadLog::open(disk.clone(), directory, options()) else {
        return false;
    };
    assert!(!damaged, "a damaged log was opened");
    let reader = log.reader();
    for (group, content) in &recovered.groups {
        let extent = &before[group];
        assert_eq!(content.state, extent.state, "examined and opened alike");
        let indices: Vec<u64> = content.entries.iter().map(|entry| entry.index).collect();
        let first = content.start.index + 1;
        assert!(
            indices
                .iter()
                .copied()
                .eq(first..first + indices.len() as u64),
            "entries without gaps"
        );
        let bounds = reader.bounds(*group);
        assert!(
            bounds.is_some() || indices.is_empty(),
            "what was read can be read"
        );
    }
    // A log that was opened takes more, and is then found again as it was left.
    log.set_state(GROUP, b"later")
        .expect("the simulated disk works");
    log.sync().expect("the simulated disk works");
    drop(log);
    let again = WriteAheadLog::open(disk, directory, options());
    let (_, again) = again.expect("what was opened and synced opens again");
    for (group, content) in recovered.groups {
        assert_eq!(again.groups[&group].entries, content.entries);
    }
    true
}

/// The bytes as they are.
pub(crate) fn segments(data: &[u8]) -> bool {
    open(&split(data))
}

/// The bytes with checksums that match, so that what stands behind them is met.
pub(crate) fn segments_resealed(data: &[u8]) -> bool {
    let mut segments = split(data);
    for (at, segment) in segments.iter_mut().enumerate() {
        reseal(segment, at as u64 + 1);
    }
    open(&segments)
}

fn checksum(sequence: u64, parts: &[&[u8]]) -> [u8; 4] {
    let start = crc32c::crc32c(&sequence.to_le_bytes());
    let sum = parts
        .iter()
        .fold(start, |sum, part| crc32c::crc32c_append(sum, part));
    sum.to_le_bytes()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(four.try_into().expect("four bytes")) as usize)
}

/// Seals header, batches and records again, as far as their lengths lead.
fn reseal(segment: &mut [u8], sequence: u64) {
    if segment.len() < SEGMENT_HEADER_BYTES {
        return;
    }
    segment[16..24].copy_from_slice(&sequence.to_le_bytes());
    let sum = checksum(
        sequence,
        &[&segment[..12], &segment[16..SEGMENT_HEADER_BYTES]],
    );
    segment[12..16].copy_from_slice(&sum);
    let mut at = SEGMENT_HEADER_BYTES;
    while segment.get(at..at + 4) == Some(BATCH_MAGIC) && segment.len() >= at + HEADER_BYTES {
        let body = u32_at(segment, at + 16).unwrap_or(0);
        let body_at = at + HEADER_BYTES;
        let end = body_at.saturating_add(body).min(segment.len());
        reseal_records(&mut segment[body_at..end], sequence);
        let sum = checksum(sequence, &[&segment[body_at..end]]);
        segment[at + 20..at + 24].copy_from_slice(&sum);
        let sum = checksum(sequence, &[&segment[at + 8..body_at]]);
        segment[at + 4..at + 8].copy_from_slice(&sum);
        at = end.next_multiple_of(8);
    }
}

fn reseal_records(mut body: &mut [u8], sequence: u64) {
    while body.len() >= HEADER_BYTES {
        let stored = u32_at(body, 0).unwrap_or(0);
        let Some(end) = HEADER_BYTES
            .checked_add(stored)
            .filter(|end| *end <= body.len())
        else {
            return;
        };
        let sum = checksum(sequence, &[&body[..4], &body[8..end]]);
        body[4..8].copy_from_slice(&sum);
        body = &mut body[end..];
    }
}

/// Logs as they are written: entries short and long, a conflict, a removed beginning, a reset, several segments.
pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for shape in 0..4_u64 {
        let disk = SimulatedDisk::new(shape);
        let directory = Path::new(DIRECTORY);
        let opened = WriteAheadLog::open(disk.clone(), directory, options());
        let (mut log, _) = opened.expect("a fresh disk");
        let done = fill(&mut log, shape);
        done.expect("the simulated disk works");
        drop(log);
        let mut seed = Vec::new();
        for entry in disk.list(directory).expect("it was made") {
            let file = disk
                .open(&directory.join(&entry.name), OpenOptions::default())
                .expect("it was listed");
            let mut bytes = vec![0; entry.len as usize];
            file.read_at(&mut bytes, 0)
                .expect("the simulated disk works");
            seed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            seed.extend_from_slice(&bytes);
        }
        seeds.push(seed);
    }
    seeds
}

fn fill(
    log: &mut WriteAheadLog<SimulatedDisk>,
    shape: u64,
) -> Result<(), write_ahead_log::WalError> {
    log.set_state(GROUP, b"state")?;
    log.sync()?;
    for index in 1..=6 {
        log.append(GROUP, index, &[b"entry ", &[index as u8; 90]])?;
        log.append(GROUP + 1, index, &[&[b'x'; 700]])?;
        log.sync()?;
    }
    match shape {
        1 => log.append(GROUP, 4, &[b"another fourth"])?,
        2 => log.remove_prefix(GROUP, Start { index: 3, tag: 1 })?,
        3 => log.reset(GROUP, Start { index: 50, tag: 2 })?,
        _ => {}
    }
    log.sync()
}
