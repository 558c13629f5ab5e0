//! What a leader proposes on its own: the next step of an index build, reclaiming dropped data, forgetting sessions
//! nobody used for half an hour. Commands like any other, so that every member does the same.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use platform::Clock;
use state_machine::{Command, Reader, Reply};

use crate::events::{Event, ProposeOutcome};

/// Sessions unused for this long are forgotten; what drivers are told as `logicalSessionTimeoutMinutes`.
const SESSION_TIMEOUT_MS: i64 = 30 * 60 * 1000;
/// Sessions looked at by one command, at first and at most. Of a session that writes there are thousands of versions to pass
/// over, and every member applies nothing else meanwhile: how many are right shows in how long a command takes.
const SESSIONS_PER_COMMAND: u32 = 8;
const SESSIONS_PER_COMMAND_MAX: u32 = 1_000;
/// From when it is applied late until when it is applied soon, a command was of the right size.
const COMMAND_TAKES: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(20);
const EXPIRY_PERIOD: Duration = Duration::from_secs(60);
/// [`SESSION_TIMEOUT_MS`] as time that really passed.
const SESSION_TIMEOUT: Duration = Duration::from_millis(SESSION_TIMEOUT_MS as u64);

/// Both clocks at one moment.
struct Reading {
    at: Duration,
    wall_ms: i64,
}

/// Decides what to propose next; one command is under way at a time.
pub(crate) struct Housekeeping<C: Clock> {
    clock: C,
    reader: Arc<RwLock<Reader>>,
    next_expiry: Duration,
    /// The wall clock as it was read here, oldest first, once a period and for one session timeout.
    readings: VecDeque<Reading>,
    under_way: Arc<AtomicBool>,
    /// Clients that drive an index build of their own; builds are left to them meanwhile.
    driven_by_clients: Arc<AtomicUsize>,
    /// Where the expiry of sessions goes on.
    expiry_after: Arc<Mutex<Option<Vec<u8>>>>,
    /// How many sessions the next command looks at.
    sessions_limit: Arc<AtomicU32>,
}

/// How many sessions a command looks at, after one that looked at `limit` took so long.
fn next_limit(limit: u32, took: Duration) -> u32 {
    if took > *COMMAND_TAKES.end() {
        (limit / 4).max(1)
    } else if took < *COMMAND_TAKES.start() {
        (limit * 2).min(SESSIONS_PER_COMMAND_MAX)
    } else {
        limit
    }
}

impl<C: Clock> Housekeeping<C> {
    pub fn new(clock: C, reader: Arc<RwLock<Reader>>, driven_by_clients: Arc<AtomicUsize>) -> Self {
        let next_expiry = clock.monotonic() + EXPIRY_PERIOD;
        Housekeeping {
            clock,
            reader,
            next_expiry,
            readings: VecDeque::new(),
            under_way: Arc::default(),
            driven_by_clients,
            expiry_after: Arc::default(),
            sessions_limit: Arc::new(AtomicU32::new(SESSIONS_PER_COMMAND)),
        }
    }

    /// The next proposal; `None` when there is nothing to do or the last one is still under way.
    pub fn next(&mut self) -> Option<Event> {
        if self.under_way.load(Ordering::Acquire) {
            return None;
        }
        let command = self.next_command()?;
        self.under_way.store(true, Ordering::Release);
        let (under_way, expiry_after) = (self.under_way.clone(), self.expiry_after.clone());
        let limit = self.sessions_limit.clone();
        let (clock, began) = (self.clock.clone(), self.clock.monotonic());
        let done = Box::new(move |outcome| {
            if let ProposeOutcome::Applied {
                reply: Reply::SessionsExpired { next, .. },
                ..
            } = outcome
            {
                let took = clock.monotonic().saturating_sub(began);
                let next_limit = next_limit(limit.load(Ordering::Relaxed), took);
                limit.store(next_limit, Ordering::Relaxed);
                *expiry_after.lock() = next;
            }
            under_way.store(false, Ordering::Release);
        });
        Some(Event::Propose {
            payload: command.encode().into(),
            done,
        })
    }

    /// Sessions last used before this wall time may be forgotten; `None` until this node has watched for one timeout.
    /// A wall clock that is put forward must not make sessions old at once, whose writes may still be retried: what the
    /// clock showed one timeout ago, by the clock that never jumps, bounds what counts as unused.
    fn unused_since(&mut self) -> Option<i64> {
        let (now, wall_ms) = (self.clock.monotonic(), self.clock.wall_ms());
        if self
            .readings
            .back()
            .is_none_or(|last| now >= last.at + EXPIRY_PERIOD)
        {
            self.readings.push_back(Reading { at: now, wall_ms });
        }
        let is_old = |reading: &Reading| reading.at + SESSION_TIMEOUT <= now;
        while self.readings.get(1).is_some_and(is_old) {
            self.readings.pop_front();
        }
        let oldest = self.readings.front().filter(|reading| is_old(reading))?;
        Some(oldest.wall_ms.min(wall_ms - SESSION_TIMEOUT_MS))
    }

