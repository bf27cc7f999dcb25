//! What must hold at every step, checked on what can be seen from outside: datagrams that leave, datagrams that
//! are taken in or refused, packets that are handed over and delivered.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tunneld::proto::{Discard, HANDSHAKE_QUEUE, Instant};
use tunneld::wire::{Layer, Profile};

use crate::conduct::Conduct;
use crate::host::{Datagram, Host};
use crate::packets::{STATIONS, number, numbered, station};
use crate::paper::{DATA, INITIATION, OVERHEAD, RESPONSE, STAGED};
use crate::scenario::{Scenario, Side};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A packet is delivered at most once.
    DeliveredOnce,
    /// Only what the other end's device handed over is delivered, byte for byte.
    DeliveredGenuine,
    /// Only what the other end sent is taken in: byte for byte, as far as the protocol authenticates it.
    AcceptedGenuine,
    /// Transport data is taken in once.
    AcceptedOnce,
    /// The counters of a key strictly increase.
    CounterIncreases,
    /// Two initiations are at least five seconds apart.
    InitiationsApart,
    /// A responder sends data only on a session that the initiator has used.
    ConfirmedFirst,
    /// Data is sent only on a session that was agreed on.
    SessionAgreed,
    /// A session neither sends nor receives after 180 s.
    SessionEnded,
    /// A response is taken in only to one of the last two initiations, and soon.
    ResponseAwaited,
    /// No index is given to two handshakes or sessions that live at once.
    IndexUnused,
    /// At most 128 packets wait for a session, and none vanishes uncounted.
    Staged,
    /// At most as many handshake messages wait for control as fit.
    HandshakeQueue,
    /// Control has at most two messages to send after an input.
    Transmits,
    /// Each discard is counted, once.
    Counted,
    /// What is refused is answered by one cookie reply at most, with 0.7 of its bytes at most.
    Amplification,
    /// What is refused moves no endpoint.
    EndpointStays,
    /// When all faults are over, traffic passes both ways within the bound, and goes on to.
    Liveness,
    /// Nothing passes between ends of different profiles.
    ProfilesAgree,
    /// At most 64 frames wait for fragments, and none vanishes uncounted.
    Reassembly,
    /// At most as many stations are heard as may be.
    Stations,
    /// Nothing panics.
    NoPanic,
}

/// A rule that was broken, when and how.
#[derive(Clone, Debug)]
pub struct Violation {
    pub rule: Rule,
    pub text: String,
}

/// The most that leaves in answer to what is refused, in tenths of what came: a cookie reply to a response.
const ANSWER_TENTHS: usize = 7;

/// Most frames that wait for fragments.
const INCOMPLETE: u64 = 64;
/// How long a station surely counts after it was heard: 300 s after that was noted, which may be a second ago.
const STATION_KNOWN: Duration = Duration::from_secs(299);

pub struct Witness {
    pub now: Instant,
    layers: [Layer; 2],
    /// Whether anything may pass.
    pub agrees: bool,
    /// How many datagrams carry a packet.
    pieces: u64,
    /// Most stations that an end may hear.
    pub mac_limit: usize,
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    ends: [Watched; 2],
    packets: Vec<Packet>,
}

/// What is known of one end.
#[derive(Default)]
struct Watched {
    /// Datagrams it sent, by [`fingerprint`]; and whether the other end took it in.
    sent: HashMap<u64, bool>,
    conduct: Conduct,
    /// Packets that its device handed over, and datagrams that it refused, since it began.
    handed: u64,
    refused: u64,
    /// Datagrams with a packet, or a part of one, that it took in, and packets that were complete with them.
    pieces: u64,
    complete: u64,
    /// When it last heard each station.
    stations: [Option<Instant>; STATIONS as usize],
}

struct Packet {
    from: Side,
    len: usize,
    at: Instant,
    delivered: bool,
}

