//! A bounded inbox that one thread drains whole.
//!
//! Promises: items come out in the order they went in; `drain` returns everything that waits in one
//! swap, so a wake-up costs one lock however many items came; a sleeping reader is woken only by
//! the first item. An item offered with [`Mailbox::offer`] is refused when `capacity` items wait;
//! one put in with [`Mailbox::push`] is always taken: that is for answers of the node's own threads,
//! of which there are never more than requests under way.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The inbox of one worker thread.
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    capacity: usize,
}

struct State<T> {
    items: Vec<T>,
    reader_sleeps: bool,
    /// So many items that have time wake a sleeping reader.
    enough: usize,
    closed: bool,
}

impl<T> Mailbox<T> {
    /// An empty inbox that refuses offers beyond `capacity` waiting items.
    pub fn new(capacity: usize) -> Self {
        assert!(
            capacity > 0,
            "a mailbox that takes nothing would stall its node"
        );
        Mailbox {
            state: Mutex::new(State {
                items: Vec::new(),
                reader_sleeps: false,
                enough: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            capacity,
        }
    }

    /// Puts `item` in unless the inbox is full or closed; gives it back then.
    pub fn offer(&self, item: T) -> Result<(), T> {
        self.offer_as(item, true)
    }

    /// [`Mailbox::offer`] of something that has time: a reader that sleeps in [`Mailbox::drain_patiently`] is not woken until
    /// enough of them wait.
    pub fn offer_patiently(&self, item: T) -> Result<(), T> {
        self.offer_as(item, false)
    }

    fn offer_as(&self, item: T, urgent: bool) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed || state.items.len() >= self.capacity {
            return Err(item);
        }
        if urgent || state.items.len() + 1 >= state.enough {
            self.put(&mut state, item);
        } else {
            state.items.push(item);
        }
        Ok(())
    }

    /// Puts `item` in whatever waits already. After [`Mailbox::close`] it is dropped.
    pub fn push(&self, item: T) {
        let mut state = self.state.lock();
        if !state.closed {
            self.put(&mut state, item);
        }
    }

    fn put(&self, state: &mut State<T>, item: T) {
        state.items.push(item);
        if state.reader_sleeps {
            state.reader_sleeps = false;
            self.filled.notify_one();
        }
    }

    /// Waits until something is there, the inbox is closed or `timeout` is over, then moves all of it into
    /// `into`. Returns false when the inbox is closed and empty.
    pub fn drain(&self, into: &mut Vec<T>, timeout: Option<Duration>) -> bool {
        self.drain_patiently(into, timeout, 0)
    }

    /// [`Mailbox::drain`] that fewer than `enough` items of [`Mailbox::offer_patiently`] do not end.
    pub fn drain_patiently(
        &self,
        into: &mut Vec<T>,
        timeout: Option<Duration>,
        enough: usize,
    ) -> bool {
        let mut state = self.state.lock();
        if state.items.is_empty() && !state.closed {
            state.reader_sleeps = true;
            state.enough = enough;
            match timeout {
                Some(limit) => {
                    self.filled.wait_for(&mut state, limit);
                }
                None => self.filled.wait(&mut state),
            }
            state.reader_sleeps = false;
            state.enough = 0;
        }
        into.append(&mut state.items);
        !(state.closed && into.is_empty())
    }

    /// Moves what waits into `into`, without waiting for anything. Returns false when the inbox is closed and empty.
    pub fn take(&self, into: &mut Vec<T>) -> bool {
        let mut state = self.state.lock();
        into.append(&mut state.items);
        !(state.closed && into.is_empty())
    }

    /// Waits until `time` is over or the inbox is closed, whatever comes in meanwhile.
    pub fn rest(&self, time: Duration) {
        let mut state = self.state.lock();
        self.filled
            .wait_while_for(&mut state, |state| !state.closed, time);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.state.lock().items.is_empty()
    }

    /// Whether the inbox was closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Takes nothing more; the reader gets what waits and is then told the end.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_full_mailbox_refuses_offers_but_takes_answers() {
        let mailbox = Mailbox::new(2);
        assert!(mailbox.offer(1).is_ok() && mailbox.offer(2).is_ok());
        assert_eq!(mailbox.offer(3), Err(3));
        mailbox.push(4);
        let mut items = Vec::new();
        assert!(mailbox.drain(&mut items, None));
        assert_eq!(items, [1, 2, 4]);
        mailbox.close();
        items.clear();
        assert!(!mailbox.drain(&mut items, None));
        assert_eq!(mailbox.offer(5), Err(5));
    }

    #[test]
    fn a_patient_reader_is_woken_by_enough_of_what_has_time_or_by_anything_else() {
        for urgent in [false, true] {
            let mailbox = Arc::new(Mailbox::new(10));
            let reader = {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    let mut items = Vec::new();
                    mailbox.drain_patiently(&mut items, Some(Duration::from_secs(3600)), 3);
                    items
                })
            };
            while !mailbox.state.lock().reader_sleeps {
                std::thread::yield_now();
            }
            assert!(mailbox.offer_patiently(1).is_ok() && mailbox.offer_patiently(2).is_ok());
            assert!(mailbox.state.lock().reader_sleeps);
            if urgent {
                mailbox.push(3);
            } else {
                assert!(mailbox.offer_patiently(3).is_ok());
            }
            assert_eq!(reader.join().expect("it does not panic"), [1, 2, 3]);
        }
    }

    #[test]
    fn a_rest_ends_when_the_inbox_is_closed() {
        let mailbox = Arc::new(Mailbox::new(1));
        let resting = {
            let mailbox = Arc::clone(&mailbox);
            std::thread::spawn(move || mailbox.rest(Duration::from_secs(3600)))
        };
        mailbox.push(1);
        mailbox.close();
        resting.join().expect("it does not panic");
    }
}
