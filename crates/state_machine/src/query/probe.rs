//! Counts the first keys of several candidates, so that one that is sure to be short goes before one that only looks
//! better. Costs a bounded number of keys, and reads no documents.

use super::candidate::Candidate;
use super::entries::{Entries, Looked};
use super::request::QueryError;
use crate::Snapshot;

/// Keys counted per candidate; longer ones are all the same to the probe.
const PROBED_KEYS_MAX: u64 = 100;
/// Candidates that are probed, from the best on.
const PROBED_CANDIDATES_MAX: usize = 8;

/// Moves the shortest of the candidates that narrow the search to the front, if one of them ends within the probe, and
/// gives the number of its keys. A better-looking one gives way only to one of less than half its keys.
pub(super) fn prefer_shortest(
    snapshot: &Snapshot,
    candidates: &mut [Candidate],
) -> Result<Option<u64>, QueryError> {
    let mut shortest: Option<(u64, usize)> = None;
    for (position, candidate) in candidates.iter().enumerate().take(PROBED_CANDIDATES_MAX) {
        if !candidate.is_bounded() {
            continue;
        }
        let most = shortest.map_or(PROBED_KEYS_MAX, |(keys, _)| keys / 2);
        let keys = count_keys(snapshot, candidate, most)?;
        if keys < most {
            shortest = Some((keys, position));
        }
    }
    if let Some((_, position)) = shortest {
        candidates[..=position].rotate_right(1);
    }
    Ok(shortest.map(|(keys, _)| keys))
}

/// Whether the candidate has at most so many keys, and few enough for the probe.
pub(super) fn ends_within(
    snapshot: &Snapshot,
    candidate: &Candidate,
    keys_max: u64,
) -> Result<bool, QueryError> {
    let most = PROBED_KEYS_MAX.min(keys_max.saturating_add(1));
    Ok(count_keys(snapshot, candidate, most)? < most)
}

/// Whether counting can change anything: the first one is not the only one that narrows the search.
pub(super) fn is_a_choice(candidates: &[Candidate]) -> bool {
    candidates.iter().skip(1).any(Candidate::is_bounded)
}

/// The keys of the candidate, at most `most`.
fn count_keys(snapshot: &Snapshot, candidate: &Candidate, most: u64) -> Result<u64, QueryError> {
    let mut entries = Entries::new(candidate.scan.clone());
    let mut keys = 0;
    while keys < most && !matches!(entries.next(snapshot)?, Looked::End) {
        keys += 1;
    }
    Ok(keys)
}
