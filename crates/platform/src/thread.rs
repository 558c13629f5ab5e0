//! Scheduling of threads, and their memory.

use std::io;

/// Makes the calling thread yield to others: raises its niceness (0 to 19). Only on Linux does this touch
/// the one thread; elsewhere it would change the whole process, so it does nothing.
pub fn lower_thread_priority(niceness: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::setpriority_process(None, niceness)?;
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
    Ok(())
}

/// Has the kernel give this process memory in small pages only. A huge one is cleared in one go when it is first touched, which
/// takes milliseconds where a virtual machine has to get it from its host, and nothing else runs on that processor.
pub fn avoid_huge_pages() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true)?;
    Ok(())
}
