//! Threads, the start signal and the measuring window.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{Client, Connector, LoadError, Measured, Shape};

/// How long operations under way at the end may still take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// The measuring window, the same for all threads.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

/// Runs one measurement. `on_edge` is called at the start and at the end of the window, to take readings of its own.
pub(crate) fn run<C: Connector>(
    connector: &C,
    shape: Shape,
    mut on_edge: impl FnMut(),
) -> Result<Measured, LoadError> {
    let threads = shape.threads.clamp(1, shape.clients.max(1));
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for index in 0..threads {
            let (ready, is_ready) = sync_channel(1);
            let (start, started) = sync_channel(1);
            let clients = share(shape.clients, threads, index);
            let handle =
                scope.spawn(move || work(connector, clients, shape.clients, &ready, &started));
            workers.push((handle, is_ready, start));
        }
        let mut all_ready = true;
        for (_, is_ready, _) in &workers {
            all_ready &= is_ready.recv().is_ok();
        }
        let from = Instant::now() + shape.warm_up;
        let window = Window {
            from,
            to: from + shape.measure,
        };
        let mut handles = Vec::new();
        for (handle, _, start) in workers {
            if all_ready {
                // A worker that is gone tells why when it is joined.
                let _ = start.send(window);
            }
            handles.push(handle);
        }
        if all_ready {
            sleep_until(window.from);
            on_edge();
            sleep_until(window.to);
            on_edge();
        }
        join(handles, shape.measure)
    })
}

fn join(
    handles: Vec<thread::ScopedJoinHandle<'_, Result<Measured, LoadError>>>,
    window: Duration,
) -> Result<Measured, LoadError> {
    let mut total = Measured::new(window);
    let mut failure = None;
    for handle in handles {
        match handle.join().unwrap_or(Err(LoadError::ThreadLost)) {
            Ok(measured) => total.merge(&measured),
            // Threads that never started only say so; what stopped them is the news.
            Err(LoadError::ThreadLost) if failure.is_some() => {}
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(total),
    }
}

/// The clients of one thread: as even a share as whole clients allow.
pub(super) fn share(clients: usize, threads: usize, index: usize) -> Range<usize> {
    clients * index / threads..clients * (index + 1) / threads
}

fn sleep_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}

/// One thread: connects, reports, waits for the window, runs its clients through it.
fn work<C: Connector>(
    connector: &C,
    clients: Range<usize>,
    total: usize,
    ready: &SyncSender<()>,
    started: &Receiver<Window>,
) -> Result<Measured, LoadError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let connected = local.block_on(&runtime, connector.connect(clients, total))?;
    // The receiver waits for every worker; if it is gone the run is over anyway.
    let _ = ready.send(());
    let window = started.recv().map_err(|_| LoadError::ThreadLost)?;
    local.block_on(&runtime, drive(connected, window))
}

async fn drive<C: Client>(clients: Vec<C>, window: Window) -> Result<Measured, LoadError> {
    let measured = Rc::new(RefCell::new(Measured::new(window.to - window.from)));
    let mut tasks = Vec::with_capacity(clients.len());
    for client in clients {
        let measured = Rc::clone(&measured);
        tasks.push(tokio::task::spawn_local(repeat(client, window, measured)));
    }
    let all = async {
        for task in tasks {
            task.await.map_err(|_| LoadError::ThreadLost)??;
        }
        Ok::<(), LoadError>(())
    };
    let remaining = window.to.saturating_duration_since(Instant::now());
    timeout(remaining + DRAIN_TIMEOUT, all)
        .await
        .map_err(|_| LoadError::Hung(DRAIN_TIMEOUT))??;
    let measured = Rc::try_unwrap(measured).map_err(|_| LoadError::ThreadLost)?;
    Ok(measured.into_inner())
}

async fn repeat<C: Client>(
    mut client: C,
    window: Window,
    measured: Rc<RefCell<Measured>>,
) -> Result<(), LoadError> {
    let mut begin = Instant::now();
    loop {
        let handled = client.operate().await?;
        let end = Instant::now();
        if end >= window.to {
            return Ok(());
        }
        if end >= window.from {
            measured.borrow_mut().record(handled, end - begin);
        }
        begin = end;
    }
}
