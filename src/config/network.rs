//! Addresses with a prefix length, and what must hold of them alone and together.

use std::net::IpAddr;

use ipnet::IpNet;

use super::endpoint::decimal;

/// Reads `address/prefix`; unlike `IpNet`'s own parser, no leading zeros that could mean octal.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, decimal(prefix)?).ok()
}

/// Why a device cannot have this address, if so.
pub(crate) fn no_host_address(net: IpNet) -> Option<&'static str> {
    let address = net.addr();
    let many_hosts = net.max_prefix_len().saturating_sub(net.prefix_len()) > 1;
    match address {
        _ if net.prefix_len() == 0 => Some("has every address in its network"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("is an unspecified address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("is an unspecified address"),
        _ if address.is_multicast() => Some("is a multicast address"),
        _ if address.is_loopback() => Some("is a loopback address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("is an IPv4 address in IPv6 form"),
        _ if many_hosts && address == net.network() => {
            Some("is the address of the network, not of a host in it")
        }
        IpAddr::V4(v4) if many_hosts && IpAddr::V4(v4) == net.broadcast() => {
            Some("is the broadcast address of its network")
        }
        _ => None,
    }
}

/// The networks that `addresses` are in, without those that lie in another; a single host's prefix is no network.
pub(super) fn networks_of(addresses: &[IpNet]) -> Vec<IpNet> {
    let mut networks: Vec<IpNet> = Vec::new();
    for network in addresses.iter().map(IpNet::trunc) {
        let single = network.prefix_len() == network.max_prefix_len();
        if !single && !networks.iter().any(|other| other.contains(&network)) {
            networks.retain(|other| !network.contains(other));
            networks.push(network);
        }
    }
    networks
}

/// Whether both are IPv4 or both are IPv6.
pub(crate) fn same_family(a: IpNet, b: IpNet) -> bool {
    a.max_prefix_len() == b.max_prefix_len()
}

/// Whether they have an address in common; of two prefixes, one then holds the other.
pub(super) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// `IPv4` or `IPv6`.
pub(super) fn family(net: IpNet) -> &'static str {
    match net {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| parse(text).unwrap()).collect()
    }

    #[test]
    fn only_a_plain_address_with_a_prefix_length_is_read() {
        for text in [
            "10.0.0.1",
            "10.0.0.1/",
            "10.0.0.1/33",
            "10.0.0.1/+8",
            "010.0.0.1/8",
            "10.0.0/8",
            "fd77::1/129",
            "fd77::1/-1",
            "/8",
            "",
            "10.0.0.1/8 ",
            "10.0.0.1/255.0.0.0",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("10.0.0.1/0").is_some() && parse("fd77::1/128").is_some());
    }

    #[test]
    fn addresses_that_no_host_has_are_told_apart() {
        for (text, word) in [
            ("10.0.0.1/0", "every"),
            ("0.0.0.1/8", "unspecified"),
            ("::/64", "unspecified"),
            ("224.0.0.1/24", "multicast"),
            ("ff02::1/64", "multicast"),
            ("127.0.0.1/8", "loopback"),
            ("::1/128", "loopback"),
            ("255.255.255.255/32", "broadcast"),
            ("10.77.0.3/30", "broadcast"),
            ("10.77.0.0/30", "network"),
            ("fd77::/64", "network"),
            ("::ffff:10.0.0.1/120", "IPv6 form"),
        ] {
            let why = no_host_address(parse(text).unwrap());
            assert!(why.is_some_and(|why| why.contains(word)), "{text}: {why:?}");
        }
        for text in [
            "10.77.0.1/30",
            "10.77.0.0/31",
            "10.77.0.1/31",
            "10.77.0.0/32",
            "fd77::/127",
            "fd77::1/64",
            "fd77::ffff:ffff:ffff:ffff/64",
            "169.254.0.1/16",
            "fe80::1/64",
        ] {
            assert_eq!(no_host_address(parse(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn networks_that_lie_in_another_are_left_out() {
        assert_eq!(
            networks_of(&nets(&[
                "10.0.1.1/24",
                "10.0.1.2/24",
                "10.0.2.1/16",
                "fd77::1/64",
                "10.9.0.1/32",
            ])),
            nets(&["10.0.0.0/16", "fd77::/64"])
        );
    }
}
