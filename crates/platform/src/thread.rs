//! Scheduling of threads, and their memory.

use std::io;

/// A turn that suits a thread which answers: it works for microseconds and sleeps again.
#[cfg(target_os = "linux")]
const SHORT_TURN_NS: u64 = 300_000;
/// The kernel's own length of a turn.
#[cfg(target_os = "linux")]
const ORDINARY_TURN_NS: u64 = 0;

/// What `getrusage` counts in.
#[cfg(target_os = "linux")]
const RUSAGE_BLOCK_BYTES: u64 = 512;

/// Asks for short turns on the processor, for the calling thread and those it starts from now on. The kernel (Linux since 6.12)
/// lets such a thread, when it wakes, take the place of one with longer turns at once, where it would wait for the end of that
/// turn else: several milliseconds for each thread that merges tables. Its share of the processor stays the same.
///
/// Errors: the system's, where it refuses. Kernels that know only one length take the call and ignore the length; other
/// systems have nothing like it.
pub fn prefer_short_turns() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    schedule(|attributes| attributes.sched_runtime = SHORT_TURN_NS)?;
    Ok(())
}

/// Makes the calling thread yield to others: raises its niceness (0 to 19), and its turns are of ordinary length. Only on Linux
/// does this touch the one thread; elsewhere it would change the whole process, so it does nothing.
pub fn lower_thread_priority(niceness: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let both = schedule(|attributes| {
            attributes.sched_nice = niceness;
            attributes.sched_runtime = ORDINARY_TURN_NS;
        });
        // Containers may forbid the one call and allow the other.
        if both.is_err() {
            rustix::process::setpriority_process(None, niceness)?;
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
    Ok(())
}

/// Changes how the calling thread is scheduled (`sched_setattr(2)`), unless it was put into a class where niceness and turns mean
/// nothing.
#[cfg(target_os = "linux")]
fn schedule(change: impl FnOnce(&mut libc::sched_attr)) -> io::Result<()> {
    let mut attributes = scheduled()?;
    let class = i32::try_from(attributes.sched_policy).unwrap_or(i32::MAX);
    if ![libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&class) {
        return Ok(());
    }
    change(&mut attributes);
    // SAFETY: the kernel reads as many bytes at the pointer as the structure says, which is live and of that size, and keeps
    // nothing of it; 0 is the calling thread, and there are no flags.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How the calling thread is scheduled.
#[cfg(target_os = "linux")]
fn scheduled() -> io::Result<libc::sched_attr> {
    let mut attributes = libc::sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` bytes to the pointer, which is to a live structure of that size.
    let outcome =
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    match outcome {
        0 => Ok(attributes),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel give this process memory in small pages only. A huge one is cleared in one go when it is first touched, which
/// takes milliseconds where a virtual machine has to get it from its host, and nothing else runs on that processor.
pub fn avoid_huge_pages() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true)?;
    Ok(())
}

/// Bytes that had to come from a disk because the calling thread read them, since it started (`getrusage(2)`). Grows by
/// nothing when a file was in the system's cache; always 0 on systems, and for file systems, that do not count by thread.
pub fn bytes_from_disk() -> u64 {
    #[cfg(target_os = "linux")]
    if let Some(blocks) = blocks_from_disk() {
        return blocks * RUSAGE_BLOCK_BYTES;
    }
    0
}

#[cfg(target_os = "linux")]
fn blocks_from_disk() -> Option<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to memory of a `rusage`, which the kernel fills and keeps nothing of.
    let outcome = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: the call succeeded, so it has filled all of it.
    let usage = (outcome == 0).then(|| unsafe { usage.assume_init() })?;
    u64::try_from(usage.ru_inblock).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Niceness and length of turns that the kernel has for the calling thread.
    fn now() -> (i32, u64) {
        let attributes = scheduled().expect("a thread may ask about itself");
        (attributes.sched_nice, attributes.sched_runtime)
    }

    #[test]
    fn what_is_in_memory_does_not_come_from_a_disk() {
        let directory = tempfile::tempdir().expect("there is room for it");
        let path = directory.path().join("file");
        std::fs::write(&path, vec![7; 1 << 20]).expect("there is room for it");
        let before = bytes_from_disk();
        assert_eq!(std::fs::read(&path).expect("it is there").len(), 1 << 20);
        assert_eq!(bytes_from_disk(), before);
    }

    #[test]
    fn short_turns_are_inherited_and_given_back_by_those_who_yield() {
        let thread = std::thread::spawn(|| {
            let (niceness, ordinary) = now();
            prefer_short_turns().expect("needs no privilege");
            let (kept, short) = now();
            assert_eq!(kept, niceness);
            // Kernels before 6.12 have one length for all, and tell 0.
            assert!(short == SHORT_TURN_NS || short == ordinary);
            let inherited = std::thread::spawn(now).join().expect("it does not panic");
            assert_eq!(inherited, (niceness, short));
            lower_thread_priority(niceness.max(0) + 1).expect("lowering needs no privilege");
            assert_eq!(now(), (niceness.max(0) + 1, ordinary));
        });
        thread.join().expect("what it asserts holds");
    }
}
