//! Limits of the rate, among real TCP streams: the rate is kept on the underlay, and a ping beside a stream stays
//! quick.

use std::fs;
use std::net::UdpSocket;
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tunneld::crypto::PrivateKey;

use super::config::{End, ends};
use super::counters::discards;
use super::lab::{CABLE, HANDSHAKE, Host, INNER_A, INNER_B, Lab, direct_v4, expect_success, stop};
use super::needs::needs;
use super::process::{BOUND, Process, now, wait_until};
use super::transfer::Transfer;

/// Bits per second.
const LIMIT: f64 = 20e6;
const LIMIT_OUT: &str = "rate_limit_out = '20 Mbit/s'";
const LIMIT_IN: &str = "rate_limit_in = '20 Mbit/s'";
/// How far the rate may be off.
const TOLERANCE: f64 = 0.02;
/// How much longer a ping may take than on an idle link.
const MOST_MILLIS: f64 = 30.0;
/// A megabyte.
const MB: u64 = 1_000_000;
/// What fills the link.
const STREAMS: u64 = 4;
const LENGTH: u64 = 9 * MB;
/// Measures in a row, for a machine that is busy with something else: one of them must be good enough.
const ATTEMPTS: usize = 3;

/// Both ends, the first with these lines. One datagram a send, as a superpacket's headers are counted once on the
/// cable.
fn limited(more: &'static str) -> [End; 2] {
    let mut ends = ends(direct_v4);
    (ends[0].more, ends[0].offload) = (more, "udp_gso = false");
    ends
}

/// The bits of IP packets that host a has sent on its cable, and when that was so.
fn sent_bits(lab: &Lab) -> (Instant, f64) {
    let at = now();
    let counters = device_counters(lab, CABLE);
    let [bytes, packets] = [counters[8], counters[9]];
    // Without the Ethernet headers.
    (at, (bytes - 14.0 * packets) * 8.0)
}

/// What the kernel counts of a device of host a: eight numbers inbound, eight outbound.
fn device_counters(lab: &Lab, device: &str) -> Vec<f64> {
    let read = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let devices = lab.inside(Host::A, read).join().unwrap();
    let (_, counters) = devices.split_once(&format!("{device}:")).unwrap();
    counters.split_whitespace().map_while(|n| n.parse().ok()).collect()
}

/// The times of pings from a to b, about four seconds of them, in order of length; in milliseconds.
fn pings(lab: &Lab) -> Vec<f64> {
    let output = lab.ping(Host::A, &format!("-c 100 -i 0.04 {}", INNER_B[0]));
    expect_success(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    let times = said.split_whitespace().filter_map(|word| word.strip_prefix("time="));
    let mut times: Vec<f64> = times.map(|time| time.parse().unwrap()).collect();
    assert!(times.len() >= 98, "nearly all are answered: {said}");
    times.sort_unstable_by(f64::total_cmp);
    times
}

/// The median and the 95th percentile.
fn median_and_95(times: &[f64]) -> [f64; 2] {
    [times[times.len() / 2], times[times.len() * 95 / 100]]
}

/// Several streams at once from one host to the other, which has this address: one alone does not fill a queue at
/// once.
fn streams(lab: &Lab, from: Host, to: Host, address: &str) -> Vec<Transfer> {
    (0..STREAMS).map(|_| Transfer::begin(lab, from, to, address, LENGTH)).collect()
}

/// Bytes of all of them that are still to come.
fn left(streams: &[Transfer]) -> u64 {
    streams.iter().map(Transfer::left).sum()
}

/// Measures while pings go from a to b beside `streams`: `bits` so far tell the rate. The rate is never beyond the
/// tolerance; one measure of some is within it, with a ping that stays quick.
fn measure(lab: &Lab, streams: &[Transfer], idle: &[f64], bits: impl Fn() -> (Instant, f64)) {
    let [idle, _] = median_and_95(idle);
    // TCP has found its pace.
    streams.iter().for_each(|stream| stream.goes_on(MB));
    let mut measured = Vec::new();
    for _ in 0..ATTEMPTS {
        let (began, before) = bits();
        let [median, most] = median_and_95(&pings(lab));
        let (ended, after) = bits();
        let rate = (after - before) / (ended - began).as_secs_f64() / LIMIT;
        assert!(rate < 1.0 + TOLERANCE, "{rate} of the limit");
        measured.push((rate, median - idle, most - idle));
        if rate > 1.0 - TOLERANCE && most - idle < MOST_MILLIS {
            return;
        }
    }
    panic!("rate, median and 95th percentile above idle: {measured:?}");
}

#[test]
fn outbound_the_rate_is_kept_and_a_ping_beside_a_stream_stays_quick() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = lab.link(&limited(LIMIT_OUT));
    let idle = pings(&lab);
    let streams = streams(&lab, Host::A, Host::B, INNER_B[0]);
    measure(&lab, &streams, &idle, || sent_bits(&lab));
    assert!(left(&streams) > 0, "they were there all the time");
    streams.into_iter().for_each(Transfer::finish);
    stop(a);
    stop(b);
}

