//! Reload: the file is read anew and taken on as a whole, or not at all. What did not change is not touched: sessions live on
//! while both static keys and the profile stay.

use std::os::fd::AsFd as _;

use super::control::Control;
use super::dns::Dns;
use super::endpoints::Endpoints;
use super::kill_switch::KillSwitch;
use super::observer::About;
use super::parameters::parameters;
use super::reader::{Request, TakenOn};
use super::report::Report;
use super::{clock, handover, service, status, trial};
use crate::config::{Config, ConfigError, Shaping};
use crate::net::Sockets;

/// The file asks for what only a restart can do.
#[derive(Debug, thiserror::Error)]
#[error("{0} needs a restart")]
struct NeedsRestart(&'static str);

impl Control {
    /// Does with a file what it was read for, or refuses that: then all stays as it is. The reason is logged.
    pub(super) async fn take_in(&mut self, request: Request, read: Result<Config, ConfigError>) {
        service::reloading();
        let obeyed = self.obey(&request, read).await;
        let taken_on: TakenOn = obeyed.map_err(|error| format!("{error:#}"));
        match &taken_on {
            Ok(_) => service::ready(&self.running()),
            Err(reason) => {
                tracing::error!("not reloaded, and running on as before: {reason}");
                service::ready(&format!("{}; the last reload failed: see the log", self.running()));
            }
        }
        request.answer(taken_on);
    }

    async fn obey(
        &mut self,
        request: &Request,
        read: Result<Config, ConfigError>,
    ) -> anyhow::Result<Option<String>> {
        if let Some(trial) = &self.trial {
            let status::Trial { id, seconds_left, .. } = trial.status(clock::boot());
            let seconds = seconds_left.ceil();
            anyhow::bail!(
                "a configuration is being tried, as trial {id}: ask again when it is kept, or gone back from, in {seconds} s at the latest"
            );
        }
        let config = read?;
        let trial = match request.trial {
            Some(time) => Some((trial::new_id()?, time)),
            None => None,
        };
        self.take_on(&config).await?;
        let before = std::mem::replace(&mut self.config, config);
        let own = self.reader.own();
        let Some((id, time)) = trial else {
            tracing::info!(file = %own.display(), "reloaded");
            self.tell_listeners("reloaded", None);
            return Ok(None);
        };
        let file = request.file.as_deref().unwrap_or(own).to_owned();
        self.begin_trial(id.clone(), time, file, before);
        Ok(Some(id))
    }

    /// Runs the link by `config` from now on.
    ///
    /// # Errors
    /// It needs a restart, or the system refuses: all stays as it is.
    pub(super) async fn take_on(&mut self, config: &Config) -> anyhow::Result<()> {
        refuse_what_needs_a_restart(&self.config, config)?;
        let mark = self.path.underlay.set_fwmark(config.mark())?;
        match self.change_network(config).await {
            Ok((kill_switch, sockets)) => {
                handover::keep_kill_switch(&config.interface.name, kill_switch.as_ref());
                self.kill_switch = kill_switch;
                self.take_on_the_rest(config, sockets).await;
                Ok(())
            }
            Err(error) => {
                // First what keeps packets back.
                let reinstated = self.kill_switch.as_ref().map_or(Ok(()), KillSwitch::reinstate);
                self.path.underlay.set_fwmark(mark)?;
                reinstated?;
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

    /// What cannot fail.
    async fn take_on_the_rest(&mut self, config: &Config, sockets: Option<Sockets>) {
        if config.log_level != self.config.log_level && !(self.set_log_level)(config.log_level) {
            tracing::warn!(
                "[log] level changes nothing: TUNNELD_LOG holds as long as this process runs"
            );
        }
        let dns = Dns::new(config, &self.path.tun);
        if dns != self.dns {
            self.dns = dns.clone();
            self.tell_name_servers(async move { dns.tell_anew().await });
        }
        let ours = config.interface.private_key.public_key();
        let other_pair = self.state.switch(&ours, &config.peer.public_key).await;
        // Another profile ends the sessions too, but the peer stays where it is.
        let begins_anew = other_pair || config.peer.profile != self.tunnel.profile();
        let calls = config.peer.persistent_keepalive.is_some();
        self.observer.take_on(clock::boot(), About::new(config), begins_anew, calls);
        if begins_anew {
            self.report = Report::new(ours);
            self.hooks.lose_peer();
        }
        self.hooks.take_on(config);
        self.reshape(&config.interface.shaping);
        self.tunnel.reconfigure(clock::now(), &parameters(config, self.state.timestamp()));
        let endpoints = &config.peer.endpoints;
        if other_pair || !self.endpoints.are(endpoints) {
            self.tunnel.set_endpoints(endpoints.len());
            self.endpoints = Endpoints::new(endpoints.clone());
        }
        if let Some(sockets) = sockets {
            handover::keep_underlay(&sockets);
            self.path.underlay.replace(sockets);
            // The new ones have no filter yet.
            self.screen = None;
            self.path.threads.inbound.wake();
            self.tunnel.network_changed(clock::now());
        }
        if other_pair {
            self.tell_listeners("keys_changed", None);
        }
    }

    /// Takes on the limits, under which what waits goes on waiting, and what is written on packets.
    fn reshape(&self, shaping: &Shaping) {
        let path = &self.path;
        self.tunnel.set_rewrites(shaping.copy_dscp, shaping.clamp_mss);
        path.limits.take_on(shaping);
        path.threads.outbound.wake();
        path.threads.inbound.wake();
    }

    /// What the service manager shows.
    pub(super) fn running(&self) -> String {
        let trial = if self.trial.is_some() { "; trying a configuration" } else { "" };
        format!("running {}, UDP port {}{trial}", self.path.tun.name(), self.path.underlay.port())
    }
}

fn refuse_what_needs_a_restart(before: &Config, config: &Config) -> Result<(), NeedsRestart> {
    if config.interface.name != before.interface.name {
        return Err(NeedsRestart("[interface] name"));
    }
    if config.interface.layer() != before.interface.layer() {
        return Err(NeedsRestart("[interface] mode"));
    }
    if config.interface.offload != before.interface.offload {
        return Err(NeedsRestart("[interface] offload"));
    }
    if config.metrics != before.metrics {
        return Err(NeedsRestart("[metrics] listen"));
    }
    Ok(())
}
