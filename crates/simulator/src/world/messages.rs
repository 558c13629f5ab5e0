//! Messages on their way.

use consensus::{Envelope, NodeId};
use node::GROUP;
use peer_transport::PeerAddress;

use super::{Found, Happening, Process, World};
use crate::network::{Outgoing, address_of};

impl World {
    /// Takes what a node wants carried.
    pub(super) fn carry_outgoing(&mut self, at: usize) -> Found {
        let outgoing = self.hosts[at].peers.0.take();
        for what in outgoing {
            match what {
                Outgoing::Messages(envelopes) => {
                    for envelope in envelopes {
                        self.send(at, envelope)?;
                    }
                }
                Outgoing::Snapshot {
                    to,
                    meta,
                    source,
                    done,
                } => self.begin_stream(at, to, meta, source, done),
            }
        }
        Ok(())
    }

    fn send(&mut self, at: usize, envelope: Envelope) -> Found {
        for checker in &mut self.checkers {
            checker.sent(&envelope)?;
        }
        let Some(to) = self.hosts[at].peers.0.machine_of(envelope.to) else {
            return Ok(());
        };
        let passage = self.network.send(at, to, self.now);
        self.trace.detail(self.now, || {
            format!(
                "{} -> {} {:?} term {} arrives {:?}",
                envelope.from, envelope.to, envelope.message, envelope.term, passage.arrivals
            )
        });
        let from = self.process(at);
        for arrival in passage.arrivals {
            let what = Happening::Deliver {
                from,
                to,
                connection: passage.connection,
                envelope: Box::new(envelope.clone()),
            };
            self.queue.plan(arrival, what);
        }
        Ok(())
    }

    pub(super) fn deliver(
        &mut self,
        from: Process,
        to: usize,
        connection: u64,
        envelope: Envelope,
    ) -> Found {
        let cut = self.network.is_cut(from.machine, to)
            || self.network.connection(from.machine, to) != connection;
        if cut || self.machines[to].member() != Some(envelope.to) {
            return Ok(());
        }
        let Some(handler) = self.handler(to) else {
            return Ok(());
        };
        let sender = envelope.from;
        if self.hosts[to].heard_from.insert(sender, from) != Some(from) {
            handler.introduced(sender, PeerAddress(address_of(from.machine)));
        }
        handler.received(GROUP, vec![envelope]);
        self.settle(to)
    }

    /// The connections between two machines break; both notice.
    pub fn reset_connection(&mut self, a: usize, b: usize) {
        self.network.reset(a, b);
        for (at, other) in [(a, b), (b, a)] {
            if let Some(peer) = self.machines[other].member() {
                let at = self.process(at);
                let after = self.network.delay();
                self.plan(after, Happening::Disconnect { at, peer });
            }
        }
    }

    pub(super) fn notice_disconnect(&mut self, at: Process, peer: NodeId) -> Found {
        if !self.runs(at) {
            return Ok(());
        }
        self.hosts[at.machine].heard_from.remove(&peer);
        if let Some(handler) = self.handler(at.machine) {
            handler.disconnected(peer);
        }
        self.settle(at.machine)
    }
}
