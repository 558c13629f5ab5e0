//! A relay that makes a connection slow, for kernels that cannot: what comes in goes out a while later, in order.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use end_to_end::network::Network;
use simulator::Random;

/// Pieces under way in one direction; then the relay stops reading.
const PIECES_MAX: usize = 4_096;
const PIECE_BYTES: usize = 64 << 10;

/// How late bytes are.
#[derive(Clone, Copy)]
pub struct Delay {
    pub shortest: Duration,
    pub jitter: Duration,
}

/// Relays `from` to `to`, both ports of one machine, for as long as the process lives.
pub fn relay(network: &Network, machine: usize, from: u16, to: u16, delay: Delay) {
    let address = network.address(machine);
    let door = network.door(machine).expect("the machine is there");
    std::thread::spawn(move || {
        door.enter().expect("root may enter");
        let listener = TcpListener::bind((address.as_str(), from)).expect("the port is free");
        for (number, inbound) in listener.incoming().flatten().enumerate() {
            let Ok(outbound) = TcpStream::connect((address.as_str(), to)) else {
                continue;
            };
            let seeds = [2 * number as u64, 2 * number as u64 + 1];
            let ends = [(&inbound, &outbound), (&outbound, &inbound)];
            for (seed, (source, sink)) in seeds.into_iter().zip(ends) {
                let copies = (source.try_clone(), sink.try_clone());
                if let (Ok(source), Ok(sink)) = copies {
                    carry(source, sink, delay, Random::new(seed));
                }
            }
        }
    });
}

fn carry(mut source: TcpStream, mut sink: TcpStream, delay: Delay, mut random: Random) {
    let (queue, pieces) = mpsc::sync_channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    sink.set_nodelay(true).ok();
    std::thread::spawn(move || {
        for (due, piece) in pieces {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if sink.write_all(&piece).is_err() {
                break;
            }
        }
        sink.shutdown(Shutdown::Both).ok();
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            let jitter = delay.jitter.mul_f64(random.below(1_000) as f64 / 1e3);
            let due = Instant::now() + delay.shortest + jitter;
            if queue.send((due, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
        source.shutdown(Shutdown::Read).ok();
    });
}
