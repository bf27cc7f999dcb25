//! Reload: another configuration for a link that runs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::os::unix::net::UnixDatagram;

use ipnet::IpNet;
use nix::sys::signal::Signal;

use super::any_config::Numbers;
use super::config::{End, SOME_KEY, ends};
use super::lab::{
    HANDSHAKE, Host, INNER_A, INNER_B, Lab, MOVED, PORT, STARTED, direct_v4, endpoint, underlay,
};
use super::needs::needs;
use super::process::{BOUND, Process, now, wait_until};
use super::socket::{self, ask, connect};
use super::transfer::Transfer;

/// What each reload says at its end, well or badly.
const RELOADED: &str = "reloaded";
const REFUSED: &str = "not reloaded";

/// Files in a row.
const FILES: usize = 100;

/// Reloads this file; what the daemon says of it.
fn reload(lab: &Lab, host: Host, daemon: &Process, text: &str) -> String {
    let before = daemon.count(RELOADED);
    lab.write_file(host, "tun0", text);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_nth(before + 1, RELOADED)
}

/// Reloads this configuration, which must be taken on.
fn take_on(lab: &Lab, host: Host, daemon: &Process, end: &End) {
    let said = reload(lab, host, daemon, &end.to_toml());
    assert!(!said.contains(REFUSED), "{said}");
}

/// What a host's network says of the configuration: addresses, routes, MTU and UDP port.
#[derive(Debug, PartialEq, Eq)]
struct State {
    addresses: BTreeSet<IpNet>,
    routes: BTreeSet<IpNet>,
    mtu: u16,
    port: u16,
}

impl State {
    /// As `end` wants it.
    fn wanted(end: &End) -> Self {
        let nets = |texts: &[&str]| -> BTreeSet<IpNet> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let addresses = nets(&end.addresses);
        let has_others = |net: &&IpNet| net.prefix_len() < net.max_prefix_len();
        let networks: BTreeSet<_> = addresses.iter().filter(has_others).map(IpNet::trunc).collect();
        let routes = match &end.allowed_ips {
            Some(allowed) => nets(allowed).union(&networks).copied().collect(),
            None => networks,
        };
        // An underlay of 1500 bytes over IPv4.
        Self { addresses, routes, mtu: end.mtu.unwrap_or(1440), port: end.listen_port.unwrap() }
    }

    /// As it is, for the one of these ports that is bound.
    fn of(lab: &Lab, ports: &[u16]) -> Self {
        let words_after = |lines: String, word: &str| -> BTreeSet<IpNet> {
            let of_line = |line: &str| {
                let mut words =
                    line.split_whitespace().skip_while(|each| *each != word && !word.is_empty());
                let text = if word.is_empty() { words.next()? } else { words.nth(1)? };
                text.parse()
                    .or_else(|_| text.parse().map(|host: std::net::IpAddr| host.into()))
                    .ok()
            };
            let all: BTreeSet<IpNet> = lines.lines().filter_map(of_line).collect();
            let link_local = |net: &IpNet| net.to_string().starts_with("fe80:");
            all.into_iter().filter(|net| !link_local(net)).collect()
        };
        let addresses = lab.ip(Host::A, "-o -4 address show dev tun0")
            + &lab.ip(Host::A, "-o -6 address show dev tun0");
        let addresses = addresses.replace(" inet6 ", " inet ");
        let routes =
            lab.ip(Host::A, "-4 route show dev tun0") + &lab.ip(Host::A, "-6 route show dev tun0");
        let link = lab.ip(Host::A, "-o link show dev tun0");
        let mtu = link.split_whitespace().skip_while(|word| *word != "mtu").nth(1).unwrap();
        let sockets = lab.run(Host::A, "cat /proc/net/udp").stdout;
        let sockets = String::from_utf8(sockets).unwrap();
        let bound = |port: &&u16| sockets.contains(&format!("00000000:{port:04X} "));
        Self {
            addresses: words_after(addresses, "inet"),
            routes: words_after(routes, ""),
            mtu: mtu.parse().unwrap(),
            port: *ports.iter().find(bound).expect("one of the ports is bound"),
        }
    }
}

