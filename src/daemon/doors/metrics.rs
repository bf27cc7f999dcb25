//! A status as Prometheus reads it: text format 0.0.4, names and units by its rules.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use crate::daemon::shaper::Shaped;
use crate::daemon::status::{State, Status};

/// The kind of the text, for whoever gets it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a daemon.
pub(super) fn render(status: &Status) -> String {
    let mut page = Page::new(&status.interface);
    link(&mut page, status);
    traffic(&mut page, status);
    limits(&mut page, status);
    underlay(&mut page, status);
    device(&mut page, status);
    page.text
}

fn link(page: &mut Page, status: &Status) {
    let peer = &status.peer;
    page.family("tunneld_build_info", "gauge", "Always 1; the version is a label.");
    page.labelled("version", &status.version, 1);
    page.one(
        "tunneld_uptime_seconds",
        "gauge",
        "Time since the daemon started.",
        status.uptime_seconds,
    );
    page.one("tunneld_mtu_bytes", "gauge", "MTU of the device.", status.mtu);
    page.family("tunneld_link_state", "gauge", "1 for the state the link is in, 0 for all others.");
    for state in State::ALL {
        page.labelled("state", state.name(), u8::from(state == status.link.state));
    }
    page.one("tunneld_handshakes_total", "counter", "Handshakes completed.", peer.handshakes);
    if let Some(latest) = peer.latest_handshake_unix_seconds {
        page.one(
            "tunneld_latest_handshake_timestamp_seconds",
            "gauge",
            "When the latest handshake completed, since 1970.",
            latest,
        );
    }
}

fn traffic(page: &mut Page, Status { sent, received, arrivals, discards, .. }: &Status) {
    page.counters([
        ("tunneld_sent_packets_total", "Inner packets sealed for the peer.", sent.packets),
        ("tunneld_sent_bytes_total", "Bytes of the inner packets sealed for the peer.", sent.bytes),
        (
            "tunneld_received_packets_total",
            "Inner packets accepted from the peer.",
            received.packets,
        ),
        (
            "tunneld_received_bytes_total",
            "Bytes of the inner packets accepted from the peer.",
            received.bytes,
        ),
        (
            "tunneld_expected_datagrams_total",
            "Datagrams the peer has sent, by the counters of those that arrived.",
            arrivals.expected,
        ),
        (
            "tunneld_accepted_datagrams_total",
            "Datagrams of the peer that arrived, once each.",
            arrivals.accepted,
        ),
        (
            "tunneld_duplicate_datagrams_total",
            "Datagrams of the peer that came again, or too late to tell.",
            arrivals.duplicates,
        ),
        (
            "tunneld_reordered_datagrams_total",
            "Datagrams of the peer that a newer one overtook.",
            arrivals.reordered,
        ),
    ]);
    page.by_reason(
        "tunneld_discards_total",
        "Packets and messages that went no further.",
        discards,
    );
}

type NumberOf = fn(&Shaped) -> u64;

