//! Profiles: both ends must have chosen alike, in everything; where they differ, nothing passes.

use tunneld::crypto::Cipher;
use tunneld::proto::Discard;
use tunneld::wire::{Layer, Profile};

use crate::link::{Link, is_data, packet, secs};
use crate::paper::{DATA, INITIATION, REJECT_AFTER_TIME, RESPONSE, counter};

/// Every profile there is.
fn profiles() -> Vec<Profile> {
    let layers = [Layer::Ip, Layer::Ethernet].into_iter();
    let tunneld = layers
        .flat_map(|layer| Cipher::ALL.map(|cipher| Profile::Tunneld { cipher, layer }))
        .collect::<Vec<_>>();
    [vec![Profile::WireGuard], tunneld].concat()
}

const AES: Profile = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ip };

#[test]
fn each_profile_has_the_identifier_that_the_documentation_gives_it() {
    let page = include_str!("../../docs/protocol.md");
    let identifiers: Vec<_> = profiles().into_iter().map(Profile::identifier).collect();
    for (number, identifier) in identifiers.iter().enumerate() {
        assert!(page.contains(&format!("`{identifier}`")), "{identifier}");
        assert!(!identifiers[..number].contains(identifier), "{identifier} is another's");
    }
}

#[test]
fn ends_that_chose_alike_link_over_rekeys() {
    for profile in profiles() {
        let mut link = Link::established_with(profile);
        for round in 0..3 {
            link.a.delivered.clear();
            link.b.delivered.clear();
            link.a_sends(&packet(1, 2, b"there"));
            link.b_sends(&packet(2, 1, b"and back"));
            link.run(secs(1));
            assert_eq!(link.b.delivered, [packet(1, 2, b"there")], "{profile}, round {round}");
            assert_eq!(link.a.delivered, [packet(2, 1, b"and back")], "{profile}, round {round}");
            link.run(REJECT_AFTER_TIME);
        }
    }
}

#[test]
fn ends_that_differ_in_anything_exchange_nothing_and_either_can_tell() {
    for a in profiles() {
        for b in profiles().into_iter().filter(|b| *b != a) {
            let mut link = Link::speaking([a, b]);
            link.a_sends(&packet(1, 2, b"never read"));
            link.run(secs(30));
            link.b_sends(&packet(2, 1, b"never read"));
            link.run(secs(30));
            assert!(link.a.delivered.is_empty() && link.b.delivered.is_empty(), "{a}, {b}");
            assert_eq!((link.a.completed(), link.b.completed()), (0, 0), "{a}, {b}");
            for host in [&link.a, &link.b] {
                let refused = host.discards(Discard::InitiationNotAuthentic);
                assert_eq!(refused, host.all_discards(), "{a}, {b}");
                assert!(refused > 0, "{a}, {b}");
                assert!(link.sent(host.address, INITIATION) > 0, "{a}, {b}");
                for answer in [RESPONSE, DATA] {
                    assert_eq!(link.sent(host.address, answer), 0, "{a}, {b}");
                }
            }
        }
    }
}

#[test]
fn aes_takes_the_counter_as_nonce_and_refuses_what_was_touched() {
    let mut link = Link::established_with(AES);
    link.a_sends(&packet(1, 2, b"data"));
    let datagram = link.hold().pop().unwrap();
    assert!(is_data(&datagram) && counter(&datagram.bytes) == 1);
    for at in 8..datagram.bytes.len() {
        let mut touched = datagram.clone();
        touched.bytes[at] ^= 1;
        assert_eq!(link.inject(&touched), Some(Discard::DataNotAuthentic), "byte {at}");
    }
    assert_eq!(link.inject(&datagram), None);
    assert_eq!(link.inject(&datagram), Some(Discard::Replayed));
    assert_eq!(link.b.delivered, [packet(1, 2, b"data")]);
}
