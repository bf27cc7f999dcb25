//! Fixed seeds and clocks give the bytes in `tests/vectors`, and those bytes are what the paper's formulas give,
//! and for the profile `tunneld` those of docs/protocol.md, worked out apart from the core. See `tests/vectors/README.md`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tunneld::crypto::Cipher;
use tunneld::proto::Discard;
use tunneld::wire::{Layer, Profile};

use crate::link::{A, B, Clock, Datagram, Host, packet, parameters};
use crate::reference::{self, Key, Transcript};

const A_SEED: u8 = 1;
const B_SEED: u8 = 2;
const A_PRIVATE: Key = [1; 32];
const B_PRIVATE: Key = [2; 32];
const MTU: usize = 100;
const UNDER_LOAD: usize = 512;
/// More numbers than one host draws in any test that asks for them.
const DRAWS: usize = 300;

/// Named bytes in order, as in one file.
#[derive(Default)]
struct Vectors(Vec<(String, Vec<u8>)>);

impl Vectors {
    fn add(&mut self, name: impl Into<String>, bytes: impl AsRef<[u8]>) {
        self.0.push((name.into(), bytes.as_ref().to_vec()));
    }

    fn get(&self, name: &str) -> &[u8] {
        let found = self.0.iter().find(|(other, _)| other == name);
        &found.unwrap_or_else(|| panic!("no {name} in the file")).1
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.get(name).try_into().unwrap()
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, bytes) in &self.0 {
            writeln!(text, "{name}").unwrap();
            for line in bytes.chunks(32) {
                let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "    {hex}").unwrap();
            }
        }
        text
    }

    fn parse(text: &str) -> Self {
        let mut vectors = Self::default();
        for line in text.lines() {
            if let Some(hex) = line.strip_prefix("    ") {
                let bytes = hex.as_bytes().chunks(2).map(|digits| {
                    u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
                });
                vectors.0.last_mut().unwrap().1.extend(bytes);
            } else {
                vectors.add(line, []);
            }
        }
        vectors
    }

    /// Holds these bytes against the file, which is written anew if that is asked for; what the file says.
    fn matched(&self, file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
        if std::env::var_os("TUNNELD_WRITE_VECTORS").is_some() {
            std::fs::write(&path, self.to_text()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = Self::parse(&text);
        for ((name, bytes), (expected_name, expected)) in self.0.iter().zip(&expected.0) {
            assert_eq!(name, expected_name, "{file}");
            assert_eq!(bytes, expected, "{name} in {file}");
        }
        assert_eq!(self.to_text(), text, "{file}");
        expected
    }
}

/// The two hosts of a transcript, and what is written down of it.
struct Run {
    clock: Clock,
    a: Host,
    b: Host,
    vectors: Vectors,
}

impl Run {
    fn new(profile: Profile, preshared: Key) -> Self {
        let mut clock = Clock::new();
        clock.unix += Duration::from_nanos(123_456_789);
        let host = |ours, theirs, endpoint, seed, address| {
            let mut parameters = parameters(ours, theirs, endpoint);
            parameters.profile = profile;
            parameters.preshared_key = preshared.into();
            parameters.mtu = MTU;
            Host::new(&parameters, seed, address)
        };
        let mut vectors = Vectors::default();
        if profile != Profile::WireGuard {
            vectors.add("identifier", identifier(profile));
        }
        vectors.add("initiator.private_key", A_PRIVATE);
        vectors.add("responder.private_key", B_PRIVATE);
        vectors.add("preshared_key", preshared);
        let a = host(1, 2, Some(B), A_SEED, A);
        Self { clock, a, b: host(2, 1, None, B_SEED, B), vectors }
    }

    /// Writes down the one message that left, with what its sender chose for it.
    fn note(&mut self, name: &str, leaving: Vec<Datagram>) -> Datagram {
        assert_eq!(leaving.len(), 1, "{name}: {leaving:?}");
        let datagram = leaving.into_iter().next().unwrap();
        let bytes = &datagram.bytes;
        match bytes[0] {
            1 => {
                let ephemeral = private_behind(A_SEED, &bytes[8..40]);
                self.vectors.add(format!("{name}.ephemeral"), ephemeral);
                let timestamp = reference::tai64n(self.clock.unix);
                self.vectors.add(format!("{name}.timestamp"), timestamp);
            }
            2 => {
                let ephemeral = private_behind(B_SEED, &bytes[12..44]);
                self.vectors.add(format!("{name}.ephemeral"), ephemeral);
            }
            _ => {}
        }
        self.vectors.add(name, bytes);
        datagram
    }

    fn a_receives(&mut self, datagram: &Datagram, expected: Option<Discard>) -> Vec<Datagram> {
        let (leaving, discard) = self.a.receive(&self.clock, datagram);
        assert_eq!(discard, expected);
        leaving
    }

    fn b_receives(&mut self, datagram: &Datagram, expected: Option<Discard>) -> Vec<Datagram> {
        let (leaving, discard) = self.b.receive(&self.clock, datagram);
        assert_eq!(discard, expected);
        leaving
    }
}

/// What a host with `seed` draws, one after the other.
fn draws(seed: u8) -> impl Iterator<Item = Key> {
    let mut state = [seed; 32];
    std::iter::repeat_with(move || {
        let [next, output, _] = reference::kdf(&state, b"tunneld random");
        state = next;
        output
    })
    .take(DRAWS)
}

/// The private key that a host with `seed` drew and that has this public key.
pub fn private_behind(seed: u8, public: &[u8]) -> Key {
    let found = draws(seed).find(|private| reference::public_key(private) == public);
    found.expect("ephemerals come from the seed")
}

/// The cookie that a host with `seed` gives the host at `source`, and the secret behind it, if it is `cookie`.
fn secret_behind(seed: u8, source: &str, cookie: &[u8]) -> Key {
    let SocketAddr::V4(source) = source.parse().unwrap() else { panic!("an IPv4 address") };
    let input = [&source.ip().octets()[..], &source.port().to_be_bytes()].concat();
    let found = draws(seed).find(|secret| reference::mac(secret, &input) == cookie);
    found.expect("cookie secrets come from the seed")
}

/// As docs/protocol.md writes it.
fn identifier(profile: Profile) -> &'static [u8] {
    match profile.cipher() {
        _ if profile == Profile::WireGuard => reference::IDENTIFIER,
        Cipher::ChaCha20Poly1305 => b"tunneld v1 chacha20-poly1305 ip control",
        Cipher::Aes256Gcm => b"tunneld v1 aes-256-gcm ip control",
    }
}