/// Some other configuration of host a, under which the transfer goes on.
fn another(numbers: &mut Numbers, end: &End, ports: &[u16]) -> End {
    let mut end = end.clone();
    if numbers.yes() {
        end.addresses.push(numbers.pick(&["10.77.1.1/24", "10.77.1.9/32", "fd78::1/64"]));
    }
    if numbers.yes() {
        let mut allowed = vec!["10.77.0.0/30", "fd77::/64"];
        allowed.extend(numbers.pick(&[
            &["192.168.7.0/24"][..],
            &["192.168.8.0/23", "fd79::/48"],
            &[],
        ]));
        end.allowed_ips = Some(allowed);
    }
    end.mtu = numbers.pick(&[None, Some(1300), Some(1380)]);
    end.listen_port = Some(numbers.pick(ports));
    end.persistent_keepalive = numbers.pick(&[None, Some(0), Some(7)]);
    end.preshared_key = numbers.pick(&[None, Some(SOME_KEY)]).map(str::to_owned);
    end
}

/// A file that cannot be taken on: cut off, or with something wrong in it.
fn broken(numbers: &mut Numbers, text: &str) -> String {
    match numbers.below(5) {
        0 => text[..numbers.below(text.find("public_key").unwrap())].to_owned(),
        1 => text.replace("[peer]", "[peer"),
        2 => text.replace("10.77.0.1/30", "10.77.0.1/33"),
        3 => text.replace("tun0", "tun1"),
        _ => format!("{text}\nsurprise = 1\n"),
    }
}

#[test]
fn after_a_hundred_files_good_and_broken_the_last_good_one_holds_and_the_session_lives() {
    needs!("ping");
    let lab = Lab::direct();
    let both = ends(direct_v4);
    let began = now();
    let [a, b] = lab.link(&both);
    let ports = [PORT, 51900, 51901];
    let transfer = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 1 << 30);
    let mut numbers = Numbers(0x5eed_cafe);
    let mut last_good = both[0].clone();
    let handshakes = [&a, &b].map(|daemon| daemon.count(HANDSHAKE));
    for _ in 0..FILES {
        let end = another(&mut numbers, &both[0], &ports);
        if numbers.below(3) == 0 {
            let said = reload(&lab, Host::A, &a, &broken(&mut numbers, &end.to_toml()));
            assert!(said.contains(REFUSED), "{said}");
        } else {
            take_on(&lab, Host::A, &a, &end);
            last_good = end;
        }
        let wanted = State::wanted(&last_good);
        let holds = wait_until(BOUND, || State::of(&lab, &ports) == wanted);
        assert!(holds, "{:#?}\nis not\n{wanted:#?}", State::of(&lab, &ports));
        transfer.goes_on(1);
    }
    // On a busy machine the session reaches the age at which it is renewed anyway: REKEY_AFTER_TIME.
    let aged = (now() - began).as_secs() / 120;
    for (daemon, before) in [&a, &b].into_iter().zip(handshakes) {
        let renewed = daemon.count(HANDSHAKE) - before;
        assert!(renewed as u64 <= aged, "no file had the session renewed: {renewed}");
    }
    transfer.finish();
}

