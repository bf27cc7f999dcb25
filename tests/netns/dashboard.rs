//! The dashboard for Grafana, asked of a real Prometheus about a real run: each query of each panel has an answer, and the
//! right one. With `TUNNELD_TEST_RECORD=FILE` the panels are written there as text.

use std::fs;
use std::net::UdpSocket;

use serde_json::Value;

use super::config::{End, ends};
use super::counters::filter;
use super::lab::{HANDSHAKE, Host, INNER_A, INNER_B, Lab, direct_v4, stop};
use super::needs::needs;
use super::panels::{Panel, panels};
use super::process::{BOUND, wait_until};
use super::prometheus::Prometheus;
use super::status::{number, status};
use super::transfer::Transfer;

/// Where host a's metrics are.
const METRICS: &str = "127.0.0.1:9586";

/// What Prometheus has, and where the status says the same.
const SAME: [(&str, &str); 24] = [
    ("tunneld_mtu_bytes", "/mtu"),
    ("tunneld_handshakes_total", "/peer/handshakes"),
    ("tunneld_sent_packets_total", "/sent/packets"),
    ("tunneld_sent_bytes_total", "/sent/bytes"),
    ("tunneld_received_packets_total", "/received/packets"),
    ("tunneld_received_bytes_total", "/received/bytes"),
    ("tunneld_expected_datagrams_total", "/arrivals/expected"),
    ("tunneld_accepted_datagrams_total", "/arrivals/accepted"),
    ("tunneld_expected_datagrams_total - tunneld_accepted_datagrams_total", "/arrivals/lost"),
    ("tunneld_duplicate_datagrams_total", "/arrivals/duplicates"),
    ("tunneld_reordered_datagrams_total", "/arrivals/reordered"),
    ("tunneld_discards_total{reason='message_type'}", "/discards/message_type"),
    ("tunneld_underlay_discards_total{reason='filtered'}", "/underlay/discards/filtered"),
    ("tunneld_device_discards_total{reason='down'}", "/device/discards/down"),
    ("tunneld_underlay_sent_datagrams_total", "/underlay/sent/segments"),
    ("tunneld_underlay_send_calls_total", "/underlay/sent/calls"),
    ("tunneld_underlay_received_datagrams_total", "/underlay/received/segments"),
    ("tunneld_underlay_receive_calls_total", "/underlay/received/calls"),
    ("tunneld_device_read_packets_total", "/device/read/segments"),
    ("tunneld_device_read_calls_total", "/device/read/calls"),
    ("tunneld_device_written_packets_total", "/device/written/segments"),
    ("tunneld_device_write_calls_total", "/device/written/calls"),
    ("tunneld_device_superpackets_refused_total", "/device/superpackets_refused"),
    ("tunneld_underlay_gso_refused_total", "/underlay/gso_refused"),
];

/// An end whose metrics are served there.
fn measured(end: &End, listen: &str) -> End {
    End { hooks: format!("[metrics]\nlisten = {listen:?}\n"), ..end.clone() }
}

/// The variable that names the file for the record.
const RECORD: &str = "TUNNELD_TEST_RECORD";

/// Traffic both ways, a peer that is started again, and something for each counter of discards.
fn run(lab: &Lab, prometheus: &Prometheus<'_>, [a, b]: [End; 2]) -> [super::process::Process; 2] {
    let [a, mut before] = lab.link(&[a, b.clone()]);
    // A rate is between two looks: what came before the first is none.
    assert!(wait_until(BOUND, || prometheus.number("tunneld_uptime_seconds").is_some()));
    // Of what is larger than a handshake: each hundredth may not leave, and of each fiftieth nobody hears.
    filter(
        lab,
        Host::A,
        "chain out { type filter hook output priority 0;\n\
         udp dport 51820 udp length > 200 numgen inc mod 100 0 drop; }\n\
         chain in { type filter hook prerouting priority 0;\n\
         udp dport 51820 udp length > 200 numgen inc mod 50 0 drop; }",
    );
    // A record is to show more.
    for length in (1..=std::env::var_os(RECORD).map_or(1, |_| 3)).map(|part| part * 20_000_000) {
        Transfer::begin(lab, Host::A, Host::B, INNER_B[0], length).finish();
        Transfer::begin(lab, Host::B, Host::A, INNER_A[1], length / 2).finish();
    }
    let handshakes = a.count(HANDSHAKE);
    before.signal(nix::sys::signal::Signal::SIGKILL);
    before.end(BOUND);
    let after = lab.start(Host::B, &b);
    a.wait_for_nth(handshakes + 1, HANDSHAKE);
    let stranger = lab.inside(Host::B, || {
        UdpSocket::bind("192.0.2.2:0").unwrap().send_to(b"junk", "192.0.2.1:51820")
    });
    stranger.join().unwrap().unwrap();
    lab.ip(Host::A, "link set tun0 down");
    assert!(wait_until(BOUND, || {
        lab.ping(Host::B, &format!("-c 1 -W 0.2 {}", INNER_A[0]));
        number(&status(lab), "/device/discards/down") > 0
    }));
    lab.ip(Host::A, "link set tun0 up");
    lab.ping(Host::A, &format!("-c 300 -i 0.01 -W 1 -s 1000 {}", INNER_B[0]));
    assert!(lab.pings(Host::A, INNER_B[1]));
    [a, after]
}

