//! Follows the tunnel's events: what state the link is in and why, and who wants to hear of it.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use tokio::sync::broadcast;

use super::DataPath;
use super::clock;
use super::status::{
    Arrivals, Device, Link, Peer, State, Status, Traffic, Trial, Underlay, discards,
};
use crate::config::Config;
use crate::proto::{Event, Instant, Now, Role, Tunnel};
use crate::wire::Profile;

/// Events kept for a reader who is slow; it is told how many it has missed.
const NOTICES: usize = 256;

/// One event, as those who listen get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// When, in seconds since 1970.
    pub(crate) unix_seconds: f64,
    /// What happened, by name.
    pub(crate) event: String,
    /// The state since then.
    pub(crate) state: State,
    /// Why, in a sentence.
    pub(crate) reason: String,
    /// Where the peer is.
    pub(crate) endpoint: Option<SocketAddr>,
    /// The id of the trial, of an event that is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trial: Option<String>,
}

/// What of a status the configuration says.
pub(super) struct About {
    interface: String,
    addresses: Vec<String>,
    public_key: String,
    fwmark: u32,
    peer_public_key: String,
    profile: Profile,
    endpoints: Vec<String>,
    allowed_ips: Vec<String>,
}

impl About {
    pub(super) fn new(config: &Config) -> Self {
        let Config { interface, peer, .. } = config;
        Self {
            interface: interface.name.clone(),
            addresses: texts(&interface.addresses),
            public_key: interface.private_key.public_key().to_string(),
            fwmark: config.mark(),
            peer_public_key: peer.public_key.to_string(),
            profile: peer.profile,
            endpoints: texts(&peer.endpoints),
            allowed_ips: texts(&peer.allowed_ips),
        }
    }
}

/// How a link begins.
fn beginning(about: &About, calls: bool) -> (State, String) {
    match about.endpoints.first() {
        None => (State::Waiting, "no endpoint is configured: the peer has to call".to_owned()),
        Some(first) if calls => (State::Connecting, format!("calling {first}")),
        Some(_) => (State::Idle, NEXT_PACKET.to_owned()),
    }
}

/// Owned by control.
pub(super) struct Observer {
    about: About,
    started: Instant,
    state: State,
    reason: String,
    since: Instant,
    handshakes: u64,
    latest_handshake: Option<Now>,
    notices: broadcast::Sender<Notice>,
}

impl Observer {
    /// Of a daemon that starts now; it begins by calling the peer if it `calls`.
    pub(super) fn new(now: Instant, about: About, calls: bool) -> Self {
        let (state, reason) = beginning(&about, calls);
        Self {
            about,
            started: now,
            state,
            reason,
            since: now,
            handshakes: 0,
            latest_handshake: None,
            notices: broadcast::channel(NOTICES).0,
        }
    }

    /// The configuration is another one. If it has `begun` anew with other keys, it begins by calling the peer if it
    /// `calls`.
    pub(super) fn take_on(&mut self, now: Instant, about: About, begun: bool, calls: bool) {
        self.about = about;
        if begun {
            (self.state, self.reason) = beginning(&self.about, calls);
            (self.since, self.latest_handshake) = (now, None);
        }
    }

    /// Where all that happens from now on is told.
    pub(super) fn notices(&self) -> broadcast::Sender<Notice> {
        self.notices.clone()
    }

    /// Takes in what happened; `hint` is the likely reason if the peer does not answer.
    pub(super) fn event(
        &mut self,
        now: Now,
        event: &Event,
        hint: &str,
        endpoint: Option<SocketAddr>,
    ) {
        let (name, state, reason) = self.meaning(event, hint);
        if let Event::HandshakeCompleted { .. } = event {
            self.handshakes = self.handshakes.saturating_add(1);
            self.latest_handshake = Some(now);
        }
        if let Event::TakenOver { begun, .. } = event {
            let unix = now.unix.saturating_sub(now.boot.since(*begun));
            self.latest_handshake = Some(Now { boot: *begun, unix });
        }
        if state != self.state {
            (self.state, self.since) = (state, now.boot);
        }
        if let Some(reason) = reason {
            self.reason = reason;
        }
        self.tell(now, name, endpoint, None);
    }

    /// Tells those who listen of what has this name, and how the link is since then.
    pub(super) fn tell(
        &self,
        now: Now,
        name: &str,
        endpoint: Option<SocketAddr>,
        trial: Option<&str>,
    ) {
        // It fails if nobody listens.
        let _ = self.notices.send(Notice {
            unix_seconds: now.unix.as_secs_f64(),
            event: name.to_owned(),
            state: self.state,
            reason: self.reason.clone(),
            endpoint,
            trial: trial.map(str::to_owned),
        });
    }

