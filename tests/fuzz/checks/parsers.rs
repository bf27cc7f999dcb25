//! Every parser on the same bytes: what is accepted is what the bytes say, and is written as it was read.

use std::hash::{Hash as _, Hasher};
use std::net::SocketAddr;
use std::str::{self, FromStr};

use tunneld::config::HostPort;
use tunneld::crypto::{PresharedKey, PrivateKey, PublicKey};
use tunneld::tun::{VIRTIO_HEADER, VirtioNetHdr};
use tunneld::wire::checksum::Sum;
use tunneld::wire::ethernet::{FrameHeader, Mac};
use tunneld::wire::flow::hash_flow;
use tunneld::wire::ip::{NotIp, set_ecn};
use tunneld::wire::mss::{self, MssLimit};
use tunneld::wire::piece::{FRAGMENT_START, FRAME_START, NotPiece, Piece};
use tunneld::wire::upper::is_udp_to;
use tunneld::wire::{Ecn, Handshake, IpHeader, Layer, Maced, Malformed, Message, icmp};
use zerocopy::IntoBytes;

use super::sums;
use crate::packets::sum;

pub fn check(data: &[u8]) {
    message(data);
    ip(data);
    icmp(data);
    virtio(data);
    frame(data);
    piece(data);
    flow(data);
    mss(data);
    assert_eq!(u16::from_be_bytes(Sum::default().bytes(data).fold()), sum(data));
    if let Ok(text) = str::from_utf8(data) {
        host_port(text);
        mac(text);
        key::<PrivateKey>(text, |key| key.to_base64().to_string());
        key::<PublicKey>(text, ToString::to_string);
        key::<PresharedKey>(text, |key| key.to_base64().to_string());
    }
}

fn message(data: &[u8]) {
    let kind = data.first_chunk().map(|first| u32::from_le_bytes(*first));
    let right_length = match kind {
        Some(1) => data.len() == 148,
        Some(2) => data.len() == 92,
        Some(3) => data.len() == 64,
        Some(4) => data.len() >= 32,
        _ => {
            assert_eq!(Message::parse(&mut data.to_vec()), Err(Malformed::Type));
            return;
        }
    };
    match Message::parse(&mut data.to_vec()) {
        Ok(Message::TransportData(all)) => assert!(right_length && kind == Some(4) && all == data),
        Ok(Message::Handshake(message)) => {
            assert!(right_length && message.as_bytes() == data);
            assert_eq!(Handshake::parse(data), Ok(message));
            match message {
                Handshake::Initiation(message) => macs(&message, data),
                Handshake::Response(message) => macs(&message, data),
                Handshake::CookieReply(_) => {}
            }
        }
        Err(error) => assert!(!right_length && error == Malformed::Length),
    }
}

fn macs(message: &impl Maced, data: &[u8]) {
    assert_eq!(message.sender().to_le_bytes(), data[4..8]);
    let end = data.len();
    assert_eq!(
        (&message.mac1()[..], &message.mac2()[..]),
        (&data[end - 32..end - 16], &data[end - 16..])
    );
}

fn ip(data: &[u8]) {
    let header = IpHeader::parse(data);
    let (least, length) = match (data.first().map_or(0, |first| first >> 4), data.len()) {
        (4, 20..) => (20, usize::from(u16::from_be_bytes([data[2], data[3]]))),
        (6, 40..) => (40, usize::from(u16::from_be_bytes([data[4], data[5]])) + 40),
        _ => {
            assert_eq!(header, Err(NotIp::Version));
            assert_eq!(IpHeader::parse_fixed(data), None);
            return;
        }
    };
    let Ok(header) = header else {
        assert!(length < least || length > data.len());
        return;
    };
    assert!(least <= length && length <= data.len() && header.total_len == length);
    assert_eq!(IpHeader::parse_fixed(data), Some(header));
    for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
        let mut packet = data[..length].to_vec();
        set_ecn(&mut packet, ecn);
        assert_eq!(IpHeader::parse(&packet), Ok(IpHeader { ecn, ..header }));
        assert_eq!(sums::ip_fits(&packet), sums::ip_fits(&data[..length]));
    }
    udp(data, &header);
}

/// A packet is for the port that its UDP header says, and for no other.
fn udp(data: &[u8], header: &IpHeader) {
    let Some((at, 6)) = sums::transport(data) else {
        return;
    };
    let fragment = data[0] >> 4 == 4 && u16::from_be_bytes([data[6], data[7]]) & 0x1fff != 0;
    let port = u16::from_be_bytes([data[at + 2], data[at + 3]]);
    assert_eq!(is_udp_to(data, SocketAddr::new(header.destination, port)), !fragment);
    assert!(!is_udp_to(data, SocketAddr::new(header.destination, port ^ 1)));
}

/// The answer is a packet that is right in itself, goes back to the sender with what it sent, and is not answered.
fn icmp(data: &[u8]) {
    let Some(answer) = icmp::unreachable(data) else {
        return;
    };
    let asked = IpHeader::parse_fixed(data).expect("only IP packets are answered");
    let header = IpHeader::parse(&answer).expect("the answer is an IP packet");
    assert_eq!(header.total_len, answer.len());
    assert_eq!((header.source, header.destination), (asked.destination, asked.source));
    assert!(sums::ip_fits(&answer) && sums::icmp_fits(&answer));
    let quote = if header.source.is_ipv4() { 28 } else { 48 };
    assert!(data.starts_with(&answer[quote..]) && answer.len() <= 48 + 512);
    assert_eq!(icmp::unreachable(&answer), None);
}

