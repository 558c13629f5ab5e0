//! A member whose data is damaged comes back as a new one.
//!
//! What it may have acknowledged, and whom it voted for, is not certain any more. So it never speaks under its old id
//! again: it asks the others to let a new directory take the old member's place, in one change of the membership, and
//! only when they have agreed are `wal/`, `engine/` and the identity moved to `damaged-<n>/`, and an empty directory with
//! the new identity begun, which catches up like any joining member. A majority of the old members must agree without it;
//! so nothing that was committed can be lost by it.
//!
//! `repairing` holds how far that has come. Each step may be cut short by a crash; the next start goes on. Until the
//! others have agreed nothing else in the directory is changed.

use std::path::Path;
use std::time::Duration;

use consensus::NodeId;
use peer_transport::{JoinReply, JoinRequest, PeerAddress, TransportError};
use platform::{Disk, Entropy};

use crate::config::{MemberContext, NodeConfig};
use crate::error::StartError;
use crate::identity::{self, Identity, hex, unhex};
use crate::parts::Joiner;
use crate::peers_file::{self, KnownPeers};
use crate::small_file::{self, seal, unseal, value};
use crate::start::{begin_log, random_id};

/// How far a repair has come.
pub const REPAIRING: &str = "repairing";
/// Says what a running node found damaged.
pub const DAMAGED: &str = "damaged";
/// What damaged parts are moved into, with a number.
pub const ASIDE_PREFIX: &str = "damaged-";
/// How long the others are asked before the start says that it waits.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long each of them is asked then.
const EACH_TIMEOUT: Duration = Duration::from_secs(1);

/// A repair under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Repair {
    /// What is damaged, and where.
    cause: String,
    /// Who this directory was; `None` when that was lost too.
    was: Option<(NodeId, [u8; 16])>,
    /// The new directory's identity.
    directory: [u8; 16],
    /// Where the damaged parts go.
    aside: String,
    /// The cluster and id it was given.
    admitted: Option<(NodeId, [u8; 16])>,
}

impl Repair {
    fn render(&self) -> String {
        let mut text = format!(
            "directory={}\naside={}\ncause={}\n",
            hex(&self.directory),
            self.aside,
            self.cause.replace('\n', " ")
        );
        let mut put = |key: &str, member: &Option<(NodeId, [u8; 16])>| {
            if let Some((id, cluster)) = member {
                text.push_str(&format!("{key}={} {}\n", id.0, hex(cluster)));
            }
        };
        put("was", &self.was);
        put("admitted", &self.admitted);
        seal(&text)
    }

    fn parse(sealed: &str) -> Option<Self> {
        let text = unseal(sealed)?;
        let member = |key: &str| -> Option<(NodeId, [u8; 16])> {
            let (id, cluster) = value(text, key)?.split_once(' ')?;
            Some((NodeId(id.parse().ok()?), unhex(cluster)?))
        };
        Some(Repair {
            cause: value(text, "cause")?.to_owned(),
            was: member("was"),
            directory: unhex(value(text, "directory")?)?,
            aside: value(text, "aside")?.to_owned(),
            admitted: member("admitted"),
        })
    }

    fn load<D: Disk>(disk: &D, data_dir: &Path) -> Result<Option<Self>, StartError> {
        let text = small_file::read(disk, &data_dir.join(REPAIRING))?;
        // One that is damaged is begun again: the others see that the old member has left, and admit a new directory.
        Ok(text.as_deref().and_then(Self::parse))
    }

    fn store<D: Disk>(&self, disk: &D, data_dir: &Path) -> Result<(), StartError> {
        small_file::replace(disk, data_dir, REPAIRING, &self.render())
    }
}

/// Goes on with a repair that was begun. Returns whether there was one: then the directory is a new member's now.
pub(crate) fn resume<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    joiner: &Joiner,
) -> Result<bool, StartError> {
    let Some(repair) = Repair::load(disk, &config.data_dir)? else {
        return Ok(false);
    };
    go_on(disk, config, joiner, repair)?;
    Ok(true)
}