/// Waits until Prometheus has what the status says, all of it at once.
fn agree(prometheus: &Prometheus, lab: &Lab) -> Value {
    let mut said = Value::Null;
    let mut differ = Vec::new();
    let agreed = wait_until(BOUND, || {
        let before = status(lab);
        differ = SAME
            .iter()
            .map(|(query, path)| (query, prometheus.number(query), number(&before, path)))
            .filter(|(_, has, says)| *has != Some(*says as f64))
            .collect();
        said = before;
        differ.is_empty()
    });
    assert!(agreed, "{differ:?} in {said}");
    said
}

#[test]
fn every_query_of_the_dashboard_is_answered_by_a_real_prometheus_with_what_the_status_says() {
    needs!("ping", "nft", "prometheus");
    let lab = Lab::direct();
    let [a, b] = ends(direct_v4);
    let prometheus = Prometheus::start(&lab, Host::A, &[METRICS, "192.0.2.2:9586"]);
    let begun = prometheus.number("time()").unwrap();
    let daemons = run(&lab, &prometheus, [measured(&a, METRICS), measured(&b, "192.0.2.2:9586")]);
    let status = agree(&prometheus, &lab);
    let variables = prometheus.get("label/instance/values", &[("match[]", "tunneld_build_info")]);
    assert_eq!(variables, serde_json::json!([METRICS, "192.0.2.2:9586"]));

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut all = Vec::new();
    let mut empty = Vec::new();
    // What could not be asked in time, on a busy machine, is there again the next time.
    wait_until(BOUND, || {
        all = panels(&dashboard, &prometheus, begun, METRICS);
        let targets =
            all.iter().flat_map(|panel| panel.targets.iter().map(move |one| (panel, one)));
        let nothing = targets.filter(|(_, (_, series))| series.is_empty());
        empty = nothing.map(|(panel, (legend, _))| format!("{}: {legend}", panel.title)).collect();
        empty.is_empty()
    });
    assert_eq!(empty, [] as [String; 0]);
    let panels = all;
    assert_eq!(panels.len(), dashboard["panels"].as_array().unwrap().len());
    let panel = |title: &str| panels.iter().find(|panel| panel.title == title).unwrap();
    let near = |title: &str, path: &str| {
        let says = status.pointer(path).and_then(Value::as_f64).unwrap();
        let shows = panel(title).latest();
        assert!((shows - says).abs() < 10.0, "{title}: {shows} and {says}");
    };
    assert_eq!(panel("State").names(), ["up"]);
    assert_eq!(panel("Version").names(), [status["version"].as_str().unwrap()]);
    assert_eq!(panel("MTU").latest(), number(&status, "/mtu") as f64);
    near("Latest handshake", "/peer/latest_handshake_age_seconds");
    near("Uptime", "/uptime_seconds");
    for (title, at_least) in
        [("Throughput", 1e6), ("Packets", 100.0), ("Handshakes", 0.5), ("Loss inbound", 0.001)]
    {
        let greatest = panel(title).greatest();
        assert!(greatest > at_least, "{title}: {greatest}");
    }
    assert!(panel("Loss inbound").greatest() < 0.9);
    assert!(panel("Segments per system call").greatest() > 2.0);
    let discards = panel("Discards").names();
    for reason in ["message_type", "not sent: filtered", "device: down"] {
        assert!(discards.contains(&reason), "{reason} in {discards:?}");
    }
    if let Some(record) = std::env::var_os(RECORD) {
        fs::write(record, panels.iter().map(Panel::to_string).collect::<String>()).unwrap();
    }
    daemons.into_iter().for_each(|daemon| drop(stop(daemon)));
}

#[test]
fn a_query_that_is_wrong_is_no_answer() {
    needs!("prometheus");
    let lab = Lab::direct();
    let prometheus = Prometheus::start(&lab, Host::A, &[METRICS]);
    assert_eq!(prometheus.number("tunneld_no_such_metric"), None);
    let wrong = std::panic::AssertUnwindSafe(|| prometheus.number("rate(tunneld_mtu_bytes"));
    assert!(std::panic::catch_unwind(wrong).is_err());
}