/// What the paper makes of what both ends chose for these two messages.
fn outcome(
    profile: Profile,
    vectors: &Vectors,
    initiation: &str,
    response: Option<&str>,
) -> reference::Outcome {
    let index = |name| u32::from_le_bytes(vectors.get(name)[4..8].try_into().unwrap());
    Transcript {
        identifier: identifier(profile),
        initiator: vectors.array("initiator.private_key"),
        responder: vectors.array("responder.private_key"),
        preshared: vectors.array("preshared_key"),
        initiator_ephemeral: vectors.array(&format!("{initiation}.ephemeral")),
        responder_ephemeral: response
            .map_or([3; 32], |name| vectors.array(&format!("{name}.ephemeral"))),
        initiator_index: index(initiation),
        responder_index: response.map_or(0, index),
        timestamp: vectors.array(&format!("{initiation}.timestamp")),
    }
    .outcome()
}

fn padded(packet: &[u8], len: usize) -> Vec<u8> {
    let mut padded = packet.to_vec();
    padded.resize(len, 0);
    padded
}

fn session(file: &str, profile: Profile, preshared: Key) {
    // 31, 32 and 99 bytes: padded to the next sixteen, not at all, and to the MTU only.
    let short = packet(1, 2, b"WireGuard's");
    let even = packet(2, 1, b"sixteen's 2x");
    let long = packet(1, 2, &[0x5a; MTU - 21]);
    let mut run = Run::new(profile, preshared);
    let leaving = run.a.send(&run.clock, &short);
    let initiation = run.note("initiation", leaving);
    let leaving = run.b_receives(&initiation, None);
    let response = run.note("response", leaving);
    let leaving = run.a_receives(&response, None);
    let datagram = run.note("data.padded_to_sixteen", leaving);
    assert!(run.b_receives(&datagram, None).is_empty());
    let leaving = run.b.send(&run.clock, &even);
    let datagram = run.note("data.not_padded", leaving);
    assert!(run.a_receives(&datagram, None).is_empty());
    let leaving = run.a.send(&run.clock, &long);
    let datagram = run.note("data.padded_to_the_mtu", leaving);
    assert!(run.b_receives(&datagram, None).is_empty());
    run.clock.advance(Duration::from_secs(10));
    let leaving = run.b.handle_timeout(&run.clock);
    let keepalive = run.note("keepalive", leaving);
    assert!(run.a_receives(&keepalive, None).is_empty());
    assert_eq!(run.b.delivered, [short.clone(), long.clone()]);
    assert_eq!(run.a.delivered, std::slice::from_ref(&even));

    let vectors = run.vectors.matched(file);
    let paper = outcome(profile, &vectors, "initiation", Some("response"));
    let initiator = reference::public_key(&vectors.array("initiator.private_key"));
    let responder = reference::public_key(&vectors.array("responder.private_key"));
    let [there, back] = paper.transport;
    let index = |name| u32::from_le_bytes(vectors.get(name)[4..8].try_into().unwrap());
    let (ours, theirs) = (index("initiation"), index("response"));
    let data = |key, receiver, counter, text: &[u8]| match profile.cipher() {
        Cipher::ChaCha20Poly1305 => reference::transport_data(key, receiver, counter, text),
        Cipher::Aes256Gcm => {
            let sealed = reference::seal_aes(key, counter, text);
            reference::transport_message(receiver, counter, sealed)
        }
    };
    for (name, expected) in [
        ("initiation", reference::signed(paper.initiation, &responder, None)),
        ("response", reference::signed(paper.response, &initiator, None)),
        ("data.padded_to_sixteen", data(&there, theirs, 0, &padded(&short, 32))),
        ("data.not_padded", data(&back, ours, 0, &even)),
        ("data.padded_to_the_mtu", data(&there, theirs, 1, &padded(&long, MTU))),
        ("keepalive", data(&back, ours, 1, &[])),
    ] {
        assert_eq!(vectors.get(name), expected, "{name} by the paper");
    }
}

