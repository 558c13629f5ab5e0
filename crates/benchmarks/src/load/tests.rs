//! The generator against clients whose behaviour is known.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::run::share;
use super::*;

struct Fixed {
    handled: u64,
    fails: bool,
}

impl Client for Fixed {
    async fn operate(&mut self) -> Result<u64, LoadError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if self.fails {
            return Err(LoadError::Refused("on purpose".to_owned()));
        }
        Ok(self.handled)
    }
}

struct FixedConnector {
    connected: AtomicUsize,
    failing_client: Option<usize>,
    refuse: bool,
}

impl Connector for FixedConnector {
    type Client = Fixed;
    async fn connect(&self, clients: Range<usize>, _: usize) -> Result<Vec<Fixed>, LoadError> {
        if self.refuse && clients.start == 0 {
            return Err(LoadError::Refused("no connections".to_owned()));
        }
        self.connected.fetch_add(clients.len(), Ordering::Relaxed);
        Ok(clients
            .map(|client| Fixed {
                handled: 3,
                fails: self.failing_client == Some(client),
            })
            .collect())
    }
}

const SHAPE: Shape = Shape {
    clients: 5,
    threads: 2,
    warm_up: Duration::from_millis(20),
    measure: Duration::from_millis(100),
};

fn connector() -> FixedConnector {
    FixedConnector {
        connected: AtomicUsize::new(0),
        failing_client: None,
        refuse: false,
    }
}

#[test]
fn counts_what_ends_inside_the_window() {
    let connector = connector();
    let mut edges = 0;
    let measured = run(&connector, SHAPE, || edges += 1).unwrap();
    assert_eq!(connector.connected.load(Ordering::Relaxed), 5);
    assert_eq!(edges, 2);
    assert_eq!(measured.handled, measured.latency_ns.len() * 3);
    // Operations take 2 ms or more: 5 clients cannot finish more than 250 in 100 ms, some must have finished.
    assert!((1..=255).contains(&measured.latency_ns.len()));
    assert!(measured.quantile_ms(0.5) >= 1.9);
    assert!((measured.per_second() - measured.handled as f64 * 10.0).abs() < 1e-6);
}

#[test]
fn one_failed_operation_fails_the_measurement() {
    let connector = FixedConnector {
        failing_client: Some(4),
        ..connector()
    };
    let failure = run(&connector, SHAPE, || {}).unwrap_err();
    assert!(matches!(failure, LoadError::Refused(_)), "{failure}");
}

#[test]
fn a_thread_that_cannot_connect_ends_the_run_and_says_why() {
    let connector = FixedConnector {
        refuse: true,
        ..connector()
    };
    let failure = run(&connector, SHAPE, || {}).unwrap_err();
    assert!(matches!(failure, LoadError::Refused(_)), "{failure}");
}

#[test]
fn clients_are_shared_without_gap_or_overlap() {
    for (clients, threads) in [(1, 1), (5, 2), (256, 3), (2, 2)] {
        let shares: Vec<usize> = (0..threads)
            .flat_map(|index| share(clients, threads, index))
            .collect();
        assert_eq!(shares, (0..clients).collect::<Vec<_>>());
    }
}

#[test]
fn ids_ascend_and_are_reachable_by_number() {
    let ids = Ids::fresh();
    let first = ids.take();
    let second = ids.clone().take();
    assert!(first < second);
    assert_eq!(second, ids.at(1));
    assert!(ids.at(255) < ids.at(256));
}

#[test]
fn values_differ_and_have_the_stated_size() {
    let values = Values::new(7);
    let mut one = values.for_client(0);
    let mut other = values.for_client(1);
    let first = one.next().to_vec();
    assert_eq!(first.len(), VALUE_BYTES);
    assert_ne!(first, one.next());
    assert_ne!(first, other.next());
}

#[test]
fn random_numbers_stay_below_their_limit() {
    let mut random = Random::new(1);
    let mut seen = [false; 5];
    for _ in 0..200 {
        seen[random.below(5) as usize] = true;
    }
    assert_eq!(seen, [true; 5]);
}
