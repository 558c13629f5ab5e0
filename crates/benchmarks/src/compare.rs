//! The run: start everything, load what is read, find etcd's best number of connections, then rounds of measurements.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cluster::process::own_processor_seconds;
use crate::cluster::{self, Cluster, ClusterError};
use crate::load::{self, Ids, LoadError, Measured, Shape, Values};
use crate::report::{self, Report};
use crate::statistics::{Sample, Usage};
use crate::workload::{BATCH, Kind, System, WORKLOADS, Workload};
use crate::{etcd, mongo};
use benchmarks::machine::{self, Machine};

/// Keys and documents that reads choose from.
const READ_SET: u64 = 10_000;
/// Connections tried for etcd, whose client library shares them.
const CONNECTIONS_TRIED: [usize; 5] = [2, 4, 8, 16, 64];
/// Each number is tried this often and its best rate counts.
const TRIALS: usize = 2;
const TRIAL_WARM_UP: Duration = Duration::from_millis(400);
const TRIAL_MEASURE: Duration = Duration::from_millis(1_000);
const LOAD_STEP: Duration = Duration::from_millis(200);
/// Clients of the trials and of the loading.
const TRIAL_CLIENTS: usize = 256;
const LOAD_CLIENTS_ETCD: usize = 64;
/// How often a measurement that met an error is repeated before the run gives up.
const ATTEMPTS: usize = 3;

/// Flags of the comparison.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// How often each measurement is taken
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of one measurement
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,
    /// What goes before each measurement and is not counted
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    warm_up: f64,
    /// Threads of the load generator
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Connections that etcd's clients share; without it several numbers are tried and the best is used
    #[arg(long, value_name = "N")]
    etcd_connections: Option<usize>,
    /// Only workloads whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The etcd server
    #[arg(long, default_value = "etcd", value_name = "PROGRAM")]
    etcd: PathBuf,
    /// Our server; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    cstore: Option<PathBuf>,
    /// Where data directories and logs go; should be on the disk that matters
    #[arg(long, default_value = "target/compare", value_name = "DIR")]
    work_dir: PathBuf,
    /// Also write every sample to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave data directories and logs until the next run
    #[arg(long)]
    keep: bool,
    /// End with exit code 2 when a goal of this stage is missed
    #[arg(long)]
    check: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds between 0.05 and 3600".to_owned()),
    }
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{workload} on {system}, {ATTEMPTS} times: {source}")]
    Load {
        workload: &'static str,
        system: &'static str,
        source: LoadError,
    },
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("no workload's name contains {0:?}")]
    NothingToDo(String),
}

/// Settings that the report repeats.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub rounds: u32,
    pub seconds: f64,
    pub warm_up: f64,
    pub threads: usize,
    pub connections_put: usize,
    pub connections_read: usize,
    pub etcd_version: String,
    pub cstore_version: String,
}

/// Measures, prints, and says whether the goals of this stage are reached (or were not asked for).
pub(crate) fn run(args: &CompareArgs) -> Result<bool, CompareError> {
    let workloads: Vec<Workload> = WORKLOADS
        .into_iter()
        .filter(|workload| match &args.only {
            Some(text) => workload.name.contains(text.as_str()),
            None => true,
        })
        .collect();
    if workloads.is_empty() {
        return Err(CompareError::NothingToDo(
            args.only.clone().unwrap_or_default(),
        ));
    }
    let directory = prepare(&args.work_dir)?;
    let machine = Machine::probe(&directory).map_err(|source| CompareError::File {
        path: directory.clone(),
        source,
    })?;
    let mut bench = Bench::start(args, &directory)?;
    bench.load_read_sets(&workloads)?;
    bench.choose_connections(args.etcd_connections, &workloads)?;
    let mut samples: BTreeMap<(usize, System), Vec<Sample>> = BTreeMap::new();
    // Bulk loads come last: they would leave one side with many times the data of the other.
    for compared in [true, false] {
        for round in 1..=args.rounds {
            let rows = workloads.iter().enumerate();
            for (row, workload) in rows.filter(|(_, row)| row.is_compared() == compared) {
                for system in workload.systems {
                    let sample = bench.sample(*system, workload)?;
                    let line = report::line(workload, *system, &sample);
                    eprintln!("round {round}/{}  {line}", args.rounds);
                    samples.entry((row, *system)).or_default().push(sample);
                }
            }
        }
    }
    let report = Report {
        machine,
        settings: bench.settings.clone(),
        workloads,
        samples,
        repeats: std::mem::take(&mut bench.repeats),
    };
    drop(bench);
    finish(args, &directory, &report)
}

fn finish(args: &CompareArgs, directory: &Path, report: &Report) -> Result<bool, CompareError> {
    print!("{}", report.text());
    if let Some(path) = &args.json {
        fs::write(path, report.json()).map_err(|source| CompareError::File {
            path: path.clone(),
            source,
        })?;
    }
    if !args.keep {
        remove(directory)?;
    }
    Ok(!args.check || report.goals_reached())
}

