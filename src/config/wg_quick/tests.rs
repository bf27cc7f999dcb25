use std::path::Path;

use proptest::prelude::*;

use super::import::translate;
use super::*;
use crate::config::properties::config;
use crate::config::{Config, DEFAULT_LEVEL, Hooks, Interface, Offload, Shaping};
use crate::crypto::PrivateKey;

/// The smallest file that links two hosts; lines for `[Interface]` and `[Peer]` are added.
fn file(interface: &str, peer: &str) -> String {
    format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.77.0.1/30\n{interface}\n[Peer]\nPublicKey = {}\n\
         AllowedIPs = 10.77.0.0/30\n{peer}\n",
        PrivateKey::clamped([1; 32]).to_base64().as_str(),
        PrivateKey::clamped([2; 32]).public_key(),
    )
}

fn imported(text: &str, path: &str) -> Result<(Config, Vec<String>), String> {
    let Translation { text, left_out } =
        translate(text, Path::new(path)).map_err(|error| error.to_string())?;
    let config = Config::parse(&text, Path::new("t")).map_err(|error| error.to_string())?;
    Ok((config, left_out))
}

fn refusal(interface: &str, peer: &str) -> String {
    imported(&file(interface, peer), "wg0.conf").unwrap_err()
}

#[test]
fn every_key_of_wg_quick_is_read_whatever_its_case_and_around_comments() {
    let text = format!(
        "# a comment = 1\n  [interface] # here\nPRIVATEKEY={}\naddress = 10.77.0.1/30 , fd77::1/64#x\n\
         Address = 10.9.0.1\n\
         listenport = 51820\nMtu = 1380\nDNS = fd77::2, example.net\ndns=10.77.0.2\ntable = 7\nFwMark = 0xca6c\n\n[PEER]\npublickey = {}\npresharedkey = {}\n\
         allowedips = 10.77.0.0/30\nAllowedIPs = fd77::/64, 10.9.0.7/24,10.9.0.9\nEndpoint = b.example.net:7\n\
         persistentkeepalive = 21\n",
        PrivateKey::clamped([1; 32]).to_base64().as_str(),
        PrivateKey::clamped([2; 32]).public_key(),
        PrivateKey::clamped([3; 32]).to_base64().as_str(),
    );
    let (Config { interface, peer, .. }, left_out) =
        imported(&text, "/etc/wireguard/wg0.conf").unwrap();
    let nets =
        |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(interface.name, "wg0");
    assert_eq!(interface.private_key, PrivateKey::clamped([1; 32]));
    assert_eq!(nets(&interface.addresses), "10.77.0.1/30 fd77::1/64 10.9.0.1/32");
    assert_eq!(
        (interface.listen_port, interface.mtu, interface.fwmark),
        (51820, Some(1380), 0xca6c)
    );
    assert_eq!(interface.table, crate::config::Table::Number(7));
    assert_eq!(peer.public_key, PrivateKey::clamped([2; 32]).public_key());
    assert_eq!(*peer.preshared_key.to_base64(), *PrivateKey::clamped([3; 32]).to_base64());
    assert_eq!(nets(&peer.allowed_ips), "10.77.0.0/30 fd77::/64 10.9.0.0/24");
    assert_eq!(peer.endpoints[0].to_string(), "b.example.net:7");
    assert_eq!(peer.persistent_keepalive.map(|every| every.as_secs()), Some(21));
    let servers =
        ["fd77::2", "10.77.0.2"].map(|server| server.parse::<std::net::IpAddr>().unwrap());
    assert_eq!(
        (&interface.dns[..], &interface.search[..]),
        (&servers[..], &["example.net".to_owned()][..])
    );
    assert_eq!(left_out, [""; 0]);
}