/// Only the directions that have a limit have samples.
fn limits(page: &mut Page, status: &Status) {
    let limited = [("out", status.rate_limit_out), ("in", status.rate_limit_in)];
    let limited = limited.into_iter().filter_map(|(direction, limit)| Some((direction, limit?)));
    let families: [(_, _, _, NumberOf); 4] = [
        (
            "tunneld_rate_limit_bits_per_second",
            "gauge",
            "The most that passes, headers of the underlay included.",
            |limit| limit.limit_bits_per_second,
        ),
        ("tunneld_waiting_packets", "gauge", "Packets that wait because of the limit.", |limit| {
            limit.waiting_packets
        }),
        (
            "tunneld_waiting_bytes",
            "gauge",
            "Bytes of the packets that wait because of the limit.",
            |limit| limit.waiting_bytes,
        ),
        (
            "tunneld_marked_packets_total",
            "counter",
            "Packets that were marked as congested instead of discarded.",
            |limit| limit.marked_packets,
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for (direction, limit) in limited.clone() {
            page.labelled("direction", direction, value(&limit));
        }
    }
}

fn underlay(page: &mut Page, Status { underlay, .. }: &Status) {
    let (sent, received) = (&underlay.sent, &underlay.received);
    page.counters([
        ("tunneld_underlay_sent_datagrams_total", "Datagrams the kernel took.", sent.segments),
        ("tunneld_underlay_send_calls_total", "System calls that sent datagrams.", sent.calls),
        (
            "tunneld_underlay_received_datagrams_total",
            "Datagrams the kernel gave.",
            received.segments,
        ),
        (
            "tunneld_underlay_receive_calls_total",
            "System calls that received datagrams.",
            received.calls,
        ),
        (
            "tunneld_underlay_gso_refused_total",
            "Sends with UDP GSO that the kernel refused.",
            underlay.gso_refused,
        ),
        (
            "tunneld_underlay_truncated_total",
            "Receive calls whose last datagram was cut short.",
            underlay.truncated,
        ),
    ]);
    page.by_reason(
        "tunneld_underlay_discards_total",
        "Datagrams that did not leave.",
        &underlay.discards,
    );
}

fn device(page: &mut Page, Status { device, .. }: &Status) {
    let (read, written) = (&device.read, &device.written);
    page.counters([
        ("tunneld_device_read_packets_total", "Packets read from the device.", read.segments),
        (
            "tunneld_device_read_calls_total",
            "System calls that read packets from the device.",
            read.calls,
        ),
        (
            "tunneld_device_written_packets_total",
            "Packets written to the device.",
            written.segments,
        ),
        (
            "tunneld_device_write_calls_total",
            "System calls that wrote packets to the device.",
            written.calls,
        ),
        (
            "tunneld_device_superpackets_refused_total",
            "Superpackets that the kernel refused; their segments went one by one.",
            device.superpackets_refused,
        ),
    ]);
    page.by_reason(
        "tunneld_device_discards_total",
        "Packets that the device did not pass.",
        &device.discards,
    );
}

/// The text as it grows.
struct Page {
    text: String,
    /// The label that every sample has.
    interface: String,
    /// Of the samples that come.
    name: &'static str,
}

impl Page {
    fn new(interface: &str) -> Self {
        let interface = format!("interface=\"{}\"", escaped(interface));
        Self { text: String::new(), interface, name: "" }
    }

    /// Begins a metric.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// A sample of the metric that was begun last.
    fn labelled(&mut self, label: &str, value: &str, number: impl Display) {
        let (name, interface) = (self.name, std::mem::take(&mut self.interface));
        self.line(format_args!("{name}{{{interface},{label}=\"{}\"}} {number}", escaped(value)));
        self.interface = interface;
    }

    /// A metric of one sample.
    fn one(&mut self, name: &'static str, kind: &str, help: &str, number: impl Display) {
        self.family(name, kind, help);
        let interface = std::mem::take(&mut self.interface);
        self.line(format_args!("{name}{{{interface}}} {number}"));
        self.interface = interface;
    }

    fn counters<const N: usize>(&mut self, counters: [(&'static str, &str, u64); N]) {
        for (name, help, count) in counters {
            self.one(name, "counter", help, count);
        }
    }

    fn by_reason(&mut self, name: &'static str, help: &str, counts: &BTreeMap<String, u64>) {
        self.family(name, "counter", help);
        for (reason, count) in counts {
            self.labelled("reason", reason, count);
        }
    }

    fn line(&mut self, line: impl Display) {
        // Text has room for more text.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A label's value as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::daemon::status::example;

    /// Name, labels, value.
    type Sample<'t> = (&'t str, &'t str, f64);
    /// Name and kind.
    type Metric<'t> = (&'t str, &'t str);

    /// Each sample and each metric, as a strict reader finds them.
    fn read(text: &str) -> (Vec<Sample<'_>>, Vec<Metric<'_>>) {
        let (mut samples, mut metrics) = (Vec::new(), Vec::<(&str, &str)>::new());
        let mut helped = "";
        for line in text.strip_suffix('\n').unwrap().split('\n') {
            if let Some(help) = line.strip_prefix("# HELP ") {
                helped = help.split_once(' ').unwrap().0;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                metrics.push(kind.split_once(' ').unwrap());
                assert_eq!(metrics.last().unwrap().0, helped, "its help comes first");
            } else {
                let (name, rest) = line.split_once('{').unwrap();
                let (labels, value) = rest.rsplit_once("} ").unwrap();
                assert_eq!(name, helped, "samples follow their metric");
                samples.push((name, labels, value.parse().unwrap()));
            }
        }
        (samples, metrics)
    }

    #[test]
    fn names_and_kinds_are_as_prometheus_wants_them_and_no_sample_is_there_twice() {
        let text = render(&example());
        let (samples, metrics) = read(&text);
        for (name, kind) in &metrics {
            assert!(name.starts_with("tunneld_"), "{name}");
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} {kind}");
        }
        let names: BTreeSet<_> = metrics.iter().collect();
        assert_eq!(names.len(), metrics.len());
        let series: BTreeSet<_> = samples.iter().map(|(name, labels, _)| (name, labels)).collect();
        assert_eq!(series.len(), samples.len());
        assert!(samples.iter().all(|(_, labels, _)| labels.starts_with("interface=\"tun0\"")));
    }

    #[test]
    fn the_numbers_are_those_of_the_status() {
        let text = render(&example());
        for line in [
            "tunneld_sent_bytes_total{interface=\"tun0\"} 1400000",
            "tunneld_discards_total{interface=\"tun0\",reason=\"mac1\"} 5",
            "tunneld_discards_total{interface=\"tun0\",reason=\"rate_limited\"} 0",
            "tunneld_rate_limit_bits_per_second{interface=\"tun0\",direction=\"out\"} 20000000",
            "tunneld_marked_packets_total{interface=\"tun0\",direction=\"out\"} 7",
            "tunneld_link_state{interface=\"tun0\",state=\"up\"} 1",
            "tunneld_link_state{interface=\"tun0\",state=\"down\"} 0",
            "tunneld_latest_handshake_timestamp_seconds{interface=\"tun0\"} 1800000000.25",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_name_with_signs_is_escaped() {
        let mut status = example();
        status.interface = r#"a"b\c"#.to_owned();
        assert!(render(&status).contains(r#"interface="a\"b\\c""#));
    }

    #[test]
    fn the_dashboard_asks_only_for_metrics_that_there_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/grafana-dashboard.json");
        let dashboard = std::fs::read_to_string(path).unwrap();
        let _: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
        let text = render(&example());
        let there: BTreeSet<_> = read(&text).1.into_iter().map(|(name, _)| name).collect();
        let is_name = |byte: char| byte == '_' || byte.is_ascii_alphanumeric();
        let words = dashboard.split(|letter| !is_name(letter));
        let asked: BTreeSet<_> = words.filter(|word| word.starts_with("tunneld_")).collect();
        assert!(asked.len() > 10, "{asked:?}");
        assert!(asked.is_subset(&there), "{:?}", asked.difference(&there));
    }
}
