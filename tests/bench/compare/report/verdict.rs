//! What must be shown, and whether it is. Only what is required is written down here; all else is measured.

use super::{Cpus, Kind, Measure, Results, Subject};

/// Peers, and how many times their speed one TCP stream must have, in the slower direction.
const ONE_STREAM: [(&str, f64); 5] =
    [("openvpn", 4.5), ("fastd", 4.5), ("gotatun", 5.0), ("boringtun", 8.0), ("vtun", 2.3)];

/// Tunneld with other settings, and how many times the default's speed one TCP stream must have, in the slower direction.
const VARIANTS: [(&str, f64); 2] = [("tunneld-aes", 1.25), ("tunneld-tap", 0.85)];

/// Measures, and how many times the speed of the best encrypting peer is required.
const BEST_ENCRYPTING: [(Measure, &str, f64); 3] = [
    (Measure::TcpBoth, "TCP both ways at once", 5.0),
    (Measure::Udp100, "UDP 100 bytes, delivered", 2.0),
    (Measure::Udp1300, "UDP 1300 bytes, delivered", 1.5),
];

/// The share of the best encrypting peer's CPU time for a GB.
const CPU_SHARE: f64 = 0.25;

/// A peer counts under load if it carries this share of tunneld's one stream.
const LOADED_SHARE: f64 = 0.5;

/// If none does, a ping under load may take so many of tunneld's own idle ones.
const LOADED_PINGS: f64 = 5.0;

/// Megabytes of memory under load.
const MEMORY: f64 = 12.0;

/// The share of TCP without a tunnel that is left of it over a path with delay and loss.
const WIDE_AREA_SHARE: f64 = 0.95;

/// Wake-ups in a second of idling.
const WAKEUPS: f64 = 0.2;

/// One thing that must be shown.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) what: String,
    /// Tunneld's figure divided by the other, or by one, must be so.
    pub(crate) required: Required,
    /// `None` if something it needs was not measured.
    pub(crate) measured: Option<f64>,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Required {
    AtLeast(f64),
    AtMost(f64),
}

impl Line {
    /// Whether it is shown; `None` if nobody knows.
    pub(crate) fn is_shown(&self) -> Option<bool> {
        let measured = self.measured?;
        Some(match self.required {
            Required::AtLeast(limit) => measured >= limit,
            Required::AtMost(limit) => measured <= limit,
        })
    }
}

/// Everything that must be shown.
pub(crate) fn lines(results: &Results) -> Vec<Line> {
    let verdict = Verdict(results);
    let mut lines: Vec<_> =
        ONE_STREAM.iter().map(|&(peer, times)| verdict.one_stream(peer, times)).collect();
    lines.extend(
        BEST_ENCRYPTING
            .map(|(measure, what, times)| verdict.faster_than_best(measure, what, times)),
    );
    lines.extend([
        verdict.at_most_best("CPU time for a GB", Measure::Cpu, CPU_SHARE, is_encrypting),
        verdict.at_most_best("ping when idle", Measure::PingIdle, 1.0, is_peer),
        verdict.ping_under_load(),
        verdict.own("resident memory under load, MB", Measure::Memory, MEMORY),
        verdict.own("wake-ups when idle, 1/s", Measure::Wakeups, WAKEUPS),
        verdict.wide_area(),
    ]);
    lines.extend(VARIANTS.map(|(name, times)| verdict.variant(name, times)));
    lines
}

struct Verdict<'a>(&'a Results);

