//! Secrets in the memory of a daemon: those of its configuration are there while it runs, those of a handshake and of a session
//! no longer than these, and none once it has stopped. The test is the daemon's peer, so it knows them all.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tunneld::crypto::{PresharedKey, PrivateKey};

use super::config::{End, ends};
use super::lab::{HANDSHAKE, Host, Lab, PORT, STARTED, direct_v4, underlay};
use super::needs::needs;
use super::process::{BOUND, Process, now, wait_until};
use crate::memory::Memory;
use crate::peer::{Peer, Secret, Session};
use crate::reference::{hash, public_key};
use crate::shown::{must_not_be_shown, shows_a_secret};

/// How soon a secret must be gone that is of no use any more.
const SOON: Duration = Duration::from_secs(2);

/// How soon a call is answered, or never.
const ANSWER: Duration = Duration::from_millis(200);

/// A daemon on host a, and this test in the place of its peer, on host b.
struct Pair {
    _lab: Lab,
    daemon: Process,
    peer: Peer,
    socket: UdpSocket,
    /// Secrets of the configuration.
    lasting: Vec<Secret>,
    /// The same as the file has them: base64.
    texts: Vec<(String, String)>,
}

impl Pair {
    fn start() -> Self {
        let lab = Lab::direct();
        let bind = || UdpSocket::bind((underlay(Host::B)[0], PORT)).unwrap();
        let socket = lab.inside(Host::B, bind).join().unwrap();
        socket.connect((underlay(Host::A)[0], PORT)).unwrap();
        let [ours, theirs, preshared] = ["peer", "daemon", "preshared"].map(secret);
        let private = PrivateKey::clamped(theirs);
        let preshared_text = PresharedKey::from(preshared).to_base64();
        let peer = Peer::new(ours, public_key(&theirs), preshared);
        let lasting = vec![
            ("the static private key".to_owned(), clamped(theirs)),
            ("the preshared key".to_owned(), preshared),
            ("the product of the static keys".to_owned(), peer.static_static()),
        ];
        let texts = vec![
            ("the text of the private key".to_owned(), private.to_base64().to_string()),
            ("the text of the preshared key".to_owned(), preshared_text.to_string()),
        ];
        let [end, _] = ends(direct_v4);
        let end = End {
            private_key: theirs,
            public_key: PrivateKey::clamped(ours).public_key().to_string(),
            preshared_key: Some(preshared_text.to_string()),
            ..end
        };
        let mut command = lab.daemon_command(Host::A, &end);
        command.env("TUNNELD_LOG", "trace");
        let daemon = Process::start("daemon", command);
        daemon.wait_for(STARTED);
        Self { _lab: lab, daemon, peer, socket, lasting, texts }
    }

    /// The next datagram of the kind that comes within `bound`.
    fn receive(&self, bound: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut datagram = [0; 2048];
        let deadline = now() + bound;
        loop {
            let left = deadline.saturating_duration_since(now());
            self.socket.set_read_timeout(Some(left).filter(|left| !left.is_zero())).unwrap();
            let len = self.socket.recv(&mut datagram).ok().filter(|_| !left.is_zero())?;
            if wanted(&datagram[..len]) {
                return Some(datagram[..len].to_vec());
            }
        }
    }

    /// Answers the daemon's call.
    fn answers(&mut self) -> Session {
        let initiation = self.receive(BOUND, |datagram| datagram[0] == 1).expect("it calls");
        let (response, session) = self.peer.answer(&initiation);
        self.socket.send(&response).unwrap();
        // With a keepalive it confirms the session.
        self.receive(BOUND, |datagram| session.is_ours(datagram)).expect("it confirms");
        self.daemon.wait_for(HANDSHAKE);
        session
    }

    /// Calls the daemon.
    fn calls(&mut self) -> Session {
        let before = self.daemon.count(HANDSHAKE);
        let mut session = None;
        // It answers only so many calls in a second.
        let answered = wait_until(BOUND, || {
            let (initiation, initiated) = self.peer.initiate();
            self.socket.send(&initiation).unwrap();
            let response = self.receive(ANSWER, |datagram| datagram[0] == 2);
            session = response.map(|response| self.peer.complete(initiated, &response));
            session.is_some()
        });
        assert!(answered, "it answers");
        let mut session = session.unwrap();
        self.socket.send(&session.seal(&[])).unwrap();
        self.daemon.wait_for_nth(before + 1, HANDSHAKE);
        session
    }

