//! The control loop: one input to the tunnel, then every output of it, then sleep until the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use super::clock::{self, Alarm};
use super::endpoints::Endpoints;
use super::report::Report;
use super::service::Signals;
use super::{DataPath, HandshakeMessage};
use crate::proto::{Event, Now, Tunnel};
use crate::tun::{Link, underlay_route};
use crate::wire::Endpoint;
use crate::wire::transport::MAX_MTU;

/// TOS of handshake messages: AF41, as the kernel sends them, so that they pass where data queues.
const HANDSHAKE_TOS: u8 = 0x88;
/// What transport data adds to an inner packet: IP, UDP, and header and tag of WireGuard.
const OVERHEAD_V4: u32 = 20 + 8 + 32;
const OVERHEAD_V6: u32 = 40 + 8 + 32;
/// How often to look for hints while there is no link.
const STRANGERS_INTERVAL: Duration = Duration::from_secs(5);

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
}

/// The MTU that follows from the path to the peer.
pub(super) struct AutoMtu {
    pub(super) current: u32,
    pub(super) least: u32,
    pub(super) fwmark: u32,
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
        let mut strangers = tokio::time::interval(STRANGERS_INTERVAL);
        strangers.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.settle(clock::now()).await?;
            // In this order: what ends us, what is due, and last what strangers can fill.
            tokio::select! {
                biased;
                signal = signals.stop() => return Ok(Ended::Signal(signal)),
                Some(failure) = failures.recv() => return Ok(Ended::Failure(failure)),
                () = self.path.threads.control.notified() => self.tunnel.handle_facts(clock::now()),
                rang = self.alarm.ring() => {
                    rang.context("waiting for the alarm")?;
                    self.tunnel.handle_timeout(clock::now());
                }
                address = self.endpoints.resolved() => self.send_to(address).await,
                _ = strangers.tick(), if !self.report.link_is_up() => {
                    self.report.strangers(clock::boot(), self.tunnel.stats());
                }
                Some(HandshakeMessage { from, message }) = handshakes.recv() => {
                    let received =
                        self.tunnel.receive(clock::now(), from, &message, handshakes.len());
                    if let Err(reason) = received {
                        tracing::trace!(%from, reason = reason.name(), "discarded");
                    }
                }
            }
        }
    }

    /// Takes out of the tunnel what there is to send, to tell and to wake, and sets the alarm.
    async fn settle(&mut self, now: Now) -> anyhow::Result<()> {
        while let Some(event) = self.tunnel.poll_event() {
            self.report.event(now.boot, &event, self.tunnel.endpoint(), self.tunnel.stats());
            match event {
                Event::HandshakeUnanswered { sent } => {
                    if let Some(address) = self.endpoints.unanswered(sent) {
                        self.send_to(address).await;
                    }
                }
                Event::HandshakeCompleted { .. } | Event::EndpointMoved(_) => {
                    self.follow_path_mtu().await;
                }
                _ => {}
            }
        }
        while let Some(transmit) = self.tunnel.poll_transmit() {
            let bytes = transmit.message.as_bytes();
            self.path.underlay.send(&transmit.endpoint, bytes, HANDSHAKE_TOS);
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

    async fn send_to(&mut self, address: SocketAddr) {
        self.tunnel.set_endpoint(clock::now(), Endpoint::new(address));
        self.follow_path_mtu().await;
    }

    /// Sets the device's MTU to what the path to the peer carries, if it is to follow it.
    async fn follow_path_mtu(&mut self) {
        let (Some(mtu), Some(endpoint)) = (&mut self.auto_mtu, self.tunnel.endpoint()) else {
            return;
        };
        let remote = endpoint.remote.ip();
        let route = match underlay_route(remote, mtu.fwmark).await {
            Ok(route) => route,
            Err(error) => return tracing::debug!(%error, "the path's MTU is not known"),
        };
        if route.index == self.path.tun.index() {
            return tracing::warn!(
                %endpoint,
                "the route to the peer leads into the tunnel itself: take its address out of allowed_ips, or \
                 route it by another device"
            );
        }
        let overhead = if remote.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
        let wanted = route.mtu.saturating_sub(overhead).clamp(mtu.least, MAX_MTU);
        if wanted == mtu.current {
            return;
        }
        match self.link.set_mtu(wanted).await {
            Ok(()) => {
                tracing::info!(
                    mtu = wanted,
                    path_mtu = route.mtu,
                    "MTU follows the path to the peer"
                );
                mtu.current = wanted;
                self.tunnel.set_mtu(wanted as usize);
            }
            Err(error) => tracing::warn!(%error, "the MTU stays {}", mtu.current),
        }
    }
}
