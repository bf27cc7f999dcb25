//! What the daemons write on packets: the DSCP outside, and the MSS of TCP.

use std::net::{TcpListener, TcpStream};

use super::config::{End, ends};
use super::counters::{filter, packets};
use super::lab::{Host, INNER_A, INNER_B, Lab, endpoint, expect_success, routed_underlay};
use super::needs::needs;
use super::process::BOUND;

/// Both ends over this family of the underlay, the first with these lines. One datagram a send: several would be
/// counted as one.
fn marked(outside: usize, more: &'static str) -> [End; 2] {
    let mut ends = ends(|host| endpoint(routed_underlay(host)[outside]));
    (ends[0].more, ends[0].offload) = (more, "udp_gso = false");
    ends
}

#[test]
fn the_dscp_of_a_packet_is_that_of_its_datagram_where_it_is_to_be() {
    needs!("ping", "nft");
    for (outside, ip) in ["ip", "ip6"].into_iter().enumerate() {
        for (more, expected) in [("copy_dscp = true", 10), ("", 0)] {
            let lab = Lab::routed();
            let data = format!("iifname to-a udp dport 51820 @th,64,8 4 {ip}");
            filter(
                &lab,
                Host::Router,
                &format!(
                    "counter ef {{}}\nchain forward {{ type filter hook forward priority 0;\n\
                     {data} dscp ef {ip} ecn ect0 counter name ef\n}}"
                ),
            );
            let _daemons = lab.link(&marked(outside, more));
            assert_eq!(packets(&lab, Host::Router, "ef"), 0);
            for address in INNER_B {
                // EF and ECT(0).
                expect_success(&lab.ping(Host::A, &format!("-Q 0xba -c 5 -i 0.01 -w 5 {address}")));
            }
            assert_eq!(packets(&lab, Host::Router, "ef"), expected, "{ip} {more}");
        }
    }
}

/// Counts on a host the SYN packets out of the tunnel that announce this MSS.
fn count_mss(lab: &Lab, host: Host, mss: u16) {
    filter(
        lab,
        host,
        &format!(
            "counter clamped {{}}\nchain input {{ type filter hook input priority 0;\n\
             iifname tun0 tcp flags & syn == syn tcp option maxseg size {mss} counter name clamped\n}}"
        ),
    );
}

/// Makes a TCP connection from one host to the other, which has this address.
fn connect(lab: &Lab, from: Host, to: Host, address: &'static str) {
    let bound = lab.inside(to, move || TcpListener::bind((address, 0)).unwrap()).join().unwrap();
    let server = bound.local_addr().unwrap();
    lab.inside(from, move || TcpStream::connect_timeout(&server, BOUND).unwrap()).join().unwrap();
}

#[test]
fn the_mss_of_tcp_is_lowered_both_ways_unless_that_is_off() {
    needs!("ping", "nft");
    for (more, expected) in [("clamp_mss = 700", 4), ("clamp_mss = false", 0), ("", 0)] {
        let lab = Lab::routed();
        for host in [Host::A, Host::B] {
            count_mss(&lab, host, 700);
        }
        let _daemons = lab.link(&marked(0, more));
        for inner in 0..2 {
            connect(&lab, Host::A, Host::B, INNER_B[inner]);
            connect(&lab, Host::B, Host::A, INNER_A[inner]);
        }
        // Of each family the SYN and the answer to the other one's.
        for host in [Host::A, Host::B] {
            assert_eq!(packets(&lab, host, "clamped"), expected, "{more}");
        }
    }
}

#[test]
fn the_mss_follows_the_mtu_of_this_end_if_the_other_ends_is_larger() {
    needs!("ping", "nft");
    let lab = Lab::routed();
    let mut ends = marked(0, "");
    (ends[0].mtu, ends[1].mtu) = (Some(1300), Some(1420));
    count_mss(&lab, Host::A, 1260);
    let _daemons = lab.link(&ends);
    connect(&lab, Host::A, Host::B, INNER_B[0]);
    assert_eq!(packets(&lab, Host::A, "clamped"), 1, "b announced 1380");
}
