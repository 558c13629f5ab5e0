//! Scheduling of threads, and their memory.

use std::io;

/// A turn that suits a thread which answers: it works for microseconds and sleeps again.
#[cfg(target_os = "linux")]
const SHORT_TURN_NS: u64 = 300_000;
/// The kernel's own length of a turn.
#[cfg(target_os = "linux")]
const ORDINARY_TURN_NS: u64 = 0;

/// Asks for short turns on the processor, for the calling thread and those it starts from now on. The kernel (Linux since 6.12)
/// lets such a thread, when it wakes, take the place of one with longer turns at once, where it would wait for the end of that
/// turn else: several milliseconds for each thread that merges tables. Its share of the processor stays the same.
///
/// Errors: the system's, where it refuses. Kernels that know only one length take the call and ignore the length; other
/// systems have nothing like it.
pub fn prefer_short_turns() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    schedule(rustix::process::getpriority_process(None)?, SHORT_TURN_NS)?;
    Ok(())
}

/// Makes the calling thread yield to others: raises its niceness (0 to 19), and its turns are of ordinary length. Only on Linux
/// does this touch the one thread; elsewhere it would change the whole process, so it does nothing.
pub fn lower_thread_priority(niceness: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    schedule(niceness, ORDINARY_TURN_NS)?;
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
    Ok(())
}

/// Sets the calling thread's niceness and the length of its turns (`sched_setattr(2)`).
#[cfg(target_os = "linux")]
fn schedule(niceness: i32, turn_ns: u64) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: niceness,
        sched_priority: 0,
        sched_runtime: turn_ns,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes at the pointer, which is to a live structure of that size, and keeps nothing of it;
    // 0 is the calling thread, and there are no flags.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    match outcome {
        0 => Ok(()),
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Niceness and length of turns that the kernel has for the calling thread.
    fn scheduled() -> (i32, u64) {
        // SAFETY: all-zero bytes are a value of this structure of integers.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::sched_attr>();
        // SAFETY: the kernel writes at most `size` bytes to the pointer, which is to a live structure of that size.
        let outcome =
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
        (attributes.sched_nice, attributes.sched_runtime)
    }

    #[test]
    fn short_turns_are_inherited_and_given_back_by_those_who_yield() {
        let thread = std::thread::spawn(|| {
            let (niceness, ordinary) = scheduled();
            prefer_short_turns().unwrap();
            let (kept, short) = scheduled();
            assert_eq!(kept, niceness);
            // Kernels before 6.12 have one length for all, and tell 0.
            assert!(short == SHORT_TURN_NS || short == ordinary);
            let inherited = std::thread::spawn(scheduled).join().unwrap();
            assert_eq!(inherited, (niceness, short));
            lower_thread_priority(niceness.max(0) + 1).unwrap();
            assert_eq!(scheduled(), (niceness.max(0) + 1, ordinary));
        });
        thread.join().unwrap();
    }
}
