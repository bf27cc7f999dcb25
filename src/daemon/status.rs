//! What a daemon says of itself: the one truth that `tunneld status`, `top`, the metrics and `wg show` are made from. It
//! holds no secret.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::shaper::Shaped;
use crate::net::{UnderlayCounters, UnderlayDiscard};
use crate::proto::{Discard, Stats};
use crate::tun::TunCounters;
use crate::wire::Layer;

/// A daemon at one moment. Counters count from its start, and none goes back but `arrivals.lost`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Of tunneld.
    pub(crate) version: String,
    /// The file that it runs by.
    pub(crate) file: String,
    /// The configuration that it tries, if it does.
    pub(crate) trial: Option<Trial>,
    /// The name of the device.
    pub(crate) interface: String,
    /// What crosses.
    pub(crate) mode: Layer,
    /// Its addresses with their prefix lengths.
    pub(crate) addresses: Vec<String>,
    /// This host's public key.
    pub(crate) public_key: String,
    /// The UDP port that receives.
    pub(crate) listen_port: u16,
    /// The mark of outer packets; 0 is none.
    pub(crate) fwmark: u32,
    /// The MTU of the device.
    pub(crate) mtu: u64,
    /// Since the daemon started, time in suspend included.
    pub(crate) uptime_seconds: f64,
    /// How the link is.
    pub(crate) link: Link,
    /// The other end.
    pub(crate) peer: Peer,
    /// Inner packets sealed for the peer.
    pub(crate) sent: Traffic,
    /// Inner packets accepted from the peer.
    pub(crate) received: Traffic,
    /// What the counters of transport data say of the way inbound.
    pub(crate) arrivals: Arrivals,
    /// The limit outbound, if there is one.
    pub(crate) rate_limit_out: Option<Shaped>,
    /// The limit inbound, if there is one.
    pub(crate) rate_limit_in: Option<Shaped>,
    /// Packets and messages that went no further, by the reason.
    pub(crate) discards: BTreeMap<String, u64>,
    /// The UDP sockets.
    pub(crate) underlay: Underlay,
    /// The TUN device.
    pub(crate) device: Device,
}

/// A configuration that is taken on for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// By which it is confirmed or gone back from, and no other is.
    pub(crate) id: String,
    /// The file that was read.
    pub(crate) file: String,
    /// Until the daemon goes back to the one before.
    pub(crate) seconds_left: f64,
    /// Whether a handshake completed since.
    pub(crate) peer_answered: bool,
}

/// How the link is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// In a word.
    pub(crate) state: State,
    /// Why, in a sentence.
    pub(crate) reason: String,
    /// How long it has been in this state.
    pub(crate) for_seconds: f64,
}

/// The state of a link, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// No endpoint is known: the peer has to call.
    Waiting,
    /// No handshake completed yet; one is tried.
    Connecting,
    /// Both ends hold a session.
    Up,
    /// There is no session, and nothing to send: the next packet begins a handshake.
    Idle,
    /// The peer was there, and does not answer now.
    Silent,
    /// The peer answered none of a whole series of calls.
    Down,
}

impl State {
    /// Every state.
    pub(crate) const ALL: [Self; 6] =
        [Self::Waiting, Self::Connecting, Self::Up, Self::Idle, Self::Silent, Self::Down];

    /// Its name, as in JSON.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Idle => "idle",
            Self::Silent => "silent",
            Self::Down => "down",
        }
    }
}

/// The other end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Its public key.
    pub(crate) public_key: String,
    /// Where it is now, as far as is known.
    pub(crate) endpoint: Option<SocketAddr>,
    /// Where the configuration says to call it.
    pub(crate) endpoints: Vec<String>,
    /// The networks behind it.
    pub(crate) allowed_ips: Vec<String>,
    /// In seconds; `None`: off.
    pub(crate) persistent_keepalive_seconds: Option<u64>,
    /// Handshakes completed.
    pub(crate) handshakes: u64,
    /// When the last of them did, in seconds since 1970.
    pub(crate) latest_handshake_unix_seconds: Option<f64>,
    /// How long ago that was.
    pub(crate) latest_handshake_age_seconds: Option<f64>,
    /// How long ago anything authentic came.
    pub(crate) heard_age_seconds: Option<f64>,
    /// The profile, as in the configuration.
    pub(crate) profile: String,
    /// What transport data is sealed with.
    pub(crate) cipher: String,
    /// Stations known behind it, if frames cross.
    pub(crate) stations: Option<u64>,
}

