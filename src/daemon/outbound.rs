//! The outbound thread: device → sealed datagrams → underlay.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::PollTimeout;

use super::DataPath;
use super::clock;
use super::sandbox;
use super::threads::{Pause, preempt_nobody, wait};
use crate::net::SendBatch;
use crate::proto::{Discard, Instant, Outbound};
use crate::tun::{ReadBuffer, Tun, TunFault};
use crate::wire::{Superpacket, icmp};

/// Most reads before the batch is flushed and orders are looked at again.
const MAX_READS: usize = 64;
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
        unreachable_told: None,
        pause: Pause::new(),
    };
    let threads = &path.threads;
    sandbox::confine_data_thread();
    while !threads.stopping() {
        let [packets, woken] =
            wait([path.tun.as_fd(), threads.outbound.as_fd()], PollTimeout::NONE)?;
        if woken {
            threads.outbound.take();
        }
        thread.turn(packets)?;
    }
    Ok(())
}

struct OutboundThread<'p> {
    path: &'p DataPath,
    outbound: Outbound,
    batch: SendBatch,
    buffer: ReadBuffer,
    unreachable_told: Option<Instant>,
    pause: Pause,
}

impl OutboundThread<'_> {
    /// Does what one wake-up is for; one clock reading for all of it.
    fn turn(&mut self, packets: bool) -> anyhow::Result<()> {
        let now = clock::boot();
        self.batch.set_endpoint(self.outbound.endpoint());
        self.outbound.obey(now, &mut self.batch);
        let read = if packets { self.read(now) } else { Ok(()) };
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
        for _ in 0..MAX_READS {
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
            let sent = self.outbound.send(now, &packet, &mut self.batch);
            if sent == Err(Discard::DestinationNotAllowed) {
                tell_unreachable(&self.path.tun, now, &packet, &mut self.unreachable_told);
            }
        }
        Ok(())
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
