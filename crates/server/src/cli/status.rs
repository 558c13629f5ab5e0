//! `cstore status`: the members, their roles, and how far each has come. `--json` prints the document whose shape is fixed
//! by the server's `cstoreStatus` command.

use std::process::ExitCode;

use bson::{Bson, Document, RawDocument, rawdoc};

use super::{CliError, ClusterArgs};

/// The flags of `status`.
#[derive(clap::Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the status as one JSON document
    #[arg(long)]
    json: bool,
}

/// One member as the status document describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MemberStatus {
    pub id: i64,
    pub role: String,
    pub voter: bool,
    /// It votes only until the change of the members that is under way is finished.
    pub leaving: bool,
    pub priority: Option<i64>,
    pub pid: Option<i64>,
    pub listen: String,
    pub peer_listen: String,
    pub admin_listen: String,
    pub last_index: Option<i64>,
    pub commit_index: Option<i64>,
    pub applied_index: Option<i64>,
    pub reachable: bool,
    pub lag_entries: Option<i64>,
    /// Bytes of a snapshot that have come, while one is on its way to it.
    pub snapshot_bytes: Option<i64>,
    /// Why its archive falls behind, or what that lacks.
    pub archive_error: Option<String>,
    /// What found no room, while its disk is full.
    pub disk_full: Option<String>,
    pub version: String,
    /// Why it is not reachable.
    pub error: Option<String>,
}

impl MemberStatus {
    /// The addresses it is reached at.
    pub(crate) fn addresses(&self) -> [&str; 3] {
        [&self.listen, &self.peer_listen, &self.admin_listen]
    }

    /// Its role, and how far it is if it catches up.
    pub(crate) fn part(&self) -> String {
        if let Some(bytes) = self.snapshot_bytes {
            return format!(
                "{}, snapshot {}",
                self.role,
                indicatif::HumanBytes(bytes.cast_unsigned())
            );
        }
        if self.voter || self.leaving {
            return self.role.clone();
        }
        let applied = self.applied_index.unwrap_or(0);
        match self.lag_entries {
            Some(lag) if lag > 0 => {
                format!("learner, {}%", 100 * applied / (applied + lag).max(1))
            }
            _ => "learner".to_owned(),
        }
    }

    /// Whether it votes, and for how long.
    pub(crate) fn votes(&self) -> &'static str {
        match (self.voter, self.leaving) {
            (true, _) => "yes",
            (false, true) => "leaving",
            (false, false) => "no",
        }
    }
}

pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode, CliError> {
    let document = fetch(&args.cluster)?;
    if args.json {
        super::print(&as_json(&document))?;
    } else {
        super::print(&describe(&document)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The status document, from any member that answers.
pub(crate) fn fetch(cluster: &ClusterArgs) -> Result<Document, CliError> {
    let mut connection = cluster.client().any_member()?;
    let reply = connection.run("admin", rawdoc! { "cstoreStatus": 1 })?;
    document(connection.address(), &reply)
}

/// The status document in a reply.
pub(crate) fn document(from: &str, reply: &RawDocument) -> Result<Document, CliError> {
    let malformed = |error| CliError::Failed(format!("{from}: a malformed status: {error}"));
    let mut document = Document::try_from(reply).map_err(malformed)?;
    document.remove("ok");
    Ok(document)
}

/// A document as people and programs read it.
pub(crate) fn as_json(document: &Document) -> String {
    let json = Bson::Document(document.clone()).into_relaxed_extjson();
    let text = serde_json::to_string_pretty(&json).expect("JSON values always print");
    format!("{text}\n")
}

/// What is to be known besides the members.
pub(crate) fn notes(document: &Document) -> String {
    if !document.get_bool("joint").unwrap_or(false) {
        return String::new();
    }
    "\nthe members are being changed: until that is finished, a majority of the old voters and one of the new must \
     agree\n"
        .to_owned()
}

/// The members of a status document.
pub(crate) fn members(document: &Document) -> Result<Vec<MemberStatus>, CliError> {
    let members = document
        .get_array("members")
        .map_err(|_| missing("members"))?;
    members
        .iter()
        .filter_map(Bson::as_document)
        .map(member)
        .collect()
}

fn member(document: &Document) -> Result<MemberStatus, CliError> {
    let text = |field: &str| document.get_str(field).unwrap_or_default().to_owned();
    let reachable = document.get_bool("reachable").unwrap_or(false);
    // What an unreachable member last was, or zeros, would only mislead.
    let known = |field: &str| integer(document, field).filter(|_| reachable);
    Ok(MemberStatus {
        id: integer(document, "id").ok_or_else(|| missing("members.id"))?,
        role: text("role"),
        voter: document.get_bool("voter").unwrap_or(false),
        leaving: document.get_bool("leaving").unwrap_or(false),
        priority: integer(document, "priority"),
        peer_listen: text("peer_listen"),
        pid: known("pid"),
        listen: text("listen"),
        admin_listen: text("admin_listen"),
        last_index: known("last_index"),
        commit_index: known("commit_index"),
        applied_index: known("applied_index"),
        reachable,
        lag_entries: known("lag_entries"),
        snapshot_bytes: known("snapshot_bytes"),
        archive_error: document.get_str("archive_error").ok().map(str::to_owned),
        disk_full: document.get_str("disk_full").ok().map(str::to_owned),
        version: text("version"),
        error: document.get_str("error").ok().map(str::to_owned),
    })
}

fn describe(document: &Document) -> Result<String, CliError> {
    let cluster_id = document.get_str("cluster_id").unwrap_or("?");
    let term = integer(document, "term");
    let leader =
        integer(document, "leader").map_or("no leader".to_owned(), |id| format!("leader {id}"));
    let head = [
        "id",
        "role",
        "voter",
        "address",
        "pid",
        "last",
        "commit",
        "applied",
        "lag",
        "reachable",
        "version",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut notes = notes(document);
    for member in members(document)? {
        if let Some(error) = &member.error {
            notes.push_str(&format!("\nmember {}: {error}\n", member.id));
        }
        if let Some(error) = &member.archive_error {
            notes.push_str(&format!("\nmember {}, archive: {error}\n", member.id));
        }
        if let Some(what) = &member.disk_full {
            notes.push_str(&format!(
                "\nmember {}: its disk is full ({what})\n",
                member.id
            ));
        }
        rows.push(vec![
            member.id.to_string(),
            member.part(),
            member.votes().to_owned(),
            member.listen,
            or_dash(member.pid),
            or_dash(member.last_index),
            or_dash(member.commit_index),
            or_dash(member.applied_index),
            or_dash(member.lag_entries),
            yes(member.reachable),
            member.version,
        ]);
    }
    Ok(format!(
        "cluster {cluster_id}  term {}  {leader}\n\n{}{}{notes}",
        or_dash(term),
        super::table(&rows),
        space(document)
    ))
}

/// Where the members' bytes are; nothing if none of them says.
fn space(document: &Document) -> String {
    const COLUMNS: [(&str, &str); 7] = [
        ("log", "log_bytes"),
        ("spare", "log_spare_bytes"),
        ("engine", "engine_bytes"),
        ("staging", "staging_bytes"),
        ("damaged", "damaged_bytes"),
        ("disk free", "disk_free_bytes"),
        ("memtables", "memtable_bytes"),
    ];
    let mut rows = vec![vec!["id".to_owned()]];
    rows[0].extend(COLUMNS.map(|(name, _)| name.to_owned()));
    rows[0].push("memory".to_owned());
    let members = document.get_array("members").into_iter().flatten();
    for member in members.filter_map(Bson::as_document) {
        let Ok(space) = member.get_document("space") else {
            continue;
        };
        let mut row = vec![or_dash(integer(member, "id"))];
        let bytes = |of: &Document, field| integer(of, field).map_or("-".to_owned(), bytes_text);
        row.extend(COLUMNS.map(|(_, field)| bytes(space, field)));
        row.push(match member.get_document("memory") {
            Ok(memory) => bytes(memory, "resident"),
            Err(_) => "-".to_owned(),
        });
        rows.push(row);
    }
    let members = match rows.len() {
        1 => String::new(),
        _ => format!("\n{}", super::table(&rows)),
    };
    members + &collections(document)
}

/// The largest collections.
fn collections(document: &Document) -> String {
    let head = [
        "collection",
        "documents",
        "their bytes",
        "index bytes, about",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let listed = document.get_array("collections").into_iter().flatten();
    for collection in listed.filter_map(Bson::as_document) {
        let bytes = |field| integer(collection, field).map_or("-".to_owned(), bytes_text);
        rows.push(vec![
            collection.get_str("ns").unwrap_or_default().to_owned(),
            or_dash(integer(collection, "documents")),
            bytes("document_bytes"),
            bytes("index_bytes_estimated"),
        ]);
    }
    match rows.len() {
        1 => String::new(),
        _ => format!("\n{}", super::table(&rows)),
    }
}

fn bytes_text(bytes: i64) -> String {
    match bytes {
        ..=0 => "0".to_owned(),
        _ => indicatif::BinaryBytes(bytes.cast_unsigned()).to_string(),
    }
}

/// A number, or a dash for what is not known.
pub(crate) fn or_dash(number: Option<i64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// A truth value as a word.
pub(crate) fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn missing(field: &'static str) -> CliError {
    CliError::Reply("the server".to_owned(), field)
}

pub(crate) fn integer(document: &Document, field: &str) -> Option<i64> {
    match document.get(field)? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn status() -> Document {
        doc! {
            "cluster_id": "ab12", "term": 3_i64, "leader": 2, "members": [
                { "id": 1_i64, "role": "follower", "voter": true, "pid": 10, "listen": "h:1", "last_index": 7_i64,
                  "commit_index": 7_i64, "applied_index": 6_i64, "reachable": true, "lag_entries": 1, "version": "0.1.0" },
                { "id": 2, "role": "leader", "voter": true, "listen": "h:2", "reachable": false, "pid": null },
                { "id": 3, "role": "follower", "voter": true, "listen": "h:3", "reachable": true, "disk_full": "no room" },
            ],
        }
    }

    #[test]
    fn members_are_read_whatever_the_numbers_are() {
        let members = members(&status()).expect("sound");
        assert_eq!(
            (members[0].id, members[0].applied_index, members[0].pid),
            (1, Some(6), Some(10))
        );
        assert_eq!(
            (
                members[1].id,
                members[1].applied_index,
                members[1].reachable
            ),
            (2, None, false)
        );
    }

    #[test]
    fn the_bytes_of_those_who_say_are_shown() {
        let mut document = status();
        assert_eq!(
            space(&document),
            "",
            "members of an older version say nothing"
        );
        let members = document.get_array_mut("members").expect("there are some");
        members[0].as_document_mut().expect("a member").insert(
            "space",
            doc! { "log_bytes": 3_i64 << 20, "log_spare_bytes": 0, "a_newer_number": 7 },
        );
        document.insert(
            "collections",
            vec![doc! { "ns": "a.b", "documents": 5, "document_bytes": 2048, "index_bytes_estimated": 100 }],
        );
        let text = space(&document);
        assert!(text.contains("\n1   3.00 MiB  0      -"), "{text}");
        assert!(
            text.contains("\na.b         5          2.00 KiB     100 B"),
            "{text}"
        );
    }

    #[test]
    fn the_table_names_what_is_unknown_with_a_dash() {
        let text = describe(&status()).expect("sound");
        assert!(
            text.starts_with("cluster ab12  term 3  leader 2\n\nid  role"),
            "{text}"
        );
        assert!(text.contains("2   leader    yes    h:2      -"), "{text}");
        assert!(
            text.contains("member 3: its disk is full (no room)"),
            "{text}"
        );
    }
}