/// Inner packets one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// How many.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// What the counters of transport data say of the way inbound, over all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    /// Datagrams the peer has sent, up to the newest that arrived.
    pub(crate) expected: u64,
    /// Those that arrived, once each.
    pub(crate) accepted: u64,
    /// Those that did not, or not yet.
    pub(crate) lost: u64,
    /// Those that came again, or too late to tell.
    pub(crate) duplicates: u64,
    /// Those that a newer one overtook.
    pub(crate) reordered: u64,
}

/// Calls to the kernel, and what they carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calls {
    /// Calls.
    pub(crate) calls: u64,
    /// Segments: datagrams of the underlay, or packets of the device.
    pub(crate) segments: u64,
    /// Segments of a call, on average; 0 without any call.
    pub(crate) per_call: f64,
}

impl Calls {
    fn of(calls: &AtomicU64, segments: &AtomicU64) -> Self {
        let (calls, segments) = (load(calls), load(segments));
        Self { calls, segments, per_call: segments as f64 / calls.max(1) as f64 }
    }
}

/// The UDP sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Underlay {
    /// Datagrams the kernel took.
    pub(crate) sent: Calls,
    /// Datagrams it gave.
    pub(crate) received: Calls,
    /// Sends with UDP GSO that it refused; their datagrams went one by one.
    pub(crate) gso_refused: u64,
    /// Receive calls whose last datagram was cut short.
    pub(crate) truncated: u64,
    /// Datagrams that did not leave, by the reason.
    pub(crate) discards: BTreeMap<String, u64>,
}

/// The TUN device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// Packets the kernel gave.
    pub(crate) read: Calls,
    /// Packets it took.
    pub(crate) written: Calls,
    /// Superpackets among what was read.
    pub(crate) superpackets_read: u64,
    /// Superpackets among what was written.
    pub(crate) superpackets_written: u64,
    /// Superpackets that it refused; their segments went one by one.
    pub(crate) superpackets_refused: u64,
    /// Packets that did not pass, by the reason.
    pub(crate) discards: BTreeMap<String, u64>,
}

impl Arrivals {
    pub(super) fn of(stats: &Stats) -> Self {
        let arrivals = stats.arrivals();
        Self {
            expected: arrivals.expected,
            accepted: arrivals.accepted,
            lost: arrivals.lost(),
            duplicates: stats.discards(Discard::Replayed),
            reordered: arrivals.reordered,
        }
    }
}

impl Traffic {
    pub(super) fn of((packets, bytes): (u64, u64)) -> Self {
        Self { packets, bytes }
    }
}

impl Underlay {
    pub(super) fn of(UnderlayCounters { send, receive }: &UnderlayCounters) -> Self {
        Self {
            sent: Calls::of(&send.calls, &send.datagrams),
            received: Calls::of(&receive.calls, &receive.datagrams),
            gso_refused: load(&send.gso_refused),
            truncated: load(&receive.truncated),
            discards: named(UnderlayDiscard::ALL, |why| (why.name(), send.discarded(why))),
        }
    }
}

impl Device {
    pub(super) fn of(TunCounters { read, write }: &TunCounters) -> Self {
        let discards = [
            ("malformed", load(&read.malformed)),
            ("down", load(&write.down)),
            ("refused", load(&write.refused)),
        ];
        Self {
            read: Calls::of(&read.calls, &read.packets),
            written: Calls::of(&write.calls, &write.packets),
            superpackets_read: load(&read.superpackets),
            superpackets_written: load(&write.superpackets),
            superpackets_refused: load(&write.superpackets_refused),
            discards: named(&discards, |each| each),
        }
    }
}

