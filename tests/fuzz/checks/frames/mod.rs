//! Any text from an authentic peer that sends frames: what is delivered, discarded and counted is what a
//! [`Model`] says, and the memory of the receiving end stays within its bound.

mod model;

use std::time::Duration;

use allocation_counter::measure;
use tunneld::crypto::{Cipher, TAG, TransportKey};
use tunneld::proto::{Discard, FrameRules, Parameters, Received};
use tunneld::wire::mss::ClampMss;
use tunneld::wire::{Ecn, Layer, Profile};

use super::incomplete::MOST_BYTES as MOST_INCOMPLETE;
use super::input::Input;
use crate::link::{A, B, Clock, Datagram, Host, millis, parameters, secs};
use crate::packets::{Fields, frame};
use crate::peer::Peer;
use crate::reference::public_key;
use model::{Arrival, Model, Outcome};

const PROFILE: Profile =
    Profile::Tunneld { cipher: Cipher::ChaCha20Poly1305, layer: Layer::Ethernet };
const MOST_STEPS: usize = 100;
const MOST_SESSIONS: usize = 4;
/// Bytes of a whole check, of text and of frames that are begun: more are slow.
const MOST_BYTES: usize = 3 << 20;
/// Incomplete frames, the one that was completed last, and what is small: stations, lists, sessions.
const MOST_HELD: i64 = MOST_INCOMPLETE as i64 + 65_535 + 65_536;

/// The bytes are what rules hold, and then choices: each sends something, or lets time pass or a session begin.
pub fn check(data: &[u8]) {
    let input = &mut Input::new(data);
    let mut exchange = Exchange::new(input);
    exchange.handshake();
    for _ in 0..MOST_STEPS {
        if input.is_empty() || exchange.bytes > MOST_BYTES {
            break;
        }
        exchange.step(input);
    }
}

struct Exchange {
    clock: Clock,
    peer: Peer,
    host: Host,
    model: Model,
    sessions: Vec<Sending>,
    /// Which of them is used.
    chosen: usize,
    /// Fragments of frames that are on their way: session, counter and text.
    fragments: Vec<(usize, u64, Vec<u8>)>,
    /// Bytes so far.
    bytes: usize,
    /// What the receiving end holds since the beginning.
    held: i64,
}

/// The peer's half of a session.
struct Sending {
    key: TransportKey,
    index: u32,
    next: u64,
}

