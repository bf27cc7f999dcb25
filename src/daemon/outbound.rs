//! The outbound thread: device → sealed datagrams → underlay.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::PollTimeout;

use super::DataPath;
use super::clock;
use super::threads::wait;
use crate::net::SendBatch;
use crate::proto::{Discard, Instant, Outbound};
use crate::tun::{ReadBuffer, TunFault};
use crate::wire::{Superpacket, icmp};

/// Most reads before the batch is flushed and orders are looked at again.
const MAX_READS: usize = 64;
/// Least time between two answers to packets that belong to nobody.
const UNREACHABLE_INTERVAL: Duration = Duration::from_millis(100);

/// Runs until told to stop, or until the device is gone.
pub(super) fn run(path: &DataPath, outbound: Outbound) -> anyhow::Result<()> {
    let mut thread = OutboundThread {
        path,
        outbound,
        batch: SendBatch::new(Arc::clone(&path.underlay)),
        buffer: ReadBuffer::new(),
        unreachable_told: None,
    };
    let threads = &path.threads;
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
}

impl OutboundThread<'_> {
    /// Does what one wake-up is for; one clock reading for all of it.
    fn turn(&mut self, packets: bool) -> Result<(), TunFault> {
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

    fn read(&mut self, now: Instant) -> Result<(), TunFault> {
        for _ in 0..MAX_READS {
            let packet = match self.path.tun.read(&mut self.buffer) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(fault) if fault.is_fatal() => return Err(fault),
                // A device that is down stays readable in error: waiting for it is control's job.
                Err(TunFault::Down) => break,
                Err(fault) => {
                    tracing::trace!(%fault, "a packet from the device was discarded");
                    continue;
                }
            };
            if self.outbound.send(now, &packet, &mut self.batch)
                == Err(Discard::DestinationNotAllowed)
            {
                let answers = self
                    .unreachable_told
                    .is_none_or(|told| now.since(told) >= UNREACHABLE_INTERVAL);
                if answers
                    && let Some(answer) = icmp::unreachable(packet.header(), &self.path.addresses)
                {
                    self.unreachable_told = Some(now);
                    let _ = self.path.tun.write(&answer);
                }
            }
        }
        Ok(())
    }
}
