//! What each member says of itself, gathered over the peer port; a member that does not answer in time is listed as
//! unreachable.

use std::sync::Arc;
use std::time::Duration;

use bson::raw::RawDocument;
use node::{NodeId, NodeStatus, RoleName, hex};

use super::document_writer::DocumentWriter;
use super::server::Server;
use super::space_report::SpaceReport;
use super::{memory_use, values};

/// The kind of question, for the peer transport's small requests.
const MEMBER_REPORT: u8 = 1;
/// How long a member has to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_000);

/// One member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberReport {
    pub id: u64,
    pub role: String,
    pub voter: bool,
    /// It votes until the change of the members that is under way is finished, and is no member afterwards.
    pub leaving: bool,
    pub priority: u32,
    pub feature_level: u32,
    pub pid: u32,
    /// The client address it advertises.
    pub listen: String,
    pub peer_listen: String,
    pub admin_listen: String,
    pub version: String,
    pub uptime_s: u64,
    pub last_index: u64,
    pub commit_index: u64,
    pub applied_index: u64,
    pub durable_index: u64,
    /// Bytes of a snapshot that have come, while one is on its way to this member.
    pub snapshot_bytes: Option<u64>,
    /// Bytes by part of the memory budget, with `budget` and `resident`.
    pub memory: Vec<(String, u64)>,
    /// Up to where this member has archived the log, if it does.
    pub archived_index: Option<u64>,
    /// Why its archive falls behind, or what it lacks.
    pub archive_error: Option<String>,
    /// What found no room, while its disk is full.
    pub disk_full: Option<String>,
    /// Where its bytes are; empty if it does not say.
    pub space: SpaceReport,
    pub reachable: bool,
    /// Why it is not reachable.
    pub error: Option<String>,
}

impl MemberReport {
    /// Writes everything but whether it is reachable.
    pub(crate) fn write_to(&self, fields: &mut DocumentWriter) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        fields.i64("id", number(self.id));
        fields.string("role", &self.role);
        fields.bool("voter", self.voter);
        fields.bool("leaving", self.leaving);
        fields.i64("priority", i64::from(self.priority));
        fields.i64("feature_level", i64::from(self.feature_level));
        fields.i64("pid", i64::from(self.pid));
        fields.string("listen", &self.listen);
        fields.string("peer_listen", &self.peer_listen);
        fields.string("admin_listen", &self.admin_listen);
        fields.string("version", &self.version);
        fields.i64("uptime_s", number(self.uptime_s));
        fields.i64("last_index", number(self.last_index));
        fields.i64("commit_index", number(self.commit_index));
        fields.i64("applied_index", number(self.applied_index));
        fields.i64("durable_index", number(self.durable_index));
        if let Some(bytes) = self.snapshot_bytes {
            fields.i64("snapshot_bytes", number(bytes));
        }
        if !self.memory.is_empty() {
            fields.begin_document("memory");
            for (part, bytes) in &self.memory {
                fields.i64(part, number(*bytes));
            }
            fields.end();
        }
        if let Some(index) = self.archived_index {
            fields.i64("archived_index", number(index));
        }
        if let Some(error) = &self.archive_error {
            fields.string("archive_error", error);
        }
        if let Some(what) = &self.disk_full {
            fields.string("disk_full", what);
        }
        self.space.write_to(fields);
    }

    /// Takes over what a member of `cluster` said, or says why it cannot be believed.
    fn take_over(&mut self, answer: &[u8], cluster: &str) -> Result<(), String> {
        let mut said = self.clone();
        let theirs = said.read(answer).ok_or("its answer is malformed")?;
        if theirs != cluster {
            return Err(format!(
                "what answers at {} belongs to another cluster ({theirs})",
                self.peer_listen
            ));
        }
        *self = said;
        self.reachable = true;
        Ok(())
    }

    /// Reads what a member said and returns its cluster. Fields of newer versions are passed over, missing ones stay as
    /// they are.
    fn read(&mut self, answer: &[u8]) -> Option<String> {
        let mut cluster = String::new();
        for element in RawDocument::from_bytes(answer).ok()? {
            let (name, value) = element.ok()?;
            let number = || values::count(name.as_str(), value).unwrap_or(0);
            match name.as_str() {
                "cluster_id" => cluster = value.as_str()?.to_owned(),
                "role" => self.role = value.as_str()?.to_owned(),
                "version" => self.version = value.as_str()?.to_owned(),
                "pid" => self.pid = u32::try_from(number()).unwrap_or(0),
                "uptime_s" => self.uptime_s = number(),
                "last_index" => self.last_index = number(),
                "commit_index" => self.commit_index = number(),
                "applied_index" => self.applied_index = number(),
                "durable_index" => self.durable_index = number(),
                "snapshot_bytes" => self.snapshot_bytes = Some(number()),
                "memory" => self.memory = bytes_by_part(value.as_document()?)?,
                "archived_index" => self.archived_index = Some(number()),
                "archive_error" => self.archive_error = Some(value.as_str()?.to_owned()),
                "disk_full" => self.disk_full = Some(value.as_str()?.to_owned()),
                "space" => self.space = SpaceReport::read(value.as_document()?),
                _ => {}
            }
        }
        Some(cluster)
    }
}

