//! The socket that `wg` asks and the metrics among those who mean no good: they keep their bounds as the control socket does.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use super::config::{End, ends};
use super::lab::{Host, INNER_B, Lab, direct_v4, expect_success};
use super::needs::needs;
use super::process::{BOUND, wait_until};
use super::socket::connect;
use super::status::daemon_for_wg;
use super::vitals::Vitals;

fn link_is_fine(lab: &Lab) {
    expect_success(&lab.ping(Host::A, &format!("-c 20 -i 0.01 -W 5 {}", INNER_B[0])));
}

/// What `wg`'s socket answers to this, until the connection is closed from this side's half or that one.
fn answer(path: &Path, request: &[u8]) -> String {
    let mut stream = connect(path);
    // Whoever is closed may notice it while writing.
    let _ = stream.get_ref().write_all(request);
    let _ = stream.get_ref().shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_socket_of_wg_refuses_what_is_no_request_and_keeps_nothing_of_it() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = ends(direct_v4);
    let (a, name) = daemon_for_wg(&lab, &a);
    let _b = lab.start(Host::B, &b);
    assert!(lab.pings(Host::A, INNER_B[0]));
    let path = Path::new("/run/wireguard").join(format!("{name}.sock"));
    let is_answered = || answer(&path, b"get=1\n\n").ends_with("errno=0\n\n");
    assert!(is_answered());
    let vitals = Vitals::of(&a);
    let lines = "endpoint=192.0.2.9:7\n".repeat(100_000);
    for (request, answered) in [
        ("x".repeat(1_000_000).as_str(), ""),
        (&lines, ""),
        ("get=1\nlisten_port=7\n\n", "errno=-22\n\n"),
        ("set=1\nprivate_key=00\n\n", "errno=-95\n\n"),
        ("fly=1\n\n\n", "errno=-22\n\nerrno=-22\n\n"),
        ("get=1\n", ""),
    ] {
        assert_eq!(answer(&path, request.as_bytes()), answered, "{request:.40}");
    }
    let half = |_| {
        let stream = connect(&path);
        let _ = stream.get_ref().write_all(b"get=1\nx");
        stream
    };
    let held: Vec<_> = (0..100).map(half).collect();
    link_is_fine(&lab);
    // Those that are held are given up, while they are still open on this side.
    assert!(wait_until(BOUND, is_answered));
    drop(held);
    vitals.are_back(&lab, &a);
}

#[test]
fn requests_for_metrics_that_never_end_hold_their_places_for_seconds_only() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = ends(direct_v4);
    let metrics = "[metrics]\nlisten = '127.0.0.1:9586'\n".to_owned();
    let [a, _b] = lab.link(&[End { hooks: metrics, ..a }, b]);
    let vitals = Vitals::of(&a);
    let served = lab.inside(Host::A, || {
        let connect = || TcpStream::connect("127.0.0.1:9586").unwrap();
        let half = |_| {
            let mut stream = connect();
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nA: b");
            stream
        };
        let held: Vec<_> = (0..100).map(half).collect();
        let is_answered = || {
            let mut stream = connect();
            stream.set_read_timeout(Some(BOUND)).unwrap();
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer.starts_with(b"HTTP/1.1 200 ")
        };
        let at_once = is_answered();
        let later = wait_until(BOUND, is_answered);
        drop(held);
        (at_once, later)
    });
    link_is_fine(&lab);
    assert_eq!(served.join().unwrap(), (false, true));
    vitals.are_back(&lab, &a);
}