#[test]
fn a_session_is_byte_for_byte_as_written_down() {
    session("session.txt", Profile::WireGuard, [0; 32]);
}

#[test]
fn a_session_with_a_preshared_key_is_byte_for_byte_as_written_down() {
    session("session-preshared.txt", Profile::WireGuard, [0x77; 32]);
}

#[test]
fn a_session_of_the_profile_tunneld_is_byte_for_byte_as_written_down_with_either_cipher() {
    for cipher in Cipher::ALL {
        let profile = Profile::Tunneld { cipher, layer: Layer::Ip };
        session(&format!("session-tunneld-{}.txt", cipher.name()), profile, [0x77; 32]);
    }
}

/// Opens a cookie reply; its sealing again must give the same bytes.
fn cookie_in(reply: &[u8], index: &[u8], sealer: &Key, mac1: &[u8]) -> [u8; 16] {
    assert_eq!(reply.len(), 64);
    assert_eq!((&reply[..4], &reply[4..8]), (&[3, 0, 0, 0][..], index));
    let nonce = reply[8..32].try_into().unwrap();
    // Sealing is its own inverse but for the tag.
    let opened = reference::seal_cookie(sealer, nonce, &reply[32..48].try_into().unwrap(), mac1);
    let cookie = opened[..16].try_into().unwrap();
    assert_eq!(reference::seal_cookie(sealer, nonce, &cookie, mac1), reply[32..], "its tag");
    cookie
}

#[test]
fn cookies_are_byte_for_byte_as_written_down() {
    let mut run = Run::new(Profile::WireGuard, [0x77; 32]);
    run.b.queued = UNDER_LOAD;
    let leaving = run.a.send(&run.clock, &packet(1, 2, b"WireGuard's"));
    let initiation = run.note("initiation.1", leaving);
    let leaving = run.b_receives(&initiation, Some(Discard::CookieRequired));
    let reply = run.note("cookie_reply.to_initiator", leaving);
    assert!(run.a_receives(&reply, None).is_empty());
    run.clock.advance(Duration::from_secs(6));
    let leaving = run.a.handle_timeout(&run.clock);
    let initiation = run.note("initiation.2", leaving);
    let leaving = run.b_receives(&initiation, None);
    let response = run.note("response.2", leaving);
    run.a.queued = UNDER_LOAD;
    let leaving = run.a_receives(&response, Some(Discard::CookieRequired));
    let reply = run.note("cookie_reply.to_responder", leaving);
    assert!(run.b_receives(&reply, None).is_empty());
    run.clock.advance(Duration::from_secs(6));
    let leaving = run.a.handle_timeout(&run.clock);
    let initiation = run.note("initiation.3", leaving);
    let leaving = run.b_receives(&initiation, None);
    let response = run.note("response.3", leaving);
    let leaving = run.a_receives(&response, None);
    assert!(run.b_receives(&leaving[0], None).is_empty());
    assert_eq!(run.b.delivered, [packet(1, 2, b"WireGuard's")]);

    let vectors = run.vectors.matched("cookies.txt");
    let initiator = reference::public_key(&vectors.array("initiator.private_key"));
    let responder = reference::public_key(&vectors.array("responder.private_key"));
    let [first, second, third] = [
        ("initiation.1", None),
        ("initiation.2", Some("response.2")),
        ("initiation.3", Some("response.3")),
    ]
    .map(|(initiation, response)| outcome(Profile::WireGuard, &vectors, initiation, response));
    let provoking = reference::signed(first.initiation, &responder, None);
    let reply = vectors.get("cookie_reply.to_initiator");
    let cookie = cookie_in(reply, &provoking[4..8], &responder, &provoking[116..132]);
    secret_behind(B_SEED, A, &cookie);
    let refused = reference::signed(second.response, &initiator, None);
    let reply = vectors.get("cookie_reply.to_responder");
    let cookie_back = cookie_in(reply, &refused[4..8], &initiator, &refused[60..76]);
    secret_behind(A_SEED, B, &cookie_back);
    for (name, expected) in [
        ("initiation.1", provoking),
        ("initiation.2", reference::signed(second.initiation, &responder, Some(cookie))),
        ("response.2", refused),
        ("initiation.3", reference::signed(third.initiation, &responder, Some(cookie))),
        ("response.3", reference::signed(third.response, &initiator, Some(cookie_back))),
    ] {
        assert_eq!(vectors.get(name), expected, "{name} by the paper");
    }
}