/// Repairs a directory because of `cause`; `was` is who it is, if that is known.
pub(crate) fn run<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    entropy: &dyn Entropy,
    joiner: &Joiner,
    was: Option<&Identity>,
    cause: String,
) -> Result<(), StartError> {
    let known = KnownPeers::load(disk, &config.data_dir)?;
    let remembered = known.map(|known| (known.me, known.cluster_id));
    let was = was.map(|it| (it.node_id, it.cluster_id)).or(remembered);
    let repair = Repair {
        cause,
        was,
        directory: random_id(entropy),
        aside: free_aside(disk, &config.data_dir)?,
        admitted: None,
    };
    config.notices.say(&format!(
        "{} is damaged: {}. The other members are asked to take it in anew",
        config.data_dir.display(),
        repair.cause
    ));
    go_on(disk, config, joiner, repair)
}

fn go_on<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    joiner: &Joiner,
    mut repair: Repair,
) -> Result<(), StartError> {
    if repair.admitted.is_none() {
        let others = others(disk, config, &repair)?;
        repair.store(disk, &config.data_dir)?;
        repair.admitted = Some(ask(config, joiner, &repair, &others)?);
        repair.store(disk, &config.data_dir)?;
    }
    finish(disk, config, &repair)
}

/// Whom to ask. Without anybody the repair is not begun.
fn others<D: Disk>(
    disk: &D,
    config: &NodeConfig,
    repair: &Repair,
) -> Result<Vec<PeerAddress>, StartError> {
    let known = KnownPeers::load(disk, &config.data_dir)?;
    let mut others: Vec<String> = config.join.clone();
    others.extend(
        known
            .iter()
            .flat_map(|known| known.others().map(str::to_owned)),
    );
    others.retain(|address| *address != config.advertise.peer);
    others.sort_unstable();
    others.dedup();
    if !others.is_empty() {
        return Ok(others.into_iter().map(PeerAddress).collect());
    }
    let why = match known {
        Some(_) => "it is the only member of its cluster",
        None => {
            "no other member is known: its file `peers` is missing or damaged; start it with --join and the peer \
             address of another member, if there is one"
        }
    };
    Err(StartError::Unrepairable {
        path: config.data_dir.clone(),
        cause: repair.cause.clone(),
        why: why.to_owned(),
    })
}

/// Asks to take the old member's place.
fn ask(
    config: &NodeConfig,
    joiner: &Joiner,
    repair: &Repair,
    others: &[PeerAddress],
) -> Result<(NodeId, [u8; 16]), StartError> {
    let request = JoinRequest {
        cluster_id: repair.was.map(|(_, cluster)| cluster),
        replaces: repair.was.map(|(id, _)| id),
        ..JoinRequest::fresh(
            repair.directory,
            MemberContext::of(config, repair.directory)
                .encode()
                .to_vec(),
        )
    };
    let refused = |why: String| StartError::Unrepairable {
        path: config.data_dir.clone(),
        cause: repair.cause.clone(),
        why,
    };
    // All of them first, following who leads; then each by itself, to be able to say what each of them said.
    let each = others
        .iter()
        .map(|other| (std::slice::from_ref(other), EACH_TIMEOUT));
    let mut said = Vec::new();
    for (asked, timeout) in std::iter::once((others, ASK_TIMEOUT)).chain(each) {
        let last = match joiner(asked, &request, timeout) {
            Ok(JoinReply::Accepted {
                cluster_id,
                node_id,
                ..
            }) => {
                return match repair.was {
                    Some((_, ours)) if ours != cluster_id => Err(refused(format!(
                        "the member asked belongs to cluster {}, this directory to cluster {}",
                        hex(&cluster_id),
                        hex(&ours)
                    ))),
                    _ => Ok((node_id, cluster_id)),
                };
            }
            Ok(JoinReply::Refused { reason } | JoinReply::Removed { reason }) => {
                return Err(refused(reason));
            }
            Ok(JoinReply::NotNow { reason }) => reason,
            Ok(JoinReply::Redirect { leader }) => format!("redirected to {leader}"),
            Err(TransportError::JoinTimedOut { last, .. }) => last,
            Err(error) => error.to_string(),
        };
        if asked.len() == 1 && !said.contains(&last) {
            said.push(last);
        }
    }
    Err(StartError::AwaitingRepair {
        path: config.data_dir.clone(),
        cause: repair.cause.clone(),
        asked: list(others),
        last: said.join("; "),
    })
}

fn list(addresses: &[PeerAddress]) -> String {
    let names: Vec<&str> = addresses.iter().map(|address| &address.0[..]).collect();
    names.join(", ")
}

/// The parts of a directory that make it the member it is.
const PARTS: [&str; 5] = [
    identity::FILE,
    identity::COPY,
    peers_file::FILE,
    "wal",
    "engine",
];

