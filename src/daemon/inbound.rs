//! The inbound thread: underlay → opened in place → device; handshake messages go to control.

use std::os::fd::AsFd;

use nix::poll::PollTimeout;
use tokio::sync::mpsc;

use super::threads::{Pause, wait};
use super::{DataPath, HandshakeMessage, clock, sandbox};
use crate::net::{Family, ReceivedRun, RecvBuffer, Sockets};
use crate::proto::{Discard, Inbound, Instant, Received};
use crate::tun::{Coalescer, TunFault};

/// Most receive calls on one socket before the other one is looked at.
const MAX_RECEIVES: usize = 64;

/// Runs until told to stop, or until the device is gone.
pub(super) fn run(
    path: &DataPath,
    inbound: &mut Inbound,
    handshakes: mpsc::Sender<HandshakeMessage>,
) -> anyhow::Result<()> {
    let mut thread = InboundThread {
        path,
        inbound,
        handshakes,
        buffer: RecvBuffer::new(),
        coalescer: Coalescer::new(path.tun.layer(), path.tun.takes()),
        pause: Pause::new(),
    };
    let wake = &path.threads.inbound;
    let mut ports: Vec<_> = path.underlay.sockets().collect();
    sandbox::confine_data_thread();
    while !path.threads.stopping() {
        // A socket that is not there is stood in for by the wake: its receive call brings nothing.
        let fd = |port: usize, family| {
            ports.get(port).and_then(|sockets| sockets.fd(family)).unwrap_or(wake.as_fd())
        };
        let [v4, v6] = Family::ALL;
        let fds = [fd(0, v4), fd(0, v6), fd(1, v4), fd(1, v6), wake.as_fd()];
        let [readable @ .., woken] = wait(fds, PollTimeout::NONE)?;
        if woken {
            wake.take();
        }
        thread.inbound.obey();
        for (sockets, readable) in ports.iter().zip(readable.chunks(Family::ALL.len())) {
            for (family, _) in Family::ALL.into_iter().zip(readable).filter(|(_, is)| **is) {
                thread.drain(sockets, family)?;
            }
        }
        if woken {
            ports = path.underlay.sockets().collect();
        }
    }
    Ok(())
}

struct InboundThread<'p> {
    path: &'p DataPath,
    inbound: &'p mut Inbound,
    handshakes: mpsc::Sender<HandshakeMessage>,
    buffer: RecvBuffer,
    coalescer: Coalescer,
    pause: Pause,
}

impl InboundThread<'_> {
    /// Takes what waits on one socket to the device.
    fn drain(&mut self, sockets: &Sockets, family: Family) -> anyhow::Result<()> {
        let now = clock::boot();
        for _ in 0..MAX_RECEIVES {
            match self.path.underlay.receive(sockets, family, &mut self.buffer) {
                Ok(Some(run)) => {
                    self.pause.end();
                    self.receive(now, &run)?;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "receiving failed");
                    self.deliver(now)?;
                    return Ok(self.pause.wait(&self.path.threads.inbound)?);
                }
            }
            if self.buffer.is_full() {
                self.deliver(now)?;
            }
        }
        Ok(self.deliver(now)?)
    }

    /// Opens the datagrams of one receive call where they lie.
    fn receive(&mut self, now: Instant, run: &ReceivedRun) -> Result<(), TunFault> {
        self.inbound.obey();
        for place in run.places() {
            let datagram = self.buffer.datagram_mut(place.clone());
            match self.inbound.receive(now, run.endpoint, run.ecn, datagram) {
                Ok(Received::Packet(packet)) => {
                    let len = packet.len();
                    let start = place.start.saturating_add(self.inbound.packet_at());
                    self.coalescer.push(self.buffer.bytes(), start..start.saturating_add(len));
                }
                Ok(Received::Frame) => self.deliver_frame()?,
                Ok(Received::Keepalive | Received::Fragment) => {}
                Ok(Received::Handshake(message)) => {
                    let message = HandshakeMessage { from: run.endpoint, message };
                    if self.handshakes.try_send(message).is_err() {
                        self.inbound.discard(Discard::HandshakeQueueFull);
                    }
                }
                Err(reason) => {
                    tracing::trace!(from = %run.endpoint, reason = reason.name(), "discarded");
                }
            }
        }
        Ok(())
    }

    /// Puts a frame that came in fragments behind what is to be written; if there is no room, writes it.
    fn deliver_frame(&mut self) -> Result<(), TunFault> {
        let frame = self.inbound.frame();
        if let Some(place) = self.buffer.append(frame) {
            self.coalescer.push(self.buffer.bytes(), place);
            return Ok(());
        }
        self.path.tun.flush(&mut self.coalescer, self.buffer.bytes())?;
        match self.path.tun.write(frame) {
            Err(fault) if fault.is_fatal() => Err(fault),
            _ => Ok(()),
        }
    }

    /// Writes the packets of all receive calls since the last time to the device.
    fn deliver(&mut self, now: Instant) -> Result<(), TunFault> {
        self.inbound.finish(now);
        if self.inbound.take_wake() {
            self.path.threads.control.notify_one();
        }
        let written = self.path.tun.flush(&mut self.coalescer, self.buffer.bytes());
        self.buffer.clear();
        written
    }
}
