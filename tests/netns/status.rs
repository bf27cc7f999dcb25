//! What a running daemon says of itself: to `tunneld status`, to listeners, to Prometheus, and to `wg`.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::config::{End, ends};
use super::counters::filter;
use super::lab::{Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::socket::{connect, socket};
use crate::shown::shows_a_secret;

/// `tunneld` with these words for the daemon on host a; its exit code and what it says.
fn tunneld(lab: &Lab, words: &str) -> (Option<i32>, String) {
    let mut command = lab.command(Host::A, "");
    command.arg(env!("CARGO_BIN_EXE_tunneld")).args(words.split(' '));
    command.env("RUNTIME_DIRECTORY", lab.directory_of(Host::A)).env_remove("TUNNELD_LOG");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(!shows_a_secret(&said), "{said}");
    (output.status.code(), said)
}

pub(super) fn status(lab: &Lab) -> Value {
    let (code, said) = tunneld(lab, "status --json");
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&said).unwrap()
}

fn state(lab: &Lab) -> String {
    status(lab)["link"]["state"].as_str().unwrap().to_owned()
}

pub(super) fn number(status: &Value, path: &str) -> u64 {
    status.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {status}"))
}

#[test]
fn the_state_follows_the_link_from_the_first_call_to_the_loss_of_the_peer() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let a = lab.start(Host::A, &ends[0]);
    a.wait_for(STARTED);
    assert_eq!(state(&lab), "connecting");
    let b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::A, INNER_B[0]));
    let up = status(&lab);
    assert_eq!(up["link"]["state"], "up");
    assert_eq!(up["peer"]["endpoint"], direct_v4(Host::B));
    assert_eq!(up["peer"]["profile"], "wireguard");
    assert_eq!(up["peer"]["cipher"], "chacha20-poly1305");
    assert_eq!((&up["mode"], &up["peer"]["stations"]), (&"tun".into(), &Value::Null));
    assert_eq!(number(&up, "/listen_port"), 51820);
    assert!(wait_until(BOUND, || number(&status(&lab), "/mtu") == 1440), "as the path has it");
    assert!(number(&up, "/peer/handshakes") >= 1);
    assert!(up["peer"]["latest_handshake_age_seconds"].as_f64().unwrap() < 30.0);
    let (code, said) = tunneld(&lab, "status");
    assert_eq!(code, Some(0));
    let carries = "carries        IP packets (tun), profile wireguard, chacha20-poly1305";
    for text in
        [carries, "state          up for", "endpoint       192.0.2.2:51820", "device read    1.0"]
    {
        assert!(said.contains(text), "{text}\n{said}");
    }
    stop(b);
    lab.ping(Host::A, &format!("-c 1 -W 1 {}", INNER_B[0]));
    assert!(wait_until(BOUND, || state(&lab) == "silent"));
    stop(a);
}

#[test]
fn a_daemon_without_an_endpoint_says_that_it_waits() {
    needs!();
    let lab = Lab::direct();
    let [end, _] = ends(direct_v4);
    let a = lab.start(Host::A, &End { endpoint: None, ..end });
    a.wait_for(STARTED);
    let status = status(&lab);
    assert_eq!(status["link"]["state"], "waiting");
    assert!(status["link"]["reason"].as_str().unwrap().contains("the peer has to call"));
}

#[test]
fn loss_on_the_way_is_counted_and_what_was_discarded_is_named() {
    needs!("ping", "nft");
    let lab = Lab::direct();
    let [_a, _b] = lab.link(&ends(direct_v4));
    let before = status(&lab);
    assert_eq!(number(&before, "/arrivals/lost"), 0);
    // Every fourth datagram from b that is as long as these pings, and nothing else is, is lost on the way to a.
    filter(
        &lab,
        Host::A,
        "chain in { type filter hook prerouting priority 0;\n\
         udp dport 51820 udp length > 400 numgen inc mod 4 0 drop; }",
    );
    lab.ping(Host::B, &format!("-c 40 -i 0.01 -W 1 -s 400 {}", INNER_A[0]));
    let after = status(&lab);
    let lost = number(&after, "/arrivals/lost");
    assert_eq!(lost, 10);
    assert_eq!(number(&after, "/arrivals/duplicates"), 0);
    assert_eq!(number(&after, "/arrivals/expected"), number(&after, "/arrivals/accepted") + lost);
    let stranger = lab.inside(Host::B, || {
        std::net::UdpSocket::bind("192.0.2.2:0").unwrap().send_to(b"junk", "192.0.2.1:51820")
    });
    stranger.join().unwrap().unwrap();
    assert!(wait_until(BOUND, || number(&status(&lab), "/discards/message_type") == 1));
}

