//! Properties that hold of every configuration: what is written is what is read, and nothing makes the reader panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::render::render;
use super::*;
use crate::crypto::Cipher;
use crate::wire::Layer;
use crate::wire::mss::ClampMss;

fn address() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 1..=32u8)
        .prop_map(|(bits, prefix)| (IpAddr::V4(Ipv4Addr::from(bits)), prefix));
    let v6 = (any::<u128>(), 1..=128u8)
        .prop_map(|(bits, prefix)| (IpAddr::V6(Ipv6Addr::from(bits)), prefix));
    prop_oneof![v4, v6]
        .prop_map(|(address, prefix)| IpNet::new(address, prefix).unwrap())
        .prop_filter("an address of a host", |net| network::no_host_address(*net).is_none())
}

fn interface() -> impl Strategy<Value = Interface> {
    let addresses = prop::collection::vec(address(), 1..5).prop_filter("each once", |all| {
        (1..all.len()).all(|i| all[..i].iter().all(|other| other.addr() != all[i].addr()))
    });
    let table =
        prop_oneof![Just(Table::Auto), Just(Table::Off), (1..=u32::MAX).prop_map(Table::Number),];
    (
        "[a-z][!-$&-.0-9;-~]{2,14}",
        addresses,
        any::<[u8; 32]>(),
        any::<u16>(),
        prop::option::of(1280..=65_475_u16),
        table,
        any::<u32>(),
        (any::<[bool; 5]>(), shaping()),
        prop::collection::hash_set(any::<u64>(), 0..3),
        prop::collection::hash_set("[a-z0-9_]{1,9}(\\.[a-z]{1,9}){0,2}", 0..3),
    )
        .prop_filter("no name with another meaning", |(name, ..)| {
            name != "all" && name != "default"
        })
        .prop_map(
            |(
                name,
                addresses,
                key,
                listen_port,
                mtu,
                table,
                fwmark,
                (on, shaping),
                dns,
                search,
            )| Interface {
                name,
                ethernet: None,
                addresses,
                private_key: PrivateKey::clamped(key),
                listen_port,
                mtu,
                table,
                fwmark,
                offload: Offload { tun_gso: on[0], tun_gro: on[1], udp_gso: on[2], udp_gro: on[3] },
                kill_switch: on[4],
                search: search.into_iter().filter(|_| !dns.is_empty()).collect(),
                dns: dns
                    .into_iter()
                    .map(|low| IpAddr::from(Ipv6Addr::from(0xfd77 << 112 | u128::from(low))))
                    .collect(),
                shaping,
            },
        )
}

fn shaping() -> impl Strategy<Value = Shaping> {
    let rate =
        || prop::option::of((8_000..=100_000_000_000_u64).prop_map(Rate::from_bits_per_second));
    let clamp = prop_oneof![
        Just(ClampMss::ToMtu),
        Just(ClampMss::Off),
        (536..=65_435_u16).prop_map(ClampMss::To)
    ];
    (rate(), rate(), any::<bool>(), clamp).prop_map(|(out, inbound, copy_dscp, clamp_mss)| {
        Shaping {
            rate_limit_out: out.flatten(),
            rate_limit_in: inbound.flatten(),
            copy_dscp,
            clamp_mss,
        }
    })
}

fn endpoint() -> impl Strategy<Value = HostPort> {
    let host = prop_oneof![
        "[a-z0-9_]{1,20}(\\.[a-z][a-z0-9-]{0,20}[a-z0-9]){1,3}",
        any::<[u8; 4]>()
            .prop_filter("a host", |bytes| (1..224).contains(&bytes[0]))
            .prop_map(|bytes| Ipv4Addr::from(bytes).to_string()),
        any::<u64>().prop_map(|low| Ipv6Addr::from(0xfd77 << 112 | u128::from(low)).to_string()),
    ];
    (host, 1..=u16::MAX).prop_map(|(host, port)| HostPort { host, port })
}