#[test]
fn inbound_the_rate_is_kept_and_a_ping_beside_a_stream_stays_quick() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = lab.link(&limited(LIMIT_IN));
    let idle = pings(&lab);
    let streams = streams(&lab, Host::B, Host::A, INNER_A[0]);
    // A full packet of 1440 bytes has 1388 for the stream, besides headers of IP and of TCP with timestamps, and 1500
    // on the cable.
    let came = || LENGTH * STREAMS - left(&streams);
    measure(&lab, &streams, &idle, || (now(), came() as f64 * 8.0 * 1500.0 / 1388.0));
    assert!(left(&streams) > 0, "they were there all the time");
    streams.into_iter().for_each(Transfer::finish);
    stop(a);
    stop(b);
}

/// What `tunneld status` of host a says.
fn status(lab: &Lab) -> Value {
    let mut command = lab.command(Host::A, "");
    command.arg(env!("CARGO_BIN_EXE_tunneld")).args(["status", "--json"]);
    let output = command.env("RUNTIME_DIRECTORY", lab.directory_of(Host::A)).output().unwrap();
    expect_success(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What it says of the limit outbound.
fn limit_out(lab: &Lab) -> Value {
    status(lab)["rate_limit_out"].take()
}

fn reload(lab: &Lab, daemon: &Process, end: &End) {
    let before = daemon.count("reloaded");
    lab.write_file(Host::A, &end.name, &end.to_toml());
    daemon.signal(Signal::SIGHUP);
    assert!(!daemon.wait_for_nth(before + 1, "reloaded").contains("not reloaded"));
}

#[test]
fn a_reload_sets_changes_and_lifts_a_limit_while_a_stream_flows_on() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    let [a, b] = lab.link(&ends);
    let handshakes = a.count(HANDSHAKE);
    assert_eq!(limit_out(&lab), Value::Null);
    ends[0].more = "rate_limit_out = '80M'";
    reload(&lab, &a, &ends[0]);
    assert_eq!(limit_out(&lab)["limit_bits_per_second"], 80_000_000);
    let stream = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 40 * MB);
    takes_half_of(&stream, 80e6);
    ends[0].more = LIMIT_OUT;
    reload(&lab, &a, &ends[0]);
    stream.goes_on(MB);
    takes_half_of(&stream, LIMIT);
    assert!(limit_out(&lab)["waiting_packets"].as_u64().is_some());
    ends[0].more = "";
    reload(&lab, &a, &ends[0]);
    stream.finish();
    assert_eq!(limit_out(&lab), Value::Null);
    assert_eq!(a.count(HANDSHAKE), handshakes, "the session lives on");
    stop(a);
    stop(b);
}

