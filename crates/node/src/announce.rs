//! Making oneself known: a member sees to it that the membership shows where it is reached, what it reads and its
//! priority, looks for the others when it hears no leader, and learns that it was removed.
//!
//! Whom to ask: the leader, if one is known. Else every address there is: those of the membership and those of
//! `--join`, so that members which all moved, or which were admitted and never heard of the others, find each other again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consensus::RoleName;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use peer_transport::{JoinReply, JoinRequest, PeerAddress};

use crate::config::{FEATURE_LEVEL_MEMBERSHIP, MemberContext};
use crate::events::Event;
use crate::handle::Node;
use crate::status::NodeStatus;

/// Pause between attempts to have changes recorded.
const ANNOUNCE_PERIOD: Duration = Duration::from_millis(100);
/// Looks at the status, one [`ANNOUNCE_PERIOD`] after the other, that see no leader before the others are asked: most
/// elections are over by then.
const LEADERLESS_LOOKS: u32 = 10;
/// How long one attempt may take.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks when nothing is to be done and the status does not change.
const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// What a node has to say, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// What to ask of them.
    pub request: JoinRequest,
    /// Whom, one after the other until one decides; the answer goes to [`Node::announced`].
    pub to: Vec<PeerAddress>,
    /// No leader is known: worth saying only if that lasts.
    pub leaderless: bool,
}

impl Node {
    /// What this node has to ask of others, at a pace of its caller's, until it is `None`: that the membership shows what
    /// is true of it now, or who leads. A node alone has nobody to ask.
    pub(crate) fn announcement(&self) -> Option<Announcement> {
        let status = self.status();
        let parts = self.parts();
        if status.removed || parts.inboxes.core.is_closed() {
            return None;
        }
        let leads = status.role == RoleName::Leader;
        let leader = status.leader.filter(|_| !leads);
        if (leads || leader.is_some()) && is_recorded(&status, &parts.context) {
            return None;
        }
        let leaderless = !leads && leader.is_none();
        let own = &parts.context.addresses.peer;
        let to: Vec<PeerAddress> = match leader.and_then(|id| status.member(id)) {
            _ if leads => Vec::new(),
            Some(leader) => vec![PeerAddress(leader.addresses.peer)],
            None => everybody(&status, &parts.seeds),
        };
        let to: Vec<PeerAddress> = to
            .into_iter()
            .filter(|it| !it.0.is_empty() && it.0 != *own)
            .collect();
        let request = JoinRequest {
            cluster_id: Some(status.cluster_id),
            member: Some(status.id),
            ..JoinRequest::fresh(parts.context.directory, parts.context.encode().to_vec())
        };
        (leads || !to.is_empty()).then_some(Announcement {
            request,
            to,
            leaderless,
        })
    }

    /// What came of an announcement.
    pub(crate) fn announced(&self, reply: &JoinReply) {
        if matches!(reply, JoinReply::Removed { .. }) {
            self.parts().inboxes.core.push(Event::Removed);
        }
    }

    /// Asks this member's core to admit a directory; the answer comes over the channel, if it comes.
    pub(crate) fn admit(&self, request: JoinRequest) -> Receiver<JoinReply> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let core = &self.parts().inboxes.core;
        core.push(Event::Join { request, reply });
        answer
    }

    /// Makes this node known, on a thread of its own, until it ends.
    pub(crate) fn announce(&self) {
        let (changed, changes) = crossbeam_channel::bounded(1);
        // Full: the thread has not looked yet and will see this change too.
        self.on_change(Box::new(move |_| {
            changed.try_send(()).ok();
        }));
        let node = self.clone();
        let announcing = std::thread::Builder::new()
            .name("announce".to_owned())
            .spawn(move || node.keep_announcing(&changes));
        if let Err(error) = announcing {
            let what = format!("cannot start a thread: {error}");
            self.parts().inboxes.core.push(Event::Fault(what.into()));
        }
    }

    fn keep_announcing(&self, changes: &Receiver<()>) {
        let mut leaderless_looks = 0;
        let mut pause = ANNOUNCE_PERIOD;
        while !self.parts().inboxes.core.is_closed() {
            let Some(announcement) = self.announcement() else {
                leaderless_looks = 0;
                if changes.recv_timeout(IDLE_PERIOD) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                continue;
            };
            leaderless_looks = match announcement.leaderless {
                true => leaderless_looks + 1,
                false => 0,
            };
            if !announcement.leaderless || leaderless_looks > LEADERLESS_LOOKS {
                leaderless_looks = 0;
                pause = match self.announce_once(&announcement) {
                    // Whoever refuses does not change its mind soon.
                    Some(JoinReply::Refused { .. }) => IDLE_PERIOD,
                    _ => ANNOUNCE_PERIOD,
                };
            }
            std::thread::sleep(pause);
        }
    }

    /// Without an answer the membership is looked at again all the same.
    fn announce_once(&self, announcement: &Announcement) -> Option<JoinReply> {
        let request = announcement.request.clone();
        let reply = match announcement.to.is_empty() {
            true => self.admit(request).recv_timeout(ANNOUNCE_TIMEOUT).ok(),
            false => {
                peer_transport::request_join(&announcement.to, &request, ANNOUNCE_TIMEOUT).ok()
            }
        };
        if let Some(reply) = &reply {
            self.announced(reply);
        }
        reply
    }
}

/// Whether the membership shows what is true of this node now. A priority is shown once every member can read it.
fn is_recorded(status: &NodeStatus, context: &MemberContext) -> bool {
    let known = status.membership.members.get(&status.id);
    known.is_some_and(|member| {
        let shown = member.priority == context.priority
            || status.feature_level() < FEATURE_LEVEL_MEMBERSHIP;
        member.context == context.encode() && shown
    })
}

/// Every address at which a member may be.
fn everybody(status: &NodeStatus, seeds: &[PeerAddress]) -> Vec<PeerAddress> {
    let members = status.membership.members.keys();
    let addresses = members
        .filter(|id| **id != status.id)
        .filter_map(|id| status.member(*id))
        .map(|member| PeerAddress(member.addresses.peer));
    let all: BTreeSet<PeerAddress> = addresses.chain(seeds.iter().cloned()).collect();
    all.into_iter().collect()
}

/// Kept by whoever builds a node.
pub(crate) fn seeds(join: &[String]) -> Arc<[PeerAddress]> {
    join.iter().cloned().map(PeerAddress).collect()
}
