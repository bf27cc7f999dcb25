//! `tunneld status`: how the link of a running daemon is.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use clap::Args;

use super::client::{Client, Target};
use super::{line, list, or};
use crate::daemon::status::{Calls, Status, Trial};
use crate::wire::Layer;

/// What is asked for.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Print all of it as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Asks the daemon and prints what it says.
///
/// # Errors
/// There is none, or it does not answer; or standard output.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let status = Client::connect(&options.target)?.status()?;
    let text = if options.json { super::json(&status)? } else { Summary(&status).to_string() };
    Ok(super::print(&text)?)
}

/// A status in words, one line for each value.
struct Summary<'s>(&'s Status);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { link, trial, sent, received, arrivals, underlay, device, .. } = self.0;
        writeln!(f, "link")?;
        line(f, "carries", carries(self.0))?;
        line(f, "state", format_args!("{} for {}", link.state.name(), time(link.for_seconds)))?;
        line(f, "reason", &link.reason)?;
        if let Some(trial) = trial {
            line(f, "trial", in_words(trial))?;
        }
        self.interface(f)?;
        self.peer(f)?;
        writeln!(f, "traffic")?;
        for (name, way) in [("sent", sent), ("received", received)] {
            line(f, name, format_args!("{} packets, {}", way.packets, bytes(way.bytes)))?;
        }
        let of = format_args!("of {} datagrams", arrivals.expected);
        line(f, "lost inbound", format_args!("{} {of}", arrivals.lost))?;
        line(f, "duplicates", arrivals.duplicates)?;
        line(f, "reordered", arrivals.reordered)?;
        self.limits(f)?;
        writeln!(f, "segments per system call")?;
        line(f, "device read", calls(&device.read))?;
        line(f, "underlay send", calls(&underlay.sent))?;
        line(f, "underlay recv", calls(&underlay.received))?;
        line(f, "device write", calls(&device.written))?;
        self.discards(f)
    }
}

impl Summary<'_> {
    fn interface(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        writeln!(f, "interface")?;
        line(f, "name", &status.interface)?;
        line(f, "addresses", list(&status.addresses))?;
        line(f, "public key", &status.public_key)?;
        line(f, "listen port", status.listen_port)?;
        line(f, "mtu", status.mtu)?;
        line(f, "uptime", time(status.uptime_seconds))
    }

    fn peer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = &self.0.peer;
        let ago = |age: Option<f64>| or(age.map(|age| time(age) + " ago"), "never");
        writeln!(f, "peer")?;
        line(f, "public key", &peer.public_key)?;
        line(f, "endpoint", or(peer.endpoint, "not known yet"))?;
        line(f, "allowed ips", list(&peer.allowed_ips))?;
        let handshakes = format_args!("{} in all", peer.handshakes);
        let latest = ago(peer.latest_handshake_age_seconds);
        line(f, "handshake", format_args!("{latest}, {handshakes}"))?;
        line(f, "heard", ago(peer.heard_age_seconds))?;
        peer.stations.map_or(Ok(()), |stations| line(f, "stations", stations))
    }

    /// Only those that there are.
    fn limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { rate_limit_out, rate_limit_in, .. } = self.0;
        for (name, shaped) in [("limit out", rate_limit_out), ("limit in", rate_limit_in)] {
            let Some(shaped) = shaped else {
                continue;
            };
            let (rate, unit) = scaled(shaped.limit_bits_per_second as f64);
            let waiting = bytes(shaped.waiting_bytes);
            line(
                f,
                name,
                format_args!(
                    "{rate} {unit}bit/s; {} packets wait, {waiting}",
                    shaped.waiting_packets
                ),
            )?;
        }
        Ok(())
    }

    /// Only what happened.
    fn discards(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { discards, underlay, device, .. } = self.0;
        for (title, counts) in [
            ("discarded", discards),
            ("not sent by the underlay", &underlay.discards),
            ("not passed by the device", &device.discards),
        ] {
            let met: BTreeMap<_, _> = counts.iter().filter(|(_, count)| **count > 0).collect();
            if !met.is_empty() {
                writeln!(f, "{title}")?;
            }
            for (reason, count) in met {
                writeln!(f, "  {reason:<24} {count}")?;
            }
        }
        Ok(())
    }
}

/// What must be the same at both ends.
fn carries(Status { mode, peer, .. }: &Status) -> String {
    let what = match mode {
        Layer::Ip => "IP packets",
        Layer::Ethernet => "Ethernet frames",
    };
    format!("{what} ({}), profile {}, {}", mode.name(), peer.profile, peer.cipher)
}

fn in_words(Trial { id, seconds_left, peer_answered, .. }: &Trial) -> String {
    let answer = if *peer_answered { "has answered" } else { "has not answered" };
    format!("{id}, trying a configuration: {} left; the peer {answer}", time(*seconds_left))
}

fn calls(calls: &Calls) -> String {
    format!("{:.1} ({} in {} calls)", calls.per_call, calls.segments, calls.calls)
}

/// A number of bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    let (number, unit) = scaled(bytes as f64);
    if unit.is_empty() { format!("{bytes} B") } else { format!("{number:.2} {unit}B") }
}

/// A number with the decimal prefix of its size.
pub(super) fn scaled(number: f64) -> (f64, &'static str) {
    let scales = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let scale = scales.into_iter().find(|(scale, _)| number >= *scale);
    scale.map_or((number, ""), |(scale, prefix)| (number / scale, prefix))
}

/// A time for people, in its two largest units.
pub(super) fn time(seconds: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds as u64;
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        let count = rest.checked_div(length).unwrap_or_default();
        rest = rest.saturating_sub(count.saturating_mul(length));
        if count > 0 || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{count} {unit}"));
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::example;

    #[test]
    fn a_status_reads_as_lines_with_only_the_discards_that_happened() {
        let text = Summary(&example()).to_string();
        let expected = "link
  carries        Ethernet frames (tap), profile tunneld, aes-256-gcm
  state          up for 1 h
  reason         the peer answered our call
  trial          3f9a1c, trying a configuration: 42 s left; the peer has answered
interface
  name           tun0
  addresses      10.77.0.1/30
  public key     n6P8VRjyYxvuDTOlu8sTMEDqOjY7KuiAtZND5JKd7U0=
  listen port    51820
  mtu            1420
  uptime         1 h 1 min
peer
  public key     xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
  endpoint       [2001:db8::2]:51820
  allowed ips    10.77.0.0/30, fd77::/64
  handshake      1 min 1 s ago, 31 in all
  heard          0 s ago
  stations       12
traffic
  sent           1000 packets, 1.40 MB
  received       2000 packets, 2.80 MB
  lost inbound   10 of 2000 datagrams
  duplicates     3
  reordered      4
  limit out      20 Mbit/s; 12 packets wait, 17.04 kB
segments per system call
  device read    11.1 (1000 in 90 calls)
  underlay send  10.0 (1000 in 100 calls)
  underlay recv  10.0 (2000 in 200 calls)
  device write   5.0 (2000 in 400 calls)
discarded
  mac1                     5
  replayed                 3
not sent by the underlay
  filtered                 2
not passed by the device
  down                     1
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_status_survives_its_text_form() {
        let text = serde_json::to_string(&example()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), example());
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(bytes), ["0 B", "999 B", "1.00 kB", "1.23 MB"]);
        assert_eq!([0.9, 61.0, 90_061.0].map(time), ["0 s", "1 min 1 s", "1 d 1 h"]);
    }
}
