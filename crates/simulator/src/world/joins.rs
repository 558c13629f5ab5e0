//! Directories that ask to be let in, and members that tell their addresses.

use node::JoinAnswer;
use peer_transport::{JoinReply, JoinRequest};

use super::{Death, Found, Happening, Process, World};
use crate::clock::Micros;
use crate::network::machine_at;

/// Between two looks whether a member has something to announce.
const ANNOUNCE_PERIOD: Micros = 100_000;

/// A join in the hands of a member.
pub struct PendingJoin {
    pub asker: Process,
    pub request: JoinRequest,
    pub answer: JoinAnswer,
}

impl World {
    /// A request to be let in is sent to a machine.
    pub(super) fn send_join(&mut self, asker: Process, to: usize, request: JoinRequest) {
        let passage = self.network.send(asker.machine, to, self.now);
        if let Some(arrival) = passage.arrivals.first() {
            let request = Box::new(request);
            self.queue
                .plan(*arrival, Happening::Join { asker, to, request });
        }
    }

    pub(super) fn hear_join(&mut self, asker: Process, to: usize, request: JoinRequest) -> Found {
        let machine = &self.machines[to];
        let Some(node) = machine.node.as_ref().filter(|_| !machine.paused) else {
            return Ok(());
        };
        let answer = node.begin_join(request.clone());
        let pending = PendingJoin {
            asker,
            request,
            answer,
        };
        self.hosts[to].joins.push(pending);
        self.settle(to)
    }

    /// Passes the answers of a member on.
    pub(super) fn answer_joins(&mut self, at: usize) {
        let mut answered = Vec::new();
        for pending in std::mem::take(&mut self.hosts[at].joins) {
            match pending.answer.take() {
                Some(reply) => answered.push((pending, reply)),
                None => self.hosts[at].joins.push(pending),
            }
        }
        for (pending, reply) in answered {
            self.trace.say(self.now, || {
                format!("machine {at} answers a join: {reply:?}")
            });
            self.join_answered(pending, reply);
        }
    }

    fn join_answered(&mut self, pending: PendingJoin, reply: JoinReply) {
        let asker = pending.asker;
        if self.machines[asker.machine].incarnation != asker.incarnation {
            return;
        }
        match reply {
            JoinReply::Redirect { leader } => {
                if let Some(to) = machine_at(&leader.0) {
                    self.send_join(asker, to, pending.request);
                }
            }
            JoinReply::NotNow { .. } => {}
            // Of too old a program: the operator installs the new one.
            JoinReply::Refused { .. } => {
                self.hosts[asker.machine].feature_level = node::FEATURE_LEVEL;
            }
            decided => match &self.machines[asker.machine].node {
                None => {
                    let reply = Some((pending.request, decided));
                    self.hosts[asker.machine].admission.lock().reply = reply;
                    let after = self.network.delay();
                    self.plan_start(after, asker.machine);
                }
                Some(node) => node.announced(&decided),
            },
        }
    }

    /// Sees to it that a member's addresses get known, and that one which was removed ends.
    pub(super) fn announce(&mut self, process: Process) -> Found {
        if !self.runs(process) {
            return Ok(());
        }
        let at = process.machine;
        let after = ANNOUNCE_PERIOD + self.pace.within(0..ANNOUNCE_PERIOD);
        self.plan(after, Happening::Announce(process));
        let machine = &self.machines[at];
        let Some(node) = machine.node.as_ref().filter(|_| !machine.paused) else {
            return Ok(());
        };
        if node.status().removed {
            self.trace.say(self.now, || {
                format!("machine {at} learns that it was removed")
            });
            self.hosts[at].off = true;
            return self.die(at, Death::Killed);
        }
        if let Some(announcement) = node.announcement() {
            let to: Vec<usize> = announcement
                .to
                .iter()
                .filter_map(|address| machine_at(&address.0))
                .filter(|to| *to < self.machines.len())
                .collect();
            if announcement.to.is_empty() {
                return self.hear_join(process, at, announcement.request);
            }
            if let Some(to) = self.pace.choose(&to).copied() {
                self.send_join(process, to, announcement.request);
            }
        }
        Ok(())
    }
}
