//! Every parser on the same bytes: what is accepted is what the bytes say, and is written as it was read.

use std::net::SocketAddr;
use std::str::{self, FromStr};

use tunneld::config::HostPort;
use tunneld::crypto::{PresharedKey, PrivateKey, PublicKey};
use tunneld::tun::{VIRTIO_HEADER, VirtioNetHdr};
use tunneld::wire::checksum::Sum;
use tunneld::wire::ip::{NotIp, set_ecn};
use tunneld::wire::upper::is_udp_to;
use tunneld::wire::{Ecn, Handshake, IpHeader, Maced, Malformed, Message, icmp};
use zerocopy::IntoBytes;

use super::sums;
use crate::packets::sum;

pub fn check(data: &[u8]) {
    message(data);
    ip(data);
    icmp(data);
    virtio(data);
    assert_eq!(u16::from_be_bytes(Sum::default().bytes(data).fold()), sum(data));
    if let Ok(text) = str::from_utf8(data) {
        host_port(text);
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