/// Moves the damaged parts aside and begins anew. What was moved before a crash stays moved.
fn finish<D: Disk>(disk: &D, config: &NodeConfig, repair: &Repair) -> Result<(), StartError> {
    let data_dir = &config.data_dir;
    let (node_id, cluster_id) = repair.admitted.expect("only an admitted one is finished");
    let aside = data_dir.join(&repair.aside);
    move_aside(disk, data_dir, &aside, &PARTS)?;
    begin_log(disk, config, &repair.directory)?;
    let identity = Identity {
        cluster_id,
        node_id,
        directory: repair.directory,
        founder: false,
    };
    identity.store(disk, data_dir)?;
    clear_mark(disk, data_dir)?;
    remove(disk, &data_dir.join(REPAIRING))?;
    disk.sync_dir(data_dir)
        .map_err(|source| StartError::io("sync", data_dir, source))?;
    let was = repair.was.map_or_else(
        || "this member".to_owned(),
        |(id, _)| format!("member {id}"),
    );
    config.notices.say(&format!(
        "{}: {was} was damaged ({}) and comes back as member {node_id}, which fetches everything from the others; \
         what was left of it is in {}",
        data_dir.display(),
        repair.cause,
        aside.display()
    ));
    Ok(())
}

/// Moves those of `parts` that are there, and are not moved yet, into `aside`.
pub(crate) fn move_aside<D: Disk>(
    disk: &D,
    data_dir: &Path,
    aside: &Path,
    parts: &[&str],
) -> Result<(), StartError> {
    disk.create_dir_all(aside)
        .map_err(|source| StartError::io("create", aside, source))?;
    for part in parts {
        let (from, to) = (data_dir.join(part), aside.join(part));
        if exists(disk, &from)? && !exists(disk, &to)? {
            disk.rename(&from, &to)
                .map_err(|source| StartError::io("rename", &from, source))?;
        }
    }
    for directory in [aside, data_dir] {
        disk.sync_dir(directory)
            .map_err(|source| StartError::io("sync", directory, source))?;
    }
    Ok(())
}

/// Whether the others have taken this directory in anew, and it is still to be begun.
pub(crate) fn is_admitted<D: Disk>(disk: &D, data_dir: &Path) -> Result<bool, StartError> {
    let repair = Repair::load(disk, data_dir)?;
    Ok(repair.is_some_and(|repair| repair.admitted.is_some()))
}

/// A name for what is moved aside that nothing has yet.
pub(crate) fn free_aside<D: Disk>(disk: &D, data_dir: &Path) -> Result<String, StartError> {
    let entries = disk
        .list(data_dir)
        .map_err(|source| StartError::io("list", data_dir, source))?;
    let numbers = entries
        .iter()
        .filter_map(|entry| entry.name.strip_prefix(ASIDE_PREFIX)?.parse::<u64>().ok());
    let next = numbers.max().unwrap_or(0) + 1;
    Ok(format!("{ASIDE_PREFIX}{next}"))
}

/// Says in the directory that what is in it is damaged.
pub(crate) fn mark<D: Disk>(disk: &D, data_dir: &Path, what: &str) -> Result<(), StartError> {
    let text = seal(&format!("cause={}\n", what.replace('\n', " ")));
    small_file::replace(disk, data_dir, DAMAGED, &text)
}

/// What a running node found damaged, if one did.
pub(crate) fn marked<D: Disk>(disk: &D, data_dir: &Path) -> Result<Option<String>, StartError> {
    let text = small_file::read(disk, &data_dir.join(DAMAGED))?;
    Ok(text.map(
        |text| match unseal(&text).and_then(|text| value(text, "cause")) {
            Some(cause) => cause.to_owned(),
            None => "the file `damaged` says so".to_owned(),
        },
    ))
}

/// Nothing is damaged, or it is repaired.
pub(crate) fn clear_mark<D: Disk>(disk: &D, data_dir: &Path) -> Result<(), StartError> {
    remove(disk, &data_dir.join(DAMAGED))?;
    disk.sync_dir(data_dir)
        .map_err(|source| StartError::io("sync", data_dir, source))
}

fn exists<D: Disk>(disk: &D, path: &Path) -> Result<bool, StartError> {
    disk.exists(path)
        .map_err(|source| StartError::io("look for", path, source))
}

pub(crate) fn remove<D: Disk>(disk: &D, path: &Path) -> Result<(), StartError> {
    match disk.remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StartError::io("remove", path, source))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
