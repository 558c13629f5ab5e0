//! What surrounds one replica: its disk, its state machine, what waits for a sync.

use std::collections::VecDeque;

use consensus::{
    Effects, Entry, Envelope, Fetch, HardState, LogIndex, LogPosition, Membership, NodeId, Persist,
    PersistPosition, Recovered, Replica,
};

pub struct Host {
    pub id: NodeId,
    pub replica: Option<Replica>,
    pub starts: u64,
    // On disk.
    pub hard_state: HardState,
    pub log_start: LogPosition,
    pub membership: Membership,
    pub entries: Vec<Entry>,
    /// The state machine's durable point, with the membership there.
    pub applied_durable: LogPosition,
    pub applied_membership: Membership,
    // In memory.
    pub writes: VecDeque<Persist>,
    pub disk_stalled: bool,
    pub held: VecDeque<(PersistPosition, Vec<Envelope>)>,
    pub applied: LogIndex,
    pub synced: PersistPosition,
    pub fetches: VecDeque<Fetch>,
    pub snapshots_asked: Vec<NodeId>,
}

impl Host {
    pub fn new(id: NodeId, membership: Membership) -> Host {
        Host {
            id,
            replica: None,
            starts: 0,
            hard_state: HardState::default(),
            log_start: LogPosition::ZERO,
            applied_membership: membership.clone(),
            membership,
            entries: Vec::new(),
            applied_durable: LogPosition::ZERO,
            writes: VecDeque::new(),
            disk_stalled: false,
            held: VecDeque::new(),
            applied: LogIndex(0),
            synced: PersistPosition(0),
            fetches: VecDeque::new(),
            snapshots_asked: Vec::new(),
        }
    }

    fn term_on_disk(&self, index: LogIndex) -> Option<consensus::Term> {
        if index == self.log_start.index {
            return Some(self.log_start.term);
        }
        self.entries
            .iter()
            .find(|entry| entry.index == index)
            .map(|entry| entry.term)
    }

    /// What a restart finds. A state machine ahead of the log was swapped in just before the crash: the log
    /// that the snapshot replaces goes.
    pub fn recover(&mut self) -> Recovered {
        if self.term_on_disk(self.applied_durable.index) != Some(self.applied_durable.term) {
            self.log_start = self.applied_durable;
            self.membership = self.applied_membership.clone();
            self.entries.clear();
        }
        self.applied = self.applied_durable.index;
        self.synced = PersistPosition(0);
        Recovered {
            hard_state: self.hard_state,
            // Either will do: what lies between them is in the log.
            membership: if self.starts.is_multiple_of(2) {
                self.applied_membership.clone()
            } else {
                self.membership.clone()
            },
            log_start: self.log_start,
            applied: self.applied,
            terms: Vec::new(),
            entries: self.entries.clone(),
        }
    }

    pub fn crash(&mut self, kept: usize) {
        for _ in 0..kept {
            self.sync();
        }
        // A torn write keeps its first part.
        if kept > 0
            && let Some(torn) = self.writes.pop_front()
        {
            let half = torn.entries.len() / 2;
            let entries = torn.entries[..half].to_vec();
            self.write(Persist { entries, ..torn });
        }
        self.replica = None;
        self.writes.clear();
        self.held.clear();
        self.fetches.clear();
        self.snapshots_asked.clear();
    }

    /// Takes effects over; returns what may be sent at once.
    pub fn take(&mut self, effects: Effects) -> Vec<Envelope> {
        let mut send = effects.send_now;
        if let Some(persist) = effects.persist {
            self.writes.push_back(persist);
        }
        if effects.sync_position <= self.synced {
            send.extend(effects.send_after_sync);
        } else if !effects.send_after_sync.is_empty() {
            self.held
                .push_back((effects.sync_position, effects.send_after_sync));
        }
        if let Some(meta) = effects.install_snapshot {
            self.applied = meta.position.index;
            self.applied_durable = meta.position;
            self.applied_membership = meta.membership;
        }
        for entry in effects.apply {
            assert_eq!(
                entry.index,
                self.applied.next(),
                "{} applies out of order",
                self.id
            );
            assert_eq!(
                self.term_on_disk(entry.index),
                Some(entry.term),
                "{} applies an entry that is not on its disk",
                self.id
            );
            self.applied = entry.index;
        }
        self.fetches.extend(effects.fetch);
        self.snapshots_asked.extend(effects.send_snapshot);
        send
    }

    fn write(&mut self, persist: Persist) {
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(position) = persist.reset_to {
            self.log_start = position;
            self.entries.clear();
            self.membership = self.applied_membership.clone();
            assert!(
                self.applied_durable.index >= position.index,
                "{}: reset without a snapshot",
                self.id
            );
        }
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            let end = self
                .entries
                .last()
                .map_or(self.log_start.index, |entry| entry.index);
            assert_eq!(
                end.next(),
                first.index,
                "{}: a gap in the log on disk",
                self.id
            );
        }
        self.entries.extend(persist.entries);
    }

    /// One write reaches the disk.
    pub fn sync(&mut self) -> Option<PersistPosition> {
        let persist = self.writes.pop_front()?;
        let position = persist.position;
        self.write(persist);
        self.synced = position;
        Some(position)
    }

    pub fn release_held(&mut self, position: PersistPosition) -> Vec<Envelope> {
        let mut released = Vec::new();
        while let Some((_, envelopes)) = self.held.pop_front_if(|(needs, _)| *needs <= position) {
            released.extend(envelopes);
        }
        released
    }

    pub fn read_log(&self, from: LogIndex, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let entries = self.entries.iter().filter(|entry| entry.index >= from);
        if self.log_start.index >= from {
            return Vec::new();
        }
        entries
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry.bytes() <= bytes_max;
                bytes += entry.bytes();
                fits
            })
            .cloned()
            .collect()
    }

    /// The state machine flushes up to `position`.
    pub fn flush(&mut self, position: LogPosition, membership: Membership) {
        if position.index > self.applied_durable.index && position.index <= self.applied {
            self.applied_durable = position;
            self.applied_membership = membership;
        }
    }

    /// Removes the log up to `position`, if it is applied and reported so.
    pub fn compact(&mut self, position: LogPosition, membership: Membership) -> bool {
        let reported = self.replica.as_ref().map_or(LogIndex(0), Replica::applied);
        if position.index > reported
            || position.index <= self.log_start.index
            || self.term_on_disk(position.index) != Some(position.term)
        {
            return false;
        }
        self.flush(position, membership.clone());
        if self.applied_durable.index < position.index {
            return false;
        }
        self.log_start = position;
        self.membership = membership;
        self.entries.retain(|entry| entry.index > position.index);
        true
    }
}
