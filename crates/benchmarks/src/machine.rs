//! What the numbers were measured on, and how long this disk takes to make a write durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const SYNC_SAMPLES: usize = 500;
const SYNC_TIME_MAX: Duration = Duration::from_secs(2);
const SYNC_BYTES: usize = 4096;
const SPIN_TIME: Duration = Duration::from_secs(4);
const SPIN_STEPS: u32 = 20_000;
/// Units of /proc/stat, as in `cluster::process`.
const TICKS_PER_SECOND: f64 = 100.0;
/// Columns of /proc/diskstats.
const READS: usize = 3;
const FLUSHES: usize = 18;

/// The machine.
#[derive(Debug)]
pub struct Machine {
    /// Processors this program may use.
    pub cores: usize,
    /// What the processor calls itself.
    pub processor: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory, GiB.
    pub memory_gib: f64,
    /// Median time of appending 4 KiB and `fdatasync`.
    pub sync_ms: f64,
    /// Share of the time in which a loop that only counts runs at less than half its speed: what other users of the
    /// hardware take, or other processes.
    pub slow_share: f64,
}

impl Machine {
    /// Looks around; `directory` is on the disk to try.
    pub fn probe(directory: &Path) -> io::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kib = after(&read("/proc/meminfo"), "MemTotal:")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<f64>().ok());
        Ok(Machine {
            cores: cores(),
            processor: after(&read("/proc/cpuinfo"), "model name")
                .map(|name| name.trim_start_matches(':').trim().to_owned())
                .unwrap_or_else(|| "unknown processor".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_gib: kib.unwrap_or(0.0) / f64::from(1 << 20),
            sync_ms: sync_ms(directory)?,
            slow_share: slow_share(),
        })
    }
}

/// Processors this program may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processor seconds that the whole machine was not idle.
pub fn busy_seconds() -> f64 {
    parse_busy_seconds(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_busy_seconds(stat: &str) -> f64 {
    let [user, nice, system, _, _, irq, softirq, stolen] = processor_seconds(stat);
    user + nice + system + irq + softirq + stolen
}

/// Processor seconds that the whole machine was idle or waited for disks, and those that its host gave to others.
pub fn idle_and_stolen_seconds() -> (f64, f64) {
    parse_idle_and_stolen(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_idle_and_stolen(stat: &str) -> (f64, f64) {
    let [_, _, _, idle, waiting, _, _, stolen] = processor_seconds(stat);
    (idle + waiting, stolen)
}

/// User, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen; what follows is counted in user already.
fn processor_seconds(stat: &str) -> [f64; 8] {
    let line = stat.lines().next().unwrap_or_default();
    let mut ticks = line.split_ascii_whitespace().skip(1);
    std::array::from_fn(|_| {
        let ticks = ticks.next().and_then(|it| it.parse::<f64>().ok());
        ticks.unwrap_or(0.0) / TICKS_PER_SECOND
    })
}

/// Reads that all disks have completed.
pub fn disk_reads() -> f64 {
    sum_of_disks(&diskstats(), READS)
}

/// Flushes that all disks have completed.
pub fn disk_flushes() -> f64 {
    sum_of_disks(&diskstats(), FLUSHES)
}

fn diskstats() -> String {
    fs::read_to_string("/proc/diskstats").unwrap_or_default()
}

/// Major, minor, name, then 17 numbers about reads, writes, discards and flushes; kernels before 5.5 have no flushes.
fn sum_of_disks(diskstats: &str, column: usize) -> f64 {
    let number = |line: &str| {
        line.split_ascii_whitespace()
            .nth(column)?
            .parse::<f64>()
            .ok()
    };
    diskstats.lines().filter_map(number).sum()
}

fn after(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

fn sync_ms(directory: &Path) -> io::Result<f64> {
    let path = directory.join("sync-probe");
    let mut file = File::create(&path)?;
    let block = [0x5a; SYNC_BYTES];
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < SYNC_SAMPLES && begin.elapsed() < SYNC_TIME_MAX {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(f64::NAN))
}

fn slow_share() -> f64 {
    let begin = Instant::now();
    let mut times = Vec::new();
    let mut number = 1_u32;
    while begin.elapsed() < SPIN_TIME {
        let start = Instant::now();
        for _ in 0..SPIN_STEPS {
            number = std::hint::black_box(number.wrapping_mul(1_664_525).wrapping_add(1));
        }
        times.push(start.elapsed().as_secs_f64());
    }
    slow_share_of(times)
}

/// The share of all time that passed in samples of more than twice the median.
fn slow_share_of(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let slow: f64 = times.iter().filter(|time| **time > 2.0 * median).sum();
    slow / times.iter().sum::<f64>().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_what_takes_more_than_twice_the_median() {
        assert_eq!(slow_share_of(vec![1.0, 1.0, 2.0, 1.0, 5.0]), 0.5);
        assert_eq!(slow_share_of(Vec::new()), 0.0);
    }

    #[test]
    fn idle_and_waiting_for_disks_are_not_busy() {
        let stat = "cpu  100 10 50 9000 700 5 15 20 99 0\ncpu0 1 2 3";
        assert_eq!(parse_busy_seconds(stat), 2.0);
        assert_eq!(parse_busy_seconds(""), 0.0);
        assert_eq!(parse_idle_and_stolen(stat), (97.0, 0.2));
        assert_eq!(parse_idle_and_stolen(""), (0.0, 0.0));
    }

    #[test]
    fn flushes_and_reads_of_all_disks_are_counted() {
        let diskstats = " 7 0 loop0 1 2 3 4 5 6 7 8 9 10 11\n 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 40 17\n \
                         254 1 vdb 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 2 17\n";
        assert_eq!(sum_of_disks(diskstats, FLUSHES), 42.0);
        assert_eq!(sum_of_disks(diskstats, READS), 3.0);
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::probe(&std::env::temp_dir()).unwrap();
        assert!(machine.cores > 0 && machine.sync_ms > 0.0);
    }
}
