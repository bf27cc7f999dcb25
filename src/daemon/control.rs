//! The control loop: one input to the tunnel, then every output of it, then sleep until the next.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::clock::{self, Alarm};
use super::endpoints::Endpoints;
use super::report::Report;
use super::service::Signals;
use super::{DataPath, HandshakeMessage, entropy};
use crate::proto::{Discard, Event, Now, Tunnel};
use crate::tun::{Link, underlay_route};
use crate::wire::Endpoint;
use crate::wire::transport::MAX_MTU;

/// TOS of handshake messages: AF41, as the kernel sends them, so that they pass where data queues.
const HANDSHAKE_TOS: u8 = 0x88;
/// What transport data adds to an inner packet: IP, UDP, and header and tag of WireGuard.
const OVERHEAD_V4: u32 = 20 + 8 + 32;
const OVERHEAD_V6: u32 = 40 + 8 + 32;
/// How often to look for hints while there is no link.
const HINTS_INTERVAL: Duration = Duration::from_secs(5);

/// Most handshake messages taken in before what they lead to is sent.
const BATCH: usize = 16;

/// Least time between two looks at the path to the peer, however often it moves.
const PATH_INTERVAL: Duration = Duration::from_secs(1);

/// Owned by the control thread.
pub(super) struct Control {
    pub(super) path: Arc<DataPath>,
    pub(super) tunnel: Tunnel,
    pub(super) report: Report,
    pub(super) endpoints: Endpoints,
    pub(super) alarm: Alarm,
    pub(super) link: Link,
    /// The device's MTU, if it is to follow the path.
    pub(super) auto_mtu: Option<AutoMtu>,
    /// Mark of outer packets.
    pub(super) fwmark: u32,
    /// The peer may be reached by another way than when the path was looked at.
    pub(super) path_changed: bool,
    /// An address that somebody called from and that may lie inside the tunnel.
    pub(super) suspect: Option<IpAddr>,
}

/// The MTU that follows from the path to the peer.
pub(super) struct AutoMtu {
    pub(super) current: u32,
    pub(super) least: u32,
}

/// Why the loop ended.
pub(super) enum Ended {
    /// By a signal, named.
    Signal(&'static str),
    /// As a data thread did.
    Failure(anyhow::Error),
}

impl Control {
    /// Runs until a signal or a failed data thread ends it.
    pub(super) async fn run(
        &mut self,
        mut signals: Signals,
        mut failures: mpsc::Receiver<anyhow::Error>,
        mut handshakes: mpsc::Receiver<HandshakeMessage>,
    ) -> anyhow::Result<Ended> {
        self.tunnel.start(clock::now());
        let mut batch = Vec::with_capacity(BATCH);
        let mut hints = interval(HINTS_INTERVAL);
        let mut looks = interval(PATH_INTERVAL);
        loop {
            self.settle(clock::now())?;
            // In this order: what ends us, what is due, and last what strangers can fill.
            tokio::select! {
                biased;
                signal = signals.stop() => return Ok(Ended::Signal(signal)),
                Some(failure) = failures.recv() => return Ok(Ended::Failure(failure)),
                rang = self.alarm.ring() => {
                    rang.context("waiting for the alarm")?;
                    self.count_not_received();
                    self.tunnel.handle_timeout(clock::now());
                }
                () = self.path.threads.control.notified() => self.tunnel.handle_facts(clock::now()),
                _ = looks.tick(), if self.path_changed || self.suspect.is_some() => {
                    self.look_at_suspect().await;
                    self.look_at_path().await;
                }
                address = self.endpoints.resolved() => {
                    // Where an authentic packet came from is better than what a name says.
                    if self.tunnel.seeks_peer(clock::boot()) {
                        self.send_to(address);
                    }
                }
                _ = hints.tick(), if !self.report.link_is_up() => {
                    self.report.strangers(clock::boot(), self.tunnel.stats());
                }
                1.. = handshakes.recv_many(&mut batch, BATCH) => {
                    self.receive(&mut batch, handshakes.len());
                }
            }
        }
    }

