//! The control socket among those who mean no good: it keeps its bounds, and the link notices nothing.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::config::ends;
use super::lab::{HANDSHAKE, Host, INNER_B, Lab, direct_v4, expect_success};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::transfer::Transfer;
use super::vitals::{Peak, Vitals};

/// Where the control socket of host a's daemon is.
pub(super) fn socket(lab: &Lab) -> PathBuf {
    lab.directory_of(Host::A).join("tun0.sock")
}

/// A connection to it, on which nothing takes for ever.
pub(super) fn connect(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    BufReader::new(stream)
}

/// Sends a line; the answer, which is empty if the connection was closed.
pub(super) fn ask(stream: &mut BufReader<UnixStream>, request: &str) -> String {
    let mut answer = String::new();
    // Whoever is closed may notice it while writing.
    if writeln!(stream.get_ref(), "{request}").is_ok() {
        let _ = stream.read_line(&mut answer);
    }
    answer
}

const STATUS: &str = r#"{"command":"status"}"#;

fn is_answered(path: &Path) -> bool {
    ask(&mut connect(path), STATUS).contains("\"link\"")
}

/// A linked pair in a lab; the vitals of a's daemon before anybody asked it anything.
fn linked() -> (Lab, [Process; 2], Vitals) {
    let lab = Lab::direct();
    let daemons = lab.link(&ends(direct_v4));
    assert!(is_answered(&socket(&lab)));
    let vitals = Vitals::of(&daemons[0]);
    (lab, daemons, vitals)
}

fn link_is_fine(lab: &Lab) {
    expect_success(&lab.ping(Host::A, &format!("-c 20 -i 0.01 -W 5 {}", INNER_B[0])));
}

#[test]
fn a_line_of_a_megabyte_is_refused_and_nothing_is_kept_of_it() {
    needs!("ping");
    let (lab, [a, _b], vitals) = linked();
    for _ in 0..20 {
        let mut stream = connect(&socket(&lab));
        let line = "x".repeat(1_000_000);
        let _ = stream.get_ref().write_all(line.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.contains("at most 4096 bytes"), "{answer}");
    }
    assert!(is_answered(&socket(&lab)));
    link_is_fine(&lab);
    vitals.are_back(&lab, &a);
}

#[test]
fn what_is_no_request_is_answered_by_an_error_and_the_next_one_is_served() {
    needs!("ping");
    let (lab, _daemons, _) = linked();
    let mut stream = connect(&socket(&lab));
    for junk in ["", "junk", "{}", r#"{"command":"fly"}"#, r#"{"command":7}"#, "[[[[[[[["] {
        let answer = ask(&mut stream, junk);
        assert!(answer.starts_with("{\"error\":"), "{junk}: {answer}");
    }
    assert!(ask(&mut stream, STATUS).contains("\"link\""));
}

#[test]
fn a_thousand_half_open_connections_cost_others_no_more_than_seconds() {
    needs!("ping");
    let (lab, [a, _b], vitals) = linked();
    let path = socket(&lab);
    // Half of a request each; most are closed as they come.
    let half = |_| {
        let stream = UnixStream::connect(&path).ok()?;
        let _ = (&stream).write_all(b"{\"comm");
        Some(stream)
    };
    let held: Vec<_> = (0..1000).filter_map(half).collect();
    assert!(held.len() > 900, "{}", held.len());
    let few_more =
        wait_until(BOUND, || fs::read_dir(format!("/proc/{}/fd", a.pid())).unwrap().count() < 60);
    assert!(few_more, "the daemon holds a bounded number of them");
    link_is_fine(&lab);
    // Those that are held are given up, while they are still open on this side.
    assert!(wait_until(BOUND, || is_answered(&path)));
    drop(held);
    vitals.are_back(&lab, &a);
}

