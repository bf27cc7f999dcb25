//! The MTU of the device: what the path carries, or what the file says.

use super::config::{ends, ends_with, on_both_paths};
use super::counters::{filter, packets};
use super::lab::{
    CABLE, Host, INNER_A, INNER_B, Lab, MOVED, direct_v4, endpoint, expect_success, stop, underlay,
};
use super::needs::needs;
use super::process::{BOUND, wait_until};

on_both_paths! { without_a_number_packets_as_large_as_the_mtu_fill_the_outer_ones_exactly }

/// What a datagram adds to a packet, outside IPv4 and outside IPv6.
const OVERHEAD: [u32; 2] = [60, 80];

/// What an IP header and an ICMP header add to a ping, inside IPv4 and inside IPv6.
const PING: [u32; 2] = [28, 48];

/// The MTU of a host's device.
pub(crate) fn mtu(lab: &Lab, host: Host) -> u32 {
    let link = lab.ip(host, "-o link show tun0");
    let mut words = link.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("an MTU: {link}"))
}

/// A lab whose cable carries packets of so many bytes.
fn lab_with(cable: u32) -> Lab {
    let lab = Lab::direct();
    for host in [Host::A, Host::B] {
        lab.ip(host, &format!("link set {CABLE} mtu {cable}"));
    }
    lab
}

/// Waits until the device has this MTU.
pub(crate) fn becomes(lab: &Lab, host: Host, expected: u32) {
    let became = wait_until(BOUND, || mtu(lab, host) == expected);
    assert!(became, "host {host:?} has {} and not {expected}", mtu(lab, host));
}

/// Counts the fragments that host b gets, before the kernel puts them together.
fn count_fragments(lab: &Lab) {
    filter(
        lab,
        Host::B,
        "counter fragments {}\nchain early { type filter hook prerouting priority -450;\n\
         ip frag-off & 0x3fff != 0 counter name fragments\nexthdr frag exists counter name fragments\n}",
    );
}

/// Sends packets of exactly so many bytes, of both families, from a to b.
fn sends_packets_of(lab: &Lab, size: u32) {
    for (address, headers) in INNER_B.into_iter().zip(PING) {
        let words = format!("-c 3 -i 0.01 -w 5 -M do -s {} {address}", size - headers);
        expect_success(&lab.ping(Host::A, &words));
    }
}

fn without_a_number_packets_as_large_as_the_mtu_fill_the_outer_ones_exactly(offload: &'static str) {
    needs!("ping", "nft");
    for (outside, overhead) in OVERHEAD.into_iter().enumerate() {
        for cable in [1500, 1400] {
            let lab = lab_with(cable);
            count_fragments(&lab);
            let _daemons = lab.link(&ends_with(offload, |host| endpoint(underlay(host)[outside])));
            for host in [Host::A, Host::B] {
                becomes(&lab, host, cable - overhead);
            }
            sends_packets_of(&lab, cable - overhead);
            assert_eq!(packets(&lab, Host::B, "fragments"), 0);
        }
    }
}

#[test]
fn the_mtu_follows_a_peer_that_moves_from_ipv4_to_ipv6() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[0].endpoint = None;
    let [a, b] = lab.link_called_by_b(&ends);
    becomes(&lab, Host::A, 1440);
    stop(b);
    ends[1].endpoint = Some(endpoint(underlay(Host::A)[1]));
    let _b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::B, INNER_A[0]));
    assert!(a.wait_for("2001:db8::2").contains(MOVED));
    becomes(&lab, Host::A, 1420);
    becomes(&lab, Host::B, 1420);
}

#[test]
fn a_number_in_the_file_is_the_mtu_and_larger_outer_packets_are_fragmented() {
    needs!("ping", "nft");
    for (number, fragmented) in [(1300, false), (1500, true)] {
        let lab = Lab::direct();
        count_fragments(&lab);
        let mut ends = ends(direct_v4);
        ends.iter_mut().for_each(|end| end.mtu = Some(number));
        let _daemons = lab.link(&ends);
        for host in [Host::A, Host::B] {
            assert_eq!(mtu(&lab, host), u32::from(number));
        }
        sends_packets_of(&lab, number.into());
        assert_eq!(packets(&lab, Host::B, "fragments") > 0, fragmented);
    }
}

#[test]
fn a_device_with_an_ipv6_address_never_goes_below_1280() {
    needs!("ping");
    let lab = lab_with(1280);
    let _daemons = lab.link(&ends(|host| endpoint(underlay(host)[1])));
    for host in [Host::A, Host::B] {
        becomes(&lab, host, 1280);
    }
    sends_packets_of(&lab, 1280);

    let lab = lab_with(1280);
    let mut ends = ends(direct_v4);
    for (end, address) in ends.iter_mut().zip(["10.77.0.1/30", "10.77.0.2/30"]) {
        end.addresses = vec![address];
    }
    let _daemons = lab.link(&ends);
    becomes(&lab, Host::A, 1220);
}