    /// Takes in handshake messages, with `queued` more of them waiting.
    fn receive(&mut self, batch: &mut Vec<HandshakeMessage>, queued: usize) {
        let now = clock::now();
        let waiting = batch.len() + queued;
        for (HandshakeMessage { from, message }, taken) in batch.drain(..).zip(1..) {
            if let Err(reason) = self.tunnel.receive(now, from, &message, waiting - taken) {
                tracing::trace!(%from, reason = reason.name(), "discarded");
            }
        }
    }

    /// Counts what the kernel discarded.
    pub(super) fn count_not_received(&self) {
        let discarded = self.path.underlay.take_discarded();
        self.tunnel.stats().discard_many(Discard::NotReceived, discarded);
    }

    /// Takes out of the tunnel what there is to send, to tell and to wake, and sets the alarm.
    fn settle(&mut self, now: Now) -> anyhow::Result<()> {
        while let Some(event) = self.tunnel.poll_event() {
            self.report.event(now.boot, &event, self.tunnel.endpoint(), self.tunnel.stats());
            match event {
                Event::HandshakeUnanswered { sent } => {
                    if let Some(address) = self.endpoints.unanswered(sent) {
                        self.send_to(address);
                    }
                }
                Event::HandshakeCompleted { .. } => {
                    self.tunnel.mix(&*entropy()?);
                    self.path_changed = true;
                }
                Event::EndpointMoved(_) => self.path_changed = true,
                _ => {}
            }
        }
        self.suspect = self.tunnel.take_suspect().or(self.suspect);
        while let Some(transmit) = self.tunnel.poll_transmit() {
            let bytes = transmit.message.as_bytes();
            self.path.underlay.send(&transmit.endpoint, bytes, HANDSHAKE_TOS);
        }
        if let Some(screen) = self.tunnel.take_screen() {
            self.path.underlay.screen(screen.as_ref());
        }
        if self.tunnel.inbound_has_orders() {
            self.path.threads.inbound.wake();
        }
        if self.tunnel.outbound_has_orders() {
            self.path.threads.outbound.wake();
        }
        let next = self.tunnel.poll_timeout().map(|(at, _)| at);
        self.alarm.set(next).context("setting the alarm")
    }

    fn send_to(&mut self, address: SocketAddr) {
        self.tunnel.set_endpoint(clock::now(), Endpoint::new(address));
        self.path_changed = true;
    }

    /// Looks up whether somebody calls from inside the tunnel or only from an address that looks so.
    async fn look_at_suspect(&mut self) {
        let Some(ip) = self.suspect.take() else { return };
        match underlay_route(ip, self.fwmark).await {
            Ok(route) if route.index != self.path.tun.index() => self.tunnel.set_outside(ip),
            _ => tracing::debug!(%ip, "a message came from inside the tunnel"),
        }
    }

    /// Looks up the way to the peer: a loop is told, and the device's MTU set to what the path carries, if it is
    /// to follow it.
    async fn look_at_path(&mut self) {
        if !std::mem::take(&mut self.path_changed) {
            return;
        }
        let Some(endpoint) = self.tunnel.endpoint() else { return };
        let remote = endpoint.remote.ip();
        let route = match underlay_route(remote, self.fwmark).await {
            Ok(route) => route,
            Err(error) => return tracing::debug!(%error, "the way to the peer is not known"),
        };
        if route.index == self.path.tun.index() {
            return self.report.loops(clock::boot(), endpoint);
        }
        let Some(mtu) = &mut self.auto_mtu else { return };
        let overhead = if remote.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
        let wanted = route.mtu.saturating_sub(overhead).clamp(mtu.least, MAX_MTU);
        if wanted == mtu.current {
            return;
        }
        match self.link.set_mtu(wanted).await {
            Ok(()) => {
                self.report.mtu(clock::boot(), wanted, route.mtu);
                mtu.current = wanted;
                self.tunnel.set_mtu(wanted as usize);
            }
            Err(error) => tracing::warn!(%error, "the MTU stays {}", mtu.current),
        }
    }
}

/// Ticks at once, and then at most once in `period`.
fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