#[test]
fn a_file_that_the_system_refuses_changes_nothing() {
    needs!("ping");
    let lab = Lab::direct();
    let both = ends(direct_v4);
    let [a, _b] = lab.link(&both);
    let taken = lab
        .inside(Host::A, || std::net::UdpSocket::bind(("0.0.0.0", 4711)).unwrap())
        .join()
        .unwrap();
    lab.ip(Host::A, "route add 192.168.9.0/24 via 192.0.2.77");
    let before = lab.network(Host::A);
    let mut other = End { listen_port: Some(4711), mtu: Some(1300), ..both[0].clone() };
    other.addresses.push("10.77.1.1/24");
    let said = reload(&lab, Host::A, &a, &other.to_toml());
    assert!(said.contains(REFUSED) && said.contains("UDP port 4711 is already in use"), "{said}");
    assert_eq!(lab.network(Host::A), before);
    drop(taken);

    other.allowed_ips = Some(vec!["10.77.0.0/30", "192.168.9.0/24"]);
    let said = reload(&lab, Host::A, &a, &other.to_toml());
    assert!(said.contains(REFUSED) && said.contains("192.168.9.0/24"), "{said}");
    assert_eq!(lab.network(Host::A), before);
    assert_eq!(State::of(&lab, &[4711, PORT]).port, PORT);
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn what_only_a_restart_can_change_is_refused_by_name() {
    needs!("ping");
    let lab = Lab::direct();
    let both = ends(direct_v4);
    let [a, _b] = lab.link(&both);
    for (text, key) in [
        (End { name: "tun7".to_owned(), ..both[0].clone() }.to_toml(), "name"),
        (End { offload: "udp_gso = false", ..both[0].clone() }.to_toml(), "offload"),
    ] {
        let said = reload(&lab, Host::A, &a, &text);
        assert!(said.contains(&format!("[interface] {key} needs a restart")), "{said}");
    }
}

#[test]
fn another_endpoint_is_gone_to_at_once_with_the_same_session() {
    needs!("ping");
    let lab = Lab::direct();
    let mut both = ends(direct_v4);
    both[1].endpoint = None;
    let [a, b] = lab.link(&both);
    let handshakes = b.count(HANDSHAKE);
    let v6 = underlay(Host::B)[1];
    take_on(&lab, Host::A, &a, &End { endpoint: Some(endpoint(v6)), ..both[0].clone() });
    let moved = b.wait_for(MOVED);
    assert!(moved.contains(underlay(Host::A)[1]), "{moved}");
    assert!(lab.pings(Host::B, INNER_A[0]));
    assert_eq!(b.count(HANDSHAKE), handshakes);
}

#[test]
fn other_keys_link_anew_as_soon_as_both_ends_have_them() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, b] = ends(direct_v4);
    let daemons = lab.link(&[a.clone(), b.clone()]);
    // Each is the other now, but for its addresses.
    let new = [
        End { private_key: b.private_key, public_key: b.public_key.clone(), ..a.clone() },
        End { private_key: a.private_key, public_key: a.public_key.clone(), ..b.clone() },
    ];
    let handshakes = daemons[0].count(HANDSHAKE);
    take_on(&lab, Host::A, &daemons[0], &new[0]);
    take_on(&lab, Host::B, &daemons[1], &new[1]);
    daemons[0].wait_for_nth(handshakes + 1, HANDSHAKE);
    assert!(lab.pings(Host::A, INNER_B[1]));
    assert!(lab.pings(Host::B, INNER_A[0]));
}

