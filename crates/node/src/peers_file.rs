//! The `peers` file: who the members were when this one last heard of a change, and where they are reached.
//!
//! Advice only: it tells a member whose data is damaged whom to ask for help. Nothing is decided by it that the cluster
//! does not decide again. `key=value` lines with a checksum; replaced whole with every change of the members.

use std::path::Path;

use consensus::{Membership, NodeId};
use platform::Disk;

use crate::config::MemberContext;
use crate::error::StartError;
use crate::identity::{hex, unhex};
use crate::small_file;

pub const FILE: &str = "peers";

/// What a member knew of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeers {
    /// The cluster.
    pub cluster_id: [u8; 16],
    /// This member.
    pub me: NodeId,
    /// Everybody's id and peer address, its own included; an address may be empty.
    pub members: Vec<(NodeId, String)>,
}

impl KnownPeers {
    /// What a membership says.
    pub fn of(cluster_id: [u8; 16], me: NodeId, membership: &Membership) -> Self {
        let members = membership.members.iter().map(|(id, member)| {
            let address = MemberContext::decode(&member.context).addresses.peer;
            (*id, address)
        });
        KnownPeers {
            cluster_id,
            me,
            members: members.collect(),
        }
    }

    /// The peer addresses of the others.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        let others = self.members.iter().filter(|(id, _)| *id != self.me);
        others
            .map(|(_, address)| address.as_str())
            .filter(|address| !address.is_empty())
    }

    pub fn render(&self) -> String {
        let mut text = format!("cluster_id={}\nself={}\n", hex(&self.cluster_id), self.me.0);
        for (id, address) in &self.members {
            text.push_str(&format!("member={} {address}\n", id.0));
        }
        small_file::seal(&text)
    }

    fn parse(sealed: &str) -> Option<Self> {
        let text = small_file::unseal(sealed)?;
        let members = text.lines().filter_map(|line| {
            let (id, address) = line.strip_prefix("member=")?.split_once(' ')?;
            Some((NodeId(id.parse().ok()?), address.to_owned()))
        });
        Some(KnownPeers {
            cluster_id: unhex(small_file::value(text, "cluster_id")?)?,
            me: NodeId(small_file::value(text, "self")?.parse().ok()?),
            members: members.collect(),
        })
    }

    /// What the file says; `None` if there is none, or none that is as it was written.
    pub fn load<D: Disk>(disk: &D, data_dir: &Path) -> Result<Option<Self>, StartError> {
        let text = small_file::read(disk, &data_dir.join(FILE))?;
        Ok(text.as_deref().and_then(Self::parse))
    }
}

/// Replaces the file.
pub fn store<D: Disk>(disk: &D, data_dir: &Path, text: &str) -> Result<(), StartError> {
    small_file::replace(disk, data_dir, FILE, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_is_read_back_and_a_damaged_file_is_none() {
        let known = KnownPeers {
            cluster_id: [7; 16],
            me: NodeId(3),
            members: vec![
                (NodeId(1), "h:1".to_owned()),
                (NodeId(2), String::new()),
                (NodeId(3), "h:3".to_owned()),
            ],
        };
        let text = known.render();
        assert_eq!(KnownPeers::parse(&text), Some(known.clone()));
        assert_eq!(known.others().collect::<Vec<_>>(), ["h:1"]);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let damaged = String::from_utf8(bytes).expect("ASCII stays ASCII");
            assert_eq!(KnownPeers::parse(&damaged), None, "{at}");
        }
    }
}
