//! Reload: the file is read anew and taken on as a whole, or not at all. What did not change is not touched: sessions live on
//! while both static keys stay.

use anyhow::Context as _;
use tokio::task::spawn_blocking;

use super::control::Control;
use super::endpoints::Endpoints;
use super::report::Report;
use super::{clock, handover, link_settings, parameters, service};
use crate::config::{Config, Interface, Offload, Peer};
use crate::net::Sockets;

/// What only a restart can change.
pub(super) struct Fixed {
    pub(super) name: String,
    pub(super) offload: Offload,
}

/// The file asks for what only a restart can do.
#[derive(Debug, thiserror::Error)]
#[error("[interface] {0} needs a restart: systemctl restart tunneld")]
struct NeedsRestart(&'static str);

impl Control {
    /// Takes on what the file says now. If it is wrong, or the system refuses, all stays as it is, and the reason is told.
    pub(super) async fn reload(&mut self) {
        service::reloading();
        let told = match self.take_on_file().await {
            Ok(()) => {
                tracing::info!(file = %self.file.display(), "reloaded");
                self.running()
            }
            Err(error) => {
                tracing::error!("not reloaded, and running on as before: {error:#}");
                format!("{}; the last reload failed: see the log", self.running())
            }
        };
        service::ready(&told);
    }

    async fn take_on_file(&mut self) -> anyhow::Result<()> {
        let file = self.file.clone();
        // A disk may be slow, and handshakes do not wait for it.
        let config =
            spawn_blocking(move || Config::load(&file)).await.context("reading the file")??;
        self.fixed.refuse_others(&config.interface)?;
        let underlay = &self.path.underlay;
        let fwmark = underlay.set_fwmark(config.interface.fwmark)?;
        match self.change_network(&config.interface, &config.peer).await {
            Ok(sockets) => self.take_on(config, sockets).await,
            Err(error) => {
                self.path.underlay.set_fwmark(fwmark)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// All that can fail: opens the sockets of another port, and gives the device its addresses, routes and MTU.
    async fn change_network(
        &mut self,
        interface: &Interface,
        peer: &Peer,
    ) -> anyhow::Result<Option<Sockets>> {
        let sockets = self.path.underlay.open(interface.listen_port)?;
        let settings = link_settings(interface, &peer.allowed_ips);
        self.network.take_on(interface, settings, &self.tunnel).await?;
        Ok(sockets)
    }

    /// The rest, which cannot fail.
    async fn take_on(&mut self, config: Config, sockets: Option<Sockets>) {
        let ours = config.interface.private_key.public_key();
        let other_pair = self.state.switch(&ours, &config.peer.public_key).await;
        if other_pair {
            self.report = Report::new(ours);
        }
        let (parameters, endpoints) = parameters(config, self.state.timestamp());
        self.tunnel.reconfigure(clock::now(), &parameters);
        if other_pair || !self.endpoints.are(&endpoints) {
            self.tunnel.set_endpoints(endpoints.len());
            self.endpoints = Endpoints::new(endpoints);
        }
        if let Some(sockets) = sockets {
            handover::keep_underlay(&sockets);
            self.path.underlay.replace(sockets);
            // The new ones have no filter yet.
            self.screen = None;
            self.path.threads.inbound.wake();
            self.tunnel.network_changed(clock::now());
        }
    }

    /// What the service manager shows.
    pub(super) fn running(&self) -> String {
        format!("running {}, UDP port {}", self.path.tun.name(), self.path.underlay.port())
    }
}

impl Fixed {
    fn refuse_others(&self, interface: &Interface) -> Result<(), NeedsRestart> {
        match interface {
            _ if interface.name != self.name => Err(NeedsRestart("name")),
            _ if interface.offload != self.offload => Err(NeedsRestart("offload")),
            _ => Ok(()),
        }
    }
}