fn bytes_by_part(parts: &RawDocument) -> Option<Vec<(String, u64)>> {
    let mut bytes = Vec::new();
    for part in parts {
        let (name, value) = part.ok()?;
        let name = name.as_str();
        bytes.push((name.to_owned(), values::count(name, value).ok()?));
    }
    Some(bytes)
}

/// This member's own report. Lists its directory: not to be called where nothing may wait.
pub(crate) fn own(server: &Server) -> MemberReport {
    let status = server.node.status();
    let indices = server.node.indices();
    let settings = &server.settings;
    let archive = server.node.archive();
    MemberReport {
        role: role_name(status.role).to_owned(),
        pid: std::process::id(),
        listen: settings.advertise.clone(),
        peer_listen: settings.peer_advertise.clone(),
        admin_listen: settings.admin_advertise.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: server.started.elapsed().as_secs(),
        last_index: indices.last,
        commit_index: indices.commit,
        applied_index: indices.applied,
        durable_index: indices.durable,
        snapshot_bytes: server.node.incoming_snapshot_bytes(),
        memory: memory_use::report(server),
        archived_index: archive.as_ref().map(|archive| archive.archived_index),
        archive_error: archive.and_then(|archive| archive.trouble()),
        disk_full: status.disk_full.clone(),
        space: SpaceReport::own(server),
        reachable: true,
        ..recorded(&status, status.id)
    }
}

/// What the membership says of a member.
fn recorded(status: &NodeStatus, id: NodeId) -> MemberReport {
    let membership = &status.membership;
    let context = status.member(id).unwrap_or_default();
    let outgoing = membership.outgoing.as_ref();
    MemberReport {
        id: id.0,
        role: "unknown".to_owned(),
        voter: membership.voters.contains(&id),
        leaving: outgoing.is_some_and(|old| old.contains(&id)) && !membership.voters.contains(&id),
        priority: membership
            .members
            .get(&id)
            .map_or(0, |member| member.priority),
        feature_level: context.feature_level,
        listen: context.addresses.client,
        peer_listen: context.addresses.peer,
        admin_listen: context.addresses.admin,
        ..MemberReport::default()
    }
}

fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Leader => "leader",
        RoleName::Follower => "follower",
        RoleName::Candidate | RoleName::PreCandidate => "candidate",
        RoleName::Learner => "learner",
    }
}

/// Answers other members' questions from now on.
pub(crate) fn answer_members(server: &Arc<Server>) {
    let asked = Arc::downgrade(server);
    server.node.set_request_handler(Box::new(move |kind, _| {
        let server = asked.upgrade().ok_or("the node is stopping")?;
        if kind != MEMBER_REPORT {
            return Err(format!("a question of kind {kind} is not known here"));
        }
        let mut fields = DocumentWriter::new();
        fields.string("cluster_id", &hex(&server.node.status().cluster_id));
        own(&server).write_to(&mut fields);
        Ok(fields.finish())
    }));
}

/// The reports of all members, in order of id.
pub(crate) async fn collect(server: &Arc<Server>) -> Vec<MemberReport> {
    let status = server.node.status();
    let mut asked = Vec::new();
    for id in status.membership.members.keys() {
        if *id == status.id {
            let server = server.clone();
            asked.push(tokio::task::spawn_blocking(move || own(&server)));
            continue;
        }
        let mut report = recorded(&status, *id);
        let (node, cluster) = (server.node.clone(), hex(&status.cluster_id));
        asked.push(tokio::task::spawn_blocking(move || {
            let answer = node.ask_peer(&report.peer_listen, MEMBER_REPORT, &[], ANSWER_TIMEOUT);
            let believed = answer.and_then(|answer| report.take_over(&answer, &cluster));
            report.error = believed.err();
            report
        }));
    }
    let mut reports = Vec::with_capacity(asked.len());
    for task in asked {
        // A task that panicked has printed why; its member is left out.
        reports.extend(task.await.ok());
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_hears_what_another_says_of_its_memory() {
        let said = MemberReport {
            memory: vec![("budget".to_owned(), 1 << 30), ("memtables".to_owned(), 7)],
            ..MemberReport::default()
        };
        let mut fields = DocumentWriter::new();
        fields.string("cluster_id", "c");
        said.write_to(&mut fields);
        let mut heard = MemberReport::default();
        assert_eq!(heard.read(&fields.finish()).as_deref(), Some("c"));
        assert_eq!(heard.memory, said.memory);
    }
}