#[test]
fn what_is_not_said_means_what_it_means_to_wg_quick() {
    let (Config { interface, peer, .. }, _) = imported(&file("", ""), "some file").unwrap();
    assert_eq!((interface.name.as_str(), interface.listen_port, interface.mtu), ("tun0", 0, None));
    assert_eq!((peer.persistent_keepalive, peer.endpoints.len()), (None, 0));
    let (off, _) =
        imported(&file("FwMark = off\nTable = off", "PersistentKeepalive = off"), "x").unwrap();
    assert_eq!((off.interface.fwmark, off.interface.table), (0, crate::config::Table::Off));
    assert_eq!(off.peer.persistent_keepalive, None);
}

#[test]
fn what_has_no_counterpart_is_listed_with_its_line() {
    let secret = PrivateKey::clamped([9; 32]).to_base64();
    let commands =
        format!("PostUp = iptables -A x; y\nPreDown = wg set %i private-key {}\n", secret.as_str());
    let (_, left_out) =
        imported(&file(&format!("{commands}SaveConfig = true\nPostDown="), ""), "wg0.conf")
            .unwrap();
    let lines: Vec<_> = left_out.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["line 4", "line 5", "line 6", "line 7"]);
    assert!(left_out[0].contains(r#"PostUp = "iptables -A x; y""#), "{left_out:?}");
    assert!(left_out.iter().all(|line| !line.contains(&secret[4..20])), "{left_out:?}");
}

#[test]
fn what_is_wrong_is_named_with_its_place_in_the_file_of_wg_quick() {
    for (interface, peer, expected) in [
        ("MTU = x", "", "wg0.conf:4:1: [Interface] MTU: \"x\" is not a number; accepted: a number"),
        (
            "ListenPort = +1",
            "",
            "wg0.conf:4:1: [Interface] ListenPort: \"+1\" is not a number; accepted: ",
        ),
        (
            "ListenPort = 65536",
            "",
            "wg0.conf:4:1: [Interface] ListenPort: 65536 is out of range; accepted: ",
        ),
        ("MTU = 10", "", "wg0.conf:4:1: [Interface] MTU: 10 is out of range; accepted: "),
        (
            "Table = local",
            "",
            "wg0.conf:4:1: [Interface] Table: \"local\" is not a number; accepted: ",
        ),
        (
            "Address = 10.0.0.1/33",
            "",
            "wg0.conf:4:1: [Interface] Address: \"10.0.0.1/33\" is not an address",
        ),
        ("PrivateKey = x", "", "wg0.conf:4:1: [Interface] PrivateKey: is given twice; accepted: "),
        (
            "Jc = 4",
            "",
            "wg0.conf:4:1: [Interface] \"Jc\": is not a key of wg-quick; accepted: PrivateKey, ",
        ),
        ("hush", "", "wg0.conf:4:1: [Interface]: is not of the form Key = Value; accepted: "),
        (
            "[Wolf]",
            "",
            "wg0.conf:4:1: \"[Wolf]\" is not a section; accepted: [Interface] and [Peer]",
        ),
        ("[interface]", "", "wg0.conf:4:1: [Interface]: is given twice; accepted: "),
        ("", "  Endpoint = b", "wg0.conf:8:3: [Peer] Endpoint: \"b\" has no port; accepted: "),
        ("", "AllowedIPs = ::/0", "wg0.conf:7:1: [Peer] AllowedIPs: \"::/0\" is IPv6, but "),
        (
            "",
            "PresharedKey = x",
            "wg0.conf:8:1: [Peer] PresharedKey: the value is not base64; accepted: ",
        ),
        ("", "[Peer]", "wg0.conf:8:1: [Peer]: is given twice; accepted: one peer: "),
    ] {
        let error = refusal(interface, peer);
        assert!(error.starts_with(expected), "{error}");
    }
    let whole = file("", "");
    for (gone, expected) in [
        ("Address", "wg0.conf: [Interface] Address: is missing; accepted: "),
        ("PrivateKey", "wg0.conf: [Interface] PrivateKey: is missing; accepted: "),
        ("PublicKey", "wg0.conf: [Peer] PublicKey: is missing; accepted: "),
        ("AllowedIPs", "wg0.conf: [Peer] AllowedIPs: is missing; accepted: "),
        ("[Interface]", "wg0.conf:1:1: stands before the first section; accepted: "),
    ] {
        let text: String =
            whole.split_inclusive('\n').filter(|line| !line.starts_with(gone)).collect();
        let error = imported(&text, "wg0.conf").unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let alone = whole.split("[Peer]").next().unwrap();
    let error = imported(alone, "wg0.conf").unwrap_err();
    assert!(error.starts_with("wg0.conf: [Peer]: is missing; accepted: "), "{error}");
    let error = imported(&whole, "lo.conf").unwrap_err();
    assert!(error.starts_with("lo.conf: [interface] name: \"lo\" is a name"), "{error}");
}

#[test]
fn what_an_export_leaves_out_is_listed() {
    let text = crate::config::render::render(&imported(&file("", ""), "wg0.conf").unwrap().0);
    let text = text
        .replace("tun_gso = true", "tun_gso = false")
        .replace("kill_switch = false", "kill_switch = true")
        .replace("copy_dscp = false", "copy_dscp = true")
        .replace("\"wg0\"", "\"a&b\"")
        .replace("[hooks]", "endpoint = [\"a:1\", \"b:2\", \"c:3\"]\n[hooks]\nup = [\"/bin/sh\"]");
    let exported = export(&Config::parse(&text, Path::new("t")).unwrap());
    assert!(exported.text.contains("\nEndpoint = a:1\n"), "{}", *exported.text);
    assert_eq!(
        exported.left_out,
        [
            "name: wg-quick makes no device with the name \"a&b\"",
            "kill_switch: wg-quick has none",
            "offload: the kernel decides",
            "rate limits, copy_dscp, clamp_mss: wg-quick has none",
            "endpoint: a peer has one there; without b:2, c:3",
            "hooks: wg-quick runs lines of a shell instead",
        ]
    );
}

/// `config` without what wg-quick cannot say.
fn sayable(mut config: Config) -> Config {
    let Interface { name, offload, kill_switch, shaping, .. } = &mut config.interface;
    *kill_switch = false;
    *shaping = Shaping::default();
    *offload = Offload { tun_gso: true, tun_gro: true, udp_gso: true, udp_gro: true };
    if !is_device_name(name) {
        *name = "tun0".to_owned();
    }
    config.peer.endpoints.truncate(1);
    config.hooks = Hooks::default();
    config.metrics = None;
    config.peer.profile = crate::wire::Profile::WireGuard;
    config.log_level = DEFAULT_LEVEL;
    config
}

proptest! {
    #[test]
    fn what_is_exported_is_imported_again(config in config().prop_filter("packets", |config| config.interface.ethernet.is_none()).prop_filter("packets", |config| config.interface.ethernet.is_none())) {
        let config = sayable(config);
        let exported = export(&config);
        let again = imported(&exported.text, &format!("{}.conf", config.interface.name));
        prop_assert_eq!(again, Ok((config, Vec::new())));
    }

    #[test]
    fn no_change_of_a_file_makes_the_import_panic(
        config in config().prop_filter("packets", |config| config.interface.ethernet.is_none()).prop_filter("packets", |config| config.interface.ethernet.is_none()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, "[ -~\n#=\\[\\],é]{0,4}"), 1..8),
    ) {
        let mut letters: Vec<char> = export(&config).text.chars().collect();
        for (at, removed, added) in edits {
            let at = at.index(letters.len() + 1);
            let end = letters.len().min(at + removed);
            letters.splice(at..end, added.chars());
        }
        let text: String = letters.into_iter().collect();
        if let Err(error) = imported(&text, "wg0.conf") {
            prop_assert!(error.starts_with("wg0.conf:") && error.contains("; accepted: "), "{}", error);
        }
    }

    #[test]
    fn no_text_at_all_makes_the_import_panic(text in "\\PC{0,200}") {
        let _ = imported(&text, "wg0.conf");
    }
}
