//! Ports of the loopback interface for what tests and benchmarks start.
//!
//! A port that the system chose (`bind` to port 0) and that was closed again may be anybody's next: the system gives it to
//! the next outgoing connection, and then a server that was to listen there, or to listen there again after a restart, does
//! not start. So these lie outside the range for outgoing connections, and each is reserved.

#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Mutex;

/// Below what Linux, macOS and Windows hand out by default, above what well-known services use.
const PORTS: RangeInclusive<u16> = 10_000..=32_767;

/// The UDP sockets that stand for the ports reserved by this process: no second process gets one, and TCP is left free.
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A TCP port of 127.0.0.1 that nobody listens on, and that nobody else gets from here until this process ends.
///
/// # Panics
/// If there is none.
pub fn reserve() -> u16 {
    let outgoing = outgoing_ports();
    let (mut outside, mut inside): (Vec<u16>, Vec<u16>) =
        PORTS.partition(|port| !outgoing.contains(port));
    // Processes begin at different places, so that they seldom meet.
    let begin = std::process::id() as usize * 101;
    for ports in [&mut outside, &mut inside] {
        let count = ports.len().max(1);
        ports.rotate_left(begin % count);
    }
    let mut reserved = RESERVED.lock().expect("nothing panics while it is held");
    let free = outside.into_iter().chain(inside).find_map(|port| {
        let mark = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some((port, mark))
    });
    let (port, mark) = free.expect("the loopback interface has a free port");
    reserved.push(mark);
    port
}

/// The same as `127.0.0.1:port`.
///
/// # Panics
/// If there is none.
pub fn reserve_address() -> String {
    format!("{}:{}", Ipv4Addr::LOCALHOST, reserve())
}

/// The ports that the system gives to outgoing connections (`man 7 ip`, `ip_local_port_range`).
fn outgoing_ports() -> RangeInclusive<u16> {
    let default = 32_768..=u16::MAX;
    let Ok(text) = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range") else {
        return default;
    };
    let mut bounds = text.split_whitespace().map(str::parse);
    match (bounds.next(), bounds.next()) {
        (Some(Ok(low)), Some(Ok(high))) => low..=high,
        _ => default,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    #[test]
    fn no_port_comes_twice_and_each_can_be_listened_on() {
        let ports: BTreeSet<u16> = (0..100).map(|_| reserve()).collect();
        assert_eq!(ports.len(), 100);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
        }
    }

    #[test]
    fn a_port_stays_free_while_outgoing_connections_come_and_go() {
        let ours = reserve();
        assert!(!outgoing_ports().contains(&ours), "{ours}");
    }

    /// Runs itself a second time, as another process.
    #[test]
    fn another_process_does_not_get_it() {
        const TAKEN: &str = "LOOPBACK_PORTS_TAKEN";
        if let Ok(taken) = std::env::var(TAKEN) {
            let taken: u16 = taken.parse().expect("a port");
            assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, taken)).is_err());
            assert_ne!(reserve(), taken);
            return;
        }
        let program = std::env::current_exe().expect("this program");
        let other = Command::new(program)
            .args(["--exact", "tests::another_process_does_not_get_it"])
            .env(TAKEN, reserve().to_string())
            .status()
            .expect("it starts");
        assert!(other.success());
    }
}
