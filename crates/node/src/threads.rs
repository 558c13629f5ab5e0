//! The node's threads: each sleeps on its worker's inbox and lets the worker work it off.
//!
//! The only place that knows threads exist. A storage fault on any of them ends all of them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use platform::{Clock, Disk};

use crate::apply_worker::ApplySide;
use crate::core_worker::CoreWorker;
use crate::error::Fault;
use crate::events::{Event, StoragePart};
use crate::log_worker::RoomTeller;
use crate::mailbox::Mailbox;
use crate::parts::Workers;
use crate::prefetch::{self, LookAhead, Prefetcher};

/// How many times as long as it took the rest after a step of the segments' keeper is.
const SEGMENTS_REST_RATIO: u32 = 4;
/// The longest such rest.
const SEGMENTS_REST_MAX: Duration = Duration::from_millis(50);

/// Runs the core until the node ends.
fn run_core<C: Clock>(mut worker: CoreWorker<C>) {
    let inbox = worker.inboxes.core.clone();
    let mut events = Vec::new();
    worker.begin();
    loop {
        let rest = worker.rest();
        inbox.drain_patiently(&mut events, Some(rest.time), rest.until_more);
        if !worker.wake(&mut events) {
            return;
        }
    }
}

/// Starts a thread that feeds `work` what its inbox holds until it is closed; a fault is told to the core.
fn spawn_worker<T: Send + 'static>(
    name: &str,
    inbox: Arc<Mailbox<T>>,
    core: Arc<Mailbox<Event>>,
    mut work: impl FnMut(&mut Vec<T>) -> Result<(), Fault> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let mut items = Vec::new();
            while inbox.drain(&mut items, None) {
                if let Err(fault) = work(&mut items) {
                    core.push(Event::Fault(fault));
                    inbox.close();
                    return;
                }
            }
        })
}

/// The apply thread: works its inbox off, then flushes, so that the next start has nothing to replay.
fn spawn_apply<D: Disk>(mut side: ApplySide<D>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("apply".to_owned())
        .spawn(move || {
            let inbox = side.inbox.clone();
            let mut items = Vec::new();
            while inbox.drain(&mut items, None) {
                if !side.work(&mut items) {
                    return;
                }
            }
            side.finish();
        })
}

/// Starts the threads of a node.
pub(crate) fn spawn<D: Disk, C: Clock>(
    workers: Workers<D, C>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let Workers {
        core,
        mut log,
        mut apply,
        mut background,
        archiver,
    } = workers;
    let inboxes = core.inboxes.clone();
    let core_inbox = inboxes.core.clone();
    let keeper = log.log.keeper();
    let segments = inboxes.segments.clone();
    let resting = inboxes.segments.clone();
    let mut segments_room = RoomTeller::new(StoragePart::Segments, &inboxes.core);
    let prefetcher = Arc::new(Prefetcher::new(core.gauges.clone()));
    apply.worker.look_ahead = Some(LookAhead::new(prefetcher.clone()));
    let reader = apply.worker.reader.clone();
    let mut threads = vec![
        spawn_worker("log", inboxes.log, core_inbox.clone(), move |work| {
            log.round_beside(work, &segments)
        })?,
        spawn_worker(
            "segments",
            inboxes.segments.clone(),
            core_inbox.clone(),
            move |work| {
                work.clear();
                let mut began = Instant::now();
                // While the disk is full it is asked to again.
                while segments_room.passed(keeper.step())? == Some(true) && !resting.is_closed() {
                    // The log's syncs go between; should the log need a segment sooner, it makes it itself.
                    let rest = began.elapsed() * SEGMENTS_REST_RATIO;
                    resting.rest(rest.min(SEGMENTS_REST_MAX));
                    began = Instant::now();
                }
                Ok(())
            },
        )?,
        spawn_apply(apply)?,
        spawn_worker("background", inboxes.background, core_inbox, move |work| {
            background.round(work)
        })?,
    ];
    for number in 0..prefetch::HELPERS {
        let (prefetcher, reader) = (prefetcher.clone(), reader.clone());
        let builder = std::thread::Builder::new().name(format!("prefetch-{number}"));
        threads.push(builder.spawn(move || prefetcher.help(&reader))?);
    }
    if let Some(archiver) = archiver {
        let builder = std::thread::Builder::new().name("archive".to_owned());
        threads.push(builder.spawn(move || archiver.run())?);
    }
    let builder = std::thread::Builder::new().name("core".to_owned());
    threads.push(builder.spawn(move || run_core(core))?);
    Ok(threads)
}
