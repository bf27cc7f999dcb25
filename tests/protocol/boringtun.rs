//! Our host against boringtun, another implementation of the protocol, in one process. boringtun reads a real clock:
//! only our side's time jumps.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::boringtun::noise::rate_limiter::RateLimiter;
use ::boringtun::noise::{Tunn, TunnResult};
use ::boringtun::x25519::{PublicKey, StaticSecret};
use tunneld::crypto::PresharedKey;
use tunneld::proto::{Discard, Event, Role};

use crate::link::{A, B, Clock, Datagram, Host, key, packet, parameters};

const PRESHARED: [u8; 32] = [0x77; 32];
const UNDER_LOAD: usize = 512;
const REKEY_TIMEOUT_WITH_JITTER: Duration = Duration::from_millis(5334);
/// More than the sessions boringtun remembers, so that its ring of them goes round.
const REKEYS: usize = 20;

/// Our host and boringtun on a wire without latency.
struct Pair {
    clock: Clock,
    ours: Host,
    theirs: Tunn,
    /// Inner packets boringtun delivered.
    delivered: Vec<Vec<u8>>,
    /// Why boringtun took a datagram no further.
    errors: Vec<String>,
    /// Why our host took a datagram no further.
    discards: Vec<Discard>,
    /// Every message in order: `>` from us, `<` from boringtun, and its type.
    transcript: String,
    /// The last message of each type, by type.
    last: [Vec<u8>; 5],
}

impl Pair {
    fn new(preshared: Option<[u8; 32]>) -> Self {
        Self::with(preshared, preshared, u64::MAX)
    }

    /// `limit`: handshake messages that boringtun takes before it is under load.
    fn with(ours: Option<[u8; 32]>, theirs: Option<[u8; 32]>, limit: u64) -> Self {
        let mut parameters = parameters(1, 2, Some(B));
        parameters.preshared_key = ours.map_or_else(PresharedKey::default, PresharedKey::from);
        let private = StaticSecret::from([2; 32]);
        let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&private), limit));
        let our_public = PublicKey::from(*key(1).public_key().as_bytes());
        Self {
            clock: Clock::new(),
            ours: Host::new(&parameters, 1, A),
            theirs: Tunn::new(private, our_public, theirs, None, 7, Some(limiter)),
            delivered: Vec::new(),
            errors: Vec::new(),
            discards: Vec::new(),
            transcript: String::new(),
            last: Default::default(),
        }
    }

    /// A session that `beginner` began, with the transcript and deliveries forgotten.
    fn established(beginner: Role, preshared: Option<[u8; 32]>) -> Self {
        let mut pair = Self::new(preshared);
        match beginner {
            Role::Initiator => pair.we_send(&packet(1, 2, b"first")),
            Role::Responder => pair.they_initiate(),
        }
        pair.forget();
        pair
    }

    fn forget(&mut self) {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        assert!(self.discards.is_empty(), "{:?}", self.discards);
        self.transcript.clear();
        self.delivered.clear();
        self.ours.delivered.clear();
    }

    fn we_send(&mut self, packet: &[u8]) {
        let leaving = self.ours.send(&self.clock, packet);
        self.take_to_them(leaving);
    }

    fn they_send(&mut self, packet: &[u8]) {
        let mut buffer = vec![0; 2048];
        if let TunnResult::WriteToNetwork(message) = self.theirs.encapsulate(packet, &mut buffer) {
            let message = message.to_vec();
            self.take_to_us(vec![message]);
        }
    }

    fn their_initiation(&mut self) -> Vec<u8> {
        // Our host takes at most 50 initiations a second.
        self.clock.advance(Duration::from_millis(21));
        let mut buffer = vec![0; 2048];
        match self.theirs.format_handshake_initiation(&mut buffer, true) {
            TunnResult::WriteToNetwork(message) => message.to_vec(),
            other => panic!("no initiation: {other:?}"),
        }
    }

    fn they_initiate(&mut self) {
        let initiation = self.their_initiation();
        self.take_to_us(vec![initiation]);
    }

    /// Lets `time` pass for us, and does what is due then.
    fn our_time_passes(&mut self, time: Duration) {
        self.clock.advance(time);
        let leaving = self.ours.handle_timeout(&self.clock);
        self.take_to_them(leaving);
    }

    fn note(&mut self, arrow: char, message: &[u8]) {
        self.transcript.push(arrow);
        self.transcript.push(char::from(b'0' + message[0]));
        self.last[usize::from(message[0])] = message.to_vec();
    }

    fn take_to_them(&mut self, datagrams: Vec<Datagram>) {
        let mut answers = Vec::new();
        for datagram in datagrams {
            self.note('>', &datagram.bytes);
            answers.extend(self.they_receive(datagram.from.ip(), &datagram.bytes));
        }
        if !answers.is_empty() {
            self.take_to_us(answers);
        }
    }

    fn they_receive(&mut self, from: IpAddr, message: &[u8]) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        let mut answers = Vec::new();
        let mut input = message;
        loop {
            match self.theirs.decapsulate(Some(from), input, &mut buffer) {
                TunnResult::Done => {}
                TunnResult::Err(error) => self.errors.push(format!("{error:?}")),
                TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                    self.delivered.push(packet.to_vec());
                }
                TunnResult::WriteToNetwork(answer) => {
                    answers.push(answer.to_vec());
                    // More may be waiting for this session.
                    input = &[];
                    continue;
                }
            }
            return answers;
        }
    }

    fn take_to_us(&mut self, messages: Vec<Vec<u8>>) {
        let (from, to): (SocketAddr, SocketAddr) = (B.parse().unwrap(), A.parse().unwrap());
        let mut answers = Vec::new();
        for bytes in messages {
            self.note('<', &bytes);
            let datagram = Datagram { from, to, bytes, ecn: Default::default() };
            let (leaving, discard) = self.ours.receive(&self.clock, &datagram);
            self.discards.extend(discard);
            answers.extend(leaving);
        }
        if !answers.is_empty() {
            self.take_to_them(answers);
        }
    }

    /// Packets of both families and many lengths, both ways.
    fn assert_data_flows(&mut self) {
        self.delivered.clear();
        self.ours.delivered.clear();
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for payload in [0, 1, 11, 12, 13, 100, 1380] {
            let payload = vec![0xab; payload];
            sent.extend([packet(1, 2, &payload), packet6(1, 2, &payload)]);
            expected.extend([packet(2, 1, &payload), packet6(2, 1, &payload)]);
        }
        for (packet, answer) in sent.iter().zip(&expected) {
            self.we_send(packet);
            self.they_send(answer);
        }
        assert!(self.delivered == sent, "boringtun delivers what we sent");
        assert!(self.ours.delivered == expected, "we deliver what boringtun sent");
        assert!(self.errors.is_empty() && self.discards.is_empty());
    }

    fn completed(&self, wanted: Role) -> usize {
        let matches = |event: &&Event| matches!(event, Event::HandshakeCompleted { role, .. } if *role == wanted);
        self.ours.events.iter().filter(matches).count()
    }

    /// Whether the last message of `message_type` has a mac2.
    fn carries_mac2(&self, message_type: usize) -> bool {
        let message = &self.last[message_type];
        message[message.len() - 16..] != [0; 16]
    }
}