#[test]
fn listeners_hear_the_state_at_once_and_then_what_happens() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let a = lab.start(Host::A, &ends[0]);
    a.wait_for(STARTED);
    let mut command = lab.command(Host::A, "");
    command.arg(env!("CARGO_BIN_EXE_tunneld")).args(["events", "-i", "tun0"]);
    command.env("RUNTIME_DIRECTORY", lab.directory_of(Host::A));
    let mut events = Process::start("events", command);
    events.wait_for("now: connecting");
    let mut stream = connect(&socket(&lab));
    writeln!(stream.get_ref(), r#"{{"command":"events"}}"#).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.contains(r#""event":"now","state":"connecting""#), "{line}");
    let _b = lab.start(Host::B, &ends[1]);
    events.wait_for("handshake_completed: up at 192.0.2.2:51820");
    stop(a);
    // Its end is theirs too.
    assert_eq!(events.end(BOUND).code(), Some(1));
    stream.read_to_string(&mut line).unwrap();
    assert!(line.contains(r#""event":"handshake_completed","state":"up""#), "{line}");
}

#[test]
fn who_asks_for_a_daemon_that_is_not_there_or_not_named_is_told_so() {
    needs!();
    let lab = Lab::direct();
    let (code, said) = tunneld(&lab, "status");
    assert_eq!(code, Some(1));
    assert!(said.contains("no tunneld runs here"), "{said}");
    let [end, _] = ends(direct_v4);
    let one = lab.start(Host::A, &end);
    let other = End {
        name: "tun1".to_owned(),
        listen_port: Some(51821),
        addresses: vec!["10.78.0.1/30"],
        ..end
    };
    let two = lab.start(Host::A, &other);
    for daemon in [&one, &two] {
        daemon.wait_for(STARTED);
    }
    let (code, said) = tunneld(&lab, "status");
    assert_eq!(code, Some(2));
    assert!(said.contains("tun0, tun1; choose one of them with -i NAME"), "{said}");
    let (code, said) = tunneld(&lab, "status -i tun1");
    assert!(code == Some(0) && said.contains("10.78.0.1/30"), "{said}");
    let file = lab.directory_of(Host::A).join("tun0.toml");
    let (code, said) = tunneld(&lab, &format!("status -c {}", file.display()));
    assert!(code == Some(0) && said.contains("10.77.0.1/30"), "{said}");
    let (code, said) = tunneld(&lab, "status -c /etc/other.toml");
    let asked = format!("tun0 runs by {}, tun1 runs by ", file.display());
    assert!(code == Some(1) && said.contains(&asked) && said.contains("with -i NAME"), "{said}");
    for (name, exit) in [("tun7", 1), ("../tun0", 2)] {
        let (code, said) = tunneld(&lab, &format!("status -i {name}"));
        assert_eq!(code, Some(exit), "{said}");
    }
    let (code, said) = tunneld(&lab, "top -i tun0");
    assert!(code == Some(1) && said.contains("top needs a terminal"), "{said}");
}

#[test]
fn a_socket_that_a_crash_left_is_replaced() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let mut a = lab.start(Host::A, &ends[0]);
    a.wait_for(STARTED);
    a.signal(nix::sys::signal::Signal::SIGKILL);
    a.end(BOUND);
    assert!(socket(&lab).exists());
    assert_eq!(tunneld(&lab, "status").0, Some(1));
    let _a = lab.start(Host::A, &ends[0]);
    assert!(wait_until(BOUND, || tunneld(&lab, "status").0 == Some(0)));
}

/// What the daemon answers to this request for its metrics.
fn http(lab: &Lab, request: &'static str) -> String {
    let answer = lab.inside(Host::A, move || {
        let mut stream = TcpStream::connect("127.0.0.1:9586").unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // It closes a connection of which it has not read all.
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    answer.join().unwrap()
}

#[test]
fn metrics_are_served_where_the_configuration_says() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = ends(direct_v4);
    let without = lab.start(Host::A, &a);
    without.wait_for(STARTED);
    let refused = lab.inside(Host::A, || TcpStream::connect("127.0.0.1:9586").is_err());
    assert!(refused.join().unwrap(), "off by default");
    stop(without);
    let command = lab.daemon_command(Host::A, &a);
    let file = lab.directory_of(Host::A).join("tun0.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "[metrics]\nlisten = \"127.0.0.1:9586\"\n").unwrap();
    let daemon = Process::start("daemon A", command);
    daemon.wait_for("metrics are served");
    let _b = lab.start(Host::B, &b);
    assert!(lab.pings(Host::A, INNER_B[0]));
    let answer = http(&lab, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("\ntunneld_link_state{interface=\"tun0\",state=\"up\"} 1\n"),
        "{answer}"
    );
    assert!(!shows_a_secret(&answer));
    let answer = http(&lab, "DELETE /metrics HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    stop(daemon);
}

/// A daemon on host a that `wg` finds, under a name that nobody else has.
pub(super) fn daemon_for_wg(lab: &Lab, end: &End) -> (Process, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("tnl{}-{number}", std::process::id());
    let mut command = lab.daemon_command(Host::A, &End { name: name.clone(), ..end.clone() });
    let places = format!("{}:/run/wireguard", lab.directory_of(Host::A).display());
    command.env("RUNTIME_DIRECTORY", places);
    (Process::start("daemon A", command), name)
}

#[test]
fn wg_shows_the_link_and_sets_what_has_a_meaning() {
    needs!("ping", "wg");
    let lab = Lab::direct();
    let [a, b] = ends(direct_v4);
    let (daemon, name) = daemon_for_wg(&lab, &a);
    let _b = lab.start(Host::B, &b);
    assert!(lab.pings(Host::A, INNER_B[0]));
    let wg = |words: &str| {
        let output = lab.run(Host::A, &format!("wg {words}"));
        let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
        (output.status.success(), said.concat())
    };
    let (well, shown) = wg(&format!("show {name}"));
    assert!(well, "{shown}");
    for text in [
        format!("interface: {name}"),
        "listening port: 51820".to_owned(),
        format!("peer: {}", a.public_key),
        "endpoint: 192.0.2.2:51820".to_owned(),
        "allowed ips: 10.77.0.0/30, fd77::/64".to_owned(),
        "latest handshake: ".to_owned(),
        "persistent keepalive: every 25 seconds".to_owned(),
    ] {
        assert!(shown.contains(&text), "{text}\n{shown}");
    }
    assert!(!shows_a_secret(&shown), "{shown}");
    let peer = format!("set {name} peer {}", a.public_key);
    let (well, said) = wg(&format!("{peer} endpoint [2001:db8::2]:51820 persistent-keepalive 7"));
    assert!(well, "{said}");
    assert!(lab.pings(Host::A, INNER_B[0]));
    let (_, shown) = wg(&format!("show {name}"));
    assert!(shown.contains("endpoint: [2001:db8::2]:51820"), "{shown}");
    assert!(shown.contains("every 7 seconds"), "{shown}");
    for refused in [format!("set {name} listen-port 7"), format!("{peer} remove")] {
        let (well, said) = wg(&refused);
        assert!(!well && said.contains("not supported"), "{refused}: {said}");
    }
    stop(daemon);
    assert!(!Path::new("/run/wireguard").join(format!("{name}.sock")).exists());
    assert!(!Command::new("wg").args(["show", &name]).output().unwrap().status.success());
}