#[test]
fn a_reader_that_is_slow_holds_nobody_up() {
    needs!("ping");
    let (lab, [a, _b], vitals) = linked();
    let path = socket(&lab);
    let slow = connect(&path);
    slow.get_ref().set_nonblocking(true).unwrap();
    // Until neither end takes any more: its answers wait for it.
    let request = format!("{STATUS}\n");
    let mut refused = || (0..1000).any(|_| slow.get_ref().write_all(request.as_bytes()).is_err());
    let full = wait_until(BOUND, &mut refused);
    assert!(full);
    let listener = connect(&path);
    writeln!(listener.get_ref(), r#"{{"command":"events"}}"#).unwrap();
    assert!(is_answered(&path));
    link_is_fine(&lab);
    // It is given up though it never went away.
    let closed = wait_until(BOUND, || {
        slow.get_ref().write(b"\n").is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
    });
    assert!(closed);
    drop((slow, listener));
    vitals.are_back(&lab, &a);
}

#[test]
fn requests_as_fast_as_they_come_leave_the_link_alone() {
    needs!("ping");
    let (lab, [a, _b], vitals) = linked();
    let path = socket(&lab);
    let end = Arc::<AtomicBool>::default();
    let spammers = [(); 2].map(|()| {
        let (path, end) = (path.clone(), Arc::clone(&end));
        thread::spawn(move || {
            let mut served = 0;
            while !end.load(Ordering::Relaxed) {
                let mut stream = connect(&path);
                served += (0..100).filter(|_| !ask(&mut stream, STATUS).is_empty()).count();
            }
            served
        })
    });
    let pinged = lab.ping(Host::A, &format!("-c 100 -i 0.01 -W 5 {}", INNER_B[0]));
    end.store(true, Ordering::Relaxed);
    let served: usize = spammers.map(|spammer| spammer.join().unwrap()).iter().sum();
    expect_success(&pinged);
    assert!(String::from_utf8_lossy(&pinged.stdout).contains(" 0% packet loss"));
    assert!(served > 100, "{served}");
    vitals.are_back(&lab, &a);
}

#[test]
fn who_hangs_up_in_the_middle_is_forgotten() {
    needs!("ping");
    let (lab, [a, _b], vitals) = linked();
    for number in 0..200 {
        let stream = connect(&socket(&lab));
        let _ = writeln!(stream.get_ref(), r#"{{"command":"events"}}"#);
        if number % 2 == 0 {
            stream.get_ref().shutdown(Shutdown::Both).unwrap();
        }
    }
    assert!(wait_until(Duration::from_secs(10), || is_answered(&socket(&lab))));
    vitals.are_back(&lab, &a);
}

#[test]
fn a_thousand_reloads_from_several_connections_leave_a_transfer_and_its_session_alone() {
    needs!("ping");
    let (lab, [a, b], vitals) = linked();
    let path = socket(&lab);
    let handshakes = [&a, &b].map(|daemon| daemon.count(HANDSHAKE));
    let transfer = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 200_000_000);
    let peak = Peak::of(&a);
    let end = Arc::<AtomicBool>::default();
    let spammers = [(); 4].map(|()| {
        let path = path.clone();
        thread::spawn(move || {
            let mut stream = connect(&path);
            let mut answers = || ask(&mut stream, r#"{"command":"reload"}"#);
            (0..250).map(|_| answers()).collect::<Vec<_>>()
        })
    });
    let watcher = {
        let (path, end) = (path.clone(), Arc::clone(&end));
        thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                assert!(is_answered(&path), "others are still answered");
            }
        })
    };
    let answers: Vec<_> =
        spammers.into_iter().flat_map(|spammer| spammer.join().unwrap()).collect();
    end.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    let done = answers.iter().filter(|answer| answer.contains(r#""done":"reload""#)).count();
    let busy = answers.iter().filter(|answer| answer.contains("ask again")).count();
    assert_eq!(done + busy, 1000, "{answers:?}");
    assert!(done >= 250 / 4, "{done}");
    transfer.finish();
    assert_eq!(
        [&a, &b].map(|daemon| daemon.count(HANDSHAKE)),
        handshakes,
        "no session was renewed"
    );
    peak.grew_little(&a);
    vitals.are_back(&lab, &a);
}