impl Verdict<'_> {
    /// One TCP stream beside that of one peer.
    fn one_stream(&self, name: &str, times: f64) -> Line {
        let slower = self.0.subject(name).and_then(|peer| {
            let [there, back] = [Measure::TcpThere, Measure::TcpBack]
                .map(|measure| self.of_tunneld(measure).zip(self.of(peer, measure)));
            let ratio = |(ours, theirs): (f64, f64)| ours / theirs;
            Some(ratio(there?).min(ratio(back?)))
        });
        Line {
            what: format!("TCP, one stream, to {name}"),
            required: Required::AtLeast(times),
            measured: slower,
        }
    }

    /// One TCP stream of a variant beside that of the default.
    fn variant(&self, name: &str, times: f64) -> Line {
        let slower = self.0.subject(name).and_then(|variant| {
            let [there, back] = [Measure::TcpThere, Measure::TcpBack].map(|measure| {
                let pair = self.of(variant, measure).zip(self.of_tunneld(measure));
                pair.map(|(its, ours)| its / ours)
            });
            Some(there?.min(back?))
        });
        Line {
            what: format!("TCP, one stream, {name} to tunneld"),
            required: Required::AtLeast(times),
            measured: slower,
        }
    }

    /// A speed beside that of the fastest encrypting peer.
    fn faster_than_best(&self, measure: Measure, what: &str, times: f64) -> Line {
        let best = self.peers(measure, is_encrypting).max_by(|a, b| a.1.total_cmp(&b.1));
        self.beside(what, best, measure, Required::AtLeast(times))
    }

    /// A cost beside that of the cheapest of some peers.
    fn at_most_best(
        &self,
        what: &str,
        measure: Measure,
        share: f64,
        among: fn(&Subject) -> bool,
    ) -> Line {
        let best = self.peers(measure, among).min_by(|a, b| a.1.total_cmp(&b.1));
        self.beside(what, best, measure, Required::AtMost(share))
    }

    /// The ping under load: beside the best of those peers that carry a good part of what tunneld carries.
    fn ping_under_load(&self) -> Line {
        const WHAT: &str = "ping under a stream";
        let enough = self.of_tunneld(Measure::TcpThere).map(|ours| ours * LOADED_SHARE);
        let carries = |peer| {
            self.of(peer, Measure::TcpThere).zip(enough).is_some_and(|(its, need)| its >= need)
        };
        let best = self
            .peers(Measure::PingLoaded, is_peer)
            .filter(|(peer, _)| carries(peer))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if best.is_some() {
            return self.beside(WHAT, best, Measure::PingLoaded, Required::AtMost(1.0));
        }
        let pings = self.of_tunneld(Measure::PingLoaded).zip(self.of_tunneld(Measure::PingIdle));
        Line {
            what: format!("{WHAT}, to tunneld's own when idle (no peer carries half as much)"),
            required: Required::AtMost(LOADED_PINGS),
            measured: pings.map(|(loaded, idle)| loaded / idle),
        }
    }

    /// TCP over a wide-area path beside the same without tunnel.
    fn wide_area(&self) -> Line {
        let bare = self.peers(Measure::WideArea, |subject| subject.kind == Kind::NoTunnel).next();
        let required = Required::AtLeast(WIDE_AREA_SHARE);
        self.beside("TCP over 20 ms with 0.1 % loss", bare, Measure::WideArea, required)
    }

    /// A figure of tunneld's that is required by itself.
    fn own(&self, what: &str, measure: Measure, limit: f64) -> Line {
        Line {
            what: what.to_owned(),
            required: Required::AtMost(limit),
            measured: self.of_tunneld(measure),
        }
    }

    /// Tunneld's figure divided by that of another subject, whose name is said.
    fn beside(
        &self,
        what: &str,
        best: Option<(&Subject, f64)>,
        measure: Measure,
        required: Required,
    ) -> Line {
        let whose = best.map_or("the best peer", |(peer, _)| peer.name);
        Line {
            what: format!("{what}, to {whose}"),
            required,
            measured: self.of_tunneld(measure).zip(best).map(|(ours, (_, theirs))| ours / theirs),
        }
    }

    /// The subjects of a kind that have a figure.
    fn peers(
        &self,
        measure: Measure,
        among: fn(&Subject) -> bool,
    ) -> impl Iterator<Item = (&Subject, f64)> {
        self.0
            .subjects()
            .filter(move |(subject, _)| among(subject))
            .filter_map(move |(subject, _)| Some((subject, self.of(subject, measure)?)))
    }

    fn of(&self, subject: &Subject, measure: Measure) -> Option<f64> {
        self.0.median(subject, Cpus::All, measure)
    }

    fn of_tunneld(&self, measure: Measure) -> Option<f64> {
        self.of(self.0.tunneld()?, measure)
    }
}

fn is_encrypting(subject: &Subject) -> bool {
    subject.kind == Kind::Encrypting
}

fn is_peer(subject: &Subject) -> bool {
    matches!(subject.kind, Kind::Encrypting | Kind::Plain)
}
