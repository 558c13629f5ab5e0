//! What of the changes that were not synced is on the disk after a power loss. A disk promises nothing about them, and
//! each of its habits has its own way to break a program that relied on more.

use crate::random::Random;

/// A habit of disks and file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Nothing was written before it was asked for.
    Lazy,
    /// Everything was written at once: a crash of the process alone.
    Eager,
    /// Everything up to some moment, in the order of the changes: a journal.
    Ordered,
    /// Each change by itself, in any order.
    Unordered {
        /// How many of a hundred are on the disk.
        percent: u64,
    },
    /// Each sector by itself, in any order.
    Torn {
        /// How many of a hundred are on the disk.
        percent: u64,
    },
}

impl Habit {
    /// A habit by chance.
    pub fn draw(random: &mut Random) -> Habit {
        let percent = *random.one_of(&[10, 50, 90]);
        match random.below(8) {
            0 | 1 => Habit::Lazy,
            2 => Habit::Eager,
            3 | 4 => Habit::Ordered,
            5 => Habit::Unordered { percent },
            _ => Habit::Torn { percent },
        }
    }
}

/// The decisions of one power loss.
pub(crate) struct Survival {
    habit: Habit,
    /// Changes made before this are on the disk, if it is an ordered one.
    until: u64,
    random: Random,
}

impl Survival {
    /// `oldest..newest`: when the changes were made that are to be decided of.
    pub fn new(habit: Habit, oldest: u64, newest: u64, mut random: Random) -> Self {
        let until = oldest + random.below(newest.saturating_sub(oldest).max(1) + 1);
        Survival {
            habit,
            until,
            random,
        }
    }

    /// Whether a change of this moment is on the disk; of a write, whether its length is.
    pub fn change(&mut self, made: u64) -> bool {
        match self.habit {
            Habit::Lazy => false,
            Habit::Eager => true,
            Habit::Ordered => made < self.until,
            Habit::Unordered { percent } | Habit::Torn { percent } => self.random.happens(percent),
        }
    }

    /// Whether a sector is, of a write that as a whole is (`kept`) or is not.
    pub fn sector(&mut self, kept: bool) -> bool {
        match self.habit {
            Habit::Torn { percent } => self.random.happens(percent),
            _ => kept,
        }
    }
}
