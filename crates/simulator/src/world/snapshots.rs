//! Snapshots on their way, chunk by chunk. A stream breaks when its link is cut or reset, or one of its ends dies.

use consensus::{NodeId, SnapshotMeta};
use node::{GROUP, SnapshotDone};
use peer_transport::SnapshotSource;

use super::{Found, Happening, World};
use crate::clock::Micros;
use crate::network::{Stream, StreamStage};

/// How long a sender takes to notice that a stream broke.
const BROKEN_AFTER: std::ops::Range<Micros> = 1_000..600_000;

impl World {
    pub(super) fn begin_stream(
        &mut self,
        at: usize,
        to: NodeId,
        meta: Box<SnapshotMeta>,
        source: SnapshotSource,
        done: SnapshotDone,
    ) {
        let Some(target) = self.hosts[at].peers.0.machine_of(to) else {
            done(false);
            return;
        };
        let number = self.next_stream;
        self.next_stream += 1;
        self.trace.say(self.now, || {
            format!(
                "snapshot {number} of {} from machine {at} to machine {target}",
                meta.position.index
            )
        });
        let stream = Stream {
            from: (at, self.machines[at].incarnation),
            to: (target, self.machines[target].incarnation),
            member: to,
            meta,
            connection: self.network.connection(at, target),
            done,
            stage: StreamStage::Offered(source),
        };
        self.streams.insert(number, stream);
        let after = self.network.delay();
        self.plan(after, Happening::Stream(number));
    }

    pub(super) fn advance_stream(&mut self, number: u64) -> Found {
        let Some(mut stream) = self.streams.remove(&number) else {
            return Ok(());
        };
        let (from, to) = (stream.from.0, stream.to.0);
        if self.machines[from].node.is_none() || self.machines[from].incarnation != stream.from.1 {
            return Ok(());
        }
        let broken = self.machines[to].member() != Some(stream.member)
            || self.machines[to].incarnation != stream.to.1
            || self.network.is_cut(from, to)
            || self.network.is_cut(to, from)
            || self.network.connection(from, to) != stream.connection;
        match stream.stage {
            StreamStage::Broken => {
                (stream.done)(false);
                return self.settle(from);
            }
            StreamStage::Arrived if !broken => {
                (stream.done)(true);
                return self.settle(from);
            }
            _ if broken => stream.stage = StreamStage::Broken,
            stage => stream.stage = self.next_stage(stream.from.0, to, &stream.meta, stage),
        }
        let after = match stream.stage {
            StreamStage::Broken => self.pace.within(BROKEN_AFTER),
            _ => self.network.delay() + self.pace.within(0..2_000),
        };
        self.streams.insert(number, stream);
        self.plan(after, Happening::Stream(number));
        self.settle(to)
    }

    fn next_stage(
        &mut self,
        from: usize,
        to: usize,
        meta: &SnapshotMeta,
        stage: StreamStage,
    ) -> StreamStage {
        let outcome = match stage {
            StreamStage::Offered(source) => {
                let sender = self.machines[from].member();
                let begun = self.handler(to).zip(sender).map(|(handler, sender)| {
                    let sink = handler.snapshot_begin(GROUP, sender, meta.clone())?;
                    let chunks = source(&sink.progress())?;
                    Ok(StreamStage::Flowing(chunks, sink))
                });
                begun.unwrap_or_else(|| Err("the receiver is gone".to_owned()))
            }
            StreamStage::Flowing(mut chunks, mut sink) => match chunks.next() {
                Some(Ok(chunk)) => sink
                    .chunk(&chunk)
                    .map(|()| StreamStage::Flowing(chunks, sink)),
                Some(Err(error)) => Err(error),
                None => sink.finish().map(|()| StreamStage::Arrived),
            },
            StreamStage::Arrived | StreamStage::Broken => Ok(stage),
        };
        outcome.unwrap_or_else(|error| {
            self.trace.say(self.now, || {
                format!("the snapshot to machine {to} breaks off: {error}")
            });
            StreamStage::Broken
        })
    }
}
