use super::*;
use crate::crypto::Cipher;
use crate::crypto::secret::Secret;
use crate::wire::Layer;

const BORN: Instant = Instant::from_nanos(1);

fn keys(local_index: u32) -> SessionKeys {
    let key = Secret::from([5; 32]);
    let profile = Profile::default();
    SessionKeys { profile, local_index, peer_index: 1, send: key.clone(), receive: key }
}

fn pair(role: Role) -> (SealingHalf, OpeningHalf) {
    halves(&keys(1), role, BORN)
}

fn session(local_index: u32, role: Role) -> Session {
    Session { keys: keys(local_index), role, sealing: Arc::new(pair(role).0) }
}

fn held(slots: &SessionSlots) -> [Option<u32>; 3] {
    [&slots.previous, &slots.current, &slots.next]
        .map(|slot| slot.as_ref().map(|session| session.keys.local_index))
}

#[test]
fn a_session_asks_for_the_next_after_two_to_the_sixty_messages() {
    let (sealing, _) = pair(Role::Responder);
    sealing.set_counter(1 << 60);
    assert!(!sealing.wants_rekey(BORN));
    sealing.take_counters(BORN, 1, 48).unwrap();
    assert!(sealing.wants_rekey(BORN));
}

#[test]
fn the_last_counter_is_used_and_none_after_it() {
    let last = u64::MAX - (1 << 13) - 1;
    let (sealing, mut opening) = pair(Role::Initiator);
    sealing.set_counter(last);
    assert_eq!(sealing.take_counters(BORN, 2, 48), None);
    assert_eq!(sealing.take_counters(BORN, 1, 48), Some(last));
    assert_eq!(sealing.take_counters(BORN, 1, 48), None);
    for (counter, accepted) in [(last, true), (last + 1, false), (last + 9, false)] {
        let mut datagram = [0; 48];
        sealing.seal_run(counter, &mut datagram, 48);
        let opened = opening.open(BORN, &mut datagram, &mut Arrivals::default());
        assert_eq!(opened.is_ok(), accepted, "counter {counter}");
    }
}

/// Both halves of a session of AES-256-GCM.
fn aes(role: Role) -> (SealingHalf, OpeningHalf) {
    let profile = Profile::Tunneld { cipher: Cipher::Aes256Gcm, layer: Layer::Ip };
    halves(&SessionKeys { profile, ..keys(1) }, role, BORN)
}

#[test]
fn aes_asks_for_the_next_session_after_two_to_the_thirty_five_blocks_sealed() {
    for (sealing, wants) in [(aes(Role::Responder).0, true), (pair(Role::Responder).0, false)] {
        sealing.set_blocks((1 << 35) - 3);
        sealing.take_counters(BORN, 1, 32 + 32).unwrap();
        assert!(!sealing.wants_rekey(BORN), "two blocks of text and one of the tag");
        sealing.take_counters(BORN, 1, 32).unwrap();
        assert_eq!(sealing.wants_rekey(BORN), wants);
    }
}

#[test]
fn aes_seals_no_block_beyond_two_to_the_thirty_six_and_wastes_no_counter_on_it() {
    let (sealing, _) = aes(Role::Initiator);
    sealing.set_blocks((1 << 36) - 1 - 10);
    assert_eq!(sealing.take_counters(BORN, 4, 32 + 32), None, "twelve blocks");
    assert_eq!(sealing.take_counters(BORN, 3, 32 + 32), Some(0));
    assert_eq!(sealing.take_counters(BORN, 1, 32 + 1), None);
    assert_eq!(sealing.take_counters(BORN, 1, 32), Some(3));
    assert_eq!(sealing.take_counters(BORN, 1, 32), None);
    assert_eq!(sealing.blocks(), (1 << 36) - 1);
}

#[test]
fn what_aes_opens_counts_authentic_or_not_asks_for_the_next_session_and_ends() {
    let (sealing, mut opening) = aes(Role::Responder);
    let sealed = |counter| {
        let mut datagram = [0; 48];
        sealing.seal_run(counter, &mut datagram, 48);
        datagram
    };
    let open = |opening: &mut OpeningHalf, mut datagram: [u8; 48]| {
        opening.open(BORN, &mut datagram, &mut Arrivals::default()).map(|_| ())
    };
    let mut forged = sealed(0);
    forged[40] ^= 1;
    opening.set_blocks((1 << 35) - 3);
    assert_eq!(open(&mut opening, sealed(0)), Ok(()));
    assert!(!opening.is_worn() && !sealing.wants_rekey(BORN));
    assert_eq!(open(&mut opening, forged), Err(Discard::DataNotAuthentic));
    assert!(opening.is_worn() && sealing.wants_rekey(BORN));

    opening.set_blocks((1 << 36) - 1 - 5);
    assert_eq!(open(&mut opening, forged), Err(Discard::DataNotAuthentic));
    assert_eq!(open(&mut opening, sealed(1)), Ok(()));
    assert_eq!(open(&mut opening, sealed(2)), Err(Discard::SessionEnded));
    assert_eq!(opening.blocks(), (1 << 36) - 2);
}

#[test]
fn one_we_began_sends_and_pushes_out_what_waited() {
    let mut slots = SessionSlots::default();
    slots.add(session(1, Role::Initiator));
    assert_eq!(held(&slots), [None, Some(1), None]);
    slots.add(session(2, Role::Initiator));
    assert_eq!(held(&slots), [Some(1), Some(2), None]);
    slots.add(session(3, Role::Responder));
    assert_eq!(held(&slots), [None, Some(2), Some(3)]);
    slots.add(session(4, Role::Initiator));
    assert_eq!(held(&slots), [Some(3), Some(4), None]);
}

#[test]
fn one_we_answered_sends_only_once_confirmed() {
    let mut slots = SessionSlots::default();
    slots.add(session(1, Role::Initiator));
    slots.add(session(2, Role::Responder));
    assert!(!slots.confirm(1) && !slots.confirm(7));
    assert_eq!(held(&slots), [None, Some(1), Some(2)]);
    assert!(slots.confirm(2) && !slots.confirm(2));
    assert_eq!(held(&slots), [Some(1), Some(2), None]);
}
