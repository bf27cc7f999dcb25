//! From tunneld to wg-quick.

use std::fmt::{Display, Write as _};

use zeroize::Zeroizing;

use super::{Translation, is_device_name};
use crate::config::{Config, DEFAULT_LEVEL, Hooks, Offload, Shaping, Table};
use crate::crypto::PresharedKey;

/// The longest configuration has no more in this form; a text that grows leaves copies behind.
const ROOM: usize = 2 * crate::config::LONGEST;

/// `config` as a file of wg-quick.
pub(crate) fn export(config: &Config) -> Translation {
    let Config { interface, peer, .. } = config;
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    *text += "[Interface]\n";
    line(&mut text, "Address", list(&interface.addresses));
    line(&mut text, "PrivateKey", interface.private_key.to_base64().as_str());
    if interface.listen_port != 0 {
        line(&mut text, "ListenPort", interface.listen_port);
    }
    if let Some(mtu) = interface.mtu {
        line(&mut text, "MTU", mtu);
    }
    match interface.table {
        Table::Auto => {}
        Table::Off => line(&mut text, "Table", "off"),
        Table::Number(number) => line(&mut text, "Table", number),
    }
    if interface.fwmark != 0 {
        line(&mut text, "FwMark", format_args!("{:#x}", interface.fwmark));
    }
    let servers = interface.dns.iter().map(ToString::to_string);
    let dns: Vec<_> = servers.chain(interface.search.iter().cloned()).collect();
    if !dns.is_empty() {
        line(&mut text, "DNS", dns.join(", "));
    }
    *text += "\n[Peer]\n";
    line(&mut text, "PublicKey", peer.public_key);
    if peer.preshared_key != PresharedKey::default() {
        line(&mut text, "PresharedKey", peer.preshared_key.to_base64().as_str());
    }
    line(&mut text, "AllowedIPs", list(&peer.allowed_ips));
    if let Some(endpoint) = peer.endpoints.first() {
        line(&mut text, "Endpoint", endpoint);
    }
    if let Some(every) = peer.persistent_keepalive {
        line(&mut text, "PersistentKeepalive", every.as_secs());
    }
    Translation { text, left_out: left_out(config) }
}

fn line(text: &mut String, key: &str, value: impl Display) {
    // Text takes everything.
    let _ = writeln!(text, "{key} = {value}");
}

fn list(items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn left_out(Config { interface, peer, hooks, metrics, log_level }: &Config) -> Vec<String> {
    let mut left_out = Vec::new();
    let name = &interface.name;
    if is_device_name(name) {
        left_out.push(format!("name: wg-quick takes it from its file; save this as {name}.conf"));
    } else {
        left_out.push(format!("name: wg-quick makes no device with the name {name:?}"));
    }
    if interface.kill_switch {
        left_out.push("kill_switch: wg-quick has none".to_owned());
    }
    let Offload { tun_gso, tun_gro, udp_gso, udp_gro } = interface.offload;
    if ![tun_gso, tun_gro, udp_gso, udp_gro].into_iter().all(|on| on) {
        left_out.push("offload: the kernel decides".to_owned());
    }
    if interface.shaping != Shaping::default() {
        left_out.push("rate limits, copy_dscp, clamp_mss: wg-quick has none".to_owned());
    }
    if let Some(others) = peer.endpoints.get(1..).filter(|others| !others.is_empty()) {
        left_out.push(format!("endpoint: a peer has one there; without {}", list(others)));
    }
    if *hooks != Hooks::default() {
        left_out.push("hooks: wg-quick runs lines of a shell instead".to_owned());
    }
    if metrics.is_some() {
        left_out.push("metrics: wg-quick has none".to_owned());
    }
    if *log_level != DEFAULT_LEVEL {
        left_out.push("log level: wg-quick has none".to_owned());
    }
    left_out
}
