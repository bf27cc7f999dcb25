//! The inbound thread: underlay → opened in place → device; handshake messages go to control.

use std::os::fd::AsFd;

use tokio::sync::mpsc;

use super::shaper::{Arrival, Shaper, end_of_release, until_last_release, until_release};
use super::threads::{Pause, wait};
use super::{DataPath, HandshakeMessage, clock, sandbox};
use crate::net::{Family, ReceivedRun, RecvBuffer, Sockets};
use crate::proto::{Discard, Inbound, Instant, Received};
use crate::tun::{Coalescer, TunFault};
use crate::wire::Layer;
use crate::wire::piece::{FRAGMENT_START, MAX_FRAGMENTS};
use crate::wire::transport::OVERHEAD;

/// Most receive calls on one socket before the other one is looked at.
const MAX_RECEIVES: usize = 64;

/// Bytes that are released before they are written to the device.
const MAX_RELEASED: usize = 256 * 1024;

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
        shaper: None,
        released: Vec::new(),
        pause: Pause::new(),
    };
    sandbox::confine_data_thread();
    let ended = thread.run();
    thread.forget(Discard::ShapedIn);
    ended
}

struct InboundThread<'p> {
    path: &'p DataPath,
    inbound: &'p mut Inbound,
    handshakes: mpsc::Sender<HandshakeMessage>,
    buffer: RecvBuffer,
    coalescer: Coalescer,
    /// With a limit only.
    shaper: Option<Shaper>,
    /// What it lets go, on the way to the device.
    released: Vec<u8>,
    pause: Pause,
}

impl InboundThread<'_> {
    fn run(&mut self) -> anyhow::Result<()> {
        let (path, wake) = (self.path, &self.path.threads.inbound);
        let mut ports: Vec<_> = path.underlay.sockets().collect();
        while !path.threads.stopping() {
            // A socket that is not there is stood in for by the wake: its receive call brings nothing.
            let fd = |port: usize, family| {
                ports.get(port).and_then(|sockets| sockets.fd(family)).unwrap_or(wake.as_fd())
            };
            let [v4, v6] = Family::ALL;
            let fds = [fd(0, v4), fd(0, v6), fd(1, v4), fd(1, v6), wake.as_fd()];
            let [readable @ .., woken] = wait(fds, until_release(&self.shaper))?;
            if woken {
                wake.take();
            }
            self.obey();
            self.shape()?;
            for (sockets, readable) in ports.iter().zip(readable.chunks(Family::ALL.len())) {
                for (family, _) in Family::ALL.into_iter().zip(readable).filter(|(_, is)| **is) {
                    self.drain(sockets, family)?;
                }
            }
            if woken {
                ports = path.underlay.sockets().collect();
            }
        }
        let end = end_of_release();
        while let Some(pause) = until_last_release(&self.shaper, end) {
            wait([], Some(pause))?;
            self.obey();
            self.shape()?;
        }
        Ok(())
    }

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

    /// Does what control ordered. What waits because of the limit is forgotten if it is from a peer that is another one now.
    fn obey(&mut self) {
        if self.inbound.obey() {
            self.forget(Discard::OtherPeer);
        }
    }

    /// Discards what waits because of the limit.
    fn forget(&mut self, reason: Discard) {
        let waiting = self.shaper.as_mut().map_or(0, Shaper::forget);
        self.inbound.discard_many(reason, waiting);
    }

    /// Opens the datagrams of one receive call where they lie.
    fn receive(&mut self, now: Instant, run: &ReceivedRun) -> Result<(), TunFault> {
        self.obey();
        for place in run.places() {
            let datagram = self.buffer.datagram_mut(place.clone());
            let len = datagram.len();
            let cost = len.saturating_add(run.endpoint.header_len());
            match self.inbound.receive(now, run.endpoint, run.ecn, datagram) {
                Ok(Received::Packet(packet)) if let Some(shaper) = &mut self.shaper => {
                    push(shaper, now, self.path.tun.layer(), cost, packet);
                }
                Ok(Received::Packet(packet)) => {
                    let len = packet.len();
                    let start = place.start.saturating_add(self.inbound.packet_at());
                    self.coalescer.push(self.buffer.bytes(), start..start.saturating_add(len));
                }
                Ok(Received::Frame) => self.deliver_frame(now, len, run.endpoint.header_len())?,
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
    /// Its last fragment was a datagram of `len` bytes; the others were as long, or a little longer.
    fn deliver_frame(&mut self, now: Instant, len: usize, header: usize) -> Result<(), TunFault> {
        let frame = self.inbound.frame();
        if let Some(shaper) = &mut self.shaper {
            let fragments = frame.len().div_ceil(len.max(1)).clamp(1, MAX_FRAGMENTS);
            let each = header.saturating_add(OVERHEAD).saturating_add(FRAGMENT_START);
            let cost = frame.len().saturating_add(fragments.saturating_mul(each));
            push(shaper, now, self.path.tun.layer(), cost, frame);
            return Ok(());
        }
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
        written.and_then(|()| self.release(now))
    }

    /// Follows the limit, and goes on with what waits because of it.
    fn shape(&mut self) -> Result<(), TunFault> {
        let limit = &self.path.limits.inbound;
        if self.shaper.is_none() && limit.is_open() {
            return Ok(());
        }
        let now = clock::boot();
        limit.follow(&mut self.shaper, now);
        self.release(now)
    }

    /// Writes what the limit lets go now to the device.
    fn release(&mut self, now: Instant) -> Result<(), TunFault> {
        let Self { path, inbound, coalescer, shaper: Some(shaper), released, .. } = self else {
            return Ok(());
        };
        loop {
            released.clear();
            while released.len() < MAX_RELEASED
                && shaper.release(now, |packet| {
                    let start = released.len();
                    released.extend_from_slice(packet);
                    coalescer.push(released, start..released.len());
                })
            {}
            if released.is_empty() {
                break;
            }
            path.tun.flush(coalescer, released)?;
        }
        let discarded = path.limits.inbound.tell(shaper);
        inbound.discard_many(Discard::ShapedIn, discarded);
        Ok(())
    }
}

/// Queues a packet or frame.
fn push(shaper: &mut Shaper, now: Instant, layer: Layer, cost: usize, packet: &[u8]) {
    let ip_at = layer.ip_at(packet).unwrap_or(packet.len());
    let arrival = Arrival { len: packet.len(), cost, ip_at };
    shaper.push(now, arrival, |room| room.copy_from_slice(packet));
}