/// Four more megabytes take at least half the time that they need at a rate: some may have waited before.
fn takes_half_of(stream: &Transfer, rate: f64) {
    let began = now();
    stream.goes_on(4 * MB);
    let least = Duration::from_secs_f64(4e6 * 8.0 / rate / 2.0);
    assert!(began.elapsed() > least, "{rate}: {:?}", began.elapsed());
}

/// A socket on a host, for which the next datagram is there at once or within [`BOUND`].
fn socket(lab: &Lab, host: Host) -> UdpSocket {
    let socket = lab.inside(host, || UdpSocket::bind("0.0.0.0:0").unwrap()).join().unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    socket
}

/// Sends datagrams of a kilobyte with their numbers from one host to the socket of the other, which has this address.
fn send(from: &UdpSocket, to: &UdpSocket, address: &str, numbers: Range<u8>) {
    let port = to.local_addr().unwrap().port();
    for number in numbers {
        from.send_to(&[number; 1000], (address, port)).unwrap();
    }
}

/// The number of the next datagram.
fn next(socket: &UdpSocket) -> u8 {
    let mut datagram = [0; 1000];
    assert_eq!(socket.recv(&mut datagram).expect("one comes"), datagram.len());
    datagram[0]
}

#[test]
fn what_waits_for_a_peer_or_from_it_does_not_meet_the_next_one() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[0].more = "rate_limit_out = '8k'\nrate_limit_in = '8k'";
    let [a, b] = lab.link(&ends);
    let [at_a, at_b] = [Host::A, Host::B].map(|host| socket(&lab, host));
    send(&at_a, &at_b, INNER_B[0], 1..41);
    send(&at_b, &at_a, INNER_A[0], 1..41);
    let waiting = |limit: &str| status(&lab)[limit]["waiting_packets"].as_u64().unwrap();
    let all_wait = || waiting("rate_limit_out") > 20 && waiting("rate_limit_in") > 20;
    assert!(wait_until(BOUND, all_wait));
    stop(b);
    // Another host at the same place.
    ends[1].private_key = [3; 32];
    ends[0].public_key = PrivateKey::clamped([3; 32]).public_key().to_string();
    reload(&lab, &a, &ends[0]);
    // What came from the one before while it was the peer.
    for socket in [&at_a, &at_b] {
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut [0; 1000]).is_ok() {}
        socket.set_nonblocking(false).unwrap();
    }
    // What waited would go at once, and first.
    ends[0].more = "";
    reload(&lab, &a, &ends[0]);
    let b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::A, INNER_B[0]), "a and the other host are linked");
    send(&at_a, &at_b, INNER_B[0], 100..101);
    send(&at_b, &at_a, INNER_A[0], 100..101);
    assert_eq!([next(&at_a), next(&at_b)], [100; 2]);
    assert!(discards(&stop(a), "other_peer") > 40 / 2, "both ways");
    stop(b);
}

#[test]
fn what_waits_at_a_stop_leaves_before_it_ends() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = lab.link(&limited("rate_limit_out = '2M'"));
    let [at_a, at_b] = [Host::A, Host::B].map(|host| socket(&lab, host));
    let read = || device_counters(&lab, "tun0")[9];
    let before = read();
    // At this rate they take 26 ms.
    send(&at_a, &at_b, INNER_B[0], 1..7);
    assert!(wait_until(BOUND, || read() >= before + 6.0));
    stop(a);
    assert_eq!([(); 6].map(|()| next(&at_b)), [1, 2, 3, 4, 5, 6]);
    stop(b);
}

#[test]
fn what_would_wait_for_longer_at_a_stop_is_lost_and_counted() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = lab.link(&limited("rate_limit_out = '8k'"));
    let [at_a, at_b] = [Host::A, Host::B].map(|host| socket(&lab, host));
    send(&at_a, &at_b, INNER_B[0], 1..11);
    assert!(wait_until(BOUND, || limit_out(&lab)["waiting_packets"].as_u64() > Some(5)));
    let began = now();
    assert!(discards(&stop(a), "shaped_out") > 4);
    assert!(now() - began < Duration::from_secs(5), "they would take ten");
    stop(b);
}
