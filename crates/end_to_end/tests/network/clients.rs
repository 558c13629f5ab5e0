//! Clients with the official driver and its default settings, on machines of a network, who note what they asked and were told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};
use end_to_end::network::Network;
use mongodb::options::{ClientOptions, ReturnDocument};
use mongodb::{Client, Collection};
use simulator::Random;
use simulator::history::{History, Outcome};
use simulator::linearizability::{
    Counter, CounterCall, CounterReturn, Register, RegisterCall, RegisterReturn, check_history,
};

const REGISTERS: i64 = 3;
const COUNTER: i64 = 100;
/// A client that hears nothing for so long goes on; what became of its operation is unknown.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(1_200);
/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(4);

#[derive(Default)]
struct Notes {
    registers: History<i64, RegisterCall, RegisterReturn>,
    counter: History<i64, CounterCall, CounterReturn>,
}

/// All clients of a test.
pub struct Clients {
    uri: String,
    epoch: Instant,
    notes: Arc<Mutex<Notes>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    clients: u32,
}

/// Clients on one machine: how many operations they were told are done.
#[derive(Clone)]
pub struct Done(Arc<AtomicU64>);

impl Done {
    /// Operations so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// How long it takes until `count` more are done, each begun after now.
    pub async fn more(&self, count: u64, patience: Duration) -> Duration {
        let start = Instant::now();
        let goal = self.count() + count;
        while self.count() < goal {
            assert!(
                start.elapsed() < patience,
                "no progress within {patience:?}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        start.elapsed()
    }
}

impl Clients {
    /// Prepares the documents that the clients will use.
    pub async fn prepare(uri: &str) -> Clients {
        let client = Client::with_uri_str(uri)
            .await
            .expect("a connection string");
        let documents = (0..REGISTERS)
            .map(|key| doc! { "_id": key })
            .chain([doc! { "_id": COUNTER, "n": 0_i64 }]);
        collection(&client)
            .insert_many(documents)
            .await
            .expect("the cluster takes writes");
        Clients {
            uri: uri.to_owned(),
            epoch: Instant::now(),
            notes: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
            clients: 0,
        }
    }

    /// Starts `count` clients that share a driver on `machine`.
    pub fn start(&mut self, network: &Network, machine: usize, count: u32) -> Done {
        let done = Done(Arc::default());
        let first = self.clients;
        self.clients += count;
        let (uri, notes, stop) = (self.uri.clone(), self.notes.clone(), self.stop.clone());
        let (epoch, answered) = (self.epoch, done.clone());
        let door = network.door(machine).expect("the machine is there");
        self.threads.push(std::thread::spawn(move || {
            door.enter().expect("root may enter");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let options = ClientOptions::parse(uri)
                    .await
                    .expect("a connection string");
                let driver = Client::with_options(options).expect("sound options");
                let clients = (first..first + count).map(|number| {
                    let client = OneClient {
                        number,
                        collection: collection(&driver),
                        notes: notes.clone(),
                        epoch,
                        random: Random::new(u64::from(number) + 1),
                        written: 0,
                    };
                    client.run(stop.clone(), answered.clone())
                });
                futures_util::future::join_all(clients).await;
            });
        }));
        done
    }

    /// Ends the clients and checks that what they were told can be explained by one copy of the data.
    pub async fn verify(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            tokio::task::spawn_blocking(|| thread.join())
                .await
                .expect("it can be waited for")
                .expect("no client panicked");
        }
        let notes = self.notes.lock().expect("no client panicked");
        let ([done, failed, unknown], [added, _, maybe_added]) =
            (notes.registers.outcomes(), notes.counter.outcomes());
        println!(
            "registers: {done} operations done, {failed} failed, {unknown} unknown; counter: {added} done, {maybe_added} unknown"
        );
        check_history(&Register, &notes.registers).unwrap_or_else(|finding| panic!("{finding}"));
        check_history(&Counter, &notes.counter).unwrap_or_else(|finding| panic!("{finding}"));
    }
}