    /// Has some packets go both ways with this session.
    fn uses(&self, session: &mut Session) {
        for _ in 0..20 {
            self.socket.send(&session.seal(&echo_request())).unwrap();
            let answer = |datagram: &[u8]| session.is_ours(datagram) && datagram.len() > 32;
            self.receive(BOUND, answer).expect("it answers");
        }
    }

    fn memory(&self) -> Memory {
        Memory::of(self.daemon.pid()).expect("root may read it")
    }

    /// The daemon's memory once all of these are gone, which must be soon.
    fn memory_without(&self, secrets: &[Secret]) -> Memory {
        let mut memory = self.memory();
        wait_until(SOON, || {
            memory = self.memory();
            memory.find(secrets).is_empty()
        });
        assert_eq!(memory.find(secrets), []);
        memory
    }

    /// Ends the daemon, and gives its memory as it was when all was done.
    fn stop(mut self) -> Memory {
        let pid = Pid::from_raw(self.daemon.pid().cast_signed());
        ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
        self.daemon.signal(Signal::SIGTERM);
        let memory = loop {
            match waitpid(pid, None).unwrap() {
                WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).unwrap(),
                WaitStatus::PtraceEvent(..) => break self.memory(),
                other => panic!("{other:?}: {}", self.daemon.said()),
            }
        };
        ptrace::detach(pid, None).unwrap();
        assert_eq!(self.daemon.end(BOUND).code(), Some(0));
        memory
    }
}

/// Bytes that are nowhere else.
fn secret(name: &str) -> [u8; 32] {
    hash(&[b"secret of ", name.as_bytes()])
}

fn clamped(mut key: [u8; 32]) -> [u8; 32] {
    key[0] &= 248;
    key[31] = key[31] & 127 | 64;
    key
}

/// A ping from the peer's inner address to the daemon's, padded.
fn echo_request() -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1, 8, 0, 0xf7, 0xff, 0,
        0, 0, 0,
    ];
    let sum: u32 =
        packet[..20].chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!folded as u16).to_be_bytes());
    packet.resize(32, 0);
    packet
}

#[test]
fn secrets_are_in_memory_where_they_must_and_only_as_long_as_they_are_of_use() {
    needs!();
    let mut pair = Pair::start();
    // The first begun by the daemon, the others by its peer, and all of them used.
    let mut sessions = vec![pair.answers()];
    pair.uses(&mut sessions[0]);
    for _ in 0..2 {
        let mut session = pair.calls();
        pair.uses(&mut session);
        sessions.push(session);
    }

    // The keys of a session are held by its ciphers, and once more for a handover; the preshared key by the tunnel, and once
    // more for a trial that is gone back from. These share the private key.
    let held = [pair.lasting.clone(), sessions[2].keys()].concat();
    let once = [pair.lasting[0].clone(), pair.lasting[2].clone()];
    let places = |secret: &Secret| if once.contains(secret) { 1 } else { 2 };
    let passing = |session: &Session| session.passing.clone();
    let gone = [sessions[0].keys(), sessions.iter().flat_map(passing).collect()].concat();
    let ephemerals: Vec<_> = sessions.iter().map(|session| session.ephemeral).collect();
    let memory = pair.memory_without(&gone);
    for secret in &held {
        let found = memory.find(std::slice::from_ref(secret));
        assert_eq!(found.len(), places(secret), "{} is in use: {found:#?}", secret.0);
    }
    assert_eq!(memory.find_private_keys(&ephemerals), []);
    assert_eq!(memory.find(&pair.texts), []);

    let texts = std::mem::take(&mut pair.texts);
    let all = [held, gone, sessions[1].keys()].concat();
    all.iter().for_each(|(_, secret)| must_not_be_shown(*secret));
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{file}", pair.daemon.pid())).unwrap();
        assert!(!shows_a_secret(&String::from_utf8_lossy(&text)), "{file}");
    }
    let memory = pair.stop();
    assert_eq!(memory.find(&all), []);
    assert_eq!(memory.find_private_keys(&ephemerals), []);
    assert_eq!(memory.find(&texts), []);
}