/// An IPv6 packet from inner host `from` to inner host `to`.
fn packet6(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([17, 64]);
    for host in [from, to] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(payload);
    packet
}

#[test]
fn we_begin_and_data_flows_both_ways() {
    for preshared in [None, Some(PRESHARED)] {
        let mut pair = Pair::new(preshared);
        pair.we_send(&packet(1, 2, b"staged"));
        assert_eq!(pair.transcript, ">1<2>4", "what was staged confirms");
        assert_eq!(pair.delivered, [packet(1, 2, b"staged")]);
        pair.assert_data_flows();
        assert_eq!(pair.completed(Role::Initiator), 1);
    }
}

#[test]
fn boringtun_begins_and_data_flows_both_ways() {
    for preshared in [None, Some(PRESHARED)] {
        let mut pair = Pair::new(preshared);
        pair.they_send(&packet(2, 1, b"staged"));
        assert_eq!(pair.transcript, "<1>2<4<4", "a keepalive confirms, then what was staged");
        assert_eq!(pair.ours.delivered, [packet(2, 1, b"staged")]);
        pair.assert_data_flows();
        assert_eq!(pair.completed(Role::Responder), 1);
    }
}

#[test]
fn another_preshared_key_gives_no_session() {
    for (ours, theirs) in [(PRESHARED, None), (PRESHARED, Some([0x78; 32]))] {
        let mut pair = Pair::with(Some(ours), theirs, u64::MAX);
        pair.we_send(&packet(1, 2, b"lost"));
        assert_eq!(pair.transcript, ">1<2");
        assert_eq!(pair.discards, [Discard::ResponseNotAuthentic]);

        let mut pair = Pair::with(Some(ours), theirs, u64::MAX);
        pair.they_send(&packet(2, 1, b"lost"));
        assert_eq!(pair.transcript, "<1>2");
        assert_eq!(pair.errors, ["InvalidAeadTag"]);
        assert_eq!(pair.completed(Role::Initiator) + pair.completed(Role::Responder), 0);
    }
}

#[test]
fn keepalives_are_taken_both_ways() {
    for beginner in [Role::Initiator, Role::Responder] {
        let mut pair = Pair::established(beginner, Some(PRESHARED));
        pair.they_send(&[]);
        assert_eq!(pair.transcript, "<4");
        assert_eq!(pair.last[4].len(), 32);
        pair.forget();

        pair.they_send(&packet(2, 1, b"unanswered"));
        pair.our_time_passes(Duration::from_secs(9));
        assert_eq!(pair.transcript, "<4");
        pair.our_time_passes(Duration::from_secs(1));
        assert_eq!(pair.transcript, "<4>4");
        assert_eq!(pair.last[4].len(), 32, "our passive keepalive");
        pair.forget();
    }
}