/// Every discard of the core, by its name.
pub(super) fn discards(stats: &Stats) -> BTreeMap<String, u64> {
    named(Discard::ALL, |reason| (reason.name(), stats.discards(reason)))
}

fn named<T: Copy>(all: &[T], count: impl Fn(T) -> (&'static str, u64)) -> BTreeMap<String, u64> {
    let counts = all.iter().map(|each| count(*each));
    counts.map(|(name, count)| (name.to_owned(), count)).collect()
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A status with something in every field, for tests.
#[cfg(test)]
pub(crate) fn example() -> Status {
    let counts = |counts: &[(&'static str, u64)]| named(counts, |each| each);
    let calls = |calls: u64, segments: u64| Calls {
        calls,
        segments,
        per_call: segments as f64 / calls as f64,
    };
    Status {
        version: "0.1.0".to_owned(),
        file: "/etc/tunneld.toml".to_owned(),
        trial: Some(Trial {
            id: "3f9a1c".to_owned(),
            file: "/etc/new.toml".to_owned(),
            seconds_left: 42.5,
            peer_answered: true,
        }),
        interface: "tun0".to_owned(),
        mode: Layer::Ethernet,
        addresses: vec!["10.77.0.1/30".to_owned()],
        public_key: "n6P8VRjyYxvuDTOlu8sTMEDqOjY7KuiAtZND5JKd7U0=".to_owned(),
        listen_port: 51820,
        fwmark: 7,
        mtu: 1420,
        uptime_seconds: 3661.5,
        link: Link {
            state: State::Up,
            reason: "the peer answered our call".to_owned(),
            for_seconds: 3600.0,
        },
        peer: Peer {
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".to_owned(),
            endpoint: Some("[2001:db8::2]:51820".parse().unwrap()),
            endpoints: vec!["b.example.net:51820".to_owned()],
            allowed_ips: vec!["10.77.0.0/30".to_owned(), "fd77::/64".to_owned()],
            persistent_keepalive_seconds: Some(25),
            handshakes: 31,
            latest_handshake_unix_seconds: Some(1_800_000_000.25),
            latest_handshake_age_seconds: Some(61.0),
            heard_age_seconds: Some(0.5),
            profile: "tunneld".to_owned(),
            cipher: "aes-256-gcm".to_owned(),
            stations: Some(12),
        },
        sent: Traffic { packets: 1000, bytes: 1_400_000 },
        received: Traffic { packets: 2000, bytes: 2_800_000 },
        arrivals: Arrivals {
            expected: 2000,
            accepted: 1990,
            lost: 10,
            duplicates: 3,
            reordered: 4,
        },
        rate_limit_out: Some(Shaped {
            limit_bits_per_second: 20_000_000,
            waiting_packets: 12,
            waiting_bytes: 17_040,
            marked_packets: 7,
        }),
        rate_limit_in: None,
        discards: counts(&[("mac1", 5), ("replayed", 3), ("rate_limited", 0)]),
        underlay: Underlay {
            sent: calls(100, 1000),
            received: calls(200, 2000),
            gso_refused: 1,
            truncated: 0,
            discards: counts(&[("filtered", 2), ("other", 0)]),
        },
        device: Device {
            read: calls(90, 1000),
            written: calls(400, 2000),
            superpackets_read: 80,
            superpackets_written: 300,
            superpackets_refused: 6,
            discards: counts(&[("down", 1), ("refused", 0)]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_to_discard_is_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
        let explained: Vec<_> = rows.flat_map(|(names, _)| names.split(['`', ',', ' '])).collect();
        let device = Device::of(&TunCounters::default()).discards;
        let underlay = UnderlayDiscard::ALL.iter().map(|reason| reason.name());
        let core = Discard::ALL.iter().map(|reason| reason.name());
        for reason in core.chain(underlay).chain(device.keys().map(String::as_str)) {
            assert!(explained.contains(&reason), "{reason} is not in {path}");
        }
    }
}