/// An empty directory for this run, inside the one given. What runs that were killed have left there goes.
fn prepare(work_dir: &Path) -> Result<PathBuf, CompareError> {
    for entry in fs::read_dir(work_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("run-"));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&entry.path())?;
        }
    }
    let directory = work_dir.join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|source| CompareError::File {
        path: directory.clone(),
        source,
    })?;
    Ok(directory)
}

fn remove(directory: &Path) -> Result<(), CompareError> {
    fs::remove_dir_all(directory).map_err(|source| CompareError::File {
        path: directory.to_owned(),
        source,
    })
}

struct Bench {
    settings: Settings,
    values: Values,
    /// The clusters, all paused between measurements.
    clusters: BTreeMap<System, Cluster>,
    /// What reads choose from: the first `READ_SET` of these.
    read_sets: BTreeMap<System, Ids>,
    repeats: Vec<String>,
}

impl Bench {
    fn start(args: &CompareArgs, directory: &Path) -> Result<Self, CompareError> {
        let cstore = args.cstore.clone().unwrap_or_else(beside_this_program);
        let mut clusters = BTreeMap::new();
        let stub = cluster::start_stub(directory)?;
        stub.pause()?;
        clusters.insert(System::Stub, stub);
        eprintln!("starting three members of etcd and three of cstore");
        let etcd = cluster::start_etcd(&args.etcd, directory)?;
        etcd.pause()?;
        clusters.insert(System::Etcd, etcd);
        let ours = cluster::start_cstore(&cstore, directory)?;
        ours.pause()?;
        clusters.insert(System::Cstore, ours);
        Ok(Bench {
            settings: Settings {
                rounds: args.rounds,
                seconds: args.seconds,
                warm_up: args.warm_up,
                threads: args.threads.max(1),
                connections_put: CONNECTIONS_TRIED[0],
                connections_read: CONNECTIONS_TRIED[0],
                etcd_version: cluster::version(&args.etcd),
                cstore_version: cluster::version(&cstore),
            },
            values: Values::new(own_processor_seconds().to_bits() ^ u64::from(std::process::id())),
            clusters,
            read_sets: BTreeMap::new(),
            repeats: Vec::new(),
        })
    }

    /// Writes what the readers will read.
    fn load_read_sets(&mut self, workloads: &[Workload]) -> Result<(), CompareError> {
        let systems: Vec<System> = workloads
            .iter()
            .filter(|workload| workload.kind == Kind::Read)
            .flat_map(|workload| workload.systems)
            .copied()
            .collect();
        for system in systems {
            let ids = Ids::fresh();
            let (kind, clients) = match system {
                System::Etcd => (Kind::Write, LOAD_CLIENTS_ETCD),
                System::Cstore => (Kind::Batch, 1),
                System::Stub => {
                    self.read_sets.insert(system, ids);
                    continue;
                }
            };
            let step = Workload {
                name: "loading",
                kind,
                clients,
                systems: &[],
            };
            // Every id handed out is written: clients end after their last acknowledgement.
            while ids.taken() < READ_SET {
                let shape = self.shape(clients, Duration::ZERO, LOAD_STEP);
                let loaded = self.attempt(system, &step, shape, mongo::READ_COLLECTION, &ids);
                loaded.map_err(|source| failed(&step, system, source))?;
            }
            self.read_sets.insert(system, ids);
        }
        Ok(())
    }

    /// Uses what was asked for, or tries which number of connections gives etcd its best rates.
    fn choose_connections(
        &mut self,
        asked: Option<usize>,
        workloads: &[Workload],
    ) -> Result<(), CompareError> {
        if let Some(connections) = asked {
            self.settings.connections_put = connections.max(1);
            self.settings.connections_read = connections.max(1);
            return Ok(());
        }
        for kind in [Kind::Write, Kind::Read] {
            let wanted = |workload: &Workload| workload.kind == kind && workload.clients > 1;
            if !workloads.iter().any(wanted) {
                continue;
            }
            let trial = Workload {
                name: "trial",
                kind,
                clients: TRIAL_CLIENTS,
                systems: &[],
            };
            let mut best = (0.0, CONNECTIONS_TRIED[0]);
            for connections in [CONNECTIONS_TRIED; TRIALS].into_iter().flatten() {
                self.set_connections(kind, connections);
                let shape = self.shape(TRIAL_CLIENTS, TRIAL_WARM_UP, TRIAL_MEASURE);
                let sample = self.sample_with(System::Etcd, &trial, shape)?;
                eprintln!(
                    "etcd, 256 clients on {connections} connections: {:.0} {kind:?}s/s",
                    sample.per_second
                );
                if sample.per_second > best.0 {
                    best = (sample.per_second, connections);
                }
            }
            self.set_connections(kind, best.1);
        }
        Ok(())
    }

    fn set_connections(&mut self, kind: Kind, connections: usize) {
        match kind {
            Kind::Read => self.settings.connections_read = connections,
            Kind::Write | Kind::Batch => self.settings.connections_put = connections,
        }
    }