fn ethernet() -> impl Strategy<Value = Ethernet> {
    (
        prop::option::of(any::<[u8; 5]>()),
        any::<[bool; 2]>(),
        prop::option::of("br[0-9]{1,5}"),
        1..=65_536_u32,
        0..=1_000_000_u32,
    )
        .prop_map(|(mac, on, bridge, mac_limit, broadcast_limit)| Ethernet {
            mac: mac.map(|[b, c, d, e, f]| Mac([2, b, c, d, e, f])),
            promisc: on[0],
            bridge,
            mac_limit,
            broadcast_limit,
            link_local_frames: on[1],
        })
}

fn hooks() -> impl Strategy<Value = Hooks> {
    let hook = || {
        let arguments = prop::collection::vec("[^\0]{0,10}", 0..3);
        let command = arguments.prop_map(|mut words| {
            words.insert(0, "/bin/sh".to_owned());
            words
        });
        prop_oneof![Just(Vec::new()), command]
    };
    [hook().boxed(), hook().boxed(), hook().boxed(), hook().boxed(), hook().boxed()].prop_map(
        |[up, down, peer_up, peer_down, endpoint_changed]| Hooks {
            up,
            down,
            peer_up,
            peer_down,
            endpoint_changed,
        },
    )
}

prop_compose! {
    pub(super) fn config()(
        mut interface in interface(),
        ethernet in prop::option::of(ethernet()),
        their_key in any::<[u8; 32]>(),
        preshared_key in any::<[u8; 32]>(),
        endpoints in prop::collection::hash_set(endpoint(), 0..4),
        more in prop::collection::vec(address(), 0..6),
        keepalive in any::<u16>(),
        hooks in hooks(),
        cipher in prop::option::of(prop::sample::select(&Cipher::ALL)),
        metrics in prop::option::of((any::<[u8; 16]>(), 1..=u16::MAX)),
        log_level in prop::sample::select(vec![
            Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE,
        ]),
    ) -> Config {
        let mut allowed_ips: Vec<IpNet> = Vec::new();
        for net in interface.addresses.iter().chain(&more).map(IpNet::trunc) {
            let routable = interface.addresses.iter().any(|own| network::same_family(*own, net));
            if routable && !allowed_ips.iter().any(|other| network::overlap(*other, net)) {
                allowed_ips.push(net);
            }
        }
        let layer = if ethernet.is_some() { Layer::Ethernet } else { Layer::Ip };
        let profile = match (cipher, layer) {
            (None, Layer::Ip) => Profile::WireGuard,
            (cipher, layer) => Profile::Tunneld { cipher: cipher.unwrap_or_default(), layer },
        };
        if ethernet.is_some() {
            allowed_ips.clear();
            interface.kill_switch = false;
            interface.mtu.get_or_insert(1500);
            interface.ethernet = ethernet;
        }
        Config {
            interface,
            hooks,
            peer: Peer {
                public_key: PrivateKey::clamped(their_key).public_key(),
                preshared_key: PresharedKey::from(preshared_key),
                endpoints: endpoints.into_iter().collect(),
                allowed_ips,
                persistent_keepalive: (keepalive != 0).then(|| Duration::from_secs(keepalive.into())),
                profile,
            },
            metrics: metrics
                .map(|(ip, port)| Metrics { listen: (ip, port).into() })
                .filter(|metrics| !metrics.listen.ip().is_multicast()),
            log_level,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(config in config()) {
        let text = render(&config);
        prop_assert_eq!(Config::parse(&text, Path::new("t")).map_err(|error| error.to_string()), Ok(config));
    }

    #[test]
    fn no_change_of_the_text_makes_the_reader_panic(
        config in config(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, "[ -~\n\"=\\[\\]é]{0,4}"), 1..8),
    ) {
        let mut letters: Vec<char> = render(&config).chars().collect();
        for (at, removed, added) in edits {
            let at = at.index(letters.len() + 1);
            let end = letters.len().min(at + removed);
            letters.splice(at..end, added.chars());
        }
        let text: String = letters.into_iter().collect();
        match Config::parse(&text, Path::new("t")) {
            Ok(config) => drop(config.notes()),
            Err(error) => prop_assert!(error.to_string().contains("; accepted: "), "{}", error),
        }
    }

    #[test]
    fn no_text_at_all_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = Config::parse(&text, Path::new("t"));
    }
}