    /// The event's name, the state after it, and why, if that is another reason than before.
    fn meaning(&self, event: &Event, hint: &str) -> (&'static str, State, Option<String>) {
        let unchanged = self.state;
        let why = |reason: &str| Some(reason.to_owned());
        match event {
            Event::HandshakeCompleted { role: Role::Initiator, .. } => {
                ("handshake_completed", State::Up, why("the peer answered our call"))
            }
            Event::HandshakeCompleted { role: Role::Responder, .. } => {
                ("handshake_completed", State::Up, why("the peer called"))
            }
            Event::TakenOver { .. } => {
                ("taken_over", State::Up, why("the sessions of the process before go on"))
            }
            Event::EndpointMoved(_) => ("endpoint_moved", unchanged, None),
            Event::PeerSilent { silent_for } => {
                let seconds = silent_for.as_secs();
                let reason = format!("nothing heard for {seconds} s while sending");
                ("peer_silent", State::Silent, Some(reason))
            }
            // One that is lost means little where a session serves.
            Event::HandshakeUnanswered { sent: 1 } if unchanged == State::Up => {
                ("handshake_unanswered", unchanged, None)
            }
            Event::HandshakeUnanswered { sent } => {
                let state = match unchanged {
                    State::Up | State::Silent => State::Silent,
                    State::Down => State::Down,
                    _ => State::Connecting,
                };
                let plural = if *sent == 1 { "" } else { "s" };
                let reason = format!("no answer to {sent} handshake initiation{plural}: {hint}");
                ("handshake_unanswered", state, Some(reason))
            }
            Event::NextEndpoint(number) => {
                let name = self.about.endpoints.get(*number);
                let reason = name.map(|name| format!("no answer so far; calling {name}"));
                ("next_endpoint", unchanged, reason)
            }
            Event::HandshakeGivenUp => {
                let reason = format!("no answer to any of 20 handshake initiations: {hint}");
                ("handshake_given_up", State::Down, Some(reason))
            }
            Event::NeverConfirmed(_) => (
                "never_confirmed",
                unchanged,
                why(
                    "the peer keeps calling and never uses our answer: is preshared_key the same on both ends?",
                ),
            ),
            Event::KeysErased if unchanged == State::Up => {
                ("keys_erased", State::Idle, why(NEXT_PACKET))
            }
            Event::KeysErased => ("keys_erased", unchanged, None),
            Event::Loop(_) => ("loop", unchanged, None),
            Event::FloodBegan => ("flood_began", unchanged, None),
            Event::FloodEnded { .. } => ("flood_ended", unchanged, None),
        }
    }

    /// Everything there is to say now, of a daemon that runs by `file`, whose device has this `mtu`.
    pub(super) fn status(
        &self,
        path: &DataPath,
        tunnel: &Tunnel,
        mtu: u32,
        file: &Path,
        trial: Option<Trial>,
    ) -> Status {
        let now = clock::boot();
        let (about, stats) = (&self.about, tunnel.stats());
        let age = |then: Instant| now.since(then).as_secs_f64();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            file: file.to_string_lossy().into_owned(),
            trial,
            interface: about.interface.clone(),
            mode: about.profile.layer(),
            addresses: about.addresses.clone(),
            public_key: about.public_key.clone(),
            listen_port: path.underlay.port(),
            fwmark: about.fwmark,
            mtu: mtu.into(),
            uptime_seconds: age(self.started),
            link: self.link(now, tunnel),
            peer: Peer {
                public_key: about.peer_public_key.clone(),
                endpoint: tunnel.endpoint().map(|endpoint| endpoint.remote),
                endpoints: about.endpoints.clone(),
                allowed_ips: about.allowed_ips.clone(),
                persistent_keepalive_seconds: tunnel
                    .persistent_keepalive()
                    .map(|every| every.as_secs()),
                handshakes: self.handshakes,
                latest_handshake_unix_seconds: self
                    .latest_handshake
                    .map(|latest| latest.unix.as_secs_f64()),
                latest_handshake_age_seconds: self.latest_handshake.map(|latest| age(latest.boot)),
                heard_age_seconds: tunnel.last_received().map(age),
                profile: about.profile.name().to_owned(),
                cipher: about.profile.cipher().name().to_owned(),
                stations: tunnel.stations().map(|stations| stations as u64),
            },
            sent: Traffic::of(stats.sent()),
            received: Traffic::of(stats.received()),
            arrivals: Arrivals::of(stats),
            rate_limit_out: path.limits.outbound.status(),
            rate_limit_in: path.limits.inbound.status(),
            discards: discards(stats),
            underlay: Underlay::of(path.underlay.counters()),
            device: Device::of(path.tun.counters()),
        }
    }

    /// The state, as no event tells that a session has aged or that a name does not resolve.
    fn link(&self, now: Instant, tunnel: &Tunnel) -> Link {
        let for_seconds = now.since(self.since).as_secs_f64();
        let (state, reason) = match self.state {
            State::Up if !tunnel.has_session(now) => (State::Idle, NEXT_PACKET.to_owned()),
            State::Connecting if tunnel.endpoint().is_none() => {
                (State::Connecting, format!("looking up {}", self.about.endpoints.join(", ")))
            }
            state => (state, self.reason.clone()),
        };
        Link { state, reason, for_seconds }
    }
}

