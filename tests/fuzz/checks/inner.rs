//! Any packet inside authentic transport data: the device gets it only if it is an IP packet of an allowed source,
//! trimmed to its own length, with the ECN field of RFC 6040; otherwise it is counted and nothing else happens.

use tunneld::proto::Discard;
use tunneld::wire::{Ecn, Superpacket};

use super::ecn;
use super::input::Input;
use super::sums;
use crate::link::{Link, packet};

const MOST_PACKETS: usize = 100;

/// Seals `text` whatever it is, as a peer would that does not keep to the rules.
struct Sealed {
    text: Vec<u8>,
    /// What a host sees before it seals: a packet that may be sent.
    harmless: Vec<u8>,
}

impl Superpacket for Sealed {
    fn header(&self) -> &[u8] {
        &self.harmless
    }

    fn count(&self) -> usize {
        1
    }

    fn segment_size(&self) -> usize {
        self.text.len()
    }

    fn last_size(&self) -> usize {
        self.text.len()
    }

    fn write_segment(&self, _index: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.text);
    }
}

/// The bytes are packets from host a to host b: what to start from, how it is damaged, and the outer ECN field.
pub fn check(data: &[u8]) {
    let input = &mut Input::new(data);
    let mut link = Link::established();
    for _ in 0..MOST_PACKETS {
        if input.is_empty() {
            break;
        }
        let text = text(input);
        let outer = Ecn::from_tos(input.byte());
        throw(&mut link, text, outer);
    }
    link.b.delivered.clear();
    let last = packet(1, 2, b"still up");
    throw(&mut link, last.clone(), Ecn::NotEct);
    assert_eq!(link.b.delivered, [last]);
}

fn text(input: &mut Input<'_>) -> Vec<u8> {
    let mut text = match input.below(4) {
        0 => input.take(3).to_vec(),
        1 => {
            let len = input.below(200);
            input.take(len).to_vec()
        }
        2 => packet(1, 2, &[7; 40]),
        _ => {
            let mut packet = vec![0x60, 0, 0, 0, 0, 24, 17, 64];
            for host in [1, 2] {
                packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
            packet.extend([7; 24]);
            packet
        }
    };
    input.damage(&mut text);
    if input.byte() & 1 == 0 {
        sums::repair(&mut text);
    }
    text
}

fn throw(link: &mut Link, text: Vec<u8>, outer: Ecn) {
    let before = (link.b.delivered.len(), link.b.all_discards());
    let sealed = Sealed { text: text.clone(), harmless: packet(1, 2, b"") };
    let mut leaving = link.a.send_super(&link.clock, &sealed);
    let mut datagram = leaving.pop().expect("there is a session");
    assert!(leaving.is_empty());
    datagram.ecn = outer;
    let padded = &datagram.bytes.len() - 32;
    assert_eq!(padded, text.len().next_multiple_of(16));
    let refused = link.inject(&datagram);
    let delivered = &link.b.delivered[before.0..];
    let counted = link.b.all_discards() - before.1;

    // Padding is of zeros.
    let text = [text, vec![0; 15]].concat();
    let text = &text[..padded];
    match expected(text, outer) {
        Ok(None) => assert_eq!((refused, counted, delivered.len()), (None, 0, 0)),
        Ok(Some(expected)) => {
            assert_eq!((refused, counted, delivered), (None, 0, &[expected.clone()][..]));
        }
        Err(reason) => assert_eq!((refused, counted, delivered.len()), (Some(reason), 1, 0)),
    }
}

/// What becomes of the content of transport data; `None` for a keepalive.
fn expected(text: &[u8], outer: Ecn) -> Result<Option<Vec<u8>>, Discard> {
    let Some(first) = text.first() else {
        return Ok(None);
    };
    let v4 = first >> 4 == 4;
    let header = if v4 { 20 } else { 40 };
    if !(v4 || first >> 4 == 6) || text.len() < header {
        return Err(Discard::NotIp);
    }
    let field = if v4 { 2 } else { 4 };
    let length = usize::from(u16::from_be_bytes([text[field], text[field + 1]]));
    let length = if v4 { length } else { length + 40 };
    if length < header || length > text.len() {
        return Err(Discard::InnerLength);
    }
    let allowed: &[u8] = match v4 {
        true => &[10, 0, 0, 1],
        false => &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    };
    if !text[if v4 { 12 } else { 8 }..].starts_with(allowed) {
        return Err(Discard::SourceNotAllowed);
    }
    let mut packet = text[..length].to_vec();
    ecn::hand_in(&mut packet, outer)?;
    Ok(Some(packet))
}