impl Witness {
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            now: crate::host::BOOT_START,
            layers: scenario.profiles.map(Profile::layer),
            agrees: scenario.agrees(),
            pieces: scenario.pieces as u64,
            mac_limit: scenario.frames.mac_limit,
            violation: None,
            ends: Default::default(),
            packets: Vec::new(),
        }
    }

    pub fn fail(&mut self, rule: Rule, text: String) {
        self.violation.get_or_insert(Violation { rule, text });
    }

    fn check(&mut self, holds: bool, rule: Rule, text: impl FnOnce() -> String) {
        if !holds {
            let text = text();
            self.fail(rule, text);
        }
    }

    /// `side`'s process is another one.
    pub fn restarted(&mut self, side: Side) {
        let watched = &mut self.ends[side as usize];
        *watched = Watched { sent: std::mem::take(&mut watched.sent), ..Watched::default() };
    }

    /// `side` heard that its network changed.
    pub fn network_changed(&mut self, side: Side) {
        self.ends[side as usize].conduct.network_changed();
    }

    /// The next packet of `len` bytes that `side`'s device hands over.
    pub fn hands_over(&mut self, side: Side, len: usize) -> Vec<u8> {
        let number = self.packets.len() as u64;
        self.packets.push(Packet { from: side, len, at: self.now, delivered: false });
        self.ends[side as usize].handed += 1;
        numbered(self.layers[side as usize], side, number, len)
    }

    /// The rules for frames kept what `side`'s device handed over last from leaving.
    pub fn kept_in(&mut self, side: Side) {
        let watched = &mut self.ends[side as usize];
        (watched.handed, watched.refused) = (watched.handed - 1, watched.refused + 1);
    }

    /// The rules for frames kept from `side`'s device what was complete with the datagram that it took in last.
    pub fn kept_out(&mut self, side: Side) {
        let watched = &mut self.ends[side as usize];
        (watched.complete, watched.refused) = (watched.complete + 1, watched.refused + 1);
    }

    /// `datagram` left `side`.
    pub fn left(&mut self, side: Side, datagram: &Datagram) {
        let agreed = self.agrees || !matches!(datagram.bytes[0], RESPONSE | DATA);
        self.check(agreed, Rule::ProfilesAgree, || format!("{side:?} sent {datagram:?}"));
        let watched = &mut self.ends[side as usize];
        watched.sent.entry(fingerprint(&datagram.bytes)).or_default();
        if let Err((rule, text)) = watched.conduct.sends(self.now, datagram.to, &datagram.bytes) {
            self.fail(rule, format!("{side:?} sent {text}"));
        }
    }

    /// `side` took `datagram` in.
    pub fn accepted(&mut self, side: Side, datagram: &Datagram) {
        let bytes = &datagram.bytes;
        let is_data = bytes[0] == DATA;
        let taken = self.ends[side.other() as usize].sent.get_mut(&fingerprint(bytes));
        let (genuine, again) = match taken {
            Some(taken) => (true, std::mem::replace(taken, true)),
            None => (false, false),
        };
        self.check(genuine, Rule::AcceptedGenuine, || format!("{side:?} accepted {datagram:?}"));
        self.check(!(is_data && again), Rule::AcceptedOnce, || format!("{side:?}: {datagram:?}"));
        let watched = &mut self.ends[side as usize];
        watched.pieces += u64::from(is_data && bytes.len() > OVERHEAD);
        if let Err((rule, text)) = watched.conduct.accepts(self.now, bytes) {
            self.fail(rule, format!("{side:?} accepted {text}"));
        }
    }

    /// `side` refused `datagram`, which made it send `caused`; `moved` tells whether its endpoint changed.
    pub fn refused(&mut self, side: Side, datagram: &Datagram, caused: &[Datagram], moved: bool) {
        self.ends[side as usize].refused += 1;
        self.check(!moved, Rule::EndpointStays, || format!("{side:?} by {datagram:?}"));
        let sent: usize = caused.iter().map(|datagram| datagram.bytes.len()).sum();
        let little = sent * 10 <= datagram.bytes.len() * ANSWER_TENTHS;
        let back = caused.iter().all(|caused| caused.to == datagram.from);
        self.check(little && back && caused.len() <= 1, Rule::Amplification, || {
            format!("{side:?} answered {datagram:?} with {caused:?}")
        });
    }

    /// `side` delivered `packet` to its device; when it was handed over.
    pub fn delivered(&mut self, side: Side, packet: &[u8]) -> Option<Instant> {
        let layers = self.layers;
        self.check(self.agrees, Rule::ProfilesAgree, || format!("{side:?} delivered {packet:?}"));
        let number = number(layers[side as usize], packet);
        let sent = number.and_then(|number| self.packets.get_mut(usize::try_from(number).ok()?));
        let genuine = sent.as_ref().is_some_and(|sent| {
            let (from, number) = (sent.from, number.unwrap_or_default());
            from != side && numbered(layers[from as usize], from, number, sent.len) == packet
        });
        let Some(sent) = sent.filter(|_| genuine) else {
            self.fail(Rule::DeliveredGenuine, format!("{side:?} delivered {packet:?}"));
            return None;
        };
        let (again, at) = (std::mem::replace(&mut sent.delivered, true), sent.at);
        self.check(!again, Rule::DeliveredOnce, || format!("{side:?} delivered {number:?} again"));
        self.hears(side, station(number.unwrap_or_default()));
        Some(at)
    }

    /// `side` took in so many pieces of packets that will never be complete.
    pub fn keeps_pieces(&mut self, side: Side, count: u64) {
        self.ends[side as usize].pieces += count;
    }

    /// `side` delivered what this station sent.
    fn hears(&mut self, side: Side, station: u8) {
        let watched = &mut self.ends[side as usize];
        watched.complete += 1;
        watched.stations[usize::from(station)] = Some(self.now);
        let known = |heard: &&Instant| self.now.since(**heard) < STATION_KNOWN;
        let heard = watched.stations.iter().flatten().filter(known).count();
        self.check(heard <= self.mac_limit, Rule::Stations, || format!("{side:?} heard {heard}"));
    }

    /// `count` messages left `side` after one input to its control.
    pub fn transmitted(&mut self, side: Side, count: usize) {
        self.check(count <= 2, Rule::Transmits, || format!("{side:?} sent {count} messages"));
    }

    /// What `host`, which is `side`, holds, with `queued` handshake messages waiting for its control.
    pub fn bounds(&mut self, side: Side, host: &Host, queued: usize) {
        let Watched { handed, refused, pieces, complete, .. } = self.ends[side as usize];
        let staged_discards = [Discard::StagedOverflow, Discard::HandshakeGivenUp]
            .map(|reason| host.discards(reason))
            .iter()
            .sum::<u64>();
        let (sealed, _) = host.tunnel.stats().sent();
        let staged = handed.checked_sub(sealed + staged_discards);
        self.check(staged.is_some_and(|staged| staged <= STAGED as u64), Rule::Staged, || {
            format!("{side:?}: of {handed} handed over {sealed} left, {staged_discards} discarded")
        });
        self.check(queued <= HANDSHAKE_QUEUE, Rule::HandshakeQueue, || {
            format!("{side:?}: {queued}")
        });
        // Each frame that is incomplete, or was until it was forgotten, has one piece at least, and lacks one.
        let forgotten = host.discards(Discard::FrameIncomplete);
        let most = (forgotten + INCOMPLETE) * (self.pieces - 1);
        let held = pieces.checked_sub(complete * self.pieces);
        let kept = held.is_some_and(|held| (forgotten..=most).contains(&held));
        self.check(kept, Rule::Reassembly, || {
            format!("{side:?}: {pieces} pieces, {complete} complete, {forgotten} forgotten")
        });
        let counted = host.all_discards() - staged_discards - forgotten;
        self.check(counted == refused, Rule::Counted, || {
            format!("{side:?} counted {counted} discards of {refused}")
        });
    }
}

/// Tells datagrams apart by what the protocol authenticates: of an initiation and a response neither the sender
/// index, which anybody can change who knows the public key for mac1, nor mac2.
fn fingerprint(bytes: &[u8]) -> u64 {
    let authentic = match (bytes.first(), bytes.len()) {
        (Some(&INITIATION), 148) | (Some(&RESPONSE), 92) => 8..bytes.len() - 32,
        _ => 0..bytes.len(),
    };
    let mut hasher = DefaultHasher::new();
    bytes[authentic].hash(&mut hasher);
    hasher.finish()
}
