//! What goes through a tunnel when nothing is wrong.

use super::config::{ends_with, on_both_paths};
use super::lab::{
    Host, INNER_A, INNER_B, Lab, direct_v4, endpoint, expect_success, stop, underlay,
};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::transfer::Transfer;

/// A megabyte.
const MB: u64 = 1_000_000;

on_both_paths! {
    ping_and_tcp_of_both_families_pass_over_ipv4,
    ping_and_tcp_of_both_families_pass_over_ipv6,
    parallel_streams_pass,
    a_transfer_each_way_at_once_arrives_byte_for_byte,
    an_end_without_endpoint_waits_to_be_called,
    a_packet_bigger_than_the_mtu_is_refused_or_fragmented,
}

/// iperf3 from a to b's address with these words; the bits per second that arrived.
fn iperf3(lab: &Lab, address: &str, words: &str) -> f64 {
    let server = Process::start(
        "iperf3 server",
        lab.command(Host::B, &format!("iperf3 -s -1 --forceflush -B {address}")),
    );
    server.wait_for("listening");
    let output = lab.run(Host::A, &format!("iperf3 -J -c {address} {words}"));
    expect_success(&output);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["end"]["sum_received"]["bits_per_second"].as_f64().expect("a rate")
}

fn both_families_inside(offload: &'static str, outside: usize) {
    let lab = Lab::direct();
    let _daemons = lab.link(&ends_with(offload, |host| endpoint(underlay(host)[outside])));
    for inner in 0..2 {
        assert!(lab.pings(Host::A, INNER_B[inner]));
        assert!(lab.pings(Host::B, INNER_A[inner]));
        expect_success(&lab.ping(Host::A, &format!("-c 20 -i 0.01 -w 5 {}", INNER_B[inner])));
        assert!(iperf3(&lab, INNER_B[inner], "-n 8M") > 0.0);
        assert!(iperf3(&lab, INNER_B[inner], "-n 8M -R") > 0.0);
    }
}

fn ping_and_tcp_of_both_families_pass_over_ipv4(offload: &'static str) {
    needs!("ping", "iperf3");
    both_families_inside(offload, 0);
}

fn ping_and_tcp_of_both_families_pass_over_ipv6(offload: &'static str) {
    needs!("ping", "iperf3");
    both_families_inside(offload, 1);
}

fn parallel_streams_pass(offload: &'static str) {
    needs!("ping", "iperf3");
    let lab = Lab::direct();
    let _daemons = lab.link(&ends_with(offload, direct_v4));
    assert!(iperf3(&lab, INNER_B[0], "-P 8 -n 16M") > 0.0);
    assert!(iperf3(&lab, INNER_B[1], "-P 8 -n 16M --bidir") > 0.0);
}

fn a_transfer_each_way_at_once_arrives_byte_for_byte(offload: &'static str) {
    needs!("ping");
    let lab = Lab::direct();
    let _daemons = lab.link(&ends_with(offload, direct_v4));
    let there = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 64 * MB);
    let back = Transfer::begin(&lab, Host::B, Host::A, INNER_A[1], 64 * MB);
    there.finish();
    back.finish();
}

fn an_end_without_endpoint_waits_to_be_called(offload: &'static str) {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends_with(offload, direct_v4);
    ends[1].endpoint = None;
    let _daemons = lab.link(&ends);
    assert!(lab.pings(Host::B, INNER_A[1]));
}

fn a_packet_bigger_than_the_mtu_is_refused_or_fragmented(offload: &'static str) {
    needs!("ping");
    let lab = Lab::direct();
    let daemons = lab.link(&ends_with(offload, direct_v4));
    for inner in INNER_B {
        let output = lab.ping(Host::A, &format!("-c 1 -W 1 -M do -s 3000 {inner}"));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).to_lowercase();
        assert!(said.contains("message too long"), "{said}");
        assert!(wait_until(BOUND, || {
            lab.ping(Host::A, &format!("-c 1 -W 1 -M dont -s 3000 {inner}")).status.success()
        }));
    }
    daemons.into_iter().for_each(|daemon| drop(stop(daemon)));
}
