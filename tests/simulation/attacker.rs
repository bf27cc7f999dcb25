//! Somebody on the path: sees everything, keeps a part of it, and sends whatever it likes from any address. It
//! knows both public keys, and no secret.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use tunneld::crypto::PublicKey;
use tunneld::wire::Ecn;

use crate::host::{Datagram, key};
use crate::paper::{COOKIE_REPLY, DATA, INITIATION, RESPONSE, sign};
use crate::scenario::{Action, Side};
use crate::weather::Dice;
use crate::wire::alter;

/// Datagrams it keeps; of more it forgets the oldest.
const KEPT: usize = 256;
/// Bytes of mac1 and mac2 at the end of a message.
const MACS: usize = 32;

pub struct Attacker {
    seen: VecDeque<Datagram>,
    address: SocketAddr,
}

impl Attacker {
    pub fn new() -> Self {
        Self { seen: VecDeque::with_capacity(KEPT), address: "203.0.113.66:666".parse().unwrap() }
    }

    pub fn sees(&mut self, datagram: &Datagram) {
        if self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(datagram.clone());
    }

    /// `datagram` from its own address, to the end that is meant.
    pub fn passes_on(&self, datagram: &Datagram, to: SocketAddr) -> Datagram {
        Datagram { from: self.address, to, ..datagram.clone() }
    }

    /// What it sends for `action`, with the ends at `ends`, and how much later each datagram arrives.
    pub fn acts(&self, action: &Action, ends: [SocketAddr; 2]) -> Vec<(Duration, Datagram)> {
        let at = |number: u32| Duration::from_micros(200) * number;
        let each = |dice: u64, count: u32, make: &dyn Fn(&mut Dice) -> Option<Datagram>| {
            let dice = &mut Dice::new(dice);
            (0..count).filter_map(|number| Some((at(number), make(dice)?))).collect()
        };
        match *action {
            Action::Replay { dice, count } => each(dice, count, &|dice| self.replays(dice, ends)),
            Action::Tamper { dice, count } => each(dice, count, &|dice| self.tampers(dice, ends)),
            Action::Inject { dice, count } => {
                each(dice, count, &|dice| Some(self.invents(dice, ends)))
            }
            Action::Flood { dice, to, count } => floods(&mut Dice::new(dice), to, count, ends),
            _ => Vec::new(),
        }
    }

    fn replays(&self, dice: &mut Dice, ends: [SocketAddr; 2]) -> Option<Datagram> {
        let seen = self.seen.get(dice.below(self.seen.len().max(1) as u64) as usize)?;
        let from = match dice.below(3) {
            0 => seen.from,
            1 => self.address,
            _ => anywhere(dice),
        };
        let to = match dice.below(4) {
            0 => ends[dice.below(2) as usize],
            // Wherever that one is now.
            _ => *ends.iter().find(|end| **end == seen.to).unwrap_or(&ends[1]),
        };
        Some(Datagram { from, to, ..seen.clone() })
    }

    fn tampers(&self, dice: &mut Dice, ends: [SocketAddr; 2]) -> Option<Datagram> {
        let mut datagram = self.replays(dice, ends)?;
        alter(dice, &mut datagram.bytes);
        if dice.below(2) == 0 {
            sign_for(&mut datagram, ends);
        }
        Some(datagram)
    }

    fn invents(&self, dice: &mut Dice, ends: [SocketAddr; 2]) -> Datagram {
        let message_type = dice.below(6) as u8;
        let len = match (dice.below(4), message_type) {
            (0, _) => dice.below(300) as usize,
            (_, INITIATION) => 148,
            (_, RESPONSE) => 92,
            (_, COOKIE_REPLY) => 64,
            _ => 32 + 16 * dice.below(4) as usize,
        };
        let mut bytes = dice.bytes(len);
        let start = [message_type, 0, 0, 0];
        bytes.iter_mut().zip(start).for_each(|(byte, start)| *byte = start);
        let to = ends[dice.below(2) as usize];
        let last = |of: &dyn Fn(&Datagram) -> bool| self.seen.iter().rev().find(|seen| of(seen));
        // An index that is in use, and a counter from any part of the range.
        let handshake = |seen: &Datagram| seen.from == to && seen.bytes[0] <= RESPONSE;
        let data = |seen: &Datagram| seen.to == to && seen.bytes[0] == DATA;
        match message_type {
            RESPONSE => copy_index(last(&handshake), &mut bytes, 4, 8),
            COOKIE_REPLY => copy_index(last(&handshake), &mut bytes, 4, 4),
            DATA if len >= 16 => {
                copy_index(last(&data), &mut bytes, 4, 4);
                let counter = u64::MAX >> dice.below(64);
                bytes[8..16].copy_from_slice(&counter.to_le_bytes());
            }
            _ => {}
        }
        let from = if dice.below(2) == 0 { self.address } else { anywhere(dice) };
        let mut datagram = Datagram { from, to, ecn: Ecn::NotEct, bytes };
        if dice.below(4) == 0 {
            sign_for(&mut datagram, ends);
        }
        datagram
    }
}

/// Copies the index at `from` in the datagram seen, if there is one, to `to` in `bytes`, if they are so long.
fn copy_index(seen: Option<&Datagram>, bytes: &mut [u8], from: usize, to: usize) {
    if let (Some(seen), Some(index)) = (seen, bytes.get_mut(to..to + 4)) {
        index.copy_from_slice(&seen.bytes[from..from + 4]);
    }
}

fn floods(
    dice: &mut Dice,
    to: Side,
    count: u32,
    ends: [SocketAddr; 2],
) -> Vec<(Duration, Datagram)> {
    let mut bytes = dice.bytes(148);
    bytes[..4].copy_from_slice(&[INITIATION, 0, 0, 0]);
    let mut flood =
        Datagram { from: anywhere(dice), to: ends[to as usize], ecn: Ecn::NotEct, bytes };
    sign_for(&mut flood, ends);
    let copy = |_| (Duration::ZERO, Datagram { from: anywhere(dice), ..flood.clone() });
    (0..count).map(copy).collect()
}

/// Gives a handshake message a mac1 that its receiver holds for good.
fn sign_for(datagram: &mut Datagram, ends: [SocketAddr; 2]) {
    static KEYS: LazyLock<[PublicKey; 2]> =
        LazyLock::new(|| [1, 2].map(|end| key(end).public_key()));
    let receiver = &KEYS[usize::from(datagram.to != ends[0])];
    if datagram.bytes.len() >= MACS {
        sign(&mut datagram.bytes, receiver);
    }
}

fn anywhere(dice: &mut Dice) -> SocketAddr {
    let port = dice.below(65_535) as u16 + 1;
    match dice.below(2) {
        0 => ([10, 99, dice.below(256) as u8, dice.below(256) as u8], port).into(),
        _ => ([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, dice.below(65_536) as u16], port).into(),
    }
}
