//! The memory that large messages and replies of all connections may take together.
//!
//! Small ones are not counted. A large message waits for room before it is read; a large reply is given a
//! smaller batch when room is short, so that clients which never read cannot exhaust the machine.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{BATCH_BYTES_MAX, MESSAGE_BYTES_MAX, UNCOUNTED_BYTES_MAX};

const UNIT_BYTES: usize = 4096;

/// Shared by all connections.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    units: usize,
}

/// Room taken; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    _permit: Option<OwnedSemaphorePermit>,
}

/// How many bytes a batch may take, and the room for it.
#[derive(Debug)]
pub(crate) struct BatchRoom {
    pub bytes_max: usize,
    pub reservation: Reservation,
}

impl Budget {
    /// Room for so many bytes, or for one largest message if that is more.
    pub(crate) fn new(bytes: usize) -> Self {
        let units = bytes.max(MESSAGE_BYTES_MAX).div_ceil(UNIT_BYTES);
        Budget {
            room: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// Bytes that are taken.
    pub(crate) fn taken(&self) -> usize {
        (self.units - self.room.available_permits()) * UNIT_BYTES
    }

    /// Waits for room for a message of this size.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        if bytes <= UNCOUNTED_BYTES_MAX {
            return Reservation::default();
        }
        let permit = self.room.clone().acquire_many_owned(units(bytes)).await;
        Reservation {
            _permit: Some(permit.expect("the semaphore is never closed")),
        }
    }

    /// Room for one batch of a cursor: the largest that is free now.
    pub(crate) fn reserve_batch(&self) -> BatchRoom {
        for bytes_max in [BATCH_BYTES_MAX, BATCH_BYTES_MAX / 16] {
            if let Ok(permit) = self.room.clone().try_acquire_many_owned(units(bytes_max)) {
                return BatchRoom {
                    bytes_max,
                    reservation: Reservation {
                        _permit: Some(permit),
                    },
                };
            }
        }
        BatchRoom {
            bytes_max: UNCOUNTED_BYTES_MAX,
            reservation: Reservation::default(),
        }
    }
}

impl BatchRoom {
    /// Gives back the room when the batch turned out to be small.
    pub(crate) fn settle(self, bytes: usize) -> Reservation {
        if bytes <= UNCOUNTED_BYTES_MAX {
            Reservation::default()
        } else {
            self.reservation
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).expect("messages are bounded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_when_room_is_short() {
        const ROOM: usize = 512 << 20;
        let budget = Budget::new(ROOM);
        let mut held = Vec::new();
        let mut smallest = usize::MAX;
        for _ in 0..ROOM / BATCH_BYTES_MAX + 20 {
            let room = budget.reserve_batch();
            smallest = smallest.min(room.bytes_max);
            held.push(room.settle(BATCH_BYTES_MAX));
        }
        assert_eq!(smallest, UNCOUNTED_BYTES_MAX);
        assert!(budget.taken() <= ROOM && budget.taken() > ROOM - 2 * BATCH_BYTES_MAX / 16);
        held.clear();
        assert_eq!(budget.taken(), 0);
        assert_eq!(budget.reserve_batch().bytes_max, BATCH_BYTES_MAX);
    }
}