#[test]
fn the_service_manager_hears_of_a_reload_and_of_its_end() {
    needs!();
    let lab = Lab::direct();
    let both = ends(direct_v4);
    let notify = lab.directory_of(Host::A).join("notify");
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let hears = |words: &[&str]| {
        loop {
            let mut message = [0; 4096];
            let n = socket.recv(&mut message).unwrap();
            let message = String::from_utf8_lossy(&message[..n]).into_owned();
            // What is given to be kept is another test's.
            if !message.contains("FDSTORE") {
                assert!(words.iter().all(|word| message.contains(word)), "{message} has {words:?}");
                return;
            }
        }
    };
    let mut command = lab.daemon_command(Host::A, &both[0]);
    command.env("NOTIFY_SOCKET", &notify);
    let daemon = Process::start("daemon", command);
    daemon.wait_for(STARTED);
    hears(&["READY=1", "STATUS=running tun0, UDP port 51820"]);
    take_on(&lab, Host::A, &daemon, &both[0]);
    hears(&["RELOADING=1", "MONOTONIC_USEC="]);
    hears(&["READY=1", "STATUS=running tun0, UDP port 51820"]);
    reload(&lab, Host::A, &daemon, "nonsense");
    hears(&["RELOADING=1"]);
    hears(&["READY=1", "the last reload failed"]);
    lab.write_file(Host::A, "tun0", &both[0].to_toml());
    ask(&mut connect(&socket::socket(&lab)), r#"{"command":"apply","seconds":600}"#);
    hears(&["RELOADING=1"]);
    hears(&["READY=1", "STATUS=running tun0, UDP port 51820; trying a configuration"]);
    ask(&mut connect(&socket::socket(&lab)), r#"{"command":"revert"}"#);
    hears(&["READY=1", "STATUS=running tun0, UDP port 51820\n"]);
}

#[test]
fn how_much_is_logged_follows_the_file_at_once() {
    needs!();
    let lab = Lab::direct();
    let [end, _] = ends(direct_v4);
    let at = |level: &str| End { hooks: format!("[log]\nlevel = {level:?}\n"), ..end.clone() };
    let reload = |level: &str| {
        lab.write_file(Host::A, "tun0", &at(level).to_toml());
        let answer = ask(&mut connect(&socket::socket(&lab)), r#"{"command":"reload"}"#);
        assert!(answer.contains("done"), "{answer}");
    };
    let mut command = lab.daemon_command(Host::A, &at("info"));
    command.env_remove("TUNNELD_LOG");
    let daemon = Process::start("daemon", command);
    daemon.wait_for(STARTED);
    assert_eq!(daemon.count("DEBUG"), 0);
    reload("debug");
    daemon.wait_for("DEBUG");
    reload("warn");
    reload("warn");
    let lines = daemon.said().lines().filter(|line| !line.contains("WARN")).count();
    reload("error");
    reload("info");
    daemon.wait_for_nth(2, RELOADED);
    let after = daemon.said().lines().filter(|line| !line.contains("WARN")).count();
    assert_eq!(after, lines + 1, "{}", daemon.said());
}

#[test]
fn the_environment_says_how_much_is_logged_whatever_the_file_says() {
    needs!();
    let lab = Lab::direct();
    let [end, _] = ends(direct_v4);
    let daemon = lab.start(Host::A, &end);
    daemon.wait_for(STARTED);
    assert_eq!(daemon.count("TUNNELD_LOG"), 0);
    let other = End { hooks: "[log]\nlevel = 'error'\n".to_owned(), ..end };
    take_on(&lab, Host::A, &daemon, &other);
    daemon.wait_for("[log] level changes nothing: TUNNELD_LOG holds");
    take_on(&lab, Host::A, &daemon, &other);
    assert_eq!(daemon.count("TUNNELD_LOG"), 1);
}

#[test]
fn listeners_hear_of_a_reload_and_of_other_keys() {
    needs!("ping");
    let lab = Lab::direct();
    let both = ends(direct_v4);
    let [a, _b] = lab.link(&both);
    let mut events = connect(&socket::socket(&lab));
    writeln!(events.get_ref(), r#"{{"command":"events"}}"#).unwrap();
    let mut heard = || {
        let mut line = String::new();
        events.read_line(&mut line).unwrap();
        line
    };
    assert!(heard().contains(r#""event":"now","state":"up""#));
    take_on(&lab, Host::A, &a, &both[0]);
    assert!(heard().contains(r#""event":"reloaded","state":"up""#));
    take_on(&lab, Host::A, &a, &End { public_key: SOME_KEY.to_owned(), ..both[0].clone() });
    let line = heard();
    assert!(line.contains(r#""event":"keys_changed","state":"connecting""#), "{line}");
    assert!(heard().contains(r#""event":"reloaded""#));
}

#[test]
fn who_asks_for_a_reload_of_a_file_hears_how_it_went_from_the_daemon_that_runs_by_it() {
    needs!("ping");
    let lab = Lab::direct();
    let both = ends(direct_v4);
    let [_a, _b] = lab.link(&both);
    let other = End { name: "tun9".to_owned(), listen_port: Some(51999), ..both[0].clone() };
    let other = End { addresses: vec!["10.99.0.1/30"], ..other };
    let _other = {
        let daemon = lab.start(Host::A, &other);
        daemon.wait_for(STARTED);
        daemon
    };
    let ask = |text: &str| {
        let file = lab.write_file(Host::A, "tun0", text);
        let mut command = lab.command(Host::A, env!("CARGO_BIN_EXE_tunneld"));
        command.args(["reload", "-c"]).arg(file);
        command.env("RUNTIME_DIRECTORY", lab.directory_of(Host::A)).output().unwrap()
    };
    let answer = ask(&End { mtu: Some(1300), ..both[0].clone() }.to_toml());
    assert!(answer.status.success(), "{answer:?}");
    assert!(lab.ip(Host::A, "link show tun0").contains("mtu 1300"));
    for (text, reason) in [
        ("nonsense".to_owned(), "tun0.toml:1"),
        // Not the daemon of that interface is asked.
        (other.to_toml(), "[interface] name needs a restart"),
    ] {
        let answer = ask(&text);
        assert!(!answer.status.success());
        let said = String::from_utf8_lossy(&answer.stderr);
        assert!(said.contains(reason), "{said}");
    }
    let nobody = lab.write_file(Host::A, "elsewhere", &both[0].to_toml());
    let mut command = lab.command(Host::A, env!("CARGO_BIN_EXE_tunneld"));
    command.args(["reload", "-c"]).arg(nobody).env("RUNTIME_DIRECTORY", lab.directory_of(Host::A));
    let said = command.output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&said).contains("no tunneld that runs here runs by"));
    let of_earlier_versions = r#"{"command":"reload","file":"/etc/tunneld.toml"}"#;
    let answer = socket::ask(&mut connect(&socket::socket(&lab)), of_earlier_versions);
    assert!(answer.contains("unknown field `file`"), "{answer}");
}