    fn next_command(&mut self) -> Option<Command> {
        let clients = self.driven_by_clients.load(Ordering::Acquire);
        if clients == 0
            && let Some(command) = self.reader.read().background_command()
        {
            return Some(command);
        }
        let last_used_before_ms = self.unused_since()?;
        if let Some(after) = self.expiry_after.lock().take() {
            return Some(Command::ExpireSessions {
                last_used_before_ms,
                after,
                limit: self.sessions_limit.load(Ordering::Relaxed),
            });
        }
        let now = self.clock.monotonic();
        if now < self.next_expiry {
            return None;
        }
        self.next_expiry = now + EXPIRY_PERIOD;
        Some(Command::ExpireSessions {
            last_used_before_ms,
            after: Vec::new(),
            limit: self.sessions_limit.load(Ordering::Relaxed),
        })
    }
}

/// While it lives, the leader leaves index builds to the client that drives one: a build that fails is then reported
/// to the one who asked for it.
pub struct ClientDrivesBuild {
    count: Arc<AtomicUsize>,
}

impl ClientDrivesBuild {
    pub(crate) fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        ClientDrivesBuild { count }
    }
}

impl Drop for ClientDrivesBuild {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use state_machine::StateMachine;
    use storage_engine::MemoryEngine;

    use super::*;

    /// Two clocks that go as they are told.
    #[derive(Clone, Default)]
    struct Hands(Arc<Mutex<(Duration, i64)>>);

    impl Clock for Hands {
        fn monotonic(&self) -> Duration {
            self.0.lock().0
        }

        fn wall_ms(&self) -> i64 {
            self.0.lock().1
        }
    }

    impl Hands {
        fn pass(&self, time: Duration) {
            let mut hands = self.0.lock();
            hands.0 += time;
            hands.1 += time.as_millis() as i64;
        }

        fn put(&self, by_ms: i64) {
            self.0.lock().1 += by_ms;
        }
    }

    /// Lets `minutes` pass; the last bound that an expiry was proposed with.
    fn watch(house: &mut Housekeeping<Hands>, hands: &Hands, minutes: u64) -> Option<i64> {
        let mut last = None;
        for _ in 0..minutes {
            hands.pass(Duration::from_secs(60));
            if let Some(Command::ExpireSessions {
                last_used_before_ms,
                ..
            }) = house.next_command()
            {
                last = Some(last_used_before_ms);
            }
        }
        last
    }

    #[test]
    fn a_command_that_takes_long_is_followed_by_a_smaller_one() {
        let ms = Duration::from_millis;
        assert_eq!(next_limit(8, ms(100)), 2);
        assert_eq!(next_limit(2, ms(100)), 1);
        assert_eq!(next_limit(1, ms(100)), 1);
        assert_eq!(next_limit(8, ms(15)), 8);
        assert_eq!(next_limit(8, ms(3)), 16);
        assert_eq!(next_limit(900, ms(3)), SESSIONS_PER_COMMAND_MAX);
    }

    /// A write of this minute, whose answer got lost, is retried in the next: its session must be there.
    #[test]
    fn a_clock_put_forward_makes_no_session_old() {
        let hands = Hands::default();
        let machine = StateMachine::open(Arc::new(MemoryEngine::default())).expect("no fault");
        let reader = Arc::new(RwLock::new(machine.reader()));
        let mut house = Housekeeping::new(hands.clone(), reader, Arc::default());
        assert_eq!(
            watch(&mut house, &hands, 29),
            None,
            "it has not watched long enough"
        );
        watch(&mut house, &hands, 60);
        let used_ms = hands.wall_ms();
        hands.put(24 * 60 * 60 * 1000);
        for _ in 0..29 {
            let bound = watch(&mut house, &hands, 1).expect("it goes on every minute");
            assert!(
                bound <= used_ms,
                "a session used {used_ms} is old before {bound}"
            );
        }
        let bound = watch(&mut house, &hands, 3).expect("it goes on every minute");
        assert!(bound > used_ms, "it is forgotten when its time has passed");
        let before = hands.wall_ms();
        hands.put(-48 * 60 * 60 * 1000);
        let bound = watch(&mut house, &hands, 1).expect("it goes on every minute");
        assert!(
            bound < before - 47 * 60 * 60 * 1000,
            "nor does a clock put back"
        );
    }
}