#[test]
fn we_rekey_again_and_again() {
    let mut pair = Pair::established(Role::Initiator, Some(PRESHARED));
    for rekey in 1..=REKEYS {
        let index = pair.last[4][4..8].to_vec();
        pair.clock.advance(Duration::from_secs(121));
        pair.we_send(&packet(1, 2, b"old session, and a new one wanted"));
        assert_eq!(pair.transcript, ">1>4<2>4", "data on the old session, a keepalive on the new");
        assert_eq!(pair.delivered, [packet(1, 2, b"old session, and a new one wanted")]);
        assert_eq!(pair.completed(Role::Initiator), 1 + rekey);
        pair.assert_data_flows();
        pair.we_send(&packet(1, 2, b"new"));
        assert_ne!(pair.last[4][4..8], index, "data goes to the new session");
        pair.forget();
    }
}

#[test]
fn boringtun_rekeys_again_and_again() {
    let mut pair = Pair::established(Role::Responder, Some(PRESHARED));
    for rekey in 1..=REKEYS {
        pair.clock.advance(Duration::from_secs(121));
        pair.they_initiate();
        assert_eq!(pair.transcript, "<1>2<4");
        assert_eq!(pair.completed(Role::Responder), 1 + rekey);
        pair.assert_data_flows();
        pair.forget();
    }
}

#[test]
fn the_roles_change_from_rekey_to_rekey() {
    let mut pair = Pair::established(Role::Initiator, None);
    for _ in 0..REKEYS {
        pair.they_initiate();
        pair.assert_data_flows();
        pair.our_time_passes(Duration::from_secs(170));
        pair.forget();
        pair.they_initiate();
        pair.our_time_passes(Duration::from_secs(181));
        pair.we_send(&packet(1, 2, b"no session is left"));
        assert!(pair.transcript.contains(">1<2>4"), "{}", pair.transcript);
        pair.assert_data_flows();
        pair.forget();
    }
}

#[test]
fn initiations_that_cross_converge() {
    for their_answer_is_late in [false, true] {
        let mut pair = Pair::new(Some(PRESHARED));
        let ours = pair.ours.send(&pair.clock, &packet(1, 2, b"ours"));
        let theirs = pair.their_initiation();
        if their_answer_is_late {
            pair.take_to_us(vec![theirs]);
            pair.take_to_them(ours);
        } else {
            pair.take_to_them(ours);
            pair.take_to_us(vec![theirs]);
        }
        assert!(pair.errors.is_empty(), "{:?} after {}", pair.errors, pair.transcript);
        pair.assert_data_flows();
    }
}

#[test]
fn boringtun_under_load_gets_its_cookie_back_from_the_initiator() {
    let mut pair = Pair::with(None, None, 0);
    pair.we_send(&packet(1, 2, b"patient"));
    assert_eq!(pair.transcript, ">1<3", "a cookie is no reason to send at once");
    assert!(!pair.carries_mac2(1));
    pair.our_time_passes(Duration::from_millis(4999));
    assert_eq!(pair.transcript, ">1<3");
    pair.our_time_passes(REKEY_TIMEOUT_WITH_JITTER - Duration::from_millis(4999));
    assert_eq!(pair.transcript, ">1<3>1<2>4");
    assert!(pair.carries_mac2(1));
    assert_eq!(pair.delivered, [packet(1, 2, b"patient")]);
    pair.assert_data_flows();
}

#[test]
fn boringtun_under_load_gets_its_cookie_back_from_the_responder() {
    let mut pair = Pair::with(None, None, 0);
    pair.they_initiate();
    assert_eq!(pair.transcript, "<1>2<3");
    pair.they_initiate();
    assert_eq!(pair.transcript, "<1>2<3<1>2<4");
    assert!(pair.carries_mac2(2));
    pair.assert_data_flows();
}

#[test]
fn boringtun_brings_our_cookie_with_its_next_initiation() {
    let mut pair = Pair::new(Some(PRESHARED));
    pair.ours.queued = UNDER_LOAD;
    pair.they_initiate();
    assert_eq!(pair.transcript, "<1>3");
    assert_eq!(std::mem::take(&mut pair.discards), [Discard::CookieRequired]);
    pair.they_initiate();
    assert_eq!(pair.transcript, "<1>3<1>2<4");
    assert!(pair.carries_mac2(1));
    pair.assert_data_flows();
}

#[test]
fn boringtun_brings_our_cookie_with_its_next_response() {
    let mut pair = Pair::new(Some(PRESHARED));
    pair.ours.queued = UNDER_LOAD;
    pair.we_send(&packet(1, 2, b"patient"));
    assert_eq!(pair.transcript, ">1<2>3");
    assert_eq!(std::mem::take(&mut pair.discards), [Discard::CookieRequired]);
    pair.our_time_passes(REKEY_TIMEOUT_WITH_JITTER);
    assert_eq!(pair.transcript, ">1<2>3>1<2>4");
    assert!(pair.carries_mac2(2));
    pair.assert_data_flows();
}
