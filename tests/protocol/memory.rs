//! What a host keeps in its memory as time goes by. It lives in a process of its own, which is this program once more, so that
//! nothing of what the test knows is in there; the test is its peer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tunneld::proto::Instant;

use crate::host::{A, B, Clock, Datagram, Host, parameters};
use crate::link::{packet, secs};
use crate::paper::{ERASE_AFTER, INITIATION};
use crate::peer::{Peer, Secret};
use crate::reference::public_key;
use crate::searched::Memory;
use crate::vectors::private_behind;

/// Set where this program is the host.
const VARIABLE: &str = "TUNNELD_TEST_IS_THE_HOST";

/// What all follows from that the host chooses.
const SEED: u8 = 7;

/// What a line of a datagram begins with; others are the test harness's.
const DATAGRAM: &str = "datagram ";
const DONE: &str = "done";

/// The process of the host.
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Process {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::the_host_in_a_process_of_its_own", "--nocapture"])
            .env(VARIABLE, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, to, from: BufReader::new(from) }
    }

    /// Has the host do something; what leaves it.
    fn ask(&mut self, order: &str) -> Vec<Vec<u8>> {
        writeln!(self.to, "{order}").unwrap();
        let mut leaving = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "the host is there");
            if let Some((_, hex)) = line.split_once(DATAGRAM) {
                leaving.push(bytes(hex.trim_end()));
            } else if line.trim_end().ends_with(DONE) {
                return leaving;
            }
        }
    }

    fn memory(&self) -> Memory {
        Memory::of(self.child.id()).expect("a parent may read it")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |two: &[u8]| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(digits).collect()
}

/// Lets time pass up to `end`; what leaves the host.
fn run(host: &mut Host, clock: &mut Clock, end: Instant) -> Vec<Datagram> {
    let mut leaving = Vec::new();
    while let Some((at, _)) = host.next_timeout().filter(|(at, _)| *at <= end) {
        clock.advance(at.since(clock.boot));
        leaving.extend(host.handle_timeout(clock));
    }
    clock.advance(end.since(clock.boot));
    leaving
}

#[test]
fn the_host_in_a_process_of_its_own() {
    if std::env::var_os(VARIABLE).is_none() {
        // It has its part in the other tests.
        return;
    }
    let mut clock = Clock::new();
    let mut host = Host::new(&parameters(1, 2, Some(B)), SEED, A);
    let [us, them] = [A, B].map(|address| address.parse().unwrap());
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let leaving = match order.split_once(' ').unwrap_or((&order, "")) {
            ("send", _) => host.send(&clock, &packet(1, 2, b"data")),
            ("receive", hex) => {
                let ecn = tunneld::wire::Ecn::NotEct;
                let datagram = Datagram { from: them, to: us, ecn, bytes: bytes(hex) };
                host.receive(&clock, &datagram).0
            }
            ("run", seconds) => {
                let end = clock.boot + secs(seconds.parse().unwrap());
                run(&mut host, &mut clock, end)
            }
            ("hand", _) => {
                let another = Host::new(&parameters(3, 4, None), SEED, A);
                let Host { mut tunnel, inbound, .. } = std::mem::replace(&mut host, another);
                drop(tunnel.hand_over(inbound));
                Vec::new()
            }
            _ => {
                host.tunnel.erase();
                host.settle(&clock)
            }
        };
        let mut out = std::io::stdout();
        for datagram in leaving {
            writeln!(out, "{DATAGRAM}{}", hex(&datagram.bytes)).unwrap();
        }
        writeln!(out, "{DONE}").unwrap();
    }
}

/// The ephemeral private keys behind the initiations among these.
fn ephemerals(datagrams: &[Vec<u8>]) -> Vec<Secret> {
    let initiations = datagrams.iter().filter(|datagram| datagram[0] == INITIATION);
    let private = |initiation: &Vec<u8>| {
        let mut private = private_behind(SEED, &initiation[8..40]);
        private[0] &= 248;
        private[31] = (private[31] & 127) | 64;
        ("an ephemeral private key".to_owned(), private)
    };
    initiations.map(private).collect()
}

#[test]
fn of_a_handshake_that_nobody_answers_nothing_is_left_when_it_is_given_up() {
    let mut host = Process::start();
    let mut sent = host.ask("send");
    sent.extend(host.ask("run 12"));
    let first = ephemerals(&sent);
    assert_eq!(first.len(), 3);
    let memory = host.memory();
    assert_eq!(memory.find(&first[..1]), [], "the first is superseded twice");
    for ephemeral in first[1..].chunks(1) {
        assert_eq!(memory.find(ephemeral).len(), 1, "it may be answered yet");
    }
    let later = ephemerals(&host.ask("run 100"));
    assert!(later.len() > 10);
    assert_eq!(host.memory().find(&[first, later].concat()), []);
}

#[test]
fn of_a_session_nothing_is_left_540_seconds_after_it_began_nor_after_an_order_to_erase() {
    for (wait, end) in [(ERASE_AFTER.as_secs() - 1, "run 2"), (20, "erase")] {
        let mut host = Process::start();
        let mut peer = Peer::new([2; 32], public_key(&[1; 32]), [0; 32]);
        let initiation = host.ask("send").remove(0);
        let (response, session) = peer.answer(&initiation);
        let confirmation = host.ask(&format!("receive {}", hex(&response)));
        assert!(session.is_ours(&confirmation[0]));
        let tries = ephemerals(&host.ask(&format!("run {wait}")));
        let memory = host.memory();
        for key in session.keys() {
            // The cipher's, and the one for a handover.
            assert_eq!(memory.find(std::slice::from_ref(&key)).len(), 2, "{}", key.0);
        }
        let of_session = [session.keys(), session.passing, ephemerals(&[initiation])].concat();
        let later = ephemerals(&host.ask(end));
        assert_eq!(host.memory().find(&[of_session, tries, later].concat()), []);
    }
}

#[test]
fn of_what_was_handed_over_nothing_is_left_when_it_is_dropped() {
    let mut host = Process::start();
    let mut peer = Peer::new([2; 32], public_key(&[1; 32]), [0; 32]);
    let initiation = host.ask("send").remove(0);
    let (response, session) = peer.answer(&initiation);
    assert!(session.is_ours(&host.ask(&format!("receive {}", hex(&response)))[0]));
    assert_ne!(host.memory().find(&session.keys()), []);
    host.ask("hand over");
    assert_eq!(host.memory().find(&session.keys()), []);
}