    fn sample(&mut self, system: System, workload: &Workload) -> Result<Sample, CompareError> {
        let shape = self.shape(
            workload.clients,
            Duration::from_secs_f64(self.settings.warm_up),
            Duration::from_secs_f64(self.settings.seconds),
        );
        self.sample_with(system, workload, shape)
    }

    /// Measures; an error (a change of leader on a busy machine, say) is noted and the measurement taken again.
    fn sample_with(
        &mut self,
        system: System,
        workload: &Workload,
        shape: Shape,
    ) -> Result<Sample, CompareError> {
        let mut attempt = 1;
        loop {
            let ids = match workload.kind {
                Kind::Read => self.read_sets.get(&system).cloned(),
                Kind::Write | Kind::Batch => None,
            };
            let ids = ids.unwrap_or_else(Ids::fresh);
            let collection = match workload.kind {
                Kind::Read => mongo::READ_COLLECTION,
                Kind::Write | Kind::Batch => mongo::WRITE_COLLECTION,
            };
            match self.attempt(system, workload, shape, collection, &ids) {
                Ok(sample) => return Ok(sample),
                Err(Failure::Cluster(error)) => return Err(error.into()),
                Err(failure) if attempt == ATTEMPTS => {
                    return Err(failed(workload, system, failure));
                }
                Err(Failure::Load(error)) => {
                    let note = format!("{} on {}: {error}", workload.name, system.name());
                    eprintln!("repeated: {note}");
                    self.repeats.push(note);
                    attempt += 1;
                }
            }
        }
    }

    /// Resumes the system, measures once, pauses it again.
    fn attempt(
        &mut self,
        system: System,
        workload: &Workload,
        shape: Shape,
        collection: &'static str,
        ids: &Ids,
    ) -> Result<Sample, Failure> {
        let cluster = self
            .clusters
            .get_mut(&system)
            .expect("every system was started before the first measurement");
        let leader = cluster.resume()?;
        let mut edges = Vec::with_capacity(2);
        let usage = || Usage {
            server: cluster.processor_seconds(),
            client: own_processor_seconds(),
            machine: machine::busy_seconds(),
            flushes: machine::disk_flushes(),
        };
        let job = Job {
            leader,
            collection,
            ids,
            settings: &self.settings,
            values: &self.values,
        };
        let measured = job.run(system, workload, shape, || edges.push(usage()));
        cluster.pause()?;
        let measured = measured?;
        let [before, after] = edges[..] else {
            return Err(LoadError::ThreadLost.into());
        };
        Ok(Sample::new(&measured, before, after, machine::cores()))
    }

    fn shape(&self, clients: usize, warm_up: Duration, measure: Duration) -> Shape {
        Shape {
            clients,
            threads: self.settings.threads,
            warm_up,
            measure,
        }
    }
}

/// What one measurement works on.
struct Job<'a> {
    leader: SocketAddr,
    collection: &'static str,
    ids: &'a Ids,
    settings: &'a Settings,
    values: &'a Values,
}

impl Job<'_> {
    fn run(
        &self,
        system: System,
        workload: &Workload,
        shape: Shape,
        on_edge: impl FnMut(),
    ) -> Result<Measured, LoadError> {
        match system {
            System::Etcd => self.run_etcd(workload, shape, on_edge),
            System::Cstore | System::Stub => self.run_mongo(workload, shape, on_edge),
        }
    }

    fn run_etcd(
        &self,
        workload: &Workload,
        shape: Shape,
        on_edge: impl FnMut(),
    ) -> Result<Measured, LoadError> {
        let ids = self.ids.clone();
        let (operation, connections) = match workload.kind {
            Kind::Read => (
                etcd::Operation::Read {
                    ids,
                    keys: READ_SET,
                },
                self.settings.connections_read,
            ),
            Kind::Write | Kind::Batch => (etcd::Operation::Put(ids), self.settings.connections_put),
        };
        let streams = etcd::Streams {
            member: self.leader,
            connections: connections.min(workload.clients),
            operation,
            values: self.values.clone(),
        };
        load::run(&streams, shape, on_edge)
    }

    fn run_mongo(
        &self,
        workload: &Workload,
        shape: Shape,
        on_edge: impl FnMut(),
    ) -> Result<Measured, LoadError> {
        let ids = self.ids.clone();
        let operation = match workload.kind {
            Kind::Write => mongo::Operation::Insert { ids, batch: 1 },
            Kind::Batch => mongo::Operation::Insert { ids, batch: BATCH },
            Kind::Read => mongo::Operation::Find {
                ids,
                documents: READ_SET,
            },
        };
        let connections = mongo::Connections {
            member: self.leader,
            collection: self.collection,
            operation,
            values: self.values.clone(),
        };
        load::run(&connections, shape, on_edge)
    }
}

/// Why one attempt failed: only errors of the load are worth another.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Load(#[from] LoadError),
}

fn failed(workload: &Workload, system: System, failure: Failure) -> CompareError {
    match failure {
        Failure::Cluster(error) => error.into(),
        Failure::Load(source) => CompareError::Load {
            workload: workload.name,
            system: system.name(),
            source,
        },
    }
}

fn beside_this_program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap_or_default();
    path.set_file_name("cstore");
    path
}
