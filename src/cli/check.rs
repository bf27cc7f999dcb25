//! `tunneld check`: says what a configuration means, or what is wrong with it.

use std::fmt::{self, Display};
use std::path::Path;

use super::{line, list, or};
use crate::config::{Config, DEFAULT_LEVEL, Ethernet, Hooks, Offload, Shaping, Table, level_name};
use crate::crypto::PresharedKey;
use crate::wire::mss::ClampMss;

/// Loads `path` and prints what it means; no secrets.
///
/// # Errors
/// What is wrong with the configuration, or standard output.
pub fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let mut text = format!("{}: ok\n{}", path.display(), Summary(&config));
    for note in config.notes() {
        text.push_str(&format!("note: {note}\n"));
    }
    Ok(super::print(&text)?)
}

/// The configuration in words, one line for each value; our own public key instead of the private one, because the
/// other host needs it.
struct Summary<'a>(&'a Config);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { interface, peer, hooks, metrics, log_level } = self.0;
        writeln!(f, "interface")?;
        line(f, "name", &interface.name)?;
        if let Some(ethernet) = &interface.ethernet {
            self::ethernet(f, ethernet)?;
        }
        let addresses = Some(list(&interface.addresses)).filter(|text| !text.is_empty());
        line(f, "addresses", or(addresses, "none"))?;
        line(f, "public key", interface.private_key.public_key())?;
        line(
            f,
            "listen port",
            or(Some(interface.listen_port).filter(|port| *port != 0), "any free one"),
        )?;
        line(f, "mtu", or(interface.mtu, "worked out from the path"))?;
        let frames = interface.ethernet.is_some();
        if !frames {
            line(f, "routes", routes(self.0))?;
        }
        line(f, "fwmark", or(Some(self.0.mark()).filter(|mark| *mark != 0), "none"))?;
        line(f, "offload", offload(interface.offload))?;
        if !frames {
            line(f, "kill switch", if interface.kill_switch { "on" } else { "off" })?;
        }
        let dns = Some(list(&interface.dns)).filter(|text| !text.is_empty());
        line(f, "dns", or(dns, "as it is"))?;
        let search = Some(list(&interface.search)).filter(|text| !text.is_empty());
        line(f, "search", or(search, "none"))?;
        shaping(f, &interface.shaping)?;
        writeln!(f, "peer")?;
        line(f, "public key", peer.public_key)?;
        let preshared = peer.preshared_key != PresharedKey::default();
        line(f, "preshared key", if preshared { "yes" } else { "none" })?;
        let endpoints = Some(list(&peer.endpoints)).filter(|text| !text.is_empty());
        line(f, "endpoint", or(endpoints, "none; waits for the peer to call"))?;
        if !frames {
            line(f, "allowed ips", list(&peer.allowed_ips))?;
        }
        let keepalive = peer.persistent_keepalive;
        line(
            f,
            "keepalive",
            or(keepalive.map(|every| format!("every {} s", every.as_secs())), "off"),
        )?;
        line(f, "profile", peer.profile.name())?;
        line(f, "cipher", peer.profile.cipher())?;
        if let Some(metrics) = metrics {
            writeln!(f, "metrics")?;
            line(f, "listen", metrics.listen)?;
        }
        if *log_level != DEFAULT_LEVEL {
            writeln!(f, "log")?;
            line(f, "level", level_name(*log_level))?;
        }
        self::hooks(f, hooks)
    }
}

/// None are not worth a line.
fn hooks(
    f: &mut fmt::Formatter<'_>,
    Hooks { up, down, peer_up, peer_down, endpoint_changed }: &Hooks,
) -> fmt::Result {
    let hooks = [
        ("up", up),
        ("down", down),
        ("peer up", peer_up),
        ("peer down", peer_down),
        ("endpoint changed", endpoint_changed),
    ];
    let mut first = true;
    for (name, words) in hooks.into_iter().filter(|(_, words)| !words.is_empty()) {
        if std::mem::take(&mut first) {
            writeln!(f, "hooks")?;
        }
        line(f, name, format_args!("{words:?}"))?;
    }
    Ok(())
}

fn ethernet(f: &mut fmt::Formatter<'_>, ethernet: &Ethernet) -> fmt::Result {
    let Ethernet { mac, promisc, bridge, mac_limit, broadcast_limit, link_local_frames } = ethernet;
    line(f, "mode", "tap: Ethernet frames")?;
    line(f, "bridge", or(bridge.as_ref(), "none"))?;
    line(f, "mac", or(*mac, "follows from the public key"))?;
    line(f, "promisc", if *promisc { "on" } else { "off" })?;
    line(f, "mac limit", mac_limit)?;
    let per_second = Some(*broadcast_limit).filter(|limit| *limit != 0);
    line(f, "broadcasts", or(per_second.map(|limit| format!("{limit} a second")), "any number"))?;
    line(f, "link-local", if *link_local_frames { "passed" } else { "kept back" })
}

fn shaping(f: &mut fmt::Formatter<'_>, shaping: &Shaping) -> fmt::Result {
    line(f, "limit out", or(shaping.rate_limit_out, "none"))?;
    line(f, "limit in", or(shaping.rate_limit_in, "none"))?;
    line(f, "dscp", if shaping.copy_dscp { "copied to outer packets" } else { "not copied" })?;
    match shaping.clamp_mss {
        ClampMss::ToMtu => line(f, "mss", "clamped to the mtu"),
        ClampMss::Off => line(f, "mss", "as it is"),
        ClampMss::To(mss) => line(f, "mss", format_args!("clamped to {mss}")),
    }
}

fn routes(config: &Config) -> String {
    match config.interface.table {
        Table::Auto if config.default_routes().next().is_some() => {
            format!("in the main table; the default route in table {}, with rules", config.mark())
        }
        Table::Auto => "in the main table".to_owned(),
        Table::Off => "none".to_owned(),
        Table::Number(number) => format!("in table {number}"),
    }
}

fn offload(Offload { tun_gso, tun_gro, udp_gso, udp_gro }: Offload) -> String {
    let each =
        [("tun_gso", tun_gso), ("tun_gro", tun_gro), ("udp_gso", udp_gso), ("udp_gro", udp_gro)];
    let on: Vec<&str> = each.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
    or(Some(on.join(", ")).filter(|text| !text.is_empty()), "none")
}
