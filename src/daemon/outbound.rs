//! The outbound thread: device → sealed datagrams → underlay.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::DataPath;
use super::clock;
use super::sandbox;
use super::shaper::{Arrival, Shaper, end_of_release, until_last_release, until_release};
use super::threads::{Pause, preempt_nobody, wait};
use crate::net::SendBatch;
use crate::proto::{Discard, Instant, Outbound};
use crate::tun::{ReadBuffer, Tun, TunFault};
use crate::wire::{Layer, Superpacket, icmp};

/// Most reads before the batch is flushed and orders are looked at again.
const MAX_READS: usize = 64;
/// The same under a limit: what is released goes on its way meanwhile.
const MAX_SHAPED_READS: usize = 8;
/// Least time between two answers to packets that belong to nobody.
const UNREACHABLE_INTERVAL: Duration = Duration::from_millis(100);

/// Runs until told to stop, or until the device is gone.
pub(super) fn run(path: &DataPath, outbound: Outbound) -> anyhow::Result<()> {
    preempt_nobody();
    let mut thread = OutboundThread {
        path,
        outbound,
        batch: SendBatch::new(Arc::clone(&path.underlay)),
        buffer: ReadBuffer::new(),
        shaper: None,
        unreachable_told: None,
        pause: Pause::new(),
    };
    sandbox::confine_data_thread();
    let ended = thread.run();
    thread.forget(Discard::ShapedOut);
    ended
}

struct OutboundThread<'p> {
    path: &'p DataPath,
    outbound: Outbound,
    batch: SendBatch,
    buffer: ReadBuffer,
    /// With a limit only.
    shaper: Option<Shaper>,
    unreachable_told: Option<Instant>,
    pause: Pause,
}

impl OutboundThread<'_> {
    fn run(&mut self) -> anyhow::Result<()> {
        let DataPath { tun, threads, .. } = self.path;
        while !threads.stopping() {
            let fds = [tun.as_fd(), threads.outbound.as_fd()];
            let [packets, woken] = wait(fds, until_release(&self.shaper))?;
            if woken {
                threads.outbound.take();
            }
            self.turn(packets)?;
        }
        let end = end_of_release();
        while let Some(pause) = until_last_release(&self.shaper, end) {
            wait([], Some(pause))?;
            self.turn(false)?;
        }
        Ok(())
    }

    /// Does what one wake-up is for; one clock reading for all of it.
    fn turn(&mut self, packets: bool) -> anyhow::Result<()> {
        let now = clock::boot();
        self.path.limits.outbound.follow(&mut self.shaper, now);
        self.batch.set_endpoint(self.outbound.endpoint());
        if self.outbound.obey(now, &mut self.batch) {
            self.forget(Discard::OtherPeer);
        }
        let read = if packets { self.read(now) } else { Ok(()) };
        self.release(now);
        self.batch.flush();
        if self.batch.take_source_lost() {
            self.outbound.forget_source();
        }
        if self.outbound.take_wake() {
            self.path.threads.control.notify_one();
        }
        read
    }

    fn read(&mut self, now: Instant) -> anyhow::Result<()> {
        let longest = self.outbound.longest_frame();
        let most = if self.shaper.is_some() { MAX_SHAPED_READS } else { MAX_READS };
        for _ in 0..most {
            if self.path.threads.stopping() {
                break;
            }
            let packet = match self.path.tun.read(&mut self.buffer, longest) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(fault) if fault.is_fatal() => return Err(fault.into()),
                Err(TunFault::Malformed(fault)) => {
                    tracing::trace!(%fault, "a packet from the device was discarded");
                    continue;
                }
                Err(fault) => {
                    tracing::debug!(%fault, "reading from the device failed");
                    self.batch.flush();
                    return Ok(self.pause.wait(&self.path.threads.outbound)?);
                }
            };
            self.pause.end();
            if let Some(shaper) = &mut self.shaper {
                queue(shaper, &self.outbound, now, self.path.tun.layer(), &packet);
                continue;
            }
            let sent = self.outbound.send(now, &packet, &mut self.batch);
            if sent == Err(Discard::DestinationNotAllowed) {
                tell_unreachable(&self.path.tun, now, &packet, &mut self.unreachable_told);
            }
        }
        Ok(())
    }

    /// Sends what the limit lets go now.
    fn release(&mut self, now: Instant) {
        let Self { path, outbound, batch, shaper: Some(shaper), unreachable_told, .. } = self
        else {
            return;
        };
        let mut other_peer = false;
        while !other_peer
            && shaper.release(now, |packet| match outbound.send(now, &packet, batch) {
                Err(Discard::OtherPeer) => other_peer = true,
                Err(Discard::DestinationNotAllowed) => {
                    tell_unreachable(&path.tun, now, &packet, unreachable_told);
                }
                _ => {}
            })
        {}
        if other_peer {
            outbound.discard_many(Discard::OtherPeer, shaper.forget());
        }
        let discarded = path.limits.outbound.tell(shaper);
        outbound.discard_many(Discard::ShapedOut, discarded);
    }

    /// Discards what waits because of the limit.
    fn forget(&mut self, reason: Discard) {
        let waiting = self.shaper.as_mut().map_or(0, Shaper::forget);
        self.outbound.discard_many(reason, waiting);
    }
}

/// Queues each segment by itself: one superpacket may be a large part of a second at a low rate.
fn queue(
    shaper: &mut Shaper,
    outbound: &Outbound,
    now: Instant,
    layer: Layer,
    packet: &impl Superpacket,
) {
    // All segments have the same headers.
    let ip_at = layer.ip_at(packet.header()).unwrap_or(usize::MAX);
    for index in 0..packet.count() {
        let len = packet.size_of(index);
        let arrival = Arrival { len, cost: outbound.outer_len(len), ip_at };
        shaper.push(now, arrival, |room| packet.write_segment(index, room));
    }
}

/// Answers a packet that belongs to nobody, unless one was answered just now.
fn tell_unreachable(
    tun: &Tun,
    now: Instant,
    packet: &impl Superpacket,
    told: &mut Option<Instant>,
) {
    if told.is_some_and(|told| now.since(told) < UNREACHABLE_INTERVAL) {
        return;
    }
    if let Some(answer) = icmp::unreachable(packet.header()) {
        *told = Some(now);
        // It is a courtesy: if the device does not take it, the sender waits.
        let _ = tun.write(&answer);
    }
}
