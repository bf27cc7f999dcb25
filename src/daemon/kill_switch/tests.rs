use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::crypto::PrivateKey;
use crate::testing::{in_own_network, skip};

fn config(interface: &str, peer: &str) -> Config {
    let text = format!(
        "[interface]\nname = 'tun7'\nkill_switch = true\nprivate_key = '{}'\n{interface}\n[peer]\npublic_key = '{}'\n{peer}\n",
        PrivateKey::clamped([1; 32]).to_base64().as_str(),
        PrivateKey::clamped([2; 32]).public_key()
    );
    Config::parse(&text, Path::new("t")).unwrap()
}

fn everything() -> Config {
    config("addresses = ['10.77.0.1/30', 'fd77::1/64']", "allowed_ips = ['0.0.0.0/0', '::/0']")
}

fn site() -> Config {
    config(
        "addresses = ['10.77.0.1/30', 'fd77::1/64', 'fe80::7/64']\nfwmark = 9",
        "allowed_ips = ['192.168.6.0/24', '192.168.7.0/24', '198.51.100.7/32', '2001:db8::/33']",
    )
}

const RULES_OF_SITE: &str = "table inet tunneld-tun7 {
    flags owner
    chain leaving {
    type filter hook postrouting priority filter; policy accept;
    oifname \"lo\" accept
    oifname \"tun7\" accept
    iifname \"tun7\" accept
    meta mark 0x00000009 accept
    ip saddr 10.77.0.1 counter packets 0 bytes 0 drop
    ip6 saddr fd77::1 counter packets 0 bytes 0 drop
    ip daddr 224.0.0.0/24 accept
    ip6 daddr fe80::/10 accept
    ip6 daddr ff02::/16 accept
    iif 0 ip daddr 169.254.0.0/16 accept
    iif 0 meta nfproto ipv4 udp sport 68 udp dport 67 accept
    ip6 hoplimit 255 icmpv6 type nd-neighbor-solicit accept
    ip6 hoplimit 255 icmpv6 type nd-neighbor-advert accept
    ip daddr 10.77.0.0/30 counter packets 0 bytes 0 drop
    ip daddr 192.168.6.0/23 counter packets 0 bytes 0 drop
    ip daddr 198.51.100.7 counter packets 0 bytes 0 drop
    ip6 daddr 2001:db8::/33 counter packets 0 bytes 0 drop
    ip6 daddr fd77::/64 counter packets 0 bytes 0 drop
    ip6 daddr fe80::/64 counter packets 0 bytes 0 drop
    }
    chain arriving {
    type filter hook prerouting priority raw; policy accept;
    iifname \"lo\" accept
    iifname \"tun7\" accept
    ip daddr 10.77.0.1 counter packets 0 bytes 0 drop
    ip6 daddr fd77::1 counter packets 0 bytes 0 drop
    }
    }";

/// What the program `nft` says of all rules, without blanks and comments.
fn rules() -> Vec<String> {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let code = |line: &str| line.split('#').next().unwrap_or(line).trim().to_owned();
    said.lines().map(code).filter(|line| !line.is_empty()).collect()
}

/// Runs `body` in a network of its own, where there are the programs that these tests use.
fn with_nft(test: &str, body: impl FnOnce() + Send) {
    for program in ["nft", "ip"] {
        if Command::new(program).arg("-V").output().is_err() {
            return skip(test, format_args!("the program {program}"));
        }
    }
    in_own_network(test, body);
}

#[test]
fn the_rules_are_what_nft_shows() {
    with_nft("the_rules_are_what_nft_shows", || {
        let kill_switch = KillSwitch::install(None, &site()).unwrap();
        let shown = rules();
        assert_eq!(shown, RULES_OF_SITE.lines().map(str::trim).collect::<Vec<_>>());
        drop(kill_switch);
    });
}

#[test]
fn the_rules_live_as_long_as_a_descriptor_of_their_socket_and_are_replaced_by_it_only() {
    with_nft("the_rules_live_as_long_as_a_descriptor_of_their_socket", || {
        let first = KillSwitch::install(None, &site()).unwrap();
        let kept = first.as_fd().try_clone_to_owned().unwrap();
        let before = rules();
        drop(first);
        assert_eq!(rules(), before);
        let error = KillSwitch::install(None, &everything()).unwrap_err().to_string();
        assert!(error.starts_with("the kill switch cannot be turned on: "), "{error}");
        assert!(error.contains("no other tunneld for this device"), "{error}");
        assert_eq!(rules(), before);
        // As a firewall does that loads its own rules.
        assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
        assert_eq!(rules(), before);
        let second = KillSwitch::install(Some(kept), &everything()).unwrap();
        assert_ne!(rules(), before);
        drop(second);
        assert_eq!(rules(), [] as [&str; 0]);
    });
}

#[test]
fn with_a_default_route_all_of_its_family_is_protected() {
    with_nft("with_a_default_route_all_of_its_family_is_protected", || {
        let _kill_switch = KillSwitch::install(None, &everything()).unwrap();
        let shown = rules();
        for family in ["ipv4", "ipv6"] {
            let rule = format!("meta nfproto {family} counter packets 0 bytes 0 drop");
            assert!(shown.contains(&rule), "{shown:?}");
        }
        assert!(shown.contains(&"meta mark 0x0000ca6c accept".to_owned()), "{shown:?}");
    });
}

/// Whether it becomes so: a child that another test is just starting may hold the socket until it runs its program.
fn soon(condition: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        let holds = condition();
        if !holds {
            thread::sleep(Duration::from_millis(5));
        }
        holds
    })
}

#[test]
fn while_the_rules_are_replaced_nothing_leaves() {
    with_nft("while_the_rules_are_replaced_nothing_leaves", || {
        for words in [
            "link add out type veth peer name far",
            "link set far up",
            "address add 192.0.2.1/24 dev out",
            "link set out up",
            "route add default dev out",
        ] {
            assert!(
                Command::new("ip").args(words.split(' ')).status().unwrap().success(),
                "{words}"
            );
        }
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let leaves = || socket.send_to(b"secret", "192.168.7.1:9").is_ok();
        assert!(leaves());
        let kill_switch = KillSwitch::install(None, &site()).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut tries = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    assert!(!leaves(), "after {tries}");
                    tries += 1;
                }
                tries
            });
            for _ in 0..100 {
                let socket = kill_switch.as_fd().try_clone_to_owned().unwrap();
                KillSwitch::install(Some(socket), &site()).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            assert!(watcher.join().unwrap() > 100);
        });
        drop(kill_switch);
        assert!(soon(leaves));
    });
}

#[test]
fn the_longest_configuration_has_room_in_one_batch() {
    with_nft("the_longest_configuration_has_room_in_one_batch", || {
        // The shortest text for a network that no other can be merged with.
        let networks: Vec<_> = (0..3_700).map(|i| format!("'{:x}::/32'", 0x2000 + 2 * i)).collect();
        let networks: Vec<_> = networks.iter().map(String::as_str).collect();
        let peer = format!("allowed_ips = [{}]", networks.join(","));
        assert!(peer.len() > 40_000);
        KillSwitch::install(None, &config("addresses = ['fd77::1/64']", &peer)).unwrap();
    });
}
