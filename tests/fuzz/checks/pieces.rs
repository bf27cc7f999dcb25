//! Frames that a host sends whole or in fragments, on a wire where the bytes decide what arrives and when: out come
//! exactly the frames of which all pieces came within the bounds, byte for byte, each once.

use std::collections::{BTreeSet, VecDeque};

use tunneld::crypto::Cipher;
use tunneld::proto::Discard;
use tunneld::wire::{Layer, Profile};

use super::incomplete::Incomplete;
use super::input::Input;
use crate::host::Segments;
use crate::link::{Datagram, Link};
use crate::paper::{OVERHEAD, WINDOW, counter, index};

const PROFILE: Profile =
    Profile::Tunneld { cipher: Cipher::ChaCha20Poly1305, layer: Layer::Ethernet };
const MOST_STEPS: usize = 100;
/// Bytes of all frames: more are slow.
const MOST_BYTES: usize = 2 << 20;
/// What precedes a frame, and a fragment of one; fragments of one frame.
const BEFORE_FRAME: usize = 4;
const BEFORE_FRAGMENT: usize = 8;
const MOST_FRAGMENTS: usize = 256;

/// The bytes are choices: each sends frames, or does something to what is on its way.
pub fn check(data: &[u8]) {
    let input = &mut Input::new(data);
    let mut wire = Wire::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() || wire.bytes > MOST_BYTES {
            break;
        }
        wire.step(input);
    }
    wire.set_mtu(1420);
    wire.send(1500, 1, 0);
    while !wire.flying.is_empty() {
        wire.arrive(0);
    }
    let last = wire.sent.len() - 1;
    assert_eq!(wire.link.b.delivered.last(), Some(&wire.sent[last].frame), "still up");
}

struct Wire {
    link: Link,
    mtu: usize,
    /// All frames so far.
    sent: Vec<Sent>,
    /// On their way: the number of the frame, and one of its datagrams.
    flying: VecDeque<(usize, Datagram)>,
    /// Counters of fragments that arrived.
    incomplete: Incomplete<BTreeSet<u64>>,
    /// All counters that arrived.
    seen: BTreeSet<u64>,
    /// Frames that could not be sent.
    too_long: u64,
    /// Bytes of all frames so far.
    bytes: usize,
}

struct Sent {
    frame: Vec<u8>,
    /// The counter of the first of its datagrams.
    first: u64,
    /// How many fragments they are, unless it crosses whole.
    fragments: Option<usize>,
}

impl Wire {
    fn new() -> Self {
        let mut link = Link::established_with(PROFILE);
        let seen = link.seen.iter().filter(|(_, sent)| sent.from == link.a.address);
        let data = seen.filter(|(_, sent)| sent.bytes[0] == 4);
        let seen = data.map(|(_, sent)| counter(&sent.bytes)).collect();
        link.a.delivered.clear();
        Self {
            link,
            mtu: 1420,
            sent: Vec::new(),
            flying: VecDeque::new(),
            incomplete: Incomplete::default(),
            seen,
            too_long: 0,
            bytes: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.below(10);
        let at = |wire: &Self, input: &mut Input<'_>| {
            usize::from(input.word()).checked_rem(wire.flying.len())
        };
        match choice {
            0 | 1 => {
                let (len, more) = (usize::from(input.word()), input.byte());
                let len = if more & 0x80 == 0 { len % 5000 } else { len };
                self.send(len, usize::from(more & 7) + 1, usize::from(more >> 3 & 0xf) * 97);
            }
            2 => {
                let mtu = [9, 20, 64, 576, 1420, 9000][input.below(6)];
                self.set_mtu(mtu + input.below(16));
            }
            3 => {
                if let Some(at) = at(self, input) {
                    self.arrive(at);
                }
            }
            4 => (0..input.byte()).for_each(|_| self.arrive(0)),
            5 => (0..input.byte()).for_each(|_| self.arrive(self.flying.len().wrapping_sub(1))),
            6 => {
                // Round and round in steps: so they come in any order.
                let (every, count) = (usize::from(input.byte()), input.byte());
                for turn in 0..usize::from(count) {
                    let at = (turn * every).checked_rem(self.flying.len());
                    at.into_iter().for_each(|at| self.arrive(at));
                }
            }
            7 => {
                if let Some(at) = at(self, input) {
                    self.flying.remove(at);
                }
            }
            8 => {
                if let Some(at) = at(self, input) {
                    self.flying.push_back(self.flying[at].clone());
                }
            }
            _ => {
                let (len, count) = (usize::from(input.word()), input.byte());
                self.flood(len, count);
            }
        }
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.link.a.tunnel.set_mtu(mtu);
        self.mtu = mtu;
    }

