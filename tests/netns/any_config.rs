//! What `check` accepts, `run` accepts: any configuration, not only the usual ones, starts, says so and ends in order.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;

use tunneld::crypto::PrivateKey;

use super::lab::{Host, Lab, STARTED, expect_success, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};

/// How many configurations are made up.
const CONFIGURATIONS: u64 = 30;

/// Numbers that look random, the same in each run (xorshift, Marsaglia 2003).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % bound as u64).unwrap()
    }

    pub(crate) fn yes(&mut self) -> bool {
        self.below(2) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A name of 1 to 15 signs, of which few are usual.
fn name(numbers: &mut Numbers) -> String {
    let signs: Vec<_> = (b'!'..=b'~').filter(|sign| !b"/:%".contains(sign)).collect();
    let length = 1 + numbers.below(15);
    let name: String = (0..length).map(|_| char::from(numbers.pick(&signs))).collect();
    if name.trim_matches('.').is_empty() { "dots...".to_owned() } else { name }
}

/// Some addresses of either family or both, and whether a network follows from them.
fn addresses(numbers: &mut Numbers) -> (Vec<String>, bool) {
    let mut addresses = Vec::new();
    let mut networks = false;
    let families = numbers.pick(&[[1, 0], [0, 1], [1, 1], [2, 1], [3, 3]]);
    for i in 0..families[0] {
        let bits = numbers.pick(&[16, 24, 30, 31, 32]);
        networks |= bits < 32;
        addresses.push(format!("10.{i}.1.1/{bits}"));
    }
    for i in 0..families[1] {
        let bits = numbers.pick(&[48, 64, 126, 127, 128]);
        networks |= bits < 128;
        addresses.push(format!("fd00:{i}::1/{bits}"));
    }
    (addresses, networks)
}

/// Networks of the families that there are addresses of.
fn networks(numbers: &mut Numbers, addresses: &[String], default_route: bool) -> Vec<String> {
    let mut networks = Vec::new();
    for (sign, default, others) in [
        ('.', "0.0.0.0/0", ["10.0.0.0/16", "192.168.0.0/17", "172.16.5.4/32", "100.64.0.0/10"]),
        (':', "::/0", ["fd00::/48", "2001:db8:7::/56", "fd99::7/128", "fc00:1::/32"]),
    ] {
        if !addresses.iter().any(|address| address.contains(sign)) {
            continue;
        }
        if default_route {
            networks.push(default.to_owned());
        } else {
            let count = 1 + numbers.below(others.len());
            networks.extend(others[..count].iter().map(|&network| network.to_owned()));
        }
    }
    networks
}

/// Any configuration that is right; gives the name of its device too.
fn configuration(numbers: &mut Numbers) -> (String, String) {
    let name = name(numbers);
    let key = |number| PrivateKey::clamped([number; 32]);
    let (addresses, has_networks) = addresses(numbers);
    let mut file = format!(
        "[interface]\nname = {name:?}\naddresses = {addresses:?}\nprivate_key = {:?}\n",
        key(1).to_base64().as_str()
    );
    if numbers.yes() {
        let port = numbers.pick(&[0, 1, 500, 4500, 51820, 65535]);
        writeln!(file, "listen_port = {port}").unwrap();
    }
    if numbers.yes() {
        let with_v6 = addresses.iter().any(|address| address.contains(':'));
        let least = if with_v6 { 1280 } else { 576 };
        let mtu = numbers.pick(&[least, 1281, 1420, 1500, 9000, 65_460, 65_461, 65_475]);
        writeln!(file, "mtu = {mtu}").unwrap();
    }
    let table = numbers.pick(&["", "\"auto\"", "\"off\"", "1", "51820", "252", "4294967295"]);
    if !table.is_empty() {
        writeln!(file, "table = {table}").unwrap();
    }
    if numbers.yes() {
        let mark = numbers.pick(&["0", "1", "0xca6c", "4294967295"]);
        writeln!(file, "fwmark = {mark}").unwrap();
    }
    if numbers.yes() {
        writeln!(file, "kill_switch = true").unwrap();
    }
    if numbers.yes() {
        let limit = numbers.pick(&["8000", "\"512k\"", "\"100 Gbit/s\""]);
        let clamp = numbers.pick(&["true", "false", "536", "65435"]);
        writeln!(file, "rate_limit_out = {limit}\nrate_limit_in = {limit}").unwrap();
        writeln!(file, "copy_dscp = {}\nclamp_mss = {clamp}", numbers.yes()).unwrap();
    }
    if numbers.yes() {
        let offload = numbers.pick(&["", "tun_gso = false", "tun_gro = false, udp_gro = false"]);
        writeln!(file, "offload = {{ {offload} }}").unwrap();
    }
    writeln!(file, "\n[peer]\npublic_key = {:?}", key(2).public_key().to_string()).unwrap();
    if numbers.yes() {
        writeln!(file, "preshared_key = {:?}", super::config::SOME_KEY).unwrap();
    }
    let endpoint = numbers.pick(&[
        "",
        "\"192.0.2.2:51820\"",
        "\"[2001:db8::2]:1\"",
        "\"host-b.invalid:65535\"",
        "\"203.0.113.77:9\"",
        "[\"host-b.invalid:7\", \"192.0.2.2:51820\", \"[2001:db8::2]:51820\"]",
    ]);
    if !endpoint.is_empty() {
        writeln!(file, "endpoint = {endpoint}").unwrap();
    }
    let default_route = numbers.yes();
    if !has_networks || default_route || numbers.yes() {
        let networks = networks(numbers, &addresses, default_route);
        writeln!(file, "allowed_ips = {networks:?}").unwrap();
    }
    if numbers.yes() {
        let seconds = numbers.pick(&[0, 1, 25, 65535]);
        writeln!(file, "persistent_keepalive = {seconds}").unwrap();
    }
    (name, file)
}

/// What a daemon that is told of `NOTIFY_SOCKET` said there so far.
fn heard(socket: &UnixDatagram) -> String {
    let mut heard = String::new();
    let mut message = [0; 4096];
    loop {
        match socket.recv(&mut message) {
            Ok(n) => heard = heard + &String::from_utf8_lossy(&message[..n]) + "\n",
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return heard,
            Err(e) => panic!("hearing from the daemon: {e}"),
        }
    }
}

/// Checks a configuration, runs it on host a, and ends it; nothing may be left.
fn checks_and_runs(lab: &Lab, configuration: &str) {
    let home = lab.directory_of(Host::A);
    let file = home.join("any.toml");
    fs::write(&file, configuration).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let notify = home.join("notify");
    let _ = fs::remove_file(&notify);
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_nonblocking(true).unwrap();
    let before = lab.network(Host::A);
    let command = |action: &str| {
        let mut command = lab.command(Host::A, env!("CARGO_BIN_EXE_tunneld"));
        command.args([action, "-c"]).arg(&file);
        command
            .env("RUNTIME_DIRECTORY", &home)
            .env("STATE_DIRECTORY", &home)
            .env("NOTIFY_SOCKET", &notify)
            .env("NO_COLOR", "1")
            .env_remove("TUNNELD_LOG");
        command
    };

    expect_success(&command("check").output().unwrap());
    assert_eq!(heard(&socket), "", "a check starts nothing");
    let daemon = Process::start("daemon", command("run"));
    daemon.wait_for(STARTED);
    let mut all = String::new();
    let ready = wait_until(BOUND, || {
        all += &heard(&socket);
        all.lines().any(|line| line == "READY=1")
    });
    assert!(ready, "{all}");
    stop(daemon);
    assert!(heard(&socket).contains("STOPPING=1"));
    assert_eq!(lab.network(Host::A), before);
}

#[test]
#[expect(clippy::print_stdout, reason = "shown if the test fails")]
fn every_configuration_that_check_accepts_runs_says_ready_and_leaves_nothing() {
    needs!();
    let lab = Lab::direct();
    for seed in 1..=CONFIGURATIONS {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (name, configuration) = configuration(&mut numbers);
        println!("--- configuration {seed}, device {name}:\n{configuration}");
        checks_and_runs(&lab, &configuration);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "shown if the test fails")]
fn the_least_and_the_greatest_values_run() {
    needs!();
    let lab = Lab::direct();
    for (interface, peer) in [
        ("addresses = [\"10.77.0.1/30\"]\nmtu = 576", ""),
        ("addresses = [\"10.77.0.1/30\"]\nmtu = 65475", "persistent_keepalive = 65535"),
        ("addresses = [\"fd77::1/64\"]\nmtu = 1280", ""),
        (
            "addresses = [\"10.77.0.1/30\", \"fd77::1/64\"]\nmtu = 65475",
            "endpoint = \"192.0.2.2:65535\"",
        ),
        (
            "addresses = [\"10.77.0.1/30\"]\nname = \"fifteen-bytes-1\"",
            "endpoint = \"192.0.2.2:1\"",
        ),
        (
            "addresses = [\"10.77.0.1/30\"]\nname = \"t\"\nlisten_port = 65535",
            "persistent_keepalive = 0",
        ),
        ("addresses = [\"10.77.0.1/1\"]\ntable = \"off\"", ""),
        ("addresses = [\"10.77.0.1/30\"]\ntable = 4294967295\nfwmark = 4294967295", ""),
    ] {
        let key = |number| PrivateKey::clamped([number; 32]);
        let configuration = format!(
            "[interface]\n{interface}\nprivate_key = {:?}\n[peer]\npublic_key = {:?}\n{peer}\n",
            key(1).to_base64().as_str(),
            key(2).public_key().to_string(),
        );
        println!("---\n{configuration}");
        checks_and_runs(&lab, &configuration);
    }
}
