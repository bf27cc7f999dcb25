//! Each handshake against snow, another Noise implementation: snow makes and reads the Noise part of each message, the
//! test adds WireGuard's framing and MACs.

use std::time::Duration;

use ::snow::{Builder, HandshakeState, StatelessTransportState};
use tunneld::proto::{Event, Role};

use crate::link::{A, B, Clock, Datagram, Host, WALL_START, packet, parameters};
use crate::reference::{self, CONSTRUCTION, IDENTIFIER, Key};

const TRANSCRIPTS: u32 = 50;
/// snow's index for its session.
const INDEX: u32 = 0x8000_0001;

/// The static keys of one transcript, random but the same in each run.
struct Keys {
    ours: Key,
    theirs: Key,
    preshared: Key,
}

impl Keys {
    fn new(number: u32) -> Self {
        let key = |name: &[u8]| reference::hash(&[name, &number.to_le_bytes()]);
        // Every other transcript has no preshared key.
        let preshared = if number.is_multiple_of(2) { [0; 32] } else { key(b"preshared") };
        Self { ours: key(b"ours"), theirs: key(b"theirs"), preshared }
    }

    fn host(&self, number: u32) -> Host {
        let mut parameters = parameters(1, 2, Some(B));
        parameters.private_key = self.ours.into();
        parameters.public_key = reference::public_key(&self.theirs).into();
        parameters.preshared_key = self.preshared.into();
        Host::new(&parameters, number as u8, A)
    }

    /// snow at the other end.
    fn snow(&self, role: Role) -> HandshakeState {
        let params = std::str::from_utf8(CONSTRUCTION).unwrap().parse().unwrap();
        let our_public = reference::public_key(&self.ours);
        let builder = Builder::new(params)
            .local_private_key(&self.theirs)
            .unwrap()
            .prologue(IDENTIFIER)
            .unwrap()
            .psk(2, &self.preshared)
            .unwrap();
        match role {
            Role::Initiator => {
                builder.remote_public_key(&our_public).unwrap().build_initiator().unwrap()
            }
            Role::Responder => builder.build_responder().unwrap(),
        }
    }
}

fn from_snow(bytes: Vec<u8>) -> Datagram {
    Datagram { from: B.parse().unwrap(), to: A.parse().unwrap(), ecn: Default::default(), bytes }
}

fn only(datagrams: Vec<Datagram>) -> Vec<u8> {
    assert_eq!(datagrams.len(), 1, "{datagrams:?}");
    datagrams.into_iter().next().unwrap().bytes
}

fn index(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap())
}

/// What snow makes of our transport data.
fn open(snow: &StatelessTransportState, message: &[u8]) -> Vec<u8> {
    assert_eq!(message[..4], [4, 0, 0, 0]);
    assert_eq!(index(&message[4..8]), INDEX);
    let counter = u64::from_le_bytes(message[8..16].try_into().unwrap());
    let mut text = vec![0; message.len() - 16];
    let len = snow.read_message(counter, &message[16..], &mut text).expect("the keys agree");
    text.truncate(len);
    text
}

/// Transport data as snow seals it.
fn sealed(snow: &StatelessTransportState, receiver: u32, counter: u64, text: &[u8]) -> Vec<u8> {
    let mut message = vec![4, 0, 0, 0];
    message.extend(receiver.to_le_bytes());
    message.extend(counter.to_le_bytes());
    message.resize(16 + text.len() + 16, 0);
    snow.write_message(counter, text, &mut message[16..]).unwrap();
    message
}

fn assert_data_flows(
    clock: &Clock,
    ours: &mut Host,
    snow: &StatelessTransportState,
    our_index: u32,
) {
    for counter in 1..4 {
        let inward = packet(2, 1, &[counter as u8; 40]);
        let message = sealed(snow, our_index, counter, &inward);
        let (leaving, discard) = ours.receive(clock, &from_snow(message));
        assert!(leaving.is_empty() && discard.is_none());
        assert_eq!(ours.delivered.pop(), Some(inward));

        let outward = packet(1, 2, &[counter as u8; 33]);
        let text = open(snow, &only(ours.send(clock, &outward)));
        assert_eq!(text.len(), 64, "padded to a multiple of sixteen");
        assert_eq!(text[..outward.len()], outward);
        assert!(text[outward.len()..].iter().all(|byte| *byte == 0));
    }
}