    /// So many frames of `len` bytes, the last by `less` shorter, in one superpacket.
    fn send(&mut self, len: usize, count: usize, less: usize) {
        let header = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
        let len = len.max(header.len());
        let frame = |index: usize| {
            let number = self.sent.len() + index;
            let len = if index + 1 == count { len.saturating_sub(less).max(14) } else { len };
            let payload = (14..len).map(|at| (at * 31 + at / 250 + number * 7) as u8);
            header.into_iter().chain(payload).collect()
        };
        let frames: Vec<Vec<u8>> = (0..count).map(frame).collect();
        self.bytes += len * count;
        let leaving = self.link.a.send_super(&self.link.clock, &Segments(frames.clone()));
        let mut leaving = leaving.into_iter();
        let whole = frames[0].len() + BEFORE_FRAME <= self.mtu;
        for frame in frames {
            let room = self.mtu - BEFORE_FRAGMENT;
            let fragments = (!whole).then(|| frame.len().div_ceil(room));
            if fragments.is_some_and(|count| count > MOST_FRAGMENTS) {
                self.too_long += 1;
                continue;
            }
            let number = self.sent.len();
            let datagrams: Vec<_> = leaving.by_ref().take(fragments.unwrap_or(1)).collect();
            assert_eq!(datagrams.len(), fragments.unwrap_or(1), "in as few pieces as can be");
            assert!(datagrams.iter().all(|sent| sent.bytes.len() <= self.mtu + OVERHEAD));
            let first = counter(&datagrams[0].bytes);
            self.sent.push(Sent { frame, first, fragments });
            self.flying.extend(datagrams.into_iter().map(|datagram| (number, datagram)));
        }
        assert!(leaving.next().is_none(), "nothing else leaves");
        assert_eq!(self.link.a.discards(Discard::PacketTooLong), self.too_long);
    }

    /// Frames of which only the first piece arrives.
    fn flood(&mut self, len: usize, count: u8) {
        for _ in 0..count {
            if self.bytes > MOST_BYTES {
                return;
            }
            let flying = self.flying.len();
            self.send(len, 1, 0);
            if flying < self.flying.len() {
                self.arrive(flying);
                self.flying.truncate(flying);
            }
        }
    }

    /// Lets the datagram at this place arrive, if there is one.
    fn arrive(&mut self, at: usize) {
        let Some((number, datagram)) = self.flying.remove(at) else {
            return;
        };
        let expected = self.expected(number, &datagram);
        let before = self.link.b.delivered.len();
        let (_, refused) = self.link.b.receive(&self.link.clock, &datagram);
        match expected {
            Ok(frame) => {
                assert_eq!(refused, None);
                assert!(
                    self.link.b.delivered[before..] == frame.into_iter().collect::<Vec<_>>()[..]
                );
            }
            Err(reason) => {
                assert_eq!((refused, self.link.b.delivered.len()), (Some(reason), before));
            }
        }
        self.link.b.delivered.drain(..before);
        assert_eq!(self.link.b.discards(Discard::FrameIncomplete), self.incomplete.forgotten);
    }

    /// The frame that this datagram completes, if it does.
    fn expected(&mut self, number: usize, datagram: &Datagram) -> Result<Option<Vec<u8>>, Discard> {
        let Sent { frame, first, fragments } = &self.sent[number];
        let counter = counter(&datagram.bytes);
        let behind = self.seen.last().is_some_and(|last| counter + WINDOW < *last);
        if behind || !self.seen.insert(counter) {
            return Err(Discard::Replayed);
        }
        if let Some(count) = fragments {
            let name = (index(&datagram.bytes, 4), *first);
            let here = self.incomplete.of(name, frame.len()).expect("they are of one frame");
            here.insert(counter);
            if here.len() < *count {
                return Ok(None);
            }
            self.incomplete.remove(name);
        }
        Ok(Some(frame.clone()))
    }
}
