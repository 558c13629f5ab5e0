//! One run: a cluster forms, is used while things go wrong, heals, must make progress, comes to rest, and is judged.

use std::collections::BTreeMap;

use crate::Random;
use crate::clock::Micros;
use crate::faults::{Injector, Plan, leader};
use crate::view::Checker;
use crate::workload::{Mixed, check_state};
use crate::world::{Clients, Found, Happening, Trace, World};

/// How long a cluster may take to form.
const FORMATION_MAX: Micros = 60_000_000;
/// How long a healed cluster may take to answer everything.
const PROGRESS_MAX: Micros = 40_000_000;
/// Answers that count as progress.
const PROGRESS_ANSWERS: u64 = 20;
/// How long it may take until every member holds the same.
const REST_MAX: Micros = 40_000_000;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Voters to begin with; drawn if not given.
    pub members: Option<usize>,
    /// Operations of each client; drawn if not given.
    pub operations: Option<u32>,
    /// Whether to print what happens.
    pub prints: bool,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The same for runs in which the same happened.
    pub hash: u64,
    /// Steps of workers.
    pub steps: u64,
    /// Simulated time.
    pub time: Micros,
    /// Attempts of clients that were answered.
    pub answered: u64,
    /// What was found.
    pub finding: Option<String>,
}

/// Runs a seed.
pub fn run(seed: u64, settings: &Settings, checkers: Vec<Box<dyn Checker>>) -> Report {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random.split("plan"), settings.members);
    let trace = Trace::new(settings.prints);
    let mut draw = random.split("clients");
    let operations = settings
        .operations
        .unwrap_or_else(|| draw.within(100..700) as u32);
    let workload = Mixed::new(&mut random.split("workloads"), operations);
    let clients = Clients::new(draw.within(2..8) as usize, Box::new(workload), draw);
    if settings.prints {
        println!("{plan:?}");
    }
    let mut world = World::new(&mut random, plan.settings, clients, checkers, trace);
    let mut injector = Injector::new(plan, random.split("faults"));
    let finding = stages(&mut world, &mut injector).err();
    Report {
        hash: world.trace.hash(),
        steps: world.trace.steps(),
        time: world.now,
        answered: world.clients.answered(),
        finding: finding.map(|finding| format!("at {} us: {finding}", world.now)),
    }
}

fn nothing(_: &mut World, _: Happening) -> Found {
    Ok(())
}

fn stages(world: &mut World, injector: &mut Injector) -> Found {
    form(world, injector.plan().clone())?;
    world.begin_clients();
    injector.begin(world);
    let until = world.now + injector.plan().chaos;
    world.run(
        until,
        |world| world.clients.workload.is_over(),
        |world, what| injector.act(world, &what),
    )?;
    injector.heal(world)?;
    let answered = world.clients.answered();
    let progressed = |world: &World| world.clients.answered() >= answered + PROGRESS_ANSWERS;
    let over = |world: &World| world.clients.workload.is_over() || progressed(world);
    if !world.run(world.now + PROGRESS_MAX, over, nothing)? {
        return Err(format!(
            "no progress after everything has healed: {}",
            positions(world)
        ));
    }
    world.clients.stopped = true;
    let rests = world.run(world.now + REST_MAX, is_at_rest, nothing)?;
    if !rests {
        return Err(format!(
            "the members do not come to hold the same: {}",
            positions(world)
        ));
    }
    compare(world)?;
    world.check_at_rest()?;
    let reader = leader(world)
        .and_then(|at| world.machines[at].node.as_ref())
        .map(|node| node.reader())
        .ok_or("there is no leader at rest")?;
    world.clients.workload.judge(&reader)
}

fn form(world: &mut World, plan: Plan) -> Found {
    for at in 0..plan.members {
        world.add_machine(at == 0, plan.feature_levels[at]);
        world.hosts[at].priority = plan.priorities[at];
        world.plan_start(1_000 * (at as Micros + 1), at);
    }
    let formed = |world: &World| {
        leader(world).is_some_and(|at| {
            let node = world.machines[at].node.as_ref();
            node.is_some_and(|node| {
                node.replica().committed_membership().voters.len() == plan.members
            })
        })
    };
    match world.run(FORMATION_MAX, formed, nothing)? {
        true => Ok(()),
        false => Err(format!("the cluster does not form: {}", positions(world))),
    }
}

/// Whether every member has applied all that there is.
fn is_at_rest(world: &World) -> bool {
    let Some(node) = leader(world).and_then(|at| world.machines[at].node.as_ref()) else {
        return false;
    };
    let replica = node.replica();
    let last = replica.last();
    let members = replica.committed_membership().members.keys();
    let holds_all = |id: &consensus::NodeId| {
        let off = world.place(*id).is_some_and(|at| world.hosts[at].off);
        off || world.machines.iter().any(|machine| {
            machine.node.as_ref().is_some_and(|node| {
                node.replica().id() == *id
                    && node.indices().applied == last.index.0
                    && node.replica().last() == last
            })
        })
    };
    replica.commit() == last.index
        && replica.membership() == replica.committed_membership()
        && replica.membership().outgoing.is_none()
        && members.into_iter().all(holds_all)
}

fn positions(world: &World) -> String {
    let each = world.machines.iter().map(|machine| match &machine.node {
        None => format!("machine {} is down", machine.index),
        Some(node) => {
            let replica = node.replica();
            let voters: Vec<u64> = replica.membership().voters.iter().map(|id| id.0).collect();
            let members: Vec<u64> = replica.membership().members.keys().map(|id| id.0).collect();
            format!(
                "machine {} is member {} {:?} term {} last {} commit {} applied {} voters {voters:?} of {members:?}",
                machine.index,
                replica.id(),
                replica.role(),
                replica.term(),
                replica.last().index,
                replica.commit(),
                node.indices().applied,
            )
        }
    });
    each.collect::<Vec<_>>().join("; ")
}

/// All members hold the same, and the workloads find it sound.
fn compare(world: &World) -> Found {
    let Some(leader) = leader(world).and_then(|at| world.machines[at].node.as_ref()) else {
        return Err("there is no leader at rest".to_owned());
    };
    let members = leader.replica().committed_membership().members.clone();
    let mut first: Option<(usize, BTreeMap<String, [u8; 16]>)> = None;
    for machine in &world.machines {
        let Some(node) = &machine.node else { continue };
        if !members.contains_key(&node.replica().id()) {
            continue;
        }
        let snapshot = node.reader().snapshot();
        let mut hashes = BTreeMap::new();
        for collection in snapshot.catalog().collections() {
            let hash = snapshot
                .collection_hash(&collection.namespace)
                .map_err(|fault| format!("machine {}: {fault}", machine.index))?;
            hashes.extend(hash.map(|hash| (collection.namespace.to_string(), hash)));
        }
        check_state(&snapshot)?;
        match &first {
            None => first = Some((machine.index, hashes)),
            Some((other, expected)) if *expected != hashes => {
                return Err(format!(
                    "machines {other} and {} hold different states: {expected:?} and {hashes:?}",
                    machine.index
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
