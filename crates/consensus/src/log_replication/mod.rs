//! How the log travels: the leader's side in `leader`, the follower's in `follower`, whole snapshots in `snapshot`
//! (Raft §5.3, §5.4.2, §7).

mod follower;
mod leader;
pub(crate) mod progress;
mod snapshot;
