//! What checkers see: the machines after each step, and the messages.

use consensus::Envelope;

use crate::clock::Micros;
use crate::machine::Machine;

/// The world as it stands.
pub struct WorldView<'a> {
    /// Simulated time.
    pub now: Micros,
    /// Every machine there ever was, by number.
    pub machines: &'a [Machine],
}

/// Judges the cluster while it runs. A finding ends the simulation.
pub trait Checker {
    /// A process started on this machine, after a crash, a stop or for the first time. `wiped`: its directory was emptied
    /// since the last one.
    fn started(&mut self, view: &WorldView<'_>, machine: usize, wiped: bool) -> Result<(), String> {
        let _ = (view, machine, wiped);
        Ok(())
    }

    /// A worker of the node on this machine has been stepped; nothing else changed since the last call.
    fn stepped(&mut self, view: &WorldView<'_>, machine: usize) -> Result<(), String>;

    /// A member sends this.
    fn sent(&mut self, envelope: &Envelope) -> Result<(), String> {
        let _ = envelope;
        Ok(())
    }

    /// Everything has healed and is at rest.
    fn at_rest(&mut self, view: &WorldView<'_>) -> Result<(), String> {
        let _ = view;
        Ok(())
    }
}
