//! A [`Screen`] as a program that the kernel runs on each datagram before it takes room in the receive buffer or wakes
//! anybody: classic BPF (Documentation/networking/filter.rst of the kernel).
//!
//! With UDP GRO the kernel judges several datagrams of one sender at a time, by the first of them, and cannot tell how
//! many they are. So what comes from the peer's address passes whatever its first bytes and its length are: junk
//! with that source must not take the peer's own datagrams away with it.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use nix::libc::{
    self, BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LEN, BPF_RET, BPF_W, SKF_AD_OFF,
    SKF_AD_RANDOM, SKF_NET_OFF,
};
use nix::sys::socket::{getsockopt, sockopt};
use socket2::SockFilter;

use super::Family;
use super::open::FamilySocket;
use crate::wire::{Chance, CookieReply, Initiation, MessageType, Response, Screen};

/// Where the first four bytes and the receiver index of transport data are: the program sees the UDP header first.
const UDP_HEADER: u32 = 8;
const TYPE: u32 = UDP_HEADER;
const INDEX: u32 = UDP_HEADER + 4;
/// Where the source is in the headers of IPv4 and of IPv6.
const SOURCE_V4: u32 = SKF_NET_OFF.cast_unsigned() + 12;
const SOURCE_V6: u32 = SKF_NET_OFF.cast_unsigned() + 8;
/// Where a random number can be loaded from.
const RANDOM: u32 = (SKF_AD_OFF + SKF_AD_RANDOM).cast_unsigned();

/// How many bytes of a datagram are kept: the two verdicts.
const PASS: u32 = u32::MAX;
const DISCARD: u32 = 0;

impl FamilySocket {
    /// Puts this screen in place of the one before, if any.
    pub(super) fn screen(&self, family: Family, screen: Option<&Screen>) -> io::Result<()> {
        match screen {
            Some(screen) => self.socket.attach_filter(&program(family, screen)),
            None => self.socket.detach_filter(),
        }
    }

    /// What the kernel discarded since the last call. Its own counter goes round.
    pub(super) fn take_discarded(&self) -> u64 {
        let Ok(info) = getsockopt(&self.socket, MemInfo) else { return 0 };
        let now = info[DISCARDED];
        now.wrapping_sub(self.discarded.swap(now, Ordering::Relaxed)).into()
    }
}

/// The kernel's account of a socket, and where in it is the count of datagrams that were discarded.
#[derive(Clone, Copy)]
struct MemInfo;
nix::getsockopt_impl!(
    MemInfo,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; DISCARDED + 1],
    sockopt::GetStruct<[u32; DISCARDED + 1]>
);
const DISCARDED: usize = libc::SK_MEMINFO_DROPS as usize;

type Code = Vec<SockFilter>;

/// The program for the socket of `family`. A datagram that ends before what is loaded is discarded.
fn program(family: Family, screen: &Screen) -> Code {
    let data = joined([for_one_of(&screen.indices), by_chance(screen.data)]);
    joined([
        screen.peers.iter().flat_map(|peer| pass_peer(family, *peer)).collect(),
        vec![load(TYPE), skip_unless(MessageType::TransportData as u32, data.len())],
        data,
        handshake_message(),
        by_chance(screen.handshakes),
    ])
}

/// Passes what comes from `peer`, if it is of this family; all else goes on.
fn pass_peer(family: Family, peer: IpAddr) -> Code {
    let words = match (family, peer) {
        (Family::V4, IpAddr::V4(peer)) => vec![(SOURCE_V4, peer.to_bits())],
        (Family::V6, IpAddr::V6(peer)) => {
            let high = (peer.to_bits() >> 64) as u64;
            vec![(SOURCE_V6, (high >> 32) as u32), (SOURCE_V6 + 4, high as u32)]
        }
        _ => return Code::new(),
    };
    // Behind each check lie the later ones, two instructions each, and the verdict.
    let behind = [1, 3].into_iter().take(words.len()).rev();
    let checks = words
        .into_iter()
        .zip(behind)
        .flat_map(|((offset, word), behind)| [load(offset), jump(BPF_JEQ, word, 0, behind)]);
    checks.chain([verdict(PASS)]).collect()
}

/// Goes on with transport data for one of these indices, and discards all else.
fn for_one_of(indices: &[u32]) -> Code {
    let skips = (1..=indices.len() as u8).rev();
    let checks =
        indices.iter().zip(skips).map(|(index, skip)| jump(BPF_JEQ, little(*index), skip, 0));
    [load(INDEX)].into_iter().chain(checks).chain([verdict(DISCARD)]).collect()
}

/// Goes on with a handshake message, its type loaded; discards all else.
fn handshake_message() -> Code {
    let messages = [
        (MessageType::Initiation, size_of::<Initiation>()),
        (MessageType::Response, size_of::<Response>()),
        (MessageType::CookieReply, size_of::<CookieReply>()),
    ];
    // Behind each length lie its verdict, the later messages, four instructions each, and the last verdict.
    let checks = messages.into_iter().zip([10, 6, 2]).flat_map(|((message_type, size), behind)| {
        let length = UDP_HEADER.saturating_add(size as u32);
        [
            skip_unless(message_type as u32, 3),
            SockFilter::new((BPF_LD | BPF_W | BPF_LEN) as u16, 0, 0, 0),
            jump(BPF_JEQ, length, behind, 0),
            verdict(DISCARD),
        ]
    });
    checks.chain([verdict(DISCARD)]).collect()
}

/// Passes as many as `chance` says, and discards the others.
fn by_chance(chance: Chance) -> Code {
    vec![load(RANDOM), jump(BPF_JGE, chance.0, 1, 0), verdict(PASS), verdict(DISCARD)]
}

fn joined<const N: usize>(parts: [Code; N]) -> Code {
    parts.into_iter().flatten().collect()
}

fn load(offset: u32) -> SockFilter {
    SockFilter::new((BPF_LD | BPF_W | BPF_ABS) as u16, 0, 0, offset)
}

/// Skips so many instructions unless the word loaded is this one, as messages have it.
fn skip_unless(word: u32, instructions: usize) -> SockFilter {
    jump(BPF_JEQ, little(word), 0, instructions as u8)
}

fn jump(condition: u32, word: u32, skip_if: u8, skip_else: u8) -> SockFilter {
    SockFilter::new((BPF_JMP | BPF_K | condition) as u16, skip_if, skip_else, word)
}

fn verdict(keep: u32) -> SockFilter {
    SockFilter::new((BPF_RET | BPF_K) as u16, 0, 0, keep)
}

/// Words of messages are little-endian; the program loads big-endian ones.
fn little(word: u32) -> u32 {
    u32::from_be_bytes(word.to_le_bytes())
}

#[cfg(test)]
mod tests;
