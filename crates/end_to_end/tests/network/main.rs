//! Three members on three machines of a network of their own (network namespaces joined by a switch), the network and the
//! members misbehaving, clients with the official driver on both sides of every cut, and their histories checked for
//! linearizability.
//!
//! Where the machine cannot make namespaces each test says that it was skipped.

mod clients;
mod proxy;

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use end_to_end::Cluster;
use end_to_end::network::Network;
use simulator::Random;

use clients::{Clients, Done};
use proxy::Delay;

const MEMBERS: usize = 3;
/// The machine without a member, where the test itself and some of the clients are.
const OUTSIDE: usize = MEMBERS;
/// Where members dial each other when a relay stands in front of them, and where they listen.
const RELAY_PORT: u16 = 38_017;
const PEER_PORT: u16 = 37_017;
const CLIENTS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// The tests share two processors with nine processes each: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a test on a fresh network; `relayed` may put relays in front of the members.
fn on_a_network(
    name: &str,
    relayed: impl Fn(&Network) -> bool + Send,
    test: impl AsyncFnOnce(&Network, &mut Cluster) + Send,
) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let network = match Network::make(MEMBERS + 1) {
        Ok(network) => network,
        Err(reason) => return skip(name, &reason),
    };
    // A thread of its own, since it stays on the machine that it enters.
    std::thread::scope(|scope| {
        let network = &network;
        let running = scope.spawn(move || {
            let door = network.door(OUTSIDE).expect("the machine is there");
            door.enter().expect("root may enter");
            let peer_port = relayed(network).then_some(RELAY_PORT);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let mut cluster = Cluster::start_on(network, MEMBERS, peer_port).await;
                test(network, &mut cluster).await;
            });
        });
        if let Err(panic) = running.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Past the harness's capture: a test that did nothing must not look like one that passed.
fn skip(name: &str, reason: &str) {
    writeln!(std::io::stderr(), "skipped: {name}: {reason}").ok();
}

fn unrelayed(_: &Network) -> bool {
    false
}

async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Clients outside and on each member's machine.
async fn clients_everywhere(network: &Network, cluster: &Cluster) -> (Clients, Done) {
    let mut clients = Clients::prepare(&cluster.uri()).await;
    let outside = clients.start(network, OUTSIDE, CLIENTS);
    for machine in 0..MEMBERS {
        clients.start(network, machine, 1);
    }
    outside.more(60, PATIENCE).await;
    (clients, outside)
}

/// After everything was healed: operations are done again, and the members agree.
async fn settle(cluster: &Cluster, clients: Clients, outside: &Done) {
    outside.more(60, PATIENCE).await;
    cluster.wait_until_whole().await;
    clients.verify().await;
    let hashes = cluster.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "the members differ: {hashes:#?}"
    );
}

#[test]
fn a_leader_whose_cable_is_out_with_clients_on_both_sides() {
    on_a_network("a cable out", unrelayed, async |network, cluster| {
        let (clients, outside) = clients_everywhere(network, cluster).await;
        for _ in 0..2 {
            let leader = cluster.leader().await;
            network.unplug(leader);
            let took = outside.more(1, PATIENCE).await;
            println!("from the cut to an operation begun or retried after it: {took:?}");
            outside.more(40, PATIENCE).await;
            pass(500).await;
            network.plug(leader);
            outside.more(40, PATIENCE).await;
        }
        settle(cluster, clients, &outside).await;
    });
}

#[test]
fn a_leader_that_is_not_heard_and_one_that_does_not_hear() {
    on_a_network("one-way loss", unrelayed, async |network, cluster| {
        let (clients, outside) = clients_everywhere(network, cluster).await;
        for leader_is_heard in [false, true] {
            let leader = cluster.leader().await;
            let others: Vec<usize> = (0..MEMBERS).filter(|member| *member != leader).collect();
            let ends = |other: usize| match leader_is_heard {
                true => (other, leader),
                false => (leader, other),
            };
            for (from, to) in others.iter().map(|other| ends(*other)) {
                network.block(from, to);
            }
            let took = outside.more(40, PATIENCE).await;
            println!("leader heard: {leader_is_heard}; forty more operations after {took:?}");
            pass(500).await;
            for (from, to) in others.iter().map(|other| ends(*other)) {
                network.unblock(from, to);
            }
            outside.more(40, PATIENCE).await;
        }
        settle(cluster, clients, &outside).await;
    });
}

/// A follower that one other does not hear, either way, must not unseat a leader that the third hears.
#[test]
fn a_link_between_two_of_three_is_out() {
    on_a_network("one link out", unrelayed, async |network, cluster| {
        let (clients, outside) = clients_everywhere(network, cluster).await;
        let leader = cluster.leader().await;
        let other = (leader + 1) % MEMBERS;
        network.block(leader, other);
        network.block(other, leader);
        outside.more(100, PATIENCE).await;
        pass(1_500).await;
        outside.more(100, PATIENCE).await;
        network.unblock(leader, other);
        network.unblock(other, leader);
        settle(cluster, clients, &outside).await;
    });
}

#[test]
fn every_path_is_slow_and_loses_packets() {
    const LOSS_PERCENT: u32 = 5;
    let delay = Delay {
        shortest: Duration::from_millis(30),
        jitter: Duration::from_millis(10),
    };
    let impair = move |network: &Network| {
        let done = network.impair(LOSS_PERCENT, delay.shortest, delay.jitter);
        if !done.loses {
            skip(
                "lost packets",
                "this kernel has no queueing discipline that drops",
            );
        }
        if !done.delays {
            for machine in 0..MEMBERS {
                proxy::relay(network, machine, RELAY_PORT, PEER_PORT, delay);
            }
        }
        !done.delays
    };
    on_a_network("delay and loss", impair, async |network, cluster| {
        let (clients, outside) = clients_everywhere(network, cluster).await;
        let took = outside.more(100, PATIENCE).await;
        println!("a hundred operations on a bad network: {took:?}");
        let leader = cluster.leader().await;
        network.unplug(leader);
        outside.more(20, PATIENCE).await;
        network.plug(leader);
        settle(cluster, clients, &outside).await;
    });
}

#[test]
fn cables_that_come_and_go() {
    on_a_network("flapping", unrelayed, async |network, cluster| {
        let (clients, outside) = clients_everywhere(network, cluster).await;
        let mut random = Random::new(7);
        for _ in 0..14 {
            let machine = random.below(MEMBERS as u64) as usize;
            network.unplug(machine);
            pass(50 + random.below(400)).await;
            network.plug(machine);
            pass(random.below(300)).await;
        }
        settle(cluster, clients, &outside).await;
    });
}

#[test]
fn members_are_killed_and_frozen_and_cut_off() {
    on_a_network("signals", unrelayed, async |network, cluster| {
        let (clients, outside) = clients_everywhere(network, cluster).await;
        let mut random = Random::new(11);
        for round in 0..6 {
            let leader = cluster.leader().await;
            let other = (leader + 1) % MEMBERS;
            match round % 3 {
                0 => {
                    cluster.kill(leader);
                    outside.more(20, PATIENCE).await;
                    cluster.start_member(leader);
                }
                1 => {
                    cluster.pause(leader);
                    pass(random.below(800)).await;
                    cluster.resume(leader);
                }
                // Nobody has a majority for a moment.
                _ => {
                    network.unplug(leader);
                    cluster.kill(other);
                    pass(random.below(500)).await;
                    network.plug(leader);
                    cluster.start_member(other);
                }
            }
            outside.more(20, PATIENCE).await;
        }
        settle(cluster, clients, &outside).await;
    });
}
