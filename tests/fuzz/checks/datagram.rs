//! Datagrams of a stranger into a live tunnel, made up or forged from genuine ones: nothing is delivered, nothing
//! changes, almost nothing is answered, and the session lives.

use tunneld::proto::Discard;
use tunneld::wire::Ecn;

use super::input::Input;
use crate::link::{A, B, Datagram, Link, key, millis, moved, packet, secs};
use crate::paper::{COOKIE_REPLY, DATA, INITIATION, RESPONSE, sign};

const STRANGER: &str = "203.0.113.9:4500";
const MOST_STEPS: usize = 60;

/// The bytes are choices: each throws a datagram at a host, or lets time or load change.
pub fn check(data: &[u8]) {
    let input = &mut Input::new(data);
    let mut link = Link::established();
    link.run(secs(1));
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut link, input);
    }
    link.b.queued = 0;
    link.a.queued = 0;
    // The first may meet a session that ends while it is on its way.
    for number in [1, 2] {
        link.a_sends(&packet(1, 2, &[number]));
        link.b_sends(&packet(2, 1, &[number]));
        link.run(secs(12));
    }
    assert_eq!(link.b.delivered.last(), Some(&packet(1, 2, &[2])), "the tunnel lives");
    assert_eq!(link.a.delivered.last(), Some(&packet(2, 1, &[2])), "the tunnel lives");
}

fn step(link: &mut Link, input: &mut Input<'_>) {
    match input.below(8) {
        0 | 1 => {
            let datagram = made_up(input);
            refuse(link, &datagram);
        }
        2 | 3 => {
            let of = usize::from(input.word()) % link.seen.len();
            let datagram = link.seen[of].1.clone();
            let forged = forged(&datagram, input);
            refuse(link, &forged);
        }
        4 | 5 => fresh(link, input),
        6 => link.run(millis(u64::from(input.byte()) * 100)),
        _ => {
            let load = input.byte();
            link.a.queued = if load & 1 == 0 { 0 } else { 4096 };
            link.b.queued = if load & 2 == 0 { 0 } else { 4096 };
        }
    }
}

fn made_up(input: &mut Input<'_>) -> Datagram {
    let kind = input.below(6) as u8;
    let (from, to) = if input.byte() & 1 == 0 { (A, B) } else { (B, A) };
    let len = match kind {
        INITIATION => 148,
        RESPONSE => 92,
        COOKIE_REPLY => 64,
        _ => input.below(200),
    };
    let mut bytes = [input.take(len), &[0; 148]].concat();
    bytes.truncate(len);
    if let (Some(first), 1..) = (bytes.first_chunk_mut(), kind) {
        *first = [kind, 0, 0, 0];
    }
    let datagram = |bytes| Datagram {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        ecn: Ecn::default(),
        bytes,
    };
    forged(&datagram(bytes), input)
}

/// `datagram`, perhaps damaged, perhaps with the mac1 that everybody can make who knows the receiver, perhaps from
/// elsewhere.
fn forged(datagram: &Datagram, input: &mut Input<'_>) -> Datagram {
    let choice = input.byte();
    let mut forged = if choice & 1 == 0 { datagram.clone() } else { moved(datagram, STRANGER) };
    if choice & 2 == 0 {
        input.damage(&mut forged.bytes);
    }
    if choice & 4 == 0 && forged.bytes.len() >= 32 && forged.bytes[0] != DATA {
        let receiver = if forged.to == A.parse().unwrap() { 1 } else { 2 };
        sign(&mut forged.bytes, &key(receiver).public_key());
    }
    forged
}

/// Host a sends, the packet is forged on its way, then it arrives.
fn fresh(link: &mut Link, input: &mut Input<'_>) {
    let number = link.seen.len().to_be_bytes();
    for datagram in link.a.send(&link.clock, &packet(1, 2, &number)) {
        link.seen.push((link.clock.boot, datagram.clone()));
        let forged = forged(&datagram, input);
        if forged.bytes != datagram.bytes {
            refuse(link, &forged);
        }
        let refused = link.inject(&datagram);
        let taken = matches!(refused, None | Some(Discard::SessionEnded));
        assert!(taken || datagram.bytes[0] != DATA, "the genuine one is refused: {refused:?}");
    }
    link.run(secs(1));
}

/// What a stranger can see and change of a host.
fn state(link: &mut Link, at_a: bool) -> impl PartialEq + std::fmt::Debug + use<> {
    let host = if at_a { &mut link.a } else { &mut link.b };
    let traffic = (host.tunnel.stats().received(), host.delivered.len(), host.events.len());
    (host.tunnel.endpoint(), host.next_timeout(), traffic)
}

/// Throws `datagram` at its host. It is refused and counted, and answered by a cookie reply at most.
fn refuse(link: &mut Link, datagram: &Datagram) {
    let at_a = datagram.to == A.parse().unwrap();
    let counted = |link: &Link| (if at_a { &link.a } else { &link.b }).all_discards();
    let before = (state(link, at_a), counted(link), link.seen.len());
    let Some(reason) = link.inject(datagram) else {
        assert!(never_consumed(link, datagram), "accepted: {datagram:?}");
        return;
    };
    assert_eq!((state(link, at_a), counted(link)), (before.0, before.1 + 1), "{reason:?}");
    let answers = &link.seen[before.2..];
    let bytes: usize = answers.iter().map(|(_, answer)| answer.bytes.len()).sum();
    assert!(bytes * 10 <= datagram.bytes.len() * 7, "{bytes} bytes for {}", datagram.bytes.len());
    for (_, answer) in answers {
        assert_eq!((answer.bytes[0], reason), (COOKIE_REPLY, Discard::CookieRequired));
    }
}

/// Whether the host may accept `datagram` after all: what the other end meant for it and it never took, as it was
/// under load, or as it is overtaken by its copy. Index and MACs are not authentic to the handshake.
fn never_consumed(link: &Link, datagram: &Datagram) -> bool {
    let meant = |sent: &Datagram| {
        sent.to == datagram.to
            && match datagram.bytes[0] {
                INITIATION => sent.bytes.get(8..116) == datagram.bytes.get(8..116),
                RESPONSE => sent.bytes.get(8..60) == datagram.bytes.get(8..60),
                COOKIE_REPLY => sent.bytes == datagram.bytes,
                _ => sent.bytes == datagram.bytes && link.is_flying(sent),
            }
    };
    link.seen.iter().any(|(_, sent)| meant(sent))
}
