//! A simulated machine: disk, clocks and engines, which survive the process that runs on it.

use consensus::NodeId;
use node::SteppedNode;
use platform::SimulatedDisk;

use crate::clock::SimulatedClock;
use crate::engine::SimulatedEngines;

/// A production node on a simulated machine.
pub type SimulatedNode = SteppedNode<SimulatedDisk, SimulatedClock>;

/// A machine of the cluster, up or down.
pub struct Machine {
    /// Its number, from 0 on; also the last part of its addresses.
    pub index: usize,
    /// Its disk.
    pub disk: SimulatedDisk,
    /// Its engines.
    pub engines: SimulatedEngines,
    /// Its clocks.
    pub clock: SimulatedClock,
    /// The process, while it runs.
    pub node: Option<SimulatedNode>,
    /// Counts the processes that ran here.
    pub incarnation: u64,
    /// The process stands still.
    pub paused: bool,
}

impl Machine {
    /// The member that runs here.
    pub fn member(&self) -> Option<NodeId> {
        self.node.as_ref().map(|node| node.replica().id())
    }
}
