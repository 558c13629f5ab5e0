//! Scheduling of threads.

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