fn completed(host: &Host, wanted: Role) -> bool {
    let matches =
        |event: &Event| matches!(event, Event::HandshakeCompleted { role, .. } if *role == wanted);
    host.events.iter().any(matches)
}

#[test]
fn snow_answers_each_of_our_initiations() {
    let clock = Clock::new();
    for number in 0..TRANSCRIPTS {
        let keys = Keys::new(number);
        let mut ours = keys.host(number);
        let mut snow = keys.snow(Role::Responder);
        let staged = packet(1, 2, b"staged");

        let initiation = only(ours.send(&clock, &staged));
        assert_eq!(initiation.len(), 148);
        let our_index = index(&initiation[4..8]);
        let mut timestamp = [0; 64];
        let len = snow.read_message(&initiation[8..116], &mut timestamp).expect("Noise agrees");
        assert_eq!(timestamp[..len], reference::tai64n(WALL_START));
        assert_eq!(snow.get_remote_static(), Some(&reference::public_key(&keys.ours)[..]));
        let theirs = reference::public_key(&keys.theirs);
        assert_eq!(initiation[116..132], reference::mac1(&theirs, &initiation[..116]));

        let mut noise = [0; 48];
        assert_eq!(snow.write_message(&[], &mut noise).unwrap(), noise.len());
        let mut response = vec![2, 0, 0, 0];
        response.extend(INDEX.to_le_bytes());
        response.extend(our_index.to_le_bytes());
        response.extend(noise);
        let response = reference::signed(response, &reference::public_key(&keys.ours), None);
        let (leaving, discard) = ours.receive(&clock, &from_snow(response));
        assert_eq!(discard, None, "transcript {number}");
        assert!(completed(&ours, Role::Initiator));

        let snow = snow.into_stateless_transport_mode().unwrap();
        assert_eq!(open(&snow, &only(leaving))[..staged.len()], staged);
        assert_data_flows(&clock, &mut ours, &snow, our_index);
    }
}

#[test]
fn we_answer_each_of_snows_initiations() {
    let mut clock = Clock::new();
    clock.advance(Duration::from_secs(3));
    for number in 0..TRANSCRIPTS {
        let keys = Keys::new(number);
        let mut ours = keys.host(number);
        let mut snow = keys.snow(Role::Initiator);

        let mut noise = [0; 108];
        let len = snow.write_message(&reference::tai64n(WALL_START), &mut noise).unwrap();
        assert_eq!(len, noise.len());
        let mut initiation = vec![1, 0, 0, 0];
        initiation.extend(INDEX.to_le_bytes());
        initiation.extend(noise);
        let initiation = reference::signed(initiation, &reference::public_key(&keys.ours), None);
        let (leaving, discard) = ours.receive(&clock, &from_snow(initiation));
        assert_eq!(discard, None, "transcript {number}");

        let response = only(leaving);
        assert_eq!(response.len(), 92);
        assert_eq!(response[..4], [2, 0, 0, 0]);
        let our_index = index(&response[4..8]);
        assert_eq!(index(&response[8..12]), INDEX);
        assert_eq!(snow.read_message(&response[12..60], &mut []), Ok(0), "Noise agrees");
        let theirs = reference::public_key(&keys.theirs);
        assert_eq!(response[60..76], reference::mac1(&theirs, &response[..60]));
        assert_eq!(response[76..], [0; 16]);

        let snow = snow.into_stateless_transport_mode().unwrap();
        let (leaving, discard) = ours.receive(&clock, &from_snow(sealed(&snow, our_index, 0, &[])));
        assert!(leaving.is_empty() && discard.is_none(), "a keepalive confirms");
        assert!(completed(&ours, Role::Responder));
        assert_data_flows(&clock, &mut ours, &snow, our_index);
    }
}