impl Exchange {
    fn new(input: &mut Input<'_>) -> Self {
        let rules = FrameRules {
            mac_limit: [1, 4, 64][input.below(3)],
            broadcast_limit: [0, 3, 100][input.below(3)],
            link_local: input.byte() & 1 == 0,
        };
        let mtu = [64, 576, 1420, 9000][input.below(4)];
        let clamp = [ClampMss::Off, ClampMss::ToMtu, ClampMss::To(700)][input.below(3)];
        let of_ip = parameters(2, 1, Some(A));
        let allowed_ips = Vec::new();
        let parameters = Parameters { profile: PROFILE, allowed_ips, mtu, frames: rules, ..of_ip };
        let host = Host::new(&parameters, 2, B);
        host.tunnel.set_rewrites(false, clamp);
        let mut peer = Peer::new([1; 32], public_key(&[2; 32]), [0; 32]);
        peer.identifier = PROFILE.identifier().as_bytes();
        Self {
            clock: Clock::new(),
            peer,
            host,
            model: Model::new(rules, clamp, mtu),
            sessions: Vec::new(),
            chosen: 0,
            fragments: Vec::new(),
            bytes: 0,
            held: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(12) {
            0 => {
                let text = whole(&any_frame(input));
                self.send(text, input.byte());
            }
            1 => {
                let mut text = whole(&any_frame(input));
                input.damage(&mut text);
                self.send(text, input.byte());
            }
            2 => {
                let [number, fill] = [input.byte(), input.byte()];
                let [len, offset, total] = [input.word(), input.word(), input.word()];
                self.send(fragment(number, offset, total, &vec![fill; len.into()]), 0);
            }
            3 => self.cut(input),
            4 => self.send_fragment(input),
            5 => {
                let len = input.below(64);
                self.send(input.take(len).to_vec(), input.byte());
            }
            6 => self.flood(input),
            7 => self.pass(millis(u64::from(input.byte()) * 8)),
            8 => self.pass(secs(input.byte().into())),
            9 if self.sessions.len() < MOST_SESSIONS => self.handshake(),
            10 => self.chosen = input.below(self.sessions.len()),
            _ => {
                let choice = input.byte();
                let session = &mut self.sessions[self.chosen];
                // Back to counters that were used, or far ahead.
                session.next = if choice & 1 == 0 {
                    session.next.saturating_sub(u64::from(choice) * 64)
                } else {
                    session.next + u64::from(choice) * 64
                };
            }
        }
    }

    /// Cuts a frame; its fragments get the counters that follow.
    fn cut(&mut self, input: &mut Input<'_>) {
        let frame = any_frame(input);
        let size = usize::from(input.word() % 1400 + 1).max(frame.len() / 200 + 1);
        let session = &mut self.sessions[self.chosen];
        for (number, bytes) in frame.chunks(size).enumerate() {
            let text = fragment(number as u8, (number * size) as u16, frame.len() as u16, bytes);
            self.fragments.push((self.chosen, session.next, text));
            session.next += 1;
        }
    }

    /// Sends one of the fragments that were cut, perhaps damaged, and perhaps those after it.
    fn send_fragment(&mut self, input: &mut Input<'_>) {
        let (at, choice) = (usize::from(input.word()), input.byte());
        for _ in 0..=choice & 0x3f {
            let Some(at) = at.checked_rem(self.fragments.len()) else {
                return;
            };
            let (session, counter, mut text) = self.fragments.remove(at);
            if choice & 0x40 != 0 {
                input.damage(&mut text);
            }
            if choice & 0x80 != 0 {
                self.fragments.push((session, counter, text.clone()));
            }
            self.send_in(session, counter, text, 0);
        }
    }

    /// Fragments of frames that are never complete, many of them, and perhaps between them a complete one.
    fn flood(&mut self, input: &mut Input<'_>) {
        let (count, choice) = (input.byte(), input.byte());
        let [total, between] = [input.word(), input.word()];
        let spare = [1; 20];
        for number in 0..count {
            if self.bytes > MOST_BYTES {
                return;
            }
            if choice & 1 == 0 {
                let complete = vec![number; between.into()];
                self.send(fragment(0, 0, between, &complete), 0);
            }
            self.bytes += usize::from(total);
            let bytes = &spare[..spare.len().min(total.into())];
            self.send(fragment(choice >> 1, 0, total, bytes), 0);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
    }

    /// The peer begins a session.
    fn handshake(&mut self) {
        self.pass(millis(50));
        let (initiation, initiated) = self.peer.initiate();
        let initiation = datagram(initiation, Ecn::NotEct);
        let mut leaving = Vec::new();
        // A session that ends takes its fragments along.
        let memory = measure(|| (leaving, _) = self.host.receive(&self.clock, &initiation));
        self.held += memory.bytes_current;
        let response = leaving.last().expect("an initiation is answered");
        let session = self.peer.complete(initiated, &response.bytes);
        let key = TransportKey::new(PROFILE.cipher(), &session.send);
        self.model.begin(session.index, self.clock.boot);
        self.chosen = self.sessions.len();
        self.sessions.push(Sending { key, index: session.index, next: 0 });
        self.counted();
    }

    fn send(&mut self, text: Vec<u8>, ecn: u8) {
        let session = &mut self.sessions[self.chosen];
        let counter = session.next;
        session.next += 1;
        self.send_in(self.chosen, counter, text, ecn);
    }

    fn send_in(&mut self, session: usize, counter: u64, text: Vec<u8>, ecn: u8) {
        // No UDP datagram has more.
        if text.len() > 65_507 - 32 {
            return;
        }
        self.bytes += text.len() + 64;
        let Sending { key, index, .. } = &self.sessions[session];
        let mut sealed = [&text[..], &[0; TAG]].concat();
        key.seal(counter, &mut sealed);
        let bytes = crate::reference::transport_message(*index, counter, sealed);
        let (session, now, ecn) = (*index, self.clock.boot, Ecn::from_tos(ecn));
        let outcome = self.receive(datagram(bytes, ecn));
        let limited = outcome == Outcome::Refused(Discard::MacLimit);
        let arrival = Arrival { session, counter, now, text: &text, ecn, limited };
        let expected = self.model.arrives(&arrival);
        assert!(outcome == expected, "{outcome:?}, not {expected:?}");
        assert!(self.held <= MOST_HELD, "{} bytes are held", self.held);
        self.host.settle(&self.clock);
        self.counted();
    }

    fn receive(&mut self, datagram: Datagram) -> Outcome {
        let (now, from, ecn) = (self.clock.boot, datagram.endpoint(), datagram.ecn);
        let mut bytes = datagram.bytes;
        let at = self.host.inbound.packet_at();
        let mut received = None;
        let inbound = &mut self.host.inbound;
        let memory = measure(|| {
            inbound.obey();
            received = Some(match inbound.receive(now, from, ecn, &mut bytes) {
                Ok(Received::Packet(packet)) => Ok(Some(packet.len())),
                Ok(Received::Frame) => Ok(None),
                Ok(Received::Fragment | Received::Keepalive) => Err(None),
                Ok(Received::Handshake(_)) => panic!("that was none"),
                Err(reason) => Err(Some(reason)),
            });
            inbound.finish(now);
        });
        self.held += memory.bytes_current;
        match received.expect("it was called") {
            Ok(Some(len)) => Outcome::Delivered(bytes[at..at + len].to_vec()),
            Ok(None) => Outcome::Delivered(self.host.inbound.frame().to_vec()),
            Err(None) => Outcome::Nothing,
            Err(Some(reason)) => Outcome::Refused(reason),
        }
    }

    /// Each discard is counted, and nothing else.
    fn counted(&self) {
        let stats = self.host.tunnel.stats();
        assert_eq!(self.host.discards(Discard::FrameIncomplete), self.model.forgotten());
        assert_eq!(self.host.all_discards(), self.model.refused + self.model.forgotten());
        assert_eq!(stats.received(), self.model.delivered);
    }
}

fn datagram(bytes: Vec<u8>, ecn: Ecn) -> Datagram {
    let [from, to] = [A, B].map(|address| address.parse().unwrap());
    Datagram { from, to, ecn, bytes }
}

/// Transport data that carries `frame` whole.
fn whole(frame: &[u8]) -> Vec<u8> {
    [&[1, 0], &(frame.len() as u16).to_be_bytes()[..], frame, &[0; 7]].concat()
}

fn fragment(number: u8, offset: u16, total: u16, bytes: &[u8]) -> Vec<u8> {
    let fields = [bytes.len() as u16, offset, total].map(u16::to_be_bytes).concat();
    [&[2, number][..], &fields, bytes].concat()
}

/// A frame of some kind: TCP that begins, other packets, or what the bytes say.
fn any_frame(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    let mut bytes = match choice & 3 {
        0 => {
            let len = usize::from(input.word());
            let len = if choice & 4 == 0 { len % 2000 } else { len };
            let mut bytes = frame(usize::from(choice >> 6) % 3, &[]);
            bytes.resize(bytes.len().max(len), choice);
            bytes
        }
        1 => {
            let len = input.below(64);
            input.take(len).to_vec()
        }
        _ => {
            let kinds = Fields::kinds();
            let of = &kinds[input.below(kinds.len())];
            let [high, low] = input.word().to_be_bytes();
            let options = if of.udp { Vec::new() } else { vec![2, 4, high, low] };
            let fields = Fields { tos: choice >> 3, flags: 2, options, ..of.clone() };
            frame(usize::from(choice >> 6) % 3, &fields.packet())
        }
    };
    let addresses = input.byte();
    if let Some(to) = bytes.get_mut(..6) {
        match addresses & 3 {
            0 => to.fill(0xff),
            1 => to.copy_from_slice(&[1, 0x80, 0xc2, 0, 0, addresses >> 3]),
            _ => {}
        }
    }
    if let Some(from) = bytes.get_mut(11) {
        *from = addresses >> 2;
    }
    bytes
}
