//! Reload: the file is read anew and taken on as a whole, or not at all. What did not change is not touched: sessions live on
//! while both static keys and the profile stay.

use std::os::fd::AsFd as _;

use super::control::Control;
use super::dns::Dns;
use super::endpoints::Endpoints;
use super::kill_switch::KillSwitch;
use super::observer::About;
use super::parameters::{parameters, rewrite};
use super::report::Report;
use super::{clock, handover, service};
use crate::config::{Config, Metrics, Offload, Shaping};
use crate::net::Sockets;
use crate::wire::Layer;

/// What only a restart can change.
pub(super) struct Fixed {
    pub(super) name: String,
    pub(super) offload: Offload,
    pub(super) metrics: Option<Metrics>,
    pub(super) layer: Layer,
}

impl Fixed {
    pub(super) fn new(config: &Config) -> Self {
        let Config { interface, metrics, .. } = config;
        Self {
            name: interface.name.clone(),
            offload: interface.offload,
            metrics: *metrics,
            layer: interface.layer(),
        }
    }
}

/// The file asks for what only a restart can do.
#[derive(Debug, thiserror::Error)]
#[error("{0} needs a restart")]
struct NeedsRestart(&'static str);

impl Control {
    /// Takes on what the file says now.
    ///
    /// # Errors
    /// The file is wrong, or the system refuses: all stays as it is. The reason is logged too.
    pub(super) async fn reload(&mut self) -> Result<(), String> {
        service::reloading();
        let taken_on = self.take_on_file().await.map_err(|error| format!("{error:#}"));
        match &taken_on {
            Ok(()) => {
                tracing::info!(file = %self.file.display(), "reloaded");
                service::ready(&self.running());
            }
            Err(reason) => {
                tracing::error!("not reloaded, and running on as before: {reason}");
                service::ready(&format!("{}; the last reload failed: see the log", self.running()));
            }
        }
        taken_on
    }

    async fn take_on_file(&mut self) -> anyhow::Result<()> {
        let config = Config::load(&self.file)?;
        self.fixed.refuse_others(&config)?;
        let mark = self.path.underlay.set_fwmark(config.mark())?;
        match self.change_network(&config).await {
            Ok((kill_switch, sockets)) => {
                handover::keep_kill_switch(&self.fixed.name, kill_switch.as_ref());
                self.kill_switch = kill_switch;
                self.take_on(config, sockets).await;
                Ok(())
            }
            Err(error) => {
                self.path.underlay.set_fwmark(mark)?;
                if let Some(kill_switch) = &self.kill_switch {
                    kill_switch.reinstate()?;
                }
                Err(error)
            }
        }
    }

    /// All that can fail: the kill switch; the sockets of another port; addresses, routes and MTU of the device.
    async fn change_network(
        &mut self,
        config: &Config,
    ) -> anyhow::Result<(Option<KillSwitch>, Option<Sockets>)> {
        let socket = self.kill_switch.as_ref().map(|before| before.as_fd().try_clone_to_owned());
        let kill_switch = KillSwitch::of(config, socket.transpose()?)?;
        let sockets = self.path.underlay.open(config.interface.listen_port)?;
        self.network.take_on(config, &self.tunnel).await?;
        Ok((kill_switch, sockets))
    }

    /// The rest, which cannot fail.
    async fn take_on(&mut self, config: Config, sockets: Option<Sockets>) {
        let dns = Dns::new(&config, &self.path.tun);
        if dns != self.dns {
            self.dns = dns.clone();
            self.tell_name_servers(async move { dns.tell_anew().await });
        }
        let ours = config.interface.private_key.public_key();
        let other_pair = self.state.switch(&ours, &config.peer.public_key).await;
        // Another profile ends the sessions too, but the peer stays where it is.
        let begins_anew = other_pair || config.peer.profile != self.tunnel.profile();
        let calls = config.peer.persistent_keepalive.is_some();
        self.observer.take_on(clock::boot(), About::new(&config), begins_anew, calls);
        if begins_anew {
            self.report = Report::new(ours);
            self.hooks.lose_peer();
        }
        self.hooks.take_on(&config);
        self.reshape(&config.interface.shaping);
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

    /// Takes on the limits, under which what waits goes on waiting, and what is written on packets.
    fn reshape(&self, shaping: &Shaping) {
        let path = &self.path;
        rewrite(&self.tunnel, shaping);
        path.limits.take_on(shaping);
        path.threads.outbound.wake();
        path.threads.inbound.wake();
    }

    /// What the service manager shows.
    pub(super) fn running(&self) -> String {
        format!("running {}, UDP port {}", self.path.tun.name(), self.path.underlay.port())
    }
}

impl Fixed {
    fn refuse_others(&self, config: &Config) -> Result<(), NeedsRestart> {
        let other = Self::new(config);
        if other.name != self.name {
            return Err(NeedsRestart("[interface] name"));
        }
        if other.layer != self.layer {
            return Err(NeedsRestart("[interface] mode"));
        }
        if other.offload != self.offload {
            return Err(NeedsRestart("[interface] offload"));
        }
        if other.metrics != self.metrics {
            return Err(NeedsRestart("[metrics] listen"));
        }
        Ok(())
    }
}