fn collection(client: &Client) -> Collection<Document> {
    client.database("network").collection("objects")
}

struct OneClient {
    number: u32,
    collection: Collection<Document>,
    notes: Arc<Mutex<Notes>>,
    epoch: Instant,
    random: Random,
    written: i64,
}

impl OneClient {
    async fn run(mut self, stop: Arc<AtomicBool>, done: Done) {
        let mut last_seen = None;
        while !stop.load(Ordering::Acquire) {
            let answered = match self.random.below(5) {
                0 => self.increment().await,
                _ => self.use_register(&mut last_seen).await,
            };
            done.0.fetch_add(u64::from(answered), Ordering::AcqRel);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).expect("tests are short")
    }

    fn fresh_value(&mut self) -> i64 {
        self.written += 1;
        i64::from(self.number) * 1_000_000 + self.written
    }

    async fn increment(&mut self) -> bool {
        let call = CounterCall::AddAndGet(1);
        let begun = {
            let mut notes = self.notes.lock().expect("no client panicked");
            notes.counter.invoke(self.number, COUNTER, call, self.now())
        };
        let increment = self
            .collection
            .find_one_and_update(doc! { "_id": COUNTER }, doc! { "$inc": { "n": 1_i64 } })
            .return_document(ReturnDocument::After);
        let outcome = match tokio::time::timeout(OPERATION_TIMEOUT, increment).await {
            Ok(Ok(Some(document))) => {
                let sum = document.get_i64("n").expect("the counter is a number");
                Outcome::Done(CounterReturn::Value(sum))
            }
            Ok(Ok(None)) => panic!("the counter is gone"),
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        };
        let answered = matches!(outcome, Outcome::Done(_));
        let mut notes = self.notes.lock().expect("no client panicked");
        let now = self.now();
        notes.counter.end(begun, outcome, now);
        answered
    }

    async fn use_register(&mut self, last_seen: &mut Option<i64>) -> bool {
        let key = self.random.below(REGISTERS as u64) as i64;
        let call = match self.random.below(4) {
            0 => RegisterCall::Write(self.fresh_value()),
            1 => RegisterCall::CompareAndSet {
                expected: *last_seen,
                new: self.fresh_value(),
            },
            _ => RegisterCall::Read,
        };
        let begun = {
            let mut notes = self.notes.lock().expect("no client panicked");
            notes
                .registers
                .invoke(self.number, key, call.clone(), self.now())
        };
        let outcome = match tokio::time::timeout(OPERATION_TIMEOUT, self.call(key, &call)).await {
            Ok(Ok(returned)) => Outcome::Done(returned),
            // A read that failed is no matter; a write may have been done.
            _ if call == RegisterCall::Read => Outcome::Failed,
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        };
        if let Outcome::Done(RegisterReturn::Value(value)) = outcome {
            *last_seen = value;
        }
        let answered = matches!(outcome, Outcome::Done(_));
        let mut notes = self.notes.lock().expect("no client panicked");
        let now = self.now();
        notes.registers.end(begun, outcome, now);
        answered
    }

    async fn call(&self, key: i64, call: &RegisterCall) -> mongodb::error::Result<RegisterReturn> {
        let set = |value: &i64| doc! { "$set": { "v": *value } };
        match call {
            RegisterCall::Read => {
                let found = self.collection.find_one(doc! { "_id": key }).await?;
                let found = found.expect("registers are never removed");
                Ok(RegisterReturn::Value(found.get_i64("v").ok()))
            }
            RegisterCall::Write(value) => {
                let written = self.collection.update_one(doc! { "_id": key }, set(value));
                assert_eq!(written.await?.matched_count, 1, "the register is there");
                Ok(RegisterReturn::Written)
            }
            RegisterCall::CompareAndSet { expected, new } => {
                let expected = expected.map_or(Bson::Null, Bson::Int64);
                let filter = doc! { "_id": key, "v": expected };
                let swapped = self.collection.update_one(filter, set(new)).await?;
                Ok(RegisterReturn::Swapped(swapped.matched_count == 1))
            }
        }
    }
}
