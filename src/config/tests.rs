use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::crypto::Cipher;
use crate::wire::Layer;

const OUR_KEY: [u8; 32] = [1; 32];

/// A configuration with keys inline; `interface` and `peer` are added to the sections.
fn text(interface: &str, peer: &str) -> String {
    let ours = PrivateKey::clamped(OUR_KEY).to_base64();
    let theirs = PrivateKey::clamped([2; 32]).public_key();
    let ours = ours.as_str();
    format!(
        "[interface]\nprivate_key = \"{ours}\"\n{interface}\n[peer]\npublic_key = \"{theirs}\"\n{peer}\n"
    )
}

fn parse(interface: &str, peer: &str) -> Result<Config, String> {
    Config::parse(&text(interface, peer), Path::new("t")).map_err(|error| error.to_string())
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

const ONE: &str = r#"addresses = ["10.77.0.1/30"]"#;

#[test]
fn what_is_not_said_has_its_default() {
    let Config { interface, peer, hooks, metrics, log_level } = parse(ONE, "").unwrap();
    assert_eq!(
        interface,
        Interface {
            name: "tun0".to_owned(),
            ethernet: None,
            addresses: nets(&["10.77.0.1/30"]),
            private_key: PrivateKey::clamped(OUR_KEY),
            listen_port: 0,
            mtu: None,
            table: Table::Auto,
            fwmark: 0,
            offload: Offload { tun_gso: true, tun_gro: true, udp_gso: true, udp_gro: true },
            kill_switch: false,
            dns: Vec::new(),
            search: Vec::new(),
            shaping: Shaping::default(),
        }
    );
    assert_eq!(
        peer,
        Peer {
            public_key: PrivateKey::clamped([2; 32]).public_key(),
            preshared_key: PresharedKey::default(),
            endpoints: Vec::new(),
            allowed_ips: nets(&["10.77.0.0/30"]),
            persistent_keepalive: Some(Duration::from_secs(25)),
            profile: Profile::WireGuard,
        }
    );
    assert_eq!(hooks, Hooks::default());
    assert_eq!(metrics, None);
    assert_eq!(log_level, Level::INFO);
}

#[test]
fn the_limits_of_each_number_are_accepted() {
    for (interface, peer) in [
        ("listen_port = 0", "persistent_keepalive = 65535"),
        ("listen_port = 65535", "endpoint = 'a:1'"),
        ("mtu = 576", "endpoint = ['a:65535', '[::1]:1']"),
        ("mtu = 65475", ""),
        ("table = 1", ""),
        ("table = 4294967295", ""),
        ("fwmark = 0xffff_ffff", ""),
        ("name = 'fifteen-letters'", ""),
    ] {
        let parsed = parse(&format!("{ONE}\n{interface}"), peer);
        assert!(parsed.is_ok(), "{interface} {peer}: {parsed:?}");
    }
    let off = parse(ONE, "persistent_keepalive = 0").unwrap();
    assert_eq!(off.peer.persistent_keepalive, None);
}

#[test]
fn each_offload_is_turned_off_alone_on_one_line_or_in_a_section() {
    let offload = |text: &str| parse(&format!("{ONE}\n{text}"), "").unwrap().interface.offload;
    let all = Offload { tun_gso: true, tun_gro: true, udp_gso: true, udp_gro: true };
    assert_eq!(offload("offload = {}"), all);
    assert_eq!(offload("offload = { tun_gso = false }"), Offload { tun_gso: false, ..all });
    assert_eq!(offload("offload.tun_gro = false"), Offload { tun_gro: false, ..all });
    let udp = Offload { udp_gso: false, udp_gro: false, ..all };
    assert_eq!(offload("[interface.offload]\nudp_gso = false\nudp_gro = false"), udp);
}

#[test]
fn the_cipher_follows_the_profile_and_only_that_of_tunneld_has_a_choice() {
    let profile = |peer: &str| parse(ONE, peer).map(|config| config.peer.profile);
    let tunneld = |cipher| Ok(Profile::Tunneld { cipher, layer: Layer::Ip });
    for peer in ["profile = 'wireguard'", "cipher = 'chacha20-poly1305'"] {
        assert_eq!(profile(peer), Ok(Profile::WireGuard), "{peer}");
    }
    assert_eq!(profile("profile = 'tunneld'"), tunneld(Cipher::ChaCha20Poly1305));
    let both = "cipher = 'chacha20-poly1305'\nprofile = 'tunneld'";
    assert_eq!(profile(both), tunneld(Cipher::ChaCha20Poly1305));
    let both = "profile = 'tunneld'\ncipher = 'aes-256-gcm'";
    assert_eq!(profile(both), tunneld(Cipher::Aes256Gcm));
    for peer in ["cipher = 'aes-256-gcm'", "profile = 'wireguard'\ncipher = 'aes-256-gcm'"] {
        let error = profile(peer).unwrap_err();
        let lines = 5 + peer.lines().count();
        let expected = format!(
            r#"t:{lines}:10: [peer] cipher: "aes-256-gcm" is not WireGuard's cipher; accepted: "chacha20-poly1305", or profile = "tunneld" in the same section, on both ends"#
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn frames_need_their_mode_and_their_profile_and_have_no_networks() {
    let error = |interface: &str, peer: &str| parse(interface, peer).unwrap_err();
    let tap = "mode = 'tap'";
    let tunneld = "profile = 'tunneld'";
    let config = parse(tap, tunneld).unwrap();
    assert_eq!(
        (config.interface.layer(), config.peer.profile.layer()),
        (Layer::Ethernet, Layer::Ethernet)
    );
    assert_eq!((config.interface.mtu, config.peer.allowed_ips), (Some(1500), Vec::new()));
    let all = "mode = 'tap'\nmac = '02:00:5e:10:00:01'\npromisc = true\nbridge = 'br0'\nmac_limit = 9\n\
               broadcast_limit = 0\nlink_local_frames = false";
    let expected = Ethernet {
        mac: Some(Mac([2, 0, 0x5e, 0x10, 0, 1])),
        promisc: true,
        bridge: Some("br0".to_owned()),
        mac_limit: 9,
        broadcast_limit: 0,
        link_local_frames: false,
    };
    assert_eq!(parse(all, tunneld).unwrap().interface.ethernet, Some(expected));
    for (interface, peer, says) in [
        (tap, "", "[peer] profile: is missing; accepted: \"tunneld\", on both ends"),
        (tap, "profile = 'wireguard'", "[peer] profile: \"wireguard\" carries IP packets"),
        ("mode = 'bridge'", "", "[interface] mode: \"bridge\" is no mode; accepted: \"tun\""),
        ("mode = 'tap'\nkill_switch = true", tunneld, "[interface] kill_switch: true protects"),
        (
            tap,
            "profile = 'tunneld'\nallowed_ips = ['10.0.0.0/8']",
            "[peer] allowed_ips: a list is for IP packets",
        ),
        (
            "mode = 'tap'\nmac = '01:00:5e:00:00:01'",
            tunneld,
            "\"01:00:5e:00:00:01\" is not the address of one station",
        ),
        ("mode = 'tap'\nmac = '02-00'", tunneld, "is not six pairs"),
        (
            "mode = 'tap'\nbridge = 'a/b'",
            tunneld,
            "[interface] bridge: \"a/b\" is not a name for a device",
        ),
        ("mode = 'tap'\nmac_limit = 0", tunneld, "accepted: a number from 1 to 65536"),
        (
            "addresses = ['10.0.0.1/8']\npromisc = false",
            "",
            "[interface] promisc: false is for Ethernet frames; accepted: mode = \"tap\"",
        ),
        ("addresses = ['10.0.0.1/8']\nmode = 'tun'\nbridge = 'br0'", "", "is for Ethernet frames"),
        ("", "", "[interface] addresses: is missing"),
    ] {
        let error = error(interface, peer);
        assert!(error.contains(says), "{error}\ndoes not say\n{says}");
    }
}

#[test]
fn the_default_route_needs_a_table_that_outer_packets_do_not_use() {
    let route = r#"allowed_ips = ["0.0.0.0/0"]"#;
    for table in [r#""off""#, "51820", r#""auto""#] {
        assert!(parse(&format!("{ONE}\ntable = {table}"), route).is_ok(), "{table}");
    }
    for table in ["254", "255"] {
        let error = parse(&format!("{ONE}\ntable = {table}"), route).unwrap_err();
        assert!(error.contains("would route the tunnel's own packets into the tunnel"), "{error}");
    }
    for fwmark in [253, 254, 255] {
        let error = parse(&format!("{ONE}\nfwmark = {fwmark}"), route).unwrap_err();
        assert!(error.contains("that one is the system's"), "{error}");
        assert!(parse(&format!("{ONE}\ntable = 7\nfwmark = {fwmark}"), route).is_ok());
    }
}

#[test]
fn outer_packets_carry_a_mark_where_the_default_route_or_the_kill_switch_needs_one() {
    let mark =
        |interface: &str, peer: &str| parse(&format!("{ONE}\n{interface}"), peer).unwrap().mark();
    let default = r#"allowed_ips = ["0.0.0.0/0"]"#;
    assert_eq!(mark("", ""), 0);
    assert_eq!(mark("", default), 51820);
    assert_eq!(mark("kill_switch = true", ""), 51820);
    assert_eq!(mark("table = 'off'", default), 0);
    assert_eq!(mark("table = 7", default), 0);
    for interface in ["fwmark = 9", "fwmark = 9\nkill_switch = true"] {
        assert_eq!(mark(interface, default), 9);
    }
}

#[test]
fn an_endpoint_on_the_default_route_is_not_inside_the_tunnel() {
    let notes = |interface: &str| {
        let peer = "endpoint = '192.0.2.1:1'\nallowed_ips = ['0.0.0.0/0']";
        parse(&format!("{ONE}\n{interface}"), peer).unwrap().notes().join("|")
    };
    assert_eq!(notes(""), "");
    assert!(notes("table = 7").contains("lies in 0.0.0.0/0"));
}

#[test]
fn a_kill_switch_that_protects_one_family_or_hides_the_name_servers_gets_a_note() {
    let notes = |peer: &str| {
        let interface = "addresses = ['10.77.0.1/30', 'fd77::1/64']\nkill_switch = true";
        parse(interface, &format!("endpoint = {peer}")).unwrap().notes().join("|")
    };
    assert_eq!(notes("'b.example:1'"), "");
    assert_eq!(notes("'192.0.2.1:1'\nallowed_ips = ['0.0.0.0/0', '::/0']"), "");
    let one = notes("'192.0.2.1:1'\nallowed_ips = ['0.0.0.0/0']");
    assert!(one.contains("does not keep IPv6") && one.contains("::/0 is not in"), "{one}");
    let other = notes("'192.0.2.1:1'\nallowed_ips = ['::/0']");
    assert!(other.contains("does not keep IPv4"), "{other}");
    let name = notes("'b.example:1'\nallowed_ips = ['0.0.0.0/0', '::/0']");
    assert!(name.contains("give the endpoint b.example:1 as an address"), "{name}");
}

#[test]
fn a_name_server_may_stand_alone_and_domains_are_kept_in_small_letters() {
    let text = "dns = 'fd77::2'\nsearch = 'Example.NET'";
    let interface = parse(&format!("{ONE}\n{text}"), "").unwrap().interface;
    assert_eq!(interface.dns, ["fd77::2".parse::<IpAddr>().unwrap()]);
    assert_eq!(interface.search, ["example.net"]);
}

#[test]
fn allowed_ips_may_be_left_out_only_if_an_address_has_a_network() {
    let two = parse(r#"addresses = ["10.77.0.1/32", "fd77::1/64"]"#, "").unwrap();
    assert_eq!(two.peer.allowed_ips, nets(&["fd77::/64"]));
    let error = parse(r#"addresses = ["10.77.0.1/32"]"#, "").unwrap_err();
    assert!(error.starts_with("t:4:1: [peer] allowed_ips: is missing;"), "{error}");
}

#[test]
fn a_key_that_no_handshake_succeeds_with_is_refused() {
    let text = text(ONE, "").replace(
        &PrivateKey::clamped([2; 32]).public_key().to_string(),
        &PublicKey::from([0; 32]).to_string(),
    );
    let error = Config::parse(&text, Path::new("t")).unwrap_err().to_string();
    assert!(error.contains("[peer] public_key: is a key that no host can have"), "{error}");
}

#[test]
fn a_hook_is_a_program_and_its_arguments_as_they_stand() {
    let with = |hooks: &str| parse(ONE, &format!("[hooks]\n{hooks}")).map(|config| config.hooks);
    let hooks = with(r#"up = ["/bin/sh", "-c", "a; $(b)\nc"]"#).unwrap();
    assert_eq!(
        hooks,
        Hooks { up: ["/bin/sh", "-c", "a; $(b)\nc"].map(String::from).into(), ..Hooks::default() }
    );
    assert_eq!(with(""), Ok(Hooks::default()));
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open");
    std::fs::write(&open, "").unwrap();
    let chmod = |mode| {
        std::fs::set_permissions(&open, PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod(0o644);
    let list = format!("peer_up = [{open:?}]");
    let error = with(&list).unwrap_err();
    assert!(
        error.contains("[hooks] peer_up: ") && error.contains("is not a program; accepted: "),
        "{error}"
    );
    chmod(0o757);
    assert!(with(&list).unwrap_err().contains("is writable by others; accepted: "));
    chmod(0o755);
    assert!(with(&list).is_ok());
    for (hooks, expected) in [
        ("down = '/bin/sh'", r#"[hooks] down: "/bin/sh" is not a list; accepted: a program and"#),
        ("down = []", "[hooks] down: [] is empty; "),
        ("down = ['sh']", r#"[hooks] down: "sh" is not an absolute path; "#),
        ("down = ['']", r#"[hooks] down: "" is not an absolute path; "#),
        ("down = ['/bin/sh', 1]", "[hooks] down: 1 is not text in quotes; "),
        (r#"down = ["/bin/sh", "a\u0000"]"#, "has a zero byte; "),
        ("down = ['/nonexistent']", r#"[hooks] down: "/nonexistent" cannot be used: No such file"#),
        ("down = ['/']", r#"[hooks] down: "/" is not a program; "#),
        ("post_up = 1", r#"[hooks] "post_up": is not a key; "#),
    ] {
        let error = with(hooks).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn no_message_shows_a_secret() {
    let secret = PrivateKey::clamped([9; 32]).to_base64();
    let secret = secret.as_str();
    let cut = &secret[..43];
    for (interface, peer) in [
        (format!("privatekey = \"{secret}\""), String::new()),
        (format!("private_key = \"{secret}\""), String::new()),
        (format!("private_key_file = \"{secret}\""), String::new()),
        (format!("name = \"{secret}\""), String::new()),
        (format!("mtu = \"{secret}\""), String::new()),
        (format!("fwmark = {secret}"), String::new()),
        (String::new(), format!("preshared_key = \"{cut}\"")),
        (String::new(), format!("preshared_key = {secret}")),
        (String::new(), format!("preshared_key = [\"{secret}\"]")),
        (String::new(), format!("preshared_key_file = \"{secret}\"")),
        (String::new(), format!("endpoint = \"{secret}\"")),
        (format!("private_key_file = \"{cut}\""), String::new()),
        (format!("\"{secret}\" = 1"), String::new()),
        (String::new(), format!("[\"{secret}\"]")),
    ] {
        let error = parse(&format!("{ONE}\n{interface}"), &peer).unwrap_err();
        assert!(!error.contains(&secret[4..20]), "{error}");
    }
}

#[test]
fn what_is_likely_not_meant_gets_a_note() {
    let notes = |interface: &str, peer: &str| {
        parse(&format!("{ONE}\n{interface}"), peer).unwrap().notes().join("|")
    };
    assert_eq!(notes("listen_port = 1", ""), "");
    assert_eq!(notes("", "endpoint = '192.0.2.1:1'"), "");
    assert!(notes("", "").contains("neither end knows"));
    assert!(notes("", "endpoint = '10.77.0.2:1'").contains("10.77.0.2:1 lies in 10.77.0.0/30"));
    let behind = "endpoint = '192.0.2.1:1'\nallowed_ips = ['192.0.2.0/24']";
    assert!(notes("", behind).contains("lies in 192.0.2.0/24"));
    assert_eq!(notes("table = 'off'", behind), "");
}

#[test]
fn debug_output_shows_no_secret() {
    let config = parse(ONE, "").unwrap();
    let secret = config.interface.private_key.to_base64();
    assert!(!format!("{config:?}").contains(secret.as_str()));
}