const NEXT_PACKET: &str = "there is no session: the next packet to the peer begins a handshake";

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::Endpoint;

    fn observer(endpoints: &[&str], calls: bool) -> Observer {
        let about = About {
            interface: "tun0".to_owned(),
            addresses: Vec::new(),
            public_key: String::new(),
            fwmark: 0,
            peer_public_key: String::new(),
            profile: Profile::default(),
            endpoints: texts(endpoints),
            allowed_ips: Vec::new(),
        };
        Observer::new(Instant::from_nanos(1), about, calls)
    }

    fn at(seconds: u64) -> Now {
        let since = Duration::from_secs(seconds);
        Now { boot: Instant::from_nanos(1) + since, unix: since }
    }

    #[test]
    fn a_link_begins_as_its_configuration_has_it() {
        assert_eq!(observer(&[], true).state, State::Waiting);
        assert_eq!(observer(&["b.example.net:1"], true).reason, "calling b.example.net:1");
        assert_eq!(observer(&["b.example.net:1"], false).state, State::Idle);
    }

    #[test]
    fn the_state_follows_the_events_and_keeps_its_reason() {
        let mut observer = observer(&["192.0.2.1:1", "192.0.2.2:1"], true);
        let endpoint = Endpoint::new("192.0.2.1:1".parse().unwrap());
        let completed = Event::HandshakeCompleted { endpoint, role: Role::Initiator };
        let unanswered = |sent| Event::HandshakeUnanswered { sent };
        let silent = Event::PeerSilent { silent_for: Duration::from_secs(15) };
        for (event, state, reason) in [
            (unanswered(1), State::Connecting, "no answer to 1 handshake initiation: why?"),
            (Event::NextEndpoint(1), State::Connecting, "no answer so far; calling 192.0.2.2:1"),
            (completed, State::Up, "the peer answered our call"),
            (unanswered(1), State::Up, "the peer answered our call"),
            (Event::EndpointMoved(endpoint), State::Up, "the peer answered our call"),
            (silent, State::Silent, "nothing heard for 15 s while sending"),
            (unanswered(2), State::Silent, "no answer to 2 handshake initiations: why?"),
            (
                Event::HandshakeGivenUp,
                State::Down,
                "no answer to any of 20 handshake initiations: why?",
            ),
            (unanswered(1), State::Down, "no answer to 1 handshake initiation: why?"),
            (completed, State::Up, "the peer answered our call"),
            (Event::KeysErased, State::Idle, NEXT_PACKET),
        ] {
            observer.event(at(1), &event, "why?", None);
            assert_eq!((observer.state, observer.reason.as_str()), (state, reason), "{event:?}");
        }
        assert_eq!(observer.handshakes, 2);
    }

    #[test]
    fn a_state_counts_from_when_it_began() {
        let mut observer = observer(&["192.0.2.1:1"], true);
        observer.event(at(5), &Event::HandshakeUnanswered { sent: 1 }, "why?", None);
        assert_eq!(observer.since, at(0).boot);
        observer.event(at(7), &Event::HandshakeGivenUp, "why?", None);
        observer.event(at(9), &Event::HandshakeGivenUp, "why?", None);
        assert_eq!(observer.since, at(7).boot);
    }

    #[tokio::test]
    async fn a_listener_that_is_slow_hears_how_much_it_missed() {
        let mut observer = observer(&[], true);
        let mut listener = observer.notices().subscribe();
        for _ in 0..NOTICES + 3 {
            observer.event(at(1), &Event::FloodBegan, "why?", None);
        }
        let missed = listener.recv().await.unwrap_err();
        assert_eq!(missed, broadcast::error::RecvError::Lagged(3));
        assert_eq!(listener.recv().await.unwrap().event, "flood_began");
    }
}