fn virtio(data: &[u8]) {
    let header = VirtioNetHdr::parse(data);
    assert_eq!(header.as_ref().map(IntoBytes::as_bytes), data.get(..VIRTIO_HEADER));
}

/// A header ends where it says, after up to two tags; an IP packet is there only if type and version agree.
fn frame(data: &[u8]) {
    let header = FrameHeader::parse(data);
    let types = [12, 16, 20].map(|at| data.get(at..at + 2));
    let is_tag = |at: usize| matches!(types[at], Some([0x81, 0] | [0x88, 0xa8]));
    let tags = if !is_tag(0) { 0 } else { 1 + usize::from(is_tag(1)) };
    let expected = types[tags].map(|last| (14 + 4 * tags, u16::from_be_bytes([last[0], last[1]])));
    assert_eq!(header.map(|header| (header.len, header.ether_type)), expected);
    if let Some(header) = header {
        assert_eq!([header.destination.0, header.source.0].concat(), data[..12]);
        let version = data.get(header.len).map(|first| first >> 4);
        let is_ip = matches!((header.ether_type, version), (0x800, Some(4)) | (0x86dd, Some(6)));
        assert_eq!(Layer::Ethernet.ip_at(data), is_ip.then_some(header.len));
    }
}

/// What precedes a piece says as many bytes as are there, and which, within a frame.
fn piece(data: &[u8]) {
    let word = |at: usize| usize::from(u16::from_be_bytes([data[at], data[at + 1]]));
    match Piece::parse(&mut data.to_vec()) {
        Ok((Piece::Frame(len), bytes)) => {
            assert!(data[..2] == [1, 0] && len == word(2));
            assert_eq!(bytes, &data[FRAME_START..FRAME_START + len]);
        }
        Ok((Piece::Fragment(fragment), bytes)) => {
            let numbers = [fragment.len, fragment.offset, fragment.total].map(usize::from);
            assert_eq!((data[0], data[1], numbers), (2, fragment.number, [2, 4, 6].map(word)));
            assert!(numbers[0] > 0 && numbers[1] + numbers[0] <= numbers[2]);
            assert_eq!(bytes, &data[FRAGMENT_START..FRAGMENT_START + numbers[0]]);
        }
        Err(NotPiece::Kind) => assert!(!matches!(data.first(), Some(1 | 2))),
        Err(NotPiece::Length) => assert!(matches!(data.first(), Some(1 | 2))),
    }
}

/// What the flow of a packet is told by; nothing of a packet but the fixed header and what begins behind it counts.
fn flow(data: &[u8]) {
    #[derive(Default)]
    struct Told(Vec<u8>);
    impl Hasher for Told {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut told = Told::default();
    hash_flow(data, &mut told);
    let mut expected = Told::default();
    if let Some(IpHeader { source, destination, .. }) = IpHeader::parse_fixed(data) {
        (source, destination).hash(&mut expected);
        // The protocol, where its header begins, and whether that may tell ports.
        let upper = match data[0] >> 4 {
            4 if data[0] & 0xf < 5 => None,
            4 => Some((
                data[9],
                usize::from(data[0] & 0xf) * 4,
                u16::from_be_bytes([data[6], data[7]]) & 0x3fff == 0,
            )),
            _ if data[6] == 44 => data.get(40..48).map(|header| (header[0], 48, false)),
            _ => Some((data[6], 40, true)),
        };
        if let Some((protocol, at, whole)) = upper {
            expected.0.push(protocol);
            let ports = data.get(at..at + 4).filter(|_| whole && matches!(protocol, 6 | 17 | 132));
            expected.0.extend(ports.unwrap_or_default());
        }
    }
    assert_eq!(told.0, expected.0);
}

/// Only fields of an MSS among the options of a TCP header, and its checksum, may change; an MSS only becomes lower,
/// and the checksum stays as right or wrong as it was.
fn mss(data: &[u8]) {
    const LIMIT: u16 = 536;
    let mut clamped = data.to_vec();
    mss::clamp(&mut clamped, MssLimit::fixed(LIMIT));
    if clamped == data {
        return;
    }
    let (at, field) = sums::transport(data).expect("only TCP changes");
    assert!(field == 16 && data[at + 13] & 2 != 0, "only a SYN changes");
    let header = at + usize::from(data[at + 12] >> 4) * 4;
    let mut place = 0;
    while place < data.len() {
        let in_checksum = (at + 16..at + 18).contains(&place);
        if data[place] == clamped[place] || in_checksum {
            place += 1;
            continue;
        }
        // Where the low byte alone changes, the field began before it.
        let start = if data[place - 2..place] == [2, 4] { place } else { place - 1 };
        assert!(data[start - 2..start] == [2, 4] && (at + 22..header - 1).contains(&start));
        let word = |bytes: &[u8]| u16::from_be_bytes([bytes[start], bytes[start + 1]]);
        assert!(word(data) > LIMIT && word(&clamped) == LIMIT);
        place = start + 2;
    }
    assert_eq!(sums::transport_fits(&clamped), sums::transport_fits(data));
}

fn mac(text: &str) {
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string(), text.to_ascii_lowercase());
    }
}

fn host_port(text: &str) {
    if let Ok(host_port) = text.parse::<HostPort>() {
        assert!(host_port.port != 0 && !host_port.host.is_empty());
        assert_eq!(host_port.to_string().parse(), Ok(host_port));
    }
}

fn key<K: FromStr>(text: &str, written: fn(&K) -> String) {
    if let Ok(key) = text.parse::<K>() {
        assert_eq!(written(&key), text);
    }
}
