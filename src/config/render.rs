//! A configuration as text, for tests: everything is said, keys stand inline.

use ipnet::IpNet;

use crate::config::{Config, Ethernet, Hooks, Metrics, Offload, Shaping, Table};
use crate::wire::mss::ClampMss;

/// The TOML of a configuration, keys inline.
pub(crate) fn render(config: &Config) -> String {
    let Config { interface, peer, hooks, metrics, log_level } = config;
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let quoted = |text: String| format!("{text:?}");
    let nets = |nets: &[IpNet]| list(nets.iter().map(|net| quoted(net.to_string())).collect());
    let mut text = format!(
        "[log]\nlevel = {:?}\n[interface]\nname = {:?}\naddresses = {}\nprivate_key = {:?}\nlisten_port = {}\nfwmark = {}\noffload = {}\nkill_switch = {}\n",
        log_level.as_str().to_ascii_lowercase(),
        interface.name,
        nets(&interface.addresses),
        interface.private_key.to_base64().as_str(),
        interface.listen_port,
        interface.fwmark,
        inline(interface.offload),
        interface.kill_switch,
    );
    if !interface.dns.is_empty() {
        text += &format!(
            "dns = {}\n",
            list(interface.dns.iter().map(|ip| quoted(ip.to_string())).collect())
        );
    }
    if !interface.search.is_empty() {
        text += &format!("search = {:?}\n", interface.search);
    }
    if let Some(ethernet) = &interface.ethernet {
        text += &frames(ethernet);
    }
    text += &shaping(&interface.shaping);
    if let Some(mtu) = interface.mtu {
        text += &format!("mtu = {mtu}\n");
    }
    text += &match interface.table {
        Table::Auto => "table = \"auto\"\n".to_owned(),
        Table::Off => "table = \"off\"\n".to_owned(),
        Table::Number(number) => format!("table = {number}\n"),
    };
    text += &format!(
        "[peer]\npublic_key = {:?}\npreshared_key = {:?}\npersistent_keepalive = {}\n",
        peer.public_key.to_string(),
        peer.preshared_key.to_base64().as_str(),
        peer.persistent_keepalive.map_or(0, |every| every.as_secs()),
    );
    if !peer.allowed_ips.is_empty() {
        text += &format!("allowed_ips = {}\n", nets(&peer.allowed_ips));
    }
    text += &format!(
        "profile = {:?}\ncipher = {:?}\n",
        peer.profile.name(),
        peer.profile.cipher().name()
    );
    let endpoints: Vec<String> = peer.endpoints.iter().map(|at| quoted(at.to_string())).collect();
    match endpoints.as_slice() {
        [] => {}
        [one] => text += &format!("endpoint = {one}\n"),
        _ => text += &format!("endpoint = {}\n", list(endpoints)),
    }
    if let Some(Metrics { listen }) = metrics {
        text += &format!("[metrics]\nlisten = \"{listen}\"\n");
    }
    text + &section(hooks)
}

fn frames(ethernet: &Ethernet) -> String {
    let Ethernet { mac, promisc, bridge, mac_limit, broadcast_limit, link_local_frames } = ethernet;
    let mut text = format!(
        "mode = \"tap\"\npromisc = {promisc}\nmac_limit = {mac_limit}\nbroadcast_limit = {broadcast_limit}\n\
         link_local_frames = {link_local_frames}\n"
    );
    if let Some(mac) = mac {
        text += &format!("mac = \"{mac}\"\n");
    }
    if let Some(bridge) = bridge {
        text += &format!("bridge = {bridge:?}\n");
    }
    text
}

fn shaping(Shaping { rate_limit_out, rate_limit_in, copy_dscp, clamp_mss }: &Shaping) -> String {
    let limits = [("rate_limit_out", rate_limit_out), ("rate_limit_in", rate_limit_in)];
    let mut text = format!("copy_dscp = {copy_dscp}\n");
    for (key, limit) in limits {
        text += &limit.map_or_else(String::new, |limit| format!("{key} = \"{limit}\"\n"));
    }
    text + &match clamp_mss {
        ClampMss::ToMtu => "clamp_mss = true\n".to_owned(),
        ClampMss::Off => "clamp_mss = false\n".to_owned(),
        ClampMss::To(mss) => format!("clamp_mss = {mss}\n"),
    }
}

fn section(Hooks { up, down, peer_up, peer_down, endpoint_changed }: &Hooks) -> String {
    let hooks = [
        ("up", up),
        ("down", down),
        ("peer_up", peer_up),
        ("peer_down", peer_down),
        ("endpoint_changed", endpoint_changed),
    ];
    let mut text = "[hooks]\n".to_owned();
    for (key, words) in hooks.into_iter().filter(|(_, words)| !words.is_empty()) {
        let words: Vec<_> = words.iter().map(|word| escaped(word)).collect();
        text += &format!("{key} = [\"{}\"]\n", words.join("\", \""));
    }
    text
}

fn inline(Offload { tun_gso, tun_gro, udp_gso, udp_gro }: Offload) -> String {
    format!(
        "{{ tun_gso = {tun_gso}, tun_gro = {tun_gro}, udp_gso = {udp_gso}, udp_gro = {udp_gro} }}"
    )
}

/// Any text inside quotes of TOML.
fn escaped(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        _ if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        _ => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}
